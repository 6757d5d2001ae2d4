//! A process that dies at any write.

use super::*;

/// Runs until the store dies at its n-th write; `false` when the run ended before.
pub(super) async fn crash(world: &Arc<World>, store: &Arc<FaultyStore>) -> bool {
    let as_store: Arc<dyn Store> = store.clone();
    tokio::select! {
        biased;
        _ended = execute(world, &as_store) => false,
        () = store.died.notified() => true,
    }
}

#[tokio::test]
async fn a_crash_at_any_write_changes_nothing_about_the_end() {
    for keeps_last in [false, true] {
        for stateful in [false, true] {
            let mut crashes = 0;
            for dies_at in 0.. {
                let world = if stateful {
                    World::stateful("reversible")
                } else {
                    World::stateless()
                };
                let store = Arc::new(FaultyStore::dying_in_memory(dies_at, keeps_last));
                if !crash(&world, &store).await {
                    break;
                }
                crashes += 1;
                let at = format!("write {dies_at}, kept {keeps_last}, stateful {stateful}");
                let output = execute(&world, &store.inner).await.expect(&at);
                assert_eq!(output.outcome, Some(Outcome::RolledBack), "{at}");
                for once in ["pause", "stop", "restore"] {
                    let times = world.log().iter().filter(|word| *word == once).count();
                    assert!(times <= 1, "{at}: {once} {times} times");
                }
                assert_eq!(
                    world.reverted.lock().unwrap().len(),
                    usize::from(stateful),
                    "{at}: one key"
                );
                let web = world.web();
                assert_eq!(
                    (
                        web.current().unwrap().name.as_str(),
                        web.replicas,
                        web.paused
                    ),
                    ("web-1", 3, false),
                    "{at}"
                );
                assert_eq!(web.current().unwrap().number, 3, "{at}: restored once");
                assert!(!is_locked(&store.inner).await, "{at}");
            }
            // A journal write a step, one more for the lock, and one for the end.
            let steps = if stateful { 8 } else { 5 };
            assert_eq!(crashes, steps + 2);
        }
    }
}

#[tokio::test]
async fn a_crash_while_undoing_never_goes_forward_again() {
    for keeps_last in [false, true] {
        for dies_at in 0.. {
            let world = World::stateful("reversible");
            world.break_at("await_gone");
            let store = Arc::new(FaultyStore::dying_in_memory(dies_at, keeps_last));
            if !crash(&world, &store).await {
                assert!(dies_at > 4, "it dies at every write before");
                break;
            }
            let resumed = world.log().contains(&"resume".to_owned());
            drop(execute(&world, &store.inner).await);
            assert_eq!(journal(&store.inner).await.outcome, Outcome::Compensated);
            let web = world.web();
            assert_eq!(
                (web.paused, web.replicas),
                (false, 3),
                "write {dies_at}, kept {keeps_last}"
            );
            assert_eq!(
                world.log().iter().filter(|word| *word == "resume").count(),
                1,
                "{resumed}"
            );
            assert!(world.reverted.lock().unwrap().is_empty());
            assert!(!is_locked(&store.inner).await);
        }
    }
}

#[tokio::test]
async fn the_old_revision_may_have_another_number_after_a_crash() {
    let (world, store) = (
        World::stateful("reversible"),
        Arc::new(FaultyStore::dying_in_memory(4, true)),
    );
    assert!(crash(&world, &store).await);
    assert_eq!(
        journal(&store.inner).await.next(),
        Some(Step::RollBackDatabase)
    );
    {
        let mut web = world.web.lock().unwrap();
        web.revisions.first_mut().unwrap().number = 0;
    }
    let output = execute(&world, &store.inner).await.unwrap();
    assert_eq!(
        output.outcome,
        Some(Outcome::RolledBack),
        "the journal holds the template, whatever its number is now"
    );
    assert_eq!(
        world.web().template,
        revision(1, Health::Healthy, Some("3")).template
    );
}
