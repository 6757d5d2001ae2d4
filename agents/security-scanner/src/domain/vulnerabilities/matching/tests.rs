use super::*;
use crate::domain::vulnerabilities::AdvisoryDatabaseBuilder;

fn database(records: &[String]) -> AdvisoryDatabase {
    let mut builder = AdvisoryDatabaseBuilder::default();
    for record in records {
        builder.add(serde_json::from_str(record).unwrap());
    }
    builder.build()
}

fn component(ecosystem: &str, name: &str, version: &str) -> Component {
    Component {
        ecosystem: Some(ecosystem.into()),
        name: name.into(),
        version: Some(version.into()),
        purl: String::new(),
        dev: false,
    }
}

fn record(id: &str, ecosystem: &str, affected: &str) -> String {
    format!(
        r#"{{"id":"{id}","affected":[{{"package":{{"ecosystem":"{ecosystem}","name":"a"}},{affected}}}]}}"#
    )
}

/// The finding, if there is one.
fn find(ecosystem: &str, affected: &str, version: &str) -> Option<Finding> {
    let found = evaluate(
        &database(&[record("X", ecosystem, affected)]),
        &[component(ecosystem, "a", version)],
    )
    .findings;
    assert!(found.len() <= 1);
    found.into_iter().next()
}

fn fix_of(ecosystem: &str, affected: &str, version: &str) -> Option<String> {
    find(ecosystem, affected, version)?.fixed
}

fn check(ecosystem: &str, affected: &str, hit: &[&str], missed: &[&str]) {
    for version in hit {
        assert!(
            find(ecosystem, affected, version).is_some(),
            "{ecosystem} {version} is affected by {affected}"
        );
    }
    for version in missed {
        assert!(
            find(ecosystem, affected, version).is_none(),
            "{ecosystem} {version} is not affected by {affected}"
        );
    }
}

#[test]
fn events_of_a_branch_each_decide_in_the_order_of_versions() {
    let events = r#""ranges":[{"type":"SEMVER","events":[{"fixed":"2.1.0"},{"introduced":"0"},{"introduced":"2.0.0"},{"fixed":"1.2.0"}]}]"#;
    check(
        "npm",
        events,
        &["0.0.1", "1.1.9", "2.0.0", "2.1.0-rc.1"],
        &["1.2.0", "1.9.9", "2.1.0", "3.0.0"],
    );
    assert_eq!(fix_of("npm", events, "1.0.0"), Some("1.2.0".into()));
    assert_eq!(fix_of("npm", events, "2.0.5"), Some("2.1.0".into()));
}

#[test]
fn the_last_affected_version_is_affected_and_has_no_fix() {
    let events = r#""ranges":[{"type":"SEMVER","events":[{"introduced":"1.0.0"},{"last_affected":"1.4.2"}]}]"#;
    check(
        "crates.io",
        events,
        &["1.0.0", "1.4.2"],
        &["0.9.9", "1.0.0-rc.1", "1.4.3"],
    );
    assert!(find("crates.io", events, "1.2.0").is_some_and(|finding| finding.fixed.is_none()));
}

#[test]
fn a_limit_ends_what_a_range_speaks_of() {
    check(
        "npm",
        r#""ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"limit":"2.0.0"}]}]"#,
        &["0.1.0", "1.9.9"],
        &["2.0.0", "2.0.1"],
    );
    check(
        "npm",
        r#""ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"limit":"*"}]}]"#,
        &["0.1.0", "99.0.0"],
        &[],
    );
}

#[test]
fn listed_versions_count_beside_ranges() {
    let affected = r#""versions":["1.0.0","4.0"],"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"2.0"},{"fixed":"2.5"}]}]"#;
    check(
        "PyPI",
        affected,
        &["1.0.0", "1.0", "2.0", "2.5rc1", "4.0"],
        &["1.5", "2.5", "3.0"],
    );
}

