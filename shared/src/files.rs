//! Files that come in a message beside the part that names a skill: its `raw` parts.

use std::fmt;

use a2a::types::{Message, Part, Role};
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Map, Value, json};

use crate::{digest, tasks::Record};

/// One file of a message.
#[derive(Clone, PartialEq, Eq)]
pub struct InputFile {
    /// Its name, as the caller gives it; check it before use.
    pub name: Option<String>,
    /// Its media type, when the caller names one.
    pub media_type: Option<String>,
    /// What it holds.
    pub content: Vec<u8>,
}

/// Its `Debug` never shows what a file holds.
impl fmt::Debug for InputFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InputFile")
            .field("name", &self.name)
            .field("media_type", &self.media_type)
            .field("bytes", &self.content.len())
            .finish()
    }
}

/// The files of a task: those of the newest message that named its skill, also when the task runs again later.
pub(crate) fn of_task(record: &Record) -> Vec<InputFile> {
    let named = |message: &&Message| {
        message.role == Role::User && message.parts.iter().any(|part| names(part, record))
    };
    let asked = record.task.history.iter().rfind(named);
    asked.map_or_else(Vec::new, of_message)
}

fn names(part: &Part, record: &Record) -> bool {
    let named = part.data.as_ref().and_then(|data| data.get("skill"));
    named.is_some() && named.and_then(Value::as_str) == record.skill.as_deref()
}

fn of_message(message: &Message) -> Vec<InputFile> {
    let files = message.parts.iter().filter_map(|part| {
        Some(InputFile {
            name: part.filename.clone(),
            media_type: part.media_type.clone(),
            content: decode(part.raw.as_deref()?)?,
        })
    });
    files.collect()
}

/// Both alphabets, padded or not, as writers of `ProtoJSON` differ.
fn decode(raw: &str) -> Option<Vec<u8>> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let plain = raw.replace('-', "+").replace('_', "/");
    GeneralPurpose::new(&alphabet::STANDARD, config)
        .decode(plain)
        .ok()
}

/// Digest of an input with the files that came with it: the same input with other files is another call.
pub(crate) fn digest_with(input: &Map<String, Value>, message: Option<&Message>) -> String {
    let files = message.map_or_else(Vec::new, of_message);
    if files.is_empty() {
        return digest::of_json(input);
    }
    let files = files.iter().map(|file| {
        let InputFile {
            name,
            media_type,
            content,
        } = file;
        json!({"name": name, "media_type": media_type, "sha256": digest::of_bytes(content)})
    });
    digest::of_json(&json!({"input": input, "files": files.collect::<Vec<_>>()}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_both_alphabets_padded_or_not() {
        for raw in ["+/8=", "+/8", "-_8=", "-_8"] {
            assert_eq!(decode(raw), Some(vec![0xfb, 0xff]), "{raw}");
        }
        assert_eq!(decode("?"), None);
    }

    #[test]
    fn takes_the_files_of_the_message_that_named_the_skill() {
        let said = |role: Role, parts: Value| Message {
            message_id: "m".into(),
            role,
            parts: serde_json::from_value(parts).unwrap(),
            context_id: None,
            task_id: None,
            metadata: None,
            extensions: Vec::new(),
            reference_task_ids: Vec::new(),
        };
        let asks = json!({"data": {"skill": "s"}});
        let mut record = Record {
            skill: Some("s".into()),
            ..Record::default()
        };
        assert_eq!(of_task(&record), []);
        record.task.history = vec![
            said(
                Role::User,
                json!([asks, {"raw": "AA==", "filename": "old"}]),
            ),
            said(Role::Agent, json!([{"text": "which?"}])),
            said(
                Role::User,
                json!([{"raw": "AA==", "filename": "new"}, asks]),
            ),
            said(Role::User, json!([{"text": "go on"}, {"raw": "AA=="}])),
        ];
        let names = of_task(&record).into_iter().map(|file| file.name);
        assert_eq!(names.collect::<Vec<_>>(), [Some("new".to_owned())]);
        record.skill = None;
        assert_eq!(of_task(&record), []);
    }

    #[test]
    fn never_shows_what_a_file_holds() {
        let file = InputFile {
            name: Some("a.sql".into()),
            media_type: None,
            content: b"hunter2".to_vec(),
        };
        let shown = format!("{file:?}");
        assert!(shown.contains("a.sql") && shown.contains("bytes: 7"));
        assert!(!shown.contains("hunter2") && !shown.contains("104"));
    }
}
