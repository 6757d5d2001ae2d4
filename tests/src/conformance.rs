//! The behaviour that conformance kits ask of an agent: what it does stands in a message's id or in its first text.
//!
//! The official kit (TCK) names it by the prefix of `messageId`, ACTS by the prefix of the text. A message that names
//! nothing continues what its task began with.

use std::time::Duration;

use a2a::types::{Artifact, Message, Part, Role};
use anyhow::bail;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::{
    Context, Skill, SkillError,
    converse::{Converse, Reply, Turn},
    testing::OpenAgent,
};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::acts::wire::Endpoint;

/// How long `tck-long-running` works, seconds: ACTS polls at once and every two seconds, and must see it working.
const LONG: Duration = Duration::from_secs(1);
/// How long `tck-delayed-complete` works, seconds: once the TCK's streaming timeout.
const DELAYED: Duration = Duration::from_secs(2);
/// How long `test-resubscribe-message-id` works, seconds: twice the TCK's streaming timeout, and a margin.
const RESUBSCRIBED: Duration = Duration::from_secs(5);

/// What a name asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    /// Answers without a task.
    Message,
    /// Yields one artifact of a kind, after a while.
    Artifact(Content, Duration),
    /// Yields one artifact in two chunks.
    Chunks,
    /// Completes without any artifact.
    Nothing,
    /// Works until it is cancelled.
    UntilCanceled,
    /// Asks for input.
    Ask,
    /// Asks for input until the text begins with `done`.
    AskUntilDone,
    /// Asks for an approval.
    Approval,
    /// Fails.
    Fail,
    /// Refuses.
    Reject,
    /// Fails, since nobody knows what is meant.
    Unknown,
}

/// What an artifact holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Text(&'static str),
    File,
    FileUrl,
    Data,
}

impl Content {
    fn part(self) -> Part {
        let file = Part {
            media_type: Some("text/plain".into()),
            filename: Some("output.txt".into()),
            ..Part::default()
        };
        match self {
            Self::Text(text) => Part::text(text),
            Self::File => Part {
                raw: Some(STANDARD.encode("tck")),
                ..file
            },
            Self::FileUrl => Part {
                url: Some("https://example.com/output.txt".into()),
                ..file
            },
            Self::Data => Part::json(json!({"key": "value", "count": 42})),
        }
    }
}

/// Behaviours by name. The longest name that fits wins.
const BEHAVIOURS: [(&str, Behaviour); 25] = {
    use Behaviour::{
        Approval, Artifact, Ask, AskUntilDone, Chunks, Fail, Message, Nothing, Reject,
        UntilCanceled,
    };
    use Content::{Data, File, FileUrl, Text};
    const NOW: Duration = Duration::ZERO;
    [
        ("tck-complete-task", Artifact(Text("Hello from TCK"), NOW)),
        ("tck-task-helper", Artifact(Text("Hello from TCK"), NOW)),
        (
            "tck-delayed-complete",
            Artifact(Text("Done after delay"), DELAYED),
        ),
        (
            "tck-long-running",
            Artifact(Text("Done after a while"), LONG),
        ),
        (
            "test-resubscribe-message-id",
            Artifact(Text("Done at last"), RESUBSCRIBED),
        ),
        (
            "tck-artifact-text",
            Artifact(Text("Generated text content"), NOW),
        ),
        ("tck-artifact-file", Artifact(File, NOW)),
        ("tck-artifact-file-url", Artifact(FileUrl, NOW)),
        ("tck-artifact-data", Artifact(Data, NOW)),
        (
            "tck-stream-001",
            Artifact(Text("Stream hello from TCK"), NOW),
        ),
        ("tck-stream-002", Nothing),
        (
            "tck-stream-003",
            Artifact(Text("Stream task lifecycle"), NOW),
        ),
        (
            "tck-stream-ordering-001",
            Artifact(Text("Ordered output"), NOW),
        ),
        (
            "tck-stream-artifact-text",
            Artifact(Text("Streamed text content"), NOW),
        ),
        ("tck-stream-artifact-file", Artifact(File, NOW)),
        ("tck-stream-artifact-chunked", Chunks),
        ("tck-stream-chunked", Chunks),
        ("tck-stream-basic", Artifact(Text("Streamed content"), NOW)),
        ("tck-message-response", Message),
        ("tck-cancel", UntilCanceled),
        ("tck-input-required", Ask),
        ("tck-multi-turn", AskUntilDone),
        ("tck-auth-required", Approval),
        ("tck-task-failure", Fail),
        ("tck-reject-task", Reject),
    ]
};

/// The behaviour that a name begins with.
fn named(name: &str) -> Option<Behaviour> {
    BEHAVIOURS
        .iter()
        .filter(|(prefix, _)| name.starts_with(prefix))
        .max_by_key(|(prefix, _)| prefix.len())
        .map(|(_, behaviour)| *behaviour)
}

fn text(message: &Message) -> &str {
    message
        .parts
        .first()
        .and_then(|part| part.text.as_deref())
        .unwrap_or_default()
        .trim()
}

/// The behaviour that a message names by its id or by its text.
fn asked(message: &Message) -> Option<Behaviour> {
    named(&message.message_id)
        .or_else(|| named(text(message)))
        .or_else(|| {
            text(message)
                .starts_with("tck-")
                .then_some(Behaviour::Unknown)
        })
}

