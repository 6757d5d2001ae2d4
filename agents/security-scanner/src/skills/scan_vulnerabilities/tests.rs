use std::path::{Path, PathBuf};

use serde_json::json;
use shared::testing::FakeAgent;

use super::*;
use crate::{
    clients::{advisories::AdvisoryFolder, workspace::Workspace},
    domain::vulnerabilities::Effort,
};

fn skill(advisories: Option<PathBuf>, workspace: Option<&Path>) -> ScanVulnerabilities {
    let tree = workspace.map_or_else(Workspace::default, |root| Workspace::open(root).unwrap());
    let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
    ScanVulnerabilities {
        advisories: Arc::new(AdvisoryFolder::new(advisories)),
        tree: Arc::new(tree),
        metrics,
    }
}

async fn run(
    skill: &ScanVulnerabilities,
    input: serde_json::Value,
) -> Result<ScanVulnerabilitiesOutput, SkillError> {
    let (context, _) = FakeAgent::default().context();
    skill
        .run(&context, serde_json::from_value(input).unwrap())
        .await
}

fn shop() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop")
}

/// The real advisories for tests, or none with a message.
fn real_advisories() -> Option<PathBuf> {
    let folder = std::env::var_os("MESH_TEST_DATA")
        .map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
            PathBuf::from,
        )
        .join("osv");
    if folder.is_dir() {
        return Some(folder);
    }
    println!(
        "skipped: no OSV archives at {} (set MESH_TEST_DATA)",
        folder.display()
    );
    None
}

fn lock(packages: &[(&str, &str)]) -> String {
    let package = |(name, version): &(&str, &str)| {
        format!(
            "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n\n"
        )
    };
    packages.iter().map(package).collect()
}

#[tokio::test]
async fn the_first_release_of_the_shop_is_vulnerable_and_the_others_are_not() {
    let skill = skill(Some(shop().join("advisories")), Some(&shop()));
    for (release, file, vulnerable) in [
        ("1.0.0-rc.1", "Cargo.lock", true),
        ("1.0.0-rc.1", "sbom.cdx.json", true),
        ("1.0.0", "Cargo.lock", false),
        ("1.0.0", "sbom.cdx.json", false),
        ("1.1.0", "Cargo.lock", false),
        ("1.1.0", "sbom.cdx.json", false),
    ] {
        let output = run(
            &skill,
            json!({"paths": [format!("releases/{release}/{file}")]}),
        )
        .await
        .unwrap();
        let serious: Vec<&str> = output
            .findings
            .iter()
            .filter(|f| f.severity >= Severity::High)
            .map(|f| f.id.as_str())
            .collect();
        assert_eq!(
            !serious.is_empty(),
            vulnerable,
            "{release} {file}: {serious:?}"
        );
        assert!(
            output.components > 10 && output.not_evaluated.is_empty(),
            "{release} {file}: {:?}",
            output.not_evaluated
        );
        assert!(vulnerable || output.findings.is_empty(), "{release} {file}");
    }
}

#[tokio::test]
async fn a_finding_says_what_how_bad_and_what_to_do() {
    let skill = skill(Some(shop().join("advisories")), None);
    let input =
        json!({"content": [{"name": "Cargo.lock", "content": lock(&[("smallvec", "1.6.0")])}]});
    let output = run(&skill, input).await.unwrap();
    let finding = &output.findings[0];
    assert_eq!(
        (finding.id.as_str(), finding.score, finding.severity),
        ("RUSTSEC-2021-0003", Some(9.8), Severity::Critical)
    );
    assert_eq!(
        (
            finding.component.as_str(),
            finding.installed.as_str(),
            finding.fixed.as_deref()
        ),
        ("smallvec", "1.6.0", Some("1.6.1"))
    );
    assert_eq!(
        (finding.purl.as_str(), finding.effort),
        ("pkg:cargo/smallvec@1.6.0", Effort::Low)
    );
    assert!(finding.aliases.contains(&String::from("CVE-2021-25900")));
}

