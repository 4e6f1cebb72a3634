//! How a conversation stands when a request is decided: who has answered so far, whose prompt cache holds its beginning, what is likely
//! to follow, and what is known of the arms from use.

use crate::arm::Effort;
use crate::fleet::Arm;
use crate::price::Price;
use std::time::Duration;

/// How a conversation stands.
#[derive(Clone, Copy)]
pub struct ConversationStanding<'a> {
    /// The arm that has served this user's turn so far, with the rule that chose it.
    pub serving: Option<(&'a str, Effort, &'a str)>,
    /// The arm that served the user's turn before this one.
    pub before: Option<(&'a str, Effort)>,
    /// Tokens of the conversation's beginning that an arm's provider most likely still holds in its prompt cache.
    pub warm: &'a dyn Fn(&Arm) -> u64,
    /// The request asks its provider to keep what it has read, where that must be asked for.
    pub keeps: &'a dyn Fn() -> bool,
    /// How many more requests of this conversation to expect.
    pub ahead: u64,
    /// It does not get on: what was tried last has failed in the same way before.
    pub stuck: bool,
    /// What an arm has used so far for such a task.
    pub habit: &'a dyn Fn(&Arm) -> Option<Habit>,
    /// The lower rates at which an arm may be asked, where the answer may come late and its vendor has such rates.
    pub late: &'a dyn Fn(&Arm) -> Option<Price>,
}

impl ConversationStanding<'static> {
    /// A request that stands alone, of which nothing is known.
    #[must_use]
    pub fn alone() -> ConversationStanding<'static> {
        ConversationStanding {
            serving: None,
            before: None,
            warm: &|_| 0,
            keeps: &|| false,
            ahead: 0,
            stuck: false,
            habit: &|_| None,
            late: &|_| None,
        }
    }
}

/// What an arm is known to use for a task, against what is expected of any.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Habit {
    /// How much was seen of this arm's thinking about this task itself, 0 (nothing) to 1.
    pub weight: f64,
    /// Visible tokens, as a multiple of what is expected.
    pub answer: f64,
    /// Reasoning tokens, as a multiple of what is expected.
    pub reasoning: f64,
    /// The time to the first token, where it was seen.
    pub first_token: Option<Duration>,
}
