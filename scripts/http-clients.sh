#!/bin/sh
# Brings the HTTP clients of the system that the whole-system tests have talk through the forward proxy, and `ip` for the
# tests in network namespaces. Silent when they are there; the others come with the libraries of clients.sh and sdks.sh.
set -eu
. "$(dirname -- "$0")/lib.sh"

curl_is_whole() { curl --version 2>/dev/null | grep -qw HTTP2 && curl --version | grep -qw HTTPS-proxy; }
have_all() { curl_is_whole && have openssl && have ip && have unshare; }

have_all && exit 0
have openssl || apt_install openssl || true
curl_is_whole || apt_install curl || true
have ip || apt_install iproute2 || true
have unshare || apt_install util-linux || true
have_all && exit 0
say "error: the tests of the forward proxy need curl with HTTP/2 and HTTPS proxies, openssl, and ip and unshare. Install them, for example:"
say "    apt-get install curl openssl iproute2 util-linux"
exit 1
