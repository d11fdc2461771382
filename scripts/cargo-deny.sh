#!/bin/sh
# Runs `cargo deny` with the arguments given; compiles it on the first use, into target/tools.
set -eu
. "$(dirname -- "$0")/lib.sh"

version=0.20.2
if [ "$("$tools/bin/cargo-deny" --version 2>/dev/null)" != "cargo-deny $version" ]; then
    say "setup: compiling cargo-deny $version (once, one to three minutes)"
    # Unoptimised on purpose: it compiles in a third of the time, and checking the tree takes 2 s.
    cargo install --quiet --debug --locked --root "$tools" "cargo-deny@$version"
fi
cd "$top"
exec "$tools/bin/cargo-deny" "$@"
