//! The notation of the rule table, and its reader.
//!
//! | notation | meaning |
//! | --- | --- |
//! | `any` `b` `null` `const(false)` | anything, a boolean, null, this JSON value |
//! | `s` `s1..63` `s:uri` ``s`^a+$` `` | text; with a length, a format, a pattern |
//! | `n` `n0..1` `i` `i1..` | number, integer; with a range, both ends included |
//! | `=low\|high` | one of these words |
//! | `[T]` `[T]!` `[T]1..9` | list; of distinct items; of so many |
//! | `{a: T, b*: T}` | mapping; `b` is required; other fields are accepted |
//! | `{! a: T}` | mapping without other fields |
//! | `{a: T, *: T}` | other fields must match too |
//! | `a<45>: T` | only in v0.4 and v0.5 |
//! | `@Name` | the rule of that name |
//! | `one(T, T)` `any(T, T)` | exactly one, at least one of them |

use super::{
    Version,
    rule::{Field, Format, Object, Pattern, Range, Rule, Table, Versions},
};

/// Reads `Name = rule` lines; a rule may go on over several lines.
pub(super) fn read_table(table: &mut Table, text: &'static str) -> Result<(), String> {
    let mut reader = Reader { rest: text };
    loop {
        reader.skip_space();
        if reader.rest.is_empty() {
            return Ok(());
        }
        let name = reader.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_'));
        let versions = reader.versions()?;
        reader
            .expect("=")
            .map_err(|error| format!("rule {name}: {error}"))?;
        let rule = reader
            .rule()
            .map_err(|error| format!("rule {name}: {error}"))?;
        table.entry(name).or_default().push((versions, rule));
    }
}

struct Reader {
    rest: &'static str,
}

impl Reader {
    fn rule(&mut self) -> Result<Rule, String> {
        self.skip_space();
        let first = self.rest.chars().next().ok_or("a rule is missing")?;
        match first {
            '{' => self.object(),
            '[' => self.list(),
            '=' => self.words(),
            '@' => {
                self.expect("@")?;
                Ok(Rule::Named(self.take_while(|c| {
                    c.is_ascii_alphanumeric() || matches!(c, '.' | '_')
                })))
            }
            _ => {
                let word = self.take_while(|c| c.is_ascii_alphabetic());
                self.simple(word)
            }
        }
    }

    fn simple(&mut self, word: &'static str) -> Result<Rule, String> {
        let call = self.rest.starts_with('(');
        match word {
            "any" if call => Ok(Rule::AnyOf(self.alternatives()?)),
            "one" if call => Ok(Rule::OneOf(self.alternatives()?)),
            "const" if call => self.constant(),
            "any" => Ok(Rule::Any),
            "null" => Ok(Rule::Const(serde_json::Value::Null)),
            "b" => Ok(Rule::Bool),
            "n" => Ok(Rule::Number(self.range()?)),
            "i" => Ok(Rule::Integer(self.range()?)),
            "s" => self.text(),
            _ => Err(format!(
                "no rule begins with {word:?} before {:?}",
                self.near()
            )),
        }
    }

    fn text(&mut self) -> Result<Rule, String> {
        let length = self.range()?;
        let mut format = None;
        if self.rest.starts_with(':') {
            self.expect(":")?;
            format = Some(
                match self.take_while(|c| c.is_ascii_alphabetic() || c == '-') {
                    "date-time" => Format::DateTime,
                    "email" => Format::Email,
                    "uri" => Format::Uri,
                    other => return Err(format!("unknown format {other}")),
                },
            );
        }
        let mut pattern = None;
        if let Some(rest) = self.rest.strip_prefix('`') {
            let (text, rest) = rest.split_once('`').ok_or("a pattern does not end")?;
            self.rest = rest;
            pattern = Some(Pattern::new(text));
        }
        Ok(Rule::Text {
            length,
            format,
            pattern,
        })
    }

    fn words(&mut self) -> Result<Rule, String> {
        self.expect("=")?;
        let text = self.take_while(|c| !matches!(c, ',' | '}' | ']' | ')' | '\n'));
        let mut words: Vec<&'static str> = text.split('|').map(str::trim).collect();
        // A long list goes on in the next line, after a `|`.
        while words.last() == Some(&"") {
            words.pop();
            self.skip_space();
            let text = self.take_while(|c| !matches!(c, ',' | '}' | ']' | ')' | '\n'));
            words.extend(text.split('|').map(str::trim));
        }
        Ok(Rule::Words(words))
    }

