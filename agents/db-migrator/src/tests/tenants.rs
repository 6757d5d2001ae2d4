//! Tenants as schemas of one PostgreSQL database: each with a ledger, a lock and an owner of its own.

use std::{
    io::{BufRead, BufReader},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
        mpsc,
    },
};

use serde_json::json;
use shared::Skill;

use super::{expand::complete_on, support::*, versions_online::server_now};
use crate::{
    Metrics,
    clients::{Database, Databases, Workspace},
    domain::{Answer, Dialect, Migration, Version},
    engine::Goal,
    skills::{MigrationStatus, VerifySchema, Workbench},
};

const URL: &str = "DB_MIGRATOR_TENANT_URL";
const POINT: &str = "DB_MIGRATOR_TENANT_POINT";

const TABLES: &str = "CREATE TYPE state AS ENUM ('new', 'paid'); \
    CREATE TABLE customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL); \
    CREATE TABLE orders (id serial PRIMARY KEY, customer bigint REFERENCES customers, total int NOT NULL DEFAULT 0, state state DEFAULT 'new', memo text); \
    CREATE TABLE old (id int PRIMARY KEY, line text); \
    CREATE VIEW large AS SELECT o.id FROM orders o JOIN customers c ON c.id = o.customer WHERE o.total > 100; \
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.total := coalesce(NEW.total, 1); RETURN NEW; END $$; \
    CREATE TRIGGER touched BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION touch(); \
    COMMENT ON TABLE orders IS 'of one tenant'; COMMENT ON COLUMN orders.total IS 'in cents'; \
    INSERT INTO customers (name) VALUES ('a'), ('b'); INSERT INTO orders (customer, total, memo) SELECT 1, i, 'm' || i FROM generate_series(1, 50) i; \
    INSERT INTO old VALUES (1, 'x'), (2, 'y')";

const PLAIN: &str = "CREATE TABLE orders (id serial PRIMARY KEY, total int NOT NULL DEFAULT 0 CHECK (total >= 0)); \
    CREATE INDEX orders_total ON orders (total); INSERT INTO orders (total) SELECT generate_series(1, 50)";

fn source() -> Vec<Migration> {
    migrations(
        Dialect::Postgres,
        &[
            ("tables", TABLES, ""),
            (
                "index",
                "CREATE INDEX CONCURRENTLY orders_total ON orders (total); CREATE UNIQUE INDEX one_name ON customers (name)",
                "DROP INDEX one_name; DROP INDEX CONCURRENTLY orders_total",
            ),
            (
                "memo",
                "ALTER TABLE orders DROP COLUMN memo; DELETE FROM old WHERE id = 2",
                "",
            ),
            ("old", "DROP TABLE old", ""),
        ],
    )
}

/// An empty database with these tenants, as the target `shop`.
pub(super) async fn shared(tenants: &[&str], options: &str) -> (String, Database) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("tenants_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let url = server_now().create_database(&name).unwrap();
    let shop = whole(&url, options);
    for tenant in tenants {
        let quoted = tenant.replace('"', "\"\"");
        execute(&shop, &format!("CREATE SCHEMA \"{quoted}\"")).await;
    }
    (url, shop)
}

fn whole(url: &str, options: &str) -> Database {
    let spec = format!("shop={url},superuser=allow,tenants=*{options}");
    Databases::new([spec.parse().unwrap()])
        .find("shop")
        .unwrap()
        .clone()
}

pub(super) fn version(text: &str) -> Goal {
    Goal::Version(Version::parse(text).unwrap())
}

/// Everything that a tenant's tables and its ledger hold, and which rows of the catalog describe them.
async fn contents(shop: &Database, schema: &str) -> String {
    let own = format!("('{schema}', 'db_migrator_tenant_{schema}')");
    let tables = format!(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN {own} ORDER BY 1"
    );
    let mut parts = vec![format!(
        "SELECT string_agg(concat_ws(' ', c.oid, c.relname, c.xmin, c.relfilenode), E'\n' ORDER BY c.oid) FROM pg_class c \
         WHERE c.relnamespace::regnamespace::text IN {own}"
    )];
    for table in query(shop, &tables).await {
        let table = table.text(0).unwrap();
        parts.push(format!(
            "SELECT string_agg(held::text, E'\n' ORDER BY held::text) FROM {table} AS held"
        ));
    }
    let sql = format!("SELECT concat_ws(E'\n', ({}))", parts.join("), ("));
    query(shop, &sql).await[0].text(0).unwrap()
}

fn bench(shop: &str) -> Workbench {
    Workbench {
        databases: Arc::new(Databases::new([shop.parse().unwrap()])),
        workspace: Workspace::new("."),
        registries: crate::clients::OciRegistries::default(),
        metrics: Metrics::default(),
    }
}

