//! The admin listener: metrics, health, and what an operator looks at or sets off.

mod answer;
mod caps;
mod decisions;

use crate::exchange::{self, State};
use crate::relay::AnswerBody;
use answer::say;
use http::header::{AUTHORIZATION, CONNECTION, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// What the admin listener works with.
pub struct Admin {
    /// The exchanges' state.
    pub state: Arc<State>,
    /// Needed for writes, and for everything where the listener is not loopback.
    pub token: Option<SecretString>,
    /// The admin listener is loopback.
    pub loopback: bool,
    /// Reads the configuration again.
    pub reload: Box<dyn Fn() -> Result<(), Vec<String>> + Send + Sync>,
}

/// Answers one admin request.
pub fn handle(admin: &Admin, request: &Request<Incoming>) -> Response<AnswerBody> {
    if let Err(error) = exchange::check_head(request.version(), request.headers()) {
        let mut answer = say(StatusCode::BAD_REQUEST, &error.public);
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(CONNECTION, close);
        return answer;
    }
    if request.headers().contains_key(http::header::ORIGIN) {
        return say(StatusCode::FORBIDDEN, "requests from web pages are refused");
    }
    let write = request.method() != Method::GET;
    if (write || !admin.loopback) && !authorised(admin, request) {
        return say(
            StatusCode::UNAUTHORIZED,
            "this needs the admin token: set admin_token in flyball.toml and send it as Authorization: Bearer …",
        );
    }
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => caps::metrics(admin),
        (&Method::GET, "/healthz") => say(StatusCode::OK, "ok"),
        (&Method::GET, "/readyz") if admin.state.ledger.healthy() => say(StatusCode::OK, "ready"),
        (&Method::GET, "/readyz") => say(
            StatusCode::SERVICE_UNAVAILABLE,
            "the ledger cannot write; no request is admitted",
        ),
        (&Method::GET, "/admin/v1/caps") => caps::caps(admin),
        (&Method::GET, "/admin/v1/models") => decisions::models(admin),
        (&Method::GET, "/admin/v1/decisions") => decisions::decisions(admin),
        (&Method::POST, "/admin/v1/reload") => match (admin.reload)() {
            Ok(()) => say(StatusCode::OK, "reloaded"),
            Err(complaints) => say(StatusCode::UNPROCESSABLE_ENTITY, &complaints.join("\n")),
        },
        _ => say(
            StatusCode::NOT_FOUND,
            "the admin listener has /metrics /healthz /readyz /admin/v1/caps /admin/v1/models /admin/v1/decisions, and POST /admin/v1/reload",
        ),
    }
}

fn authorised(admin: &Admin, request: &Request<Incoming>) -> bool {
    let Some(token) = &admin.token else {
        return false;
    };
    let given = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|v| v.as_bytes().strip_prefix(b"Bearer "));
    given.is_some_and(|g| g.ct_eq(token.expose_secret().as_bytes()).into())
}
