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

# pip_install REQUIREMENT DIR: unpacks a Python package under DIR, nothing outside it.
# Works with a pip of the system, also one that is "externally managed", or with venv alone.
pip_install() {
    have python3 || return 1
    say "setup: fetching $1 with pip into ${2#"$top"/}"
    rm -rf "$2"
    # Read by every pip, unlike the flag: into a folder of its own even root may install.
    PIP_ROOT_USER_ACTION=ignore
    export PIP_ROOT_USER_ACTION
    if python3 -m pip --version >/dev/null 2>&1; then
        python3 -m pip install --quiet --disable-pip-version-check --target "$2" "$1" >&2
    else
        rm -rf "$tools/venv"
        python3 -m venv "$tools/venv" >/dev/null 2>&1 &&
            "$tools/venv/bin/python" -m pip install --quiet --disable-pip-version-check --target "$2" "$1" >&2
    fi
}
