//! What each HTTP status of a provider means: whether the attempt is charged, and whether another arm may be tried.

use http::StatusCode;

/// Who pays for an attempt that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charge {
    /// Nobody: no work was done.
    Nothing,
    /// Nobody knows what the provider did, so the bound is charged.
    Bound,
}

/// What happens after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The answer goes to the client: what one provider finds wrong is wrong for the next one too.
    End,
    /// Another arm is tried, if there is one.
    OtherArm,
}

/// What a status means that is no success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) charge: Charge,
    pub(super) next: Next,
    /// It is no answer: a redirect, which the client must not follow with its prompt and key, most likely from an address that is
    /// not quite the provider's; or half of an exchange of another protocol.
    pub(super) no_answer: bool,
}

/// The table. 4xx that are about the request itself or about the account mean that no work was done (reliability: A3); after any
/// other error the outcome is unknown.
pub(super) fn meaning(status: StatusCode) -> Meaning {
    let (charge, next, no_answer) = match status.as_u16() {
        100..=199 => (Charge::Nothing, Next::End, true),
        304 => (Charge::Bound, Next::OtherArm, false),
        300..=399 => (Charge::Nothing, Next::OtherArm, true),
        400 | 413 | 415 | 422 => (Charge::Nothing, Next::End, false),
        401 | 403 | 404 | 405 | 429 => (Charge::Nothing, Next::OtherArm, false),
        _ => (Charge::Bound, Next::OtherArm, false),
    };
    Meaning {
        charge,
        next,
        no_answer,
    }
}
