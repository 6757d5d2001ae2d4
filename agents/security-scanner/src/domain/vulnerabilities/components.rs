//! What is installed: components from SBOMs and lockfiles.

mod cyclonedx;
mod golang;
mod npm;
mod python;
mod rust;

use std::fmt;

use super::purl::language_purl;

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// OSV ecosystem, for example `crates.io`; none when OSV has none for it.
    pub ecosystem: Option<String>,
    /// Name in that ecosystem.
    pub name: String,
    /// Installed version; none when the file does not say.
    pub version: Option<String>,
    /// Package URL.
    pub purl: String,
    /// Whether it serves development only.
    pub dev: bool,
}

impl Component {
    fn language(ecosystem: &str, name: &str, version: &str) -> Self {
        Self {
            ecosystem: Some(ecosystem.to_owned()),
            name: name.to_owned(),
            version: Some(version.to_owned()),
            purl: language_purl(ecosystem, name, version),
            dev: false,
        }
    }
}

/// The components of one file.
#[derive(Debug, Default)]
pub struct Inventory {
    /// What was read.
    pub components: Vec<Component>,
    /// Entries that no public advisory can speak of: local paths, Git sources, unpinned requirements.
    pub not_public: usize,
}

/// A kind of file that lists components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// CycloneDX SBOM in JSON.
    CycloneDx,
    /// Rust's `Cargo.lock`.
    CargoLock,
    /// npm's `package-lock.json` or `npm-shrinkwrap.json`.
    NpmLock,
    /// pip's `requirements.txt`.
    Requirements,
    /// `poetry.lock` or `uv.lock`.
    PythonLock,
    /// Go's `go.sum`.
    GoSum,
    /// Go's `go.mod`.
    GoMod,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CycloneDx => "CycloneDX JSON",
            Self::CargoLock => "Cargo.lock",
            Self::NpmLock => "package-lock.json",
            Self::Requirements => "requirements.txt",
            Self::PythonLock => "poetry.lock or uv.lock",
            Self::GoSum => "go.sum",
            Self::GoMod => "go.mod",
        })
    }
}

/// Why a file gave no components.
#[derive(Debug, thiserror::Error)]
pub enum ReadInventoryError {
    /// The name and the content fit no format.
    #[error("not a CycloneDX SBOM or a known lockfile")]
    UnknownFormat,
    /// The content does not follow its format.
    #[error("not a valid {format}: {reason}")]
    Invalid {
        /// What it was read as.
        format: Format,
        /// What is wrong, without the content.
        reason: String,
    },
}

/// Tells the format of a file from its name, or for JSON from its content.
pub fn format_of(name: &str, content: &str) -> Option<Format> {
    let base = name
        .rsplit(['/', '\\'])
        .next()
        .unwrap_or(name)
        .to_ascii_lowercase();
    match base.as_str() {
        "cargo.lock" => Some(Format::CargoLock),
        "package-lock.json" | "npm-shrinkwrap.json" => Some(Format::NpmLock),
        "poetry.lock" | "uv.lock" => Some(Format::PythonLock),
        "go.sum" => Some(Format::GoSum),
        "go.mod" => Some(Format::GoMod),
        _ if base.starts_with("requirements") && base.rsplit('.').next() == Some("txt") => {
            Some(Format::Requirements)
        }
        _ if content.contains("\"bomFormat\"") => Some(Format::CycloneDx),
        _ if content.contains("\"lockfileVersion\"") => Some(Format::NpmLock),
        _ => None,
    }
}

