//! The admin listener: metrics, health, and what an operator looks at or sets off.

mod answer;
mod caps;
mod channels;
mod decisions;
mod gate;
mod health;
mod keys;
mod learning;
mod outcomes;
mod page;
mod query;
mod report;
mod requests;
mod sessions;

use crate::exchange::{self, State};
use crate::relay::AnswerBody;
use answer::say;
use http::header::{
    CACHE_CONTROL, CONNECTION, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use secrecy::SecretString;
use std::sync::Arc;

/// What the admin listener works with.
pub struct Admin {
    /// The exchanges' state.
    pub state: Arc<State>,
    /// Needed for writes, and for everything where the listener is not loopback.
    pub token: Option<SecretString>,
    /// Nobody on another machine can reach the admin listener.
    pub local: bool,
    /// It is at an address of the network that is this machine's own, where a web page can make a browser ask.
    pub loopback: bool,
    /// Reads the configuration again.
    pub reload: Box<dyn Fn() -> Result<(), Vec<String>> + Send + Sync>,
    /// What is known of the configuration.
    pub configuration: Box<dyn Fn() -> ConfigurationState + Send + Sync>,
    /// Looks now for keys that were made or changed.
    pub look_at_keys: Box<dyn Fn() + Send + Sync>,
    /// The providers were looked for and not written down.
    pub found: bool,
    /// When this process began to serve, in seconds since 1970.
    pub started_at: i64,
}

/// What is there, for whoever asks for something else.
const THERE: &str = "the admin listener has / (the page) /metrics /healthz /readyz /admin/v1/caps /admin/v1/models /admin/v1/decisions /admin/v1/requests/ID /admin/v1/report /admin/v1/forecast /admin/v1/health /admin/v1/keys /admin/v1/sessions /admin/v1/audit /admin/v1/learning, and POST /admin/v1/reload /admin/v1/keys /admin/v1/sessions/NAME/stop /admin/v1/learning/run /admin/v1/learning/undo";

/// What is known of the configuration in force, and of one that was refused after it.
#[derive(Clone, Debug, Default)]
pub struct ConfigurationState {
    /// When what is in force was read, in seconds since 1970.
    pub read_at: i64,
    /// When another one was refused since then.
    pub refused_at: Option<i64>,
    /// Why; each mistake is a line.
    pub complaints: Vec<String>,
}

/// Answers one admin request.
pub async fn handle(admin: &Admin, request: Request<Incoming>) -> Response<AnswerBody> {
    let mut answer = match exchange::check_head(request.version(), request.headers()) {
        Ok(()) => match gate::refusal(admin, &request) {
            Some(refusal) => refusal,
            None => asked(admin, request).await,
        },
        Err(error) => {
            let mut answer = say(StatusCode::BAD_REQUEST, &error.public);
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(CONNECTION, close);
            answer
        }
    };
    let headers = answer.headers_mut();
    // Figures of money are for whoever asked, at that moment, and for no page of another origin.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let own = HeaderValue::from_static("same-origin");
    headers.insert("cross-origin-resource-policy", own);
    answer
}

async fn asked(admin: &Admin, request: Request<Incoming>) -> Response<AnswerBody> {
    if is_below(request.uri().path(), "/admin/v1/keys") {
        return keys::keys(admin, request).await;
    }
    if is_below(request.uri().path(), "/admin/v1/sessions") {
        return sessions::sessions(admin, request).await;
    }
    let (path, query) = (request.uri().path(), request.uri().query());
    match (request.method(), path) {
        (&Method::GET, "/") => page::page(),
        (&Method::GET, "/metrics") => caps::metrics(admin),
        (&Method::GET, "/healthz") => say(StatusCode::OK, "ok"),
        (&Method::GET, "/readyz") if admin.state.ledger.healthy() => say(StatusCode::OK, "ready"),
        (&Method::GET, "/readyz") => say(
            StatusCode::SERVICE_UNAVAILABLE,
            "the ledger cannot write; no request is admitted",
        ),
        (&Method::GET, "/admin/v1/caps") => caps::caps(admin),
        (&Method::GET, "/admin/v1/models") => decisions::models(admin),
        (&Method::GET, "/admin/v1/decisions") => decisions::decisions(admin, query).await,
        (&Method::GET, "/admin/v1/report") => report::report(admin, query).await,
        (&Method::GET, "/admin/v1/forecast") => report::forecast(admin, query).await,
        (&Method::GET, "/admin/v1/audit") => keys::audit(admin, query).await,
        (&Method::GET, "/admin/v1/health") => health::health(admin).await,
        (&Method::GET, "/admin/v1/learning") => learning::list(admin).await,
        (&Method::POST, "/admin/v1/learning/run") => learning::run(admin).await,
        (&Method::POST, "/admin/v1/learning/undo") => learning::undo(admin).await,
        (&Method::POST, "/admin/v1/reload") => match (admin.reload)() {
            Ok(()) => say(StatusCode::OK, "reloaded"),
            Err(complaints) => say(StatusCode::UNPROCESSABLE_ENTITY, &complaints.join("\n")),
        },
        (&Method::GET, path) if path.starts_with("/admin/v1/requests/") => {
            let id = path.trim_start_matches("/admin/v1/requests/");
            requests::request(admin, id).await
        }
        _ => say(StatusCode::NOT_FOUND, THERE),
    }
}

/// It is this place, or one below it.
fn is_below(path: &str, place: &str) -> bool {
    let below = path.strip_prefix(place);
    below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
}
