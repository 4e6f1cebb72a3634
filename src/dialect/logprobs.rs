//! How likely tokens were, in the shape that OpenAI's two APIs and Ollama's share.

use super::Event;
use super::lenient::{Content, Maybe, Text};
use crate::chat::answer::Token;
use serde::Deserialize;
use serde_json::{Number, Value, json};

/// One token.
#[derive(Deserialize)]
pub(super) struct LikelyToken<'a> {
    #[serde(default, borrow)]
    token: Text<'a>,
    #[serde(default)]
    logprob: Option<Number>,
    #[serde(default)]
    bytes: Option<Vec<u8>>,
    #[serde(default, borrow)]
    top_logprobs: Content<'a, Maybe<LikelyToken<'a>>>,
}

/// A list of them.
pub(super) type LikelyTokens<'a> = Content<'a, Maybe<LikelyToken<'a>>>;

/// What a list tells; what has no probability is no token.
fn tokens(list: &LikelyTokens<'_>) -> Vec<Token> {
    let read = |wire: &LikelyToken<'_>| {
        Some(Token {
            text: wire.token.text()?.to_owned(),
            bytes: wire.bytes.clone(),
            logprob: wire.logprob.clone()?,
            top: tokens(&wire.top_logprobs),
        })
    };
    let wires = list.list().iter().filter_map(|wire| wire.0.as_ref());
    wires.filter_map(read).collect()
}

/// Tells what a list tells.
pub(super) fn tell(list: &LikelyTokens<'_>, on: &mut dyn FnMut(Event)) {
    let tokens = tokens(list);
    if !tokens.is_empty() {
        on(Event::Logprobs(tokens));
    }
}

/// The same list for a client. A token whose bytes nobody tells is taken to be its text.
pub(super) fn listed(tokens: &[Token]) -> Value {
    let one = |token: &Token| {
        let bytes = match &token.bytes {
            Some(bytes) => bytes.as_slice(),
            None => token.text.as_bytes(),
        };
        json!({"token": token.text, "logprob": token.logprob, "bytes": bytes})
    };
    let list = tokens.iter().map(|token| {
        let mut made = one(token);
        made["top_logprobs"] = token.top.iter().map(one).collect();
        made
    });
    list.collect()
}
