//! `query_audit_trail`: finds records, newest first.

use audit::Record;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Skill, SkillError};

use super::{time_field, unavailable};
use crate::clients::{
    Trail,
    facets::{Facet, is_telling},
};

/// Records of one page, at most.
const MAX_LIMIT: usize = 200;
/// Records of one page, when the caller does not say.
const DEFAULT_LIMIT: usize = 50;
/// Records that one call looks at; a page may then be short, and its cursor goes on.
const MAX_EXAMINED: usize = 5_000;
/// Index entries that are read at once.
const STEP: usize = 200;
/// Bytes of one filter.
const MAX_FILTER: usize = 512;

/// The skill.
#[derive(Debug)]
pub struct QueryAuditTrail;

/// What to look for. All filters must match.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Name of the agent that made the record.
    pub agent: Option<String>,
    /// Skill or tool call, for example `execute_rollback`.
    pub action: Option<String>,
    /// Decision or outcome, for example `denied`.
    pub decision: Option<String>,
    /// W3C trace id.
    pub trace_id: Option<String>,
    /// A2A task id.
    pub task_id: Option<String>,
    /// One of the record's resources, for example `deployments/shop/web`.
    pub resource: Option<String>,
    /// Not before this time (RFC 3339).
    pub since: Option<String>,
    /// Not after this time (RFC 3339).
    pub until: Option<String>,
    /// Records of one page, 1 to 200; 50 when absent.
    #[schemars(range(min = 1, max = 200))]
    pub limit: Option<usize>,
    /// `next_cursor` of the page before; the filters must be the same.
    pub cursor: Option<String>,
}

/// One page of records.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The records, newest first.
    pub records: Vec<Found>,
    /// Where the next page begins; absent at the end. A page may be short, or empty, and still have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// One stored record.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Found {
    /// What it says.
    pub record: Record,
    /// SHA-256 (hex) of its bytes.
    pub hash: String,
    /// Id of the key that signed it.
    pub key_id: String,
    /// When it arrived here (RFC 3339).
    pub received: String,
}

impl Skill for QueryAuditTrail {
    const ID: &'static str = "query_audit_trail";
    const NAME: &'static str = "Query audit trail";
    const DESCRIPTION: &'static str = "Finds audit records of the whole mesh by agent, action, decision, time, trace, task and resource. Answers them newest first, page by page.";
    const TAGS: &'static [&'static str] = &["audit", "search", "evidence"];

    type Input = Input;
    type Output = Output;

    async fn run(&self, context: &Context, input: Input) -> Result<Output, SkillError> {
        let query = Query::read(&input)?;
        let trail = Trail::new(context.store());
        let mut before = query.start.clone();
        let mut records = Vec::new();
        let mut examined = 0;
        loop {
            context.check_canceled()?;
            let page = trail
                .find(query.facet, before.clone(), STEP)
                .await
                .map_err(unavailable)?;
            let at_end = page.places.len() < STEP;
            for (place, key) in page.places {
                if query.since.as_ref().is_some_and(|since| place.0 < *since) {
                    return Ok(Output {
                        records,
                        next_cursor: None,
                    });
                }
                before = Some(place);
                let kept = trail.get(&key).await.map_err(unavailable)?;
                records.extend(
                    kept.and_then(found)
                        .filter(|found| query.matches(&found.record)),
                );
                examined += 1;
                if records.len() == query.limit || examined == MAX_EXAMINED {
                    return Ok(Output {
                        records,
                        next_cursor: before.as_ref().map(cursor),
                    });
                }
            }
            if at_end {
                return Ok(Output {
                    records,
                    next_cursor: None,
                });
            }
        }
    }
}

/// A place in an index: time and key.
type Place = (String, String);

struct Query<'a> {
    input: &'a Input,
    facet: Facet<'a>,
    since: Option<String>,
    start: Option<Place>,
    limit: usize,
}

