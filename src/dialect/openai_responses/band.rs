//! A change of effort within `input`: an item of the type `configuration_update`
//! (developers.openai.com/api/docs/guides/reasoning, Change reasoning mid-conversation, read in November 2026).
//!
//! What the page says: the item is `{"type": "configuration_update", "reasoning": {"effort": "high"}}` and stands before the next
//! message of the user; the effort of the whole request stays, and is what the response reports. Items are sent again in their order. Two
//! side by side are refused. It does not go together with automatic compaction or truncation, with pro mode or with several agents.

use crate::arm::Effort;
use crate::dialect::band::{Band, Silent};
use crate::effort::inner;
use crate::json::{self, Object};
use std::borrow::Cow;

/// OpenAI's way.
pub(super) struct Items;

const UPDATE: &str = "configuration_update";

/// Fields that keep a part of the conversation elsewhere, where nobody can count its items, or that do not go together with a change.
/// `multi_agent` is the beta's; public servers were seen to take automatic compaction and truncation all the same, but the page warns.
const IN_THE_WAY: &[&str] = &[
    "previous_response_id",
    "conversation",
    "prompt",
    "context_management",
    "multi_agent",
];

impl Band for Items {
    fn effort_at(&self) -> [&'static str; 2] {
        ["reasoning", "effort"]
    }

    /// The SDKs know the item with "none" too, but the page shows none of it, and Astra takes no such effort: not confirmed, so not
    /// said.
    fn entry(&self, effort: Effort) -> Option<String> {
        (effort != Effort::None)
            .then(|| format!("{{\"type\":\"{UPDATE}\",\"reasoning\":{{\"effort\":\"{effort}\"}}}}"))
    }

    fn refuses(&self, fields: &Object<'_>) -> bool {
        let truncated = fields
            .some("truncation")
            .is_some_and(|raw| raw != "\"disabled\"");
        let mode = inner(fields, "reasoning").and_then(|r| json::text(r.some("mode")?));
        let pro = mode.is_some_and(|mode| mode != "standard");
        truncated || pro || IN_THE_WAY.iter().any(|key| fields.some(key).is_some())
    }

    /// Before the message that is to be answered. In a loop of tools the user says nothing new, and it stands at the end: so does
    /// OpenAI's own agent (openai/codex, session/reasoning_effort.rs, at every step); the page has no word on it.
    fn place(&self, items: &[&str]) -> Option<usize> {
        for (i, item) in items.iter().enumerate().rev() {
            let item = Object::read_str(item).ok()?;
            let kind = match item.some("type") {
                Some(raw) => json::text(raw)?,
                None => Cow::Borrowed("message"),
            };
            match kind.as_ref() {
                UPDATE => {}
                "message" => match json::text(item.some("role")?)?.as_ref() {
                    "user" => return Some(i),
                    "developer" | "system" => {}
                    _ => return None,
                },
                result if result.ends_with("_output") => return Some(items.len()),
                _ => return None,
            }
        }
        None
    }

    fn silent<'e>(&self, item: &'e str) -> Option<Silent<'e>> {
        let as_it_is = Some(Silent::Says(Cow::Borrowed(item)));
        if !item.contains(UPDATE) {
            return as_it_is;
        }
        let fields = Object::read_str(item).ok()?;
        if fields.some("type").and_then(json::text) != Some(Cow::Borrowed(UPDATE)) {
            return as_it_is;
        }
        // It may change more than the effort (`text.format`: developers.openai.com/api/docs/guides/compaction).
        let alone = fields
            .iter()
            .all(|(key, _)| matches!(key, "type" | "id" | "reasoning"));
        alone.then_some(Silent::Gone)
    }
}
