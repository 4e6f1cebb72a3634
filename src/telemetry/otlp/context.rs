//! Trace contexts as W3C writes them in headers (<https://www.w3.org/TR/trace-context/>): read from a request, written for an attempt.
//!
//! No identifier is drawn by chance here. A trace that begins with a request has the request's id, so that who has one finds the other, and
//! a span the second half of the id of its exchange or attempt.

use http::{HeaderMap, HeaderName, HeaderValue};

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The standard asks for at least so many letters to be passed on, and for nothing more.
const STATE_MAX: usize = 512;

/// Where in a trace an exchange is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TraceContext {
    pub(super) trace: u128,
    /// The client's own span, where it has sent one.
    pub(super) parent: Option<u64>,
    /// The exchange's span.
    pub(super) span: u64,
    /// Its spans are sent.
    pub(super) sampled: bool,
    /// What other systems say about the trace, as it came.
    pub(super) state: String,
}

impl TraceContext {
    /// That of the request of this id. A client that has decided whether the trace is kept has decided it here, too; where no client has,
    /// this share of all is.
    pub(super) fn of(headers: &HeaderMap, request: &str, share: Share) -> TraceContext {
        let id = uuid::Uuid::parse_str(request).unwrap_or_default().as_u128();
        let span = span_of(request);
        let parent = traceparent(headers);
        let state = parent.as_ref().and_then(|_| tracestate(headers));
        match parent {
            Some(parent) => TraceContext {
                trace: parent.trace,
                parent: Some(parent.span),
                span,
                sampled: parent.sampled,
                state: state.unwrap_or_default(),
            },
            None => TraceContext {
                trace: id,
                parent: None,
                span,
                sampled: share.holds(id),
                state: String::new(),
            },
        }
    }

    /// Says in the head of a request that it is the work of this span.
    pub(super) fn write(&self, span: u64, headers: &mut HeaderMap) {
        headers.remove(TRACEPARENT);
        headers.remove(TRACESTATE);
        let flags = u8::from(self.sampled);
        let text = format!("00-{:032x}-{span:016x}-{flags:02x}", self.trace);
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(TRACEPARENT, value);
        }
        if let Ok(value) = HeaderValue::from_str(&self.state)
            && !self.state.is_empty()
        {
            headers.insert(TRACESTATE, value);
        }
    }
}

/// The span of an exchange or attempt, by its id: the second half of that. It never is 0, since a UUID has two bits there that are set.
pub(super) fn span_of(id: &str) -> u64 {
    let id = uuid::Uuid::parse_str(id).unwrap_or_default();
    id.as_u64_pair().1
}

/// A share of all traces, in parts of 2³².
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u64);

impl Share {
    /// This share, from 0 to 1.
    #[must_use]
    pub fn of(share: f64) -> Share {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is from 0 to 2^32"
        )]
        let parts = (share.clamp(0.0, 1.0) * 4_294_967_296.0).round() as u64;
        Share(parts)
    }

    /// Whether a trace is in it. The last 32 bits of a request's id are random; before them time and a counter stand.
    fn holds(self, trace: u128) -> bool {
        let last = u64::try_from(trace & 0xffff_ffff).unwrap_or_default();
        last < self.0
    }
}

struct Parent {
    trace: u128,
    span: u64,
    sampled: bool,
}

/// What the client says of its own span. What is wrong, or there twice, is as if it were not there.
fn traceparent(headers: &HeaderMap) -> Option<Parent> {
    let mut all = headers.get_all(TRACEPARENT).iter();
    let (Some(only), None) = (all.next(), all.next()) else {
        return None;
    };
    parse(only.to_str().ok()?)
}

/// `00-{32 hex digits}-{16 hex digits}-{2 hex digits}`; a later version may have more after another dash.
fn parse(text: &str) -> Option<Parent> {
    let mut parts = text.splitn(5, '-');
    let mut digits = |most| {
        let part = parts.next().filter(|part| part.len() == most)?;
        let plain = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let number = u128::from_str_radix(part, 16).ok()?;
        part.bytes().all(plain).then_some(number)
    };
    let (version, trace) = (digits(2)?, digits(32)?);
    let span = u64::try_from(digits(16)?).ok()?;
    let flags = digits(2)?;
    let more = parts.next().is_some();
    let wrong = version == 0xff || (version == 0 && more) || trace == 0 || span == 0;
    (!wrong).then_some(Parent {
        trace,
        span,
        sampled: flags & 1 == 1,
    })
}

