//! Files and batches: passed on to the one provider that keeps them. What a batch costs is known to nobody when it is handed in,
//! so they are refused where a cap would have to hold it, and for what must stay on this machine.

use super::headers::{self, Words};
use super::pass::Models;
use super::single::{Going, Single};
use super::{Inbound, body as incoming, pass, reply};
use crate::dialect::{self, Answer as Read, Dialect};
use crate::error::{Error, Kind};
use crate::ledger::record::Outcome;
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
    /// How answers must be changed, if they must.
    here: Option<fn(Bytes) -> Bytes>,
    /// The part of the path that names it.
    name: &'p str,
    rest: &'p str,
}

/// Files and batches at this path. Vendors share paths: the client's own dialect comes first.
pub(super) fn at<'p>(path: &'p str, client: &'static dyn Dialect) -> Option<Place<'p>> {
    let mut all = std::iter::once(client).chain(dialect::ALL.iter().copied());
    all.find_map(|dialect| {
        let kept = dialect.envelope();
        let files = kept
            .files
            .iter()
            .map(|n| (n, Side::Files(dialect.name()), None));
        let batches = kept.batches.iter();
        let batches = batches.map(|n| (n, Side::Batches(dialect.name()), kept.here));
        files.chain(batches).find_map(|(name, side, here)| {
            let rest = path.strip_prefix(name)?;
            let name = &path[..name.len()];
            let place = Place {
                side,
                here,
                name,
                rest,
            };
            (rest.is_empty() || rest.starts_with('/')).then_some(place)
        })
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
    let here = place.here.filter(|_| headers::is_json(&head.headers));
    let Some(here) = here else {
        return Ok(single.watched(head, None, body, Watch::Nothing, settlement));
    };
    match reply::read_up_to(body, reply::HELD_MAX, state.limits.total).await {
        reply::Held::Whole(bytes) => {
            let _ = settlement.passed(&Read::default(), true);
            Ok(Response::from_parts(head, Answer::whole(here(bytes))))
        }
        reply::Held::Longer(first, rest) => {
            Ok(single.watched(head, Some(first), rest, Watch::Nothing, settlement))
        }
        reply::Held::Broken(error) => {
            settlement.unknown(Outcome::StreamCut);
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
