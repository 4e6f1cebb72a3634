//! Whether flyball learns from outcomes.

/// What the operator says of learning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learning {
    /// At which minute after midnight it learns by itself, if it does.
    pub nightly_at: Option<u32>,
    /// The weak and the strong arm, `model@effort`; those whose answers were compared most often where none are named.
    pub arms: Option<(String, String)>,
    /// What the next turn says of an answer is heard.
    pub implicit: bool,
    /// The operator's own fit is in force, and wins.
    pub own_fit: bool,
}