impl<'a> Query<'a> {
    fn read(input: &'a Input) -> Result<Self, SkillError> {
        let filters = [
            ("agent", &input.agent),
            ("action", &input.action),
            ("decision", &input.decision),
            ("trace_id", &input.trace_id),
            ("task_id", &input.task_id),
            ("resource", &input.resource),
        ];
        for (field, value) in filters {
            if let Some(value) = value
                .as_ref()
                .filter(|value| value.is_empty() || value.len() > MAX_FILTER)
            {
                return Err(SkillError::rejected(
                    field,
                    format!("1 to {MAX_FILTER} bytes"),
                    value.len().to_string(),
                ));
            }
        }
        let limit = input.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(SkillError::rejected(
                "limit",
                format!("1 to {MAX_LIMIT}"),
                limit.to_string(),
            ));
        }
        let until = time_field("until", input.until.as_deref())?;
        // Times end in a Z, which sorts before a tilde: a place behind every record of that millisecond.
        let from_until = until.map(|until| (format!("{until}~"), String::new()));
        let start = match &input.cursor {
            Some(cursor) => Some(place(cursor).ok_or_else(|| {
                SkillError::rejected("cursor", "a next_cursor of this skill", "another text")
            })?),
            None => from_until,
        };
        Ok(Self {
            facet: facet(input),
            since: time_field("since", input.since.as_deref())?,
            start,
            limit,
            input,
        })
    }

    fn matches(&self, record: &Record) -> bool {
        let is = |filter: &Option<String>, value: Option<&str>| {
            filter.as_deref().is_none_or(|filter| value == Some(filter))
        };
        is(&self.input.agent, Some(record.agent_name()))
            && is(&self.input.action, Some(&record.action))
            && is(&self.input.decision, Some(&record.decision))
            && is(&self.input.trace_id, record.trace_id.as_deref())
            && is(&self.input.task_id, record.task_id.as_deref())
            && self
                .input
                .resource
                .as_ref()
                .is_none_or(|resource| record.resources.contains(resource))
    }
}

/// The filter that usually leaves the fewest records.
fn facet(input: &Input) -> Facet<'_> {
    let by = [
        input.task_id.as_deref().map(Facet::Task),
        input.trace_id.as_deref().map(Facet::Trace),
        input.resource.as_deref().map(Facet::Resource),
        input.action.as_deref().map(Facet::Action),
        input
            .decision
            .as_deref()
            .filter(|word| is_telling(word))
            .map(Facet::Decision),
        input.agent.as_deref().map(Facet::Agent),
    ];
    by.into_iter().flatten().next().unwrap_or(Facet::All)
}

fn found(kept: crate::clients::Kept) -> Option<Found> {
    let key_id = kept
        .envelope
        .signatures
        .first()
        .map(|signature| signature.keyid.clone())?;
    let record = kept.envelope.read_unverified().ok()?.record;
    Some(Found {
        record,
        hash: kept.hash,
        key_id,
        received: kept.received,
    })
}

fn cursor((time, key): &Place) -> String {
    hex::encode(format!("{time}\n{key}"))
}

