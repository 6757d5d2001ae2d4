//! The splitter of db-migrator against PostgreSQL's own parser: on all SQL of this repository and on generated scripts.
//!
//! 200,000 scripts by default, `SPLITTER_ORACLE_SCRIPTS=1000000` for a million. The parser redirects the stderr of its
//! process around every call, so each core's share runs in a process of its own.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::case_sensitive_file_extension_comparisons,
    reason = "a test fails loudly, and says what it compared"
)]

#[path = "splitter/compare.rs"]
mod compare;
#[path = "splitter/generate.rs"]
mod generate;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use compare::{Outcome, check};
use generate::Generator;

const DEFAULT_SCRIPTS: u64 = 200_000;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn files(folder: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                files(&path, extensions, found);
            }
        } else if extensions.iter().any(|extension| name.ends_with(extension)) {
            found.push(path);
        }
    }
}

/// The ```` ```sql ```` blocks of a Markdown file.
fn blocks(markdown: &str) -> Vec<String> {
    markdown
        .split("```sql\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```").map(|(sql, _)| sql.to_owned()))
        .collect()
}

/// The plain string literals of a Rust file, most of which are no SQL.
fn literals(code: &str) -> Vec<String> {
    let literal = regex::Regex::new(r#"(?s)"((?:[^"\\]|\\.)*)""#).unwrap();
    literal
        .captures_iter(code)
        .map(|found| {
            found[1]
                .replace("\\n", "\n")
                .replace("\\\"", "\"")
                .replace("\\'", "'")
                .replace("\\\\", "\\")
        })
        .collect()
}

#[test]
fn splits_all_sql_of_the_repository_as_postgres_does() {
    let (mut found, mut parsed) = (Vec::new(), 0);
    files(&root(), &[".sql", ".md", ".rs"], &mut found);
    let mut scripts = 0;
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.to_string_lossy().into_owned();
        let of_migrator = name.contains("db-migrator") || name.contains("splitter");
        let all = if name.ends_with(".sql") {
            scripts += 1;
            vec![text]
        } else if name.ends_with(".md") {
            blocks(&text)
        } else if of_migrator {
            literals(&text)
        } else {
            Vec::new()
        };
        for sql in all {
            match check(&sql) {
                Ok(Outcome::Parsed) => parsed += 1,
                Ok(Outcome::Refused) => assert!(!name.ends_with(".sql"), "{name} is no SQL"),
                Err(difference) => panic!("{name}: {difference}"),
            }
        }
    }
    println!("{parsed} scripts of the repository, {scripts} of them files");
    assert!(scripts >= 20 && parsed >= 300, "{scripts} {parsed}");
}

#[test]
fn splits_what_others_get_wrong_as_postgres_does() {
    for sql in [
        "select E'a' -- c\n 'b\\';' ; select 2",
        "select 'a\\'; select 'b'",
        "select U&'\\0041;' , U&\"d\\0061;ta\" uescape '!' ; select 2",
        "select 1 as end; select 1 end; select a.end from a",
        "create function f() returns int begin atomic select 1 end; select case when true then 1 end; end; select 2",
        "create function begin(atomic int) returns int return 1; select 2",
        "create rule r as on insert to t do also (insert into l values (1); select ';'); select 2",
        "--a\rselect 1; select 2",
        "select 1\u{a0};select 2",
        "do $_$ begin perform $$;$$; perform '$_'; end $_$; select $a$ $b$;$a$;",
        "/* /* ; */ ; */ select 1 /* ; */ ; -- ;\n",
        ";;;",
        "select 1 +-- ;\n 2; select 3 */* ; */ 4",
        "select a$b$c, 'x' from t$; select $1;",
        "create table \"a;b\"\"c;\" (x text default ';');",
        "\r\n create table a (\r\n x int) ;\r\n select 1",
    ] {
        if let Err(difference) = check(sql) {
            panic!("{difference}");
        }
    }
}

#[test]
fn splits_generated_scripts_as_postgres_does() {
    let scripts = std::env::var("SPLITTER_ORACLE_SCRIPTS")
        .map_or(DEFAULT_SCRIPTS, |count| count.parse().unwrap());
    let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let share = scripts.div_ceil(workers);
    let children = (0..workers).map(|worker| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "one_share", "--nocapture"])
            .env(
                "SPLITTER_ORACLE_SHARE",
                format!("{} {share}", worker * share),
            )
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    });
    for child in children.collect::<Vec<_>>() {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}");
        println!("{said}");
    }
}

#[test]
#[ignore = "a share of splits_generated_scripts_as_postgres_does, which starts it"]
fn one_share() {
    let share = std::env::var("SPLITTER_ORACLE_SHARE").unwrap_or_else(|_| "0 1000".into());
    let (first, count) = share.split_once(' ').unwrap();
    let (first, count): (u64, u64) = (first.parse().unwrap(), count.parse().unwrap());
    let (mut parsed, mut statements) = (0, 0);
    for seed in first..first + count {
        let script = Generator::new(seed).script();
        match check(&script.text) {
            Ok(Outcome::Parsed) => {
                parsed += 1;
                statements += script.statements;
            }
            Ok(Outcome::Refused) => {
                assert!(
                    script.mutated,
                    "seed {seed}: {:?} of {:?}",
                    pg_query::parse(&script.text, 0).err(),
                    script.text
                );
            }
            // Printed, too: the parser redirects stderr.
            Err(difference) => {
                println!("seed {seed}: {difference}");
                panic!("seed {seed}: {difference}");
            }
        }
    }
    println!("{count} scripts, {parsed} of them valid, {statements} statements");
    assert!(parsed * 2 > count, "only {parsed} of {count} were valid");
}
