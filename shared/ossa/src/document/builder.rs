//! Turns the parser's events into a value and the places of its parts.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};
use serde_json::{Map, Value};

use super::{Document, Position, SyntaxError, child, scalar};

type Positions = HashMap<String, Position>;

pub(super) fn build(text: &str) -> Result<(Value, Positions), SyntaxError> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| unreadable(&error))?;
        builder.take(event, span)?;
    }
    match builder.root {
        Some(root) => Ok((root, builder.positions)),
        None => Err(SyntaxError {
            position: Position { line: 1, column: 1 },
            message: "the file is empty".into(),
        }),
    }
}

#[derive(Default)]
struct Builder {
    open: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    positions: Positions,
    documents: usize,
    nodes: usize,
    pointer_bytes: usize,
    root: Option<Value>,
}

/// Most bytes that the pointers of all values may have together.
const MAX_POINTER_BYTES: usize = 16 << 20;

/// A mapping or sequence that has not ended.
struct Frame {
    pointer: String,
    anchor: usize,
    nodes_before: usize,
    content: Content,
}

enum Content {
    Sequence(Vec<Value>),
    Mapping(Map<String, Value>, Option<String>),
}

/// What an alias repeats.
struct Anchored {
    value: Value,
    nodes: usize,
    depth: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), SyntaxError> {
        let at = span.start;
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => self.start_document(at),
            Event::Alias(id) => self.repeat(id, at),
            Event::Scalar(text, style, anchor, tag) => {
                let value =
                    resolve(&text, style, tag.as_deref()).map_err(|message| error(at, message))?;
                self.scalar(value, anchor, at)
            }
            Event::SequenceStart(anchor, tag) => {
                check_tag(tag.as_deref(), "seq", at)?;
                self.start(anchor, Content::Sequence(Vec::new()), at)
            }
            Event::MappingStart(anchor, tag) => {
                check_tag(tag.as_deref(), "map", at)?;
                self.start(anchor, Content::Mapping(Map::new(), None), at)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(at),
        }
    }

    fn start_document(&mut self, at: Marker) -> Result<(), SyntaxError> {
        self.documents += 1;
        if self.documents > 1 {
            Err(error(
                at,
                "a second document begins here; one file holds one",
            ))
        } else {
            Ok(())
        }
    }

    fn start(&mut self, anchor: usize, content: Content, at: Marker) -> Result<(), SyntaxError> {
        self.count(1, at)?;
        if self.open.len() >= Document::MAX_DEPTH {
            return Err(error(
                at,
                format!("nested deeper than {} levels", Document::MAX_DEPTH),
            ));
        }
        if self.expects_key() {
            return Err(error(at, "keys must be strings"));
        }
        let pointer = self.place(at)?;
        self.open.push(Frame {
            pointer,
            anchor,
            nodes_before: self.nodes,
            content,
        });
        Ok(())
    }

    fn end(&mut self, at: Marker) -> Result<(), SyntaxError> {
        let Some(frame) = self.open.pop() else {
            return Ok(());
        };
        let value = match frame.content {
            Content::Sequence(items) => Value::Array(items),
            Content::Mapping(members, _) => Value::Object(members),
        };
        if frame.anchor > 0 {
            let anchored = Anchored {
                depth: depth(&value),
                value: value.clone(),
                nodes: 1 + self.nodes - frame.nodes_before,
            };
            self.anchors.insert(frame.anchor, anchored);
        }
        self.add(value, at)
    }

    fn scalar(&mut self, value: Value, anchor: usize, at: Marker) -> Result<(), SyntaxError> {
        self.count(1, at)?;
        if anchor > 0 {
            self.anchors.insert(
                anchor,
                Anchored {
                    value: value.clone(),
                    nodes: 1,
                    depth: 0,
                },
            );
        }
        if self.expects_key() {
            return match value {
                Value::String(key) => self.key(key, at),
                _ => Err(error(at, "keys must be strings: put quotes around it")),
            };
        }
        self.place(at)?;
        self.add(value, at)
    }

    fn repeat(&mut self, id: usize, at: Marker) -> Result<(), SyntaxError> {
        let Some(Anchored {
            value,
            nodes,
            depth,
        }) = self.anchors.get(&id)
        else {
            return Err(error(
                at,
                "the alias refers to itself or to an unknown anchor",
            ));
        };
        let (nodes, deepest) = (*nodes, self.open.len() + depth);
        if self.nodes.saturating_add(nodes) > Document::MAX_NODES {
            return self.count(nodes, at);
        }
        if deepest > Document::MAX_DEPTH {
            return Err(error(
                at,
                format!("nested deeper than {} levels", Document::MAX_DEPTH),
            ));
        }
        let value = value.clone();
        self.count(nodes, at)?;
        if self.expects_key() {
            return Err(error(at, "keys must be strings, not aliases"));
        }
        self.place(at)?;
        self.add(value, at)
    }

    fn key(&mut self, key: String, at: Marker) -> Result<(), SyntaxError> {
        let Some(Frame {
            pointer,
            content: Content::Mapping(members, next),
            ..
        }) = self.open.last_mut()
        else {
            return Ok(());
        };
        if members.contains_key(&key) {
            return Err(error(
                at,
                format!("the key {key:?} stands twice in one mapping"),
            ));
        }
        let pointer = child(pointer, &key);
        *next = Some(key);
        self.remember(pointer, at)
    }

    fn expects_key(&self) -> bool {
        matches!(
            self.open.last(),
            Some(Frame {
                content: Content::Mapping(_, None),
                ..
            })
        )
    }

    /// The pointer of the value that begins here; the first one stays the place of its pointer.
    fn place(&mut self, at: Marker) -> Result<String, SyntaxError> {
        let pointer = match self.open.last() {
            None => String::new(),
            Some(Frame {
                pointer,
                content: Content::Sequence(items),
                ..
            }) => format!("{pointer}/{}", items.len()),
            Some(Frame {
                pointer,
                content: Content::Mapping(_, key),
                ..
            }) => child(pointer, key.as_deref().unwrap_or_default()),
        };
        if !self.positions.contains_key(&pointer) {
            self.remember(pointer.clone(), at)?;
        }
        Ok(pointer)
    }

    fn remember(&mut self, pointer: String, at: Marker) -> Result<(), SyntaxError> {
        self.pointer_bytes += pointer.len();
        if self.pointer_bytes > MAX_POINTER_BYTES {
            return Err(error(at, "the keys on the way to this value are too long"));
        }
        self.positions.insert(pointer, position(at));
        Ok(())
    }

    fn add(&mut self, value: Value, at: Marker) -> Result<(), SyntaxError> {
        match self.open.last_mut().map(|frame| &mut frame.content) {
            None => self.root = Some(value),
            Some(Content::Sequence(items)) => items.push(value),
            Some(Content::Mapping(members, key)) => {
                let key = key
                    .take()
                    .ok_or_else(|| error(at, "keys must be strings"))?;
                members.insert(key, value);
            }
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, at: Marker) -> Result<(), SyntaxError> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > Document::MAX_NODES {
            return Err(error(
                at,
                format!(
                    "more than {} values, aliases counted in full",
                    Document::MAX_NODES
                ),
            ));
        }
        Ok(())
    }
}

fn resolve(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    match tag {
        Some(tag) if tag.is_yaml_core_schema() => scalar::resolve_tagged(&tag.suffix, text),
        Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => {
            Ok(Value::String(text.to_owned()))
        }
        Some(tag) => Err(format!("the tag {tag} is not accepted")),
        None if style == ScalarStyle::Plain => scalar::resolve(text),
        None => Ok(Value::String(text.to_owned())),
    }
}

fn check_tag(tag: Option<&Tag>, kind: &str, at: Marker) -> Result<(), SyntaxError> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == kind) => {
            Err(error(at, format!("the tag {tag} is not accepted")))
        }
        _ => Ok(()),
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn position(at: Marker) -> Position {
    Position {
        line: at.line(),
        column: at.col() + 1,
    }
}

fn error(at: Marker, message: impl Into<String>) -> SyntaxError {
    SyntaxError {
        position: position(at),
        message: message.into(),
    }
}

fn unreadable(error: &ScanError) -> SyntaxError {
    SyntaxError {
        position: position(*error.marker()),
        message: error.info().to_owned(),
    }
}
