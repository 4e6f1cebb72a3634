//! Which kind of call a path asks for, and in whose words it is answered. Every path that flyball serves is decided here.

use crate::dialect::directory::Lookup;
use crate::dialect::{self, Dialect, Place, PlaceWork, embed, envelope, legacy};
use crate::error::{Error, Kind};
use crate::provider::Side;
use bytes::Bytes;
use http::Method;
use http::request::Parts;

/// What a client asks for.
pub(super) enum CallKind<'p> {
    /// An answer of a model.
    Complete(Place<'p>),
    /// How many tokens a prompt has.
    Count(Place<'p>),
    /// Embeddings.
    Embed(embed::Place<'p>),
    /// A completion from before there were chats; the model, where the path names it.
    Legacy(Option<String>),
    /// Files and batches.
    Keep(Collection<'p>),
    /// Whatever it is, of a configured provider: its name and the path there.
    Pass(&'p str, &'p str),
    /// What needs no model, such as the list of them.
    Look,
    /// The model that the body names: what it can do.
    Describe,
    /// A request that was to be answered later.
    Later(Later<'p>),
    /// How good the answer to a request was: the one of this id, or the one that the body names.
    Judge(Option<&'p str>),
}

impl CallKind<'_> {
    /// The name in traces.
    pub(super) fn name(&self) -> &'static str {
        match self {
            CallKind::Complete(_) => "completion",
            CallKind::Count(_) => "count",
            CallKind::Embed(_) => "embeddings",
            CallKind::Legacy(_) => "legacy",
            CallKind::Keep(_) => "kept",
            CallKind::Pass(..) => "passthrough",
            CallKind::Look => "look",
            CallKind::Describe => "describe",
            CallKind::Later(_) => "later",
            CallKind::Judge(_) => "feedback",
        }
    }
}

/// What is wanted of a request that was to be answered later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Later<'p> {
    /// The request's id.
    pub(super) id: &'p str,
    /// It is to be cancelled, and its answer is not asked for.
    pub(super) cancel: bool,
}

impl Later<'_> {
    fn takes(&self, method: &Method) -> bool {
        match self.cancel {
            true => *method == Method::POST,
            false => matches!(*method, Method::GET | Method::HEAD | Method::DELETE),
        }
    }
}

/// Files or batches: a path that asks for them to be kept, and what follows it there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Collection<'p> {
    pub(super) side: Side,
    /// How answers must be changed, if they must.
    pub(super) here: Option<fn(Bytes) -> Bytes>,
    /// The part of the path that names it.
    pub(super) name: &'p str,
    pub(super) rest: &'p str,
}

impl Collection<'_> {
    /// Nothing is made there that would cost anything: answers are kept that were paid for when they were made.
    pub(super) fn is_free(&self) -> bool {
        matches!(self.side, Side::Answers(_))
    }

    /// Whether something is made that somebody may be billed for: not where it is only looked at, deleted or cancelled.
    pub(super) fn makes(&self, method: &Method) -> bool {
        *method == Method::POST && !self.is_free() && !self.rest.ends_with("/cancel")
    }

    /// A kept answer is fetched, deleted or cancelled; nothing else below it is known to be no work of a model
    /// (<https://developers.openai.com/api/reference/resources/responses.md>).
    fn takes(&self, method: &Method) -> bool {
        let kept = matches!(self.side, Side::Answers(_));
        let reads = matches!(*method, Method::GET | Method::HEAD | Method::DELETE);
        !kept || reads || (*method == Method::POST && self.rest.ends_with("/cancel"))
    }
}

/// The methods that are passed on.
const PASSED_ON: [Method; 6] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];

/// What is asked for, and the dialect in which it is answered. Of a path that several dialects share, or that none has, the
/// client's own headers tell the dialect.
pub(super) fn asked(head: &Parts) -> (&'static dyn Dialect, Result<CallKind<'_>, Error>) {
    let (dialect, call) = by_path(head);
    let (path, method) = (head.uri.path(), &head.method);
    let not_allowed = |public| Err(Error::new(Kind::MethodNotAllowed, public));
    let call = match call {
        CallKind::Complete(_) | CallKind::Embed(_) | CallKind::Count(_) | CallKind::Legacy(_)
            if method != Method::POST =>
        {
            not_allowed(format!("{path} takes POST."))
        }
        CallKind::Pass(..) | CallKind::Keep(_) if !PASSED_ON.contains(method) => {
            not_allowed(format!("{method} is not passed on."))
        }
        CallKind::Keep(place) if !place.takes(method) => Err(Error::new(
            Kind::NotFound,
            format!("flyball has no {method} {path}."),
        )),
        CallKind::Later(later) if !later.takes(method) => {
            not_allowed(format!("{path} does not take {method}."))
        }
        CallKind::Look if matches!(*method, Method::GET | Method::HEAD) => Ok(CallKind::Look),
        CallKind::Look if method == Method::POST && is_named(dialect, path) => {
            Ok(CallKind::Describe)
        }
        CallKind::Look if method == Method::POST => match judged(path) {
            Some(request) => Ok(CallKind::Judge(request)),
            None => Err(no_path(path)),
        },
        CallKind::Look => Err(no_path(path)),
        call => Ok(call),
    };
    (dialect, call)
}

