#!/bin/sh
# Fuzzes the targets of fuzz/targets.rs, or those named, FUZZ_SECONDS each (600 unless said otherwise).
# libFuzzer comes as source with its crate and needs a C++ compiler; the flags are those of cargo-fuzz
# without a sanitizer, which a stable compiler has. What is found lies under target/fuzz.
set -eu
. "$(dirname -- "$0")/lib.sh"

have c++ || { say "error: fuzzing needs a C++ compiler, for example: apt-get install g++"; exit 1; }

seconds=${FUZZ_SECONDS:-600}
[ $# -gt 0 ] || set -- $(cd "$top/fuzz/bin" && ls | sed 's/\.rs$//')
host=$(rustc -vV | sed -n 's/^host: //p')
build=${CARGO_TARGET_DIR:-$top/target}/fuzz
coverage='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4'
for part in inline-8bit-counters pc-table trace-compares; do
    coverage="$coverage -Cllvm-args=-sanitizer-coverage-$part"
done

# With --target the flags are not for build scripts.
RUSTFLAGS="--cfg fuzzing -Ccodegen-units=1 $coverage" CARGO_TARGET_DIR=$build \
    cargo build --release --manifest-path "$top/fuzz/Cargo.toml" --target "$host"

python3 "$top/fuzz/seeds.py" "$build/seeds"
for target; do
    mkdir -p "$build/corpus/$target" "$build/seeds/$target" "$build/found" "$top/fuzz/corpus/$target"
    say "fuzz: $target for $seconds s"
    "$build/$host/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=16384 \
        -print_final_stats=1 -verbosity=0 -print_funcs=0 -reload=0 -artifact_prefix="$build/found/$target-" \
        "$build/corpus/$target" "$top/fuzz/corpus/$target" "$build/seeds/$target"
done
