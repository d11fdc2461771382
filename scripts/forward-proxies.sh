#!/bin/sh
# Brings the forward proxies for `make bench-forward`, squid and tinyproxy, unpacked into target/tools. Never fails: a
# proxy that is missing is not measured, and the table says so.
set -eu
. "$(dirname -- "$0")/lib.sh"

# proxy PACKAGE PROGRAM [MORE...]: `-v` of the program tells whether it runs.
proxy() {
    name=${2##*/}
    "$name" -v >/dev/null 2>&1 && return 0
    why=$(deb_program "$@") && "$name" -v >/dev/null 2>&1 && return 0
    rm -f "$tools/bin/$name"
    say "setup: no $name to measure beside the gateway: ${why:-what was unpacked does not run}"
}

# Its pages of errors, which it does not start without, are in two more packages.
proxy squid usr/sbin/squid squid-common squid-langpack
proxy tinyproxy usr/bin/tinyproxy tinyproxy-bin