/// There is nothing at this path, and where it was most likely meant to go: SDKs are given base URLs with and without `/v1`.
pub(super) fn no_path(path: &str) -> Error {
    let shown: String = path.chars().take(PATH_LETTERS_MAX).collect();
    let help = match path {
        "/metrics" | "/healthz" | "/readyz" => Some(format!(
            "It is on the admin listener: http://127.0.0.1:8485{path}, or where admin_listen says."
        )),
        _ if path.starts_with("/admin/") => Some(
            "It is on the admin listener: http://127.0.0.1:8485, or where admin_listen says."
                .to_owned(),
        ),
        _ => meant(path).map(|(there, ending)| format!("Did you mean {there}? {ending}")),
    };
    let public = format!("flyball has no {shown}.");
    Error::new(Kind::NotFound, public).also(help.as_deref())
}

/// As much of a path as is shown.
const PATH_LETTERS_MAX: usize = 128;

/// The path that was meant by one that leads nowhere, and what is wrong with the base URL.
fn meant(path: &str) -> Option<(String, &'static str)> {
    let served = |path: &str| {
        let listed = || {
            dialect::ALL
                .iter()
                .any(|d| d.directory().lookup(path).is_some())
        };
        let kept = || dialect::ALL.iter().any(|d| collection(path, *d).is_some());
        dialect::at(path, None).is_some()
            || embed::at(path).is_some()
            || legacy::at(path).is_some()
            || listed()
            || kept()
    };
    let shown = |path: &str| path.chars().take(PATH_LETTERS_MAX).collect::<String>();
    // `/v1/v1/chat/completions`, `/api/v1/messages`, `/v1/api/chat`: something stands before it.
    let mut rest = path;
    while let Some(end) = rest.get(1..).and_then(|inner| inner.find('/')) {
        rest = &rest[end + 1..];
        if served(rest) {
            return Some((
                shown(rest),
                "The base URL has more in it than this client wants there.",
            ));
        }
    }
    let longer = format!("/v1{path}");
    served(&longer).then(|| (shown(&longer), "End the base URL with /v1."))
}

fn by_path(head: &Parts) -> (&'static dyn Dialect, CallKind<'_>) {
    let (path, query) = (head.uri.path(), head.uri.query());
    if let Some((provider, rest)) = passed_through(path) {
        let at = dialect::at(rest, query).map(|(dialect, _)| dialect);
        let dialect = at.unwrap_or_else(|| envelope::client(rest, query, &head.headers));
        return (dialect, CallKind::Pass(provider, rest));
    }
    if let Some((dialect, place)) = dialect::at(path, query) {
        let call = match place.work {
            PlaceWork::Complete => CallKind::Complete(place),
            PlaceWork::CountTokens => CallKind::Count(place),
        };
        return (dialect, call);
    }
    if let Some(place) = embed::at(path) {
        return (place.call.dialect(), CallKind::Embed(place));
    }
    let client = envelope::client(path, query, &head.headers);
    let call = match (legacy::at(path), collection(path, client)) {
        (Some(model), _) => CallKind::Legacy(model),
        (None, Some(place)) => CallKind::Keep(place),
        (None, None) => later(path).map_or(CallKind::Look, CallKind::Later),
    };
    (client, call)
}

/// A path at which an answer is judged, and the request if it names one. SDKs put their base URL's `/v1` before it.
fn judged(path: &str) -> Option<Option<&str>> {
    let path = path.strip_prefix("/v1").unwrap_or(path);
    match path.strip_prefix("/flyball/")? {
        "feedback" => Some(None),
        path => Some(Some(
            path.strip_prefix("requests/")?.strip_suffix("/feedback")?,
        )),
    }
}

/// A path below which a request is that was to be answered later. SDKs put their base URL's `/v1` before it.
fn later(path: &str) -> Option<Later<'_>> {
    let path = path.strip_prefix("/v1").unwrap_or(path);
    let (id, what) = path.strip_prefix("/flyball/requests/")?.split_once('/')?;
    let cancel = match what {
        "answer" => false,
        "cancel" => true,
        _ => return None,
    };
    Some(Later { id, cancel })
}

/// Whether it is for the body to name the model that is asked about.
fn is_named(dialect: &dyn Dialect, path: &str) -> bool {
    dialect.directory().lookup(path) == Some(Lookup::Named)
}

/// `/p/{provider}/…`: the provider and the path that follows it.
fn passed_through(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix("/p/")?;
    let end = rest.find('/').unwrap_or(rest.len());
    Some(rest.split_at(end))
}

/// Files and batches at this path. Vendors share paths: the client's own dialect comes first.
fn collection<'p>(path: &'p str, client: &'static dyn Dialect) -> Option<Collection<'p>> {
    let mut all = std::iter::once(client).chain(dialect::ALL.iter().copied());
    all.find_map(|dialect| {
        let kept = dialect.envelope();
        let files = kept
            .files
            .iter()
            .map(|n| (n, Side::Files(dialect.name()), None));
        let batches = kept.batches.iter();
        let batches = batches.map(|n| (n, Side::Batches(dialect.name()), kept.here));
        let answers = kept.answers.iter();
        let answers = answers.map(|n| (n, Side::Answers(dialect.name()), None));
        let all = files.chain(batches).chain(answers);
        all.into_iter().find_map(|(name, side, here)| {
            let rest = path.strip_prefix(name)?;
            let name = &path[..name.len()];
            let place = Collection {
                side,
                here,
                name,
                rest,
            };
            (rest.is_empty() || rest.starts_with('/')).then_some(place)
        })
    })
}
