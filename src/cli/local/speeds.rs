//! The speeds that were measured, in a file beside the ledger.

use super::asking::Measured;
use std::io::ErrorKind;
use std::path::Path;

/// The file in `data_dir`.
const FILE: &str = "local_speeds.json";
/// A larger file is none of ours.
const BYTES_MAX: u64 = 1024 * 1024;

/// What was measured so far.
pub(super) fn read(data_dir: &Path) -> Result<Vec<Measured>, String> {
    let path = data_dir.join(FILE);
    let said = |why: &dyn std::fmt::Display| {
        format!(
            "{}: {why}; delete it and measure anew with flyball local --measure",
            path.display()
        )
    };
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(said(&error)),
        Ok(about) if about.len() > BYTES_MAX => return Err(said(&"larger than 1 MiB")),
        Ok(_) => {}
    }
    let text = std::fs::read_to_string(&path).map_err(|error| said(&error))?;
    serde_json::from_str(&text).map_err(|error| said(&error))
}

/// In the place of what was measured of this model before.
pub(super) fn put(kept: &mut Vec<Measured>, measured: Measured) {
    kept.retain(|other| other.model != measured.model);
    kept.push(measured);
}

/// Whoever reads meanwhile sees the file of before or this one, never a part of it.
pub(super) fn write(data_dir: &Path, kept: &[Measured]) -> Result<(), String> {
    let path = data_dir.join(FILE);
    let said = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    std::fs::create_dir_all(data_dir).map_err(|error| said(&error))?;
    let text = serde_json::to_string_pretty(kept).map_err(|error| said(&error))?;
    let new = data_dir.join(format!("{FILE}.{}", std::process::id()));
    std::fs::write(&new, text + "\n")
        .and_then(|()| std::fs::rename(&new, &path))
        .map_err(|error| said(&error))
}

/// Thousandths of a token a second, with one digit after the point.
pub(super) fn rate(milli: u64) -> String {
    format!("{}.{}", milli / 1_000, milli % 1_000 / 100)
}
