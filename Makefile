# The one door: `make` alone lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/sh
export CARGO_TERM_COLOR ?= auto
# An error of a test says where it came from by itself; with a trace of forty frames behind it, a log that is cut shows only those.
export RUST_LIB_BACKTRACE ?= 0
LAB := target/lab

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## all programs, as the tests and the demo use them (target/debug)
	cargo build --locked --workspace --bins

release: ## the programs to install (target/release)
	cargo build --locked --release -p dsg-server -p dsg-runner -p dsg-cli

demo: ## a real job on a real engine: server, runner, submit, follow, result, dashboard
	@job-specs/demo

check: ## format, lints, docs, fast tests, simulator, schema drift: no engine, no GPU, no network
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet
	cargo run --locked --quiet -p dsg-schemas --bin schemas -- --check
	cargo build --locked --workspace --bins
	cargo test --locked --workspace --quiet
	@$(MAKE) --no-print-directory planted

test: ## everything the project can prove on this machine: check, both engines, the browser
	@tests/lab/install gcc make
	@! tests/lab/install --can || tests/lab/install iproute2 systemd binutils
	DSG_MUST_NETNS=$$(tests/lab/install --can && echo yes) DSG_MUST_SYSTEMD=$$(tests/lab/install --can && echo yes) $(MAKE) --no-print-directory check
	$(MAKE) --no-print-directory build
	@tests/lab/engines $(LAB) sh -c 'tests/lab/suite && tests/lab/browser'
	@$(MAKE) --no-print-directory newer

engines: build ## only the tests on real Docker and real Podman
	@tests/lab/engines $(LAB) tests/lab/suite

newer: ## only the runner's tests on the Docker and the Podman of Debian 13
	@tests/lab/newer $(LAB)-newer cargo test --locked --workspace --test engines -- --nocapture keeps_the_promises

browser: build ## only the journey in a real Chromium
	@tests/lab/engines $(LAB) sh -c 'images/build shell $${DSG_TEST_DOCKER:+docker -H unix://$$DSG_TEST_DOCKER} && tests/lab/browser'

sim: ## replay one simulator run: make sim SEED=17
	SIM_SEED=$(SEED) cargo test --locked -p dsg-core --quiet --test simulator -- --nocapture no_seed

planted: ## plant faults in the scheduler and see the simulator find each; one of them: make planted BUG=FenceDropped
	SIM_BUG=$(BUG) cargo test --locked -p dsg-core --features planted-bugs --quiet --test simulator -- planted $(if $(BUG),--nocapture)

soak: ## the simulator over ever new seeds for an hour: make soak MINUTES=60; so many from the first: make soak SEEDS=100000
ifdef SEEDS
	SIM_SEEDS=$(SEEDS) cargo test --locked --release -p dsg-core --quiet --test simulator -- --nocapture no_seed
else
	SIM_MINUTES=$(or $(MINUTES),60) cargo test --locked --release -p dsg-core --quiet --test simulator -- --nocapture --ignored soak
endif

torture: ## the store under power cuts, kills and bad disks, longer than in make check: make torture SEED=17
	DSG_TORTURE_SEED=$(or $(SEED),1) DSG_TORTURE_KILLS=200 DSG_TORTURE_FLIPS=20000 cargo test --locked -p dsg-server --quiet --lib torture

chaos: build ## the programs on a bad network, longer than in make check and with leases of full length; one seed: make chaos SEED=17
	DSG_CHAOS_SEED=$(or $(SEED),1) DSG_CHAOS_SEEDS=$(or $(SEEDS),$(if $(SEED),1,20)) DSG_CHAOS_CHUNKS=$(if $(SEED),100,400) DSG_CHAOS_LEASE=60 \
		cargo test --locked -p dsg-tests --test chaos -- --nocapture $(if $(SEED),weather)

bench: ## the figures, one `name: value unit` each; some of them: make bench ONLY="check idle grid classes latency crash million intake log flood containers"
	cargo build --locked --release --workspace --bins
	@tests/lab/chromium || true
	@tests/lab/engines $(LAB) sh -c 'images/build shell $${DSG_TEST_DOCKER:+docker -H unix://$$DSG_TEST_DOCKER} && target/release/dsg-bench $(ONLY)'

bless: ## accept new snapshots, scenarios, messages and schemas after looking at the diff
	cargo run --locked --quiet -p dsg-schemas --bin schemas
	BLESS=1 INSTA_UPDATE=always cargo test --locked --workspace --quiet
	git --no-pager diff --stat

schemas: ## write schemas/*.json and the generated part of docs/job-spec.md from the types
	cargo run --locked --quiet -p dsg-schemas --bin schemas

images: ## the example images, imported into the engine that answers
	images/build shell
	images/build science

deny: ## advisories and licences of the dependencies (needs cargo-deny)
	cargo deny --locked check

clean: ## remove what was built
	cargo clean

.PHONY: help build release demo check test engines newer browser sim planted soak torture chaos bench bless schemas images deny clean
