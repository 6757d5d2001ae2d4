//! `-- lint:ignore RULE reason` and `-- squawk-ignore RULE, RULE`: for the line they stand on and the next statement line.

use super::{
    Hit,
    script::Parsed,
    table::{self, find},
};

/// What a comment asks not to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ignore {
    /// The byte where the comment starts.
    start: usize,
    /// The byte where the code starts that it is about; the whole file without one.
    code: Option<usize>,
    /// The rules.
    rules: Vec<&'static str>,
}

impl Ignore {
    /// Whether it is about this place, on the line of the comment or of the code after it.
    pub(super) fn covers(&self, text: &str, rule: &str, at: usize) -> bool {
        let same_line = |place: usize| {
            let (from, to) = (place.min(at), place.max(at));
            !text.get(from..to).unwrap_or_default().contains('\n')
        };
        let place = self
            .code
            .is_none_or(|code| same_line(code) || same_line(self.start));
        self.rules.contains(&rule) && place
    }
}

/// The comments of a script that ask for silence, and what is wrong with them.
pub(super) fn read(parsed: &Parsed<'_>) -> (Vec<Ignore>, Vec<Hit>) {
    let (mut ignores, mut hits) = (Vec::new(), Vec::new());
    let text = &parsed.script.text;
    for gap in &parsed.gaps {
        let mut at = gap.start;
        for line in text
            .get(gap.clone())
            .unwrap_or_default()
            .split_inclusive('\n')
        {
            let comment = line.trim_start();
            let start = at + (line.len() - comment.len());
            at += line.len();
            let Some(asked) = asked(comment) else {
                continue;
            };
            if let Some(wrong) = asked.wrong {
                let end = start + comment.trim_end().len();
                hits.push(Hit::at("ignore-without-reason", start..end, wrong));
            } else {
                ignores.push(Ignore {
                    start,
                    code: (!asked.whole_file).then_some(gap.end),
                    rules: asked.rules,
                });
            }
        }
    }
    (ignores, hits)
}

struct Asked {
    rules: Vec<&'static str>,
    whole_file: bool,
    wrong: Option<&'static str>,
}

fn asked(comment: &str) -> Option<Asked> {
    let body = comment
        .strip_prefix("--")
        .or_else(|| comment.strip_prefix("/*"))?
        .trim_start();
    if let Some(rest) = body.strip_prefix("lint:ignore") {
        let mut words = rest.split_whitespace();
        let rule = words.next().and_then(find);
        let reason = words.any(|word| word != "*/");
        let wrong = match (rule, reason) {
            (None, _) => Some("it names no rule of this linter"),
            (Some(_), false) => Some("it gives no reason"),
            (Some(_), true) => None,
        };
        return Some(Asked {
            rules: rule.map(|rule| rule.id).into_iter().collect(),
            whole_file: false,
            wrong,
        });
    }
    let rest = body.strip_prefix("squawk-ignore")?;
    let (rest, whole_file) = match rest.strip_prefix("-file") {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let listed = rest.split("--").next().unwrap_or_default();
    let rules = listed
        .split(|c: char| c == ',' || c.is_whitespace())
        .filter_map(find)
        .map(|rule| rule.id)
        .collect::<Vec<_>>();
    let everything = whole_file && listed.trim().is_empty();
    Some(Asked {
        rules: if everything {
            table::all().iter().map(|rule| rule.id).collect()
        } else {
            rules
        },
        whole_file,
        wrong: None,
    })
}
