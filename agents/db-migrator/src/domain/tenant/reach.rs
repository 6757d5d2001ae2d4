//! What a tenant's migration may not name: other schemas, and what belongs to the whole database.

use std::collections::BTreeSet;

use squawk_syntax::{SourceFile, SyntaxKind, SyntaxNode, ast::AstNode};

use super::Tenant;
use crate::domain::{
    Dialect,
    lex::{self, Kind, Token},
};

/// Schemas of the server, which are the same for every tenant.
const SERVERS: [&str; 2] = ["pg_catalog", "information_schema"];
/// Stands for a schema itself, which is no extension's.
const WHOLLY: &str = "*";
/// What is made, changed or dropped for a whole database, as the first word after the verb.
const WHOLE: [&str; 12] = [
    "SCHEMA",
    "EXTENSION",
    "PUBLICATION",
    "EVENT",
    "LANGUAGE",
    "SERVER",
    "CAST",
    "TRANSFORM",
    "ACCESS",
    "DEFAULT PRIVILEGES",
    "DATABASE",
    "FOREIGN DATA",
];

/// How a statement reaches beyond its tenant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reach {
    /// It names another schema.
    #[error(
        "it names the schema {0}: a tenant's migration names no schema, so that it is the same for every tenant"
    )]
    Schema(String),
    /// It is about something that all tenants share.
    #[error("{0} is about the whole database, which all tenants share")]
    Whole(String),
    /// It changes where unqualified names lead.
    #[error("it changes search_path, which leads unqualified names to the tenant's schema")]
    Path,
}

/// What lies around a tenant in its database.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Around {
    /// The schemas: procedural code is read for their names only, because a name before a dot can be a variable there.
    pub schemas: Vec<String>,
    /// Types, functions and operator classes of extensions with their schemas, which every tenant may use; an operator
    /// stands there without its name.
    pub extensions: BTreeSet<(String, String)>,
}

impl Around {
    /// Whether a name with its schema is beyond a tenant's reach.
    fn forbids(&self, tenant: &Tenant, (schema, object): &(String, String)) -> bool {
        let home = schema == tenant.schema() || SERVERS.contains(&schema.as_str());
        !home && !self.extensions.contains(&(schema.clone(), object.clone()))
    }
}

/// How a statement reaches beyond a tenant, if it does.
pub fn reach(sql: &str, tenant: &Tenant, around: &Around) -> Option<Reach> {
    let tokens = lex::tokens(sql, Dialect::Postgres).unwrap_or_default();
    let words = tokens
        .iter()
        .filter(|token| matches!(token.kind, Kind::Word | Kind::Quoted))
        .map(|token| token.text.to_ascii_uppercase())
        .collect::<Vec<_>>();
    let words = words.iter().map(String::as_str).collect::<Vec<_>>();
    whole(&words)
        .or_else(|| path(&words, sql))
        .or_else(|| named(sql, &tokens, (tenant, around)))
        .or_else(|| within(&tokens, &words, (tenant, around)))
}

fn whole(words: &[&str]) -> Option<Reach> {
    const FILLERS: [&str; 5] = ["OR", "REPLACE", "TRUSTED", "PROCEDURAL", "IF"];
    let verb = *words.first()?;
    let shown = |count: usize| {
        let shown = words.get(..count.min(words.len())).unwrap_or_default();
        Some(Reach::Whole(shown.join(" ")))
    };
    let after = words.iter().enumerate().skip(1);
    let mut after = after.filter(|(_, word)| !FILLERS.contains(word));
    let (at, what) = after.next().map_or((0, ""), |(at, word)| (at, *word));
    match verb {
        "CREATE" | "ALTER" | "DROP" | "IMPORT" => {
            let next = words.get(at + 1).copied().unwrap_or_default();
            let pair = format!("{what} {next}");
            let is_whole = WHOLE.contains(&what) || WHOLE.contains(&pair.as_str());
            (is_whole || pair == "USER MAPPING" || verb == "IMPORT")
                .then(|| shown(at + 1))
                .flatten()
        }
        "COMMENT" | "SECURITY" => {
            let on = words.iter().position(|word| *word == "ON")?;
            let what = words.get(on + 1)?;
            WHOLE.contains(what).then(|| shown(on + 2)).flatten()
        }
        "GRANT" | "REVOKE" => {
            let on = words.iter().position(|word| *word == "ON")?;
            let what = *words.get(on + 1)?;
            (WHOLE.contains(&what) || what == "ALL")
                .then(|| shown(on + 2))
                .flatten()
        }
        "VACUUM" | "ANALYZE" | "ANALYSE" | "CLUSTER" => {
            const OPTIONS: [&str; 7] = [
                "FULL", "FREEZE", "VERBOSE", "ANALYZE", "ANALYSE", "ON", "TRUE",
            ];
            let named = words.iter().skip(1).any(|word| !OPTIONS.contains(word));
            (!named).then(|| shown(1)).flatten()
        }
        "REINDEX" => words
            .iter()
            .any(|word| matches!(*word, "DATABASE" | "SYSTEM" | "SCHEMA"))
            .then(|| shown(2))
            .flatten(),
        _ => None,
    }
}

