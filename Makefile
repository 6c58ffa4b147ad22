# `make serve` builds all and serves; `make test` passes all tests. Needs Rust, Python 3 with pip, a C compiler.

# Which ONNX Runtime is fetched and loaded: cpu, openvino or gpu.
RUNTIME ?= cpu
PYTHON ?= python3
export OUNCE_RUNTIME__FLAVOUR ?= $(RUNTIME)

.PHONY: serve test check runtime build clean

serve: build
	./target/release/ounce serve

build: runtime
	cargo build --release --locked

# Fetched once, checked against pinned checksums, kept in .runtime/.
runtime:
	@$(PYTHON) runtime/fetch.py $(RUNTIME)

# The Python clients that tests talk to the server with, kept in .python/.
.python/installed: tests/requirements.txt
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --upgrade --target .python --requirement tests/requirements.txt
	@touch $@

test: runtime .python/installed
	PYTHON=$(PYTHON) cargo test --locked -- --show-output

# Formatting, lints, documentation.
check:
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items --locked

clean:
	cargo clean
	rm -rf .runtime .python
