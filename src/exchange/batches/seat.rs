//! One line of a batch as a request of its own: admitted, looked through and decided like any other.

use super::super::admission::{Admission, Entrant, Inbound};
use super::super::completion::{Completion, Routed};
use super::super::confidential::{self, Seen};
use super::super::router::{self, CallKind};
use super::super::{Place, State};
use crate::arm::Effort;
use crate::batch::{BatchRow, LineDoc, LineRow};
use crate::caller::Caller;
use crate::dialect::Dialect;
use crate::error::{Error, Kind};
use crate::fleet::Arm;
use crate::ledger::now;
use crate::ledger::store::Key;
use crate::route::{Decision, Policy};
use crate::telemetry::otlp::Trace;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request};
use std::sync::Arc;
use std::time::Instant;

/// The code of the error that a key is paused.
const PAUSED: &str = "key_paused";

/// A line that is looked at, or whatever else is asked when its client is not there.
pub(in crate::exchange) struct Seat {
    pub(super) head: Parts,
    pub(super) id: String,
    dialect: &'static dyn Dialect,
    caller: Caller,
    policy: Arc<Policy>,
    pub(in crate::exchange) body: Bytes,
    arrived: Instant,
}

/// Who has handed in a batch, and may have something of it begun now.
///
/// # Errors
/// The key was revoked, or its time is over: nothing more is begun for it. Or it is paused ([`is_paused`]), which may pass.
pub(super) fn caller_of(state: &State, key: i64) -> Result<Caller, Error> {
    if key == 0 {
        return Ok(Caller { key: None });
    }
    let known = state.callers.load().of_row(key);
    let ended = |key: &Key| key.expires.is_some_and(|end| end <= now());
    match known.filter(|key| !ended(key)) {
        Some(key) if key.paused => {
            let why = "The key with which this batch was handed in is paused.";
            Err(Error::new(Kind::Forbidden, why).code(PAUSED))
        }
        Some(key) => Ok(Caller { key: Some(key) }),
        None => {
            let why = "The key with which this batch was handed in is not valid any more.";
            Err(Error::new(Kind::Unauthorized, why).code("invalid_api_key"))
        }
    }
}

/// Whether a key is only paused: what waits for it goes on once it is resumed.
pub(super) fn is_paused(error: &Error) -> bool {
    error.code == Some(PAUSED)
}

/// Whose a batch is, whatever has become of its key since: what it has cost is booked to that key.
pub(super) fn owner_of(state: &State, key: i64) -> Caller {
    Caller {
        key: state.callers.load().ever_of_row(key),
    }
}

impl Seat {
    /// This line.
    ///
    /// # Errors
    /// Its path or a header of its batch is none.
    pub(super) fn of(
        state: &State,
        batch: &BatchRow,
        caller: Caller,
        row: &LineRow,
    ) -> Result<Seat, Error> {
        let path = row.doc.path.as_str();
        let mut request = Request::builder().method(Method::POST).uri(path);
        for (name, value) in batch.headers_of(&row.doc) {
            let name = HeaderName::try_from(name.as_str());
            let value = HeaderValue::from_bytes(value.as_bytes());
            if let (Ok(name), Ok(value)) = (name, value) {
                request = request.header(name, value);
            }
        }
        let request = request
            .body(())
            .map_err(|_| Error::new(Kind::BadRequest, "The path of a line is no path."))?;
        let (head, ()) = request.into_parts();
        let (id, body) = (
            batch.request_of(row.n, &row.doc),
            Bytes::copy_from_slice(row.body.as_bytes()),
        );
        Ok(Seat::new(state, caller, (head, &id), body))
    }

    /// What is asked with this head under this id.
    pub(in crate::exchange) fn new(
        state: &State,
        caller: Caller,
        (head, id): (Parts, &str),
        body: Bytes,
    ) -> Seat {
        let (dialect, _) = router::asked(&head);
        Seat {
            head,
            id: id.to_owned(),
            dialect,
            caller,
            policy: state.policy.load_full(),
            body,
            arrived: Instant::now(),
        }
    }

