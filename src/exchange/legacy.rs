//! `/v1/completions`, from before there were chats: passed on to the provider of the model that is named, metered as what is passed on is.

use super::admission::Admission;
use super::passthrough::{Passthrough, PlainCall};
use crate::dialect::legacy;
use crate::error::{Error, Kind};
use crate::json::{self, Edit, Object};
use crate::provider::Provider;
use crate::route;
use bytes::Bytes;
use std::sync::Arc;

/// The call to the provider of the model that the body, or the path, names.
///
/// # Errors
/// There is no such model, or its provider has none of these.
pub(super) fn call<'a>(
    admission: &'a Admission<'a>,
    body: Bytes,
    deployment: Option<String>,
) -> Result<Passthrough<'a>, Error> {
    let policy = &admission.policy;
    let (name, body) = named(body, deployment)?;
    if route::is_routed(policy, &name) {
        return Err(Error::bad_field(
            "model",
            "Legacy completions are not routed: name a model that still has them, or use /v1/chat/completions.",
        ));
    }
    let found = policy
        .fleet
        .resolve(&name, legacy::dialect().name(), &policy.catalogue);
    let model = found
        .map_err(|why| route::unresolved(&name, &why, "GET /v1/models lists what there is."))?;
    let rest = beside_chat(&model.provider).ok_or_else(|| {
        let public = format!("The provider of \"{name}\" has no legacy completions.");
        Error::bad_field("model", public)
    })?;
    let call = PlainCall {
        provider: Arc::clone(&model.provider),
        rest: rest.into(),
        body,
        field: "/v1/completions".to_owned(),
    };
    Passthrough::new(admission, call)
}

/// The model's name, and the body that names it.
fn named(body: Bytes, deployment: Option<String>) -> Result<(String, Bytes), Error> {
    let wrong = |why: String| Error::new(Kind::BadRequest, why);
    let fields =
        Object::read(&body).map_err(|flaw| wrong(format!("The body cannot be read: {flaw}.")))?;
    if let Some(key) = fields.duplicate() {
        return Err(Error::bad_field(key, format!("\"{key}\" must occur once.")));
    }
    let own = fields.get("model").and_then(json::text);
    if let Some(name) = deployment {
        let edited = fields.edited(&[Edit::set_text(&["model"], &name)]);
        let edited = edited.map_or_else(|| body.clone(), Bytes::from);
        return Ok((name, edited));
    }
    match own {
        Some(name) if !name.is_empty() => Ok((name.into_owned(), body.clone())),
        _ => Err(Error::bad_field("model", "\"model\" must name a model.")),
    }
}

/// Where a provider has them: beside its chats.
fn beside_chat(provider: &Provider) -> Option<String> {
    let chats = legacy::dialect().name();
    let speaks = provider.kind.speaks.iter();
    let (_, path) = speaks.copied().find(|(name, _)| *name == chats)?;
    legacy::beside(path)
}
