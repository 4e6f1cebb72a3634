//! A request's body on its way in: how long it may be, how long it may take.

use crate::error::{Error, Kind};
use crate::limits::Limits;
use bytes::Bytes;
use http::header;
use http::request::Parts;
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// Refuses what is known to be too long before reading it, and encodings that could hide a larger body.
pub(super) fn check_body(head: &Parts, most: usize) -> Result<(), Error> {
    if head
        .headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .any(|e| e != "identity")
    {
        return Err(Error::new(
            Kind::BadRequest,
            "A compressed request body is not accepted; send it plain.",
        ));
    }
    let length = head
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|l| l.to_str().ok())
        .and_then(|l| l.parse::<usize>().ok());
    if length.is_some_and(|l| l > most) {
        Err(too_large(most))
    } else {
        Ok(())
    }
}

fn too_large(most: usize) -> Error {
    Error::new(
        Kind::TooLarge,
        format!("The request's body is longer than {most} bytes (limits.body_bytes_max)."),
    )
}

/// Reads a request's body, no longer and no slower than the limits say.
///
/// # Errors
/// It is too long, breaks off, or does not arrive in time.
pub(super) async fn read_body(
    head: &Parts,
    body: Incoming,
    limits: &Limits,
) -> Result<Bytes, Error> {
    check_body(head, limits.body_bytes_max)?;
    let limited = http_body_util::Limited::new(body, limits.body_bytes_max);
    match tokio::time::timeout(limits.client_body, limited.collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(e)) if e.is::<http_body_util::LengthLimitError>() => {
            Err(too_large(limits.body_bytes_max))
        }
        Ok(Err(e)) => {
            Err(Error::new(Kind::BadRequest, "The request's body broke off.").detail(e.to_string()))
        }
        Err(_) => Err(Error::new(
            Kind::ClientTimeout,
            "The request's body did not arrive in time.",
        )),
    }
}