    fn list(&mut self) -> Result<Rule, String> {
        self.expect("[")?;
        let item = Box::new(self.rule()?);
        self.expect("]")?;
        let unique = self.rest.starts_with('!');
        if unique {
            self.expect("!")?;
        }
        Ok(Rule::List {
            item,
            unique,
            count: self.range()?,
        })
    }

    fn object(&mut self) -> Result<Rule, String> {
        self.expect("{")?;
        let closed = self.rest.starts_with('!');
        if closed {
            self.expect("!")?;
        }
        let (mut fields, mut rest) = (Vec::new(), None);
        loop {
            self.skip_space();
            if self.rest.starts_with('}') {
                break;
            }
            if self.rest.starts_with("*:") {
                self.expect("*:")?;
                rest = Some(Box::new(self.rule()?));
            } else {
                fields.push(self.field()?);
            }
            self.skip_space();
            if !self.rest.starts_with('}') {
                self.expect(",")?;
            }
        }
        self.expect("}")?;
        Ok(Rule::Object(Object {
            closed,
            fields,
            rest,
            count: self.range()?,
        }))
    }

    fn field(&mut self) -> Result<Field, String> {
        let name = self.take_while(|c| !matches!(c, ':' | '*' | '<') && !c.is_whitespace());
        let versions = self.versions()?;
        let required = self.rest.starts_with('*');
        if required {
            self.expect("*")?;
        }
        self.expect(":")
            .map_err(|error| format!("field {name}: {error}"))?;
        let rule = self
            .rule()
            .map_err(|error| format!("field {name}: {error}"))?;
        Ok(Field {
            name,
            versions,
            required,
            rule,
        })
    }

    fn versions(&mut self) -> Result<Versions, String> {
        let Some(rest) = self.rest.strip_prefix('<') else {
            return Ok(Versions::ALL);
        };
        let (digits, rest) = rest.split_once('>').ok_or("a version mark does not end")?;
        self.rest = rest;
        digits
            .chars()
            .try_fold(Versions::NONE, |versions, digit| match digit {
                '3' => Ok(versions.with(Version::V0_3)),
                '4' => Ok(versions.with(Version::V0_4)),
                '5' => Ok(versions.with(Version::V0_5)),
                _ => Err(format!("there is no version {digit}")),
            })
    }

    fn alternatives(&mut self) -> Result<Vec<Rule>, String> {
        self.expect("(")?;
        let mut rules = vec![self.rule()?];
        while self.rest.starts_with(',') {
            self.expect(",")?;
            rules.push(self.rule()?);
        }
        self.expect(")")?;
        Ok(rules)
    }

    fn constant(&mut self) -> Result<Rule, String> {
        self.expect("(")?;
        let text = self.take_while(|c| c != ')');
        self.expect(")")?;
        serde_json::from_str(text)
            .map(Rule::Const)
            .map_err(|error| error.to_string())
    }

    /// `1..9`, `1..`, `..9` or nothing.
    fn range(&mut self) -> Result<Range, String> {
        let min = self.number()?;
        let Some(rest) = self.rest.strip_prefix("..") else {
            return if min.is_none() {
                Ok(Range::default())
            } else {
                Err(format!("a range ends at {:?}", self.near()))
            };
        };
        self.rest = rest;
        Ok(Range {
            min,
            max: self.number()?,
        })
    }

    fn number(&mut self) -> Result<Option<f64>, String> {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let sign = usize::from(self.rest.starts_with('-'));
        let mut end = sign + self.rest.get(sign..).map_or(0, digits);
        if end == sign {
            return Ok(None);
        }
        let fraction = self
            .rest
            .get(end..)
            .and_then(|rest| rest.strip_prefix('.'))
            .map_or(0, digits);
        if fraction > 0 {
            end += 1 + fraction;
        }
        let (number, rest) = self.rest.split_at(end);
        self.rest = rest;
        number
            .parse()
            .map(Some)
            .map_err(|_| format!("{number} is not a number"))
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        self.skip_space();
        self.rest = self
            .rest
            .strip_prefix(token)
            .ok_or_else(|| format!("{token:?} is missing before {:?}", self.near()))?;
        Ok(())
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'static str {
        let end = self.rest.find(|c| !accept(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn near(&self) -> &'static str {
        let end = self
            .rest
            .char_indices()
            .nth(30)
            .map_or(self.rest.len(), |(index, _)| index);
        self.rest.get(..end).unwrap_or_default()
    }
}
