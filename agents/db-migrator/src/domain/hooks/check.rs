//! Reads declarations of hooks and refuses what may not run, before anything runs.

use std::fmt;

use serde::Deserialize;

use super::{Action, CallSpec, Hook, HookSpec, HttpSpec, Point};
use crate::domain::{
    Dialect, SourceFile,
    split::split,
    statement::{Statement, classify},
};

/// Most hooks of a run.
const MAX_HOOKS: usize = 50;
/// Longest name: that of a DNS label, as for databases.
const MAX_NAME: usize = 63;
/// Longest SQL of a hook, in bytes.
const MAX_SQL: usize = 64 << 10;
/// Time a hook has when it names none.
const DEFAULT_SECONDS: u32 = 30;
/// Longest time a hook may ask for: backups take minutes, locks must not.
const MAX_SECONDS: u32 = 600;

/// Files of a source that declare hooks.
const DECLARATIONS: [&str; 3] = ["hooks.json", "hooks.yaml", "hooks.yml"];
/// Folder of a source that holds their SQL.
const FOLDER: &str = "hooks/";

/// Why hooks cannot be used: the field, what it takes, what was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookError {
    /// The field, for example `hooks[0].http.url`.
    pub field: String,
    /// What would have been accepted.
    pub expected: String,
    /// What was there; never SQL or a URL's path.
    pub got: String,
}

impl fmt::Display for HookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            field,
            expected,
            got,
        } = self;
        write!(f, "{field}: expected {expected}, got {got}")
    }
}

/// What the operator and the manifest allow.
#[derive(Clone, Copy)]
pub struct Allowed<'a> {
    /// Whether hooks may post to this URL; else what is wrong with it.
    pub url: &'a dyn Fn(&str) -> Result<(), String>,
    /// Whether a secret of this name is configured.
    pub secret: &'a dyn Fn(&str) -> bool,
    /// Whether the manifest declares an edge to this skill of this agent.
    pub edge: &'a dyn Fn(&str, &str) -> bool,
}

impl fmt::Debug for Allowed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Allowed")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declarations {
    hooks: Vec<HookSpec>,
}

/// Whether a file of a source belongs to hooks, not to migrations.
pub fn is_hook_file(name: &str) -> bool {
    DECLARATIONS.contains(&name) || name.starts_with(FOLDER)
}

/// The hooks that a source declares in `hooks.json` or `hooks.yaml`.
///
/// # Errors
/// [`HookError`] with the file's name as its field.
pub fn read_files(files: &[SourceFile]) -> Result<Vec<HookSpec>, HookError> {
    let mut found = files
        .iter()
        .filter(|file| DECLARATIONS.contains(&file.name.as_str()));
    let Some(file) = found.next() else {
        return Ok(Vec::new());
    };
    if let Some(second) = found.next() {
        return Err(HookError {
            field: second.name.clone(),
            expected: "one file that declares hooks".into(),
            got: format!("{} as well", file.name),
        });
    }
    let text = file.content.trim_start_matches('\u{feff}');
    // The messages of the parsers may quote the text, so only the place is told.
    let read = if file.name == "hooks.json" {
        serde_json::from_str::<Declarations>(text).map_err(|error| {
            format!(
                "something else at line {} column {}",
                error.line(),
                error.column()
            )
        })
    } else {
        serde_saphyr::from_str::<Declarations>(text).map_err(|_| "something else".to_owned())
    };
    read.map(|declarations| declarations.hooks)
        .map_err(|got| HookError {
            field: file.name.clone(),
            expected: "{\"hooks\": [{\"name\", \"on\", one of \"sql\", \"sql_file\", \"http\", \"call\"}]}".into(),
            got,
        })
}

/// The source's hooks with those of the request; one of the same name replaces the source's.
pub fn merge(source: Vec<HookSpec>, request: Vec<HookSpec>) -> Vec<HookSpec> {
    let mut all = source;
    all.retain(|hook| request.iter().all(|other| other.name != hook.name));
    all.extend(request);
    all
}

