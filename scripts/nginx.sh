#!/bin/sh
# Brings an nginx for `make bench`, into target/tools: the package is unpacked and never installed, so no service
# starts and nothing outside this checkout changes. Never fails: without nginx the table says that it was not measured.
set -eu
. "$(dirname -- "$0")/lib.sh"

home=$tools/nginx
nginx -v >/dev/null 2>&1 && exit 0

give_up() {
    say "setup: no nginx to measure beside the gateway: $1"
    exit 0
}

have apt-get && have dpkg-deb || give_up "it is not on PATH, and only a Debian package could be unpacked here"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# As whoever runs this: downloading needs no root, only package lists, and those need root to be fetched anew.
download() { (cd "$work" && apt-get -qq download "$1" >/dev/null 2>&1); }
lists_anew() { as_root apt-get -qq update >/dev/null 2>&1; }

say "setup: fetching nginx with apt-get into ${home#"$top"/}"
download nginx || { lists_anew && download nginx; } || give_up "apt-get could not download it"
# The libraries it is linked to and this machine lacks; it needs nothing else with a configuration of its own.
for library in $(dpkg-deb -f "$work"/nginx_*.deb Depends | tr ',' '\n' | sed -n 's/^ *\(lib[^ ]*\).*/\1/p'); do
    dpkg -s "$library" >/dev/null 2>&1 || download "$library" || give_up "apt-get could not download $library"
done
for package in "$work"/*.deb; do
    dpkg-deb -x "$package" "$work/unpacked" || give_up "the package cannot be unpacked"
done

rm -rf "$home"
mkdir -p "$tools/bin"
mv "$work/unpacked" "$home"
libraries=$(find "$home" -name 'lib*.so*' -exec dirname {} \; | sort -u | paste -s -d : -)
if [ -z "$libraries" ]; then
    ln -sf ../nginx/usr/sbin/nginx "$tools/bin/nginx"
else
    rm -f "$tools/bin/nginx"
    printf '#!/bin/sh\nLD_LIBRARY_PATH="%s" exec "%s" "$@"\n' "$libraries" "$home/usr/sbin/nginx" >"$tools/bin/nginx"
    chmod +x "$tools/bin/nginx"
fi
nginx -v >/dev/null 2>&1 && exit 0
rm -f "$tools/bin/nginx"
give_up "what was unpacked does not run"
