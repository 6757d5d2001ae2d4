//! The findings for people.

use std::fmt::Write as _;

use super::{LintReport, Severity};

/// One line a finding and one for what to do, by file, then the sum.
pub fn table(report: &LintReport) -> String {
    let mut text = String::new();
    let mut file = "";
    for finding in &report.findings {
        if finding.file != file {
            file = &finding.file;
            line(&mut text, format_args!("{file}"));
        }
        let place = format!("{}:{}", finding.start.line, finding.start.column);
        line(
            &mut text,
            format_args!(
                "  {place:<8} {:<8} {:<36} {}",
                finding.severity.name(),
                finding.rule,
                finding.message
            ),
        );
        line(&mut text, format_args!("{:19}{}", "", finding.help));
    }
    let counts = report.counts();
    let sum = Severity::ALL
        .iter()
        .rev()
        .filter_map(|severity| {
            let count = counts.get(severity)?;
            Some(format!("{count} {}", severity.name()))
        })
        .collect::<Vec<_>>();
    let found = if sum.is_empty() {
        "nothing found".to_owned()
    } else {
        sum.join(", ")
    };
    line(
        &mut text,
        format_args!(
            "{found} in {} files, {} statements",
            report.files, report.statements
        ),
    );
    text
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    writeln!(text, "{content}").unwrap_or_default();
}
