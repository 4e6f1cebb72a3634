//! How many tokens a prompt has: asked of the provider whose model is named, where it counts in the client's dialect for nothing;
//! else counted here. A routed request has no model yet whose own tokenizer could be asked.

use super::headers::{self, Words};
use super::{Inbound, embed, read_body, reply};
use crate::chat::Part;
use crate::dialect::{Dialect, Place, Request, unseal};
use crate::error::Error;
use crate::fleet::Model;
use crate::provider::Side;
use crate::relay::Answer;
use crate::route;
use crate::tokens;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::Duration;

/// A count that takes longer is made here: its only use is to be had before the request itself.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn count(
    inbound: &Inbound<'_>,
    body: Incoming,
    place: &Place<'_>,
) -> Result<Response<Answer>, Error> {
    let body = read_body(inbound, body).await?;
    let dialect = inbound.dialect;
    let request = dialect.decode_at(&body, place)?;
    if let Some((model, url)) = counter(inbound, &request)? {
        let asked = asked(inbound, &model, &url, &body);
        if let Ok(Some(answer)) = tokio::time::timeout(PATIENCE, asked).await {
            return Ok(answer);
        }
    }
    Ok(counted(dialect, &request, body.len()).await)
}

/// The model whose provider counts, and where.
///
/// # Errors
/// The caller may not use that model.
fn counter(
    inbound: &Inbound<'_>,
    request: &Request<'_>,
) -> Result<Option<(Arc<Model>, String)>, Error> {
    let policy = inbound.state.policy.load();
    let (dialect, caller) = (inbound.dialect, &inbound.caller);
    let wishes = headers::wishes(inbound.head, caller)?;
    // What came from another model is taken out of a request only when its arm is known, and never leaves as it is.
    let sealed = unseal::may_hold(request.fields.text(), true);
    if wishes.private || sealed || route::is_routed(&policy, &request.model) {
        return Ok(None);
    }
    let fleet = &policy.fleet;
    let Some(model) = fleet.resolve(&request.model, dialect.name(), &policy.catalogue) else {
        return Ok(None);
    };
    embed::permitted(caller, false, &model)?;
    let side = Side::Count(dialect.name());
    let url = model.provider.side(side, &model.name, "");
    Ok(url.filter(|_| !model.simulated).map(|url| (model, url)))
}

/// The provider's own count; `None` where it gives none. That the request is wrong is an answer too.
async fn asked(
    inbound: &Inbound<'_>,
    model: &Model,
    url: &str,
    body: &Bytes,
) -> Option<Response<Answer>> {
    let provider = &model.provider;
    let state = inbound.state;
    let headers = headers::outgoing(inbound.head, provider, url, Words::default());
    let answer = match state.upstream.send(url, headers, body.clone()).await {
        Ok(answer) => answer,
        Err(failure) => {
            let telemetry = &state.telemetry;
            telemetry.upstream_error(&provider.name, &failure.error);
            return None;
        }
    };
    let (mut head, body) = answer.into_parts();
    let status = head.status.as_u16();
    // A local server that does not know the path says 404 as well.
    let wrong = matches!(status, 400 | 413 | 422) || (status == 404 && !provider.kind.free);
    if !head.status.is_success() {
        state.telemetry.upstream_status(&provider.name, status);
    }
    if !(status == 200 || wrong) {
        return None;
    }
    let held = reply::read_up_to(body, reply::HELD_MAX, state.limits.idle).await;
    let reply::Held::Whole(bytes) = held else {
        return None;
    };
    headers::returned(&mut head.headers);
    let basis = (status == 200).then_some("reported");
    for (name, text) in [
        ("x-flyball-model", Some(model.name.as_str())),
        ("x-flyball-provider", Some(&provider.name)),
        ("x-flyball-basis", basis),
    ] {
        if let Some(Ok(value)) = text.map(HeaderValue::from_str) {
            head.headers.insert(name, value);
        }
    }
    let bytes = reply::redacted(bytes, provider);
    Some(Response::from_parts(head, Answer::whole(bytes)))
}

/// Counted here, in o200k_base.
async fn counted(dialect: &dyn Dialect, request: &Request<'_>, bytes: usize) -> Response<Answer> {
    let bound = tokens::bound(bytes);
    // Tool schemas are a part of the prompt too; their JSON stands for them.
    let tools = request.fields.some("tools").unwrap_or_default();
    let mut texts = vec![tools.to_owned()];
    texts.extend(request.prompt.system.iter().map(|t| t.clone().into_owned()));
    let parts = request.prompt.turns.iter().flat_map(|t| &t.parts);
    texts.extend(parts.filter_map(|part| match part {
        Part::Text(text) | Part::ToolResult(text) => Some(text.clone().into_owned()),
        _ => None,
    }));
    let turns = u64::try_from(request.prompt.turns.len()).unwrap_or(u64::MAX);
    let counting = tokio::task::spawn_blocking(move || {
        texts.iter().map(|text| tokens::count(text)).sum::<u64>()
    });
    // Chat templates wrap every message in about four tokens.
    let counted = counting
        .await
        .map_or(bound, |n| n.saturating_add(turns.saturating_mul(4)));
    let mut answer = reply::json(StatusCode::OK, dialect.counted(counted));
    let basis = HeaderValue::from_static("counted");
    answer.headers_mut().insert("x-flyball-basis", basis);
    answer
}
