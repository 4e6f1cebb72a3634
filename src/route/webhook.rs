//! Who is told that a request has come to its end which was to be answered later. The addresses are the operator's, and never a client's.

use secrecy::{SecretSlice, SecretString};

/// Who is told of requests that were to be answered later.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Of whose requests.
    pub whose: HookOf,
    /// The address. It may hold a secret.
    pub url: SecretString,
    /// What posts are signed with (<https://www.standardwebhooks.com>): the bytes themselves.
    pub secret: SecretSlice<u8>,
}

/// Of whose requests a webhook is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookOf {
    /// Those of the key of this name.
    Key(String),
    /// Those of this team's keys.
    Team(String),
    /// Those of everybody of whom no other webhook is told.
    Everybody,
}

impl Webhook {
    /// The webhook that is told of the requests of this key of this team: the one of the key before the one of its team before that of everybody.
    #[must_use]
    pub fn of<'w>(all: &'w [Webhook], key: &str, team: &str) -> Option<&'w Webhook> {
        let fits = |whose: &HookOf| match whose {
            HookOf::Key(name) if name == key => Some(0),
            HookOf::Team(name) if name == team && !team.is_empty() => Some(1),
            HookOf::Everybody => Some(2),
            HookOf::Key(_) | HookOf::Team(_) => None,
        };
        let fitting = all
            .iter()
            .filter_map(|hook| Some((fits(&hook.whose)?, hook)));
        fitting.min_by_key(|(rank, _)| *rank).map(|(_, hook)| hook)
    }
}
