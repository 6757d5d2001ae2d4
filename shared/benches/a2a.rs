//! What does one A2A request cost the server, beside the official Rust SDK's server in the same run?
//!
//! Each server runs in a process of its own on loopback (plain HTTP/1.1, keep-alive) and echoes a text as an artifact:
//! a task is made, run, completed and kept. The number is the CPU time of all threads of the server a request, so that
//! neither the client nor other work on the machine counts; only ratios survive another machine.
//! Seen (two shared, busy cores, without link-time optimisation): memory 0.61, SQLite 1.33, streams 0.76 and 1.99 of the
//! official server; a signed audit record adds 0.8 to 1.3. A million tasks (unoptimised): 167 MiB resident after
//! 300,000, 171 MiB at the end, 20,000 of them kept.
//! Run: `just bench-a2a` (`cargo bench -p shared --bench a2a`), with `-- million` for the memory of a million tasks.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot run has nothing to say"
)]

#[path = "a2a/load.rs"]
mod load;
#[path = "a2a/servers.rs"]
mod servers;

use load::{Method, Server};
use servers::Kind;

/// Requests of one measurement, after a warm-up of a tenth.
const REQUESTS: u32 = 20_000;
/// Measurements of each kind, taken in turn; the median counts.
const ROUNDS: usize = 3;

fn main() {
    if let Ok(kind) = std::env::var("BENCH_SERVER") {
        return servers::serve(&kind);
    }
    if std::env::args().any(|argument| argument == "million") {
        return million();
    }
    let rows = [
        (Kind::Peer, Method::Send),
        (Kind::Memory, Method::Send),
        (Kind::MemorySigned, Method::Send),
        (Kind::Durable, Method::Send),
        (Kind::DurableSigned, Method::Send),
        (Kind::Peer, Method::Stream),
        (Kind::Memory, Method::Stream),
        (Kind::Durable, Method::Stream),
    ];
    let mut costs = vec![Vec::new(); rows.len()];
    for _ in 0..ROUNDS {
        for ((kind, method), costs) in rows.iter().zip(&mut costs) {
            let server = Server::start(*kind);
            server.load(*method, REQUESTS / 10);
            costs.push(server.cost(*method, REQUESTS));
        }
    }
    println!(
        "{:<28} {:<22} {:>10} {:>8}",
        "server", "method", "CPU us", "ratio"
    );
    let mut base = 0.0;
    for ((kind, method), mut costs) in rows.into_iter().zip(costs) {
        costs.sort_by(f64::total_cmp);
        let cost = costs[ROUNDS / 2];
        if kind == Kind::Peer {
            base = cost;
        }
        let (server, method) = (kind.name(), method.name());
        println!(
            "{server:<28} {method:<22} {cost:>10.1} {:>8.2}",
            cost / base
        );
    }
}

/// Memory while a million tasks come and go.
fn million() {
    let server = Server::start(Kind::Memory);
    println!("{:>10} {:>12}", "tasks", "RSS MiB");
    for tenth in 1..=10 {
        server.load(Method::Send, 100_000);
        println!("{:>10} {:>12.1}", tenth * 100_000, server.memory());
    }
}
