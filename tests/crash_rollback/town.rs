//! A control plane, a PostgreSQL and the agents as processes, with applications that Git brings.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use control_plane::{ControlPlane, simulation::Behaviour};
use identity::SigningKey;
use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease, core::v1::Pod};
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
};
use meshctl::{
    agents::Resources,
    client::{Answer, Caller},
};
use serde_json::{Value, json};
use shared::approvals::{Decision, Statement};
use store::testing::TemporaryPostgres;
use tests::{Processes, waiting::until};
use tokio_postgres::NoTls;

pub const AUDITOR: &str = "compliance-auditor";
pub const MIGRATOR: &str = "db-migrator";
pub const COORDINATOR: &str = "rollback-coordinator";
pub const MONITOR: &str = "monitoring-agent";
/// The namespace that mesh.yaml gives the agents.
pub const SHOP: &str = "shop";
/// Pods of an application.
const PODS: i32 = 2;

const BASE: [(&str, &str); 2] = [
    (
        "0001_base.up.sql",
        "CREATE TABLE orders (id bigint PRIMARY KEY, note text); INSERT INTO orders VALUES (1, 'a'), (2, 'b');
         CREATE TABLE counted (id bigint PRIMARY KEY, n bigint NOT NULL); INSERT INTO counted VALUES (1, 0)",
    ),
    ("0001_base.down.sql", "DROP TABLE counted; DROP TABLE orders"),
];

/// Its way back shows how often it ran, and takes long enough to be killed in.
const BAD: [(&str, &str); 2] = [
    (
        "0002_remark.up.sql",
        "ALTER TABLE orders RENAME COLUMN note TO remark; UPDATE counted SET n = n + 1",
    ),
    (
        "0002_remark.down.sql",
        "UPDATE counted SET n = n - 1; SELECT pg_sleep(0.4); ALTER TABLE orders RENAME COLUMN remark TO note",
    ),
];

pub struct Town {
    processes: Processes,
    operator: Caller,
    plane: ControlPlane,
    client: Client,
    postgres: TemporaryPostgres,
    key: PathBuf,
}

fn applications(client: &Client) -> Api<DynamicObject> {
    let names = GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Application");
    let resource = ApiResource::from_gvk_with_plural(&names, "applications");
    Api::namespaced_with(client.clone(), SHOP, &resource)
}

