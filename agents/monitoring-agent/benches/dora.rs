//! How fast are webhook events taken in for good, and what does sharing an insert buy over one transaction an event?
//!
//! Input: bodies in the form of GitLab's documentation (`tests/dora/events.rs`), of 50 projects with a change an
//! hour, in no order, every fiftieth twice. Each is signed as GitLab signs, goes through the listener's router (time,
//! signature, limits, reading), and counts as taken in when the store has it on disk (SQLite, `synchronous=FULL`).
//! `shared` has as many requests under way as the listener allows; `alone` writes each event in a transaction of its
//! own and waits for it. Then the log is folded, and the metrics are compared with those of the same events read one
//! after the other in their order, without listener or store: they have to be equal.
//! Run: `cargo bench -p monitoring-agent --bench dora [EVENTS]`, a million unless another number is given.
//! Only ratios of one run mean something.
//! Found (optimised, two virtual cores): a million events and 20,000 repetitions taken in within 38 s, five times the rate
//! of one transaction an event, folded in 21 s; 134 bytes an event on disk while the log is kept, numbers equal.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(
    clippy::cast_precision_loss,
    reason = "counts of events stay below 2^52"
)]

#[path = "../tests/dora/events.rs"]
mod events;

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Context as _;
use aws_lc_rs::hmac;
use axum::{Router, body::Body, http::Request};
use base64::{Engine, prelude::BASE64_STANDARD};
use events::{BEGAN, EACH, Organisation, scattered};
use monitoring_agent::{
    archive::{Archive, Intake},
    domain::dora::{
        Definition, Facts, Interval, Project, Question, Report,
        hook::{Hook, read},
        measure::Tally,
    },
    dora::measure,
    metrics::Counts,
    webhooks::{AlertLog, MOST_AT_ONCE, Secrets, Webhooks},
};
use store::{Store, sqlite::SqliteStore};
use time::OffsetDateTime;
use tokio::{task::JoinSet, time::Instant};
use tower::ServiceExt;

const SHOP: Organisation = Organisation {
    projects: 50,
    pace: 60,
};
const USUAL: u64 = 1_000_000;
/// Events of the variant that writes each alone.
const ALONE: u64 = 5_000;
const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

fn request(key: &hmac::Key, event: u64, second: bool) -> anyhow::Result<Request<Body>> {
    let body = SHOP.body(event);
    let id = format!("{event}-{second}");
    let at = OffsetDateTime::now_utc().unix_timestamp();
    let signature = hmac::sign(key, format!("{id}.{at}.{body}").as_bytes());
    let signature = format!("v1,{}", BASE64_STANDARD.encode(signature));
    let request = Request::post("/webhooks/gitlab")
        .header("webhook-id", id)
        .header("webhook-timestamp", at)
        .header("webhook-signature", signature);
    Ok(request.body(Body::from(body))?)
}

/// Events a second through the listener.
async fn together(router: &Router, count: u64) -> anyhow::Result<f64> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY);
    let began = Instant::now();
    let mut sending = JoinSet::new();
    let all = count + count / 50;
    for at in 0..all {
        let (router, key) = (router.clone(), key.clone());
        sending.spawn(async move {
            let request = request(&key, scattered(at % count, count), at >= count)?;
            let answer = router.oneshot(request).await?;
            anyhow::ensure!(answer.status().is_success(), "answered {}", answer.status());
            Ok(())
        });
        if sending.len() >= MOST_AT_ONCE {
            sending.join_next().await.context("none is under way")???;
        }
    }
    while let Some(answer) = sending.join_next().await {
        answer??;
    }
    Ok(rate(all, began))
}

fn rate(events: u64, began: Instant) -> f64 {
    events as f64 / began.elapsed().as_secs_f64()
}

/// Events a second, each in a transaction of its own.
async fn alone(intake: &Intake, count: u64) -> anyhow::Result<f64> {
    let began = Instant::now();
    for at in 0..count {
        let Hook { project, facts, .. } = read(SHOP.body(scattered(at, count)).as_bytes())?;
        intake
            .keep(project.context("an event of no project")?, facts)
            .await?;
    }
    Ok(rate(count, began))
}

fn question(definition: Definition, count: u64) -> Question {
    let changes = count / EACH / SHOP.projects + 1;
    let days = i64::try_from(changes * SHOP.pace / 60 / 24 + 2).unwrap_or(i64::MAX);
    let from = BEGAN.unix_timestamp() * 1_000;
    Question {
        from,
        to: from + days * 86_400_000,
        tier: "production".into(),
        definition,
        interval: Interval::Monthly,
    }
}

/// What the same events say in their order, without listener or store.
fn expected(count: u64) -> anyhow::Result<Vec<Report>> {
    let mut known: BTreeMap<u64, Facts> = BTreeMap::new();
    for event in 0..count {
        let Hook { project, facts, .. } = read(SHOP.body(event).as_bytes())?;
        known
            .entry(project.context("an event of no project")?)
            .or_default()
            .absorb(facts);
    }
    let name = |id: u64| format!("shop/service-{id}");
    let named = known.into_iter().map(|(id, facts)| Project {
        name: name(id),
        facts,
    });
    let projects: Vec<Project> = named.collect();
    let report = |definition| {
        let question = question(definition, count);
        let mut tally = Tally::default();
        for project in &projects {
            tally.add(project, &question);
        }
        tally.report(&question)
    };
    Ok(Definition::ALL.map(report).into())
}

async fn run(count: u64) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let secret = format!("whsec_{}", BASE64_STANDARD.encode(KEY));
    std::fs::write(folder.path().join("gitlab-signing-token"), secret)?;
    let open = |name: &str| {
        anyhow::Ok(Arc::new(SqliteStore::open(folder.path().join(name))?) as Arc<dyn Store>)
    };

    let each = alone(&Intake::open(Archive(open("alone.db")?)), ALONE.min(count)).await?;
    let store = open("shared.db")?;
    let archive = Archive(store.clone());
    let secrets = Secrets::read(folder.path())?;
    let intake = Intake::open(archive.clone());
    let router = Webhooks::new(
        secrets,
        intake,
        Arc::new(AlertLog(store)),
        Counts::default(),
    )
    .router();
    let began = Instant::now();
    let shared = together(&router, count).await?;
    let took = began.elapsed().as_secs_f64();
    println!("{count} events and {} repetitions", count / 50);
    println!("taken in      {took:>8.1} s {shared:>10.0} events/s");
    println!(
        "alone                    {each:>10.0} events/s, ratio {:.0}",
        shared / each
    );

    let began = Instant::now();
    while archive.fold().await?.segments > 0 {}
    println!("folded        {:>8.1} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    let mut reports = Vec::new();
    for definition in Definition::ALL {
        reports.push(measure(&archive, None, &question(definition, count)).await?);
    }
    println!(
        "measured      {:>8.1} s under three definitions",
        began.elapsed().as_secs_f64()
    );
    let logged = std::fs::metadata(folder.path().join("shared.db"))?.len();
    archive.prune(i64::MAX).await?;
    println!(
        "on disk       {:>8.1} bytes an event with the log",
        logged as f64 / count as f64
    );
    anyhow::ensure!(
        reports == expected(count)?,
        "the numbers depend on order, repetition or storing"
    );
    let frequency = &reports.last().context("no report")?.deployment_frequency;
    println!(
        "numbers equal to those of the events in order: {} deployments",
        frequency.numerator
    );
    Ok(())
}

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    // Cargo adds a flag of its own.
    let count = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok());
    run(count.unwrap_or(USUAL)).await
}
