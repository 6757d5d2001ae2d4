//! What the catalog says about a column that is about to change.

/// An index that contains the column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFacts {
    /// Its name, quoted and qualified.
    pub name: String,
    /// `CREATE INDEX ...` as the database prints it.
    pub definition: String,
    /// `p` for a primary key, `u` for a unique constraint, `x` for an exclusion; empty for a plain index.
    pub constraint: String,
}

/// A check or foreign key that contains the column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConstraintFacts {
    /// Its name, quoted.
    pub name: String,
    /// `CHECK (...)` or `FOREIGN KEY ...` as the database prints it.
    pub definition: String,
}

/// One column of a key.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct KeyColumn {
    /// Its name, quoted.
    pub name: String,
    /// Its type as SQL; empty where a value needs no cast (SQLite).
    pub kind: String,
}

/// A column and everything that hangs on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ColumnFacts {
    /// The table, quoted and qualified.
    pub table: String,
    /// The column, quoted.
    pub column: String,
    /// Its type as SQL.
    pub kind: String,
    /// Whether it refuses nulls.
    pub not_null: bool,
    /// Whether the server keeps `NOT NULL` as a constraint with a name, as PostgreSQL 18 does.
    pub names_nulls: bool,
    /// The name of that constraint, quoted.
    pub strict: Option<String>,
    /// Its default as an expression.
    pub default: Option<String>,
    /// The sequence that it owns, quoted and qualified.
    pub sequence: Option<String>,
    /// All columns of the table, unquoted.
    pub columns: Vec<String>,
    /// The primary key.
    pub key: Vec<KeyColumn>,
    /// Indexes that contain it.
    pub indexes: Vec<IndexFacts>,
    /// Checks and foreign keys that contain it.
    pub constraints: Vec<ConstraintFacts>,
    /// What cannot be carried over, in words.
    pub obstacles: Vec<String>,
}
