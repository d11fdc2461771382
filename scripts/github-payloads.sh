#!/bin/sh
# Brings GitHub's own example payloads for the whole-system tests: real bodies, not ours to commit.
# They are the npm package @octokit/webhooks-examples (MIT), pinned by its published sha512.
set -eu
. "$(dirname -- "$0")/lib.sh"

package=@octokit/webhooks-examples
version=7.6.1
sha512=De6U3XB6O3DtCa7bKgCMzTHdeopqqZ6SNivMYJnK65ierKL1AnNIA0tkRYCRS7lwGT792d+Ps1WbfHlso6MynQ==

cache=$top/tests/.cache
target=$cache/webhooks-examples-$version
[ -f "$target/package/api.github.com/index.json" ] && exit 0

give_up() {
    say "error: the GitHub payloads for the tests could not be fetched: $1"
    say "By hand: run \`npm pack $package@$version\` on any machine, then"
    say "    mkdir -p $target && tar -xzf octokit-webhooks-examples-$version.tgz -C $target"
    exit 1
}

npm --version >/dev/null 2>&1 || node_from_pip || apt_install npm || true
npm --version >/dev/null 2>&1 || give_up "there is no npm, and neither pip nor apt-get could bring one"

mkdir -p "$cache"
work=$(mktemp -d "$cache/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
say "setup: fetching $package $version with npm"
(cd "$work" && npm pack --silent "$package@$version" >/dev/null) || give_up "npm pack failed"
archive=$(find "$work" -name '*.tgz')

actual=$(python3 -c 'import base64, hashlib, sys
print(base64.b64encode(hashlib.sha512(open(sys.argv[1], "rb").read()).digest()).decode())' "$archive")
[ "$actual" = "$sha512" ] || give_up "sha512 is $actual, expected $sha512"

mkdir "$work/unpacked"
tar -xzf "$archive" -C "$work/unpacked"
# Renamed when complete: a fetch that was cut short leaves nothing that looks like one.
rm -rf "$target"
mv "$work/unpacked" "$target"
