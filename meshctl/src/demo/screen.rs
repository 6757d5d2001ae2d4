//! The story on one screen: 100 columns at most, coloured on a terminal only.

use std::io::IsTerminal;

use indicatif::HumanDuration;
use serde_json::Value;

use super::{Link, Report, Step};
use crate::table::table;

/// Widest line, also where nobody can say how wide the screen is.
const WIDEST: usize = 100;
/// Narrower screens break lines by themselves.
const NARROWEST: usize = 60;

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";

/// Where the story is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    on_stderr: bool,
    coloured: bool,
    width: usize,
}

impl Screen {
    /// On stdout, or on stderr beside `--json`.
    pub(super) fn new(json: bool) -> Self {
        let terminal = if json {
            std::io::stderr().is_terminal()
        } else {
            std::io::stdout().is_terminal()
        };
        let width = comfy_table::Table::new()
            .width()
            .map_or(WIDEST, usize::from);
        Self {
            on_stderr: json,
            coloured: terminal && std::env::var_os("NO_COLOR").is_none(),
            width: width.clamp(NARROWEST, WIDEST),
        }
    }

    fn line(self, text: &str) {
        if self.on_stderr {
            eprintln!("{text}");
        } else {
            crate::say(format_args!("{text}"));
        }
    }

    fn paint(self, colour: &str, text: &str) -> String {
        if self.coloured {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// The first line.
    pub(super) fn title(self, text: &str) {
        self.line(&format!("\n  {}\n", self.paint(BOLD, text)));
    }

    /// A remark.
    pub(super) fn note(self, text: &str) {
        self.paragraph("  ", text);
    }

    /// The head of an act.
    pub(super) fn act(self, text: &str) {
        self.line(&format!("\n  {}", self.paint(BOLD, text)));
    }

    /// One step with its real duration.
    pub(super) fn step(self, step: &Step, as_told: bool) {
        let (mark, colour) = match (as_told, step.outcome.as_str()) {
            (false, _) => ("✗", RED),
            (true, "refused" | "findings" | "waits" | "failing") => ("✓", YELLOW),
            (true, _) => ("✓", GREEN),
        };
        let who = match (&step.agent, &step.skill) {
            (Some(agent), Some(skill)) => format!("{agent} {skill}"),
            _ => "pipeline".into(),
        };
        let (mark, outcome) = (
            self.paint(colour, mark),
            self.paint(colour, &format!("{:<11}", step.outcome)),
        );
        let (took, name) = (step.duration_ms, &step.name);
        self.line(&format!(
            "  {mark} {who:<38} {outcome} {took:>5} ms  {name}"
        ));
        self.paragraph("    ", &step.detail);
    }

    /// Text of less weight, as many lines as it needs.
    fn paragraph(self, indent: &str, text: &str) {
        for line in wrap(text, self.width.saturating_sub(indent.len())) {
            self.line(&format!("{indent}{}", self.paint(DIM, &line)));
        }
    }

    /// What went wrong.
    pub(super) fn failure(self, text: &str) {
        self.line(&format!("\n  {} {text}", self.paint(RED, "failed:")));
    }

    /// Summary and links.
    pub(super) fn end(self, report: &Report) {
        let (colour, verdict) = if report.ok {
            (
                GREEN,
                "Refused, mended, migrated, deployed, rolled back with its database, priced, audited.",
            )
        } else {
            (RED, "The story did not go as it should.")
        };
        self.line(&format!("\n  {}\n", self.paint(colour, verdict)));
        let rows = summary(&report.summary, &report.trace_id);
        for line in table(["summary", ""], rows).to_string().lines() {
            self.line(&format!("  {line}"));
        }
        self.line("");
        for Link { name, target } in &report.links {
            self.line(&format!(
                "  {} {target}",
                self.paint(BOLD, &format!("{name:<11}"))
            ));
        }
        self.line("");
    }

    /// A duration for people.
    pub(super) fn human(duration: std::time::Duration) -> String {
        if duration.as_secs() < 60 {
            format!("{:.2} s", duration.as_secs_f64())
        } else {
            HumanDuration(duration).to_string()
        }
    }
}

fn summary(summary: &Value, trace_id: &str) -> Vec<[String; 2]> {
    let shown = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::Array(items) => {
            let items = items.iter().filter_map(Value::as_str);
            items.collect::<Vec<_>>().join("\n")
        }
        other => other.to_string(),
    };
    let mut rows: Vec<_> = summary
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| [name.replace('_', " "), shown(value)])
        .collect();
    rows.push(["trace".into(), trace_id.into()]);
    rows
}

/// Breaks text at spaces; a longer word gets a line of its own.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::wrap;

    #[test]
    fn text_breaks_at_spaces_and_loses_nothing() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("one two three", 3), ["one", "two", "three"]);
        assert_eq!(wrap("", 7), Vec::<String>::new());
        let text = "a plan of sixty-four-hex-digits-that-fits-nowhere is kept";
        assert_eq!(wrap(text, 20).join(" "), text);
    }
}
