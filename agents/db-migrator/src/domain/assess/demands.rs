//! What an addition asks of every application that writes, also of one that does not know it.

/// What fills a column of itself.
const FILLED: [&str; 3] = [" DEFAULT ", " GENERATED ", "SERIAL"];

/// Whether a statement of an up script asks something of rows that an application of before writes: values that it does
/// not give, or that no two rows have alike. New tables ask nothing, because it does not write there.
pub fn demands(text: &str) -> bool {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let upper = format!("{} ", words.to_ascii_uppercase());
    if upper.starts_with("CREATE UNIQUE INDEX") {
        return true;
    }
    if !upper.starts_with("ALTER TABLE") || !upper.contains(" ADD ") {
        return false;
    }
    let count = |what: &str| upper.matches(what).count();
    let filled: usize = FILLED.iter().map(|what| count(what)).sum();
    count(" UNIQUE") > 0 || count(" PRIMARY KEY") > 0 || count(" NOT NULL") > filled
}

#[cfg(test)]
mod tests {
    use super::demands;

    #[test]
    fn an_old_writer_meets_what_it_does_not_know() {
        for (text, asks) in [
            ("CREATE UNIQUE INDEX u ON orders (customer)", true),
            (
                "create unique index concurrently u on orders (customer)",
                true,
            ),
            ("CREATE INDEX i ON orders (customer)", false),
            (
                "CREATE TABLE t (id int PRIMARY KEY, a int NOT NULL UNIQUE)",
                false,
            ),
            ("ALTER TABLE orders ADD COLUMN a int", false),
            ("ALTER TABLE orders\n  ADD COLUMN a int NOT NULL", true),
            ("ALTER TABLE orders ADD a int NOT NULL DEFAULT 0", false),
            (
                "ALTER TABLE orders ADD COLUMN a int DEFAULT 0 NOT NULL",
                false,
            ),
            (
                "ALTER TABLE orders ADD COLUMN a int NOT NULL DEFAULT 0, ADD COLUMN b int NOT NULL",
                true,
            ),
            ("ALTER TABLE orders ADD COLUMN a bigserial NOT NULL", false),
            (
                "ALTER TABLE orders ADD COLUMN a int NOT NULL GENERATED ALWAYS AS IDENTITY",
                false,
            ),
            (
                "ALTER TABLE orders ADD COLUMN a text DEFAULT 'x' UNIQUE",
                true,
            ),
            ("ALTER TABLE orders DROP COLUMN a", false),
        ] {
            assert_eq!(demands(text), asks, "{text}");
        }
    }
}
