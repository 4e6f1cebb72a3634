//! A refusal in words: the cap, when its window ends, what is left. Never another tenant's figures.

use super::balance::{Full, Reason};
use super::cap::{Counter, Dim, Measure, Pick, Scope};
use super::window::Window;
use crate::error::{Error, Kind, Retry};
use std::time::Duration;

/// Why a reservation was not made.
#[derive(Clone, Debug)]
pub enum Refused {
    /// A cap has no room.
    Full(Box<Full>),
    /// The ledger cannot write, so nothing is admitted.
    Store(String),
}

impl Refused {
    /// The refusal at this second, as the caller reads it; figures only of a cap that is the caller's own. `called` is what the operator
    /// calls the counter.
    #[must_use]
    pub fn error(&self, now: i64, called: &dyn Fn(&Counter) -> String) -> Error {
        match self {
            Refused::Store(why) => Error::new(
                Kind::Overloaded,
                "flyball's ledger cannot write, so no request is admitted; try again soon",
            )
            .retry(Retry::After(Duration::from_secs(5)))
            .detail(format!("the ledger cannot write: {why}")),
            Refused::Full(full) => refusal(full, now, called),
        }
    }
}

/// When asking again may help.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    /// As soon as others end.
    Soon,
    /// When the window ends.
    Later,
}

fn refusal(full: &Full, now: i64, called: &dyn Fn(&Counter) -> String) -> Error {
    let measure = full.counter.measure;
    // A request that is under way counts when it ends, too: it gives no room back.
    let soon = full.only_reserved() && measure != Measure::Requests;
    let room = if soon { Room::Soon } else { Room::Later };
    let rate = is_rate(&full.counter);
    let left = full.ends_at.map(|end| (end - now).max(1).unsigned_abs());
    let retry = match (room, left) {
        (Room::Soon, _) => Retry::After(Duration::from_secs(2)),
        (Room::Later, Some(left)) if rate => Retry::After(Duration::from_secs(left)),
        (Room::Later, _) => Retry::Never,
    };
    let kind = match rate {
        true => Kind::RateReached,
        false => Kind::CapReached,
    };
    let show = |amount| measure.show(amount);
    let detail = format!(
        "cap {}: limit {}, posted {}, reserved {}, needed {}",
        called(&full.counter),
        show(full.limit),
        show(full.posted),
        show(full.reserved),
        show(full.needed)
    );
    Error::new(kind, sentence(full, room))
        .code("flyball_cap")
        .retry(retry)
        .detail(detail)
}

/// A cap on how fast, and not on how much: it is full for a moment and has to be waited out.
fn is_rate(counter: &Counter) -> bool {
    counter.measure != Measure::Usd && matches!(counter.window, Window::Minute | Window::Hour)
}

fn sentence(full: &Full, room: Room) -> String {
    let (counter, measure) = (&full.counter, full.counter.measure);
    let what = match measure {
        Measure::Usd => "spend",
        Measure::Tokens => "token",
        Measure::Requests => "request",
    };
    let cap = format!(
        "The {} {what} cap of {}",
        counter.window.name(),
        whose(&counter.scope)
    );
    let reset = match full.ends_at {
        Some(at) => format!(
            "it resets at {}",
            jiff::Timestamp::from_second(at).unwrap_or_default()
        ),
        None => "it does not reset".to_owned(),
    };
    if full.reason == Reason::Sessions {
        return format!(
            "{cap} counts each session, and this key has as many of them as it may have in one window; go on in one of them; {reset}."
        );
    }
    let then = match room {
        Room::Soon => "room comes back as open requests end".to_owned(),
        Room::Later => reset,
    };
    if !matches!(counter.scope.pick(Dim::Key), Pick::Only(_)) {
        return format!("{cap} has no room for this request; {then}.");
    }
    let show = |amount| measure.show(amount);
    // That a request is one request needs no saying.
    let needs = match measure {
        Measure::Requests => String::new(),
        _ => format!(", which needs up to {}", show(full.needed)),
    };
    format!(
        "{cap} ({}) has no room for this request{needs}: {}; {then}.",
        show(full.limit),
        is_left(measure, full.left())
    )
}

/// `$0.02 is left`, `1 token is left`, `7 tokens are left`, `none is left`.
fn is_left(measure: Measure, amount: i128) -> String {
    match (measure, amount) {
        (Measure::Usd, 0) => "nothing is left".to_owned(),
        (_, 0) => "none is left".to_owned(),
        (Measure::Usd, _) | (_, 1) => format!("{} is left", measure.show(amount)),
        _ => format!("{} are left", measure.show(amount)),
    }
}

