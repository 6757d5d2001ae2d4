//! One PostgreSQL, one embedded cluster and all agents, on which every scene has a database and a workload of its own.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use identity::SigningKey;
use k8s_openapi::api::{
    apps::v1::Deployment,
    coordination::v1::Lease,
    core::v1::{Namespace, Pod},
};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use meshctl::{
    agents::Resources,
    client::{Answer, Caller, Target},
};
use serde_json::{Value, json};
use shared::approvals::{Decision, Statement};
use store::testing::TemporaryPostgres;
use tests::{Mesh, waiting::until};
use tokio_postgres::NoTls;

/// The namespace that mesh.yaml gives the agents.
pub const NAMESPACE: &str = "shop";
/// The role that owns the databases.
const OWNER: &str = "shopkeeper";
/// The database that all others are copied from.
pub const BASE: &str = "base";
/// From a pod's deletion to its end: long enough for its queries to meet a schema that moves too early.
const STOP_AFTER: Duration = Duration::from_millis(300);

/// What scenes happen on.
pub struct Stage {
    mesh: Mesh,
    postgres: TemporaryPostgres,
    client: Client,
    operator: Caller,
    key: PathBuf,
    _folder: tempfile::TempDir,
}

/// The same address for the role that owns the databases: migrations run as no superuser.
fn own(url: &str) -> String {
    url.replacen("postgres@", &format!("{OWNER}@"), 1)
}

/// A session on a database; it ends when dropped.
pub async fn session(url: &str) -> anyhow::Result<tokio_postgres::Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

