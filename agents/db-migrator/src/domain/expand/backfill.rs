//! An update in batches: by key range, with an upper bound taken at the start, so that it ends.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{NotOnline, facts::KeyColumn, names};
use crate::domain::{
    Dialect,
    lex::{self, Token},
};

/// Rows of the first batch.
pub const FIRST_BATCH: u32 = 1_000;
/// Fewest rows of a batch: below this the fixed cost of a transaction dominates.
const MIN_BATCH: u32 = 100;
/// Most rows of a batch: with 10,000 the worst stall of an application was 72 to 176 ms, with 1,000 it was 33 to 49 ms.
const MAX_BATCH: u32 = 5_000;
/// How long a batch should take: an application waits for its row locks at most about this long. Under half of the 50 ms
/// that an application may stand still, because a batch grows on a guess.
pub const TARGET: Duration = Duration::from_millis(20);
/// A replica that is further behind serves stale reads; the backfill waits for it.
pub const MAX_LAG: Duration = Duration::from_secs(5);
/// Sessions that wait for locks; above this the server is contended.
pub const MAX_WAITING: i64 = 4;
/// Write-ahead log of all sessions in bytes a second; above this archiving and replicas fall behind on common disks.
pub const MAX_WAL: u64 = 64 << 20;

/// An update that brings old rows along, and the key that cuts it into batches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backfill {
    /// The table as the statement names it.
    pub table: String,
    /// What its columns are qualified with.
    pub alias: String,
    /// The statement up to WHERE.
    pub head: String,
    /// The statement's own condition.
    pub condition: Option<String>,
    /// The key, in the order of its columns.
    pub key: Vec<KeyColumn>,
    /// Rows of the first batch.
    pub batch: u32,
}

/// The part of a batch's range that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// Up to `$1...`, which is included.
    Until,
    /// After `$1...`, up to and with the parameters behind it.
    Between,
}

impl Backfill {
    /// The rows of a range, with a parameter for every key column of its ends.
    pub fn within(&self, range: Range) -> String {
        let width = self.key.len();
        let columns = self.columns();
        match range {
            Range::Until => format!("{columns} <= {}", self.parameters(1)),
            Range::Between => format!(
                "{columns} > {} AND {columns} <= {}",
                self.parameters(1),
                self.parameters(width + 1)
            ),
        }
    }

    /// The statement for one batch.
    pub fn batch(&self, range: Range) -> String {
        let within = self.within(range);
        let condition = self
            .condition
            .as_ref()
            .map_or_else(String::new, |own| format!("({own}) AND "));
        format!("{} WHERE {condition}{within}", self.head)
    }

    /// The whole statement at once, as it runs on a shadow.
    pub fn whole(&self) -> String {
        let condition = self
            .condition
            .as_ref()
            .map_or_else(String::new, |own| format!(" WHERE {own}"));
        format!("{}{condition}", self.head)
    }

    /// The largest key: where the backfill ends, whatever is inserted meanwhile.
    pub fn upper(&self) -> String {
        format!(
            "SELECT {} FROM {} ORDER BY {} LIMIT 1",
            self.as_text(),
            self.source(),
            self.order(" DESC")
        )
    }

    /// The key that ends a batch of `size` rows, within the range.
    pub fn boundary(&self, range: Range, size: u32) -> String {
        format!(
            "SELECT {} FROM {} WHERE {} ORDER BY {} LIMIT 1 OFFSET {}",
            self.as_text(),
            self.source(),
            self.within(range),
            self.order(""),
            size.max(1) - 1
        )
    }

    fn source(&self) -> String {
        if self.alias == self.table {
            self.table.clone()
        } else {
            format!("{} AS {}", self.table, self.alias)
        }
    }

    fn qualified(&self) -> impl Iterator<Item = String> {
        self.key
            .iter()
            .map(|key| format!("{}.{}", self.alias, key.name))
    }

    fn columns(&self) -> String {
        row(&self.qualified().collect::<Vec<_>>())
    }

    fn as_text(&self) -> String {
        let texts = self
            .qualified()
            .map(|column| format!("CAST({column} AS text)"));
        texts.collect::<Vec<_>>().join(", ")
    }

    fn order(&self, direction: &str) -> String {
        let columns = self
            .qualified()
            .map(|column| format!("{column}{direction}"));
        columns.collect::<Vec<_>>().join(", ")
    }

    fn parameters(&self, first: usize) -> String {
        let numbered = self.key.iter().zip(first..).map(|(key, at)| {
            if key.kind.is_empty() {
                format!("${at}")
            } else {
                format!("CAST(${at} AS {})", key.kind)
            }
        });
        row(&numbered.collect::<Vec<_>>())
    }
}

fn row(parts: &[String]) -> String {
    let joined = parts.join(", ");
    if parts.len() == 1 {
        joined
    } else {
        format!("({joined})")
    }
}