/// Turns declarations into hooks that may run.
///
/// # Errors
/// [`HookError`] for the first that may not.
pub fn check(
    specs: Vec<HookSpec>,
    files: &[SourceFile],
    dialect: Dialect,
    allowed: Allowed<'_>,
) -> Result<Vec<Hook>, HookError> {
    if specs.len() > MAX_HOOKS {
        return Err(HookError {
            field: "hooks".into(),
            expected: format!("at most {MAX_HOOKS}"),
            got: specs.len().to_string(),
        });
    }
    let mut hooks: Vec<Hook> = Vec::new();
    for (at, spec) in specs.into_iter().enumerate() {
        let checker = Checker {
            at,
            files,
            dialect,
            allowed,
        };
        let hook = checker.hook(spec)?;
        if hooks.iter().any(|other| other.name == hook.name) {
            return Err(checker.error("name", "a name of its own", &hook.name));
        }
        hooks.push(hook);
    }
    Ok(hooks)
}

struct Checker<'a> {
    at: usize,
    files: &'a [SourceFile],
    dialect: Dialect,
    allowed: Allowed<'a>,
}

impl Checker<'_> {
    fn error(&self, field: &str, expected: &str, got: &str) -> HookError {
        HookError {
            field: format!("hooks[{}].{field}", self.at),
            expected: expected.into(),
            got: got.chars().take(200).collect(),
        }
    }

    fn hook(&self, spec: HookSpec) -> Result<Hook, HookError> {
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let name = spec.name.as_str();
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(valid) {
            let got = name.escape_debug().to_string();
            return Err(self.error("name", "1 to 63 of a-z, 0-9, - and _", &got));
        }
        if spec.on.is_empty() {
            return Err(self.error("on", "at least one point", "none"));
        }
        let seconds = spec.timeout_seconds.unwrap_or(DEFAULT_SECONDS);
        if !(1..=MAX_SECONDS).contains(&seconds) {
            return Err(self.error("timeout_seconds", "1 to 600", &seconds.to_string()));
        }
        let action = match (spec.sql, spec.sql_file, spec.http, spec.call) {
            (Some(sql), None, None, None) => self.sql("sql", &sql)?,
            (None, Some(file), None, None) => self.sql("sql_file", self.file(&file)?)?,
            (None, None, Some(http), None) => self.http(http)?,
            (None, None, None, Some(call)) => self.call(call)?,
            _ => {
                let expected = "exactly one of sql, sql_file, http and call";
                return Err(self.error("sql", expected, "none or several"));
            }
        };
        if matches!(action, Action::Sql(_)) && spec.on.contains(&Point::AfterWave) {
            return Err(self.error("on", "after_wave with http or call only", "SQL"));
        }
        Ok(Hook {
            name: spec.name,
            on: spec.on,
            runs: spec.runs,
            action,
            timeout_seconds: seconds,
            on_failure: spec.on_failure,
        })
    }

    fn file(&self, name: &str) -> Result<&str, HookError> {
        let found = self.files.iter().find(|file| file.name == name);
        let found = found.filter(|file| file.name.starts_with(FOLDER));
        let expected = "a file of the source below hooks/";
        found
            .map(|file| file.content.as_str())
            .ok_or_else(|| self.error("sql_file", expected, name))
    }

    /// One transaction of statements that leave the schema alone: the proof would not hold otherwise.
    fn sql(&self, field: &str, text: &str) -> Result<Action, HookError> {
        if text.len() > MAX_SQL {
            return Err(self.error(field, "at most 64 KiB", &format!("{} bytes", text.len())));
        }
        let text = crate::domain::source::normalize(text);
        let pieces = split(&text, self.dialect)
            .map_err(|error| self.error(field, "SQL", &error.to_string()))?;
        let statements = pieces.into_iter().map(|piece| {
            let statement = classify(piece, self.dialect).map_err(|error| {
                self.error(
                    field,
                    "SQL that a migration may contain",
                    &error.to_string(),
                )
            })?;
            if !statement.transactional {
                return Err(self.error(field, "statements of one transaction", &statement.kind));
            }
            if !leaves_schema(&statement) {
                let expected = "SQL that leaves the schema as it is: the proof would not hold";
                return Err(self.error(field, expected, &statement.kind));
            }
            Ok(statement.text)
        });
        let statements = statements.collect::<Result<Vec<_>, _>>()?;
        if statements.is_empty() {
            return Err(self.error(field, "at least one statement", "none"));
        }
        Ok(Action::Sql(statements))
    }

    fn http(&self, http: HttpSpec) -> Result<Action, HookError> {
        (self.allowed.url)(&http.url).map_err(|got| {
            let expected = "a URL without user name, query and fragment on a host of --hook-allow";
            self.error("http.url", expected, &got)
        })?;
        if let Some(secret) = http
            .authorization
            .as_deref()
            .filter(|name| !(self.allowed.secret)(name))
        {
            let expected = "the name of a secret of --hook-secret";
            // Whoever writes a token here by mistake must not find it in an error.
            let got = format!("another text of {} characters", secret.chars().count());
            return Err(self.error("http.authorization", expected, &got));
        }
        Ok(Action::Http(http))
    }

    fn call(&self, call: CallSpec) -> Result<Action, HookError> {
        if (self.allowed.edge)(&call.agent, &call.skill) {
            return Ok(Action::Call(call));
        }
        let got = format!("{}/{}", call.agent, call.skill);
        let expected = "a skill to which the manifest declares an edge";
        Err(self.error("call", expected, &got))
    }
}

