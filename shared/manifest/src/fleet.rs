//! A folder with all manifests and mesh.yaml.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    CompileEdgesError, DecodeManifestError, DecodeMeshError, Document, Edges, Finding, Manifest,
    Mesh, SyntaxError, compile_edges, schema, semantics,
};

/// All agents of a mesh: valid, of one mind about who calls whom.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// The manifests, sorted by name.
    pub manifests: Vec<Manifest>,
    /// mesh.yaml.
    pub mesh: Mesh,
    edges: Edges,
}

impl Fleet {
    /// Puts a mesh together.
    ///
    /// # Errors
    /// Declarations that contradict each other.
    pub fn new(mut manifests: Vec<Manifest>, mesh: Mesh) -> Result<Self, CompileEdgesError> {
        manifests.sort_by(|a, b| a.name.cmp(&b.name));
        let edges = compile_edges(&manifests, &mesh)?;
        Ok(Self {
            manifests,
            mesh,
            edges,
        })
    }

    /// An agent's manifest.
    pub fn manifest(&self, name: &str) -> Option<&Manifest> {
        self.manifests.iter().find(|manifest| manifest.name == name)
    }

    /// Who may call whom.
    pub fn edges(&self) -> &Edges {
        &self.edges
    }
}

/// A folder that is not a usable fleet.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file or the folder cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A manifest is not acceptable YAML.
    #[error("cannot parse {}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        source: SyntaxError,
    },
    /// A manifest has a field of a wrong type.
    #[error("cannot use {}", path.display())]
    Decode {
        /// Which file.
        path: PathBuf,
        /// Which field.
        source: DecodeManifestError,
    },
    /// A manifest fails a verdict.
    #[error("{} is not valid: {}", path.display(), findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// All errors of both verdicts.
        findings: Vec<Finding>,
    },
    /// mesh.yaml cannot be used.
    #[error("cannot use {}", path.display())]
    Mesh {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: DecodeMeshError,
    },
    /// The declarations contradict each other.
    #[error("the manifests in {} contradict each other", path.display())]
    Edges {
        /// The folder.
        path: PathBuf,
        /// How.
        source: CompileEdgesError,
    },
}

/// Loads every `*.ossa.yaml` and `mesh.yaml` of a folder.
///
/// # Errors
/// The first file that cannot be read, parsed or decoded or that fails a verdict; then
/// declarations that contradict each other.
pub fn load_dir(directory: &Path) -> Result<Fleet, LoadError> {
    let mesh = load_mesh(&directory.join("mesh.yaml"))?;
    let mut manifests = Vec::new();
    for path in manifest_paths(directory)? {
        manifests.push(load_manifest(&path)?);
    }
    Fleet::new(manifests, mesh).map_err(|source| LoadError::Edges {
        path: directory.into(),
        source,
    })
}

fn load_mesh(path: &Path) -> Result<Mesh, LoadError> {
    let text = read(path)?;
    Mesh::parse(&text).map_err(|source| LoadError::Mesh {
        path: path.into(),
        source,
    })
}

fn load_manifest(path: &Path) -> Result<Manifest, LoadError> {
    let text = read(path)?;
    let document = Document::parse(&text).map_err(|source| LoadError::Syntax {
        path: path.into(),
        source,
    })?;
    let verdict = schema::check(&document);
    let invalid = |findings| {
        Err(LoadError::Invalid {
            path: path.into(),
            findings,
        })
    };
    if !verdict.is_valid() {
        return invalid(verdict.errors().cloned().collect());
    }
    let manifest = Manifest::decode(&document, &text).map_err(|source| LoadError::Decode {
        path: path.into(),
        source,
    })?;
    let verdict = semantics::check(&document, None, semantics::Mode::Lenient);
    if !verdict.is_valid() {
        return invalid(verdict.errors().cloned().collect());
    }
    Ok(manifest)
}

fn manifest_paths(directory: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let unreadable = |source| LoadError::Read {
        path: directory.into(),
        source,
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().ends_with(".ossa.yaml"))
        {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Reads a file without ever holding much more than is accepted.
fn read(path: &Path) -> Result<String, LoadError> {
    use std::io::Read as _;

    let unreadable = |source| LoadError::Read {
        path: path.into(),
        source,
    };
    let file = fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    file.take(Document::MAX_BYTES as u64 + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    Ok(text)
}
