# Lists the recipes.
default:
    @just --list

# Builds everything.
build:
    cargo build --workspace --bins

# Runs all tests; installs what they need.
test *args:
    ./test {{args}}

# Tests of the real Kubernetes control plane, with their figures; compiles it the first time.
e2e *args:
    tests/cluster/build
    cargo test -p control-plane --test cluster_smoke -- --nocapture {{args}}
    cargo test -p tests --test e2e_rollback --test e2e_healthy --test e2e_incident -- --nocapture {{args}}

# Formatting and lints, warnings denied.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Licences, bans and sources of dependencies.
deny:
    cargo deny check bans licenses sources

# Benchmarks; ratios against a naive or peer variant in the same run.
bench *crate:
    cargo bench {{ if crate == "" { "--workspace" } else { "-p " + crate } }}

# CPU of an A2A request beside the official Rust server, in one run; `just bench-a2a million` for the memory of tasks.
bench-a2a *args:
    cargo bench -p shared --bench a2a -- {{args}}

# Starts the mesh in front.
up *args:
    cargo run --release --bin meshctl -- up {{args}}

# Stops a detached mesh.
down:
    cargo run --release --bin meshctl -- down

# A release of examples/shop through all eight agents.
demo *args:
    cargo run --release --bin meshctl -- demo {{args}}

# Renders deploy/ from manifests/.
render:
    cargo run --bin meshctl -- render

# Copies the smallest agent as the start of a new one.
new-agent name:
    ./tests/new-agent {{name}}
