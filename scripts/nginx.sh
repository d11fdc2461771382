#!/bin/sh
# Brings an nginx for `make bench`, unpacked into target/tools. Never fails: without nginx the table says that it was
# not measured.
set -eu
. "$(dirname -- "$0")/lib.sh"

nginx -v >/dev/null 2>&1 && exit 0
why=$(deb_program nginx usr/sbin/nginx) && nginx -v >/dev/null 2>&1 && exit 0
rm -f "$tools/bin/nginx"
say "setup: no nginx to measure beside the gateway: ${why:-what was unpacked does not run}"