impl Town {
    /// Starts everything; each name is that of an application and of its database.
    pub async fn start(agents: &[&str], names: &[String]) -> anyhow::Result<Self> {
        let postgres = TemporaryPostgres::start_with(&["fsync=off", "max_connections=300"])?;
        let plane = ControlPlane::start().await?;
        plane.namespace(SHOP).await?;
        let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "applications.argoproj.io"},
            "spec": {"group": "argoproj.io", "scope": "Namespaced",
                "names": {"kind": "Application", "plural": "applications", "singular": "application"},
                "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": any}}]}});
        plane.apply(&definition.to_string()).await?;
        let client = plane.client().await?;
        until("Applications to be served", || async {
            Ok(applications(&client).get_opt("nobody").await.ok())
        })
        .await?;
        let mut own_kubeconfigs = BTreeMap::new();
        for agent in [COORDINATOR, MONITOR] {
            own_kubeconfigs.insert(agent.to_owned(), plane.agent(agent).await?);
        }
        let mut databases = Vec::new();
        for name in names {
            let url = postgres.create_database(name)?;
            databases.push(format!("{name}={url},superuser=allow"));
        }
        let resources = Resources {
            own_kubeconfigs,
            databases,
            ..Resources::default()
        };
        let processes = Processes::start_on(agents, resources).await?;
        Ok(Self {
            key: processes.ground.root.join("approvers/local-approver.pem"),
            operator: processes.operator(),
            processes,
            plane,
            client,
            postgres,
        })
    }

    /// Kills an agent with SIGKILL and starts it again.
    pub async fn kill(&mut self, agent: &str) -> anyhow::Result<()> {
        self.processes.kill_and_restart(agent).await
    }

    /// Calls a skill as the operator.
    pub async fn call(&self, agent: &str, skill: &str, input: &Value) -> anyhow::Result<Answer> {
        let target = self.processes.target(agent);
        self.operator.call(&target, skill, input, None).await
    }

    /// Calls a skill that does its work.
    pub async fn ask(&self, agent: &str, skill: &str, input: &Value) -> anyhow::Result<Value> {
        let answer = self.call(agent, skill, input).await?;
        answer.ok().with_context(|| format!("{skill} with {input}"))
    }

    /// The state of a task, once it runs no longer.
    pub async fn settled(&self, agent: &str, task: &str) -> anyhow::Result<String> {
        until("a task to settle", || async {
            let task = self.ask(agent, "GetTask", &json!({"id": task})).await?;
            let state = task["status"]["state"].as_str().unwrap_or_default();
            let runs = ["TASK_STATE_SUBMITTED", "TASK_STATE_WORKING"].contains(&state);
            Ok((!runs).then(|| state.to_owned()))
        })
        .await
    }

    /// Brings version 1 of an application, then version 2 with its migration.
    pub async fn release(&self, name: &str) -> anyhow::Result<()> {
        let application = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
            "metadata": {"name": name, "namespace": SHOP},
            "spec": {"project": "default", "syncPolicy": {"automated": {"selfHeal": true, "prune": true}}},
            "status": {"sync": {"revision": "bad", "status": "OutOfSync"}, "resources": [
                {"group": "apps", "kind": "Deployment", "namespace": SHOP, "name": name, "status": "OutOfSync"}]}});
        self.plane.apply(&application.to_string()).await?;
        self.migrate(name, "1", &BASE).await?;
        self.deploy(name, "1", "0001").await?;
        let input = json!({"namespace": SHOP, "deployment": name});
        until(&format!("{name} to be known as healthy"), || async {
            let listed = self.ask(COORDINATOR, "list_revisions", &input).await?;
            let healthy = listed.pointer("/revisions/0/health") == Some(&json!("healthy"));
            Ok(healthy.then_some(()))
        })
        .await?;
        self.migrate(name, "2", &BAD).await?;
        self.deploy(name, "2", "0002").await
    }

    async fn migrate(
        &self,
        name: &str,
        release: &str,
        files: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let files = files
            .iter()
            .map(|(name, content)| json!({"name": name, "content": content}));
        let input = json!({
            "database": name, "dry_run": false, "idempotency_key": format!("{name}-{release}"), "release": release,
            "source": {"files": files.collect::<Vec<_>>()},
        });
        let answer = self.call(MIGRATOR, "apply_migration", &input).await?;
        let task = answer.task_id.clone().context("no task")?;
        let digest = answer.metadata("plan_digest");
        let statement = Statement {
            task_id: task.clone(),
            plan_digest: digest.with_context(|| format!("{answer:?}"))?.into(),
            decision: Decision::Approve,
            expires_at: "2099-01-01T00:00:00Z".into(),
        };
        let signature = SigningKey::load(&self.key)?.sign(&statement.bytes());
        let mut signed = json!(statement);
        let signature: &[u8] = signature.as_ref();
        signed["signature"] = STANDARD.encode(signature).into();
        self.ask(MIGRATOR, "decide_approval", &signed).await?;
        let state = self.settled(MIGRATOR, &task).await?;
        ensure!(state == "TASK_STATE_COMPLETED", "{name} {release}: {state}");
        Ok(())
    }

    async fn deploy(&self, name: &str, version: &str, schema: &str) -> anyhow::Result<()> {
        let brief = Behaviour::healthy().starts_after(0.3).stops_after(0.1);
        let mut annotations = brief.annotations();
        let own = [
            ("version", version),
            ("ossa.io/database", name),
            ("ossa.io/schema-version", schema),
        ];
        annotations.extend(own.map(|(key, value)| (key.to_owned(), value.to_owned())));
        let container = json!({"name": "app", "image": format!("example/{name}:{version}"),
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1}});
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "namespace": SHOP,
                "annotations": {"argocd.argoproj.io/tracking-id": format!("{name}:apps/Deployment:{SHOP}/{name}")}},
            "spec": {"replicas": PODS, "selector": {"matchLabels": {"app": name}}, "template": {
                "metadata": {"labels": {"app": name}, "annotations": annotations},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}}}});
        self.plane.apply(&object.to_string()).await?;
        self.runs_alone(name, version).await
    }

    /// Waits until a version runs alone, all its pods ready.
    async fn runs_alone(&self, name: &str, version: &str) -> anyhow::Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), SHOP);
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), SHOP);
        let own = ListParams::default().labels(&format!("app={name}"));
        until(&format!("{name} to run version {version}"), || async {
            let found = deployments.get(name).await?;
            let ready = found.status.and_then(|status| status.ready_replicas);
            let pods = pods.list(&own).await?;
            let others = pods.iter().any(|pod| {
                let annotations = pod.metadata.annotations.iter().flatten();
                let mut own = annotations.filter(|(key, _)| *key == "version");
                own.next().is_none_or(|(_, value)| value != version)
            });
            Ok((ready == Some(PODS) && !others).then_some(()))
        })
        .await
    }

    /// Whether an application is back: its pods, its schema and its lock.
    pub async fn is_back(&self, name: &str) -> anyhow::Result<()> {
        self.runs_alone(name, "1").await?;
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), SHOP);
        let spec = deployments.get(name).await?.spec;
        ensure!(
            (spec.replicas, spec.paused.unwrap_or(false)) == (Some(PODS), false),
            "{spec:?}"
        );
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), SHOP);
        let lease = leases.get(&format!("rollback-deployment-{name}")).await?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity);
        ensure!(
            holder.as_deref().unwrap_or_default().is_empty(),
            "{holder:?} holds the lock"
        );
        self.is_reverted_once(name).await
    }

    async fn is_reverted_once(&self, name: &str) -> anyhow::Result<()> {
        let (client, connection) = tokio_postgres::connect(&self.postgres.url(name), NoTls).await?;
        tokio::spawn(connection);
        let ran: i64 = client.query_one("SELECT n FROM counted", &[]).await?.get(0);
        ensure!(ran == 0, "the way back left the counter at {ran}");
        let notes = client
            .query("SELECT note FROM orders ORDER BY id", &[])
            .await?;
        let notes: Vec<String> = notes.iter().map(|row| row.get(0)).collect();
        ensure!(notes == ["a", "b"], "{notes:?}");
        let status = self
            .ask(MIGRATOR, "migration_status", &json!({"database": name}))
            .await?;
        ensure!(status["head"] == "0001", "{status:#}");
        ensure!(status["last_run"]["outcome"] == "completed", "{status:#}");
        Ok(())
    }

    /// Git is paused until it holds the good revision, and goes on then.
    pub async fn git_goes_on(&self, name: &str) -> anyhow::Result<()> {
        let api = applications(&self.client);
        let paused = json!(api.get(name).await?);
        ensure!(
            paused.pointer("/spec/syncPolicy/automated/enabled") == Some(&json!(false)),
            "{paused:#}"
        );
        let status = json!({"status": {"sync": {"revision": "good", "status": "Synced"}, "resources": [
            {"group": "apps", "kind": "Deployment", "namespace": SHOP, "name": name, "status": "Synced"}]}});
        api.patch(name, &PatchParams::default(), &Patch::Merge(&status))
            .await?;
        until(&format!("the Application {name} to go on"), || async {
            let live = json!(api.get(name).await?);
            let as_before = json!({"selfHeal": true, "prune": true});
            let goes_on = live.pointer("/spec/syncPolicy/automated") == Some(&as_before);
            let held = live.pointer("/metadata/annotations/ossa.io~1held-by-rollback");
            Ok((goes_on && held.is_none()).then_some(()))
        })
        .await
    }
}
