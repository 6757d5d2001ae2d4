//! What an agent makes of a message that names none of its skills.

use a2a::types::{Message, Part, Task};
use futures::future::BoxFuture;

use crate::{Context, SkillError};

/// A message, and the task that it continues.
#[derive(Debug)]
pub struct Turn<'a> {
    /// The message.
    pub message: &'a Message,
    /// The waiting task that it continues.
    pub task: Option<&'a Task>,
}

/// The work that a message asks for; it adds its artifacts through the context.
pub type Talk = Box<dyn FnOnce(Context) -> BoxFuture<'static, Result<(), SkillError>> + Send>;

/// How a message is answered.
pub enum Reply {
    /// At once, without a task.
    Message(Vec<Part>),
    /// By a task.
    Task(Talk),
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Message(parts) => f.debug_tuple("Message").field(parts).finish(),
            Self::Task(_) => f.write_str("Task"),
        }
    }
}

/// Answers messages that name no skill.
pub trait Converse: Send + Sync + 'static {
    /// Decides; the work itself happens in the task.
    fn reply(&self, turn: &Turn<'_>) -> Reply;
}

/// Asks which skill is meant.
pub(crate) struct AskForSkill(pub(crate) Vec<&'static str>);

impl Converse for AskForSkill {
    fn reply(&self, _: &Turn<'_>) -> Reply {
        let say = format!(
            "Send a data part {{\"skill\": ..., \"input\": {{...}}}}. Skills: {}.",
            self.0.join(", ")
        );
        Reply::Task(Box::new(move |_| {
            Box::pin(async move { Err(SkillError::InputRequired(say)) })
        }))
    }
}
