//! Events to trees: anchors, aliases and merge keys resolved, with bounds on all of it.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::{
    node::{Entry, Node, Position, Value},
    resolve::resolve_plain,
};
use crate::domain::limits::{MAX_DEPTH, MAX_NODES};

/// The documents of a file and what is wrong with its YAML.
#[derive(Debug, Default)]
pub struct Composed {
    /// The documents that hold something, in order.
    pub documents: Vec<Node>,
    /// Names that a mapping holds twice: the name and the place of the second one.
    pub duplicates: Vec<(String, Position)>,
    /// Where the file stops being YAML, and why. Documents before that place are kept.
    pub broken: Option<(Position, String)>,
}

/// Why a file is not looked at at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    /// Too many nodes once aliases are expanded.
    #[error("more than {MAX_NODES} YAML nodes after alias expansion")]
    TooManyNodes,
    /// Too deep.
    #[error("more than {MAX_DEPTH} levels of YAML")]
    TooDeep,
}

/// Reads all documents of a file.
///
/// # Errors
/// Only for input that is built to exhaust: everything else is in [`Composed`].
pub fn compose(text: &str) -> Result<Composed, ComposeError> {
    let mut composer = Composer::default();
    let mut parser = Parser::new_from_str(text.trim_start_matches('\u{feff}'));
    while let Some(event) = parser.next_event() {
        let outcome = match event {
            Ok((event, span)) => composer.event(event, position(span.start)),
            // The scanner reads ahead of the events and has a bound of its own, 255 open brackets.
            Err(error) if error.info().contains("recursion limit") => {
                Err(Stop::Bomb(ComposeError::TooDeep))
            }
            Err(error) => Err(Stop::Broken(
                position(*error.marker()),
                error.info().to_owned(),
            )),
        };
        match outcome {
            Ok(()) => {}
            Err(Stop::Bomb(error)) => return Err(error),
            Err(Stop::Broken(at, why)) => {
                composer.done.broken = Some((at, why));
                break;
            }
        }
    }
    Ok(composer.done)
}

fn position(marker: Marker) -> Position {
    Position {
        line: marker.line().max(1),
        column: marker.col() + 1,
    }
}

enum Stop {
    Bomb(ComposeError),
    Broken(Position, String),
}

#[derive(Default)]
struct Composer {
    done: Composed,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

struct Frame {
    at: Position,
    anchor: usize,
    kind: FrameKind,
}

enum FrameKind {
    Sequence(Vec<Node>),
    Mapping {
        entries: Vec<Entry>,
        names: HashSet<String>,
        key: Option<(String, Position)>,
        merged: Vec<Node>,
    },
}

impl Composer {
    fn event(&mut self, event: Event<'_>, at: Position) -> Result<(), Stop> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value =
                    scalar(&text, style, tag.as_deref()).map_err(|why| Stop::Broken(at, why))?;
                self.close(Node::new(value, at), anchor)
            }
            Event::Alias(anchor) => {
                let target = self
                    .anchors
                    .get(&anchor)
                    .ok_or_else(|| Stop::Broken(at, "alias inside its own anchor".into()))?;
                if self.stack.len() + target.height > MAX_DEPTH {
                    return Err(Stop::Bomb(ComposeError::TooDeep));
                }
                self.nodes = self.nodes.saturating_add(target.size);
                if self.nodes > MAX_NODES {
                    return Err(Stop::Bomb(ComposeError::TooManyNodes));
                }
                let copy = Node {
                    at,
                    ..target.clone()
                };
                self.attach(copy)
            }
            Event::SequenceStart(anchor, _) => self.open(Frame {
                at,
                anchor,
                kind: FrameKind::Sequence(Vec::new()),
            }),
            Event::MappingStart(anchor, _) => {
                let kind = FrameKind::Mapping {
                    entries: Vec::new(),
                    names: HashSet::new(),
                    key: None,
                    merged: Vec::new(),
                };
                self.open(Frame { at, anchor, kind })
            }
            Event::SequenceEnd | Event::MappingEnd => self.finish(),
            Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {
                Ok(())
            }
        }
    }

    fn open(&mut self, frame: Frame) -> Result<(), Stop> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(Stop::Bomb(ComposeError::TooDeep));
        }
        self.stack.push(frame);
        Ok(())
    }

    /// Ends the innermost list or mapping.
    fn finish(&mut self) -> Result<(), Stop> {
        let Some(Frame { at, anchor, kind }) = self.stack.pop() else {
            return Ok(());
        };
        let value = match kind {
            FrameKind::Sequence(items) => Value::Sequence(items),
            FrameKind::Mapping {
                mut entries,
                names,
                merged,
                ..
            } => {
                merge(&mut entries, names, merged);
                Value::Mapping(entries)
            }
        };
        self.close(Node::new(value, at), anchor)
    }

    /// Counts a node that is complete, remembers it when it has an anchor, and puts it in its place.
    fn close(&mut self, node: Node, anchor: usize) -> Result<(), Stop> {
        let copies = if anchor > 0 { node.size } else { 0 };
        self.nodes = self.nodes.saturating_add(1 + copies);
        if self.nodes > MAX_NODES {
            return Err(Stop::Bomb(ComposeError::TooManyNodes));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        self.attach(node)
    }

    fn attach(&mut self, node: Node) -> Result<(), Stop> {
        let Some(Frame { kind, .. }) = self.stack.last_mut() else {
            if !node.is_null() {
                self.done.documents.push(node);
            }
            return Ok(());
        };
        match kind {
            FrameKind::Sequence(items) => items.push(node),
            FrameKind::Mapping {
                entries,
                names,
                key,
                merged,
            } => match key.take() {
                None => *key = Some((key_text(&node)?, node.at)),
                Some((name, _)) if name == "<<" => merged.push(node),
                Some((name, key_at)) if !names.insert(name.clone()) => {
                    self.done.duplicates.push((name, key_at));
                }
                Some((key, key_at)) => entries.push(Entry {
                    key,
                    key_at,
                    value: node,
                }),
            },
        }
        Ok(())
    }
}

