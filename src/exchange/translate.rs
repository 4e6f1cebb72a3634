//! What an arm is told: the client's own bytes where its provider speaks the client's dialect, else the
//! same conversation in a dialect that it does speak. Pure; the rest of the path edits either alike.

use super::Exchange;
use super::headers::Words;
use crate::arm::Effort;
use crate::chat::conversation::{Conversation, Item, Reasoning};
use crate::dialect::{self, Addressee, Answer, Dialect, Frame, Request, Written, unseal};
use crate::effort;
use crate::error::Error;
use crate::fleet::Arm;
use crate::json::Edit;
use crate::pattern::like;
use crate::provider::Provider;
use bytes::Bytes;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// One request for models that speak other dialects: the whole conversation is made once, and only where it is needed.
pub(super) struct Translator<'a> {
    dialect: &'static dyn Dialect,
    request: &'a Request<'a>,
    /// What may be let go, as the operator allows it.
    may_drop: &'a [String],
    conversation: OnceLock<Result<Conversation, Error>>,
    /// By the place of a dialect in the registry.
    sayable: Vec<OnceLock<Result<(), Error>>>,
}

impl<'a> Translator<'a> {
    pub(super) fn new(
        dialect: &'static dyn Dialect,
        request: &'a Request<'a>,
        may_drop: &'a [String],
    ) -> Translator<'a> {
        Translator {
            dialect,
            request,
            may_drop,
            conversation: OnceLock::new(),
            sayable: dialect::ALL.iter().map(|_| OnceLock::new()).collect(),
        }
    }

    fn conversation(&self) -> Result<&Conversation, Error> {
        self.conversation
            .get_or_init(|| self.dialect.converse(self.request))
            .as_ref()
            .map_err(Clone::clone)
    }

    /// The request in another dialect, if nothing is lost that may not be.
    fn said_in(&self, to: &dyn Dialect, addressee: &Addressee<'_>) -> Result<Written, Error> {
        let written = dialect::translate(self.dialect, self.conversation()?, to, addressee)?;
        let allowed = |field: &str| self.may_drop.iter().any(|p| like(p, field));
        match written.lost.iter().find(|field| !allowed(field)) {
            None => Ok(written),
            Some(field) => Err(not_droppable(field)),
        }
    }

    /// Whether this provider can be told the request in a dialect of its own.
    pub(super) fn sayable(&self, provider: &Provider) -> Result<(), Error> {
        let to = native(provider);
        let verdict = || {
            let addressee = Addressee {
                model: "",
                limit: 1,
                thinks: true,
            };
            self.said_in(to, &addressee).map(drop)
        };
        let at = dialect::ALL.iter().position(|d| d.name() == to.name());
        match at.and_then(|at| self.sayable.get(at)) {
            Some(known) => known.get_or_init(verdict).clone(),
            None => verdict(),
        }
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

/// The dialect in which an arm is told a request.
fn tongue(client: &'static dyn Dialect, request: &Request<'_>, arm: &Arm) -> &'static dyn Dialect {
    let provider = &arm.model.provider;
    if !provider.speaks(client.name()) {
        return native(provider);
    }
    let thinks = arm
        .effort
        .or(request.effort)
        .is_some_and(|e| e != Effort::None);
    let demands = arm.model.accepts.tools_need_none && request.prompt.tools > 0 && thinks;
    let other = client.effort().tools_and_effort_at();
    let other = other.filter(|name| demands && provider.speaks(name));
    other.and_then(dialect::named).unwrap_or(client)
}

/// A body in another dialect than the client's.
pub(super) struct Translated {
    dialect: &'static dyn Dialect,
    body: Bytes,
    /// The client's fields that were let go.
    pub(super) lost: Vec<String>,
}

