//! Whether a request is confidential by what is in it: looked at before anything of it is decided, and long before anything goes out.
//! What was found is known by its class alone; the text stays where it is.

use super::admission::Admission;
use crate::counting;
use crate::error::{Error, Kind};
use crate::private::{Classes, Privacy};
use bytes::Bytes;
use http::header;
use percent_encoding::percent_decode;
use std::sync::{Arc, OnceLock};

/// A shorter body is looked through where it is read, which takes about a millisecond, and a few where it is all numbers. A longer one would keep a thread from
/// other clients' sockets.
const AT_ONCE_MAX: usize = 128 * 1024;

/// What was found in a request, for its answer's head and for metrics, whichever way it ends.
#[derive(Default)]
pub(super) struct Seen(OnceLock<Sight>);

/// What is known of a request once it was looked at.
#[derive(Clone, Copy, Default)]
struct Sight {
    found: Classes,
    /// It is confidential, be it by what was found, by a header or by its key.
    private: bool,
}

impl Seen {
    /// The classes; none where nothing was looked at.
    pub(super) fn classes(&self) -> Classes {
        self.sight().found
    }

    fn sight(&self) -> Sight {
        self.0.get().copied().unwrap_or_default()
    }

    /// A refusal for privacy's sake says what made the request confidential, and that alone. Any other refusal of a confidential request
    /// leaves nothing in the log that could quote it: what is wrong with a field is told with the field's own words.
    pub(super) fn told(&self, error: Error) -> Error {
        let Sight { found, private } = self.sight();
        if error.code == Some(CODE) && !found.is_empty() {
            let detail = format!("{}; found in it: {found}", error.detail);
            let public =
                format!("It was taken to be confidential for what was found in it: {found}.");
            return error.also(Some(&public)).detail(detail);
        }
        let hushed = private || !found.is_empty();
        match error.kind {
            // A provider's own words often quote what they complain about.
            Kind::BadRequest | Kind::NotFound | Kind::Forbidden | Kind::UpstreamFailed
                if hushed =>
            {
                error.detail(HUSHED)
            }
            _ => error,
        }
    }
}

/// What the log says of a request whose own words it must not repeat.
const HUSHED: &str =
    "the client was told why; the request is confidential, so it is not written here";

/// The code of every refusal for privacy's sake.
const CODE: &str = "flyball_private";

/// Looks through a body, where the configuration wants that, and keeps the request on local models if anything is found.
///
/// # Errors
/// The configuration refuses what is confidential, or it could not be looked at.
pub(super) async fn look(
    admission: &mut Admission<'_>,
    body: &Bytes,
    seen: &Seen,
) -> Result<(), Error> {
    look_at(admission, body, None, seen).await
}

/// The same for what is passed on, whose path is as much the client's as its body.
///
/// # Errors
/// As [`look`].
pub(super) async fn look_with_path(
    admission: &mut Admission<'_>,
    body: &Bytes,
    path: &str,
    seen: &Seen,
) -> Result<(), Error> {
    look_at(admission, body, Some(path), seen).await
}

async fn look_at(
    admission: &mut Admission<'_>,
    body: &Bytes,
    path: Option<&str>,
    seen: &Seen,
) -> Result<(), Error> {
    let Some(privacy) = admission.policy.privacy.clone() else {
        note(seen, Classes::default(), admission);
        return Ok(());
    };
    let kind = admission.head.headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).map(str::to_owned);
    let is_form = kind
        .as_deref()
        .is_some_and(|kind| kind.trim_start().starts_with(FORM));
    let mut found = in_body(&privacy, body.clone(), kind).await?;
    if is_form {
        found = found.and(in_body(&privacy, unescaped(body), None).await?);
    }
    if let Some(path) = path {
        found = found.and(in_body(&privacy, unescaped(path.as_bytes()), None).await?);
    }
    let outcome = admission.found(found);
    note(seen, found, admission);
    outcome
}

fn note(seen: &Seen, found: Classes, admission: &Admission<'_>) {
    let private = admission.wishes.private;
    let _ = seen.0.set(Sight { found, private });
}

/// Fields as a browser's form writes them.
const FORM: &str = "application/x-www-form-urlencoded";

/// What a path or a form says, once with a plus sign as it stands and once as the space that it may stand for.
fn unescaped(text: &[u8]) -> Bytes {
    let mut said: Vec<u8> = percent_decode(text).collect();
    if text.contains(&b'+') {
        let spaced: Vec<u8> = text
            .iter()
            .map(|b| if *b == b'+' { b' ' } else { *b })
            .collect();
        said.push(b'\n');
        said.extend(percent_decode(&spaced));
    }
    said.into()
}

async fn in_body(
    privacy: &Arc<Privacy>,
    body: Bytes,
    kind: Option<String>,
) -> Result<Classes, Error> {
    if body.len() <= AT_ONCE_MAX {
        return Ok(privacy.detector.find(&body, kind.as_deref()).classes);
    }
    let privacy = Arc::clone(privacy);
    let found = counting::now(move || privacy.detector.find(&body, kind.as_deref()).classes);
    found.await.ok_or_else(|| {
        let public =
            "The request could not be looked through for what is confidential, so it goes nowhere.";
        Error::new(Kind::Internal, public)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::private::Class;

    fn seen(found: Classes, private: bool) -> Seen {
        Seen(OnceLock::from(Sight { found, private }))
    }

    #[test]
    fn what_is_wrong_with_a_confidential_request_is_told_to_its_client_alone() {
        let cards: Classes = [Class::Cards].into_iter().collect();
        for (seen, hushed) in [
            (Seen::default(), false),
            (seen(Classes::default(), false), false),
            (seen(Classes::default(), true), true),
            (seen(cards, false), true),
            (seen(cards, true), true),
        ] {
            let error = seen.told(Error::bad_field("role", "There is no role \"4539\"."));
            assert!(error.public.contains("4539"));
            assert_eq!(error.detail.contains("4539"), !hushed);
            let said = Error::new(Kind::UpstreamFailed, "No.").detail("the provider says 4539");
            assert_eq!(seen.told(said).detail.contains("4539"), !hushed);
            let error = seen.told(Error::new(Kind::CapReached, "No.").detail("all day"));
            assert_eq!(error.detail, "all day");
        }
        let refused = Error::new(Kind::PrivateOnly, "No.").code(CODE);
        let told = seen(cards, true).told(refused);
        assert_eq!(told.detail, "No.; found in it: cards");
    }

    #[test]
    fn a_form_is_read_as_its_fields_are_meant() {
        for (form, said) in [
            ("a=4539%205787", "a=4539 5787"),
            ("a=4539+5787", "a=4539+5787\na=4539 5787"),
            ("a=%2B1", "a=+1"),
        ] {
            assert_eq!(unescaped(form.as_bytes()), said.as_bytes());
        }
    }
}
