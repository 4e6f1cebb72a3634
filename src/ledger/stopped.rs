//! Sessions that the operator has stopped: requests that name one are refused until it is resumed. Pure.

use super::audit::Deed;
use serde_json::json;

/// More are not kept: the oldest are forgotten.
pub const STOPPED_MAX: i64 = 10_000;

/// A session that is stopped, or is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct StoppedSession {
    /// What callers name it.
    pub session: String,
    /// The row of the key whose session it is, 0 in open mode; `None` of every key.
    pub key: Option<i64>,
    /// Since when, seconds since 1970.
    pub since: i64,
}

impl StoppedSession {
    /// What the audit log says of it: who has stopped it, or resumed it, and when.
    #[must_use]
    pub fn deed(&self, who: &str, at_ms: i64, stops: bool) -> Deed {
        let what = if stops {
            "session stopped"
        } else {
            "session resumed"
        };
        Deed {
            at_ms,
            who: who.to_owned(),
            what: what.to_owned(),
            of: self.session.clone(),
            before: json!({"stopped": !stops, "key": self.key}),
            after: json!({"stopped": stops, "key": self.key}),
        }
    }

    /// The key as stores keep it: a row, or a number that no row has.
    pub(super) fn key_number(&self) -> i64 {
        self.key.unwrap_or(-1)
    }

    /// The key of this number.
    pub(super) fn key_of(number: i64) -> Option<i64> {
        (number >= 0).then_some(number)
    }
}
