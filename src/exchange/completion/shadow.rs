//! What the shadow of a completion is: which requests may have one, what another arm is told, and what a judge is asked.

use super::super::work::Wording;
use super::{Completion, Routed, carried};
use crate::arm::Effort;
use crate::chat::answer::{Event, Finish};
use crate::chat::conversation::{Conversation, Item, Message};
use crate::chat::{Part, Role};
use crate::classify;
use crate::dialect::Addressee;
use crate::effort;
use crate::fleet::{Arm, Model};
use crate::json::Edit;
use crate::probe::evidence::Witness;
use crate::route::Decision;
use bytes::Bytes;
use std::sync::{Arc, Mutex};

/// The rule in the books.
pub(super) const RULE: &str = "shadow";
/// A longer request has no shadow: so much is held while its answer is waited for.
pub(in crate::exchange) const BODY_MAX: usize = 1 << 20;
/// Bytes of the conversation that a judge is shown, its end.
const SHOWN_MAX: usize = 16 * 1024;
/// Tokens of a judge's reply besides its thoughts: a letter, and what some models put around it.
const REPLY_TOKENS: u64 = 16;

impl Completion<'_> {
    /// Whether it may be asked of another arm too, off the path. What has tools is not: half of what its answer is worth shows only when the
    /// tools are called, which nobody does for a shadow. Nor is what has any effect besides an answer, what runs tools at its provider, or
    /// what is kept there and cannot be shown to another one.
    pub(in crate::exchange) fn may_have_shadow(&self) -> bool {
        let request = &self.request;
        let mut parts = request.prompt.turns.iter().flat_map(|turn| &turn.parts);
        let acts = request.prompt.tools > 0
            || parts.any(|part| matches!(part, Part::ToolCall | Part::ToolResult(_)));
        let elsewhere = !request.unbounded.is_empty() || request.media.iter().any(|m| m.stored);
        let effects = self.admission.dialect.has_effects(request);
        !acts && !elsewhere && !effects && request.choices <= 1 && self.body.len() <= BODY_MAX
    }

    /// Its body for another arm: what is only to be judged is not to be stored.
    pub(in crate::exchange) fn to_be_shadowed(&self) -> Bytes {
        let kept = self.admission.dialect.is_kept(&self.request);
        let edited = kept.then(|| {
            let fields = &self.request.fields;
            fields.edited(&[Edit::set(&["store"], "false")])
        });
        let edited = edited.flatten().map(Bytes::from);
        edited.unwrap_or_else(|| self.body.clone())
    }

    /// Whether a model can take it at all.
    pub(in crate::exchange) fn suits(&self, model: &Model) -> bool {
        let tokens = classify::tokens_estimate(&self.request.prompt);
        let fits = model.context_tokens.is_none_or(|most| tokens <= most);
        let lacks = self.asks().first_of(model.takes.lacks).is_some();
        let blind = model.senses.lacking(carried(&self.request)).is_some();
        fits && !lacks && !blind && !model.embeds
    }

    /// It says itself what form its answer is to have.
    pub(in crate::exchange) fn demands_form(&self) -> bool {
        self.request.prompt.structured
    }

    /// Whether an answer of these words is plainly none of those that it asks for: no JSON, or not by its schema, with the numbers and
    /// patterns in that.
    pub(in crate::exchange) fn breaks_form(&self, text: &str) -> bool {
        let told = Wording::own(self.admission.dialect, self.body.clone());
        let mut witness = Witness::new(self.wanted(&told, false));
        witness.saw(&Event::Text(text.to_owned()));
        witness.saw(&Event::Finish(Finish::Stop));
        witness.evidence(true).sign.is_fault()
    }

    /// The conversation as a judge reads it, no more of it than its end.
    pub(in crate::exchange) fn transcript(&self) -> String {
        let prompt = &self.request.prompt;
        let mut text: Vec<String> = Vec::new();
        let several = prompt.turns.len() > 1;
        for turn in &prompt.turns {
            let parts = turn.parts.iter().filter_map(|part| match part {
                Part::Text(text) => Some(text.as_ref()),
                _ => None,
            });
            let words = parts.collect::<Vec<_>>().join("\n");
            text.push(match (several, turn.role) {
                (false, _) => words,
                (true, Role::Assistant) => format!("Assistant: {words}"),
                (true, _) => format!("User: {words}"),
            });
        }
        let text = text.join("\n\n");
        text[text.ceil_char_boundary(text.len().saturating_sub(SHOWN_MAX))..].to_owned()
    }

    /// A question to a judge, in the client's own dialect.
    pub(in crate::exchange) fn judging(&self, arm: &Arm, question: String) -> Option<Bytes> {
        let effort = arm.effort_or(None);
        let limit = REPLY_TOKENS + effort::reasoning_allowance(effort);
        let said = Conversation {
            messages: vec![Message {
                role: Role::User,
                items: vec![Item::Text(question)],
            }],
            limit: Some(limit),
            ..Conversation::default()
        };
        let addressee = Addressee {
            model: &arm.model.name,
            limit,
            thinks: effort != Effort::None,
        };
        let written = self.admission.dialect.write(&said, &addressee).ok()?;
        Some(Bytes::from(written.body))
    }

    /// Goes to this arm, and its answer to nobody.
    pub(in crate::exchange) fn as_shadow(&self, arm: &Arm) -> Routed<'_> {
        Routed {
            completion: self,
            decision: Decision {
                attempts: vec![arm.clone()],
                further: Vec::new(),
                routed: true,
                rule: RULE.to_owned(),
                baseline: arm.clone(),
                untouched: false,
                considered: Vec::new(),
                unknown: None,
                probe: None,
            },
            turn: None,
            stuck: false,
            said: Mutex::default(),
            private: false,
        }
    }

    /// The arm that has served it, by what the books call it.
    pub(in crate::exchange) fn arm_of(&self, model: &str, effort: Effort) -> Option<Arm> {
        let policy = &self.admission.policy;
        let dialect = self.admission.dialect.name();
        let model = policy.fleet.resolve(model, dialect, &policy.catalogue);
        let model: Arc<Model> = model.ok()?;
        let effort = model.takes(effort).then_some(effort);
        Some(Arm { model, effort })
    }
}
