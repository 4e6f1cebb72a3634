//! Where the books are kept: what a store must do, and the rows it keeps.
//!
//! A new store is one file beside `sqlite` that passes the same tests.

pub mod sqlite;

use super::balance::Place;
use super::window::Window;
use crate::chat::Usage;
use crate::money::PicoUsd;

/// Why a request was sent where it was sent; kept with each attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The request id; the same on all attempts of one exchange.
    pub request: String,
    /// The attempt's own id.
    pub attempt: String,
    /// When it was admitted, milliseconds since 1970.
    pub at_ms: i64,
    /// The virtual key's row, or none in open mode.
    pub key: Option<i64>,
    /// The provider's name.
    pub provider: String,
    /// The model asked of it.
    pub model: String,
    /// The effort asked of it.
    pub effort: String,
    /// The model's tier.
    pub tier: String,
    /// The task that the prompt was graded as.
    pub task: String,
    /// The rule that decided.
    pub rule: String,
    /// The difficulty in thousandths.
    pub difficulty_milli: i64,
    /// The dialect spoken.
    pub dialect: String,
    /// The model is simulated: no money was spent.
    pub simulated: bool,
    /// The upper bound of its cost.
    pub bound: PicoUsd,
    /// The price catalogue that prices it.
    pub catalogue: String,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// The attempt's id.
    pub attempt: String,
    /// What it cost.
    pub cost: PicoUsd,
    /// What the baseline would have cost.
    pub baseline: PicoUsd,
    /// What it used.
    pub usage: Usage,
    /// How the cost is known: `reported`, `counted`, `bound`; `void` where no work was done.
    pub basis: &'static str,
    /// What happened: `ok`, `client_gone`, `stream_cut`, ...
    pub outcome: &'static str,
    /// The part of `cost` above what was counted, where the outcome is unknown.
    pub excess: PicoUsd,
}

/// One row of the ledger, open or closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Why and where.
    pub facts: Facts,
    /// The key's name, `local` in open mode.
    pub key_name: String,
    /// How it ended; `None` while it is open.
    pub closing: Option<Closing>,
}

/// A virtual key as the ledger keeps it. The secret itself is nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its row.
    pub id: i64,
    /// Its name; unique.
    pub name: String,
    /// SHA-256 of the secret.
    pub hash: [u8; 32],
    /// When it was made, seconds since 1970.
    pub created: i64,
    /// When it stops working, seconds since 1970.
    pub expires: Option<i64>,
    /// It was revoked.
    pub revoked: bool,
    /// Its traffic stays on local models.
    pub private: bool,
    /// Caps by window.
    pub caps: Vec<(Window, PicoUsd)>,
    /// Models it may use, with `*`; empty means all.
    pub models: Vec<String>,
    /// Tags fixed on it.
    pub tags: Vec<(String, String)>,
}

/// Money spent in one window, as the store sums it.
pub type Spent = (Place, PicoUsd);