#[tokio::test]
pub(super) async fn rolls_one_tenant_back_and_touches_no_other() {
    let (_, shop) = shared(&["one", "two"], ",dev").await;
    let (one, two) = (shop.tenant("one").unwrap(), shop.tenant("two").unwrap());
    let start = fingerprint(&one).await;
    for tenant in [&one, &two] {
        apply(tenant, &Caller::operator("up"), &source(), None)
            .await
            .unwrap();
    }
    assert_eq!(fingerprint(&one).await, fingerprint(&two).await);
    assert!(
        execute_fails(&one, "SELECT * FROM old").await,
        "hidden outside the tenant's schema"
    );
    let before = contents(&shop, "two").await;
    let rows = "SELECT (SELECT count(memo) FROM orders) + (SELECT count(*) FROM old)";
    let assessment = assess(&one, &version("0001")).await.unwrap();
    assert_eq!(assessment.answer, Answer::Reversible, "{assessment:?}");
    rollback(&one, &Caller::coordinator("back"), version("0001"))
        .await
        .unwrap();
    assert_eq!(count(&one, rows).await, 52, "every row is back");
    assert_eq!(contents(&shop, "two").await, before);
    rollback(&one, &Caller::coordinator("zero"), version("0"))
        .await
        .unwrap();
    assert_eq!(fingerprint(&one).await, start);
    assert_eq!(contents(&shop, "two").await, before);
    // The other tenant's own retained rows are still its own.
    rollback(&two, &Caller::coordinator("back2"), version("0001"))
        .await
        .unwrap();
    assert_eq!(count(&two, rows).await, 52);
}

async fn execute_fails(database: &Database, sql: &str) -> bool {
    let mut session = session(database).await;
    let failed = session.execute(sql).await.is_err();
    session.close().await.unwrap();
    failed
}

/// The run of one tenant stands still in the middle of its work, as its owner, until the other one's is over.
#[tokio::test]
async fn lets_two_tenants_migrate_at_the_same_time() {
    let (url, shop) = shared(&["slow", "quick"], ",dev").await;
    let (reached, waits) = mpsc::channel::<()>();
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(Some(released));
    let slow = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let caller = Caller::operator("slow").hook(move |line| {
            let there = line.starts_with("begin postgres.execute") && line.contains("/slow ");
            if there && let Some(released) = released.lock().unwrap().take() {
                reached.send(()).unwrap();
                released.recv().unwrap();
            }
            None
        });
        let slow = whole(&url, ",dev").tenant("slow").unwrap();
        runtime.block_on(apply(&slow, &caller, &source(), None))
    });
    waits.recv().unwrap();
    let owners = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'db-migrator-owner:%'";
    assert_eq!(
        count(&shop, owners).await,
        1,
        "the slow one owns its tenant"
    );
    let quick = shop.tenant("quick").unwrap();
    let done = apply(&quick, &Caller::operator("quick"), &source(), None)
        .await
        .unwrap();
    assert_eq!(done.head.as_deref(), Some("0004"));
    assert_eq!(count(&shop, owners).await, 1, "and nobody ended it");
    release.send(()).unwrap();
    let done = slow.join().unwrap().unwrap();
    assert_eq!(done.head.as_deref(), Some("0004"));
    let slow = shop.tenant("slow").unwrap();
    assert_eq!(fingerprint(&slow).await, fingerprint(&quick).await);
}

#[tokio::test]
pub(super) async fn says_drift_for_the_tenant_that_drifted() {
    let (url, shop) = shared(&["calm", "odd"], ",dev").await;
    for name in ["calm", "odd"] {
        let tenant = shop.tenant(name).unwrap();
        apply(&tenant, &Caller::operator("up"), &source()[..2], None)
            .await
            .unwrap();
    }
    execute(
        &shop,
        "ALTER TABLE odd.orders ADD COLUMN extra int; CREATE TABLE public.shared (id int); \
        CREATE INDEX extra ON odd.customers (name)",
    )
    .await;
    let bench = bench(&format!("shop={url},superuser=allow,tenants=*,dev"));
    for (name, changed) in [("calm", false), ("odd", true)] {
        let request = json!({"database": format!("shop/{name}")});
        let context = Caller::operator("s").context();
        let input = serde_json::from_value(request.clone()).unwrap();
        let status = MigrationStatus(bench.clone()).run(&context, input).await;
        assert_eq!(status.unwrap().drift.catalog_changed, changed, "{name}");
        let input = serde_json::from_value(request).unwrap();
        let verified = VerifySchema(bench.clone()).run(&context, input).await;
        let verified = verified.unwrap();
        let named = verified
            .differences
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>();
        let expected: &[&str] = if changed {
            &["added column odd.orders.extra", "added index odd.extra"]
        } else {
            &[]
        };
        assert_eq!(named, expected, "{name}");
    }
}

