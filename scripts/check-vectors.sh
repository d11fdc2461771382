#!/bin/sh
# The test vectors in tests/vectors are copies. Where their originals lie beside the checkout,
# the two must be the same bytes.
set -eu
. "$(dirname -- "$0")/lib.sh"

originals=$top/../shared/vectors
if [ ! -d "$originals" ]; then
    say "check-vectors: the originals are not beside this checkout, nothing was compared"
    exit 0
fi
status=0
for original in "$originals"/*.json; do
    copy=$top/tests/vectors/$(basename "$original")
    if ! cmp -s "$original" "$copy"; then
        say "error: tests/vectors/$(basename "$original") differs from its original; copy it anew"
        status=1
    fi
done
exit $status
