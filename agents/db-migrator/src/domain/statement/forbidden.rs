//! What no migration may contain.

use super::{first_is, has, has_pair, one_of, starts};

const OWN_TRANSACTIONS: &str = "the runner owns transactions";
const OTHER_DATABASES: &str = "it reaches beyond this database, so no shadow could contain it";
const FILES: &str = "it reads or writes files or streams outside the database";
pub(super) const LEDGER: &str = "it touches the ledger of the runner";
const SESSION: &str = "it changes the session that holds lock and ledger";

pub(super) fn forbidden_in_sqlite(words: &[&str]) -> Option<&'static str> {
    const SETTINGS: [&str; 4] = [
        "FOREIGN_KEYS",
        "DEFER_FOREIGN_KEYS",
        "USER_VERSION",
        "APPLICATION_ID",
    ];
    match words {
        [
            "BEGIN" | "COMMIT" | "END" | "ROLLBACK" | "SAVEPOINT" | "RELEASE",
            ..,
        ] => Some(OWN_TRANSACTIONS),
        ["ATTACH" | "DETACH", ..] => Some(OTHER_DATABASES),
        ["VACUUM", rest @ ..] if has(rest, "INTO") => Some(FILES),
        ["PRAGMA", setting, ..] if !SETTINGS.contains(setting) => Some(SESSION),
        _ => None,
    }
}

pub(super) fn forbidden_in_postgres(words: &[&str]) -> Option<&'static str> {
    const CLUSTER: [&str; 6] = [
        "DATABASE",
        "TABLESPACE",
        "ROLE",
        "USER",
        "GROUP",
        "SUBSCRIPTION",
    ];
    if first_is(
        words,
        &[
            "BEGIN",
            "COMMIT",
            "END",
            "ROLLBACK",
            "ABORT",
            "SAVEPOINT",
            "RELEASE",
        ],
    ) || starts(words, &["START", "TRANSACTION"])
        || starts(words, &["PREPARE", "TRANSACTION"])
    {
        return Some(OWN_TRANSACTIONS);
    }
    let on_cluster =
        one_of(words, &["CREATE", "DROP", "ALTER"], &CLUSTER) && words.get(2) != Some(&"MAPPING");
    let grants_role = first_is(words, &["GRANT", "REVOKE"]) && !has(words, "ON");
    let owned = has_pair(words, "DROP", "OWNED") || has_pair(words, "REASSIGN", "OWNED");
    let comments = starts(words, &["COMMENT", "ON"])
        && words.get(2).is_some_and(|word| CLUSTER.contains(word));
    if on_cluster
        || grants_role
        || owned
        || comments
        || starts(words, &["ALTER", "SYSTEM"])
        || first_is(words, &["LOAD", "CHECKPOINT"])
    {
        return Some(OTHER_DATABASES);
    }
    if first_is(words, &["COPY"]) {
        return Some(FILES);
    }
    let session = first_is(words, &["DISCARD", "LISTEN", "UNLISTEN"])
        || one_of(words, &["SET", "RESET"], &["ROLE", "SESSION"])
        || has(words, "PG_ADVISORY_UNLOCK_ALL")
        || has(words, "PG_ADVISORY_UNLOCK");
    session.then_some(SESSION)
}
