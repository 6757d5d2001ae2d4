//! A tree of values that know their place.

use serde_json::Number;

/// Line and column of a node, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

impl Position {
    /// The beginning of a file.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// One YAML node after aliases and merge keys are resolved.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it begins.
    pub at: Position,
    /// Nodes in it, itself included.
    pub(super) size: usize,
    /// Levels below it, plus one.
    pub(super) height: usize,
}

/// The value of a node, as JSON has them.
#[derive(Debug, Clone)]
pub enum Value {
    /// Nothing.
    Null,
    /// `true` or `false`, and how it was written (`yes`, `on`).
    Bool(bool, String),
    /// A number, and how it was written.
    Number(Number, String),
    /// Text.
    String(String),
    /// A list.
    Sequence(Vec<Node>),
    /// Fields in order. Later duplicates are left out.
    Mapping(Vec<Entry>),
}

/// A field of a mapping.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name, as JSON has it.
    pub key: String,
    /// Where the name begins.
    pub key_at: Position,
    /// Its value.
    pub value: Node,
}

impl Node {
    /// A node with nothing below it, or with children whose measures are added up.
    pub(super) fn new(value: Value, at: Position) -> Self {
        let (size, height) = match &value {
            Value::Sequence(items) => measure(items.iter()),
            Value::Mapping(entries) => measure(entries.iter().map(|e| &e.value)),
            _ => (0, 0),
        };
        Self {
            value,
            at,
            size: size + 1,
            height: height + 1,
        }
    }

    /// The field of a mapping.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries()
            .iter()
            .find(|e| e.key == key)
            .map(|e| &e.value)
    }

    /// A field of a field of ... a mapping.
    pub fn path(&self, keys: &[&str]) -> Option<&Self> {
        keys.iter().try_fold(self, |node, key| node.get(key))
    }

    /// The fields, none when this is no mapping.
    pub fn entries(&self) -> &[Entry] {
        if let Value::Mapping(entries) = &self.value {
            entries
        } else {
            &[]
        }
    }

    /// The items, none when this is no list.
    pub fn items(&self) -> &[Self] {
        if let Value::Sequence(items) = &self.value {
            items
        } else {
            &[]
        }
    }

    /// The text, when it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Value::String(text) = &self.value {
            Some(text)
        } else {
            None
        }
    }

    /// The truth value, when it is one.
    pub fn as_bool(&self) -> Option<bool> {
        if let Value::Bool(value, _) = self.value {
            Some(value)
        } else {
            None
        }
    }

    /// The whole number, when it is one. `1e3` is: it reaches the API server as `1000`.
    pub fn as_i64(&self) -> Option<i64> {
        let Value::Number(number, _) = &self.value else {
            return None;
        };
        number.as_i64().or_else(|| integral(number.as_f64()?))
    }

    /// Whether there is nothing.
    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// JSON word for the type.
    pub fn type_name(&self) -> &'static str {
        match &self.value {
            Value::Null => "null",
            Value::Bool(..) => "boolean",
            Value::Number(..) if self.as_i64().is_some() => "integer",
            Value::Number(..) => "number",
            Value::String(_) => "string",
            Value::Sequence(_) => "array",
            Value::Mapping(_) => "object",
        }
    }

    /// The plain JSON value.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value, _) => (*value).into(),
            Value::Number(number, _) => number.clone().into(),
            Value::String(text) => text.as_str().into(),
            Value::Sequence(items) => items.iter().map(Self::to_json).collect(),
            Value::Mapping(entries) => entries
                .iter()
                .map(|e| (e.key.clone(), e.value.to_json()))
                .collect(),
        }
    }
}

fn measure<'a>(children: impl Iterator<Item = &'a Node>) -> (usize, usize) {
    children.fold((0, 0), |(size, height), child| {
        (size + child.size, height.max(child.height))
    })
}

/// A float that Go's JSON encoder writes without fraction or exponent (below 1e21) and that fits.
fn integral(value: f64) -> Option<i64> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "checked to be whole and within 2^53 before"
    )]
    (value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0).then_some(value as i64)
}