/// What an author's backfill file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authored {
    /// The table as written.
    pub table: String,
    /// What its columns are qualified with.
    pub alias: String,
    /// The statement up to WHERE.
    pub head: String,
    /// Its own condition.
    pub condition: Option<String>,
    /// The key columns of the header; the primary key when it names none.
    pub key: Option<Vec<String>>,
    /// Rows of the first batch.
    pub batch: u32,
}

/// Reads one `UPDATE` with an optional header `-- backfill: key=a,b batch=500`.
///
/// # Errors
/// `NotOnline`, when it is not one plain UPDATE or the header cannot be read.
pub fn read(text: &str, file: &str, dialect: Dialect) -> Result<Authored, NotOnline> {
    let bad = |reason: &str| NotOnline::new(format!("the backfill of {file}"), reason);
    let tokens = lex::tokens(text, dialect).map_err(|error| bad(&error.to_string()))?;
    let tokens = match tokens.split_last() {
        Some((last, rest)) if last.is_symbol(';') => rest.to_vec(),
        _ => tokens,
    };
    if tokens.iter().any(|token| token.is_symbol(';')) {
        return Err(bad("it holds more than one statement"));
    }
    let first = tokens.first().filter(|token| token.is("update"));
    let start = first
        .map(|token| token.start)
        .ok_or_else(|| bad("it is not an UPDATE"))?;
    let top = top_level(&tokens);
    if top
        .iter()
        .any(|token| token.is("returning") || token.is_symbol('$'))
    {
        return Err(bad(
            "write it without RETURNING and parameters: the runner adds the range of each batch",
        ));
    }
    let (table, alias) =
        target(text, &tokens).ok_or_else(|| bad("it is not `UPDATE table SET ...`"))?;
    let end = tokens.last().map_or(text.len(), Token::end);
    let condition = top.iter().find(|token| token.is("where"));
    let head_end = condition.map_or(end, |token| token.start);
    let slice = |from: usize, to: usize| text.get(from..to).unwrap_or_default().trim().to_owned();
    let (mut key, mut batch) = (None, FIRST_BATCH);
    for (name, value) in header(text.get(..start).unwrap_or_default()) {
        match name {
            "key" => key = Some(value.split(',').map(str::to_owned).collect()),
            "batch" => {
                batch = value
                    .parse()
                    .ok()
                    .filter(|size| (1..=MAX_BATCH).contains(size))
                    .ok_or_else(|| bad("batch is a number from 1 to 5000"))?;
            }
            "table" if names::last_part(value) == names::last_part(&table) => {}
            "table" => return Err(bad("the header names another table than the UPDATE")),
            _ => return Err(bad("the header knows table=, key= and batch=")),
        }
    }
    Ok(Authored {
        table,
        alias,
        head: slice(start, head_end),
        condition: condition.map(|token| slice(token.end(), end)),
        key,
        batch,
    })
}

fn header(comments: &str) -> Vec<(&str, &str)> {
    let line = comments.lines().find_map(|line| {
        line.trim()
            .strip_prefix("--")?
            .trim()
            .strip_prefix("backfill:")
    });
    let words = line.unwrap_or_default().split_whitespace();
    words
        .map(|word| word.split_once('=').unwrap_or((word, "")))
        .collect()
}

fn top_level<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut depth = 0_usize;
    let mut top = Vec::new();
    for token in tokens {
        if token.is_symbol('(') {
            depth += 1;
        } else if token.is_symbol(')') {
            depth = depth.saturating_sub(1);
        } else if depth == 0 {
            top.push(*token);
        }
    }
    top
}

/// Table and alias of `UPDATE [ONLY] a.b [[AS] c] SET`.
fn target(text: &str, tokens: &[Token<'_>]) -> Option<(String, String)> {
    let mut at = 1;
    if tokens.get(at)?.is("only") {
        at += 1;
    }
    let first = tokens.get(at)?.start;
    while tokens.get(at + 1)?.is_symbol('.') {
        at += 2;
    }
    let table = text.get(first..tokens.get(at)?.end())?.to_owned();
    at += 1;
    if tokens.get(at)?.is("as") {
        at += 1;
    }
    let word = tokens.get(at)?;
    if word.is("set") {
        return Some((table.clone(), table));
    }
    tokens.get(at + 1).filter(|token| token.is("set"))?;
    Some((table, word.text.to_owned()))
}

/// Rows of the next batch, so that it takes about [`TARGET`]: at most doubled, at most halved.
pub fn next_batch(size: u32, took: Duration) -> u32 {
    let wanted = f64::from(size) * TARGET.as_secs_f64() / took.as_secs_f64().max(0.001);
    let bounded = wanted.clamp(f64::from(size) / 2.0, f64::from(size) * 2.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between half and twice a u32 below 10,000"
    )]
    let rounded = bounded as u32;
    rounded.clamp(MIN_BATCH, MAX_BATCH)
}