/// Fields of merged mappings, where the mapping does not have them itself.
fn merge(entries: &mut Vec<Entry>, mut names: HashSet<String>, merged: Vec<Node>) {
    let sources = merged.into_iter().flat_map(|node| match node.value {
        Value::Sequence(items) => items,
        _ => vec![node],
    });
    for source in sources {
        let Value::Mapping(fields) = source.value else {
            continue;
        };
        for field in fields {
            if names.insert(field.key.clone()) {
                entries.push(field);
            }
        }
    }
}

/// Booleans and numbers become the text of their JSON value; null, lists and mappings cannot be names.
fn key_text(node: &Node) -> Result<String, Stop> {
    match &node.value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(value, _) => Ok(value.to_string()),
        Value::Number(number, _) => Ok(number.to_string()),
        Value::Mapping(_) => Err(Stop::Broken(
            node.at,
            "a field name cannot be a mapping; an unrendered template has {{ ... }} like this"
                .to_owned(),
        )),
        Value::Null | Value::Sequence(_) => Err(Stop::Broken(
            node.at,
            format!("a field name cannot be {}", node.type_name()),
        )),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    let plain = || resolve_plain(text).ok_or_else(|| format!("{text} has no counterpart in JSON"));
    let Some(tag) = tag.filter(|t| t.is_yaml_core_schema()) else {
        return if style == ScalarStyle::Plain && tag.is_none() {
            plain()
        } else {
            Ok(Value::String(text.to_owned()))
        };
    };
    let value = plain()?;
    match (tag.suffix.as_str(), &value) {
        ("bool", Value::Bool(..))
        | ("int" | "float", Value::Number(..))
        | ("null", Value::Null) => Ok(value),
        ("bool" | "int" | "float" | "null", _) => Err(format!("the scalar is no !!{}", tag.suffix)),
        _ => Ok(Value::String(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn json(text: &str) -> serde_json::Value {
        let composed = compose(text).unwrap();
        assert!(composed.broken.is_none(), "{:?}", composed.broken);
        composed.documents.iter().map(Node::to_json).collect()
    }

    #[test]
    fn reads_several_documents_and_skips_empty_ones() {
        assert_eq!(
            json("a: 1\n---\n# only a comment\n---\nb: yes\n"),
            serde_json::json!([{"a": 1}, {"b": true}])
        );
    }

    #[test]
    fn quoted_words_stay_text() {
        assert_eq!(
            json("a: \"yes\"\nb: '1'\nc: !!str 1\n"),
            serde_json::json!([{"a": "yes", "b": "1", "c": "1"}])
        );
    }

    #[test]
    fn merge_keys_do_not_replace_own_fields() {
        let text = "base: &b {p: 1, q: 2}\nuse:\n  <<: *b\n  p: 3\n";
        assert_eq!(
            json(text),
            serde_json::json!([{"base": {"p": 1, "q": 2}, "use": {"p": 3, "q": 2}}])
        );
    }

    #[test]
    fn knows_lines_and_columns() {
        let composed = compose("a:\n  - b: 1\n    c: 2\n").unwrap();
        let c = composed.documents[0].get("a").unwrap().items()[0]
            .get("c")
            .unwrap();
        assert_eq!(c.at, Position { line: 3, column: 8 });
    }

    #[test]
    fn names_a_field_given_twice() {
        let composed = compose("a: 1\nb: 2\na: 3\n").unwrap();
        assert_eq!(
            composed.duplicates,
            [("a".to_owned(), Position { line: 3, column: 1 })]
        );
    }

    #[test]
    fn stops_at_the_broken_line_and_keeps_what_was_before() {
        let composed = compose("a: 1\n---\nb: [1, 2\nc: 3\n").unwrap();
        assert_eq!(composed.documents.len(), 1);
        assert!(composed.broken.unwrap().0.line >= 3);
    }

    #[test]
    fn refuses_a_billion_laughs() {
        let mut text = String::from("a0: &a0 [lol]\n");
        for i in 1..=10 {
            let alias = format!("*a{}, ", i - 1).repeat(10);
            writeln!(text, "a{i}: &a{i} [{alias}]").unwrap();
        }
        assert_eq!(compose(&text).unwrap_err(), ComposeError::TooManyNodes);
    }

    #[test]
    fn refuses_depth_through_nesting_and_through_aliases() {
        assert_eq!(
            compose(&"[".repeat(500)).unwrap_err(),
            ComposeError::TooDeep
        );
        let lines: Vec<_> = (0..200).map(|i| " ".repeat(i) + "a:\n").collect();
        let block = lines.concat();
        assert_eq!(compose(&block).unwrap_err(), ComposeError::TooDeep);
        let mut text = format!("a0: &a0 {}x{}\n", "[".repeat(60), "]".repeat(60));
        writeln!(text, "a1: {}*a0{}", "[".repeat(60), "]".repeat(60)).unwrap();
        assert_eq!(compose(&text).unwrap_err(), ComposeError::TooDeep);
    }

    #[test]
    fn an_alias_to_an_open_anchor_is_an_error_not_a_loop() {
        assert!(compose("a: &a [*a]\n").unwrap().broken.is_some());
    }

    #[test]
    fn infinity_and_null_names_are_errors() {
        assert!(compose("a: .inf\n").unwrap().broken.is_some());
        assert!(compose("~: 1\n").unwrap().broken.is_some());
    }
}
