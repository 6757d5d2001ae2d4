//! The checksums of other tools.

use std::hash::{Hash, Hasher};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha384};
use siphasher::sip::SipHasher13;

use super::Tool;
use crate::domain::{Migration, source::normalize};

/// Whether the file at hand is the one that another tool ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChecksumVerdict {
    /// It is, byte for byte or as far as the tool looks.
    Same,
    /// It is but for line ends or a byte order mark.
    OtherLineEnds,
    /// It was edited since.
    Differs,
    /// The tool keeps none.
    NotRecorded,
}

/// Holds a migration against the checksum that a tool recorded.
pub(super) fn compare(tool: Tool, migration: &Migration, recorded: &str) -> ChecksumVerdict {
    let same: fn(&Migration, &str, &str) -> bool = match tool {
        Tool::Sqlx => |_, text, recorded| sha384(text).eq_ignore_ascii_case(recorded),
        Tool::Refinery => is_refinery,
        Tool::Flyway => is_flyway,
        Tool::Diesel | Tool::GolangMigrate | Tool::Dbmate | Tool::Goose => {
            return ChecksumVerdict::NotRecorded;
        }
    };
    if same(migration, &migration.original, recorded) {
        return ChecksumVerdict::Same;
    }
    let lines = normalize(&migration.original);
    let dos = lines.replace('\n', "\r\n");
    let mark = '\u{feff}';
    let others = [format!("{mark}{lines}"), format!("{mark}{dos}"), lines, dos];
    if others.iter().any(|text| same(migration, text, recorded)) {
        ChecksumVerdict::OtherLineEnds
    } else {
        ChecksumVerdict::Differs
    }
}

/// sqlx: SHA-384 of the file's bytes.
pub(super) fn sha384(text: &str) -> String {
    hex::encode(Sha384::digest(text.as_bytes()))
}

/// refinery: SipHash-1-3 of name, version and text, with versions of 32 or 64 bits as it was built.
fn is_refinery(migration: &Migration, text: &str, recorded: &str) -> bool {
    let Ok(version) = migration.version.as_str().parse::<i64>() else {
        return false;
    };
    let wide = refinery(&migration.name, version, text);
    let narrow = i32::try_from(version).map(|version| refinery(&migration.name, version, text));
    wide.to_string() == recorded || narrow.is_ok_and(|narrow| narrow.to_string() == recorded)
}

pub(super) fn refinery(name: &str, version: impl Hash, text: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    name.hash(&mut hasher);
    version.hash(&mut hasher);
    text.hash(&mut hasher);
    hasher.finish()
}

/// Flyway keeps that of a file, and of a repeatable that with its placeholders filled in.
fn is_flyway(migration: &Migration, text: &str, recorded: &str) -> bool {
    let filled = || {
        migration.version.repeats().is_some() && flyway(&migration.up.text).to_string() == recorded
    };
    flyway(text).to_string() == recorded || filled()
}

/// Flyway: CRC-32 of the lines without their ends, as a signed number.
pub(super) fn flyway(text: &str) -> i32 {
    let mut hasher = crc32fast::Hasher::new();
    for line in normalize(text).split('\n') {
        hasher.update(line.as_bytes());
    }
    hasher.finalize().cast_signed()
}