/// What other systems say about the trace, unless that is longer than anybody has to pass on.
fn tracestate(headers: &HeaderMap) -> Option<String> {
    let mut state = String::new();
    for value in headers.get_all(TRACESTATE) {
        let text = value.to_str().ok()?;
        if state.len() + text.len() >= STATE_MAX {
            return None;
        }
        if !state.is_empty() {
            state.push(',');
        }
        state.push_str(text);
    }
    Some(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
    const ALL: f64 = 1.0;

    fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in of {
            headers.append(*name, HeaderValue::from_str(value).expect("a header"));
        }
        headers
    }

    #[test]
    fn a_request_without_a_parent_begins_a_trace_of_its_own_id() {
        let context = TraceContext::of(&HeaderMap::new(), REQUEST, Share::of(ALL));
        assert_eq!(
            format!("{:032x}", context.trace),
            "01890a5dac96774bbcceb302099a8057"
        );
        assert_eq!(format!("{:016x}", context.span), "bcceb302099a8057");
        assert_eq!((context.parent, context.sampled), (None, true));
        let mut out = HeaderMap::new();
        context.write(7, &mut out);
        assert_eq!(
            out[TRACEPARENT],
            "00-01890a5dac96774bbcceb302099a8057-0000000000000007-01"
        );
        assert!(!out.contains_key(TRACESTATE));
    }

    #[test]
    fn a_parent_is_followed_and_so_is_its_decision() {
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        for (text, sampled) in [
            (format!("00-{trace}-{span}-01"), true),
            (format!("00-{trace}-{span}-00"), false),
            (format!("00-{trace}-{span}-03"), true),
            // A later version may say more.
            (format!("cc-{trace}-{span}-01-what-else"), true),
            (format!("cc-{trace}-{span}-01"), true),
        ] {
            let headers = headers(&[
                ("traceparent", &text),
                ("tracestate", "a=1"),
                ("tracestate", "b=2"),
            ]);
            // A share of nothing and a share of all: the client has decided.
            for share in [0.0, 1.0] {
                let context = TraceContext::of(&headers, REQUEST, Share::of(share));
                assert_eq!(format!("{:032x}", context.trace), trace, "{text}");
                let parent = context.parent.expect("a parent");
                assert_eq!(format!("{parent:016x}"), span, "{text}");
                assert_eq!(context.sampled, sampled, "{text}");
                assert_eq!(context.state, "a=1,b=2");
            }
        }
    }

    #[test]
    fn what_is_no_traceparent_is_as_if_it_were_not_there() {
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let good = format!("00-{trace}-{span}-01");
        let wrong = [
            String::new(),
            "00".into(),
            "x".repeat(10_000),
            format!("ff-{trace}-{span}-01"),
            format!("00-{trace}-{span}-01-more"),
            format!("00-{trace}-{span}-1"),
            format!("00-{trace}-{span}-0g"),
            format!("00-{}-{span}-01", trace.to_uppercase()),
            format!("00-{}-{span}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-+{}-{span}-01", &trace[1..]),
            format!("00-{trace}{span}-01"),
            format!(" {good}"),
        ];
        let twice = headers(&[("traceparent", &good), ("traceparent", &good)]);
        let cases = wrong.iter().map(|text| {
            let said = headers(&[("traceparent", text.as_str()), ("tracestate", "a=1")]);
            (text.as_str(), said)
        });
        for (text, said) in cases.chain([("twice", twice)]) {
            let context = TraceContext::of(&said, REQUEST, Share::of(ALL));
            assert_eq!(context.parent, None, "{text}");
            assert_eq!(context.state, "", "{text}");
            assert_ne!(format!("{:032x}", context.trace), trace, "{text}");
        }
    }

    #[test]
    fn a_state_that_is_too_long_is_let_go_and_the_parent_is_not() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let long = format!("a={}", "x".repeat(STATE_MAX));
        let said = headers(&[("traceparent", good), ("tracestate", &long)]);
        let context = TraceContext::of(&said, REQUEST, Share::of(ALL));
        assert!(context.parent.is_some());
        assert_eq!(context.state, "");
    }

    #[test]
    fn an_attempts_own_context_takes_the_place_of_the_clients() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        let mut said = headers(&[("traceparent", good), ("tracestate", "a=1")]);
        let context = TraceContext::of(&said, REQUEST, Share::of(ALL));
        context.write(0x1234, &mut said);
        let out: Vec<_> = said.get_all(TRACEPARENT).iter().collect();
        assert_eq!(
            out,
            ["00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000001234-00"]
        );
        assert_eq!(said[TRACESTATE], "a=1");
    }

    #[test]
    fn a_share_of_requests_is_kept_whatever_their_time() {
        let ids: Vec<String> = (0..4_000)
            .map(|_| uuid::Uuid::now_v7().to_string())
            .collect();
        for (share, least, most) in [(0.0, 0, 0), (0.25, 800, 1_200), (1.0, 4_000, 4_000)] {
            let none = HeaderMap::new();
            let kept = ids
                .iter()
                .filter(|id| TraceContext::of(&none, id, Share::of(share)).sampled);
            let kept = kept.count();
            assert!((least..=most).contains(&kept), "{share}: {kept}");
        }
    }
}