#[tokio::test]
async fn what_is_ignored_is_not_reported_and_stale_names_are() {
    let skill = skill(Some(shop().join("advisories")), None);
    let content = json!([{"name": "Cargo.lock", "content": lock(&[("smallvec", "1.6.0")])}]);
    let output = run(
        &skill,
        json!({"content": content, "ignore": ["CVE-2021-25900", "CVE-1999-0001"]}),
    )
    .await
    .unwrap();
    assert!(
        output
            .findings
            .iter()
            .all(|finding| finding.id != "RUSTSEC-2021-0003")
    );
    assert_eq!(output.unused_ignore, ["CVE-1999-0001"]);
}

#[tokio::test]
async fn missing_knowledge_is_said_and_not_taken_for_safety() {
    let with_advisories = skill(Some(shop().join("advisories")), None);
    let requirements = json!({"content": [{"name": "requirements.txt", "content": "django==1.0"}]});
    let output = run(&with_advisories, requirements.clone()).await.unwrap();
    assert_eq!(
        output
            .not_evaluated
            .iter()
            .map(|n| (n.ecosystem.as_str(), n.components))
            .collect::<Vec<_>>(),
        [("PyPI", 1)]
    );
    let error = run(&skill(None, None), requirements).await.unwrap_err();
    assert!(matches!(
        error,
        SkillError::Unavailable {
            dependency: "advisories",
            ..
        }
    ));
    let unknown = run(
        &with_advisories,
        json!({"content": [{"name": "notes.md", "content": "hello"}]}),
    )
    .await
    .unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "notes.md: expected a CycloneDX SBOM in JSON or a lockfile, got not a CycloneDX SBOM or a known lockfile"
    );
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table of well-known cases")]
async fn finds_published_vulnerabilities_in_the_real_archives() {
    let Some(folder) = real_advisories() else {
        return;
    };
    let skill = skill(Some(folder), None);
    let cargo = lock(&[
        ("smallvec", "1.6.0"),
        ("time", "0.1.43"),
        ("h2", "0.4.2"),
        ("smallvec", "1.13.2"),
    ]);
    let go = "golang.org/x/net v0.16.0 h1:x=\nhelm.sh/helm/v3 v3.10.2 h1:y=\n";
    let sbom = json!({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [
        {"type": "library", "name": "openssl", "purl": "pkg:rpm/almalinux/openssl@1.1.1k-6.el8_5?arch=x86_64&epoch=1&distro=almalinux-8.6"},
        {"type": "library", "name": "bash", "purl": "pkg:deb/debian/bash@5.2?distro=debian-12"}]});
    let input = json!({"content": [{"name": "Cargo.lock", "content": cargo}, {"name": "go.sum", "content": go}, {"name": "sbom.json", "content": sbom.to_string()}]});
    let output = run(&skill, input).await.unwrap();
    let found = |component: &str, name: &str| {
        output.findings.iter().find(|f| {
            f.component == component
                && (f.id == name || f.aliases.iter().any(|alias| alias == name))
        })
    };
    assert_eq!(
        found("smallvec", "RUSTSEC-2021-0003").unwrap().severity,
        Severity::Critical
    );
    assert_eq!(found("time", "RUSTSEC-2020-0071").unwrap().score, Some(6.2));
    assert_eq!(
        found("h2", "RUSTSEC-2024-0332").unwrap().fixed.as_deref(),
        Some("0.4.4")
    );
    assert_eq!(
        found("golang.org/x/net", "CVE-2023-39325")
            .unwrap()
            .fixed
            .as_deref(),
        Some("0.17.0")
    );
    assert_eq!(
        found("helm.sh/helm/v3", "GO-2022-1167")
            .unwrap()
            .fixed
            .as_deref(),
        Some("3.10.3")
    );
    let openssl: Vec<&str> = output
        .findings
        .iter()
        .filter(|f| f.component == "openssl")
        .filter_map(|f| f.fixed.as_deref())
        .collect();
    assert!(openssl.contains(&"1:1.1.1k-7.el8_6"), "{openssl:?}");
    assert!(
        output.findings.iter().all(|f| f.installed != "1.13.2"),
        "1.13.2 of smallvec has no known vulnerability in the archive"
    );
    assert_eq!(
        output
            .not_evaluated
            .iter()
            .map(|n| n.ecosystem.as_str())
            .collect::<Vec<_>>(),
        ["Debian:12"]
    );
    assert!(
        output.advisories.records > 11_000
            && output.advisories.invalid == 0
            && output.advisories.withdrawn == 30,
        "{:?}",
        output.advisories
    );
}

