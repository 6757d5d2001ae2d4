//! A change of type that is stopped anywhere and rolled back.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use shared::SkillError;

use super::{
    expand::{ONLINE, complete, complete_on, digest, source, version, with_rows},
    support::*,
};

const URL: &str = "DB_MIGRATOR_EXPAND_URL";
const POINT: &str = "DB_MIGRATOR_EXPAND_POINT";

/// Counts the calls around statements and commits; says when the n-th is there.
fn at_point(point: u32) -> impl Fn(&str) -> bool + Clone {
    let seen = Arc::new(AtomicU32::new(0));
    move |line| {
        let counts = line.contains("postgres.execute") || line.contains("postgres.commit");
        counts && seen.fetch_add(1, Ordering::SeqCst) == point
    }
}

/// Runs in a process of its own and stops for ever at the given point of apply and complete.
#[tokio::test]
#[ignore = "the process that another test kills"]
async fn child() {
    let (Ok(url), Ok(point)) = (std::env::var(URL), std::env::var(POINT)) else {
        return;
    };
    let reached = at_point(point.parse().unwrap());
    let caller = |task: &str| {
        let reached = reached.clone();
        Caller::operator(task).hook(move |line| {
            if reached(line) {
                println!("\nstopped at {line}");
                loop {
                    std::thread::park();
                }
            }
            None
        })
    };
    let database = database(&url, true);
    apply(&database, &caller("t2"), &source(ONLINE), None)
        .await
        .unwrap();
    complete_on(&database, &caller("t3")).await.unwrap();
    println!("\ncompleted");
}

/// Kills a process (-9) at a point. `false` when it came to its end before.
fn killed(fixture: &Fixture, point: u32) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::abort::child", "--ignored", "--nocapture"])
        .envs([(URL, fixture.url.as_str()), (POINT, &point.to_string())])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let last = lines
        .into_iter()
        .find(|line| line.starts_with("stopped at ") || line == "completed")
        .unwrap_or_else(|| {
            let mut said = String::new();
            let errors = child.stderr.as_mut().unwrap();
            std::io::Read::read_to_string(errors, &mut said).unwrap();
            panic!("point {point}: the child ended before it: {said}")
        });
    child.kill().unwrap();
    child.wait().unwrap();
    last != "completed"
}

/// Ends apply or complete with an error at a point, as a cancel or an outage would. `false` when there is no such point.
async fn failed(fixture: &Fixture, point: u32) -> bool {
    let reached = at_point(point);
    let stopping = |task: &str| {
        let reached = reached.clone();
        Caller::operator(task)
            .hook(move |line| reached(line).then(|| SkillError::failed("stopped")))
    };
    let error = match apply(&fixture.database, &stopping("t2"), &source(ONLINE), None).await {
        Err(error) => Some(error),
        Ok(_) => complete(fixture, &stopping("t3")).await.err(),
    };
    error.is_some_and(|error| {
        assert!(
            error.to_string().contains("stopped"),
            "point {point}: {error}"
        );
        true
    })
}

/// Every third point of all, killed and failed in turn; then a rollback by somebody else brings everything back.
#[tokio::test]
async fn restores_everything_from_each_of_twenty_points() {
    let points = restores_everything(3).await;
    assert!(points >= 20, "only {points} points");
    eprintln!("restored from {points} points");
}

/// The same with points this far apart; says how many there were.
pub(super) async fn restores_everything(apart: usize) -> u32 {
    let mut points = 0;
    for (number, point) in (0..90_u32).step_by(apart).enumerate() {
        let fixture = with_rows(500).await;
        let (before, rows) = (fingerprint(&fixture.database).await, digest(&fixture).await);
        let stopped = if number % 2 == 0 {
            killed(&fixture, point)
        } else {
            failed(&fixture, point).await
        };
        if !stopped {
            break;
        }
        points += 1;
        rollback(
            &fixture.database,
            &Caller::coordinator("t4"),
            version("0001"),
        )
        .await
        .unwrap();
        assert_eq!(
            fingerprint(&fixture.database).await,
            before,
            "point {point}"
        );
        assert_eq!(digest(&fixture).await, rows, "point {point}");
    }
    points
}
