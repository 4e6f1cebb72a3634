//! The way to a vendor's batch API.

use super::super::outgoing;
use super::super::{State, reply};
use crate::batch::wire::Wire;
use crate::dialect::batch::VendorCall;
use crate::error::{Error, Kind};
use crate::provider::Provider;
use crate::provider::channel::Channel;
use crate::upstream::{AGENT, Begins, Failure, In, Terms};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use std::sync::Arc;
use std::time::Duration;

/// A call about a batch takes no longer: the vendor only notes it.
const CALL: Duration = Duration::from_secs(120);
/// What a vendor says of a batch is no longer than this, its results aside.
pub(super) const TOLD_MAX: usize = 64 * 1024 * 1024;

/// What came of a call.
pub(super) enum Called {
    /// It was answered well.
    Good(Response<In>),
    /// It was answered with this status and these words: nothing was done.
    Refused(u16, Bytes),
    /// The vendor is busy, and has done nothing.
    Busy,
    /// Nothing of it has gone out.
    NotSent,
    /// Nobody knows.
    Unknown(Error),
}

fn headers(at: (&Provider, &Channel), wire: &Wire, url: &str, kind: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, AGENT);
    if let Some((name, ours)) = wire.dialect.envelope().version {
        headers.insert(name, HeaderValue::from_static(ours));
    }
    headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    if let Some(kind) = kind.and_then(|kind| HeaderValue::from_str(kind).ok()) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    outgoing::credential(&mut headers, at, url);
    headers
}

/// Calls a vendor's batch API on one of its channels.
pub(super) async fn call(
    state: &State,
    (provider, channel): (&Arc<Provider>, &Channel),
    wire: &Wire,
    call: VendorCall,
) -> Called {
    let url = format!("{}{}{}", channel.base_url, wire.prefix, call.path);
    let headers = headers((provider, channel), wire, &url, call.kind.as_deref());
    let terms = Terms {
        begins: Begins::AtItsEnd,
        http2: provider.http2(),
    };
    let body = (call.body.into(), terms);
    let sent = state.upstream.call(call.method, &url, headers, body);
    let answer = match tokio::time::timeout(CALL, sent).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(Failure { not_sent: true, .. })) => return Called::NotSent,
        Ok(Err(Failure { error, .. })) => return Called::Unknown(error),
        Err(_) => {
            let why = "the model's server did not answer in time";
            return Called::Unknown(Error::new(Kind::UpstreamTimeout, why));
        }
    };
    let status = answer.status().as_u16();
    match status {
        200..=299 => Called::Good(answer),
        429 => Called::Busy,
        400..=499 => {
            let (_, body) = answer.into_parts();
            let bytes = match reply::read_up_to(body, reply::HELD_MAX, CALL).await {
                reply::HeldAnswer::Whole(bytes) | reply::HeldAnswer::Longer(bytes, _) => bytes,
                reply::HeldAnswer::Broken(_) => Bytes::new(),
            };
            Called::Refused(status, bytes)
        }
        _ => Called::Unknown(Error::new(
            Kind::UpstreamFailed,
            format!("the model's server answered with status {status}"),
        )),
    }
}

/// The words of a good answer.
///
/// # Errors
/// They broke off, or are too long.
pub(super) async fn whole(answer: Response<In>) -> Result<Bytes, Error> {
    let (_, body) = answer.into_parts();
    match reply::read_up_to(body, TOLD_MAX, CALL).await {
        reply::HeldAnswer::Whole(bytes) => Ok(bytes),
        reply::HeldAnswer::Longer(..) => Err(Error::new(
            Kind::UpstreamFailed,
            "what the model's server says of a batch is too long",
        )),
        reply::HeldAnswer::Broken(error) => Err(error),
    }
}