#[test]
fn ecosystems_order_versions_their_own_way() {
    check(
        "Debian:12",
        r#""ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"3.0.15-1~deb12u1"}]}]"#,
        &["3.0.9-1", "3.0.15-1~deb12"],
        &["3.0.15-1", "1:0.1"],
    );
    check(
        "AlmaLinux:9",
        r#""ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1:3.0.7-28.el9_4"}]}]"#,
        &["1:3.0.7-6.el9", "3.0.9-1.el9"],
        &["1:3.0.7-28.el9_4", "1:3.2.0-1.el9"],
    );
    check(
        "Go",
        r#""ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"0.7.0"}]}]"#,
        &["v0.6.9", "v0.0.0-20200622213623-75b288015ac9"],
        &["v0.7.0"],
    );
}

#[test]
fn a_record_without_versions_and_ranges_means_every_version() {
    check("npm", r#""ranges":[]"#, &["0.0.1", "9.9.9"], &[]);
}

#[test]
fn ranges_in_an_unknown_order_leave_the_component_open() {
    let database = database(&[record(
        "X",
        "Maven",
        r#""ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"2"}]}]"#,
    )]);
    let evaluation = evaluate(
        &database,
        &[
            component("Maven", "a", "1"),
            component("npm", "a", "1"),
            Component {
                version: None,
                ..component("Maven", "a", "1")
            },
        ],
    );
    assert!(evaluation.findings.is_empty());
    let reasons: Vec<(&str, &str)> = evaluation
        .not_evaluated
        .iter()
        .map(|n| (n.ecosystem.as_str(), n.reason.as_str()))
        .collect();
    assert_eq!(
        reasons,
        [
            ("Maven", "no version"),
            (
                "Maven",
                "the order of versions of this ecosystem is not known"
            ),
            ("npm", "no advisories loaded for this ecosystem")
        ]
    );
}

#[test]
fn aliases_become_one_finding_with_the_worst_rating_and_the_fix_that_ends_all() {
    let with = |id: &str, aliases: &str, vector: &str, fixed: &str| {
        format!(
            r#"{{"id":"{id}","aliases":[{aliases}],"severity":[{{"type":"CVSS_V3","score":"{vector}"}}],"affected":[{{"package":{{"ecosystem":"npm","name":"a"}},"ranges":[{{"type":"SEMVER","events":[{{"introduced":"0"}},{{"fixed":"{fixed}"}}]}}]}}]}}"#
        )
    };
    let high = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N";
    let critical = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H";
    let database = database(&[
        with("A", r#""CVE-1""#, high, "1.2.0"),
        with("B", r#""CVE-2""#, high, "1.1.0"),
        with("C", r#""CVE-1","CVE-2""#, critical, "1.1.0"),
        with("D", "", high, "2.0.0"),
    ]);
    let findings = evaluate(&database, &[component("npm", "a", "1.0.0")]).findings;
    let seen: Vec<_> = findings
        .iter()
        .map(|f| {
            (
                f.id.as_str(),
                f.aliases.join(" "),
                f.score,
                f.fixed.as_deref(),
                f.effort,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (
                "C",
                "A B CVE-1 CVE-2".into(),
                Some(9.8),
                Some("1.2.0"),
                Effort::Medium
            ),
            ("D", String::new(), Some(7.5), Some("2.0.0"), Effort::High)
        ]
    );
}

#[test]
fn the_effort_follows_the_distance_to_the_fix() {
    for (installed, fixed, expected) in [
        ("1.2.3", Some("1.2.4"), Effort::Low),
        ("1.2.3", Some("1.3.0"), Effort::Medium),
        ("1.2.3", Some("2.0.0"), Effort::High),
        ("0.2.3", Some("0.2.4"), Effort::Low),
        ("0.2.3", Some("0.3.0"), Effort::High),
        ("v0.2.3", Some("0.2.4"), Effort::Low),
        ("1.2.3", None, Effort::NoFix),
    ] {
        assert_eq!(
            effort(installed, fixed, Scheme::SemVer),
            expected,
            "{installed} {fixed:?}"
        );
    }
    assert_eq!(effort("1.0-1", Some("2.0-1"), Scheme::Dpkg), Effort::Low);
}
