//! A change of effort within `messages`: a message of the system without words
//! (platform.claude.com/docs/en/build-with-claude/effort-per-message, read in November 2026; a beta).
//!
//! What the page says: the message has `role` "system", an empty `content` and `output_config.effort`; the beta header must be sent; the
//! effort of the whole request stays. Right behind a turn of the user that says something new it holds for the answer to that turn;
//! anywhere else it holds from the next such turn on. A turn that holds nothing but results of tools says nothing new. It must stand
//! behind everything that was sent before, and stay there. Beside a message of the system that has words, both keep to the rules for
//! those: behind a turn of the user, and then nothing or a turn of the assistant.

use crate::arm::Effort;
use crate::dialect::band::{Band, Silent};
use crate::effort::{Pen, inner};
use crate::json::{self, Object};
use std::borrow::Cow;

/// Anthropic's way.
pub(super) struct Messages;

impl Band for Messages {
    fn effort_at(&self) -> [&'static str; 2] {
        ["output_config", "effort"]
    }

    fn beta(&self) -> Option<(&'static str, &'static str)> {
        Some((
            "anthropic-beta",
            "mid-conversation-output-config-2026-07-01",
        ))
    }

    /// Thinking is switched off by `thinking`, which is said of a whole request alone.
    fn entry(&self, effort: Effort) -> Option<String> {
        let known = !matches!(effort, Effort::None | Effort::Minimal);
        known.then(|| {
            format!("{{\"role\":\"system\",\"content\":[],\"output_config\":{{\"effort\":\"{effort}\"}}}}")
        })
    }

    /// With thinking off it is a 400, and Sonnet 5.5 takes it with thinking on alone. The page's own words on this were not found:
    /// copies of Anthropic's `claude-api` skill say it of Sonnet 5.5, a course of a third party says it of every model.
    fn refuses(&self, fields: &Object<'_>) -> bool {
        fields.some("thinking").is_some_and(|_| {
            let kind = inner(fields, "thinking").and_then(|t| json::text(t.some("type")?));
            kind.as_deref() != Some("adaptive")
        })
    }

    /// At the end, behind the turn that is to be answered. Results of tools alone are no such turn: a change behind them would hold
    /// only for later ones.
    fn place(&self, messages: &[&str]) -> Option<usize> {
        for message in messages.iter().rev() {
            let message = Object::read_str(message).ok()?;
            match json::text(message.some("role")?)?.as_ref() {
                "system" => {}
                "user" => return says_something_new(&message).then_some(messages.len()),
                _ => return None,
            }
        }
        None
    }

    /// Coding agents state an effort in messages of the system themselves, some of which have words too.
    fn silent<'e>(&self, message: &'e str) -> Option<Silent<'e>> {
        let as_it_is = Some(Silent::Says(Cow::Borrowed(message)));
        if !message.contains("\"output_config\"") {
            return as_it_is;
        }
        let fields = Object::read_str(message).ok()?;
        let of_system = fields.some("role").and_then(json::text) == Some(Cow::Borrowed("system"));
        let config = inner(&fields, "output_config");
        let effort = config.and_then(|config| config.get("effort"));
        if !of_system || effort.is_none() {
            return as_it_is;
        }
        if is_empty(fields.some("content")) {
            return Some(Silent::Gone);
        }
        let mut pen = Pen::new(&fields);
        pen.replace_inner("output_config", "effort");
        let words = fields.edited(&pen.edits)?;
        Some(Silent::Says(Cow::Owned(words)))
    }
}

fn is_empty(content: Option<&str>) -> bool {
    match content {
        None | Some("\"\"") => true,
        Some(raw) => json::entries(raw).is_some_and(|blocks| blocks.is_empty()),
    }
}

fn says_something_new(message: &Object<'_>) -> bool {
    let Some(content) = message.some("content") else {
        return false;
    };
    let Some(blocks) = json::entries(content) else {
        return content != "\"\"";
    };
    let is_result = |block: &str| {
        let kind = Object::read_str(block).ok();
        let kind = kind.and_then(|block| json::text(block.some("type")?));
        kind.as_deref() == Some("tool_result")
    };
    blocks.into_iter().any(|at| !is_result(&content[at]))
}
