//! From what a report is read: sums of whole days where they do, sums of hours at the edges, attempts where not even an hour is whole.
//! Pure.

use crate::ledger::rollup::Grain;
use crate::ledger::store::Kept;
use crate::ledger::window::{Window, Zone};
use std::ops::Range;

/// What is read of a piece of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Sums of hours or days.
    Sums(Grain),
    /// Attempts.
    Attempts,
}

/// A piece of time and what is read of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What is read of it.
    pub source: Source,
    /// From when to when, milliseconds since 1970.
    pub between: Range<i64>,
}

/// How a report cuts time.
#[derive(Clone, Debug)]
pub struct Cuts<'a> {
    /// All of it, milliseconds since 1970.
    pub between: Range<i64>,
    /// The finest window that it tells apart.
    pub window: Option<Window>,
    /// Where that begins.
    pub zone: &'a Zone,
    /// It asks for what only attempts know.
    pub by_attempt: bool,
}

impl Cuts<'_> {
    /// What is to be read, in order, each instant once. Before the time of which attempts are kept there are only days.
    #[must_use]
    pub fn plan(&self, kept: &Kept) -> Vec<Piece> {
        let between = self.within(kept);
        let mut pieces = Vec::new();
        let known = between.start.max(kept.from_ms).min(between.end);
        push(&mut pieces, Source::Sums(Grain::Day), between.start..known);
        if self.by_attempt {
            push(&mut pieces, Source::Attempts, known..between.end);
            return pieces;
        }
        let mut begins = known;
        while begins < between.end {
            let ends = self.ends(begins).min(between.end);
            cut(&mut pieces, begins..ends);
            begins = ends;
        }
        pieces
    }

    /// All of the time of which there may be something. Where nothing came later, the last day is as good as whole.
    fn within(&self, kept: &Kept) -> Range<i64> {
        let (first, last) = match (kept.first_ms, kept.last_ms) {
            (Some(first), last) => (first, last.unwrap_or(i64::MAX)),
            // Nothing has ended yet.
            (None, _) => return 0..0,
        };
        let from = self.between.start.max(first);
        let to = match self.between.end > last {
            true => Grain::Day.ceil(last.saturating_add(1)),
            false => self.between.end,
        };
        from..to.max(from)
    }

    /// When the window ends that an instant lies in.
    fn ends(&self, at_ms: i64) -> i64 {
        let Some(window) = self.window else {
            return i64::MAX;
        };
        let id = window.id(self.zone, at_ms.div_euclid(1_000));
        let ends = window.ends_at(self.zone, id);
        let ends_ms = ends.map_or(i64::MAX, |s| s.saturating_mul(1_000));
        ends_ms.max(at_ms.saturating_add(1))
    }
}

/// One window: days in the middle, hours around them, attempts at the edges.
fn cut(pieces: &mut Vec<Piece>, all: Range<i64>) {
    let hours = Grain::Hour.ceil(all.start)..Grain::Hour.floor(all.end);
    if hours.start >= hours.end {
        return push(pieces, Source::Attempts, all);
    }
    push(pieces, Source::Attempts, all.start..hours.start);
    let days = Grain::Day.ceil(hours.start)..Grain::Day.floor(hours.end);
    if days.start < days.end {
        push(pieces, Source::Sums(Grain::Hour), hours.start..days.start);
        push(pieces, Source::Sums(Grain::Day), days.start..days.end);
        push(pieces, Source::Sums(Grain::Hour), days.end..hours.end);
    } else {
        push(pieces, Source::Sums(Grain::Hour), hours.clone());
    }
    push(pieces, Source::Attempts, hours.end..all.end);
}

/// Adds a piece, or lengthens the last one.
fn push(pieces: &mut Vec<Piece>, source: Source, between: Range<i64>) {
    if between.start >= between.end {
        return;
    }
    match pieces.last_mut() {
        Some(last) if last.source == source && last.between.end == between.start => {
            last.between.end = between.end;
        }
        _ => pieces.push(Piece { source, between }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::rollup::{DAY_MS, HOUR_MS};

    fn kept(from_ms: i64) -> Kept {
        Kept {
            from_ms,
            first_ms: Some(0),
            last_ms: Some(1_000 * DAY_MS),
            ..Kept::default()
        }
    }

    fn plan(between: Range<i64>, window: Option<Window>, zone: &str, kept: &Kept) -> Vec<Piece> {
        let zone = Zone::named(zone).expect("a zone");
        let cuts = Cuts {
            between,
            window,
            zone: &zone,
            by_attempt: false,
        };
        cuts.plan(kept)
    }

    fn shape(pieces: &[Piece]) -> Vec<(Source, i64)> {
        let part = |p: &Piece| (p.source, p.between.end - p.between.start);
        pieces.iter().map(part).collect()
    }

    #[test]
    fn a_month_is_days_with_hours_and_attempts_at_its_edges() {
        use Source::{Attempts, Sums};
        let from = DAY_MS - HOUR_MS - 5;
        let pieces = plan(
            from..32 * DAY_MS + HOUR_MS + 7,
            None,
            "UTC",
            &kept(i64::MIN),
        );
        assert_eq!(
            shape(&pieces),
            [
                (Attempts, 5),
                (Sums(Grain::Hour), HOUR_MS),
                (Sums(Grain::Day), 31 * DAY_MS),
                (Sums(Grain::Hour), HOUR_MS),
                (Attempts, 7),
            ]
        );
    }

    #[test]
    fn days_of_a_zone_are_hours_and_where_hours_begin_elsewhere_attempts_too() {
        use Source::{Attempts, Sums};
        let whole = 10 * DAY_MS..12 * DAY_MS;
        let of = |zone| {
            shape(&plan(
                whole.clone(),
                Some(Window::Day),
                zone,
                &kept(i64::MIN),
            ))
        };
        assert_eq!(of("UTC"), [(Sums(Grain::Day), 2 * DAY_MS)]);
        assert_eq!(of("Europe/Berlin"), [(Sums(Grain::Hour), 2 * DAY_MS)]);
        // Two midnights at 18:30 UTC.
        let half = HOUR_MS / 2;
        assert_eq!(
            of("Asia/Kolkata"),
            [
                (Sums(Grain::Hour), 18 * HOUR_MS),
                (Attempts, half * 2),
                (Sums(Grain::Hour), 23 * HOUR_MS),
                (Attempts, half * 2),
                (Sums(Grain::Hour), 5 * HOUR_MS),
            ]
        );
    }

    #[test]
    fn what_was_deleted_is_read_from_days_and_what_never_came_not_at_all() {
        use Source::Sums;
        let pieces = plan(5..10 * DAY_MS, Some(Window::Hour), "UTC", &kept(9 * DAY_MS));
        assert_eq!(
            shape(&pieces),
            [
                (Sums(Grain::Day), 9 * DAY_MS - 5),
                (Sums(Grain::Hour), DAY_MS)
            ]
        );
        let last = Kept {
            last_ms: Some(3 * DAY_MS + 1),
            ..kept(i64::MIN)
        };
        let pieces = plan(i64::MIN..i64::MAX, None, "UTC", &last);
        assert_eq!(shape(&pieces), [(Sums(Grain::Day), 4 * DAY_MS)]);
        assert!(plan(0..DAY_MS, None, "UTC", &Kept::default()).is_empty());
    }
}
