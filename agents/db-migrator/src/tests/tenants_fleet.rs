//! Many tenants of one database, migrated together.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};
use shared::{Skill, SkillError};

use super::{support::*, tenants::shared};
use crate::{
    Metrics,
    clients::{Databases, Workspace, databases::FleetError},
    domain::fleet::{FleetReport, Outcome},
    skills::{ApplyMigration, ApplyMigrationOutput, PlanMigration, RollbackMigration, Workbench},
};

fn bench(url: &str) -> Workbench {
    let spec = format!("shop={url},superuser=allow,tenants=t*,dev");
    let databases = Databases::new([spec.parse().unwrap()]);
    let fleet = "all=shop/t*".parse().unwrap();
    Workbench {
        databases: Arc::new(databases.with_fleets([fleet]).unwrap()),
        workspace: Workspace::new("."),
        registries: crate::clients::OciRegistries::default(),
        metrics: Metrics::default(),
    }
}

fn request(of: &Value, count: usize) -> Value {
    let all = [
        json!({"name": "0001_t.up.sql", "content": "CREATE TABLE t (x int, y text)"}),
        json!({"name": "0001_t.down.sql", "content": "DROP TABLE t"}),
        json!({"name": "0002_one.up.sql", "content": "CREATE UNIQUE INDEX one ON t (x)"}),
        json!({"name": "0002_one.down.sql", "content": "DROP INDEX one"}),
    ];
    let mut request =
        json!({"source": {"files": all[..count * 2]}, "dry_run": false, "idempotency_key": "k"});
    for (field, value) in of.as_object().unwrap() {
        request[field] = value.clone();
    }
    request
}

async fn run(
    bench: &Workbench,
    caller: &Caller,
    request: Value,
) -> Result<ApplyMigrationOutput, SkillError> {
    let input = serde_json::from_value(request).unwrap();
    ApplyMigration(bench.clone())
        .run(&caller.context(), input)
        .await
}

fn member<'a>(report: &'a FleetReport, name: &str) -> &'a crate::domain::fleet::MemberReport {
    let mut members = report.members.iter();
    members.find(|member| member.database == name).unwrap()
}

#[tokio::test]
async fn walks_through_twenty_tenants_stops_and_goes_on() {
    let names = (1..=20).map(|at| format!("t{at:02}")).collect::<Vec<_>>();
    let mut all = names.iter().map(String::as_str).collect::<Vec<_>>();
    all.push("other");
    let (url, shop) = shared(&all, ",dev").await;
    let bench = bench(&url);
    let fleet = json!({"fleet": "all"});
    let done = run(&bench, &Caller::operator("first"), request(&fleet, 1)).await;
    let report = done.unwrap().fleet.unwrap();
    assert!(report.complete && report.waves == 4, "{report:?}");
    assert_eq!(
        report.members.len(),
        20,
        "and the schema of nobody is left out"
    );
    assert_eq!(report.members[0].database, "shop/t01");

    // The sixth fails in the third wave: those before it are done, the fourth wave is not begun.
    let once = AtomicUsize::new(0);
    let caller = Caller::operator("second").hook(move |line| {
        let begins = line.starts_with("begin postgres.")
            && line.contains("databases/shop/t06 ")
            && line.contains("migrations/0002");
        (begins && once.fetch_add(1, Ordering::SeqCst) == 0)
            .then(|| SkillError::failed("the disk is full"))
    });
    let report = run(&bench, &caller, request(&fleet, 2)).await.unwrap();
    let report = report.fleet.unwrap();
    assert_eq!(
        report.stopped.as_deref(),
        Some("shop/t06 failed"),
        "{report:?}"
    );
    assert_eq!(member(&report, "shop/t06").wave, 3);
    let later = report.members.iter().filter(|member| member.wave == 4);
    let states = later.map(|member| member.outcome).collect::<Vec<_>>();
    assert_eq!(states, [Outcome::NotStarted; 13]);
    let applied = "SELECT count(*) FROM db_migrator.migration WHERE state = 'applied'";
    assert_eq!(count(&shop.tenant("t20").unwrap(), applied).await, 1);

    let report = run(&bench, &Caller::operator("third"), request(&fleet, 2)).await;
    let report = report.unwrap().fleet.unwrap();
    assert!(report.complete, "{report:?}");
    assert_eq!(member(&report, "shop/t01").outcome, Outcome::UpToDate);
    let mut found = Vec::new();
    for name in &names {
        let tenant = shop.tenant(name).unwrap();
        assert_eq!(count(&tenant, applied).await, 2, "each step once: {name}");
        found.push(fingerprint(&tenant).await);
    }
    found.dedup();
    assert_eq!(found.len(), 1, "all stand at one catalog");
    let ledgers =
        "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'db\\_migrator\\_tenant\\_%'";
    assert_eq!(count(&shop, ledgers).await, 20);

    let back =
        json!({"fleet": "all", "to_version": "0001", "dry_run": false, "idempotency_key": "b"});
    let input = serde_json::from_value(back).unwrap();
    let report = RollbackMigration(bench.clone())
        .run(&Caller::operator("fourth").context(), input)
        .await
        .unwrap();
    assert!(report.fleet.unwrap().complete);
    assert_eq!(count(&shop.tenant("t13").unwrap(), applied).await, 1);
}

