//! Flyway's placeholders: `${name}` stands for a value that the caller or the operator gives.

use std::collections::BTreeMap;

use super::{SourceError, SourceFile};

/// Most placeholders, and most bytes of a name or a value.
pub const MAX_PLACEHOLDERS: usize = 100;
/// Most bytes of a value.
pub const MAX_VALUE: usize = 1024;

/// Values by name; case does not count.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Placeholders(BTreeMap<String, String>);

/// Names only: values stand in no log.
impl std::fmt::Debug for Placeholders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Placeholders {
    /// These and those of `more`, which win.
    #[must_use]
    pub fn with(
        mut self,
        more: impl IntoIterator<Item = (impl AsRef<str>, impl Into<String>)>,
    ) -> Self {
        let more = more.into_iter();
        self.0
            .extend(more.map(|(name, value)| (name.as_ref().to_lowercase(), value.into())));
        self
    }

    /// Whether a name can stand in a text, and its value is no longer than it may be.
    pub fn fits(name: &str, value: &str) -> bool {
        !name.is_empty()
            && name.len() <= 100
            && name.chars().all(is_name)
            && value.len() <= MAX_VALUE
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A text with values in the place of its placeholders.
    ///
    /// # Errors
    /// `Unsupported` with the first placeholder that has no value.
    pub(super) fn fill(&self, file: &SourceFile, text: &str) -> Result<String, SourceError> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, name, after)) = next(rest) {
            filled.push_str(before);
            let known = name.to_lowercase();
            let own = file.name.rsplit('/').next().unwrap_or_default();
            let value = match (self.0.get(&known), known.as_str()) {
                (Some(value), _) => value.as_str(),
                (None, "flyway:filename") => own,
                (None, "flyway:table") => "flyway_schema_history",
                (None, _) => {
                    return Err(SourceError::Unsupported {
                        file: file.name.clone(),
                        feature: format!("the placeholder ${{{name}}}"),
                        instead: "give it a value in source.placeholders",
                    });
                }
            };
            filled.push_str(value);
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.:-".contains(c)
}

/// The text before the first `${name}`, the name, and what follows it.
fn next(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(at) = text.get(from..)?.find("${") {
        let (before, rest) = text.split_at(from + at);
        let inner = rest.strip_prefix("${")?;
        if let Some((name, after)) = inner.split_once('}')
            && !name.is_empty()
            && name.chars().all(is_name)
        {
            return Some((before, name, after));
        }
        from += at + 2;
    }
    None
}

/// Whether a text has any placeholder.
pub(super) fn any(text: &str) -> bool {
    next(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_in_values_and_names_what_has_none() {
        let file = SourceFile {
            name: "db/V1__a.sql".into(),
            content: String::new(),
        };
        let values = Placeholders::default()
            .with([("Schema", "shop"), ("a.b", "old")])
            .with([("A.B", "${schema}")]);
        let put = |text: &str| values.fill(&file, text);
        let text = "do $${}$$; ${ x } ${SCHEMA}.t -- ${a.b} ${flyway:filename}";
        let expected = "do $${}$$; ${ x } shop.t -- ${schema} V1__a.sql";
        assert_eq!(put(text).as_deref(), Ok(expected));
        assert_eq!(put("${${schema}").as_deref(), Ok("${shop"));
        let said = put("${schema} ${flyway:timestamp}")
            .unwrap_err()
            .to_string();
        assert!(
            said.contains("db/V1__a.sql uses the placeholder ${flyway:timestamp}"),
            "{said}"
        );
        assert_eq!(format!("{values:?}"), "{\"a.b\", \"schema\"}");
    }
}