fn path(words: &[&str], sql: &str) -> Option<Reach> {
    let says = || sql.to_ascii_lowercase().contains("search_path");
    let sets = matches!(words.first(), Some(&("SET" | "RESET"))) && {
        let rest = words.get(1..).unwrap_or_default();
        rest.contains(&"SEARCH_PATH") || rest.contains(&"SCHEMA") || rest.first() == Some(&"ALL")
    };
    let computes = (words.contains(&"SET_CONFIG") || words.first() == Some(&"DO")) && says();
    (sets || computes).then_some(Reach::Path)
}

/// A schema that stands before a name, as the parser sees it.
fn named(sql: &str, tokens: &[Token<'_>], (tenant, around): (&Tenant, &Around)) -> Option<Reach> {
    let tree = SourceFile::parse(sql);
    if !tree.errors().is_empty() {
        return dotted(tokens, tenant, around);
    }
    let tree = tree.tree();
    let mut names = tree.syntax().descendants().filter_map(|node| schema(&node));
    let found = names.find(|name| around.forbids(tenant, name))?;
    Some(Reach::Schema(found.0))
}

/// A schema that stands before a dot in what the parser does not understand, such as the syntax of a newer server.
fn dotted(tokens: &[Token<'_>], tenant: &Tenant, around: &Around) -> Option<Reach> {
    let mut names = tokens.windows(3).filter_map(|three| match three {
        [name, dot, object] if dot.is_symbol('.') => {
            Some((meaning(name)?, meaning(object).unwrap_or_default()))
        }
        _ => None,
    });
    let found =
        names.find(|name| around.schemas.contains(&name.0) && around.forbids(tenant, name))?;
    Some(Reach::Schema(found.0))
}

/// The schema that a node of the tree names, and what it names in it.
fn schema(node: &SyntaxNode) -> Option<(String, String)> {
    let parent = node.parent().map(|parent| parent.kind());
    // How many names stand after a schema: a column after its table, or the object alone.
    let behind = match node.kind() {
        SyntaxKind::SCHEMA_REF => {
            let schema = parts(node).into_iter().next()?;
            return Some((schema, WHOLLY.to_owned()));
        }
        SyntaxKind::PATH | SyntaxKind::PATH_REF => match parent {
            Some(SyntaxKind::PATH | SyntaxKind::PATH_REF) => return None,
            Some(SyntaxKind::QUALIFIED_COLUMN_NAME_REF) => 2,
            _ => 1,
        },
        SyntaxKind::FIELD_EXPR => match parent {
            Some(SyntaxKind::FIELD_EXPR) => return None,
            Some(SyntaxKind::CALL_EXPR) => 1,
            _ => 2,
        },
        _ => return None,
    };
    let parts = parts(node);
    let at = parts.len().checked_sub(behind + 1)?;
    let mut parts = parts.into_iter().skip(at);
    Some((parts.next()?, parts.next().unwrap_or_default()))
}

/// The names of a dotted name; nothing when it begins with an expression.
fn parts(node: &SyntaxNode) -> Vec<String> {
    let text = node.text().to_string();
    let tokens = lex::tokens(&text, Dialect::Postgres).unwrap_or_default();
    if tokens.first().is_none_or(|first| meaning(first).is_none()) {
        return Vec::new();
    }
    let mut parts = vec![String::new()];
    for token in &tokens {
        if token.is_symbol('.') {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push_str(&meaning(token).unwrap_or_else(|| token.text.to_owned()));
        }
    }
    parts
}

fn meaning(token: &Token<'_>) -> Option<String> {
    match token.kind {
        Kind::Word => Some(token.text.to_ascii_lowercase()),
        Kind::Quoted => {
            let inner = token.text.strip_prefix('"')?.strip_suffix('"')?;
            Some(inner.replace("\"\"", "\""))
        }
        Kind::Text | Kind::Symbol => None,
    }
}

/// A schema that stands before a dot in a literal that is code or a name: every other literal is data.
fn within(
    tokens: &[Token<'_>],
    words: &[&str],
    (tenant, around): (&Tenant, &Around),
) -> Option<Reach> {
    let procedural = words.first() == Some(&"DO")
        || words.first() == Some(&"CREATE")
            && words
                .iter()
                .take(4)
                .any(|word| matches!(*word, "FUNCTION" | "PROCEDURE"));
    let texts = tokens.iter().enumerate();
    let texts = texts
        .filter(|(at, token)| token.kind == Kind::Text && (procedural || is_a_name(tokens, *at)));
    let mut names = texts.flat_map(|(_, token)| {
        let schemas = around.schemas.iter();
        schemas.flat_map(|schema| {
            let objects = behind_a_dot(token.text, schema).into_iter();
            objects.map(|object| (schema.clone(), object))
        })
    });
    let found = names.find(|name| around.forbids(tenant, name))?;
    Some(Reach::Schema(found.0))
}

/// Whether a literal is the name of an object: the argument of a function that looks one up, or cast to one.
fn is_a_name(tokens: &[Token<'_>], at: usize) -> bool {
    const LOOK_UP: [&str; 6] = [
        "nextval",
        "currval",
        "setval",
        "to_regclass",
        "to_regtype",
        "to_regproc",
    ];
    let word = |at: Option<usize>| {
        let token = at.and_then(|at| tokens.get(at));
        token.map_or_else(String::new, |token| token.text.to_ascii_lowercase())
    };
    let called = word(at.checked_sub(1)) == "(" && {
        let name = word(at.checked_sub(2));
        LOOK_UP.contains(&name.as_str())
    };
    let cast = word(Some(at + 1)) == ":" && word(Some(at + 3)).starts_with("reg");
    called || cast
}

/// What stands behind a schema and a dot in a text, folded as an unquoted name is.
fn behind_a_dot(text: &str, schema: &str) -> Vec<String> {
    let inside = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '$';
    let quoted = format!("\"{}\"", schema.replace('"', "\"\""));
    let folded = text.to_lowercase();
    let bare = schema.to_lowercase() == schema;
    let mut found = Vec::new();
    for (text, name, bare) in [(text, quoted.as_str(), false), (&folded, schema, bare)] {
        if name == schema && !bare {
            continue;
        }
        for (at, _) in text.match_indices(name) {
            let before = text.get(..at).and_then(|before| before.chars().next_back());
            let begins = !bare || !before.is_some_and(|letter| inside(letter) || letter == '.');
            let after = text.get(at + name.len()..).unwrap_or_default();
            if let Some(object) = after.trim_start().strip_prefix('.').filter(|_| begins) {
                let object = object.trim_start().trim_start_matches('"');
                let end = object.find(|letter| !inside(letter));
                let object = object.get(..end.unwrap_or(object.len()));
                found.push(object.unwrap_or_default().to_lowercase());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sql: &str) -> Option<Reach> {
        let around = Around {
            schemas: ["beta", "public", "acme"].map(str::to_owned).to_vec(),
            extensions: [("public", "citext"), ("public", "crypt"), ("public", "")]
                .map(|(schema, object)| (schema.to_owned(), object.to_owned()))
                .into(),
        };
        reach(sql, &Tenant::new("acme").unwrap(), &around)
    }

    #[test]
    fn refuses_every_place_where_a_schema_can_be_named() {
        for sql in [
            "CREATE TABLE beta.t (id int)",
            "CREATE TABLE t (id int REFERENCES beta.u (id))",
            "CREATE TABLE t (k beta.kind)",
            "CREATE TABLE t (k int DEFAULT beta.f())",
            "CREATE TABLE t (LIKE beta.t)",
            "INSERT INTO t SELECT * FROM beta.t",
            "SELECT beta.orders.id FROM orders",
            "UPDATE t SET a = u.b FROM beta.u AS u WHERE t.id = u.id",
            "CREATE INDEX ON t (a beta.text_ops)",
            "CREATE TRIGGER a BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION beta.f()",
            "ALTER TABLE t SET SCHEMA beta",
            "COMMENT ON COLUMN beta.t.x IS 'a'",
            "GRANT SELECT ON beta.t TO PUBLIC",
            "SELECT 1 OPERATOR(beta.+) 2",
            "DROP TABLE t, beta.t",
            "ALTER SEQUENCE s OWNED BY beta.t.id",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT x FROM beta.t; END",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT x FROM beta.t $$",
            "DO $$ BEGIN EXECUTE 'DELETE FROM \"beta\".t'; END $$",
            "SELECT nextval('beta.s')",
            "SELECT 'beta.s'::regclass",
        ] {
            assert_eq!(of(sql), Some(Reach::Schema("beta".into())), "{sql}");
        }
        assert_eq!(
            of("ALTER TABLE t FROBNICATE beta.u"),
            Some(Reach::Schema("beta".into())),
            "also where the parser gives up"
        );
        assert_eq!(
            of("GRANT SELECT ON ALL TABLES IN SCHEMA beta TO PUBLIC"),
            Some(Reach::Whole("GRANT SELECT ON ALL".into()))
        );
        assert_eq!(
            of("CREATE TABLE public.t (id int)"),
            Some(Reach::Schema("public".into()))
        );
    }

    #[test]
    fn leaves_alone_what_stays_at_home() {
        for sql in [
            "SELECT o.total, (c).y, o.* FROM orders o JOIN x ON o.id = x.id",
            "CREATE TABLE acme.t (id int REFERENCES acme.u)",
            "ALTER SEQUENCE s OWNED BY orders.id",
            "COMMENT ON COLUMN orders.id IS 'of alphabeta.example, not of beta'",
            "SELECT pg_catalog.now(), a.b FROM information_schema.tables a",
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.total := OLD.total; RETURN NEW; END $$",
            "INSERT INTO orders (mail) VALUES ('a@beta.example'), ('beta.example')",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET search_path FROM CURRENT AS $$ SELECT 1 $$",
            "ALTER TABLE orders ALTER COLUMN note SET DEFAULT 'x'",
            "VACUUM orders",
            "SELECT lower(o.name), count(o.*) FROM orders o GROUP BY lower(o.name)",
            "CREATE TABLE t (a public.citext, b text DEFAULT public.crypt('a', 'b'), CHECK (a OPERATOR(public.=) 'x'))",
            "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT public.crypt('a', 'b')::\"public\".citext $$",
            "CREATE DEFAULT CONVERSION c FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
            "INSERT INTO orders AS o (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET total = excluded.total + o.total",
            "CREATE POLICY p ON orders USING (owner = current_setting('beta.tenant')::int)",
            "GRANT SELECT ON orders TO PUBLIC",
            "CREATE TABLE extension (id int)",
            "SET LOCAL statement_timeout = 0",
        ] {
            assert_eq!(of(sql), None, "{sql}");
        }
    }

    #[test]
    fn refuses_what_all_tenants_share() {
        for sql in [
            "CREATE EXTENSION IF NOT EXISTS hstore",
            "CREATE SCHEMA other",
            "DROP SCHEMA acme CASCADE",
            "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
            "CREATE PUBLICATION p FOR ALL TABLES",
            "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f()",
            "GRANT USAGE ON SCHEMA acme TO PUBLIC",
            "VACUUM",
            "ANALYZE VERBOSE",
            "REINDEX SCHEMA acme",
        ] {
            assert!(
                matches!(of(sql), Some(Reach::Whole(_))),
                "{sql}: {:?}",
                of(sql)
            );
        }
        for sql in [
            "SET search_path = beta",
            "SET LOCAL search_path TO DEFAULT",
            "SELECT set_config('search_path', 'x', true)",
            "RESET ALL",
            "DO $$ BEGIN EXECUTE 'SET search_path = x'; END $$",
        ] {
            assert_eq!(of(sql), Some(Reach::Path), "{sql}");
        }
    }
}
