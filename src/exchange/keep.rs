//! Files and batches: passed on to the one provider that keeps them. What a batch costs is known to nobody when it is handed in,
//! so they are refused where a cap would have to hold it, and for what must stay on this machine.

use super::headers::{self, Words};
use super::pass::Models;
use super::single::{Going, Single};
use super::{Inbound, body as incoming, pass, reply};
use crate::dialect::Answer as Read;
use crate::error::{Error, Kind};
use crate::provider::{Provider, Side};
use crate::relay::{Answer, Watch};
use crate::route::Policy;
use crate::settle::Input;
use crate::upstream::{Out, Upload};
use bytes::Bytes;
use http::{Method, Response};
use http_body::Body;
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::Duration;

/// What a path asks to be kept, and what follows it there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'p> {
    side: Side,
    /// The part of the path that names it.
    name: &'p str,
    rest: &'p str,
}

/// Files and batches at this path. Both vendors have `/v1/files`: their clients' headers tell.
pub(super) fn at(path: &str, anthropic: bool) -> Option<Place<'_>> {
    let files = match anthropic {
        true => Side::AnthropicFiles,
        false => Side::Files,
    };
    let places = [
        ("/v1/messages/batches", Side::MessageBatches),
        ("/v1/files", files),
        ("/v1/batches", Side::Batches),
        ("/openai/v1/files", Side::Files),
        ("/openai/v1/batches", Side::Batches),
    ];
    places.into_iter().find_map(|(name, side)| {
        let rest = path.strip_prefix(name)?;
        let name = &path[..name.len()];
        (rest.is_empty() || rest.starts_with('/')).then_some(Place { side, name, rest })
    })
}

pub(super) async fn keep(
    inbound: &Inbound<'_>,
    body: Incoming,
    place: Place<'_>,
) -> Result<Response<Answer>, Error> {
    let Inbound {
        state,
        head,
        caller,
        ..
    } = inbound;
    let policy = state.policy.load_full();
    let (wishes, chosen) = headers::wishes_of_provider(head, caller)?;
    let tags = caller.counted_tags(&wishes.tags)?;
    if wishes.private {
        let public = "This request is confidential and must stay on local models, and files and batches are kept by their provider.";
        return Err(Error::new(Kind::PrivateOnly, public).code("flyball_private"));
    }
    if caller.is_limited() {
        let public =
            "This key may use only some models, and which ones a batch uses cannot be told.";
        return Err(Error::new(Kind::Forbidden, public).code("model_not_allowed"));
    }
    let provider = keeper(&policy, place, chosen.as_deref())?;
    pass::check_path(place.rest)?;
    incoming::check_body(head, state.limits.body_bytes_max)?;
    let single = Single {
        inbound,
        policy: &policy,
        wishes: &wishes,
        tags: &tags,
        read: Duration::ZERO,
        dialect: inbound.dialect,
        model: pass::unnamed(&policy, &provider),
        task: pass::UNNAMED,
        rule: pass::RULE,
        input: Input::Unknown,
    };
    let settlement = pass::admit(&single, Models::Perhaps(&[]), place.name).await?;
    let url = provider.side(place.side, "", "").unwrap_or_default();
    let going = Going {
        method: head.method.clone(),
        url: pass::with_query(url + place.rest, head.uri.query()),
        words: Words {
            bodiless: body.is_end_stream() || head.method == Method::GET,
            ..Words::default()
        },
        body: Out::Streamed(Upload::new(body, &state.limits)),
    };
    let (head, body, settlement) = match single.send(going, settlement).await {
        Ok(answered) => answered,
        Err(refused) => return refused,
    };
    if place.side != Side::MessageBatches || !headers::is_json(&head.headers) {
        return Ok(single.watched(head, None, body, Watch::Nothing, settlement));
    }
    match reply::read_up_to(body, reply::HELD_MAX, state.limits.total).await {
        reply::Held::Whole(bytes) => {
            let _ = settlement.passed(&Read::default(), true);
            Ok(Response::from_parts(
                head,
                Answer::whole(fetched_here(bytes)),
            ))
        }
        reply::Held::Longer(first, rest) => {
            Ok(single.watched(head, Some(first), rest, Watch::Nothing, settlement))
        }
        reply::Held::Broken(error) => {
            settlement.unknown("stream_cut");
            Err(error)
        }
    }
}

/// The provider that is asked for, or the first that keeps such things.
fn keeper(policy: &Policy, place: Place<'_>, chosen: Option<&str>) -> Result<Arc<Provider>, Error> {
    let all = policy.fleet.providers.iter();
    let keepers: Vec<&Arc<Provider>> = all
        .filter(|p| p.kind.sides.iter().any(|(side, _)| *side == place.side))
        .collect();
    let found = match chosen {
        None => keepers.first(),
        Some(name) => keepers.iter().find(|p| p.name == name),
    };
    found.map(|p| Arc::clone(p)).ok_or_else(|| {
        let names: Vec<&str> = keepers.iter().map(|p| p.name.as_str()).collect();
        match names[..] {
            [] => Error::new(
                Kind::NotFound,
                format!("No configured provider serves {}.", place.name),
            ),
            _ => Error::bad_field(
                "x-flyball-provider",
                format!(
                    "x-flyball-provider takes one of those that serve {}: {}.",
                    place.name,
                    names.join(", ")
                ),
            ),
        }
    })
}

/// Anthropic's SDKs fetch a batch's results from the address that its answer names, with the key that they have: flyball's. So it
/// must be an address here; one without a host is read by them as such.
pub(super) fn fetched_here(bytes: Bytes) -> Bytes {
    const FIELD: &str = "\"results_url\"";
    const FOLDER: &str = "/v1/messages/batches/";
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return bytes;
    };
    let mut out = String::new();
    let mut done = 0;
    for (at, _) in text.match_indices(FIELD) {
        let value = &text[at + FIELD.len()..];
        let Some(open) = value.find('"') else { break };
        // Only a colon and blanks may part a field from its text: `null` has none.
        if !value[..open].chars().all(|c| c == ':' || c.is_whitespace()) {
            continue;
        }
        let start = at + FIELD.len() + open + 1;
        let end = text[start..].find('"').map_or(text.len(), |n| start + n);
        if let Some(host) = text[start..end].find(FOLDER) {
            out.push_str(&text[done..start]);
            done = start + host;
        }
    }
    if done == 0 {
        return bytes;
    }
    out.push_str(&text[done..]);
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_results_become_addresses_here_and_nothing_else_is_touched() {
        let text = "{\"results_url\":null,\"a\":\"results_url\",\"l\":[{\"results_url\" :\n \"https://h/v1/messages/batches/b/results\"},{\"results_url\":\"https://h/other\"}],\"ü\":1}";
        let here = fetched_here(Bytes::from(text));
        assert_eq!(here, text.replace("https://h/v1", "/v1"));
        for at in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
            let cut = &text[..at];
            let here = fetched_here(Bytes::from(cut.to_owned()));
            assert_eq!(
                here,
                cut.replace("https://h/v1/messages/batches/", "/v1/messages/batches/")
            );
        }
        let bytes = Bytes::from_static(b"\xff\"results_url\":\"https://h/v1/messages/batches/b\"");
        assert_eq!(fetched_here(bytes.clone()), bytes);
    }
}
