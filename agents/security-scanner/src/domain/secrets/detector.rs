//! One pass over the keywords of all rules; a rule's pattern runs only on the text around a keyword.

use std::{collections::BTreeMap, ops::Range, sync::OnceLock};

use aho_corasick::AhoCorasick;
use regex::{Captures, Regex};

use super::{
    Confidence, Fingerprints, Rule, all_rules,
    candidate::{Candidate, FileKind, Verdict},
    guard,
    kubernetes::{self, SecretValue},
    rules::{KUBERNETES_SECRET, Reach},
};

/// Longest part of a line that a pattern sees before and after the keyword.
const LINE_BEFORE: usize = 512;
const LINE_AFTER: usize = 2048;

/// A credential was found. The credential itself is not in here.
#[derive(Debug, Clone)]
pub struct Detection {
    /// The rule that found it.
    pub rule: &'static Rule,
    /// How sure it is.
    pub confidence: Confidence,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Stable name of this secret in this file.
    pub fingerprint: String,
    /// The public prefix, then `****`.
    pub preview: String,
}

/// All rules, ready to run. Make one and keep it.
#[derive(Debug)]
pub struct Detector {
    keywords: AhoCorasick,
    /// For each keyword, the rules that want it.
    wanted_by: Vec<Vec<usize>>,
    rules: Vec<Compiled>,
    fingerprints: Fingerprints,
}

#[derive(Debug)]
struct Compiled {
    rule: &'static Rule,
    regex: OnceLock<Regex>,
}

/// A believed match: byte range of the secret, and what it is.
struct Match<'t> {
    start: usize,
    secret: &'t str,
    /// Position in the table, for precedence.
    order: usize,
    rule: &'static Rule,
    confidence: Confidence,
}

impl Detector {
    /// Builds the keyword automaton; patterns compile when first needed.
    ///
    /// # Panics
    /// Never: the keywords are constants, and a test builds them.
    pub fn new(fingerprints: Fingerprints) -> Self {
        let rules: Vec<Compiled> = all_rules()
            .map(|rule| Compiled {
                rule,
                regex: OnceLock::new(),
            })
            .collect();
        let mut words: Vec<&'static str> = rules
            .iter()
            .flat_map(|r| r.rule.keywords.iter().copied())
            .collect();
        words.sort_unstable();
        words.dedup();
        let wanted_by = words
            .iter()
            .map(|word| {
                rules
                    .iter()
                    .enumerate()
                    .filter(|(_, r)| r.rule.keywords.contains(word))
                    .map(|(at, _)| at)
                    .collect()
            })
            .collect();
        let keywords = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(&words)
            .expect("a few hundred short words fit an automaton");
        Self {
            keywords,
            wanted_by,
            rules,
            fingerprints,
        }
    }

    /// Finds the credentials in `text`, in the order they stand. `name` is the file's path.
    pub fn scan(&self, name: &str, text: &str) -> Vec<Detection> {
        let file = FileKind::of(name);
        let encoded = kubernetes::secret_values(text);
        let hidden = |start: usize| encoded.iter().any(|value| value.range.contains(&start));
        let plain = self
            .matches(file, text)
            .into_iter()
            .filter(|m| !hidden(m.start));
        let mut found: Vec<(usize, Detection)> = plain
            .map(|m| {
                (
                    m.start,
                    self.detection(m.rule, m.confidence, name, m.secret),
                )
            })
            .collect();
        found.extend(encoded.iter().flat_map(|value| self.decoded(name, value)));
        found.sort_by_key(|(start, _)| *start);
        let mut place = Place {
            text,
            offset: 0,
            line: 1,
            line_start: 0,
        };
        found
            .into_iter()
            .map(|(start, mut detection)| {
                (detection.line, detection.column) = place.advance(start);
                detection
            })
            .collect()
    }

    fn detection(
        &self,
        rule: &'static Rule,
        confidence: Confidence,
        name: &str,
        secret: &str,
    ) -> Detection {
        let shown = secret
            .char_indices()
            .nth(rule.public_prefix)
            .map_or("", |(end, _)| secret.get(..end).unwrap_or_default());
        Detection {
            rule,
            confidence,
            line: 0,
            column: 0,
            fingerprint: self.fingerprints.of(rule.id, name, secret),
            preview: format!("{shown}****"),
        }
    }

    /// Believed matches that do not overlap; where two would, the more specific rule wins.
    fn matches<'t>(&self, file: FileKind, text: &'t str) -> Vec<Match<'t>> {
        let mut found = Vec::new();
        // For each rule, up to where no keyword needs another look.
        let mut seen = vec![0; self.rules.len()];
        for hit in self.keywords.find_overlapping_iter(text) {
            for &order in self
                .wanted_by
                .get(hit.pattern().as_usize())
                .into_iter()
                .flatten()
            {
                let (Some(compiled), Some(seen)) = (self.rules.get(order), seen.get_mut(order))
                else {
                    continue;
                };
                if hit.start() < *seen {
                    continue;
                }
                let window = Window::around(text, hit.range(), compiled.rule.reach);
                *seen = window.settled;
                found.extend(compiled.matches(file, window.text).map(|m| Match {
                    start: window.from + m.start,
                    order,
                    ..m
                }));
            }
        }
        without_overlaps(found)
    }

    /// What a decoded value of a Kubernetes Secret holds, at the place of its base64 text.
    fn decoded(&self, name: &str, value: &SecretValue<'_>) -> Vec<(usize, Detection)> {
        let start = value.range.start;
        let inner = self.matches(FileKind::Text, &value.decoded);
        if inner.is_empty() && guard::secret_value(value.key, &value.decoded) {
            let rule = &KUBERNETES_SECRET;
            return vec![(
                start,
                self.detection(rule, rule.confidence, name, &value.decoded),
            )];
        }
        inner
            .iter()
            .map(|m| (start, self.detection(m.rule, m.confidence, name, m.secret)))
            .collect()
    }
}

