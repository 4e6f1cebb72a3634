//! What was asked of two arms, and what both have answered, in a file beside the books; only where the operator wants to keep that
//! (`[shadow] keep_prompts`). Without it no word of a request or an answer is kept.

use crate::error::{Error, Kind};
use serde_json::Value;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// The file.
const FILE: &str = "shadow-prompts.jsonl";
/// The one before it.
const BEFORE: &str = "shadow-prompts.1.jsonl";
/// A longer file is put aside, and the one that was put aside before is gone.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Lines are written one after the other.
static WRITING: Mutex<()> = Mutex::new(());

/// Adds a line.
///
/// # Errors
/// It cannot be written.
pub(super) async fn keep(folder: &Path, line: Value) -> Result<(), Error> {
    let folder = folder.to_owned();
    let written = tokio::task::spawn_blocking(move || write(&folder, &line));
    let failed = |why: String| Error::new(Kind::Internal, "a prompt cannot be kept").detail(why);
    let written = written.await.map_err(|error| failed(error.to_string()))?;
    written.map_err(|error| failed(error.to_string()))
}

fn write(folder: &Path, line: &Value) -> io::Result<()> {
    let _one = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let path = folder.join(FILE);
    if fs::metadata(&path).is_ok_and(|file| file.len() >= BYTES_MAX) {
        fs::rename(&path, folder.join(BEFORE))?;
    }
    let mut file = opened(&path)?;
    file.write_all(format!("{line}\n").as_bytes())
}

/// For its owner alone to read.
fn opened(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
