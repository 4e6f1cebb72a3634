//! Which kind of call a path asks for, and in whose words it is answered. Every path that flyball serves is decided here.

use crate::dialect::directory::Lookup;
use crate::dialect::{self, Dialect, Place, Work, embed, envelope, legacy};
use crate::error::{Error, Kind};
use crate::provider::Side;
use bytes::Bytes;
use http::Method;
use http::request::Parts;

/// What a client asks for.
pub(super) enum Call<'p> {
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
pub(super) fn asked(head: &Parts) -> (&'static dyn Dialect, Result<Call<'_>, Error>) {
    let (dialect, call) = by_path(head);
    let (path, method) = (head.uri.path(), &head.method);
    let not_allowed = |public| Err(Error::new(Kind::MethodNotAllowed, public));
    let call = match call {
        Call::Complete(_) | Call::Embed(_) | Call::Count(_) | Call::Legacy(_)
            if method != Method::POST =>
        {
            not_allowed(format!("{path} takes POST."))
        }
        Call::Pass(..) | Call::Keep(_) if !PASSED_ON.contains(method) => {
            not_allowed(format!("{method} is not passed on."))
        }
        Call::Keep(place) if !place.takes(method) => Err(Error::new(
            Kind::NotFound,
            format!("flyball has no {method} {path}."),
        )),
        Call::Look if matches!(*method, Method::GET | Method::HEAD) => Ok(Call::Look),
        Call::Look if method == Method::POST && is_named(dialect, path) => Ok(Call::Describe),
        Call::Look => Err(Error::new(
            Kind::NotFound,
            format!("flyball has no {path}."),
        )),
        call => Ok(call),
    };
    (dialect, call)
}

fn by_path(head: &Parts) -> (&'static dyn Dialect, Call<'_>) {
    let (path, query) = (head.uri.path(), head.uri.query());
    if let Some((provider, rest)) = passed_through(path) {
        let at = dialect::at(rest, query).map(|(dialect, _)| dialect);
        let dialect = at.unwrap_or_else(|| envelope::client(rest, query, &head.headers));
        return (dialect, Call::Pass(provider, rest));
    }
    if let Some((dialect, place)) = dialect::at(path, query) {
        let call = match place.work {
            Work::Complete => Call::Complete(place),
            Work::CountTokens => Call::Count(place),
        };
        return (dialect, call);
    }
    if let Some(place) = embed::at(path) {
        return (place.call.dialect(), Call::Embed(place));
    }
    let client = envelope::client(path, query, &head.headers);
    let call = match (legacy::at(path), collection(path, client)) {
        (Some(model), _) => Call::Legacy(model),
        (None, Some(place)) => Call::Keep(place),
        (None, None) => Call::Look,
    };
    (client, call)
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
