//! Which requests another arm is asked as well, off the path, to learn how good it is.

/// What the operator says of shadowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadowing {
    /// So many of a million requests that may be.
    pub share_ppm: u32,
    /// The arms, `model` or `model@effort`; each request is held against one of them.
    pub arms: Vec<String>,
    /// The arm that says which of two longer answers is better, where there is one.
    pub judge: Option<String>,
    /// What was asked, and both answers, are kept in words.
    pub keep_prompts: bool,
}

/// What became of a request that was chosen to be shadowed. A closed set: a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShadowEnd {
    /// Both answers were judged, and the outcome is in the books.
    Judged,
    /// They were not: they are too long to be compared, and no judge is named, or it has said nothing.
    Unjudged,
    /// The arm cannot be asked this, or not by this key.
    Unfit,
    /// There was no answer to hold it against.
    Unanswered,
    /// A cap has no room.
    NoRoom,
    /// The arm, or the judge, has failed.
    Failed,
    /// Too many waited already.
    Dropped,
}

impl ShadowEnd {
    /// All of them.
    pub const ALL: [ShadowEnd; 7] = [
        ShadowEnd::Judged,
        ShadowEnd::Unjudged,
        ShadowEnd::Unfit,
        ShadowEnd::Unanswered,
        ShadowEnd::NoRoom,
        ShadowEnd::Failed,
        ShadowEnd::Dropped,
    ];

    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ShadowEnd::Judged => "judged",
            ShadowEnd::Unjudged => "unjudged",
            ShadowEnd::Unfit => "unfit",
            ShadowEnd::Unanswered => "unanswered",
            ShadowEnd::NoRoom => "no_room",
            ShadowEnd::Failed => "failed",
            ShadowEnd::Dropped => "dropped",
        }
    }
}