    /// Where it would be asked by itself.
    ///
    /// # Errors
    /// Nothing is answered there that a batch may ask for.
    pub(in crate::exchange) fn place(&self) -> Result<Place<'_>, Error> {
        match router::asked(&self.head).1 {
            Ok(CallKind::Complete(place)) => Ok(place),
            _ => Err(Error::bad_field(
                "url",
                format!("A batch cannot ask for {}.", self.head.uri.path()),
            )),
        }
    }

    /// What its path asks for.
    pub(super) fn call(&self) -> Result<CallKind<'_>, Error> {
        router::asked(&self.head).1
    }

    /// Lets it in for the end user whom it names, and looks through it.
    ///
    /// # Errors
    /// As for a request.
    pub(in crate::exchange) async fn admitted<'s>(
        &'s self,
        state: &'s State,
    ) -> Result<Admission<'s>, Error> {
        let mut admission = Admission::new(self.inbound(state))?;
        admission.names_user(&self.body)?;
        confidential::look(&mut admission, &self.body, &Seen::default()).await?;
        Ok(admission)
    }

    /// Lets it in whose answer is there already. Whom it names is not asked: what it has cost is booked with its reservation, under whose name
    /// that was opened.
    ///
    /// # Errors
    /// As for a request.
    pub(super) fn answered<'s>(&'s self, state: &'s State) -> Result<Admission<'s>, Error> {
        Admission::answered(self.inbound(state))
    }

    fn inbound<'s>(&'s self, state: &'s State) -> Inbound<'s> {
        state.inbound(Entrant {
            caller: self.caller.clone(),
            head: &self.head,
            dialect: self.dialect,
            id: &self.id,
            arrived: self.arrived,
            policy: Arc::clone(&self.policy),
            trace: Trace::default(),
        })
    }

    /// The model and effort that were decided on.
    ///
    /// # Errors
    /// The configuration has it no more.
    pub(super) fn arm(&self, model: &str, effort: Option<&str>) -> Result<Arm, Error> {
        let policy = &self.policy;
        let name = self.dialect.name();
        let found = policy.fleet.resolve(model, name, &policy.catalogue);
        let model = found.map_err(|_| {
            Error::new(
                Kind::NotFound,
                format!("The model \"{model}\" is not configured any more."),
            )
        })?;
        Ok(Arm {
            model,
            effort: LineDoc::effort_of(effort),
        })
    }

    /// As it was decided before.
    ///
    /// # Errors
    /// The configuration has its model no more.
    pub(super) fn decided<'c>(
        &self,
        completion: &'c Completion<'c>,
        doc: &LineDoc,
    ) -> Result<Routed<'c>, Error> {
        let arm = self.arm(&doc.model, doc.effort.as_deref())?;
        let (model, effort) = &doc.baseline;
        let baseline = self
            .arm(model, effort.as_deref())
            .unwrap_or_else(|_| arm.clone());
        Ok(completion.by(Decision {
            attempts: vec![arm],
            further: Vec::new(),
            routed: doc.routed,
            rule: doc.rule.clone(),
            baseline,
            untouched: doc.untouched,
            considered: Vec::new(),
            unknown: None,
            probe: None,
        }))
    }
}

/// What is kept of a decision for this arm.
pub(super) fn noted(decision: &Decision, arm: &Arm) -> LineDoc {
    let effort = |arm: &Arm| arm.effort.map(Effort::name).map(str::to_owned);
    LineDoc {
        provider: arm.model.provider.name.clone(),
        model: arm.model.name.clone(),
        effort: effort(arm),
        rule: decision.rule.clone(),
        routed: decision.routed,
        untouched: decision.untouched,
        baseline: (
            decision.baseline.model.name.clone(),
            effort(&decision.baseline),
        ),
        ..LineDoc::default()
    }
}
