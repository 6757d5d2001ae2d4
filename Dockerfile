# One image a program: docker build --build-arg AGENT=security-scanner .
# AGENT is an agent's name or `meshctl`. The image holds one static binary, CA certificates and a 1 MB `wget` for
# the health check; no shell, no package manager, no root.
FROM rust:1.95.0-bookworm AS build
WORKDIR /src
RUN apt-get update && apt-get install --yes --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
COPY . .
# An explicit target keeps the static runtime out of build scripts and procedural macros.
RUN set -eu; \
    target="$(rustc -vV | sed -n 's/^host: //p')"; \
    export RUSTFLAGS="-C target-feature=+crt-static"; \
    cargo build --release --locked --target "$target" --package meshctl \
        $(for agent in agents/*/; do printf -- '--package %s ' "$(basename "$agent")"; done); \
    mkdir -p /out; \
    for program in meshctl agents/*/; do cp "target/$target/release/$(basename "$program")" /out/; done
# Folders that become volumes; an empty volume takes over the owner of the folder that it covers.
RUN set -eu; \
    mkdir -p /skeleton/data /skeleton/mesh/authority /skeleton/mesh/public /skeleton/workspace; \
    for agent in agents/*/; do mkdir -p "/skeleton/mesh/$agent"; done

FROM busybox:1.37.0-musl AS busybox

FROM scratch
ARG AGENT
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=busybox /bin/busybox /bin/wget
COPY --from=build --chown=65532:65532 /skeleton/ /
COPY manifests/ /manifests/
COPY --from=build /out/${AGENT} /bin/program
USER 65532:65532
WORKDIR /data
# The allocator of one agent would otherwise begin with huge pages; see agents/config-validator/src/main.rs.
ENV MIMALLOC_ALLOW_THP=0
EXPOSE 8080 8081 9090
ENTRYPOINT ["/bin/program"]
