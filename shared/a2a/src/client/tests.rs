use super::*;

const FAR: Duration = Duration::from_hours(1);

fn busy(retry_after: &str) -> CallError {
    let headers = HeaderMap::from_iter([(http::header::RETRY_AFTER, retry_after.parse().unwrap())]);
    CallError::Http {
        url: "agent".into(),
        http: error::HttpAnswer::new(http::StatusCode::SERVICE_UNAVAILABLE, &headers),
    }
}

fn lost() -> CallError {
    CallError::Lost {
        url: "agent".into(),
        source: None,
    }
}

/// When tries began, in milliseconds from the first, if all of them fail.
async fn schedule(repeat: Repeat, deadline: Duration, fail: impl Fn() -> CallError) -> Vec<u128> {
    let start = Instant::now();
    let tries = Tries {
        backoff: Backoff::default(),
        repeat,
        deadline: start + deadline,
    };
    let mut begun = Vec::new();
    let result: Result<(), _> = tries
        .run("agent", || {
            begun.push(start.elapsed().as_millis());
            std::future::ready(Err(fail()))
        })
        .await;
    result.unwrap_err();
    begun
}

#[tokio::test(start_paused = true)]
async fn keeps_the_schedule_of_the_backoff() {
    let begun = schedule(Repeat::Safe, FAR, lost).await;
    assert_eq!(begun.len(), 4);
    for (pair, ceiling) in begun.windows(2).zip([50, 100, 200]) {
        // The timer works in whole milliseconds.
        assert!(pair[1] - pair[0] <= ceiling + 1, "{begun:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn keeps_the_schedule_that_the_agent_asks_for() {
    assert_eq!(
        schedule(Repeat::Unsafe, FAR, || busy("7")).await,
        [0, 7000, 14000, 21000]
    );
    let near = Duration::from_secs(10);
    assert_eq!(
        schedule(Repeat::Unsafe, near, || busy("7")).await,
        [0, 7000]
    );
}

#[tokio::test(start_paused = true)]
async fn repeats_nothing_that_might_be_done_twice() {
    assert_eq!(schedule(Repeat::Unsafe, FAR, lost).await, [0]);
}

#[tokio::test(start_paused = true)]
async fn stops_with_the_first_answer() {
    let mut failures = vec![lost(), lost()];
    let tries = Tries {
        backoff: Backoff::default(),
        repeat: Repeat::Safe,
        deadline: Instant::now() + FAR,
    };
    let answer = tries
        .run("agent", || {
            std::future::ready(failures.pop().map_or(Ok("answer"), Err))
        })
        .await;
    assert_eq!(answer.unwrap(), "answer");
}

#[tokio::test(start_paused = true)]
async fn cuts_work_off_at_the_deadline() {
    let deadline = Instant::now() + Duration::from_secs(5);
    let never = std::future::pending::<Result<(), CallError>>();
    let error = before(deadline, "agent", never).await.unwrap_err();
    assert!(matches!(error, CallError::Deadline { .. }));
    assert!(Instant::now() - deadline <= Duration::from_millis(1));
}
