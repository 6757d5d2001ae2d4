//! The Kubernetes schema: the one in this binary, or a file.

use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use flate2::read::ZlibDecoder;

use crate::domain::schema::{Schema, SchemaError};

/// Built by `schema/build.py`; see `schema/NOTICE`.
const BUILT_IN: &[u8] = include_bytes!("../../schema/kubernetes.json.zz");

/// Largest document. A cluster's own with some hundred custom resources has about 10 MB.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Why there is no schema.
#[derive(Debug, thiserror::Error)]
pub enum LoadSchemaError {
    /// The file cannot be read.
    #[error("cannot read the schema {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// It is larger than accepted.
    #[error("the schema is larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// It is no schema.
    #[error("cannot use the schema")]
    Compile(#[from] SchemaError),
}

/// A schema that is loaded when it is first needed, and then kept.
#[derive(Debug, Default)]
pub struct LazySchema {
    file: Option<PathBuf>,
    loaded: OnceLock<Schema>,
}

impl LazySchema {
    /// The built-in schema, or a file instead.
    pub fn new(file: Option<PathBuf>) -> Self {
        Self {
            file,
            loaded: OnceLock::new(),
        }
    }

    /// The schema. Blocks while it is loaded.
    ///
    /// # Errors
    /// When the file is no schema; the next call tries again.
    pub fn get(&self) -> Result<&Schema, LoadSchemaError> {
        if let Some(schema) = self.loaded.get() {
            return Ok(schema);
        }
        let schema = match &self.file {
            None => built_in()?,
            Some(file) => from_file(file)?,
        };
        Ok(self.loaded.get_or_init(|| schema))
    }
}

/// The schema in this binary.
///
/// # Errors
/// Never for a binary that passed its tests.
pub fn built_in() -> Result<Schema, LoadSchemaError> {
    Ok(Schema::compile(
        &inflate(BUILT_IN).map_err(|_| LoadSchemaError::TooLarge)?,
    )?)
}

fn from_file(path: &Path) -> Result<Schema, LoadSchemaError> {
    let failed = |source| LoadSchemaError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(LoadSchemaError::TooLarge);
    }
    if bytes.first() == Some(&b'{') {
        return Ok(Schema::compile(&bytes)?);
    }
    Ok(Schema::compile(&inflate(&bytes).map_err(failed)?)?)
}

fn inflate(packed: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    ZlibDecoder::new(packed)
        .take(MAX_BYTES)
        .read_to_end(&mut plain)?;
    Ok(plain)
}

#[cfg(test)]
mod tests;
