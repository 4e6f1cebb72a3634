//! A reservation in few bytes, for an attempt that stays open for hours: a batch of 100,000 lines has as many of them. What many attempts
//! have in common (key, team, model, rule, …) is kept once; only what tells one from another is its own.

use super::Ledger;
use super::balance::Grant;
use super::record::Opening;
use super::reservation::{HeldRoom, Parts, Reservation};
use crate::money::PicoUsd;
use std::collections::VecDeque;
use std::sync::Arc;
use uuid::Uuid;

/// So many different openings are remembered to find what an attempt has in common with one before it.
const REMEMBERED: usize = 64;

/// What openings have in common, latest first.
#[derive(Debug, Default)]
pub struct CommonOpenings(VecDeque<Arc<Opening>>);

impl CommonOpenings {
    /// The one copy of this.
    fn shared(&mut self, common: Opening) -> Arc<Opening> {
        if let Some(place) = self.0.iter().position(|known| **known == common) {
            return Arc::clone(&self.0[place]);
        }
        let shared = Arc::new(common);
        self.0.push_front(Arc::clone(&shared));
        self.0.truncate(REMEMBERED);
        shared
    }
}

/// A reservation in few bytes. Dropped, it ends as the reservation that it stands for would.
#[derive(Debug)]
pub struct CompactReservation(Option<Box<Packed>>);

/// What tells it from the others.
#[derive(Debug)]
struct Packed {
    ledger: Arc<Ledger>,
    common: Arc<Opening>,
    grant: Grant,
    bound: PicoUsd,
    attempt: Option<Uuid>,
    at_ms: i64,
    counted_ms: i64,
    difficulty_milli: i64,
    bound_tokens: u64,
    /// The number at the end of its request's id, which is not kept in what is common.
    number: Option<u32>,
    dispatched: bool,
}

/// An id that ends with a dash and a number, apart.
fn apart(id: &str) -> Option<(&str, u32)> {
    let (before, number) = id.rsplit_once('-')?;
    let read: u32 = number.parse().ok()?;
    // Only what is written as it will be written again.
    (read.to_string() == number).then_some((before, read))
}

impl CompactReservation {
    /// # Panics
    /// Never: it is taken out only where it ends.
    fn packed(&self) -> &Packed {
        self.0.as_deref().expect("it is there until its end")
    }

    fn of(parts: Parts, known: &mut CommonOpenings) -> CompactReservation {
        let Parts {
            ledger,
            opening,
            mut grant,
            dispatched,
        } = parts;
        let mut common = Arc::unwrap_or_clone(opening);
        let attempt = Uuid::parse_str(&common.attempt).ok();
        let attempt = attempt.filter(|id| id.to_string() == common.attempt);
        if attempt.is_some() {
            common.attempt.clear();
        }
        let number = apart(&common.request).map(|(before, number)| (before.len(), number));
        if let Some((before, _)) = number {
            common.request.truncate(before);
        }
        let take = |place: &mut i64| std::mem::take(place);
        let (at_ms, counted_ms) = (take(&mut common.at_ms), take(&mut common.counted_ms));
        let difficulty_milli = take(&mut common.difficulty_milli);
        let bound_tokens = std::mem::take(&mut common.bound_tokens);
        let bound = std::mem::replace(&mut common.bound, PicoUsd::ZERO);
        grant.shrink();
        CompactReservation(Some(Box::new(Packed {
            ledger,
            common: known.shared(common),
            grant,
            bound,
            attempt,
            at_ms,
            counted_ms,
            difficulty_milli,
            bound_tokens,
            number: number.map(|(_, number)| number),
            dispatched,
        })))
    }