#[tokio::test]
async fn takes_names_that_need_quotes() {
    let names = [
        "plain",
        "Acme Corp",
        "o\"neil's",
        "select",
        "back\\slash",
        "zürich",
        &"long".repeat(15),
    ];
    let (_, shop) = shared(&names, ",dev").await;
    let mut heads = Vec::new();
    for name in names {
        let tenant = shop.tenant(name).unwrap();
        assert_eq!(tenant.name, format!("shop/{name}"));
        let start = fingerprint(&tenant).await;
        apply(&tenant, &Caller::operator("up"), &source(), None)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        heads.push(fingerprint(&tenant).await);
        rollback(&tenant, &Caller::coordinator("back"), version("0001"))
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(count(&tenant, "SELECT count(memo) FROM orders").await, 50);
        assert_ne!(fingerprint(&tenant).await, start);
    }
    heads.dedup();
    assert_eq!(heads.len(), 1, "all tenants stand at the same catalog");
}

/// Expand, backfill and contract of one tenant, under the names that all tenants' changes have.
#[tokio::test]
pub(super) async fn changes_a_column_online_for_each_tenant() {
    let names = ["Acme Corp", "plain"];
    let (_, shop) = shared(&names, ",dev").await;
    let online = "-- migrate: online\nALTER TABLE orders ALTER COLUMN total TYPE bigint";
    let source = migrations(
        Dialect::Postgres,
        &[("tables", PLAIN, "DROP TABLE orders"), ("big", online, "")],
    );
    let mut before = Vec::new();
    for name in names {
        let tenant = shop.tenant(name).unwrap();
        apply(&tenant, &Caller::operator("t1"), &source[..1], None)
            .await
            .unwrap();
        before.push(fingerprint(&tenant).await);
        apply(&tenant, &Caller::operator("t2"), &source, None)
            .await
            .unwrap();
        complete_on(&tenant, &Caller::operator("t3")).await.unwrap();
        let kind = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'total' AND atttypid = 'bigint'::regtype";
        assert_eq!(count(&tenant, kind).await, 1, "{name}");
    }
    let rest = contents(&shop, "plain").await;
    let acme = shop.tenant(names[0]).unwrap();
    rollback(&acme, &Caller::coordinator("t4"), version("0001"))
        .await
        .unwrap();
    before.push(fingerprint(&acme).await);
    assert!(before.iter().all(|one| *one == before[0]), "{before:?}");
    assert_eq!(
        count(&acme, "SELECT sum(total)::bigint FROM orders").await,
        1275
    );
    assert_eq!(contents(&shop, "plain").await, rest);
}

/// Runs in a process of its own and stops for ever at the given tool call.
#[tokio::test]
#[ignore = "the process that another test kills"]
async fn child() {
    let (Ok(url), Ok(point)) = (std::env::var(URL), std::env::var(POINT)) else {
        return;
    };
    let (point, seen) = (point.parse::<usize>().unwrap(), AtomicUsize::new(0));
    let caller = Caller::operator("task").hook(move |line| {
        let is_write = line.contains(".execute ") || line.contains(".commit ");
        if is_write && seen.fetch_add(1, Ordering::SeqCst) == point {
            println!("\nstopped at {line}");
            loop {
                std::thread::park();
            }
        }
        None
    });
    let tenant = whole(&url, ",dev").tenant("hurt").unwrap();
    apply(&tenant, &caller, &source(), None).await.unwrap();
    println!("\ncompleted");
}

#[tokio::test]
async fn goes_on_after_a_kill_beside_a_tenant_at_work() {
    let (url, shop) = shared(&["hurt", "well"], ",dev").await;
    let (hurt, well) = (shop.tenant("hurt").unwrap(), shop.tenant("well").unwrap());
    apply(&well, &Caller::operator("up"), &source(), None)
        .await
        .unwrap();
    let before = contents(&shop, "well").await;
    let mut killed = 0;
    for point in [0, 7, 3, 5, 2] {
        let variables = [(URL, url.as_str()), (POINT, &point.to_string())];
        let mut child = process("tests::tenants::child", &variables)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let last = lines
            .map_while(Result::ok)
            .find(|line| line.starts_with("stopped at ") || line == "completed")
            .expect("the child says where it is");
        child.kill().unwrap();
        child.wait().unwrap();
        killed += usize::from(last != "completed");
    }
    assert!(killed >= 3, "killed {killed} times");
    apply(&hurt, &Caller::operator("heir"), &source(), None)
        .await
        .unwrap();
    assert_eq!(fingerprint(&hurt).await, fingerprint(&well).await);
    assert_eq!(count(&hurt, "SELECT count(*) FROM orders").await, 50);
    assert_eq!(
        contents(&shop, "well").await,
        before,
        "the other tenant was left alone"
    );
}
