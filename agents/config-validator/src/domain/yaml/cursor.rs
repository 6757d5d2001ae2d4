//! A node together with the way to it.

use super::node::{Node, Value};

/// A node and its JSON pointer.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    node: &'a Node,
    pointer: String,
}

impl<'a> Cursor<'a> {
    /// A document's root, or an item of a List with the pointer that leads to it.
    pub fn new(node: &'a Node, pointer: impl Into<String>) -> Self {
        Self {
            node,
            pointer: pointer.into(),
        }
    }

    /// The node.
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// The way to it, RFC 6901.
    pub fn pointer(&self) -> &str {
        &self.pointer
    }

    /// A field that is there and not null.
    pub fn get(&self, key: &str) -> Option<Self> {
        let node = self.node.get(key).filter(|n| !n.is_null())?;
        Some(Self {
            node,
            pointer: child(&self.pointer, key),
        })
    }

    /// A field of a field of ...
    pub fn path(&self, keys: &[&str]) -> Option<Self> {
        let (first, rest) = keys.split_first()?;
        rest.iter()
            .try_fold(self.get(first)?, |place, key| place.get(key))
    }

    /// The text of a field.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.node.get(key)?.as_str()
    }

    /// The items of a list.
    pub fn items(&self) -> impl Iterator<Item = Self> + '_ {
        let indexed = self.node.items().iter().enumerate();
        indexed.map(|(i, node)| Self {
            node,
            pointer: child(&self.pointer, &i.to_string()),
        })
    }

    /// The items of the list in a field.
    pub fn list(&self, key: &str) -> Vec<Self> {
        self.get(key)
            .map(|list| list.items().collect())
            .unwrap_or_default()
    }

    /// The fields of a mapping, with the name of each.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, Self)> + '_ {
        let entries = self.node.entries().iter();
        entries.map(|e| {
            (
                e.key.as_str(),
                Self {
                    node: &e.value,
                    pointer: child(&self.pointer, &e.key),
                },
            )
        })
    }

    /// The type, and the text of numbers, booleans and short words where it cannot be a secret.
    pub fn describe(&self) -> String {
        let kind = self.node.type_name();
        match &self.node.value {
            _ if self.may_be_secret() => kind.to_owned(),
            Value::Bool(_, text) | Value::Number(_, text) => format!("{kind} {}", short(text)),
            Value::String(text) => format!("string \"{}\"", short(text)),
            _ => kind.to_owned(),
        }
    }

    /// Whether the place is one where people keep secrets: data, environment, arguments, annotations.
    fn may_be_secret(&self) -> bool {
        const PLACES: [&str; 8] = [
            "data",
            "stringData",
            "binaryData",
            "env",
            "args",
            "command",
            "annotations",
            "token",
        ];
        self.pointer
            .split('/')
            .any(|segment| PLACES.contains(&segment))
    }
}

/// The pointer to a child.
pub(crate) fn child(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

fn short(text: &str) -> String {
    const LONGEST: usize = 40;
    if text.chars().count() <= LONGEST {
        text.to_owned()
    } else {
        text.chars().take(LONGEST).chain("...".chars()).collect()
    }
}
