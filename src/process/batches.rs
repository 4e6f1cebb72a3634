//! Sees to it that every batch which is not over is worked on by somebody, and that what was kept long enough is forgotten.

use crate::exchange::State;
use crate::exchange::batches::work::drive;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often batches are looked for that nobody works on: those that an earlier process left, and those of replicas that have died.
const LOOK: Duration = Duration::from_secs(5);
/// How often what is outdated is forgotten.
const TIDY: Duration = Duration::from_secs(600);

/// Looks until the process ends.
pub(super) async fn keep_working(state: Arc<State>, mut stopped: watch::Receiver<bool>) {
    let mut tidied: Option<Instant> = None;
    loop {
        match state.batches.live().await {
            Ok(live) => {
                for id in live {
                    tokio::spawn(drive(Arc::clone(&state), id, None));
                }
            }
            Err(error) => tracing::warn!(%error, "batches cannot be looked for"),
        }
        if tidied.is_none_or(|last| last.elapsed() >= TIDY) {
            tidied = Some(Instant::now());
            if let Err(error) = state.batches.tidy().await {
                tracing::warn!(%error, "old batches cannot be forgotten");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            changed = stopped.changed() => {
                if changed.is_err() || *stopped.borrow() {
                    return;
                }
            }
        }
    }
}
