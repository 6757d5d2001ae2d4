//! Push notifications.

use a2a::types::{ListPushConfigsResponse, PushConfig};
use store::Write;

use crate::{
    a2a::fault::{Fault, Kind},
    tasks::Record,
};

/// Collection of the configurations; their scope is the task.
pub(crate) const CONFIGS: &str = "push_configs";

/// Push notifications of one agent.
#[derive(Debug, Clone)]
pub(crate) struct Push;

/// A configuration that may be used.
pub(crate) struct Checked(PushConfig);

fn later() -> Fault {
    Fault::new(Kind::PushNotificationNotSupported, "later")
}

impl Push {
    /// Says that a task has changed.
    pub(crate) fn wake(&self) {}

    pub(crate) fn check(&self, config: PushConfig) -> Result<Checked, Fault> {
        Ok(Checked(config))
    }
    pub(crate) fn write(&self, checked: Checked, task_id: &str, owner: &str) -> Write {
        let _ = (checked.0, task_id, owner);
        Write::Delete {
            collection: CONFIGS,
            key: String::new(),
        }
    }
    pub(crate) async fn create(
        &self,
        _checked: Checked,
        _record: &Record,
    ) -> Result<PushConfig, Fault> {
        Err(later())
    }
    pub(crate) async fn get(&self, _task_id: &str, _id: &str) -> Result<PushConfig, Fault> {
        Err(later())
    }
    pub(crate) async fn list(
        &self,
        _task_id: &str,
        _size: usize,
        _token: Option<&str>,
    ) -> Result<ListPushConfigsResponse, Fault> {
        Err(later())
    }
    pub(crate) async fn delete(&self, _task_id: &str, _id: &str) -> Result<(), Fault> {
        Err(later())
    }
}