#[tokio::test]
async fn takes_tenants_of_a_request() {
    let (url, shop) = shared(&["t1", "t2", "t_3", "other"], ",dev").await;
    let bench = bench(&url);
    let of = |tenants: Value| json!({"database": "shop", "tenants": tenants});
    let some = of(json!({"schemas": ["t2", "t1"]}));
    let done = run(&bench, &Caller::operator("a"), request(&some, 1))
        .await
        .unwrap();
    let names = done
        .fleet
        .unwrap()
        .members
        .into_iter()
        .map(|member| member.database);
    assert_eq!(
        names.collect::<Vec<_>>(),
        ["shop/t2", "shop/t1"],
        "the canary first"
    );
    let like = of(json!({"like": "t%"}));
    let done = run(&bench, &Caller::operator("b"), request(&like, 2))
        .await
        .unwrap();
    let report = done.fleet.unwrap();
    let names = report.members.iter().map(|member| member.database.as_str());
    assert_eq!(
        names.collect::<Vec<_>>(),
        ["shop/t1", "shop/t2", "shop/t_3"]
    );
    assert!(report.complete);
    let one = json!({"database": "shop/t1"});
    let done = run(&bench, &Caller::operator("c"), request(&one, 2))
        .await
        .unwrap();
    assert_eq!(done.head.as_deref(), Some("0002"));
    let whole = "SELECT count(*) FROM pg_class WHERE relnamespace = 'other'::regnamespace";
    assert_eq!(count(&shop, whole).await, 0);
}

/// Requests that name no tenants, with the field that is wrong and what it should be.
fn wrong() -> [(Value, &'static str, &'static str); 7] {
    let of = |tenants: Value| json!({"database": "shop", "tenants": tenants});
    let (schemas, tenants) = ("tenants.schemas", "tenants");
    let beside = "a database beside it";
    [
        (
            of(json!({"schemas": ["other"]})),
            schemas,
            "schemas like t*",
        ),
        (
            of(json!({"schemas": ["t1", "t1"]})),
            schemas,
            "each schema once",
        ),
        (of(json!({"like": "x%"})), tenants, "1 to 10000 schemas"),
        (
            of(json!({"like": "t%", "schemas": []})),
            tenants,
            "either schemas or like",
        ),
        (
            json!({"fleet": "all", "tenants": {"like": "t%"}}),
            tenants,
            beside,
        ),
        (json!({"tenants": {"like": "t%"}}), tenants, beside),
        (
            json!({"database": "shop/other"}),
            "database",
            "one of: shop, shop/t*",
        ),
    ]
}

#[tokio::test]
async fn says_what_is_wrong_with_tenants_of_a_request() {
    let (url, _) = shared(&["t1", "other"], ",dev").await;
    let bench = bench(&url);
    for (mut request, field, said) in wrong() {
        request["source"] = json!({"files": [{"name": "1_a.sql", "content": "SELECT 1"}]});
        let input = serde_json::from_value(request.clone()).unwrap();
        let context = Caller::operator("p").context();
        let plan = PlanMigration(bench.clone()).run(&context, input).await;
        let Err(SkillError::Rejected {
            field: found,
            expected,
            ..
        }) = plan
        else {
            panic!("{request} is taken");
        };
        let got = (found.as_str(), expected.as_str());
        assert_eq!(got, (field, said), "{request}");
    }
    let plain = Databases::new([format!("a={url}").parse().unwrap()]);
    assert!(matches!(
        plain.with_fleets(["f=a/t*".parse().unwrap()]),
        Err(FleetError::Tenants { .. })
    ));
}

/// Hooks run in a tenant's schema and may not leave it.
#[tokio::test]
async fn keeps_hooks_at_home() {
    let (url, shop) = shared(&["t1", "t2"], ",dev").await;
    let bench = bench(&url);
    let hooked = |sql: &str| {
        let mut request = request(&json!({"fleet": "all"}), 1);
        request["hooks"] = json!([{"name": "note", "on": ["after_run"], "sql": sql}]);
        request
    };
    let own = hooked("INSERT INTO t VALUES (7, current_schema())");
    run(&bench, &Caller::operator("a"), own).await.unwrap();
    for name in ["t1", "t2"] {
        let tenant = shop.tenant(name).unwrap();
        let row = query(&tenant, "SELECT y FROM t").await;
        assert_eq!((row.len(), row[0].text(0).unwrap().as_str()), (1, name));
    }
    let other = hooked("INSERT INTO t1.t VALUES (8, 'x')");
    let error = run(&bench, &Caller::operator("b"), other)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("names the schema t1"), "{error}");
}