    /// The answer tokens that it covers.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.packed().grant.tokens
    }

    /// The attempt's id.
    #[must_use]
    pub fn attempt(&self) -> String {
        let packed = self.packed();
        let own = packed.attempt.map(|id| id.to_string());
        own.unwrap_or_else(|| packed.common.attempt.clone())
    }

    /// The attempt was made, or may have been: it stands in the books.
    #[must_use]
    pub fn is_dispatched(&self) -> bool {
        self.packed().dispatched
    }

    /// The reservation of an attempt that was made.
    ///
    /// # Panics
    /// Never: it is taken out only where it ends.
    #[must_use]
    pub fn reservation(mut self) -> Reservation {
        self.whole().expect("it is there until its end")
    }

    /// The room that is kept for an attempt which was not made yet.
    #[must_use]
    pub fn held(self) -> HeldRoom {
        HeldRoom::new(self.reservation())
    }

    fn whole(&mut self) -> Option<Reservation> {
        let packed = *self.0.take()?;
        let mut opening = Arc::unwrap_or_clone(packed.common);
        if let Some(attempt) = packed.attempt {
            opening.attempt = attempt.to_string();
        }
        if let Some(number) = packed.number {
            opening.request.push_str(&format!("-{number}"));
        }
        opening.at_ms = packed.at_ms;
        opening.counted_ms = packed.counted_ms;
        opening.difficulty_milli = packed.difficulty_milli;
        opening.bound = packed.bound;
        opening.bound_tokens = packed.bound_tokens;
        Some(Reservation::from_parts(Parts {
            ledger: packed.ledger,
            opening: Arc::new(opening),
            grant: packed.grant,
            dispatched: packed.dispatched,
        }))
    }
}

impl Drop for CompactReservation {
    fn drop(&mut self) {
        if let Some(reservation) = self.whole() {
            match reservation.is_dispatched() {
                true => drop(reservation),
                false => drop(HeldRoom::new(reservation)),
            }
        }
    }
}

impl Reservation {
    /// The same in few bytes, for an attempt that stays open for long.
    #[must_use]
    pub fn compact(self, known: &mut CommonOpenings) -> CompactReservation {
        CompactReservation::of(self.into_parts(), known)
    }
}

impl HeldRoom {
    /// The same in few bytes, for an attempt that will not be made soon.
    ///
    /// # Panics
    /// Never: the reservation is taken out only where the room ends.
    #[must_use]
    pub fn compact(self, known: &mut CommonOpenings) -> CompactReservation {
        let reservation = self.into_reservation();
        reservation
            .expect("the room is there until it ends")
            .compact(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::balance::Requirement;
    use crate::ledger::{Ledger, Settings};
    use std::time::Duration;

    #[tokio::test]
    async fn a_reservation_in_few_bytes_is_the_same_when_it_is_whole_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let ledger = Ledger::open(Settings::embedded(dir.path())).expect("a ledger");
        let mut known = CommonOpenings::default();
        let mut kept = Vec::new();
        for (request, attempt) in [
            ("019a-0", Uuid::now_v7().to_string()),
            ("019a-17", Uuid::now_v7().to_string()),
            ("019a-007", "no uuid".to_owned()),
        ] {
            let opening = Opening {
                request: request.into(),
                attempt,
                at_ms: 1_700_000_000_123,
                model: "m".into(),
                tags: vec![("a".into(), "b".into())],
                difficulty_milli: 312,
                ..Opening::default()
            };
            let ask = Requirement {
                fixed: PicoUsd(77),
                ..Requirement::default()
            };
            let held = ledger.hold(ask, opening, Duration::ZERO).await;
            let reservation = held.expect("room").open().await.expect("opened");
            let before = reservation.opening().clone();
            let few = reservation.compact(&mut known);
            assert!(few.is_dispatched());
            kept.push((before, few));
        }
        assert_eq!(known.0.len(), 2, "two of the three have all else in common");
        for (before, few) in kept {
            let again = few.reservation();
            assert_eq!(*again.opening(), before);
            assert_eq!(again.amount(), PicoUsd(77));
            again.void(crate::ledger::record::Outcome::NotSent);
        }
    }
}
