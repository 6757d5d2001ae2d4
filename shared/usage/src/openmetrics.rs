//! A reader of OpenMetrics text in which every sample carries a timestamp, as `promtool tsdb
//! create-blocks-from openmetrics` takes it: `name{label="value"} 1.5 1767571200`.
//!
//! Read are sample lines; `# TYPE`, `# HELP` and `# UNIT` lines are skipped, `# EOF` ends the text,
//! an exemplar behind a sample is ignored. Timestamps are Unix seconds, fractions allowed.

use std::collections::HashMap;

use crate::{UsageError, whole};

/// A recorded series.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RawSeries {
    /// Metric name.
    pub name: String,
    /// Labels in the order of the text.
    pub labels: Vec<(String, String)>,
    /// Unix milliseconds and value, in order of time.
    pub samples: Vec<(i64, f64)>,
}

impl RawSeries {
    /// The value of a label, empty where it is missing (as in `PromQL`).
    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels
            .iter()
            .find(|(n, _)| n == name)
            .map_or("", |(_, v)| v.as_str())
    }
}

/// Where and why a text is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// Line number from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: &'static str,
}

impl Malformed {
    /// The same with the file's name.
    pub(crate) fn in_file(self, path: &std::path::Path) -> UsageError {
        UsageError::Malformed {
            path: path.to_owned(),
            line: self.line,
            reason: self.reason,
        }
    }
}

/// Reads a text; samples of one series need not stand together.
pub(crate) fn parse(text: &str) -> Result<Vec<RawSeries>, Malformed> {
    let mut index: HashMap<&str, usize> = HashMap::new();
    let mut all: Vec<RawSeries> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let refuse = |reason| Malformed {
            line: number + 1,
            reason,
        };
        if line == "# EOF" {
            break;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, rest) = split_key(line).ok_or_else(|| refuse("not a sample line"))?;
        let sample = parse_sample(rest).map_err(refuse)?;
        let at = if let Some(at) = index.get(key) {
            *at
        } else {
            all.push(parse_key(key).ok_or_else(|| refuse("labels are not name=\"value\" pairs"))?);
            index.insert(key, all.len() - 1);
            all.len() - 1
        };
        if let Some(series) = all.get_mut(at) {
            series.samples.push(sample);
        }
    }
    for series in &mut all {
        series.samples.sort_by_key(|(at, _)| *at);
    }
    Ok(all)
}

/// Splits a line into `name{labels}` and the rest behind it.
fn split_key(line: &str) -> Option<(&str, &str)> {
    let brace = line.find('{');
    let space = line.find(' ')?;
    let end = match brace {
        Some(brace) if brace < space => brace + closing_brace(line.get(brace..)?)? + 1,
        _ => space,
    };
    Some((line.get(..end)?, line.get(end..)?.trim_start()))
}

/// Index of the brace that closes the label set which starts at 0.
fn closing_brace(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

fn parse_sample(rest: &str) -> Result<(i64, f64), &'static str> {
    let mut words = rest.split_ascii_whitespace();
    let value = words
        .next()
        .and_then(|w| w.parse::<f64>().ok())
        .ok_or("the value is not a number")?;
    let at = words
        .next()
        .and_then(|w| w.parse::<f64>().ok())
        .filter(|t| t.is_finite() && *t >= 0.0);
    let millis =
        whole((at.ok_or("a recorded sample needs a timestamp in Unix seconds")? * 1000.0).round());
    i64::try_from(millis)
        .map(|at| (at, value))
        .map_err(|_| "the timestamp is out of range")
}

fn parse_key(key: &str) -> Option<RawSeries> {
    let (name, labels) = match key.split_once('{') {
        Some((name, labels)) => (name, parse_labels(labels.strip_suffix('}')?)?),
        None => (key, Vec::new()),
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    (!name.is_empty() && name.chars().all(legal)).then(|| RawSeries {
        name: name.to_owned(),
        labels,
        samples: Vec::new(),
    })
}

fn parse_labels(mut text: &str) -> Option<Vec<(String, String)>> {
    let mut labels = Vec::new();
    while !text.trim_start_matches([' ', ',']).is_empty() {
        let (name, rest) = text.trim_start_matches([' ', ',']).split_once("=\"")?;
        let (value, rest) = unquote(rest)?;
        labels.push((name.to_owned(), value));
        text = rest;
    }
    Some(labels)
}

/// Reads up to the closing quote: the value without its escapes, and what follows.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_samples_of_interleaved_series() {
        let text = "# TYPE a counter\na_total{pod=\"x\"} 2 20\nb 1.5 10\na_total{pod=\"x\"} 1 10.5 # {trace=\"t\"} 1\n# EOF\nnot read";
        let all = parse(text).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].samples, [(10_500, 1.0), (20_000, 2.0)]);
        assert_eq!(
            (
                all[0].label("pod"),
                all[0].label("none"),
                all[1].name.as_str()
            ),
            ("x", "", "b")
        );
    }

    #[test]
    fn reads_escapes_and_braces_in_label_values() {
        let all = parse(r#"m{a="x}\"\\\n",b="{"} 1 1"#).unwrap();
        assert_eq!((all[0].label("a"), all[0].label("b")), ("x}\"\\\n", "{"));
    }

    #[test]
    fn refuses_with_line_and_reason() {
        for (text, line) in [
            ("a 1 1\nb 1", 2),
            ("a x 1", 1),
            ("a{b=\"c} 1 1", 1),
            ("a{b} 1 1", 1),
            ("novalue", 1),
            ("a 1 NaN", 1),
            ("\n\n-a 1 1", 3),
        ] {
            assert_eq!(parse(text).map_err(|e| e.line), Err(line), "{text}");
        }
    }
}
