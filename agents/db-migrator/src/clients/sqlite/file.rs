//! Database files: opened, fenced in, copied, and locked.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{
    Connection, OpenFlags,
    backup::Backup,
    hooks::{AuthAction, AuthContext, Authorization},
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::TargetError;

/// How long SQLite itself waits for another writer's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the lock file is tried.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// The lock file of a database.
pub(super) fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".db-migrator.lock");
    name.into()
}

/// A connection that stays within its file.
pub(super) fn open(path: &Path) -> Result<Connection, TargetError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)
        .map_err(|error| TargetError::Unreachable(error.into()))?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.execute_batch("PRAGMA foreign_keys = ON")?;
    connection.authorizer(Some(authorize))?;
    Ok(connection)
}

/// Whatever a script says, it cannot reach another file.
fn authorize(context: AuthContext<'_>) -> Authorization {
    match context.action {
        // VACUUM attaches a nameless temporary file of its own.
        AuthAction::Attach { filename: "" } => Authorization::Allow,
        AuthAction::Attach { .. }
        | AuthAction::Detach { .. }
        | AuthAction::Function {
            function_name: "load_extension",
        } => Authorization::Deny,
        _ => Authorization::Allow,
    }
}

/// A database of its own, gone with its folder.
pub(super) fn empty() -> Result<(Connection, TempDir), TargetError> {
    let folder = tempfile::Builder::new()
        .prefix("db-migrator-shadow-")
        .tempdir()
        .map_err(|error| TargetError::NoShadow(error.to_string()))?;
    let shadow = open(&folder.path().join("shadow.db"))?;
    shadow.execute_batch("PRAGMA synchronous = OFF")?;
    Ok((shadow, folder))
}

/// A copy by SQLite's own backup, consistent while others write.
pub(super) fn copy(path: &Path) -> Result<(Connection, TempDir), TargetError> {
    let (mut shadow, folder) = empty()?;
    let source = open(path)?;
    let backup = Backup::new(&source, &mut shadow)?;
    backup.run_to_completion(1_000, Duration::ZERO, None)?;
    drop(backup);
    Ok((shadow, folder))
}

/// Takes the lock of a file by polling.
pub(super) async fn lock(path: &Path, until: Instant) -> Result<File, TargetError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|error| TargetError::Unreachable(error.into()))?;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if Instant::now() < until => sleep(LOCK_POLL).await,
            Err(TryLockError::WouldBlock) => return Err(TargetError::Busy),
            Err(TryLockError::Error(error)) => {
                return Err(TargetError::Unreachable(error.into()));
            }
        }
    }
    Ok(file)
}
