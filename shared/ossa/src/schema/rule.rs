//! The shape that a value must have.

use std::{collections::HashMap, sync::OnceLock};

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::Version;

/// All named rules.
pub(super) type Table = HashMap<&'static str, Vec<(Versions, Rule)>>;

/// The versions of the standard that a rule or field belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Versions(u8);

impl Versions {
    pub(super) const ALL: Self = Self(0b111);
    pub(super) const NONE: Self = Self(0);

    pub(super) fn with(self, version: Version) -> Self {
        Self(self.0 | Self::bit(version))
    }

    pub(super) fn contains(self, version: Version) -> bool {
        self.0 & Self::bit(version) != 0
    }

    fn bit(version: Version) -> u8 {
        match version {
            Version::V0_3 => 0b001,
            Version::V0_4 => 0b010,
            Version::V0_5 => 0b100,
        }
    }
}

/// What a value must be.
#[derive(Debug)]
pub(super) enum Rule {
    Any,
    Bool,
    Const(Value),
    Text {
        length: Range,
        format: Option<Format>,
        pattern: Option<Pattern>,
    },
    Number(Range),
    Integer(Range),
    /// One of these words.
    Words(Vec<&'static str>),
    List {
        item: Box<Rule>,
        unique: bool,
        count: Range,
    },
    Object(Object),
    /// A rule of the table.
    Named(&'static str),
    /// Exactly one of these.
    OneOf(Vec<Rule>),
    /// At least one of these.
    AnyOf(Vec<Rule>),
}

/// A mapping. A field without a rule is accepted when the mapping is open, or by `rest`.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) closed: bool,
    pub(super) fields: Vec<Field>,
    pub(super) rest: Option<Box<Rule>>,
    pub(super) count: Range,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) versions: Versions,
    pub(super) required: bool,
    pub(super) rule: Rule,
}

/// Both ends belong to it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Range {
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
}

impl Range {
    pub(super) fn contains(self, number: f64) -> bool {
        self.min.is_none_or(|min| number >= min) && self.max.is_none_or(|max| number <= max)
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.min, self.max) {
            (Some(min), Some(max)) => write!(f, "{min} to {max}"),
            (Some(min), None) => write!(f, "at least {min}"),
            (None, Some(max)) => write!(f, "at most {max}"),
            (None, None) => f.write_str("any"),
        }
    }
}

/// A JSON Schema format that is asserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    DateTime,
    Email,
    Uri,
}

/// A regular expression of the standard, compiled when it is first needed.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) text: &'static str,
    compiled: OnceLock<Regex>,
}

impl Pattern {
    pub(super) fn new(text: &'static str) -> Self {
        Self {
            text,
            compiled: OnceLock::new(),
        }
    }

    /// ECMA 262 rules, where `\d` means ASCII digits.
    pub(super) fn is_match(&self, text: &str) -> bool {
        let compile = || RegexBuilder::new(self.text).unicode(false).build();
        self.compiled
            .get_or_init(|| compile().expect("a test compiles every pattern of the table"))
            .is_match(text)
    }
}

impl Object {
    /// The field's rule in this version of the standard.
    pub(super) fn field(&self, name: &str, version: Version) -> Option<&Field> {
        self.fields_of(version).find(|field| field.name == name)
    }

    pub(super) fn fields_of(&self, version: Version) -> impl Iterator<Item = &Field> {
        self.fields
            .iter()
            .filter(move |field| field.versions.contains(version))
    }
}

#[cfg(test)]
impl Rule {
    /// This rule and every rule inside it.
    pub(super) fn visit(&self, see: &mut impl FnMut(&Self)) {
        see(self);
        match self {
            Self::List { item, .. } => item.visit(see),
            Self::Object(object) => {
                object.fields.iter().for_each(|field| field.rule.visit(see));
                object.rest.iter().for_each(|rule| rule.visit(see));
            }
            Self::OneOf(rules) | Self::AnyOf(rules) => {
                for rule in rules {
                    rule.visit(see);
                }
            }
            _ => {}
        }
    }
}
