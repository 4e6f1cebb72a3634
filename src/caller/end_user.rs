//! The end user of an app, whom a request names: in a header, or where its dialect has a field for that. Nobody has checked the name, so
//! it may only ever tighten what the caller may spend. Pure.

use crate::error::{Error, Kind};
use http::HeaderMap;
use http::header::HeaderName;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt::Write as _;

/// Longer names are refused: OpenAI takes 64 characters, Anthropic 256.
const NAME_BYTES_MAX: usize = 256;
/// So many bytes of a name's SHA-256 stand in the books: no two of 10^9 users have the same.
const HASH_BYTES: usize = 16;

/// How end users are told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndUsers {
    /// The header that names them; it goes before what the body says.
    pub header: Option<HeaderName>,
    /// A request that names none is refused.
    pub required: bool,
    /// How the books name them, where the operator wants them there; else they stand there only where a cap counts them, by their hash.
    pub names: Option<UserNames>,
}

/// How the books name end users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserNames {
    /// By the first half of their names' SHA-256, in hexadecimal digits.
    #[default]
    Hashed,
    /// As requests name them.
    Plain,
}

/// Whom a request names; nothing at all where it names nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndUser {
    /// The name.
    pub name: String,
    /// The name in the books.
    pub booked: String,
}

impl EndUsers {
    /// Users are told apart although no cap counts them.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.header.is_some() || self.required || self.names.is_some()
    }

    /// The name in the books.
    #[must_use]
    pub fn booked(&self, name: &str) -> String {
        if name.is_empty() || self.names == Some(UserNames::Plain) {
            return name.to_owned();
        }
        let mut hash = String::with_capacity(HASH_BYTES * 2);
        for byte in &Sha256::digest(name.as_bytes())[..HASH_BYTES] {
            // Writing to a string cannot fail.
            let _ = write!(hash, "{byte:02x}");
        }
        hash
    }

    /// Whom a request with these headers names; `said` is what its body names.
    ///
    /// # Errors
    /// A name that cannot be one, or none where there must be one.
    pub fn named(
        &self,
        headers: &HeaderMap,
        said: Option<(&'static str, Cow<'_, str>)>,
    ) -> Result<EndUser, Error> {
        let in_header = match &self.header {
            Some(header) => of_header(headers, header)?,
            None => None,
        };
        let name = match (in_header, said) {
            (Some(name), _) => name,
            (None, Some((field, name))) if !name.is_empty() => checked(field, &name)?.to_owned(),
            (None, _) if self.required => return Err(self.missing()),
            (None, _) => return Ok(EndUser::default()),
        };
        let booked = self.booked(&name);
        Ok(EndUser { name, booked })
    }

    fn missing(&self) -> Error {
        let header = match &self.header {
            Some(header) => format!("in the header {header}, or "),
            None => String::new(),
        };
        let public = format!(
            "Requests to this flyball must name the end user whom they are for: {header}in the field that the API has for it (OpenAI: safety_identifier or user; Anthropic: metadata.user_id)."
        );
        Error::new(Kind::BadRequest, public).code("flyball_user")
    }
}

/// The one name in this header. Two different ones are a mistake that would choose whose room is used.
fn of_header(headers: &HeaderMap, header: &HeaderName) -> Result<Option<String>, Error> {
    let mut found: Option<&str> = None;
    for value in headers.get_all(header) {
        let text = std::str::from_utf8(value.as_bytes()).map(str::trim);
        let Ok(text) = text else {
            return Err(wrong(header.as_str()));
        };
        if found.is_some_and(|other| other != text) {
            let public = format!("The header {header} is there twice and names two end users.");
            return Err(Error::bad_field(header.as_str(), public));
        }
        found = Some(text);
    }
    let name = found.filter(|name| !name.is_empty());
    name.map(|name| checked(header.as_str(), name).map(str::to_owned))
        .transpose()
}

fn checked<'n>(field: &str, name: &'n str) -> Result<&'n str, Error> {
    let fits = name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control);
    if fits { Ok(name) } else { Err(wrong(field)) }
}

fn wrong(field: &str) -> Error {
    let public = format!(
        "\"{field}\" names the end user, in at most {NAME_BYTES_MAX} bytes without control characters."
    );
    Error::bad_field(field, public)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_goes_before_the_body_and_a_name_is_booked_by_its_hash() {
        let users = EndUsers {
            header: Some(HeaderName::from_static("x-user-id")),
            ..EndUsers::default()
        };
        let mut headers = HeaderMap::new();
        let said = || Some(("user", Cow::Borrowed("of the body")));
        let named = |headers: &HeaderMap| users.named(headers, said());
        assert_eq!(named(&headers).expect("a user").name, "of the body");
        headers.insert("x-user-id", "alice".parse().expect("a value"));
        let alice = named(&headers).expect("a user");
        assert_eq!(alice.name, "alice");
        // printf alice | sha256sum | cut -c1-32
        assert_eq!(alice.booked, "2bd806c97f0e00af1a1fc3328fa763a9");
        headers.append("x-user-id", "bob".parse().expect("a value"));
        assert!(named(&headers).is_err(), "two users");
    }

    #[test]
    fn a_request_that_names_nobody_is_refused_only_where_it_must_name_somebody() {
        let nobody = |users: &EndUsers| users.named(&HeaderMap::new(), None);
        let any = nobody(&EndUsers::default()).expect("nobody");
        assert_eq!(any, EndUser::default());
        let required = EndUsers {
            required: true,
            ..EndUsers::default()
        };
        let refused = nobody(&required).expect_err("refused");
        assert!(
            refused.public.contains("safety_identifier"),
            "{}",
            refused.public
        );
        let long = "x".repeat(257);
        for name in ["a\nb", &long] {
            let said = Some(("user", Cow::Borrowed(name)));
            assert!(required.named(&HeaderMap::new(), said).is_err(), "{name}");
        }
    }
}
