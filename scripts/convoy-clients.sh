#!/bin/sh
# Brings the official Python clients of Convoy, which the whole-system tests run unmodified: not ours to commit.
# They are one package in two versions, so each lies with all it needs in a folder of its own:
#     tests/.cache/convoy-python-0.2.0, tests/.cache/convoy-python-1.0.0a1    for PYTHONPATH
#     tests/.cache/convoy-clients-python                                      the path of the Python to run them with
set -eu
. "$(dirname -- "$0")/lib.sh"

versions='0.2.0 1.0.0a1'
# What the newer client asks for.
python_version=3.11
cache=$top/tests/.cache

lock_of() { printf '%s' "$top/tests/clients/convoy-python-$1.txt"; }
folder_of() { printf '%s' "$cache/convoy-python-$1"; }
# The list a folder was made from lies in it, so a changed list fetches anew.
complete() { cmp -s "$(lock_of "$1")" "$(folder_of "$1")/requirements.txt"; }

find_python() {
    for candidate in python3 python3.11 python3.12 python3.13 python3.14; do
        python=$("$candidate" -c 'import sys
print(sys.executable if sys.version_info >= (3, 11) else "")' 2>/dev/null) || continue
        [ -n "$python" ] && return 0
    done
    say "error: the tests with Convoy's Python clients need Python $python_version or newer, and there is none:"
    say "python3 is \`$(python3 --version 2>&1 || true)\`, and no python3.11 to python3.14 is on PATH."
    say "Install one and run the same command again, for example:"
    say "    apt-get install python3.11   (Debian 12, Ubuntu 22.04 and newer; as root)"
    say "    dnf install python3.11       (Fedora; as root)"
    exit 1
}

give_up() {
    say "error: Convoy's Python clients for the tests could not be fetched: $1"
    say "By hand: in this folder, or in a copy of it on any machine with pip, run"
    for version in $versions; do
        folder=tests/.cache/convoy-python-$version
        lock=tests/clients/convoy-python-$version.txt
        say "    python3 -m pip install --no-deps --no-compile --only-binary=:all: --python-version $python_version \\"
        say "        --require-hashes --requirement $lock --target $folder &&"
        say "        cp $lock $folder/requirements.txt"
    done
    exit 1
}

no_pip() {
    say "error: Convoy's Python clients for the tests are fetched with pip, and python3 has neither pip nor venv"
    say "(apt-get could not bring it: it is missing, failed, or needs root or sudo)."
    say "Install it and run the same command again, one of:"
    say "    apt-get install python3-pip  (Debian, Ubuntu; as root)"
    say "    dnf install python3-pip      (Fedora; as root)"
    exit 1
}

find_python
mkdir -p "$cache"
if [ "$(cat "$cache/convoy-clients-python" 2>/dev/null)" != "$python" ]; then
    printf '%s\n' "$python" >"$cache/convoy-clients-python.new"
    mv "$cache/convoy-clients-python.new" "$cache/convoy-clients-python"
fi

for version in $versions; do
    complete "$version" && continue
    find_pip || no_pip
    work=$(mktemp -d "$cache/fetch.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    say "setup: fetching convoy-python $version with pip"
    pip_install_locked "$(lock_of "$version")" "$work/client" "$python_version" || give_up "pip failed"
    PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$work/client "$python" -c 'import convoy' >&2 ||
        give_up "what pip brought does not run with $python"
    cp "$(lock_of "$version")" "$work/client/requirements.txt"
    # Renamed when complete: a fetch that was cut short leaves nothing that looks like one.
    rm -rf "$(folder_of "$version")"
    mv "$work/client" "$(folder_of "$version")"
    rm -rf "$work"
done
