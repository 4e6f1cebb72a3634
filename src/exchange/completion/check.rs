//! What is wanted of an answer that is looked at; and the question whether it is right, put to a model in the conversation that it is from.

use super::super::work::Wording;
use super::{Completion, Routed};
use crate::arm::Effort;
use crate::chat::conversation::{Choice, Format, Item, Message, Sampling, Tool};
use crate::chat::{Part, Role};
use crate::dialect::{Addressee, Place};
use crate::fleet::Arm;
use crate::probe::error_text;
use crate::probe::evidence::{Arguments, Offered, Wanted};
use crate::route::{Decision, Probe};
use bytes::Bytes;
use std::sync::{Arc, Mutex};

/// What is asked. The answer is one word, in one language.
const QUESTION: &str =
    "Is your last answer correct and complete? Reply in English with one word only: yes or no.";
/// Tokens of the reply: the word, and what some models put around it.
const REPLY_TOKENS: u64 = 8;
/// The rule in the books.
pub(super) const RULE: &str = "check";

impl Completion<'_> {
    /// The conversation with this answer in it and the question after it, in the client's own dialect.
    pub(super) fn checking(&self, arm: &Arm, answer: &str) -> Option<Bytes> {
        let dialect = self.admission.dialect;
        let mut said = dialect.converse(&self.request).ok()?;
        for (role, text) in [(Role::Assistant, answer), (Role::User, QUESTION)] {
            let items = vec![Item::Text(text.to_owned())];
            said.messages.push(Message { role, items });
        }
        said.tools.clear();
        (said.choice, said.format, said.choices) = (None, None, None);
        (said.logprobs, said.stream) = (None, false);
        said.stop.clear();
        said.sampling = Sampling::default();
        said.limit = Some(REPLY_TOKENS);
        let addressee = Addressee {
            model: &arm.model.name,
            limit: REPLY_TOKENS,
            thinks: false,
        };
        let written = dialect.write(&said, &addressee).ok()?;
        Some(Bytes::from(written.body))
    }

    /// Where such a request is asked: the model stands in the path where the dialect has it there.
    pub(in crate::exchange) fn checking_at(&self, arm: &Arm) -> Place<'static> {
        let in_path = !self.admission.dialect.model_in_body();
        Place {
            model: in_path.then(|| arm.model.name.clone().into()),
            ..Place::default()
        }
    }

    /// As it was decided before.
    pub(in crate::exchange) fn by(&self, decision: Decision) -> Routed<'_> {
        Routed {
            completion: self,
            decision,
            turn: None,
            stuck: false,
            said: Mutex::default(),
            private: self.admission.wishes.private,
        }
    }

    /// Goes to this arm, without thinking.
    pub(in crate::exchange) fn to(&self, arm: &Arm) -> Routed<'_> {
        let arm = Arm {
            model: Arc::clone(&arm.model),
            effort: Some(Effort::None),
        };
        Routed {
            completion: self,
            decision: Decision {
                attempts: vec![arm.clone()],
                further: Vec::new(),
                routed: true,
                rule: RULE.to_owned(),
                baseline: arm,
                untouched: false,
                considered: Vec::new(),
                unknown: None,
                probe: None,
            },
            turn: None,
            stuck: false,
            said: Mutex::default(),
            private: self.admission.wishes.private,
        }
    }
}

impl Completion<'_> {
    /// What is wanted of an answer, from a model that is told this. Where another field keeps the request from being said in no vendor's
    /// words, its schemas are not known.
    pub(super) fn wanted(&self, told: &Wording, logprobs: bool) -> Wanted {
        let prompt = &self.request.prompt;
        let mut wanted = Wanted {
            json: prompt.structured,
            logprobs,
            about_errors: error_text::may_be_about(self.last_asked()),
            request: self.body.clone(),
            ..Wanted::default()
        };
        if !prompt.schema && prompt.tools == 0 {
            return wanted;
        }
        let Some(said) = self.translator.conversation(self) else {
            return wanted;
        };
        wanted.call = matches!(said.choice, Some(Choice::Any | Choice::Named(_)));
        if let Some(Format::Schema { schema, .. }) = &said.format {
            wanted.schema = Some(schema.clone());
        }
        let renamed = self.admission.dialect.renamed(&self.request);
        let offered = |tool: &Tool| {
            let own = renamed.iter().find(|own| own.told == tool.name);
            let other = told.renamed.iter().find(|(_, name)| *name == tool.name);
            Offered {
                name: match (other, own) {
                    (Some((there, _)), _) => there.clone(),
                    (None, Some(own)) if !told.translated => own.name.clone(),
                    (None, _) => tool.name.clone(),
                },
                arguments: match own.is_some_and(|own| own.free) {
                    true => Arguments::Words,
                    false => Arguments::Schema(tool.schema.clone()),
                },
            }
        };
        wanted.tools = said.tools.iter().map(offered).collect();
        wanted
    }

    /// The texts of the user's last turn.
    fn last_asked(&self) -> impl Iterator<Item = &str> {
        let turns = &self.request.prompt.turns;
        let last = turns.iter().rev().find(|turn| turn.role == Role::User);
        let parts = last.into_iter().flat_map(|turn| &turn.parts);
        parts.filter_map(|part| match part {
            Part::Text(text) => Some(&**text),
            _ => None,
        })
    }
}

impl Routed<'_> {
    /// Whom to ask whether an answer of this probe is right: the verifier, where there is one that may be asked, else the arm itself.
    pub(super) fn verifier(&self, probe: &Probe) -> Arm {
        let admission = self.completion.admission;
        let policy = &admission.policy;
        let named = policy.probing.verifier.as_deref();
        let model = named.and_then(|name| policy.fleet.named(name));
        let may = |model: &&Arc<_>| {
            let model: &Arc<crate::fleet::Model> = model;
            admission.caller.may_use(&model.name)
                && (!self.private || (model.local && !model.simulated))
        };
        match model.filter(may) {
            Some(model) => Arm {
                model: Arc::clone(model),
                effort: Some(Effort::None),
            },
            None => probe.arm.clone(),
        }
    }
}
