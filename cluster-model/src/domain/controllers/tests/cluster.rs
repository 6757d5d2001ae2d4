//! A cluster on a clock of its own.

use super::*;

/// A cluster on a clock of its own.
pub(super) struct Cluster {
    pub(super) state: State,
    pub(super) now: OffsetDateTime,
}

impl Cluster {
    pub(super) fn new() -> Self {
        let state = State::new(Settings::default());
        let now = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
        let mut cluster = Self { state, now };
        cluster.create(&NODES, "", json!({"metadata": {"name": "n1"}}));
        cluster.create(&NAMESPACES, "", json!({"metadata": {"name": "shop"}}));
        cluster
    }

    pub(super) fn create(&mut self, kind: &'static Kind, place: &str, object: Value) {
        verbs::create(&mut self.state, kind, place, (object, false), self.now).unwrap();
        step(&mut self.state, self.now);
    }

    /// Plays from one deadline to the next for this long.
    pub(super) fn play(&mut self, time: Duration) {
        let end = self.now + time;
        let mut next = step(&mut self.state, self.now);
        while let Some(at) = next.filter(|at| *at <= end) {
            self.now = self.now.max(at);
            next = step(&mut self.state, self.now);
        }
        self.now = end;
        step(&mut self.state, end);
    }

    /// Plays until nothing happens for ten seconds, at most ten minutes.
    pub(super) fn settle(&mut self) {
        for _ in 0..60 {
            let before = self.state.revision();
            self.play(Duration::from_secs(10));
            if self.state.revision() == before {
                return;
            }
        }
        panic!("does not settle");
    }

    pub(super) fn patch(&mut self, patch: &Patch) {
        let key = Key::new(&DEPLOYMENTS, "shop", "web");
        verbs::patch(&mut self.state, &key, Part::Main, (patch, false), self.now).unwrap();
        step(&mut self.state, self.now);
    }

    pub(super) fn merge(&mut self, change: Value) {
        self.patch(&Patch::Strategic(change));
    }

    pub(super) fn web(&self) -> Value {
        let key = Key::new(&DEPLOYMENTS, "shop", "web");
        (**self.state.get(&key).unwrap()).clone()
    }

    pub(super) fn all(&self, kind: &'static Kind) -> Vec<Value> {
        let found = self.state.list(kind, Some("shop"));
        found.map(|(_, object)| (**object).clone()).collect()
    }

    /// Replicas of each revision number.
    pub(super) fn revisions(&self) -> BTreeMap<String, i64> {
        let sets = self.all(&REPLICA_SETS).into_iter();
        sets.map(|set| {
            let number = annotation(&set, "deployment.kubernetes.io/revision");
            (number.to_owned(), int(&set, "/spec/replicas").unwrap())
        })
        .collect()
    }

    pub(super) fn reasons(&self, kind: &str) -> Vec<String> {
        let events = self.all(&EVENTS).into_iter();
        let of_kind = events.filter(|event| text(event, "/type") == kind);
        of_kind
            .map(|event| text(&event, "/reason").to_owned())
            .collect()
    }
}

pub(super) fn web(replicas: i64, image: &str) -> Value {
    json!({
        "metadata": {"name": "web", "annotations": {"team": "shop"}},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": image}]}}}})
}

pub(super) fn image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}})
}

pub(super) fn behavior(image: &str, behavior: &str) -> Value {
    let mut change = self::image(image);
    change["spec"]["template"]["metadata"]["annotations"] = json!({BEHAVIOR: behavior});
    change
}

pub(super) fn reason(object: &Value, kind: &str) -> (String, String) {
    let condition = condition(object, kind).unwrap_or(&Value::Null);
    let word = |field| text(condition, field).to_owned();
    (word("/status"), word("/reason"))
}

pub(super) fn pair(a: &str, b: &str) -> (String, String) {
    (a.to_owned(), b.to_owned())
}
