//! A draft as text. What comes from elsewhere is escaped: names, images, annotations and notes may hold anything.

use std::fmt::Write as _;

use super::{Content, Postmortem, Section};

pub(super) fn markdown(draft: &Postmortem) -> String {
    let mut text = format!("# {}\n\n{}\n", md(&draft.title), md(&draft.summary));
    for Section { title, content } in &draft.sections {
        text.push_str("\n## ");
        text.push_str(title);
        text.push_str("\n\n");
        match content {
            Content::Facts(facts) => {
                text.push_str("| | |\n| --- | --- |\n");
                for (name, value) in facts {
                    push(
                        &mut text,
                        format_args!("| {} | {} |\n", md(name), md(value)),
                    );
                }
            }
            Content::List(lines) => {
                for line in lines {
                    push(&mut text, format_args!("- {}\n", md(line)));
                }
            }
            Content::Commands(lines) => {
                text.push_str("```sh\n");
                for line in lines {
                    push(&mut text, format_args!("{}\n", line.replace('`', "'")));
                }
                text.push_str("```\n");
            }
            Content::Table(head, rows) => {
                let [a, b, c] = head;
                push(
                    &mut text,
                    format_args!("| {a} | {b} | {c} |\n| --- | --- | ---: |\n"),
                );
                for [a, b, c] in rows {
                    push(
                        &mut text,
                        format_args!("| {} | {} | {} |\n", md(a), md(b), md(c)),
                    );
                }
            }
        }
    }
    text
}

const STYLE: &str = ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid color-mix(in srgb,currentColor 20%,transparent);overflow-wrap:anywhere}\
td:first-child,th:first-child{white-space:nowrap}.t{text-align:right;white-space:nowrap}\
pre{overflow-x:auto;padding:.6rem;background:color-mix(in srgb,currentColor 8%,transparent)}";

pub(super) fn html(draft: &Postmortem) -> String {
    let title = escape(&draft.title);
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head>\
<body><h1>{title}</h1>\n<p>{}</p>\n",
        escape(&draft.summary)
    );
    for Section { title, content } in &draft.sections {
        push(&mut text, format_args!("<h2>{title}</h2>\n"));
        match content {
            Content::Facts(facts) => {
                let row = |(name, value): &(String, String)| {
                    format!(
                        "<tr><th>{}</th><td>{}</td></tr>\n",
                        escape(name),
                        escape(value)
                    )
                };
                let rows: String = facts.iter().map(row).collect();
                push(&mut text, format_args!("<table>{rows}</table>\n"));
            }
            Content::List(lines) => {
                let item = |line: &String| format!("<li>{}</li>\n", escape(line));
                let items: String = lines.iter().map(item).collect();
                push(&mut text, format_args!("<ul>{items}</ul>\n"));
            }
            Content::Commands(lines) => {
                let lines = escape(&lines.join("\n"));
                push(&mut text, format_args!("<pre>{lines}</pre>\n"));
            }
            Content::Table([a, b, c], rows) => {
                let row = |[a, b, c]: &[String; 3]| {
                    let (a, b, c) = (escape(a), escape(b), escape(c));
                    format!("<tr><td>{a}</td><td>{b}</td><td class=\"t\">{c}</td></tr>\n")
                };
                let rows: String = rows.iter().map(row).collect();
                push(
                    &mut text,
                    format_args!(
                        "<table><tr><th>{a}</th><th>{b}</th><th class=\"t\">{c}</th></tr>\n{rows}</table>\n"
                    ),
                );
            }
        }
    }
    text.push_str("</body></html>\n");
    text
}

fn push(text: &mut String, part: std::fmt::Arguments<'_>) {
    text.write_fmt(part).expect("a String takes every write");
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Keeps text from being read as markup, and from ending a table's cell.
fn md(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '!' | '~' => {
                out.push('\\');
                out.push(c);
            }
            '\n' | '\r' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