/// The behaviour of a turn: the message's own, that of the task's first message, or the default of the kits.
fn behaviour(turn: &Turn<'_>) -> Behaviour {
    let opening = || {
        let history = &turn.task?.history;
        asked(history.iter().find(|message| message.role == Role::User)?)
    };
    asked(turn.message)
        .or_else(opening)
        .unwrap_or(Behaviour::Artifact(
            Content::Text("Hello from TCK"),
            Duration::ZERO,
        ))
}

/// An agent that does what conformance kits ask.
#[derive(Debug, Clone, Copy)]
pub struct Conformance;

impl Converse for Conformance {
    fn reply(&self, turn: &Turn<'_>) -> Reply {
        let behaviour = behaviour(turn);
        if behaviour == Behaviour::Message {
            return Reply::Message(vec![Part::text("Direct message response")]);
        }
        let said = text(turn.message).to_owned();
        Reply::Task(Box::new(move |context| run(behaviour, said, context)))
    }
}

fn run(
    behaviour: Behaviour,
    said: String,
    context: Context,
) -> BoxFuture<'static, Result<(), SkillError>> {
    Box::pin(async move {
        match behaviour {
            Behaviour::Artifact(content, pause) => {
                work(&context, pause).await?;
                context.artifact(artifact(content.part()), false, true)
            }
            Behaviour::Chunks => {
                let chunk = |text| artifact(Part::text(text));
                context.artifact(chunk("chunk-1 "), false, false)?;
                context.artifact(chunk("chunk-2"), true, true)
            }
            Behaviour::UntilCanceled => {
                context.canceled().await;
                Err(SkillError::Canceled)
            }
            Behaviour::AskUntilDone if said.starts_with("done") => {
                context.artifact(artifact(Part::text("All said")), false, true)
            }
            Behaviour::Ask | Behaviour::AskUntilDone => {
                Err(SkillError::InputRequired("What else?".into()))
            }
            Behaviour::Approval => Err(SkillError::ApprovalRequired {
                plan_digest: "0".repeat(64),
                summary: "this work".into(),
            }),
            Behaviour::Fail => Err(SkillError::failed("the work failed, as it was asked to")),
            Behaviour::Reject => Err(SkillError::rejected(
                "parts[0].text",
                "other work",
                "rejected",
            )),
            Behaviour::Unknown => Err(SkillError::failed(format!("no such behaviour: {said}"))),
            Behaviour::Nothing | Behaviour::Message => Ok(()),
        }
    })
}

/// Works for a while, unless the task is cancelled.
async fn work(context: &Context, pause: Duration) -> Result<(), SkillError> {
    tokio::select! {
        () = tokio::time::sleep(pause) => context.check_canceled(),
        () = context.canceled() => Err(SkillError::Canceled),
    }
}

/// What to say again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EchoInput {
    /// The words.
    text: String,
}

/// What was said.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EchoOutput {
    /// The words.
    text: String,
}

/// A skill as this mesh's agents have them, so that other people's clients can call one.
#[derive(Debug, Clone, Copy)]
pub struct Echo;

impl Skill for Echo {
    const ID: &'static str = "echo";
    const NAME: &'static str = "Echo";
    const DESCRIPTION: &'static str = "Takes a text and gives it back.";
    const TAGS: &'static [&'static str] = &["conformance"];
    type Input = EchoInput;
    type Output = EchoOutput;

    async fn run(&self, _: &Context, input: EchoInput) -> Result<EchoOutput, SkillError> {
        Ok(EchoOutput { text: input.text })
    }
}

/// An agent with that behaviour and all capabilities.
pub fn agent() -> OpenAgent {
    OpenAgent::new("conformance-agent")
        .skill(Echo)
        .converse(Conformance)
}

/// An agent that serves until it is dropped.
#[derive(Debug)]
pub struct Running {
    /// Where it is.
    pub url: String,
    _stop: DropGuard,
}

impl Running {
    /// Serves an agent on a free port of loopback.
    ///
    /// # Errors
    /// What keeps it from serving.
    pub async fn start(agent: OpenAgent) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let stop = CancellationToken::new();
        let mut serving = tokio::spawn(agent.serve(listener, stop.clone()));
        tokio::select! {
            ended = &mut serving => {
                ended??;
                bail!("the agent ended at once")
            }
            answered = Endpoint::discover(&url) => answered?,
        };
        Ok(Self {
            url,
            _stop: stop.drop_guard(),
        })
    }
}

fn artifact(part: Part) -> Artifact {
    Artifact {
        artifact_id: "output".into(),
        name: Some("output".into()),
        description: None,
        parts: vec![part],
        metadata: None,
        extensions: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_wins() {
        assert_eq!(
            named("tck-artifact-file-url-7"),
            Some(Behaviour::Artifact(Content::FileUrl, Duration::ZERO))
        );
        assert_eq!(
            named("tck-artifact-file document"),
            Some(Behaviour::Artifact(Content::File, Duration::ZERO))
        );
        assert_eq!(named("hello"), None);
    }

    #[test]
    fn the_message_goes_before_the_task() {
        let message = |id: &str, said: &str| Message {
            message_id: id.into(),
            role: Role::User,
            parts: vec![Part::text(said)],
            context_id: None,
            task_id: None,
            metadata: None,
            extensions: Vec::new(),
            reference_task_ids: Vec::new(),
        };
        assert_eq!(
            asked(&message("tck-input-required-1", "hi")),
            Some(Behaviour::Ask)
        );
        assert_eq!(
            asked(&message("7", "tck-cancel start")),
            Some(Behaviour::UntilCanceled)
        );
        assert_eq!(asked(&message("7", "tck-other")), Some(Behaviour::Unknown));
        assert_eq!(asked(&message("7", "done")), None);
    }
}
