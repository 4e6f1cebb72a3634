//! The models that a key may use, in the shape of the client's dialect, and what else such a client asks a server.

use super::admission::Inbound;
use super::{reply, returned};
use crate::dialect::directory::{ListedModel, Lookup};
use crate::error::{Error, Kind};
use crate::relay::AnswerBody;
use http::{Response, StatusCode};
use serde_json::Value;

/// The names that are routed; each is listed like a model.
const ROUTED: [&str; 5] = ["auto", "auto:cheap", "auto:best", "auto:fast", "auto:local"];

/// What a path says about models; `None` where it says nothing.
pub(super) fn get(inbound: &Inbound<'_>) -> Option<Result<Response<AnswerBody>, Error>> {
    let directory = inbound.dialect.directory();
    Some(match directory.lookup(inbound.head.uri.path())? {
        Lookup::List => Ok(ok(&directory.list(&known(inbound)))),
        Lookup::One(name) => card(inbound, name),
        Lookup::Told(kind, text) => Ok(told(kind, text)),
        Lookup::Named => return None,
    })
}

/// The model that the body names: what it can do, as far as that is known here.
pub(super) fn named(inbound: &Inbound<'_>, body: &[u8]) -> Result<Response<AnswerBody>, Error> {
    card(inbound, &inbound.dialect.directory().named(body))
}

fn card(inbound: &Inbound<'_>, name: &str) -> Result<Response<AnswerBody>, Error> {
    let known = known(inbound);
    let found = known.iter().find(|model| model.name == name);
    let model = found.ok_or_else(|| missing(name))?;
    Ok(ok(&inbound.dialect.directory().card(model)))
}

fn ok(body: &Value) -> Response<AnswerBody> {
    reply::json(StatusCode::OK, body.to_string())
}

fn told(kind: &'static str, text: String) -> Response<AnswerBody> {
    let mut answer = Response::new(AnswerBody::whole(text));
    returned::set_type(answer.headers_mut(), kind);
    answer
}

fn missing(name: &str) -> Error {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    Error::new(
        Kind::NotFound,
        format!("There is no model named \"{shown}\" that this key may use."),
    )
    .code("model_not_found")
}

/// The routed names first, then every model that the key may use.
fn known<'p>(inbound: &'p Inbound<'_>) -> Vec<ListedModel<'p>> {
    let routed = ROUTED.iter().map(|name| ListedModel {
        name,
        thinks: true,
        embeds: false,
        context_tokens: None,
    });
    let policy = &inbound.policy;
    let aliases = policy.aliases.iter().map(|(name, arm)| (name, &arm.model));
    let models = policy.fleet.models.iter().map(|model| (&model.name, model));
    let own = aliases.chain(models);
    let own = own.filter(|(_, model)| inbound.caller.may_use(&model.name));
    let own = own.map(|(name, model)| ListedModel {
        name,
        thinks: !model.accepts.efforts.is_empty(),
        embeds: model.embeds,
        context_tokens: model.context_tokens,
    });
    routed.chain(own).collect()
}
