#!/bin/sh
# Makes a bare machine able to build: checks the compilers, brings cmake when it is missing.
# Needs nothing to be done twice, and is silent when nothing is to do.
set -eu
. "$(dirname -- "$0")/lib.sh"

cmake_requirement='cmake==3.31.10'

require() { # COMMAND PACKAGE
    have "$1" && return 0
    say "error: \`$1\` is missing. Install it, for example: apt-get install $2"
    exit 1
}

if ! have cargo; then
    say "error: \`cargo\` is missing. Install the Rust toolchain with rustup; rust-toolchain.toml picks the version."
    exit 1
fi
require cc gcc

# pingora-core compiles zlib-ng, whose build is written for cmake.
cmake_from_pip() {
    pip_install "$cmake_requirement" "$tools/cmake" || return 1
    mkdir -p "$tools/bin"
    # The binary itself, not the Python wrapper beside it: it finds its modules from its real path.
    ln -sf ../cmake/cmake/data/bin/cmake "$tools/bin/cmake"
}
if ! have cmake; then
    apt_install cmake || cmake_from_pip || true
    if ! cmake --version >/dev/null 2>&1; then
        say "error: \`cmake\` is missing and could not be installed from here (no root or sudo for apt-get, no working pip)."
        say "Install it and run the same command again, one of:"
        say "    apt-get install cmake        (Debian, Ubuntu; as root)"
        say "    dnf install cmake            (Fedora; as root)"
        say "    python3 -m pip install --user cmake"
        exit 1
    fi
fi
