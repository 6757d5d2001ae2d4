//! The part of an OSV record that decides; the rest is skipped while reading.
//!
//! Source: Open Source Vulnerability format, schema version 1.7.

use serde::Deserialize;
use serde_json::Value;

/// One advisory.
#[derive(Debug, Deserialize)]
pub struct Record {
    /// Name of the advisory, for example `RUSTSEC-2021-0003`.
    pub id: String,
    /// Names of the same advisory elsewhere.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Set when the advisory was taken back.
    #[serde(default)]
    pub withdrawn: Option<String>,
    /// One line about it.
    #[serde(default)]
    pub summary: Option<String>,
    /// Ratings of the whole advisory.
    #[serde(default)]
    pub severity: Vec<Rating>,
    /// What it applies to.
    #[serde(default)]
    pub affected: Vec<Affected>,
    /// Whatever the database adds; GitHub puts its rating word here.
    #[serde(default)]
    pub database_specific: Option<Value>,
}

/// A rating in some scale.
#[derive(Debug, Deserialize)]
pub struct Rating {
    /// Scale, for example `CVSS_V3`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Vector in that scale.
    pub score: String,
}

/// A package and which of its versions are affected.
#[derive(Debug, Deserialize)]
pub struct Affected {
    /// The package; absent for advisories about commits only.
    #[serde(default)]
    pub package: Option<Package>,
    /// Version ranges.
    #[serde(default)]
    pub ranges: Vec<RawRange>,
    /// Single versions.
    #[serde(default)]
    pub versions: Vec<String>,
    /// Ratings for this package.
    #[serde(default)]
    pub severity: Vec<Rating>,
    /// Whatever the ecosystem adds.
    #[serde(default)]
    pub ecosystem_specific: Option<Value>,
    /// Whatever the database adds.
    #[serde(default)]
    pub database_specific: Option<Value>,
}

/// A package of an ecosystem.
#[derive(Debug, Deserialize)]
pub struct Package {
    /// Ecosystem with its release where it has some, for example `npm` or `Debian:12`.
    pub ecosystem: String,
    /// Name in that ecosystem.
    pub name: String,
}

/// A range of versions as events on a line.
#[derive(Debug, Deserialize)]
pub struct RawRange {
    /// `SEMVER`, `ECOSYSTEM` or `GIT`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Events in any order.
    #[serde(default)]
    pub events: Vec<RawEvent>,
}

/// One event; exactly one field is set.
#[derive(Debug, Deserialize)]
pub struct RawEvent {
    /// Affected from here on; `0` is before every version.
    #[serde(default)]
    pub introduced: Option<String>,
    /// No longer affected from here on.
    #[serde(default)]
    pub fixed: Option<String>,
    /// Affected up to and with this version.
    #[serde(default)]
    pub last_affected: Option<String>,
    /// The range says nothing from here on.
    #[serde(default)]
    pub limit: Option<String>,
}
