//! Learning by night, and putting in force what was learned, here or elsewhere. All of it is read and worked out on a thread that may wait, one
//! look after the other, and never on the path of a request.

use crate::error::Error;
use crate::exchange::State;
use crate::learn::overnight::Arms;
use crate::learn::shelf::{self, InForce, MadeAbilities};
use crate::ledger::store::Store;
use crate::ledger::window::{Window, Zone};
use crate::ledger::{now, now_ms};
use crate::route::{LearnedFromOutcomes, Learning};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often it is looked for another overlay: what was learned or undone elsewhere is in force here after no longer than this.
const EVERY: Duration = Duration::from_secs(5);
/// A night that was missed for longer than this is not made up for: by then it is day.
const LATE: i64 = 3_600;
/// A night in which learning has failed is made up for after so long, again and again while it is one.
const AGAIN: Duration = Duration::from_secs(60);

/// Goes on until the process stops.
pub(super) async fn keep_learning(state: Arc<State>, mut stop: watch::Receiver<bool>) {
    let mut known = ShelfSeen::default();
    loop {
        let look = known.look(&state);
        tokio::select! {
            () = look => {}
            _ = stop.wait_for(|stopped| *stopped) => return,
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stop.wait_for(|stopped| *stopped) => return,
        }
    }
}

/// What is known of the shelf.
#[derive(Default)]
struct ShelfSeen {
    in_force: Option<(InForce, Option<MadeAbilities>)>,
    /// The last night that was looked at.
    night: Option<i64>,
    /// Learning has failed in it, and is tried again from then on.
    again: Option<Instant>,
}

impl ShelfSeen {
    async fn look(&mut self, state: &Arc<State>) {
        let policy = state.policy.load_full();
        let Some(learning) = &policy.learning else {
            self.in_force = None;
            return;
        };
        if let Some(night) = self.due(learning, &policy.zone) {
            self.night = Some(night);
            let failed = !learn(state, learning, night).await;
            self.again = failed.then(|| Instant::now() + AGAIN);
        }
        if let Err(error) = self.take(state).await {
            tracing::debug!(why = %error.detail, "what was learned cannot be read");
        }
    }

    /// The night that is to be learned in now.
    fn due(&self, learning: &Learning, zone: &Zone) -> Option<i64> {
        let at = learning.nightly_at.filter(|_| !learning.own_fit)?;
        let again = self.again.is_some_and(|at| Instant::now() >= at);
        due(at, zone, now()).filter(|night| again || self.night != Some(*night))
    }

    /// Puts in force what the shelf says.
    async fn take(&mut self, state: &State) -> Result<(), Error> {
        let read = |books: &mut dyn Store| {
            Ok((shelf::in_force(books)?, shelf::abilities_in_force(books)?))
        };
        let (in_force, abilities) = state.ledger.learning(read).await?;
        let now = Some((in_force, abilities));
        if self.in_force == now {
            // A configuration that was read again meanwhile may have been made with another one.
            apply(state);
            return Ok(());
        }
        let (in_force, abilities) = now.clone().unwrap_or_default();
        let overlay = match in_force.id {
            Some(id) => {
                let read = move |books: &mut dyn Store| shelf::overlay(books, id);
                state.ledger.learning(read).await?
            }
            None => None,
        };
        if overlay.is_none() && in_force.id.is_some() {
            tracing::warn!(
                id = in_force.id,
                "this flyball cannot read the overlay that was learned; the grader stands alone"
            );
        }
        state.learned.store(Arc::new(LearnedFromOutcomes {
            overlay: overlay.map(Arc::new),
            corrections: abilities.map(|made| made.learned.corrections),
        }));
        self.in_force = now;
        apply(state);
        Ok(())
    }
}

/// Puts what was learned into the policy, unless the operator's own fit stands there.
fn apply(state: &State) {
    let learned = state.learned.load_full();
    let mut changed = false;
    state.policy.rcu(|policy| {
        let mut other = (**policy).clone();
        changed = other.go_by(&learned);
        match changed {
            true => Arc::new(other),
            false => Arc::clone(policy),
        }
    });
    if changed {
        tracing::info!(
            overlay = learned.overlay.is_some(),
            abilities = learned.corrections.is_some(),
            "the grader and the abilities of models go by what was learned from outcomes"
        );
    }
}

/// Learns, if no other replica does so tonight. Gives whether that is settled: where the books could not be read or written it is not.
async fn learn(state: &State, learning: &Learning, night: i64) -> bool {
    let arms = learning
        .arms
        .clone()
        .map(|(weak, strong)| Arms { weak, strong });
    // Two looks: one that fails is made again, and what was claimed in the same look would then be taken for another replica's.
    let claim = move |books: &mut dyn Store| shelf::claim(books, night);
    let learned = move |books: &mut dyn Store| shelf::learn(books, arms.as_ref(), now_ms());
    let known = state.policy.load().fleet.abilities();
    let abilities = move |books: &mut dyn Store| shelf::learn_abilities(books, &known, now_ms());
    let mut claimed = false;
    let tonight = async {
        claimed = state.ledger.learning(claim).await?;
        match claimed {
            true => state.ledger.learning(learned).await.map(Some),
            false => Ok(None),
        }
    };
    let tonight = tonight.await;
    if matches!(tonight, Ok(Some(_))) {
        // After the overlay, by which they are learned.
        match state.ledger.learning(abilities).await {
            Ok(Ok(made)) => tracing::info!(
                used = made.learned.used,
                "abilities learned by night: {}",
                made.learned.because
            ),
            Ok(Err(why)) => tracing::info!("no abilities were learned tonight: {why}"),
            Err(error) => {
                tracing::warn!(why = %error.detail, "no abilities could be learned tonight")
            }
        }
    }
    match tonight {
        Ok(Some(Ok(made))) => tracing::info!(
            id = made.id,
            used = made.used,
            "learned by night: {}",
            made.because
        ),
        Ok(Some(Err(why))) => tracing::info!("nothing was learned tonight: {why}"),
        Ok(None) => tracing::debug!("another replica learns tonight"),
        Err(error) => {
            tracing::warn!(why = %error.detail, "nothing could be learned now; it is tried again while it is night");
            if !claimed {
                // The night may be another replica's.
                return false;
            }
            let back = move |books: &mut dyn Store| shelf::give_back(books, night);
            if let Err(error) = state.ledger.learning(back).await {
                tracing::debug!(why = %error.detail, "the night cannot be given back");
            }
            return false;
        }
    }
    true
}

/// The day whose night's hour (minutes after midnight in this zone) has come, and is not long past.
fn due(at: u32, zone: &Zone, now: i64) -> Option<i64> {
    let day = Window::Day.id(zone, now);
    let begins = Window::Day.begins_at(zone, day)?;
    let since = now - begins - i64::from(at) * 60;
    (0..LATE).contains(&since).then_some(day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_night_is_due_from_its_hour_on_for_an_hour() {
        let zone = Zone::named("Europe/Berlin").expect("a zone");
        // 2026-12-01, midnight in Berlin.
        let midnight = 1_796_079_600;
        let day = Window::Day.id(&zone, midnight);
        for (hour, found) in [(2, None), (3, Some(day)), (4, None), (27, Some(day + 1))] {
            assert_eq!(
                due(180, &zone, midnight + hour * 3_600 + 60),
                found,
                "{hour}"
            );
        }
    }
}