/// A second evaluation, written down from the archives' own JSON, with the `semver` crate for order.
#[tokio::test]
async fn agrees_with_a_naive_evaluation_of_every_rust_advisory() {
    let Some(folder) = real_advisories() else {
        return;
    };
    let database = AdvisoryFolder::new(Some(folder.join("rust")))
        .load()
        .unwrap();
    let mut archive =
        zip::ZipArchive::new(std::fs::File::open(folder.join("rust/all.zip")).unwrap()).unwrap();
    let (mut compared, mut affected_pairs) = (0, 0);
    for index in 0..archive.len() {
        let record: serde_json::Value =
            serde_json::from_reader(archive.by_index(index).unwrap()).unwrap();
        for affected in record["affected"].as_array().unwrap() {
            let name = affected["package"]["name"].as_str().unwrap();
            let events: Vec<(bool, semver::Version)> = affected["ranges"]
                .as_array()
                .unwrap()
                .iter()
                .flat_map(|range| range["events"].as_array().unwrap())
                .map(naive_event)
                .collect();
            for version in probes(&events) {
                let naive = record.get("withdrawn").is_none() && naive_affected(&events, &version);
                let component = crate::domain::vulnerabilities::Component {
                    ecosystem: Some("crates.io".into()),
                    name: name.into(),
                    version: Some(version.to_string()),
                    purl: String::new(),
                    dev: false,
                };
                let id = record["id"].as_str().unwrap();
                let ours = evaluate(&database, &[component])
                    .findings
                    .iter()
                    .any(|f| f.id == id || f.aliases.iter().any(|alias| alias == id));
                assert_eq!(ours, naive, "{id} {name} {version}");
                compared += 1;
                affected_pairs += usize::from(naive);
            }
        }
    }
    assert!(
        compared > 5_000 && affected_pairs > 1_000,
        "{compared} {affected_pairs}"
    );
}

fn naive_event(event: &serde_json::Value) -> (bool, semver::Version) {
    let (kind, text) = event.as_object().unwrap().iter().next().unwrap();
    (
        kind == "introduced",
        text.as_str()
            .unwrap()
            .parse()
            .unwrap_or(semver::Version::new(0, 0, 0)),
    )
}

fn probes(events: &[(bool, semver::Version)]) -> Vec<semver::Version> {
    let mut probes = vec![
        semver::Version::new(0, 0, 1),
        semver::Version::new(999, 0, 0),
    ];
    for (_, at) in events {
        probes.extend([
            at.clone(),
            semver::Version::new(at.major, at.minor, at.patch + 1),
            semver::Version::new(at.major, at.minor + 1, 0),
        ]);
    }
    probes
}

/// In `RustSec` every range is a list of pairs in order: introduced, fixed or open.
fn naive_affected(events: &[(bool, semver::Version)], version: &semver::Version) -> bool {
    let last = events
        .iter()
        .filter(|(_, at)| version.cmp_precedence(at).is_ge())
        .max_by(|(begins_a, a), (begins_b, b)| a.cmp_precedence(b).then(begins_a.cmp(begins_b)));
    last.is_some_and(|(begins, _)| *begins)
}