/// Reads the components of a file.
///
/// # Errors
/// `UnknownFormat`, or `Invalid` with the reason.
pub fn read_inventory(name: &str, content: &str) -> Result<Inventory, ReadInventoryError> {
    let format = format_of(name, content).ok_or(ReadInventoryError::UnknownFormat)?;
    let inventory = match format {
        Format::CycloneDx => cyclonedx::read(content),
        Format::CargoLock => rust::read(content),
        Format::NpmLock => npm::read(content),
        Format::Requirements => Ok(python::read_requirements(content)),
        Format::PythonLock => python::read_lock(content),
        Format::GoSum => golang::read_sum(content),
        Format::GoMod => Ok(golang::read_mod(content)),
    };
    inventory.map_err(|reason| ReadInventoryError::Invalid { format, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(name: &str, content: &str) -> Vec<String> {
        read_inventory(name, content)
            .unwrap()
            .components
            .into_iter()
            .map(|c| format!("{}@{}", c.name, c.version.unwrap_or_default()))
            .collect()
    }

    #[test]
    fn reads_a_cargo_lock_and_leaves_out_what_no_registry_serves() {
        let content = "version = 4\n[[package]]\nname = \"shop\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"serde\"\nversion = \"1.0.1\"\n\
            source = \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"ab\"\n\n[[package]]\nname = \"x\"\nversion = \"0.1.0\"\nsource = \"git+https://git.test/x#abc\"\n";
        assert_eq!(names("Cargo.lock", content), ["serde@1.0.1"]);
        assert_eq!(read_inventory("Cargo.lock", content).unwrap().not_public, 2);
    }

    #[test]
    fn reads_npm_locks_of_all_three_versions() {
        let v3 = r#"{"lockfileVersion":3,"packages":{"":{"name":"shop","version":"1.0.0"},"node_modules/a":{"version":"1.0.0"},
            "node_modules/a/node_modules/@s/b":{"version":"2.0.0","dev":true},"node_modules/alias":{"name":"real","version":"3.0.0"},
            "packages/local":{"version":"0.0.1"},"node_modules/local":{"resolved":"packages/local","link":true}}}"#;
        assert_eq!(
            names("package-lock.json", v3),
            ["a@1.0.0", "@s/b@2.0.0", "real@3.0.0"]
        );
        let v1 = r#"{"lockfileVersion":1,"dependencies":{"a":{"version":"1.0.0","dependencies":{"b":{"version":"2.0.0"}}},"g":{"version":"git+ssh://git.test/g#1"}}}"#;
        assert_eq!(names("package-lock.json", v1), ["a@1.0.0", "b@2.0.0"]);
    }

    #[test]
    fn reads_python_files() {
        let requirements = "# comment\nDjango[argon2]==4.2.1 ; python_version > '3.8'\nrequests===2.31.0\nflask>=2\n-r other.txt\nJinja2 == 3.1.2 \\\n    --hash=sha256:abc\n";
        assert_eq!(
            names("requirements-prod.txt", requirements),
            ["django@4.2.1", "requests@2.31.0", "jinja2@3.1.2"]
        );
        assert_eq!(
            read_inventory("requirements.txt", requirements)
                .unwrap()
                .not_public,
            1
        );
        let lock = "[[package]]\nname = \"Django\"\nversion = \"4.2.1\"\n\n[[package]]\nname = \"mine\"\nversion = \"1\"\n[package.source]\ntype = \"git\"\nurl = \"https://git.test/mine\"\n";
        assert_eq!(names("poetry.lock", lock), ["django@4.2.1"]);
    }

    #[test]
    fn reads_go_files() {
        let sum = "golang.org/x/net v0.1.0 h1:a=\ngolang.org/x/net v0.1.0/go.mod h1:b=\ngolang.org/x/net v0.7.0 h1:c=\ngolang.org/x/text v0.9.0/go.mod h1:d=\n";
        assert_eq!(names("go.sum", sum), ["golang.org/x/net@v0.7.0"]);
        let module = "module shop\n\ngo 1.22.1\n\nrequire golang.org/x/text v0.9.0\nrequire (\n\tgolang.org/x/net v0.7.0 // indirect\n)\nreplace golang.org/x/text => ../text\n";
        assert_eq!(
            names("go.mod", module),
            ["stdlib@1.22.1", "golang.org/x/net@v0.7.0"]
        );
    }

    #[test]
    fn reads_nested_components_of_an_sbom() {
        let sbom = r#"{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":{"component":{"name":"shop","type":"application"}},"components":[
            {"type":"library","name":"smallvec","version":"1.6.0","purl":"pkg:cargo/smallvec@1.6.0","components":[{"type":"library","name":"inner","purl":"pkg:npm/inner@1.0.0"}]},
            {"type":"file","name":"README"},{"type":"library","name":"odd","version":"1"}]}"#;
        let inventory = read_inventory("sbom.cdx.json", sbom).unwrap();
        let found: Vec<_> = inventory
            .components
            .iter()
            .map(|c| {
                (
                    c.ecosystem.as_deref(),
                    c.name.as_str(),
                    c.version.as_deref(),
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                (Some("crates.io"), "smallvec", Some("1.6.0")),
                (Some("npm"), "inner", Some("1.0.0")),
                (None, "odd", Some("1"))
            ]
        );
    }

    #[test]
    fn says_what_is_wrong_with_a_file() {
        for (name, content, expected) in [
            (
                "notes.md",
                "hello",
                "not a CycloneDX SBOM or a known lockfile",
            ),
            (
                "Cargo.lock",
                "[[package]]\nname = ",
                "not a valid Cargo.lock",
            ),
            ("package-lock.json", "{", "not a valid package-lock.json"),
            (
                "sbom.json",
                r#"{"bomFormat":"SPDX"}"#,
                "not a valid CycloneDX JSON: bomFormat is not CycloneDX",
            ),
        ] {
            let error = read_inventory(name, content).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
