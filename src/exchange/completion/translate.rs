//! What an arm is told: the client's own bytes where its provider speaks the client's dialect, else the same conversation in a dialect
//! that it does speak. Each dialect is written at most once for an arm, and only for an arm that is to be asked.

use super::super::bound;
use super::super::work::Wording;
use super::Completion;
use crate::arm::Effort;
use crate::chat::conversation::Conversation;
use crate::dialect::{self, Addressee, Dialect, Request, Written, bend};
use crate::effort;
use crate::error::Error;
use crate::fleet::Arm;
use crate::json::Object;
use crate::pattern::like;
use crate::provider::Provider;
use crate::takes::Takes;
use bytes::Bytes;
use std::borrow::Cow;
use std::sync::{Mutex, OnceLock, PoisonError};

/// One request for models that speak other dialects: the whole conversation is made once, and only where it is needed.
pub(super) struct Translator<'a> {
    dialect: &'static dyn Dialect,
    /// What may be let go, as the operator allows it.
    may_drop: &'a [String],
    conversation: OnceLock<Result<Conversation, Error>>,
    /// What was written for which arm so far (`model@effort`).
    written: Mutex<Vec<(String, Wording)>>,
}

impl<'a> Translator<'a> {
    pub(super) fn new(dialect: &'static dyn Dialect, may_drop: &'a [String]) -> Translator<'a> {
        Translator {
            dialect,
            may_drop,
            conversation: OnceLock::new(),
            written: Mutex::default(),
        }
    }

    fn conversed(&self, asked: &Completion<'_>) -> &Result<Conversation, Error> {
        let conversation = &self.conversation;
        conversation.get_or_init(|| self.dialect.converse(&asked.request))
    }

    /// The request in no vendor's words, if it can be said so.
    pub(super) fn conversation(&self, asked: &Completion<'_>) -> Option<&Conversation> {
        self.conversed(asked).as_ref().ok()
    }

    /// What this arm is told.
    ///
    /// # Errors
    /// A 400 that names what cannot be said in any dialect of its provider.
    pub(super) fn told(
        &self,
        asked: &Completion<'_>,
        arm: &Arm,
        untouched: bool,
    ) -> Result<Wording, Error> {
        self.told_in(
            tongue(self.dialect, &asked.request, arm),
            asked,
            arm,
            untouched,
        )
    }

    /// What this arm is told in a dialect in which it can be asked how likely its tokens were, if its provider speaks one.
    ///
    /// # Errors
    /// As of [`Translator::told`].
    pub(super) fn told_to_show(&self, asked: &Completion<'_>, arm: &Arm) -> Result<Wording, Error> {
        let usual = tongue(self.dialect, &asked.request, arm);
        let shows = |dialect: &&'static dyn Dialect| {
            dialect.can_ask_logprobs() && arm.model.provider.speaks(dialect.name())
        };
        match usual.0.can_ask_logprobs() {
            true => self.told_in(usual, asked, arm, false),
            false => match dialect::ALL.iter().copied().find(shows) {
                Some(other) => self.told_in((other, other), asked, arm, false),
                None => self.told_in(usual, asked, arm, false),
            },
        }
    }

    /// What this arm is told in a dialect that its provider speaks.
    ///
    /// # Errors
    /// As of [`Translator::told`].
    pub(super) fn told_as(
        &self,
        to: &'static dyn Dialect,
        asked: &Completion<'_>,
        arm: &Arm,
        untouched: bool,
    ) -> Result<Wording, Error> {
        self.told_in((to, to), asked, arm, untouched)
    }

    fn told_in(
        &self,
        (to, plain): (&'static dyn Dialect, &'static dyn Dialect),
        asked: &Completion<'_>,
        arm: &Arm,
        untouched: bool,
    ) -> Result<Wording, Error> {
        let same = to.name() == self.dialect.name();
        if same && untouched {
            return Ok(Wording::own(self.dialect, asked.body.clone()));
        }
        let name = format!("{arm} {}", to.name());
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, told)) = written.iter().find(|(known, _)| *known == name) {
            return Ok(told.clone());
        }
        let told = match same {
            true => self.own(asked, arm)?,
            false => match self.say(asked, to, arm) {
                Ok(told) => told,
                // The dialect that it would be told without the demand will do, without an effort: better than no answer.
                Err(_) if plain.name() == self.dialect.name() => match untouched {
                    true => Wording::own(self.dialect, asked.body.clone()),
                    false => self.own(asked, arm)?,
                },
                Err(_) if plain.name() != to.name() => self.say(asked, plain, arm)?,
                Err(error) => return Err(error),
            },
        };
        written.push((name, told.clone()));
        Ok(told)
    }

    /// The client's own bytes, but for what this model, which the client did not name, does not take of them.
    fn own(&self, asked: &Completion<'_>, arm: &Arm) -> Result<Wording, Error> {
        let told = Wording::own(self.dialect, asked.body.clone());
        let price = arm.model.price.as_ref();
        let capped = asked.admission.capped(arm);
        let mut takes = Takes::of(arm.model.provider.kind.name, &arm.model.name);
        takes.no_search = capped.is_ok_and(|capped| bound::must_be_bounded(capped, price));
        let Some(bent) = bend::bent(self.dialect, &asked.request.fields, &takes)? else {
            return Ok(told);
        };
        Ok(Wording {
            body: Bytes::from(bent.body),
            bent: true,
            lost: self.let_go(bent.lost)?,
            ..told
        })
    }

    /// What may be let go, as the client calls it.
    fn let_go(&self, mut lost: Vec<String>) -> Result<Vec<String>, Error> {
        for field in &mut lost {
            *field = bend::called(self.dialect, field);
        }
        lost.sort();
        lost.dedup();
        let allowed = |field: &str| self.may_drop.iter().any(|p| like(p, field));
        match lost.iter().find(|field| !allowed(field)) {
            None => Ok(lost),
            Some(field) => Err(not_droppable(field)),
        }
    }

    /// The request in another dialect, if nothing is lost that may not be.
    fn say(
        &self,
        asked: &Completion<'_>,
        to: &'static dyn Dialect,
        arm: &Arm,
    ) -> Result<Wording, Error> {
        let conversation = self.conversed(asked).as_ref().map_err(Clone::clone)?;
        let model = &arm.model;
        let allowance = effort::reasoning_allowance(arm.effort_or(asked.request.effort));
        let most = model
            .answer_tokens_max
            .or(model.price.and_then(|p| p.output_tokens_max));
        let default = asked
            .admission
            .policy
            .answer_tokens_max
            .saturating_add(allowance);
        let addressee = Addressee {
            model: &model.name,
            limit: most.map_or(default, |most| most.min(default)),
            thinks: model.accepts.may_think(),
        };
        let takes = Takes::of(model.provider.kind.name, &model.name);
        let named = takes.tool_name.map(|form| bend::named(conversation, form));
        let (said, renamed) = named.unwrap_or((Cow::Borrowed(conversation), Vec::new()));
        let Written { mut body, mut lost } =
            dialect::translate(self.dialect, &said, to, &addressee)?;
        if let Ok(fields) = Object::read(body.as_bytes())
            && let Some(bent) = bend::bent(to, &fields, &takes)?
        {
            body = bent.body;
            lost.extend(bent.lost);
        }
        Ok(Wording {
            dialect: to,
            body: Bytes::from(body),
            translated: true,
            bent: false,
            renamed,
            lost: self.let_go(lost)?,
        })
    }
}

