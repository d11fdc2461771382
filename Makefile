# Every command does its own set-up: on a machine with rustup's toolchain, gcc, make and python3
# nothing needs to be installed before it.
.DEFAULT_GOAL := help
.PHONY: help setup payloads clients sdks http-clients run test crash check advisories fmt bench bench-reads bench-deliver bench-forward bench-rules fuzz properties

# What the set-up fetches for this checkout alone lies under target/tools.
export PATH := $(CURDIR)/target/tools/bin:$(PATH)

# Seconds for each target in `make fuzz`.
FUZZ_SECONDS ?= 600
# Random inputs per property in `make properties`.
PROPERTY_CASES ?= 100000
# Rounds in `make crash`.
CRASH_ROUNDS ?= 200

help: ## what can be done here
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:
	@scripts/setup.sh

payloads: setup
	@scripts/github-payloads.sh

clients: setup
	@scripts/convoy-clients.sh

sdks: setup
	@scripts/sdks.sh

http-clients: setup
	@scripts/http-clients.sh

# A debug build: on a fresh machine the time to the first delivered webhook is the time to compile.
run: setup ## the gateway with a seeded example, delivering one event of each direction
	cargo run -- serve --quickstart

test: payloads clients sdks http-clients ## all tests, also those of the whole system
	cargo test --workspace

crash: setup ## CRASH_ROUNDS kills and power cuts under load on one directory
	OUTRIDER_ORDER_EVENTS=10000 cargo test --release --test system order:: -- --nocapture
	OUTRIDER_CRASH_ROUNDS=$(CRASH_ROUNDS) cargo test --release --test system crash:: -- --nocapture

check: setup ## format, lints, documentation, dependencies, vectors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps
	@scripts/cargo-deny.sh check bans licenses sources
	@scripts/check-vectors.sh

advisories: setup ## known vulnerabilities in dependencies (needs the network)
	@scripts/cargo-deny.sh check advisories

fmt: ## format the code
	cargo fmt --all

bench: setup ## a release build under load, next to the limits of the machine
	@scripts/nginx.sh
	cargo build --release -p outrider -p outrider-bench
	target/release/outrider-bench run --outrider target/release/outrider

bench-reads: setup ## a million events, and how every list and look-up of the API reads them back
	cargo build --release -p outrider -p outrider-bench
	target/release/outrider-bench reads --outrider target/release/outrider --out target/bench-reads.json

bench-deliver: setup ## what dead, slow and hostile receivers and backlogs do to the others; ONLY names some
	cargo build --release -p outrider -p outrider-bench
	target/release/outrider-bench deliver --outrider target/release/outrider --out target/bench-deliver.json $(if $(ONLY),--only $(ONLY))

bench-forward: setup ## the forward proxy of webhooks beside squid and tinyproxy; ONLY names some
	@scripts/forward-proxies.sh
	cargo build --release -p outrider -p outrider-bench
	target/release/outrider-bench forward --outrider target/release/outrider --out target/bench-forward.json $(if $(ONLY),--only $(ONLY))

bench-rules: setup ## verify and route a webhook beside up to 10,000 subscriptions; check a JSON Schema; judge a URL
	cargo bench -p outrider-bench --bench route --bench schema --bench address

fuzz: setup ## what parses outside bytes, FUZZ_SECONDS each (needs a C++ compiler); FUZZ_TARGETS names some
	@FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/fuzz.sh $(FUZZ_TARGETS)

properties: setup ## every property of every rule and codec with PROPERTY_CASES random inputs
	PROPTEST_CASES=$(PROPERTY_CASES) cargo test --release --workspace --lib
