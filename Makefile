# make test    everything that can fail, beside the real redis-server, nutcracker and Prometheus
# make bench   our release binaries beside redis-server and nutcracker; prints the table of docs/performance.md
# make soak    what takes longer than a test may: SOAK_ROUNDS crashes (200) with appendfsync always and some of other
#              kinds, a million keys each way, and SOAK_HISTORIES (1,000,000) each of replication, of clusters and of Sentinel, and
#              of the proxy's worker and its watches; SOAK_NODES (1,000) in the simulator, sixty on this machine, and
#              SOAK_FAILOVERS (50) of a cluster that is half real; SOAK_CLIENTS (1,000) that misbehave before a proxy, and as
#              many while its servers change a thousand times
# make fuzz    every fuzz target for FUZZ_SECONDS each (600); needs nightly and cargo-fuzz
# make fuzz-check: whether the fuzz targets still compile; that needs neither
# make fmt     formats the sources

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := test

# Debian's packages of the programs that the tests run beside our own.
PROGRAMS := redis-server redis-cli redis-benchmark nutcracker prometheus promtool
PACKAGES := redis-server redis-tools nutcracker prometheus

# Tests start processes of their own; with more threads than this they wait for each other's processor time.
TEST_THREADS ?= 2

VENV := target/venv

SOAK_ROUNDS ?= 200
SOAK_HISTORIES ?= 1000000
SOAK_CLIENTS ?= 1000
SOAK_FAILOVERS ?= 50
SOAK_NODES ?= 1000

FUZZ_SECONDS ?= 600
FUZZ_CRATES := common server proxy

.PHONY: test bench soak fuzz fuzz-check fmt tools venv

test: tools venv
	cargo build --workspace --all-targets
	cargo test --workspace -- --test-threads=$(TEST_THREADS)

# ROUNDS, REQUESTS and ONLY are handed on: `make bench ROUNDS=3 ONLY=server`.
bench: tools
	cargo build --release --workspace --bins
	python3 tests/bench/run.py --target target/release \
		$(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(REQUESTS),--requests $(REQUESTS)) $(if $(ONLY),--only $(ONLY))

# The server is built as it is run, so that it is killed at the moments when it would be. At last it takes the place of the
# original behind the proxy.
soak: tools
	cargo build --release -p redstart-server
	REDSTART_SERVER=$$PWD/target/release/redstart-server REDSTART_CRASH_ROUNDS=$(SOAK_ROUNDS) \
		cargo test -p redstart-tests --test server -- --test-threads=1 crash::
	REDSTART_SERVER=$$PWD/target/release/redstart-server \
		cargo test -p redstart-tests --test server -- --test-threads=1 --ignored saving::
	REDSTART_HISTORIES=$(SOAK_HISTORIES) cargo test --profile soak -p redstart-server --lib replication::simulate::
	REDSTART_HISTORIES=$(SOAK_HISTORIES) cargo test --profile soak -p redstart-server --lib cluster::simulate::histories
	REDSTART_HISTORIES=$(SOAK_HISTORIES) cargo test --profile soak -p redstart-server --lib sentinel::simulate::
	REDSTART_NODES=$(SOAK_NODES) cargo test --profile soak -p redstart-server --lib -- --ignored --nocapture \
		cluster::simulate::many
	python3 tests/bench/crowd.py
	python3 tests/bench/cluster.py settle
	python3 tests/bench/cluster.py mixed --failovers $(SOAK_FAILOVERS) --slots 4000
	REDSTART_HISTORIES=$(SOAK_HISTORIES) cargo test --profile soak -p redstart-proxy --lib simulate::
	mkdir -p target/own
	ln -sf $$PWD/target/release/redstart-server target/own/redis-server
	ln -sf redis-server target/own/redis-sentinel
	PATH=$$PWD/target/own:$$PATH cargo test -p redstart-tests --test proxy -- --test-threads=1 \
		cluster failover reads sentinels
	REDSTART_BAD_CLIENTS=$(SOAK_CLIENTS) cargo test -p redstart-tests --test proxy -- misbehaviour::
	REDSTART_CHANGES=1000 REDSTART_CHANGE_CLIENTS=$(SOAK_CLIENTS) \
		cargo test -p redstart-tests --test proxy -- --ignored many_changes::

# What is found lies in target/fuzz/found, what was learnt in target/fuzz/corpus. FUZZ_CRATES=server takes one crate's.
fuzz:
	@for crate in $(FUZZ_CRATES); do \
		for target in $$(cd $$crate && cargo +nightly fuzz list); do \
			echo "$$crate: $$target"; \
			corpus=$$PWD/target/fuzz/corpus/$$target; found=$$PWD/target/fuzz/found/$$target/; \
			seeds=fuzz/seeds/$$target; test -d $$crate/$$seeds || seeds=; \
			mkdir -p $$corpus $$found; \
			(cd $$crate && cargo +nightly fuzz run --target-dir ../target/fuzz $$target $$corpus $$seeds -- \
				-max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048 -malloc_limit_mb=256 -artifact_prefix=$$found); \
		done; \
	done

# Whether the fuzz targets still fit what they test. Nothing is linked, so neither nightly nor cargo-fuzz is needed.
fuzz-check:
	@for crate in $(FUZZ_CRATES); do \
		manifest=$$crate/fuzz/Cargo.toml; \
		if ! cargo fetch --quiet --manifest-path $$manifest; then \
			echo "$$crate: what its fuzz targets need could not be fetched; they are not checked" >&2; continue; \
		fi; \
		CUSTOM_LIBFUZZER_PATH=/none/libFuzzer.a \
			cargo check --manifest-path $$manifest --target-dir target/fuzz-check; \
	done

fmt:
	cargo fmt --all
	rustfmt --edition 2024 */fuzz/fuzz_targets/*.rs

# Installs what is missing where that is possible, and otherwise says what to install. Debian starts no service of
# these packages that the tests would need.
tools:
	@export PATH="$$PATH:/usr/sbin:/sbin"; missing=""; \
	for program in $(PROGRAMS); do command -v "$$program" >/dev/null || missing+=" $$program"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		echo "installing $(PACKAGES) (missing:$$missing)"; \
		apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y $(PACKAGES); \
	else \
		echo "Missing programs:$$missing" >&2; \
		echo "The tests run them beside Redstart. On Debian: apt-get install $(PACKAGES)" >&2; \
		exit 1; \
	fi

# redis-py, for the interoperability test; the test says so when it is not there.
venv: $(VENV)/ready

$(VENV)/ready:
	@mkdir -p target
	@if python3 -m venv $(VENV) && $(VENV)/bin/pip install --quiet 'redis>=5'; then touch $@; else \
		echo "redis-py could not be installed; the test of it will be left out" >&2; rm -rf $(VENV); fi
