//! A refusal in words: the cap, when its window ends, what is left. Never another tenant's figures.

use super::balance::{Full, Reason};
use super::cap::{Dim, Measure, Pick, Scope};
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
    /// The refusal as the caller reads it; figures only of a cap that is the caller's own.
    #[must_use]
    pub fn error(&self) -> Error {
        match self {
            Refused::Store(why) => Error::new(
                Kind::Overloaded,
                "flyball's ledger cannot write, so no request is admitted; try again soon",
            )
            .retry(Retry::After(Duration::from_secs(5)))
            .detail(format!("the ledger cannot write: {why}")),
            Refused::Full(full) => refusal(full),
        }
    }
}

fn refusal(full: &Full) -> Error {
    let (counter, measure) = (&full.counter, full.counter.measure);
    let reset = match full.ends_at {
        Some(at) => format!(
            "resets at {}",
            jiff::Timestamp::from_second(at).unwrap_or_default()
        ),
        None => "does not reset".to_owned(),
    };
    let retry = if full.only_reserved() {
        Retry::After(Duration::from_secs(2))
    } else {
        Retry::Never
    };
    let what = match measure {
        Measure::Usd => "spend",
        Measure::Tokens => "token",
        Measure::Requests => "request",
    };
    let cap = format!(
        "{} {what} cap of {}",
        counter.window.name(),
        whose(&counter.scope)
    );
    let show = |amount| measure.show(amount);
    let own = matches!(counter.scope.pick(Dim::Key), Pick::Only(_));
    let public = match (full.reason, own) {
        (Reason::Sessions, _) => format!(
            "The {cap} counts each session, and this key has as many of them as it may have in one window; go on in one of them. It {reset}."
        ),
        (Reason::Room, true) => format!(
            "The {cap} ({}) has no room for this request, which needs up to {}: {} is left; it {reset}.",
            show(full.limit),
            show(full.needed),
            show(full.left())
        ),
        (Reason::Room, false) => {
            format!("The {cap} has no room for this request; it {reset}.")
        }
    };
    let detail = format!(
        "cap {counter}: limit {}, posted {}, reserved {}, needed {}",
        show(full.limit),
        show(full.posted),
        show(full.reserved),
        show(full.needed)
    );
    Error::new(Kind::CapReached, public)
        .code("flyball_cap")
        .retry(retry)
        .detail(detail)
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
    for dim in [Dim::Session, Dim::Provider, Dim::Model, Dim::Tier] {
        match scope.pick(dim) {
            Pick::Only(_) if dim == Dim::Session => words.push_str(" on this session"),
            Pick::Only(value) => words.push_str(&format!(" on {} \"{value}\"", dim.name())),
            _ => {}
        }
    }
    for (tag, value) in scope.tags() {
        words.push_str(&format!(" on tag {tag}={value}"));
    }
    words
}
