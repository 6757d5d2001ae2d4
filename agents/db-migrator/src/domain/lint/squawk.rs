//! The rules of squawk, set to how the runner would run the script.

use std::ops::Range;

use squawk_linter::{Linter, LinterSettings, Rule as Squawk, Version};
use squawk_syntax::SourceFile;

use super::{
    Hit, TextEdit,
    script::Parsed,
    table::{self, Reports},
};

/// What squawk says about a script.
pub(super) fn check(parsed: &Parsed<'_>, server: u32, enabled: &[String]) -> Vec<Hit> {
    let text = &parsed.script.text;
    let tree = SourceFile::parse(text);
    let errors = tree.errors();
    if let Some(first) = errors.first() {
        let range = first.range();
        let sentence = format!("the parser does not understand it: {}", first.message());
        return vec![Hit::at(
            "syntax",
            bytes(range.start(), range.end()),
            sentence,
        )];
    }
    let wanted = table::all()
        .iter()
        .filter(|rule| rule.default == Reports::On || enabled.iter().any(|id| id == rule.id))
        .filter_map(|rule| rule.id.parse::<Squawk>().ok());
    let mut linter = Linter::with_default_rules();
    linter.rules = wanted.collect();
    linter.settings = LinterSettings {
        pg_version: server.to_string().parse::<Version>().unwrap_or_default(),
        assume_in_transaction: parsed.is_atomic(),
    };
    linter
        .lint(&tree, text)
        .into_iter()
        .map(|violation| Hit {
            help: violation.help,
            edits: violation.fix.map_or_else(Vec::new, |fix| {
                let edits = fix.edits.into_iter().map(|edit| TextEdit {
                    range: bytes(edit.text_range.start(), edit.text_range.end()),
                    text: edit.text.unwrap_or_default(),
                });
                edits.collect()
            }),
            ..Hit::at(
                table::find(&violation.code.to_string()).map_or("", |rule| rule.id),
                bytes(violation.text_range.start(), violation.text_range.end()),
                violation.message,
            )
        })
        .collect()
}

fn bytes(start: impl Into<usize>, end: impl Into<usize>) -> Range<usize> {
    start.into()..end.into()
}