fn not_droppable(field: &str) -> Error {
    let sentence = format!(
        "\"{field}\" cannot be expressed in the dialect of the model that would answer, and may_drop does not let it go; leave it out, or ask for a model whose provider speaks your dialect."
    );
    Error::bad_field(field, sentence).code("flyball_untranslatable")
}

/// The dialect in which a provider tells most.
fn native(provider: &Provider) -> &'static dyn Dialect {
    let named = provider
        .kind
        .speaks
        .first()
        .and_then(|(name, _)| dialect::named(name));
    named.expect("a test checks that every kind speaks a known dialect")
}

/// The dialect in which an arm is told a request, and the one in which it would be told it if it did not demand the first for tools
/// together with thinking.
fn tongue(
    client: &'static dyn Dialect,
    request: &Request<'_>,
    arm: &Arm,
) -> (&'static dyn Dialect, &'static dyn Dialect) {
    let (provider, accepts) = (&arm.model.provider, &arm.model.accepts);
    let plain = match provider.speaks(client.name()) {
        true => client,
        false => native(provider),
    };
    // Where nobody names an effort the model has its own, which it refuses beside tools as well.
    let thinks = match arm.effort.or(request.effort) {
        Some(effort) => effort != Effort::None,
        None => accepts.on_by_default,
    };
    let demands = accepts.tools_need_none && request.prompt.tools > 0 && thinks;
    let other = plain.effort().tools_and_effort_at();
    let other = other.filter(|name| demands && provider.speaks(name));
    (other.and_then(dialect::named).unwrap_or(plain), plain)
}
