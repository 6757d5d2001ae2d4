//! Code platforms and package registries.

use super::Rule;
use crate::domain::{
    Severity::{Critical, Medium},
    secrets::checksum,
};

const GITLAB: &str = "revoke the token in GitLab (Access tokens, or the runner's or trigger's page), look at its last use, \
    and keep the new one in a masked, protected CI/CD variable or a secret store";
const GITHUB: &str = "revoke the token in GitHub (Settings, Developer settings), look at the security log for its use, \
    and keep the new one in an Actions secret or a secret store";
const REGISTRY: &str = "revoke the token in the registry, look for versions published with it, \
    and prefer trusted publishing (OIDC) to a stored token";

/// GitLab, GitHub, Bitbucket, and where packages are published.
pub(super) static RULES: &[Rule] = &[
    Rule::token(
        "gitlab-pat",
        "GitLab personal, project or group access token",
        &["glpat-"],
        r"\bglpat-[0-9A-Za-z_-]{20,300}(?:\.[0-9a-z]{2})?(?:\.[0-9a-z]{9}\b)?",
    )
    .severity(Critical)
    .prefix(6)
    .verify(checksum::gitlab_routable)
    .remediation(GITLAB),
    Rule::token("gitlab-deploy-token", "GitLab deploy token", &["gldt-"], r"\bgldt-[0-9A-Za-z_-]{20,50}").prefix(5).remediation(GITLAB),
    Rule::token(
        "gitlab-runner-token",
        "GitLab runner authentication token",
        &["glrt-", "glrtr-"],
        r"\bglrtr?-[0-9A-Za-z_-]{20,300}(?:\.[0-9a-z]{2})?(?:\.[0-9a-z]{9}\b)?",
    )
    .prefix(5)
    .verify(checksum::gitlab_routable)
    .remediation(GITLAB),
    Rule::token("gitlab-runner-registration", "GitLab runner registration token", &["gr1348941"], r"\bGR1348941[0-9A-Za-z_-]{20}")
        .prefix(9)
        .remediation(GITLAB),
    Rule::token("gitlab-trigger-token", "GitLab pipeline trigger token", &["glptt-"], r"\bglptt-[0-9a-f]{40}\b").prefix(6).remediation(GITLAB),
    Rule::token(
        "gitlab-ci-job-token",
        "GitLab CI job token",
        &["glcbt-"],
        r"\bglcbt-[0-9A-Za-z]{1,5}_[0-9A-Za-z_-]{20,64}",
    )
    .severity(Medium)
    .prefix(6)
    .remediation(GITLAB),
    Rule::token("gitlab-oauth-secret", "GitLab OAuth application secret", &["gloas-"], r"\bgloas-[0-9a-f]{64}\b").prefix(6).remediation(GITLAB),
    Rule::token("gitlab-agent-token", "GitLab agent for Kubernetes token", &["glagent-"], r"\bglagent-[0-9A-Za-z_-]{50,1024}")
        .prefix(8)
        .remediation(GITLAB),
    Rule::token("gitlab-feed-token", "GitLab feed token", &["glft-"], r"\bglft-[0-9A-Za-z_-]{20,64}").severity(Medium).prefix(5).remediation(GITLAB),
    Rule::token("gitlab-incoming-mail-token", "GitLab incoming mail token", &["glimt-"], r"\bglimt-[0-9A-Za-z_-]{25}")
        .severity(Medium)
        .prefix(6)
        .remediation(GITLAB),
    Rule::token("gitlab-scim-token", "GitLab SCIM token", &["glsoat-"], r"\bglsoat-[0-9A-Za-z_-]{20}").prefix(7).remediation(GITLAB),
    Rule::token(
        "gitlab-feature-flags-token",
        "GitLab feature flags client token",
        &["glffct-"],
        r"\bglffct-[0-9A-Za-z_-]{20}",
    )
    .severity(Medium)
    .prefix(7)
    .remediation(GITLAB),
    Rule::token("github-pat", "GitHub personal access token", &["ghp_"], r"\bghp_[0-9A-Za-z]{36}\b")
        .severity(Critical)
        .prefix(4)
        .verify(checksum::crc32_base62)
        .remediation(GITHUB),
    Rule::token(
        "github-fine-grained-pat",
        "GitHub fine-grained personal access token",
        &["github_pat_"],
        r"\bgithub_pat_[0-9A-Za-z]{22}_[0-9A-Za-z]{59}\b",
    )
    .severity(Critical)
    .prefix(11)
    .remediation(GITHUB),
    Rule::token("github-oauth-token", "GitHub OAuth access token", &["gho_"], r"\bgho_[0-9A-Za-z]{36}\b")
        .prefix(4)
        .verify(checksum::crc32_base62)
        .remediation(GITHUB),
    Rule::token("github-app-token", "GitHub App token", &["ghu_", "ghs_"], r"\bgh[us]_[0-9A-Za-z]{36}\b")
        .prefix(4)
        .verify(checksum::crc32_base62)
        .remediation(GITHUB),
    Rule::token("github-refresh-token", "GitHub App refresh token", &["ghr_"], r"\bghr_(?:[0-9A-Za-z]{76}|[0-9A-Za-z]{36})\b")
        .prefix(4)
        .verify(checksum::crc32_base62)
        .remediation(GITHUB),
    Rule::token("bitbucket-app-password", "Bitbucket app password", &["atbb"], r"\bATBB[0-9A-Za-z]{32}\b").prefix(4),
    Rule::token("atlassian-api-token", "Atlassian API token", &["atatt3"], r"\bATATT3[0-9A-Za-z_=-]{60,250}").prefix(6),
    Rule::token("npm-token", "npm access token", &["npm_"], r"\bnpm_[0-9A-Za-z]{36}\b")
        .severity(Critical)
        .prefix(4)
        .verify(checksum::crc32_base62)
        .remediation(REGISTRY),
    Rule::token(
        "npmrc-auth",
        "Password or token in an npm configuration",
        &["_authtoken", "_password", "_auth"],
        r#"(?m)^\s*(?://[^\s:]+(?::\d+)?/[^\s:]*:)?_(?:authToken|password|auth)\s*=\s*"?([0-9A-Za-z+/=_.-]{12,200})"?"#,
    )
    .remediation(REGISTRY),
    Rule::token(
        "pypi-token",
        "PyPI upload token",
        &["pypi-ageichlwas5vcmc", "pypi-agendgvzdc5wexbplm9yz"],
        r"\bpypi-(?:AgEIcHlwaS5vcmc|AgENdGVzdC5weXBpLm9yZ)[0-9A-Za-z_-]{50,1000}",
    )
    .severity(Critical)
    .prefix(5)
    .remediation(REGISTRY),
    Rule::token("rubygems-token", "RubyGems API key", &["rubygems_"], r"\brubygems_[0-9a-f]{48}\b").severity(Critical).prefix(9).remediation(REGISTRY),
    Rule::token("crates-io-token", "crates.io API token", &["cio"], r"\bcio[0-9A-Za-z]{32}\b").severity(Critical).entropy(3.7).prefix(3).remediation(REGISTRY),
    Rule::token("nuget-key", "NuGet API key", &["oy2"], r"\boy2[0-9a-z]{43}\b").severity(Critical).prefix(3).remediation(REGISTRY),
    Rule::token("dockerhub-pat", "Docker Hub access token", &["dckr_pat_", "dckr_oat_"], r"\bdckr_[po]at_[0-9A-Za-z_-]{27,32}").prefix(9).remediation(REGISTRY),
    Rule::token("sonarqube-token", "SonarQube token", &["squ_", "sqp_", "sqa_"], r"\bsq[upa]_[0-9a-f]{40}\b").prefix(4),
];
