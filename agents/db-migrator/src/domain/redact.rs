//! What of a database's own sentence may be shown: never a value of a row, nor a literal of a script.

/// Class of data exceptions, whose sentences quote the value: `invalid input syntax for type integer: "..."`.
const DATA_EXCEPTION: &str = "22";
/// Class of PL/pgSQL, whose sentences a script writes itself.
const RAISED: &str = "P0";
/// Stands in place of what is hidden.
const MASK: &str = "***";

/// A sentence of PostgreSQL. Names of tables and columns, which it quotes too, stay where it holds no value.
pub fn postgres(code: &str, message: &str) -> String {
    if code.starts_with(RAISED) {
        return "the script raised an exception".into();
    }
    if code.starts_with(DATA_EXCEPTION) {
        return quoted_masked(message);
    }
    literals_masked(message)
}

/// A sentence of SQLite; what a trigger raises is the script's own.
pub fn sqlite(raised: bool, message: &str) -> String {
    if raised {
        return "the script raised an exception".into();
    }
    literals_masked(message)
}

/// What stands in double quotes becomes a mask; a value may hold quotes itself.
fn quoted_masked(message: &str) -> String {
    match (message.find('"'), message.rfind('"')) {
        (Some(start), Some(end)) if start < end => {
            let (before, after) = (message.get(..=start), message.get(end..));
            format!(
                "{}{MASK}{}",
                before.unwrap_or_default(),
                after.unwrap_or_default()
            )
        }
        _ => message.to_owned(),
    }
}

/// A literal that a parser stumbled over, `at or near "'...'"`, becomes a mask; one without its end hides the rest.
fn literals_masked(message: &str) -> String {
    let Some(start) = message.find('\'') else {
        return message.to_owned();
    };
    let end = message.rfind('\'').filter(|end| *end > start);
    let before = message.get(..start).unwrap_or_default();
    let after = end.and_then(|end| message.get(end + 1..));
    format!("{before}{MASK}{}", after.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_values_and_keeps_names() {
        for (code, message, expected) in [
            (
                "22P02",
                "invalid input syntax for type integer: \"s3cret\"",
                "invalid input syntax for type integer: \"***\"",
            ),
            (
                "22007",
                "invalid input syntax for type date: \"s3\"cret\"",
                "invalid input syntax for type date: \"***\"",
            ),
            (
                "P0001",
                "customer s3cret is bad",
                "the script raised an exception",
            ),
            (
                "42601",
                "syntax error at or near \"'s3cret'\"",
                "syntax error at or near \"***\"",
            ),
            (
                "42P01",
                "relation \"orders\" does not exist",
                "relation \"orders\" does not exist",
            ),
            (
                "23505",
                "duplicate key value violates unique constraint \"one\"",
                "duplicate key value violates unique constraint \"one\"",
            ),
        ] {
            assert_eq!(postgres(code, message), expected);
        }
        assert_eq!(
            sqlite(false, "UNIQUE constraint failed: t.x"),
            "UNIQUE constraint failed: t.x"
        );
        assert_eq!(
            sqlite(false, "near \"'s3cret'\": syntax error"),
            "near \"***\": syntax error"
        );
        assert_eq!(
            sqlite(false, "unrecognized token: \"'s3cret\""),
            "unrecognized token: \"***"
        );
        assert_eq!(sqlite(true, "s3cret"), "the script raised an exception");
    }
}