/// The translation for this arm, if it needs one.
///
/// # Errors
/// A 400 that names what cannot be said.
pub(super) fn translated(exchange: &Exchange<'_>, arm: &Arm) -> Result<Option<Translated>, Error> {
    let dialect = tongue(exchange.inbound.dialect, exchange.request, arm);
    if dialect.name() == exchange.inbound.dialect.name() {
        return Ok(None);
    }
    let allowance = effort::reasoning_allowance(arm.effort_or(exchange.request.effort));
    let most = arm
        .model
        .answer_tokens_max
        .or(arm.model.price.and_then(|p| p.output_tokens_max));
    let default = exchange.policy.answer_tokens_max.saturating_add(allowance);
    let addressee = Addressee {
        model: &arm.model.name,
        limit: most.map_or(default, |most| most.min(default)),
        thinks: arm.model.accepts.may_think(),
    };
    let written = match exchange.translator.said_in(dialect, &addressee) {
        Ok(written) => written,
        // Its own dialect would do, without an effort: better than no answer.
        Err(_) if arm.model.provider.speaks(exchange.inbound.dialect.name()) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(Translated {
        dialect,
        body: Bytes::from(written.body),
        lost: written.lost,
    }))
}

/// What an arm is told, before the edits that it needs.
pub(super) struct Said<'a> {
    pub(super) dialect: &'static dyn Dialect,
    pub(super) body: &'a Bytes,
    pub(super) request: Request<'a>,
    /// The client speaks another dialect.
    pub(super) translated: bool,
}

impl<'a> Said<'a> {
    /// How its provider is spoken to.
    pub(super) fn words(&self) -> Words {
        Words {
            translated: self.translated.then_some(self.dialect),
            bodiless: false,
        }
    }

    /// # Errors
    /// A defect: what one dialect writes it cannot read.
    pub(super) fn new(
        exchange: &'a Exchange<'_>,
        translated: Option<&'a Translated>,
    ) -> Result<Said<'a>, Error> {
        Ok(match translated {
            None => Said {
                dialect: exchange.inbound.dialect,
                body: exchange.body,
                request: exchange.request.clone(),
                translated: false,
            },
            Some(t) => Said {
                dialect: t.dialect,
                body: &t.body,
                request: Request {
                    stream: exchange.request.stream,
                    ..t.dialect.decode_at(
                        &t.body,
                        &dialect::Place {
                            // The path alone names the model where the body does not.
                            model: (!t.dialect.model_in_body()).then(|| "?".into()),
                            ..dialect::Place::default()
                        },
                    )?
                },
                translated: true,
            },
        })
    }
}

/// What a translated answer is framed with.
pub(super) fn frame(exchange: &Exchange<'_>, said: &Said<'_>, arm: &Arm) -> Frame {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Frame {
        id: exchange.inbound.id.replace('-', ""),
        model: arm.model.name.clone(),
        from: said.dialect.name(),
        created: now.as_secs(),
        usage: exchange.request.usage_asked,
        array: exchange.place.array,
        old_calls: exchange.request.old_calls,
        input_estimate: exchange.input_estimate,
    }
}

/// The conversation without other models' sealed reasoning, for a request that stays in its dialect; `None` where it
/// can go as it is. A request for a real name keeps whatever its app put there, but for what came from elsewhere.
pub(super) fn unsealed(exchange: &Exchange<'_>, arm: &Arm, said: &Said<'_>) -> Option<Edit> {
    let fields = &said.request.fields;
    let own = exchange.decision.untouched;
    if said.translated || !unseal::may_hold(fields.text(), own) {
        return None;
    }
    let field = said.dialect.turns_field();
    let raw = fields.some(field)?;
    // Google's one turn may stand without a list.
    let before: Vec<serde_json::Value> = match raw.starts_with('{') {
        true => vec![serde_json::from_str(raw).ok()?],
        false => serde_json::from_str(raw).ok()?,
    };
    let makers = exchange.inbound.state.affinity.makers();
    let reader = unseal::Reader {
        model: &arm.model.name,
        maker: &|signature| makers.of(signature).filter(|_| !own),
    };
    let mut turns = before.clone();
    said.dialect.unseal(&mut turns, &reader);
    (turns != before).then(|| Edit::set(&[field], serde_json::Value::Array(turns).to_string()))
}

/// Remembers who made the sealed reasoning of a whole answer.
pub(super) fn remember(exchange: &Exchange<'_>, arm: &Arm, answer: &Answer) {
    let makers = exchange.inbound.state.affinity.makers();
    for item in &answer.first.items {
        if let Item::Reasoning(Reasoning {
            state: Some(state), ..
        }) = item
        {
            makers.remember(state, &arm.model.name);
        }
    }
}