/// The cap's place in the tree, as the caller may read it: its own organisation, team and key are no secret to it.
fn whose(scope: &Scope) -> String {
    let mut words = match (
        scope.pick(Dim::Key),
        scope.pick(Dim::Team),
        scope.pick(Dim::Organisation),
    ) {
        (Pick::Only(_), ..) => "this key".to_owned(),
        (_, Pick::Only(team), _) => format!("team \"{team}\""),
        (_, _, Pick::Only(organisation)) => format!("organisation \"{organisation}\""),
        _ => "this flyball".to_owned(),
    };
    for dim in [
        Dim::Session,
        Dim::User,
        Dim::Provider,
        Dim::Model,
        Dim::Tier,
    ] {
        match scope.pick(dim) {
            Pick::Only(_) if dim == Dim::Session => words.push_str(" on this session"),
            Pick::Only(_) if dim == Dim::User => words.push_str(" on this end user"),
            Pick::Only(value) => words.push_str(&format!(" on {} \"{value}\"", dim.name())),
            _ => {}
        }
    }
    for (tag, value) in scope.tags() {
        words.push_str(&format!(" on tag {tag}={value}"));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::cap::Cap;

    /// A cap of key 7, full with so much posted and so much reserved.
    fn full(cap: &str, posted: i128, reserved: i128, needed: i128) -> Error {
        let cap = Cap::parse(cap).expect("a cap").for_key(7);
        let full = Full {
            counter: cap.counter.clone(),
            ends_at: (cap.counter.window != Window::Total).then_some(3_600),
            limit: cap.limit,
            posted,
            reserved,
            needed,
            at_cap: cap.at_cap,
            reason: Reason::Room,
            cap: None,
        };
        Refused::Full(Box::new(full)).error(3_570, &|_| "key=\"app\"".to_owned())
    }

    #[test]
    fn a_refusal_says_what_is_left_and_when_there_is_room_in_english() {
        const CENT: i128 = 10_000_000_000;
        for (cap, [posted, reserved, needed], status, retry, told) in [
            (
                "1usd/day",
                [100 * CENT, 0, CENT],
                402,
                None,
                "The day spend cap of this key ($1.00) has no room for this request, which needs up to $0.01: nothing is left; it resets at 1970-01-01T01:00:00Z.",
            ),
            (
                "1usd/total",
                [98 * CENT, 0, 3 * CENT],
                402,
                None,
                "which needs up to $0.03: $0.02 is left; it does not reset.",
            ),
            (
                "1usd/day",
                [10 * CENT, 89 * CENT, 3 * CENT],
                402,
                Some(2),
                "which needs up to $0.03: $0.01 is left; room comes back as open requests end.",
            ),
            (
                "1usd/minute",
                [100 * CENT, 0, CENT],
                402,
                None,
                "nothing is left; it resets at",
            ),
            (
                "60requests/minute",
                [60, 0, 1],
                429,
                Some(30),
                "The minute request cap of this key (60 requests) has no room for this request: none is left; it resets at 1970-01-01T01:00:00Z.",
            ),
            (
                "1requests/hour",
                [0, 1, 1],
                429,
                Some(30),
                "The hour request cap of this key (1 request) has no room for this request: none is left; it resets at",
            ),
            (
                "5requests/day",
                [5, 0, 1],
                402,
                None,
                "none is left; it resets at",
            ),
            (
                "100tokens/hour",
                [99, 0, 20],
                429,
                Some(30),
                "which needs up to 20 tokens: 1 token is left; it resets at",
            ),
            (
                "100tokens/hour",
                [10, 83, 20],
                429,
                Some(2),
                "which needs up to 20 tokens: 7 tokens are left; room comes back as open requests end.",
            ),
            (
                "100tokens/month",
                [100, 0, 1],
                402,
                None,
                "up to 1 token: none is left; it resets at",
            ),
        ] {
            let error = full(cap, posted, reserved, needed);
            assert!(error.public.contains(told), "{cap}: {}", error.public);
            let wait = match error.retry {
                Retry::After(wait) => Some(wait.as_secs()),
                _ => None,
            };
            assert_eq!((error.status(), wait), (status, retry), "{cap}");
            assert!(
                error.detail.starts_with("cap key=\"app\": limit"),
                "{}",
                error.detail
            );
        }
    }
}
