//! One error: what happened, what to do next, and two sentences: one public without hosts, keys or prompts, one for the
//! operator's log.
//!
//! Errors are values here; only `exchange` turns one into HTTP, in the caller's dialect.

use std::fmt;
use std::time::Duration;

/// What kind of thing went wrong; decides the HTTP status and the dialect's error type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request cannot be understood or must not be sent on. 400.
    BadRequest,
    /// No valid virtual key. 401.
    Unauthorized,
    /// A foreign origin or host, or a model that this key may not use. 403.
    Forbidden,
    /// No such path, model or request. 404.
    NotFound,
    /// The method does not fit the path. 405.
    MethodNotAllowed,
    /// The client was too slow to send its request. 408.
    ClientTimeout,
    /// The body or the head is larger than the limit. 413.
    TooLarge,
    /// A spend cap has no room, or one of tokens or requests over a day or longer. 402.
    CapReached,
    /// A cap of tokens or requests a minute or an hour has no room, or the vendor says that too much was asked of it at once. 429.
    RateReached,
    /// The request must stay local and no local model can take it. 403.
    PrivateOnly,
    /// flyball cannot take the request now. 503.
    Overloaded,
    /// The model's server could not be reached or broke off before its first byte. 502.
    UpstreamFailed,
    /// The model's server did not answer in time. 504.
    UpstreamTimeout,
    /// A defect in flyball. 500.
    Internal,
}

/// Whether sending the same request again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It cannot; SDKs are told not to.
    Never,
    /// It may, after this long.
    After(Duration),
    /// Left to the client.
    Unsaid,
}

/// A failed exchange or attempt.
#[derive(Clone, Debug)]
pub struct Error {
    /// What happened.
    pub kind: Kind,
    /// Whether to try again.
    pub retry: Retry,
    /// The field of the request at fault, where one is.
    pub field: Option<String>,
    /// A machine-readable code for the dialect's error body, e.g. `flyball_cap`.
    pub code: Option<&'static str>,
    /// For the client: no hosts, keys or prompts.
    pub public: String,
    /// For the operator's log.
    pub detail: String,
}

impl Error {
    /// An error whose retry follows from its kind.
    #[must_use]
    pub fn new(kind: Kind, public: impl Into<String>) -> Error {
        let retry = match kind {
            Kind::BadRequest
            | Kind::Unauthorized
            | Kind::Forbidden
            | Kind::NotFound
            | Kind::MethodNotAllowed
            | Kind::ClientTimeout
            | Kind::TooLarge
            | Kind::CapReached
            | Kind::RateReached
            | Kind::PrivateOnly
            | Kind::Internal => Retry::Never,
            Kind::Overloaded => Retry::After(Duration::from_secs(1)),
            Kind::UpstreamFailed | Kind::UpstreamTimeout => Retry::Unsaid,
        };
        let public = public.into();
        Error {
            kind,
            retry,
            field: None,
            code: None,
            detail: public.clone(),
            public,
        }
    }

    /// A 400 that names the field at fault.
    #[must_use]
    pub fn bad_field(field: impl Into<String>, public: impl Into<String>) -> Error {
        Error {
            field: Some(field.into()),
            ..Error::new(Kind::BadRequest, public)
        }
    }

    /// The same error with what the operator should read.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Error {
        self.detail = detail.into();
        self
    }

    /// The same error with one more sentence for the client.
    #[must_use]
    pub fn also(mut self, sentence: Option<&str>) -> Error {
        if let Some(sentence) = sentence {
            self.public.push(' ');
            self.public.push_str(sentence);
        }
        self
    }

    /// The same error with who was asked, where a provider is at fault. Their names are no secret to a client: every answer bears them.
    #[must_use]
    pub fn asked(mut self, provider: &str, model: Option<&str>) -> Error {
        if matches!(self.kind, Kind::UpstreamFailed | Kind::UpstreamTimeout) {
            let model = model.map_or_else(String::new, |model| format!(", model \"{model}\""));
            self.public = format!("{} (provider \"{provider}\"{model})", self.public);
        }
        self
    }

    /// The same error with a machine-readable code.
    #[must_use]
    pub fn code(mut self, code: &'static str) -> Error {
        self.code = Some(code);
        self
    }

    /// The same error with another advice on retrying.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Error {
        self.retry = retry;
        self
    }

    /// The HTTP status of this kind.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self.kind {
            Kind::BadRequest => 400,
            Kind::Unauthorized => 401,
            Kind::CapReached => 402,
            Kind::Forbidden | Kind::PrivateOnly => 403,
            Kind::NotFound => 404,
            Kind::MethodNotAllowed => 405,
            Kind::ClientTimeout => 408,
            Kind::TooLarge => 413,
            Kind::RateReached => 429,
            Kind::Internal => 500,
            Kind::UpstreamFailed => 502,
            Kind::Overloaded => 503,
            Kind::UpstreamTimeout => 504,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Error {}
