//! Completions from before there were chats: a call of OpenAI's, which its servers have beside their chats.

use super::openai_chat::OpenAiChat;
use super::{Dialect, unescaped};

/// The dialect whose providers have it.
#[must_use]
pub fn dialect() -> &'static dyn Dialect {
    &OpenAiChat
}

/// The model that the path names, if it is of such a call: none where the body does.
#[must_use]
pub fn at(path: &str) -> Option<Option<String>> {
    if matches!(path, "/v1/completions" | "/openai/v1/completions") {
        return Some(None);
    }
    let rest = path.strip_prefix("/openai/deployments/")?;
    let model = rest.strip_suffix("/completions")?;
    (!model.contains('/')).then(|| Some(unescaped(model).into_owned()))
}

/// Where a provider has it whose chats are at this path.
#[must_use]
pub fn beside(chats: &str) -> Option<String> {
    Some(format!(
        "{}/completions",
        chats.strip_suffix("/chat/completions")?
    ))
}
