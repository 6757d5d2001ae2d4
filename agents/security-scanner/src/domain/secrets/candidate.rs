//! What a rule's pattern found, before it is believed.

/// Text that fits a rule's pattern.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'t> {
    /// The text that would be the secret.
    pub secret: &'t str,
    /// The name it is assigned to, for assignments.
    pub name: Option<&'t str>,
    /// Whether it stood in quotes.
    pub quoted: bool,
    /// What kind of file it stands in.
    pub file: FileKind,
}

/// What a closer look at a candidate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not a secret: a placeholder, a name, a reference.
    Reject,
    /// The form fits but something inside does not: reported with low confidence.
    Doubtful,
    /// Nothing speaks against it: reported with the rule's confidence.
    Keep,
    /// A checksum or inner structure is right: reported with high confidence.
    Proven,
}

/// What an unquoted value on the right of an assignment means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Source code: an unquoted value is an expression, not a literal.
    Code,
    /// Configuration, scripts and everything else: an unquoted value may be a literal.
    Text,
    /// Generated lists of hashes and minified code, where assignments mean nothing.
    Generated,
}

const CODE: &[&str] = &[
    "c", "cc", "cpp", "cs", "cts", "dart", "ex", "exs", "go", "groovy", "h", "hpp", "java", "js",
    "jsx", "kt", "kts", "lua", "m", "mjs", "mts", "php", "pl", "proto", "py", "rb", "rego", "rs",
    "scala", "sql", "svelte", "swift", "ts", "tsx", "vue",
];
const GENERATED: &[&str] = &[
    "cargo.lock",
    "package-lock.json",
    "npm-shrinkwrap.json",
    "yarn.lock",
    "pnpm-lock.yaml",
    "poetry.lock",
    "uv.lock",
    "pipfile.lock",
    "composer.lock",
    "gemfile.lock",
    "go.sum",
    "flake.lock",
];

impl FileKind {
    /// Tells the kind from the file's name.
    pub fn of(name: &str) -> Self {
        let base = name
            .rsplit(['/', '\\'])
            .next()
            .unwrap_or(name)
            .to_ascii_lowercase();
        let extension = base.rsplit_once('.').map_or("", |(_, extension)| extension);
        if GENERATED.contains(&base.as_str())
            || base.ends_with(".min.js")
            || base.ends_with(".min.css")
            || extension == "map"
        {
            Self::Generated
        } else if CODE.contains(&extension) {
            Self::Code
        } else {
            Self::Text
        }
    }
}
