#!/bin/sh
# Brings the providers' own libraries, whose requests the whole-system tests send: not ours to commit.
#     tests/.cache/sdk/node_modules    exactly what tests/sdk/package-lock.json lists, each with its hash
#     tests/.cache/sdk/python          exactly what tests/sdk/slack.txt lists
#     tests/.cache/sdk/node            the path of the Node to run them with
set -eu
. "$(dirname -- "$0")/lib.sh"

node_version_min=20
sdk=$top/tests/sdk
target=$top/tests/.cache/sdk

same() { cmp -s "$sdk/$1" "$target/$1"; }
node_is_new() {
    npm --version >/dev/null 2>&1 &&
        node -e "process.exit(Number(process.versions.node.split('.')[0]) >= $node_version_min ? 0 : 1)" 2>/dev/null
}

give_up() {
    say "error: the providers' libraries for the tests could not be fetched: $1"
    say "They need Node $node_version_min or newer with npm, and pip. By hand, in this folder:"
    say "    mkdir -p $target && cp tests/sdk/package.json tests/sdk/package-lock.json tests/sdk/slack.txt $target/"
    say "    (cd $target && npm ci --ignore-scripts && command -v node >node)"
    say "    python3 -m pip install --no-deps --require-hashes --requirement tests/sdk/slack.txt --target $target/python"
    exit 1
}

if same package-lock.json && same slack.txt && [ -x "$(cat "$target/node" 2>/dev/null)" ]; then
    exit 0
fi
node_is_new || node_from_pip || true
node_is_new || give_up "there is no such Node, and pip could not bring one"
find_pip || give_up "there is no pip"

mkdir -p "$top/tests/.cache"
work=$(mktemp -d "$top/tests/.cache/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
cp "$sdk/package.json" "$sdk/package-lock.json" "$sdk/slack.txt" "$work/"
say "setup: fetching the providers' libraries with npm and pip"
# Scripts of packages are never run.
(cd "$work" && npm ci --ignore-scripts --no-audit --no-fund --silent >&2) || give_up "npm failed"
pip_install_locked "$sdk/slack.txt" "$work/python" 3.11 || give_up "pip failed"
command -v node >"$work/node"
# Renamed when complete: a fetch that was cut short leaves nothing that looks like one.
rm -rf "$target"
mv "$work" "$target"
