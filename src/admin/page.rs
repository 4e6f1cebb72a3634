//! The page: one file with its script and style in it, which asks nobody but this listener.

use crate::relay::AnswerBody;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

const PAGE: &str = include_str!("page.html");

/// What the page may do, as browsers hold it to: run the one script and use the one style that stand in it, and ask this listener. That a
/// text becomes a part of the page as anything but text is refused too.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        hash(between("<script>", "</script>")),
        hash(between("<style>", "</style>")),
    );
    HeaderValue::from_str(&policy).expect("base64 and the words above are visible ASCII")
});

/// What stands in the page between these two.
fn between(start: &str, end: &str) -> &'static str {
    let inner = PAGE.split_once(start).map_or("", |(_, rest)| rest);
    inner.split_once(end).map_or("", |(inner, _)| inner)
}

fn hash(text: &str) -> String {
    format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(text)))
}

/// The page itself; it holds no data.
pub(super) fn page() -> Response<AnswerBody> {
    let mut answer = Response::new(AnswerBody::whole(Bytes::from_static(PAGE.as_bytes())));
    let headers = answer.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert("x-frame-options", HeaderValue::from_static("DENY"));
    answer
}