impl Stage {
    /// Starts everything; `names` are those of the databases to come.
    pub async fn start(names: &[&str]) -> anyhow::Result<Self> {
        let postgres = TemporaryPostgres::start_with(&["fsync=off", "max_connections=300"])?;
        let folder = tempfile::tempdir()?;
        let settings = cluster_model::Settings {
            ready_after: Duration::from_millis(60),
            stop_after: STOP_AFTER,
            history: 100_000,
            ..cluster_model::Settings::default()
        };
        let model = cluster_model::Model::bind("127.0.0.1:0".parse()?, settings).await?;
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, model.kubeconfig())?;
        tokio::spawn(model.serve(std::future::pending()));
        let admin = session(&postgres.url("postgres")).await?;
        let role =
            format!("CREATE ROLE {OWNER} LOGIN CREATEDB; CREATE DATABASE {BASE} OWNER {OWNER}");
        for statement in role.split("; ") {
            admin.batch_execute(statement).await?;
        }
        let databases = names.iter().chain([&BASE]);
        let mesh = Mesh::start_on(Resources {
            kubeconfig: Some(kubeconfig.clone()),
            databases: databases
                .map(|name| format!("{name}={}", own(&postgres.url(name))))
                .collect(),
            ..Resources::default()
        })
        .await?;
        let config = kube::config::Kubeconfig::read_from(&kubeconfig)?;
        let options = kube::config::KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(config, &options).await?;
        let client = Client::try_from(config)?;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let shop = json!({"metadata": {"name": NAMESPACE}});
        let shop = serde_json::from_value(shop)?;
        namespaces.create(&PostParams::default(), &shop).await?;
        Ok(Self {
            operator: mesh.caller("operator"),
            key: mesh.ground.root.join("approvers/local-approver.pem"),
            mesh,
            postgres,
            client,
            _folder: folder,
        })
    }

    /// Stops the agents.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.mesh.stop().await
    }

    /// Address of a database.
    pub fn url(&self, database: &str) -> String {
        own(&self.postgres.url(database))
    }

    /// Makes a database that has the schema and the rows of the base, with its ledger.
    pub async fn copy(&self, database: &str) -> anyhow::Result<()> {
        let admin = session(&self.postgres.url("postgres")).await?;
        let sql = format!("CREATE DATABASE \"{database}\" TEMPLATE {BASE} OWNER {OWNER}");
        Ok(admin.batch_execute(&sql).await?)
    }

    /// Calls a skill as the operator.
    pub async fn call(&self, agent: &str, skill: &str, input: &Value) -> anyhow::Result<Answer> {
        let target: Target = self.mesh.target(agent);
        self.operator.call(&target, skill, input, None).await
    }

    /// Calls a skill that does its work.
    pub async fn ask(&self, agent: &str, skill: &str, input: &Value) -> anyhow::Result<Value> {
        let answer = self.call(agent, skill, input).await?;
        answer.ok().with_context(|| format!("{skill} with {input}"))
    }

    /// Signs a decision about a waiting task.
    pub async fn decide(
        &self,
        agent: &str,
        (task, digest): (&str, &str),
        decision: Decision,
    ) -> anyhow::Result<()> {
        let statement = Statement {
            task_id: task.into(),
            plan_digest: digest.into(),
            decision,
            expires_at: "2099-01-01T00:00:00Z".into(),
        };
        let signature = SigningKey::load(&self.key)?.sign(&statement.bytes());
        let mut signed = json!(statement);
        signed["signature"] = base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            AsRef::<[u8]>::as_ref(&signature),
        )
        .into();
        self.ask(agent, "decide_approval", &signed).await.map(drop)
    }

    /// The state of a task, once it runs no longer.
    pub async fn settled(&self, agent: &str, task: &str) -> anyhow::Result<String> {
        let input = json!({"id": task});
        until("a task to settle", || async {
            let task = self.ask(agent, "GetTask", &input).await?;
            let state = task["status"]["state"].as_str().unwrap_or_default();
            let runs = ["TASK_STATE_SUBMITTED", "TASK_STATE_WORKING"].contains(&state);
            Ok((!runs).then(|| state.to_owned()))
        })
        .await
    }

    /// Calls a skill of db-migrator and signs whatever it wants signed.
    pub async fn signed(&self, skill: &str, input: &Value) -> anyhow::Result<Answer> {
        let answer = self.call("db-migrator", skill, input).await?;
        if answer.reason() != Some("TASK_AUTH_REQUIRED") {
            return Ok(answer);
        }
        let task = answer.task_id.clone().context("no task")?;
        let digest = answer.metadata("plan_digest").context("no digest")?;
        self.decide("db-migrator", (&task, digest), Decision::Approve)
            .await?;
        self.settled("db-migrator", &task).await?;
        self.call("db-migrator", skill, input).await
    }

    /// Workloads of the namespace.
    pub fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Pods of the namespace.
    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Puts a Deployment there, or another template of it.
    pub async fn deploy(&self, name: &str, labels: Labels<'_>) -> anyhow::Result<()> {
        let mut annotations = BTreeMap::from([("version", labels.version)]);
        if let Some((database, schema)) = labels.schema {
            annotations.extend([
                ("ossa.io/database", database),
                ("ossa.io/schema-version", schema),
            ]);
        }
        let probe = json!({"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1});
        let object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {"replicas": labels.replicas, "selector": {"matchLabels": {"app": name}}, "template": {
                "metadata": {"labels": {"app": name}, "annotations": annotations},
                "spec": {"containers": [{
                    "name": "app", "image": format!("example/{name}:{}", labels.version), "readinessProbe": probe}]}}}});
        let apply = PatchParams::apply("release").force();
        let deployments = self.deployments();
        deployments
            .patch(name, &apply, &Patch::Apply(&object))
            .await?;
        Ok(())
    }

    /// Waits until a version runs alone, all its pods ready.
    pub async fn rolled_out(&self, name: &str, version: &str) -> anyhow::Result<()> {
        let own = ListParams::default().labels(&format!("app={name}"));
        until(&format!("{name} to run version {version}"), || async {
            let found = self.deployments().get(name).await?;
            let pods = self.pods().list(&own).await?;
            let others = pods.iter().any(|pod| version_of(pod) != Some(version));
            let ready = found
                .status
                .as_ref()
                .and_then(|status| status.ready_replicas);
            let seen = found.status.and_then(|status| status.observed_generation);
            let whole = ready.unwrap_or(0) == found.spec.replicas.unwrap_or(1)
                && seen == found.metadata.generation;
            Ok((whole && !others).then_some(()))
        })
        .await
    }

    /// Waits until the coordinator would go back to what is in force.
    pub async fn learned(&self, name: &str) -> anyhow::Result<()> {
        let input = json!({"namespace": NAMESPACE, "deployment": name});
        until(&format!("{name} to be known as healthy"), || async {
            let listed = self
                .ask("rollback-coordinator", "list_revisions", &input)
                .await?;
            let all = listed["revisions"].as_array().cloned().unwrap_or_default();
            let newest = all.iter().max_by_key(|one| one["revision"].as_u64());
            Ok(newest
                .is_some_and(|one| one["health"] == "healthy")
                .then_some(()))
        })
        .await
    }

    /// Who holds the lock of a workload.
    pub async fn holder(&self, name: &str) -> anyhow::Result<Option<String>> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), NAMESPACE);
        let lease = leases
            .get_opt(&format!("rollback-deployment-{name}"))
            .await?;
        let holder = lease.and_then(|lease| lease.spec?.holder_identity);
        Ok(holder.filter(|holder| !holder.is_empty()))
    }

    /// The tasks of db-migrator that wait for somebody to sign going back with a database.
    pub async fn waiting(&self, database: &str) -> anyhow::Result<Vec<(String, String)>> {
        let listed = self
            .ask("db-migrator", "list_approvals", &json!({}))
            .await?;
        let all = listed["approvals"].as_array().cloned().unwrap_or_default();
        let name = format!("of database {database} ");
        let own = all.iter().filter(|one| {
            one["caller"] == "rollback-coordinator"
                && one["summary"]
                    .as_str()
                    .is_some_and(|said| said.contains(&name))
        });
        let text = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
        Ok(own
            .map(|one| (text(one, "task_id"), text(one, "plan_digest")))
            .collect())
    }

    /// What the ledger says.
    pub async fn status(&self, database: &str) -> anyhow::Result<Value> {
        let input = json!({"database": database});
        self.ask("db-migrator", "migration_status", &input).await
    }

    /// Applies files as a release.
    pub async fn apply(&self, input: &Value) -> anyhow::Result<()> {
        let answer = self.signed("apply_migration", input).await?;
        match answer.result {
            Ok(_) => Ok(()),
            Err(error) => bail!("apply_migration: {error}"),
        }
    }
}

/// What a Deployment declares.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a> {
    /// Version of the application.
    pub version: &'a str,
    /// Database and schema version.
    pub schema: Option<(&'a str, &'a str)>,
    /// Pods.
    pub replicas: u32,
}

/// The version of the application in a pod.
pub fn version_of(pod: &Pod) -> Option<&str> {
    let annotations = pod.metadata.annotations.as_ref()?;
    annotations.get("version").map(String::as_str)
}