/// How long a backfill rests after a batch, so that it takes at most two thirds of a processor and of the disk.
pub fn rest(took: Duration) -> Duration {
    took.min(TARGET * 2) / 2
}

/// What the server has to bear at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// How far the slowest replica is behind.
    pub lag: Duration,
    /// Sessions that wait for a lock.
    pub waiting: i64,
    /// Write-ahead log in bytes a second.
    pub wal: u64,
}

/// Why the backfill should pause, if it should.
pub fn overload(load: Load) -> Option<&'static str> {
    if load.lag > MAX_LAG {
        Some("a replica is more than 5 s behind")
    } else if load.waiting > MAX_WAITING {
        Some("more than 4 sessions wait for locks")
    } else if load.wal > MAX_WAL {
        Some("more than 64 MiB of write-ahead log a second")
    } else {
        None
    }
}

/// How long the rest takes at the pace so far.
pub fn eta(done: u64, total: u64, elapsed: Duration) -> Option<Duration> {
    let left = total.saturating_sub(done);
    #[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
    let seconds = (done > 0).then(|| elapsed.as_secs_f64() * left as f64 / done as f64)?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Backfill {
        let read = read(text, "1_a", Dialect::Postgres).unwrap();
        Backfill {
            table: read.table,
            alias: read.alias,
            head: read.head,
            condition: read.condition,
            key: vec![KeyColumn {
                name: "id".into(),
                kind: "uuid".into(),
            }],
            batch: read.batch,
        }
    }

    #[test]
    fn adds_the_range_of_a_batch_to_what_the_author_wrote() {
        let plain = check("update orders set cents = total * 100;");
        assert_eq!(
            plain.batch(Range::Until),
            "update orders set cents = total * 100 WHERE orders.id <= CAST($1 AS uuid)"
        );
        let joined = check(
            "-- backfill: key=id batch=500\nUPDATE s.orders AS o SET x = (SELECT 1 WHERE true) FROM c WHERE c.id = o.c OR false -- end\n",
        );
        assert_eq!(
            joined.batch(Range::Between),
            "UPDATE s.orders AS o SET x = (SELECT 1 WHERE true) FROM c WHERE (c.id = o.c OR false) AND o.id > CAST($1 AS uuid) AND o.id <= CAST($2 AS uuid)"
        );
        assert_eq!(
            joined.boundary(Range::Until, 500),
            "SELECT CAST(o.id AS text) FROM s.orders AS o WHERE o.id <= CAST($1 AS uuid) ORDER BY o.id LIMIT 1 OFFSET 499"
        );
        let pair = Backfill {
            key: vec![
                KeyColumn {
                    name: "a".into(),
                    kind: String::new(),
                },
                KeyColumn {
                    name: "b".into(),
                    kind: String::new(),
                },
            ],
            ..plain
        };
        assert_eq!(
            pair.within(Range::Between),
            "(orders.a, orders.b) > ($1, $2) AND (orders.a, orders.b) <= ($3, $4)"
        );
    }

    #[test]
    fn refuses_what_is_no_single_update() {
        for (text, reason) in [
            ("delete from t", "not an UPDATE"),
            ("update t set a = 1; update t set b = 2", "more than one"),
            ("update t set a = 1 returning a", "RETURNING"),
            ("-- backfill: batch=0\nupdate t set a = 1", "number"),
            ("-- backfill: table=u\nupdate t set a = 1", "another table"),
            ("-- backfill: speed=9\nupdate t set a = 1", "knows"),
        ] {
            let error = read(text, "1_a", Dialect::Postgres)
                .unwrap_err()
                .to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn adapts_the_batch_to_the_target_within_bounds() {
        assert_eq!(next_batch(1_000, Duration::from_millis(100)), 500);
        assert_eq!(next_batch(1_000, Duration::from_millis(16)), 1_250);
        assert_eq!(next_batch(1_000, Duration::from_secs(9)), 500);
        assert_eq!(next_batch(1_000, Duration::ZERO), 2_000);
        assert_eq!(
            (
                next_batch(100, Duration::from_secs(9)),
                next_batch(5_000, Duration::ZERO)
            ),
            (100, 5_000)
        );
        assert_eq!(rest(Duration::from_millis(8)), Duration::from_millis(4));
        assert_eq!(rest(Duration::from_secs(9)), TARGET);
    }

    #[test]
    fn pauses_at_each_limit_and_estimates_the_rest() {
        assert_eq!(overload(Load::default()), None);
        let over = [
            Load {
                lag: Duration::from_secs(6),
                ..Load::default()
            },
            Load {
                waiting: 5,
                ..Load::default()
            },
            Load {
                wal: 65 << 20,
                ..Load::default()
            },
        ];
        assert!(over.into_iter().all(|load| overload(load).is_some()));
        assert_eq!(
            eta(25, 100, Duration::from_secs(10)),
            Some(Duration::from_secs(30))
        );
        assert_eq!(eta(0, 100, Duration::from_secs(10)), None);
    }
}
