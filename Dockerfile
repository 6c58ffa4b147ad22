# ounce in a container, for amd64 and arm64: `docker build -t ounce .` for CPUs, with `--target gpu` for NVIDIA's GPUs (amd64 only).
# docs/container.md says how to run it.

# What the stages stand on; a mirror or another version may take their place.
ARG RUST_IMAGE=rust:1-bookworm
ARG BASE_IMAGE=debian:bookworm-slim
# CUDA 13 and cuDNN 9 are what the libraries of runtime/gpu.txt ask for.
ARG CUDA_IMAGE=nvidia/cuda:13.0.2-cudnn-runtime-ubuntu24.04

# checkov:skip=CKV_DOCKER_7: it does not see that the arguments above have tags
FROM ${RUST_IMAGE} AS build
WORKDIR /build
# `dev` is built sooner and answers later.
ARG PROFILE=release
# The dependencies alone: a layer that stays as long as they do. Tests and benches are not here, nor need they be.
COPY Cargo.toml Cargo.lock ./
RUN sed -i '/^\[\[\(bench\|test\)\]\]/,/^$/d' Cargo.toml \
    && mkdir src \
    && echo 'fn main() {}' >src/main.rs \
    && touch src/lib.rs \
    && cargo build --locked --profile "$PROFILE"
COPY src src
# Newer than what stood in for them.
RUN touch src/lib.rs src/main.rs \
    && cargo build --locked --profile "$PROFILE" \
    && strip -o /usr/local/bin/ounce target/*/ounce \
    && cargo metadata --locked --format-version 1 \
        --filter-platform "$(rustc --print host-tuple)" >/build/metadata.json

# ONNX Runtime, pinned and checked by runtime/fetch.py.
FROM ${BASE_IMAGE} AS fetch
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3-minimal python3-pip \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /fetch
COPY runtime runtime

FROM fetch AS fetch-cpu
RUN python3 runtime/fetch.py cpu

# What it is made of, for people and for scanners.
FROM fetch-cpu AS sbom-cpu
COPY Cargo.lock ./
COPY models models
COPY --from=build /build/metadata.json ./
RUN python3 runtime/sbom.py /sbom metadata.json .runtime/cpu

# The binary, with the list of its crates in it.
FROM build AS listed
COPY --from=sbom-cpu /sbom/ounce.dep-v0 ./
RUN objcopy --add-section .dep-v0=ounce.dep-v0 /usr/local/bin/ounce

# What the image for CPUs stands on: the C and C++ libraries alone. No shell, no package manager. Scanners still find the packages.
FROM ${BASE_IMAGE} AS libraries
RUN set -- base-files libc6 libgcc-s1 libstdc++6 \
    && dpkg -L "$@" >/tmp/files \
    && sed -i '/^$/d' /tmp/files \
    && tar --create --file=/tmp/files.tar --no-recursion --exclude='*/gconv/*' --files-from=/tmp/files \
    && mkdir -p /mnt/usr/lib64 \
    && tar --extract --file=/tmp/files.tar --directory=/mnt \
    && mkdir -p /mnt/var/lib/dpkg/status.d \
    && for package in "$@"; do dpkg-query --status "$package" >"/mnt/var/lib/dpkg/status.d/$package" || exit 1; done

# The image for CPUs.
FROM scratch AS cpu
COPY --from=libraries /mnt /
COPY --from=fetch-cpu /fetch/.runtime/cpu/*.so* /usr/local/lib/
COPY --from=fetch-cpu /fetch/.runtime/cpu/LICENSE /fetch/.runtime/cpu/ThirdPartyNotices.txt /licenses/onnxruntime/
# Whose certificates are believed, when ounce asks an identity provider for its keys.
COPY --from=fetch /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=fetch /usr/share/doc/ca-certificates/copyright /licenses/ca-certificates/
COPY LICENSE /licenses/ounce/
COPY models /models
COPY --from=sbom-cpu /sbom/ounce.cdx.json /usr/share/sbom/
COPY --from=listed /usr/local/bin/ounce /usr/local/bin/
# ONNX Runtime would tell its makers about itself.
ENV PATH=/usr/local/bin \
    ORT_DISABLE_TELEMETRY=1 \
    OUNCE_LISTEN=0.0.0.0:8080 \
    OUNCE_MODELS=/models
USER 10001:10001
# What does not load becomes no image.
RUN ["ounce", "models"]
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 CMD ["ounce", "health"]
ENTRYPOINT ["ounce"]
CMD ["serve"]
ARG VERSION="" REVISION="" SOURCE=""
LABEL org.opencontainers.image.title="ounce" \
      org.opencontainers.image.description="A low-latency inference server for pictures that says what every answer cost" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"

FROM fetch AS fetch-gpu
RUN python3 runtime/fetch.py gpu

FROM fetch-gpu AS sbom-gpu
COPY Cargo.lock ./
COPY models models
COPY --from=build /build/metadata.json ./
RUN python3 runtime/sbom.py /sbom metadata.json .runtime/gpu

# The same for NVIDIA's GPUs.
FROM ${CUDA_IMAGE} AS gpu
COPY --from=fetch-gpu /fetch/.runtime/gpu/*.so* /usr/local/lib/
COPY --from=fetch-gpu /fetch/.runtime/gpu/LICENSE /fetch/.runtime/gpu/ThirdPartyNotices.txt /licenses/onnxruntime/
COPY --from=fetch /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=fetch /usr/share/doc/ca-certificates/copyright /licenses/ca-certificates/
COPY LICENSE /licenses/ounce/
COPY models /models
COPY --from=sbom-gpu /sbom/ounce.cdx.json /usr/share/sbom/
COPY --from=listed /usr/local/bin/ounce /usr/local/bin/
ENV ORT_DISABLE_TELEMETRY=1 \
    OUNCE_LISTEN=0.0.0.0:8080 \
    OUNCE_MODELS=/models \
    OUNCE_RUNTIME__FLAVOUR=gpu
USER 10001:10001
# Who builds the image need not have a GPU.
RUN ["ounce", "models", "--providers", "cpu"]
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 CMD ["ounce", "health"]
ENTRYPOINT ["ounce"]
CMD ["serve"]
ARG VERSION="" REVISION="" SOURCE=""
LABEL org.opencontainers.image.title="ounce" \
      org.opencontainers.image.description="A low-latency inference server for pictures that says what every answer cost" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"

# The last one is built when none is named.
FROM cpu