fn leaves_schema(statement: &Statement) -> bool {
    const FIRST: [&str; 14] = [
        "SELECT", "VALUES", "WITH", "INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "CALL", "DO",
        "NOTIFY", "ANALYZE", "REFRESH", "LOCK",
    ];
    let first = statement.kind.split(' ').next().unwrap_or_default();
    FIRST.contains(&first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(value: &serde_json::Value) -> HookSpec {
        let mut whole = serde_json::json!({"name": "h", "on": ["before_run"]});
        for (key, value) in value.as_object().unwrap() {
            whole[key] = value.clone();
        }
        serde_json::from_value(whole).unwrap()
    }

    fn checked(specs: Vec<HookSpec>) -> Result<Vec<Hook>, HookError> {
        let files = [SourceFile {
            name: "hooks/a.sql".into(),
            content: "UPDATE t SET x = 1;\nSELECT 1".into(),
        }];
        let allowed = Allowed {
            url: &|url| {
                if url.starts_with("https://ok/") {
                    Ok(())
                } else {
                    Err("https://other".into())
                }
            },
            secret: &|name| name == "known",
            edge: &|agent, skill| (agent, skill) == ("compliance-auditor", "append_audit_records"),
        };
        check(specs, &files, Dialect::Postgres, allowed)
    }

    #[test]
    fn takes_each_kind() {
        let hooks = checked(vec![
            spec(&serde_json::json!({"name": "a", "sql_file": "hooks/a.sql"})),
            spec(&serde_json::json!({"name": "b", "http": {"url": "https://ok/x", "authorization": "known"}, "on_failure": "continue"})),
            spec(&serde_json::json!({"name": "c", "call": {"agent": "compliance-auditor", "skill": "append_audit_records"}, "timeout_seconds": 600})),
        ])
        .unwrap();
        assert!(matches!(&hooks[0].action, Action::Sql(statements) if statements.len() == 2));
        assert_eq!(hooks[0].timeout_seconds, DEFAULT_SECONDS);
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one table of cases")]
    fn names_the_field_that_is_wrong() {
        let json = |value: serde_json::Value| vec![spec(&value)];
        for (specs, field, got) in [
            (
                json(serde_json::json!({"name": "A", "sql": "SELECT 1"})),
                "hooks[0].name",
                "A",
            ),
            (
                json(serde_json::json!({"on": [], "sql": "SELECT 1"})),
                "hooks[0].on",
                "none",
            ),
            (
                json(serde_json::json!({})),
                "hooks[0].sql",
                "none or several",
            ),
            (
                json(serde_json::json!({"sql": "CREATE TABLE t (x int)"})),
                "hooks[0].sql",
                "CREATE TABLE",
            ),
            (
                json(serde_json::json!({"sql": "VACUUM"})),
                "hooks[0].sql",
                "VACUUM",
            ),
            (
                json(serde_json::json!({"sql": "COMMIT"})),
                "hooks[0].sql",
                "COMMIT is not allowed",
            ),
            (
                json(serde_json::json!({"sql": "DELETE FROM db_migrator.run"})),
                "hooks[0].sql",
                "ledger",
            ),
            (
                json(serde_json::json!({"sql": "-- nothing"})),
                "hooks[0].sql",
                "none",
            ),
            (
                json(serde_json::json!({"sql_file": "1_a.sql"})),
                "hooks[0].sql_file",
                "1_a.sql",
            ),
            (
                json(serde_json::json!({"sql": "SELECT 1", "timeout_seconds": 0})),
                "hooks[0].timeout_seconds",
                "0",
            ),
            (
                json(serde_json::json!({"http": {"url": "https://evil/x"}})),
                "hooks[0].http.url",
                "https://other",
            ),
            (
                json(
                    serde_json::json!({"http": {"url": "https://ok/x", "authorization": "Bearer s3cret"}}),
                ),
                "hooks[0].http.authorization",
                "13 characters",
            ),
            (
                json(
                    serde_json::json!({"call": {"agent": "security-scanner", "skill": "detect_secrets"}}),
                ),
                "hooks[0].call",
                "security-scanner/detect_secrets",
            ),
            (
                json(serde_json::json!({"on": ["after_wave"], "sql": "SELECT 1"})),
                "hooks[0].on",
                "SQL",
            ),
        ] {
            let error = checked(specs).unwrap_err();
            assert_eq!(error.field, field, "{error}");
            assert!(error.got.contains(got), "{error}");
        }
        let twice = vec![
            spec(&serde_json::json!({"sql": "SELECT 1"})),
            spec(&serde_json::json!({"sql": "SELECT 2"})),
        ];
        assert_eq!(checked(twice).unwrap_err().field, "hooks[1].name");
    }

    #[test]
    fn reads_json_and_yaml_and_lets_the_request_replace() {
        let file = |name: &str, content: &str| SourceFile {
            name: name.into(),
            content: content.into(),
        };
        let json = r#"{"hooks": [{"name": "h", "on": ["backup"], "sql": "SELECT 1"}]}"#;
        let yaml = "hooks:\n- name: h\n  on: [backup]\n  sql: SELECT 1\n";
        let read = read_files(&[file("hooks.json", json)]).unwrap();
        assert_eq!(read, read_files(&[file("hooks.yaml", yaml)]).unwrap());
        assert!(read_files(&[]).unwrap().is_empty());
        let both = [file("hooks.json", json), file("hooks.yml", yaml)];
        assert_eq!(read_files(&both).unwrap_err().field, "hooks.yml");
        let wrong =
            read_files(&[file("hooks.json", r#"{"hooks": [{"name": "s3cret"#)]).unwrap_err();
        assert!(wrong.got.contains("line 1") && !wrong.to_string().contains("s3cret"));
        let request = vec![spec(&serde_json::json!({"sql": "SELECT 2"}))];
        assert_eq!(merge(read, request.clone()), request);
        assert!(
            is_hook_file("hooks/a.sql")
                && is_hook_file("hooks.json")
                && !is_hook_file("1_hooks.sql")
        );
    }
}
