//! Clouds and infrastructure.

use super::Rule;
use crate::domain::{
    Severity::{Critical, Medium},
    secrets::{checksum, guard},
};

const AWS: &str = "deactivate the key in IAM, look at CloudTrail for its use, and use roles or workload identity in place of long-lived keys";

/// Clouds, hosting, infrastructure tools.
pub(super) static RULES: &[Rule] = &[
    Rule::token("aws-access-key-id", "AWS access key id", &["akia", "asia", "abia", "acca"], r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b")
        .prefix(4)
        .remediation(AWS),
    Rule::token(
        "aws-secret-access-key",
        "AWS secret access key",
        &["aws", "secret_access_key", "secretaccesskey", "secret-access-key"],
        r#"(?i)(?:aws|secret)[\w.-]{0,20}(?:secret|access|private)[\w.-]{0,20}key["'\]]{0,2}\s{0,4}(?::|=|=>|:=)\s{0,4}["']?([0-9a-z/+]{40})(?:[^0-9a-z/+=]|$)"#,
    )
    .severity(Critical)
    .entropy(4.0)
    .verify(guard::mixed_token)
    .remediation(AWS),
    Rule::token("gcp-api-key", "Google Cloud API key", &["aiza"], r"\bAIza[0-9A-Za-z_-]{35}").entropy(3.5).prefix(4),
    Rule::token("gcp-oauth-client-secret", "Google OAuth client secret", &["gocspx-"], r"\bGOCSPX-[0-9A-Za-z_-]{28}").prefix(7),
    Rule::token("gcp-access-token", "Google OAuth access token", &["ya29."], r"\bya29\.[0-9A-Za-z_-]{30,400}").severity(Medium).prefix(5),
    Rule::token(
        "azure-storage-key",
        "Azure storage account key",
        &["accountkey"],
        r"(?i)AccountKey\s*=\s*([0-9A-Za-z+/]{86}==)",
    )
    .severity(Critical)
    .entropy(4.0),
    Rule::token(
        "azure-client-secret",
        "Azure AD application secret",
        &["1q~", "2q~", "3q~", "4q~", "5q~", "6q~", "7q~", "8q~", "9q~", "0q~"],
        r"(?:^|[^0-9A-Za-z_~.-])([0-9A-Za-z_~.]{3}\dQ~[0-9A-Za-z_~.-]{31,34})(?:[^0-9A-Za-z_~.-]|$)",
    )
    .severity(Critical),
    Rule::token("azure-sas", "Azure shared access signature", &["&sig=", "?sig="], r"[?&]sig=([0-9A-Za-z%+/]{43,70}(?:%3[dD]|=))").severity(Medium),
    Rule::token("digitalocean-token", "DigitalOcean token", &["dop_v1_", "doo_v1_", "dor_v1_"], r"\bdo[por]_v1_[0-9a-f]{64}\b").severity(Critical).prefix(7),
    Rule::token("alibaba-access-key-id", "Alibaba Cloud access key id", &["ltai"], r"\bLTAI[0-9A-Za-z]{17,21}\b").entropy(3.5).prefix(4),
    Rule::token("heroku-key", "Heroku API key", &["hrku-"], r"\bHRKU-AA[0-9A-Za-z_-]{58}").prefix(5),
    Rule::token("flyio-token", "Fly.io access token", &["fo1_", "fm2_"], r"\b(?:fo1_[\w-]{43}|fm2_[0-9A-Za-z+/=]{100,})").prefix(4),
    Rule::token("vault-token", "HashiCorp Vault token", &["hvs.", "hvb."], r"\bhv[sb]\.[0-9A-Za-z_-]{24,300}").severity(Critical).prefix(4),
    Rule::token(
        "terraform-cloud-token",
        "Terraform Cloud API token",
        &[".atlasv1."],
        r"\b[0-9A-Za-z]{14}\.atlasv1\.[0-9A-Za-z_=-]{60,70}",
    )
    .severity(Critical),
    Rule::token("pulumi-token", "Pulumi access token", &["pul-"], r"\bpul-[0-9a-f]{40}\b").prefix(4),
    Rule::token("databricks-token", "Databricks access token", &["dapi"], r"\bdapi[0-9a-f]{32}(?:-\d)?\b").prefix(4),
    Rule::token("doppler-token", "Doppler token", &["dp.pt.", "dp.st.", "dp.sa."], r"\bdp\.(?:pt|st|sa)\.(?:[a-z0-9_-]{2,35}\.)?[0-9A-Za-z]{40,44}\b").prefix(6),
    Rule::token("planetscale-token", "PlanetScale credential", &["pscale_"], r"\bpscale_(?:tkn|pw|oauth)_[\w=.-]{32,64}").prefix(7),
    Rule::token("supabase-token", "Supabase access token", &["sbp_"], r"\bsbp_[0-9a-f]{40}\b").prefix(4),
    Rule::token("grafana-token", "Grafana service account token", &["glsa_"], r"\bglsa_[0-9A-Za-z]{32}_[0-9a-f]{8}\b").prefix(5),
    Rule::token("grafana-cloud-token", "Grafana Cloud token", &["glc_eyj"], r"\bglc_eyJ[0-9A-Za-z+/]{32,400}={0,2}").prefix(4),
    Rule::token("dynatrace-token", "Dynatrace token", &["dt0c01.", "dt0s16."], r"\bdt0[cs](?:01|16)\.[0-9A-Z]{24}\.[0-9A-Z]{64}\b").prefix(7),
    Rule::token("newrelic-key", "New Relic user key", &["nrak-"], r"\bNRAK-[0-9A-Z]{27}\b").prefix(5),
    Rule::token("sentry-token", "Sentry token", &["sntrys_", "sntryu_"], r"\bsntry(?:s_eyJ[0-9A-Za-z_=+/-]{60,400}|u_[0-9a-f]{64}\b)").prefix(7),
    Rule::token(
        "age-secret-key",
        "age secret key",
        &["age-secret-key-1"],
        r"\bAGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}\b",
    )
    .severity(Critical)
    .prefix(16)
    .verify(checksum::bech32),
    Rule::token("onepassword-token", "1Password service account token", &["ops_eyj"], r"\bops_eyJ[0-9A-Za-z+/_-]{150,1200}={0,3}").severity(Critical).prefix(4),
    Rule::token("tailscale-key", "Tailscale key", &["tskey-"], r"\btskey-(?:auth|api|client|scim|webhook)-[0-9A-Za-z]{8,20}-[0-9A-Za-z]{20,40}\b").prefix(6),
];
