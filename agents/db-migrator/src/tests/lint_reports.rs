//! What reports say: places, fingerprints, the schemas of others, and no value of the SQL.

use std::collections::BTreeSet;

use serde_json::Value;

use super::lint::report;
use crate::domain::{
    Dialect,
    lint::{Finding, LintReport, gitlab, sarif, text},
};

fn of(sql: &str) -> LintReport {
    report(Dialect::Postgres, &[("migrations/1 a.up.sql", sql)])
}

fn place(finding: &Finding) -> (u32, u32, u32, u32) {
    let (start, end) = (finding.start, finding.end);
    (start.line, start.column, end.line, end.column)
}

#[test]
fn lines_and_columns_start_at_one_and_count_characters() {
    let told = of("-- é\n\n/* ü */ delete from t\n;\nselect 1");
    assert_eq!(
        told.findings.iter().map(place).collect::<Vec<_>>(),
        [(3, 9, 3, 22), (5, 9, 5, 9)]
    );
    assert_eq!(of("delete from t;").findings[0].start.line, 1);
    let windows = of("\u{feff}select 1;\r\ndelete from t;\r\n");
    let lines = windows
        .findings
        .iter()
        .map(|finding| (finding.rule.as_str(), finding.start.line))
        .collect::<Vec<_>>();
    assert_eq!(lines, [("crlf", 1), ("deletes-data", 2)]);
}

#[test]
fn fingerprints_survive_moves_and_are_unique() {
    let prints = |sql: &str| {
        let told = of(sql).findings;
        let prints = told.iter().map(|finding| finding.fingerprint.clone());
        prints.collect::<Vec<_>>()
    };
    let first = prints("delete from t;\ndelete from t;\n");
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 2);
    assert_eq!(
        first,
        prints("-- moved\n\nselect 1;\n\n  DELETE   FROM \"t\";\n/* x */ delete from t;\n")
    );
    assert_ne!(first[0], prints("delete from u;\n")[0]);
    let elsewhere = report(Dialect::Postgres, &[("2.sql", "delete from t;\n")]);
    assert_ne!(first[0], elsewhere.findings[0].fingerprint);
}

#[test]
fn shows_no_literal_of_the_sql() {
    let told = of(
        "alter type e add value 'hunter2';\ninsert into t values ('hunter2');\ncreate table t (a varchar(5) default 'hunter2' not null);\nselect 'hunter2",
    );
    let secret = |value: &str| value.contains("hunter2");
    assert!(!secret(&format!("{told:?}")));
    let told = of(
        "alter type e add value 'hunter2';\ninsert into t values ('hunter2');\nalter table t add constraint c check (a <> 'hunter2');\ncreate user x password 'hunter2';\nalter table t alter column a type varchar(5) using 'hunter2';\n",
    );
    assert!(told.findings.len() >= 4, "{told:?}");
    for shown in [
        format!("{:?}", told.findings),
        gitlab::report(&told.findings).to_string(),
        sarif::log(&told.findings).to_string(),
        text::table(&told),
    ] {
        assert!(!secret(&shown), "{shown}");
    }
}

/// Scripts with findings of all sorts, with fixes and without.
fn many() -> LintReport {
    of(
        "create index i on t (a);\ndrop table t;\nalter table t add column a varchar(5) not null;\nbegin;\ndelete from t;\r\ngrant select on t to public;\nselect 1",
    )
}

#[test]
fn sarif_is_valid_by_its_schema() {
    let schema = include_str!("../../testdata/sarif-2.1.0.schema.json");
    let mut schema = serde_json::from_str::<Value>(schema).unwrap();
    // These patterns of the published schema are no regular expressions by the book; the log has no language.
    for component in ["run", "toolComponent"] {
        let language = &mut schema["definitions"][component]["properties"]["language"];
        let removed = language.as_object_mut().unwrap().remove("pattern");
        assert!(removed.is_some());
    }
    let validator = jsonschema::validator_for(&schema).unwrap();
    for told in [many(), LintReport::default()] {
        let log = sarif::log(&told.findings);
        let errors = validator
            .iter_errors(&log)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect::<Vec<_>>();
        assert!(errors.is_empty(), "{errors:#?}");
        assert_eq!(
            log["runs"][0]["results"].as_array().unwrap().len(),
            told.findings.len()
        );
    }
    // The schema itself refuses something.
    let mut broken = sarif::log(&many().findings);
    broken["runs"][0]["results"][0]["level"] = "fatal".into();
    assert!(!validator.is_valid(&broken));
    let log = sarif::log(&many().findings);
    let results = log["runs"][0]["results"].as_array().unwrap();
    let fixed = results
        .iter()
        .filter(|result| result.get("fixes").is_some());
    assert!(fixed.count() >= 2, "{log:#}");
    let rules = log["runs"][0]["tool"]["driver"]["rules"]
        .as_array()
        .unwrap();
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        let place = &result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
        assert_eq!(place, "migrations/1%20a.up.sql");
    }
}

#[test]
fn gitlab_gets_its_required_fields() {
    let told = many();
    let entries = gitlab::report(&told.findings);
    let entries = entries.as_array().unwrap();
    assert!(entries.len() > 5);
    let mut fingerprints = BTreeSet::new();
    for entry in entries {
        let text = |field: &str| entry[field].as_str().unwrap().to_owned();
        assert!(!text("description").is_empty() && !text("check_name").is_empty());
        assert!(
            ["info", "minor", "major", "critical", "blocker"].contains(&text("severity").as_str())
        );
        assert!(fingerprints.insert(text("fingerprint")));
        assert_eq!(entry["location"]["path"], "migrations/1 a.up.sql");
        let lines = &entry["location"]["lines"];
        assert!(lines["begin"].as_u64().unwrap() >= 1);
        assert!(lines["end"].as_u64() >= lines["begin"].as_u64());
    }
    let severities = entries
        .iter()
        .map(|entry| entry["severity"].as_str().unwrap());
    assert!(
        severities.collect::<BTreeSet<_>>().len() >= 4,
        "{entries:#?}"
    );
}

#[test]
fn people_get_a_line_a_finding_and_the_sum() {
    let told = of("delete from t;\n");
    assert_eq!(
        text::table(&told),
        "migrations/1 a.up.sql\n  \
         1:1      critical deletes-data                         it deletes every row of t\n\
         \x20                  Keep them aside, or say which.\n\
         1 critical in 1 files, 1 statements\n"
    );
    assert!(text::table(&of("select 1;")).starts_with("nothing found in 1 files"));
}

#[test]
fn fixes_settle_what_they_are_for() {
    let sql = "create index i on t (a)";
    let told = of(sql).findings;
    let mut script = sql.to_owned();
    // All on one line: columns are places, the last first.
    let mut fixes = told
        .iter()
        .flat_map(|finding| &finding.fixes)
        .collect::<Vec<_>>();
    fixes.sort_by_key(|fix| std::cmp::Reverse(fix.start));
    for fix in fixes {
        let place = |column: u32| usize::try_from(column - 1).unwrap();
        script.replace_range(place(fix.start.column)..place(fix.end.column), &fix.text);
    }
    assert_eq!(script, "create index concurrently i on t (a);");
    assert_eq!(of(&script).findings, []);
}