fn place(cursor: &str) -> Option<Place> {
    let text = String::from_utf8(hex::decode(cursor).ok()?).ok()?;
    let (time, key) = text.split_once('\n')?;
    Some((time.to_owned(), key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skills::fixture::Mesh;

    #[expect(clippy::unnecessary_wraps, reason = "as the fields are")]
    fn named(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    async fn counters(mesh: &Mesh, input: Input) -> Vec<u64> {
        let output = QueryAuditTrail.run(&mesh.context(), input).await.unwrap();
        assert_eq!(output.next_cursor, None);
        output
            .records
            .iter()
            .map(|found| found.record.counter)
            .collect()
    }

    async fn mesh() -> Mesh {
        let mesh = Mesh::new();
        let chain = mesh.chain_with(6, |record| {
            let counter = record.counter;
            record.action = if counter % 2 == 0 {
                "apply_migration".into()
            } else {
                "migration_status".into()
            };
            record.decision = if counter == 4 {
                "denied".into()
            } else {
                "ok".into()
            };
            record.trace_id = Some(format!("{:032}", counter / 3));
            record.task_id = (counter > 4).then(|| "task".into());
            record
                .resources
                .extend((counter == 5).then(|| "x".repeat(500)));
        });
        mesh.append(&chain).await.unwrap();
        mesh
    }

    #[tokio::test]
    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    async fn each_filter_and_their_combinations_select() {
        let mesh = mesh().await;
        let cases: Vec<(Input, &[u64])> = vec![
            (Input::default(), &[6, 5, 4, 3, 2, 1]),
            (
                Input {
                    agent: named("db-migrator"),
                    ..Input::default()
                },
                &[6, 5, 4, 3, 2, 1],
            ),
            (
                Input {
                    agent: named("cost-analyzer"),
                    ..Input::default()
                },
                &[],
            ),
            (
                Input {
                    action: named("apply_migration"),
                    ..Input::default()
                },
                &[6, 4, 2],
            ),
            (
                Input {
                    decision: named("denied"),
                    ..Input::default()
                },
                &[4],
            ),
            (
                Input {
                    decision: named("ok"),
                    ..Input::default()
                },
                &[6, 5, 3, 2, 1],
            ),
            (
                Input {
                    decision: named("denied"),
                    action: named("migration_status"),
                    ..Input::default()
                },
                &[],
            ),
            (
                Input {
                    trace_id: named(&format!("{:032}", 1)),
                    ..Input::default()
                },
                &[5, 4, 3],
            ),
            (
                Input {
                    task_id: named("task"),
                    action: named("apply_migration"),
                    ..Input::default()
                },
                &[6],
            ),
            (
                Input {
                    resource: named("postgres/shop"),
                    ..Input::default()
                },
                &[6, 5, 4, 3, 2, 1],
            ),
            (
                Input {
                    resource: named(&"x".repeat(500)),
                    ..Input::default()
                },
                &[5],
            ),
            (
                Input {
                    since: named("2026-11-22T10:00:02Z"),
                    until: named("2026-11-22T11:00:04+01:00"),
                    ..Input::default()
                },
                &[4, 3, 2],
            ),
            (
                Input {
                    action: named("apply_migration"),
                    until: named("2026-11-22T10:00:03.999Z"),
                    ..Input::default()
                },
                &[2],
            ),
        ];
        for (input, expected) in cases {
            let shown = format!("{input:?}");
            assert_eq!(counters(&mesh, input).await, expected, "{shown}");
        }
    }

    #[tokio::test]
    async fn pages_join_without_loss_or_repetition() {
        let mesh = mesh().await;
        let (mut cursor, mut seen) = (None, Vec::new());
        loop {
            let input = Input {
                limit: Some(4),
                cursor,
                agent: named("db-migrator"),
                ..Input::default()
            };
            let output = QueryAuditTrail.run(&mesh.context(), input).await.unwrap();
            seen.extend(output.records.iter().map(|found| found.record.counter));
            cursor = output.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, [6, 5, 4, 3, 2, 1]);
    }

    #[tokio::test]
    async fn a_record_comes_with_its_hash_and_key() {
        let mesh = mesh().await;
        let output = QueryAuditTrail
            .run(
                &mesh.context(),
                Input {
                    limit: Some(1),
                    ..Input::default()
                },
            )
            .await
            .unwrap();
        let found = &output.records[0];
        assert_eq!(
            (found.hash.clone(), found.key_id.clone()),
            (
                audit::record::hash(&found.record.to_bytes()),
                mesh.key.key_id()
            )
        );
    }

    #[tokio::test]
    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    async fn wrong_input_is_named() {
        let mesh = Mesh::new();
        let cases = [
            (
                Input {
                    limit: Some(0),
                    ..Input::default()
                },
                "limit",
            ),
            (
                Input {
                    limit: Some(201),
                    ..Input::default()
                },
                "limit",
            ),
            (
                Input {
                    since: named("yesterday"),
                    ..Input::default()
                },
                "since",
            ),
            (
                Input {
                    until: named("2026-13-01T00:00:00Z"),
                    ..Input::default()
                },
                "until",
            ),
            (
                Input {
                    cursor: named("zz"),
                    ..Input::default()
                },
                "cursor",
            ),
            (
                Input {
                    cursor: named("61"),
                    ..Input::default()
                },
                "cursor",
            ),
            (
                Input {
                    agent: named(""),
                    ..Input::default()
                },
                "agent",
            ),
            (
                Input {
                    resource: named(&"x".repeat(513)),
                    ..Input::default()
                },
                "resource",
            ),
        ];
        for (input, expected) in cases {
            let error = QueryAuditTrail
                .run(&mesh.context(), input)
                .await
                .unwrap_err();
            assert!(
                matches!(&error, SkillError::Rejected { field, .. } if field == expected),
                "{error}"
            );
        }
    }
}
