//! A flyball of a command's own: with the configuration's providers, on ports that nobody knows, in a folder that is gone afterwards.

use super::Common;
use crate::config::{self, Config, Overrides};
use crate::ledger::Settings;
use crate::ledger::store::Key;
use crate::ledger::tree::Shared;
use crate::process::{self, Running};
use std::path::PathBuf;

/// It serves until it is closed.
pub(super) struct OwnFlyball {
    running: Running,
    dir: PathBuf,
}

impl OwnFlyball {
    /// Starts one with this key, under no caps but the key's. `check` looks at its configuration, and may change it, before anything is
    /// made.
    ///
    /// # Errors
    /// The configuration cannot be used, or it cannot start.
    pub(super) async fn start(
        common: &Common,
        key: &Key,
        check: impl FnOnce(&mut Config) -> Result<(), String>,
    ) -> Result<OwnFlyball, String> {
        let dir =
            std::env::temp_dir().join(format!("flyball-{}-{}", key.name, uuid::Uuid::now_v7()));
        let overrides = Overrides {
            config: common.config.clone(),
            listen: Some("127.0.0.1:0".into()),
            admin_listen: Some("127.0.0.1:0".into()),
            data_dir: Some(dir.clone()),
            ..Overrides::default()
        };
        let mut config = config::load(&overrides).map_err(|all| super::joined(&all))?;
        // Its books are its own, and each arm is asked for by its name.
        (config.caps, config.shared_ledger) = (Shared::default(), None);
        config.tls = None;
        config.proxied = None;
        config.sockets.reuse_port = false;
        config.intercept.clear();
        check(&mut config)?;
        let mut books =
            crate::ledger::books::make(&Settings::embedded(&dir)).map_err(|e| e.detail)?;
        books.create_key(key).map_err(|e| e.detail)?;
        drop(books);
        let running = process::start(config, overrides)
            .await
            .map_err(|e| e.detail)?;
        Ok(OwnFlyball { running, dir })
    }

    /// Where it listens.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.running.listen)
    }

    /// Ends it, and lets its folder go.
    ///
    /// # Errors
    /// The folder stays.
    pub(super) async fn close(self) -> Result<(), String> {
        self.running.stop().await;
        std::fs::remove_dir_all(&self.dir).map_err(|e| format!("{}: {e}", self.dir.display()))
    }
}
