//! A generation laid out in time: which bytes leave when, and which tokens were made by then. Pure.

use super::answer::{SimAnswer, thinking_time};
use super::ask::SimAsk;
use std::borrow::Cow;
use std::time::Duration;

/// Tokens of text in one stream event.
const PIECES: usize = 4;
/// Hidden reasoning is made in this many steps, so that one which is broken off was not made in full.
const STEPS: u32 = 16;

/// One moment of a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SimFrame {
    /// When, at speed 1, after the request.
    pub(super) at: Duration,
    /// Output tokens made since the frame before.
    pub(super) tokens: u64,
    /// What is sent; may be empty.
    pub(super) text: String,
}

impl SimFrame {
    /// A frame that sends `text`, made of no new tokens.
    pub(super) fn sends(at: Duration, text: String) -> SimFrame {
        SimFrame {
            at,
            tokens: 0,
            text,
        }
    }
}

/// Reasoning that nobody sees: frames without text from `start` on.
pub(super) fn hidden(ask: &SimAsk, answer: &SimAnswer, start: Duration) -> Vec<SimFrame> {
    share(answer.reasoning, thinking_time(ask, answer), start)
}

/// `tokens` made evenly over `time` from `start` on.
pub(super) fn share(tokens: u64, time: Duration, start: Duration) -> Vec<SimFrame> {
    let mut made = 0;
    let mut frames = Vec::new();
    for step in 1..=STEPS {
        let until = tokens.saturating_mul(u64::from(step)) / u64::from(STEPS);
        frames.push(SimFrame {
            at: start + time * step / STEPS,
            tokens: until - made,
            text: String::new(),
        });
        made = until;
    }
    frames
}

/// The visible text in events of a few tokens from `start` on, each worded by `event`.
pub(super) fn spoken(
    ask: &SimAsk,
    pieces: &[Cow<'static, str>],
    start: Duration,
    event: impl Fn(&str) -> String,
) -> Vec<SimFrame> {
    let mut made = 0;
    let mut frames = Vec::new();
    for chunk in pieces.chunks(PIECES) {
        let tokens = super::words::u64_len(chunk);
        made += tokens;
        frames.push(SimFrame {
            at: start + ask.model.time(made),
            tokens,
            text: event(&chunk.concat()),
        });
    }
    frames
}

/// A JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_tokens_add_up_and_end_on_time() {
        for tokens in [0, 1, 15, 16, 17, 12_345] {
            let frames = share(tokens, Duration::from_secs(1), Duration::from_secs(2));
            assert_eq!(frames.iter().map(|f| f.tokens).sum::<u64>(), tokens);
            assert_eq!(frames.last().map(|f| f.at), Some(Duration::from_secs(3)));
            assert!(frames.is_sorted_by_key(|f| f.at));
        }
    }
}
