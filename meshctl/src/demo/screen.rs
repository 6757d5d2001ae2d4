//! The story on one screen.

use indicatif::HumanDuration;
use serde_json::Value;

use super::Step;

/// Where the story is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    json: bool,
}

impl Screen {
    /// On stdout, or on stderr beside `--json`.
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    fn line(self, text: &str) {
        if self.json {
            eprintln!("{text}")
        } else {
            println!("{text}")
        }
    }

    /// The first line.
    pub(super) fn title(self, text: &str) {
        self.line(&format!("\n  {text}\n"));
    }

    /// A remark.
    pub(super) fn note(self, text: &str) {
        self.line(&format!("  {text}"));
    }

    /// The head of an act.
    pub(super) fn act(self, text: &str) {
        self.line(&format!("\n  {text}"));
    }

    /// One step with its real duration.
    pub(super) fn step(self, step: &Step, as_told: bool) {
        let mark = if as_told { "ok" } else { "!!" };
        let who = match (&step.agent, &step.skill) {
            (Some(agent), Some(skill)) => format!("{agent} {skill}"),
            _ => "pipeline".into(),
        };
        self.line(&format!(
            "  {mark} {:<44} {:<10} {:>6} ms  {}",
            who, step.outcome, step.duration_ms, step.name
        ));
        if !step.detail.is_empty() {
            self.line(&format!("     {}", step.detail));
        }
    }

    /// What went wrong.
    pub(super) fn failure(self, text: &str) {
        self.line(&format!("\n  failed: {text}"));
    }

    /// The last lines.
    pub(super) fn end(self, ok: bool, trace_id: &str, summary: &Value) {
        self.line(&format!("\n  {}", if ok { "The release was refused, mended, migrated, deployed, rolled back with its database, priced and audited." } else { "The story did not go as it should." }));
        for (name, value) in summary.as_object().into_iter().flatten() {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            self.line(&format!("  {:<34} {value}", name.replace('_', " ")));
        }
        self.line(&format!("  {:<34} {trace_id}\n", "trace"));
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
