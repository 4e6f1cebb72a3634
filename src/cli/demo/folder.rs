//! The folder that `flyball demo --days` writes: what is where, and nothing of it where something fails.

use super::openmetrics::History;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// The folder.
pub(super) struct Folder {
    path: PathBuf,
    /// It was not there before.
    new: bool,
}

impl Folder {
    pub(super) const CONFIG: &str = "flyball.toml";
    pub(super) const DATA: &str = "data";
    pub(super) const KEYS: &str = "keys";
    pub(super) const METRICS: &str = "metrics.om";
    const PARTIAL: &str = "metrics.om.partial";

    /// A month is there, and whole: the metrics are the last that is written.
    pub(super) fn is_done(path: &Path) -> bool {
        path.join(Folder::METRICS).exists()
    }

    /// Takes an empty folder, or makes one.
    pub(super) fn begin(path: &Path) -> Result<Folder, String> {
        let unusable = |e: std::io::Error| format!("--out {}: {e}", path.display());
        let new = !path.exists();
        if new {
            fs::create_dir_all(path).map_err(unusable)?;
        }
        if fs::read_dir(path).map_err(unusable)?.next().is_some() {
            return Err(format!(
                "--out {}: the folder is not empty; name one that is not there yet, or an empty one",
                path.display()
            ));
        }
        Ok(Folder {
            path: path.to_owned(),
            new,
        })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), String> {
        let path = self.path(name);
        fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Nobody but the owner reads it.
    pub(super) fn write_secret(&self, name: &str, text: &str) -> Result<(), String> {
        let path = self.path(name);
        let mut options = File::options();
        options.create_new(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Writes the history of metrics; it has its name once it is whole.
    pub(super) fn history(&self, history: &History) -> Result<(), String> {
        let (partial, whole) = (self.path(Folder::PARTIAL), self.path(Folder::METRICS));
        let write = || {
            let mut out = BufWriter::with_capacity(1 << 20, File::create(&partial)?);
            history.write(&mut out)?;
            out.into_inner()?.sync_all()?;
            fs::rename(&partial, &whole)
        };
        write().map_err(|e| format!("{}: {e}", whole.display()))
    }

    /// Takes back what was written.
    pub(super) fn remove(&self) {
        // What cannot be removed is told by the error that led here, or by the next attempt.
        for file in [
            Folder::CONFIG,
            Folder::KEYS,
            Folder::PARTIAL,
            Folder::METRICS,
        ] {
            let _ = fs::remove_file(self.path(file));
        }
        let _ = fs::remove_dir_all(self.path(Folder::DATA));
        if self.new {
            let _ = fs::remove_dir(&self.path);
        }
    }
}