impl Compiled {
    fn regex(&self) -> &Regex {
        self.regex.get_or_init(|| {
            Regex::new(&ascii(self.rule.pattern)).expect("a test compiles every pattern")
        })
    }

    fn matches<'t>(&self, file: FileKind, window: &'t str) -> impl Iterator<Item = Match<'t>> {
        self.regex()
            .captures_iter(window)
            .filter_map(move |captures| self.judge(file, &captures))
    }

    fn judge<'t>(&self, file: FileKind, captures: &Captures<'t>) -> Option<Match<'t>> {
        let name = captures.name("name");
        let quoted = captures.name("quoted");
        let group = captures
            .iter()
            .skip(1)
            .flatten()
            .find(|group| Some(group.range()) != name.map(|name| name.range()));
        let secret = quoted.or(group).or_else(|| captures.get(0))?;
        let rule = self.rule;
        if guard::shannon_entropy(secret.as_str()) < rule.min_entropy {
            return None;
        }
        let candidate = Candidate {
            secret: secret.as_str(),
            name: name.map(|name| name.as_str()),
            quoted: quoted.is_some(),
            file,
        };
        let confidence = match (rule.verify)(&candidate) {
            Verdict::Reject => return None,
            Verdict::Doubtful => Confidence::Low,
            Verdict::Keep => rule.confidence,
            Verdict::Proven => Confidence::High,
        };
        Some(Match {
            start: secret.start(),
            secret: secret.as_str(),
            order: 0,
            rule,
            confidence,
        })
    }
}

/// The classes `\w`, `\d`, `\s` and the border `\b` in their ASCII meaning: credentials are ASCII,
/// and the Unicode tables would make each pattern many times larger.
fn ascii(pattern: &str) -> String {
    pattern
        .replace(r"\w", "[0-9A-Za-z_]")
        .replace(r"\d", "[0-9]")
        .replace(r"\s", r"[ \t\r\n]")
        .replace(r"\b", r"(?-u:\b)")
}

/// The text around a keyword that a rule may see.
struct Window<'t> {
    text: &'t str,
    from: usize,
    /// Keywords before this offset were seen with enough text behind them.
    settled: usize,
}

impl<'t> Window<'t> {
    fn around(text: &'t str, keyword: Range<usize>, reach: Reach) -> Self {
        let earliest = text.ceil_char_boundary(keyword.start.saturating_sub(LINE_BEFORE));
        let from = text
            .get(earliest..keyword.start)
            .and_then(|head| head.rfind('\n'))
            .map_or(earliest, |at| earliest + at + 1);
        let (after, whole_line) = match reach {
            Reach::Line => (LINE_AFTER, true),
            Reach::Block(bytes) => (bytes, false),
        };
        let latest = text.floor_char_boundary((keyword.end + after).min(text.len()));
        let newline = whole_line
            .then(|| {
                text.get(keyword.end..latest)
                    .and_then(|tail| tail.find('\n'))
            })
            .flatten();
        let (to, settled) = match newline {
            Some(at) => (keyword.end + at, keyword.end + at),
            // Cut off: a secret may begin in the second half and end beyond.
            None if latest < text.len() => (latest, keyword.end + after / 2),
            None => (latest, latest),
        };
        Self {
            text: text.get(from..to).unwrap_or_default(),
            from,
            settled,
        }
    }
}

fn without_overlaps(mut found: Vec<Match<'_>>) -> Vec<Match<'_>> {
    found.sort_by_key(|m| (m.order, m.start));
    // Start of each kept match and its end; they do not overlap.
    let mut taken: BTreeMap<usize, usize> = BTreeMap::new();
    found.retain(|m| {
        let end = m.start + m.secret.len();
        let free = taken
            .range(..end)
            .next_back()
            .is_none_or(|(_, &taken_end)| taken_end <= m.start);
        if free {
            taken.insert(m.start, end);
        }
        free
    });
    found.sort_by_key(|m| m.start);
    found
}

/// Turns growing byte offsets into lines and columns in one pass over the text.
struct Place<'t> {
    text: &'t str,
    offset: usize,
    line: usize,
    line_start: usize,
}

impl Place<'_> {
    fn advance(&mut self, to: usize) -> (usize, usize) {
        let passed = self.text.get(self.offset..to).unwrap_or_default();
        self.line += passed.bytes().filter(|&b| b == b'\n').count();
        self.line_start = passed
            .rfind('\n')
            .map_or(self.line_start, |at| self.offset + at + 1);
        self.offset = to.max(self.offset);
        (
            self.line,
            self.text
                .get(self.line_start..to)
                .map_or(0, |s| s.chars().count())
                + 1,
        )
    }
}

#[cfg(test)]
mod tests;
