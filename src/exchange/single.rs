//! One attempt on what the client itself named: nothing is graded, nothing is routed, nothing else is tried.

use super::headers::{self, Wishes, Words};
use super::{Inbound, ask, reply};
use crate::arm::Effort;
use crate::dialect::{Answer as Read, Dialect};
use crate::error::{Error, Kind};
use crate::fleet::Arm;
use crate::fleet::Model;
use crate::ledger::balance::{Ask, Capped};
use crate::ledger::cap::Dims;
use crate::ledger::record::{Opening, Outcome};
use crate::ledger::{Refused, Reservation};
use crate::relay::{Answer, ReadWhole, Reading, Relay, Terms, Watch, bill_headers};
use crate::route::Policy;
use crate::settle::{Input, Job, Settlement};
use crate::upstream::Out;
use bytes::Bytes;
use http::{Method, Response};
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::Duration;

/// An exchange of one attempt.
pub(super) struct Single<'a> {
    pub(super) inbound: &'a Inbound<'a>,
    pub(super) policy: &'a Policy,
    pub(super) wishes: &'a Wishes,
    pub(super) tags: &'a [(String, String)],
    pub(super) read: Duration,
    /// In whose words errors are told.
    pub(super) dialect: &'static dyn Dialect,
    pub(super) model: Arc<Model>,
    pub(super) task: &'static str,
    pub(super) rule: &'static str,
    pub(super) input: Input,
}

/// Finds the bound exactly, slowly.
pub(super) type Exact = Box<dyn FnOnce() -> Ask + Send>;

/// There is no room.
struct Full(Error);

/// What goes out.
pub(super) struct Going {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) words: Words,
    pub(super) body: Out,
}

impl Single<'_> {
    fn arm(&self) -> Arm {
        Arm {
            model: Arc::clone(&self.model),
            effort: None,
        }
    }

    /// Which measures of it are capped.
    ///
    /// # Errors
    /// A cap counts it, and its model is not used under one for now.
    pub(super) fn capped(&self) -> Result<Capped, Error> {
        self.capped_on(&self.model)
    }

    /// As [`Single::capped`], if this model were meant.
    ///
    /// # Errors
    /// As there.
    pub(super) fn capped_on(&self, model: &Arc<Model>) -> Result<Capped, Error> {
        let arm = Arm {
            model: Arc::clone(model),
            effort: None,
        };
        let Inbound { state, caller, .. } = self.inbound;
        let dims = ask::dims(self.policy, caller, self.wishes, self.tags, Some(&arm));
        let mut capped = state.ledger.capped(&dims);
        if capped.any() && state.ledger.is_frozen(dims.provider, dims.model) {
            return Err(ask::frozen(dims.model));
        }
        capped.usd |= self.wishes.max_cost.is_some();
        Ok(capped)
    }

    /// Which measures are capped for some model that it may mean.
    pub(super) fn perhaps_capped(&self) -> Capped {
        let Inbound { state, caller, .. } = self.inbound;
        let dims = ask::dims(self.policy, caller, self.wishes, self.tags, None);
        let provider = &self.model.provider.name;
        let dims = Dims { provider, ..dims };
        state.ledger.perhaps_capped(&dims)
    }

    /// Reserves what it may cost at most. Where that has no room, `exact` may find less.
    ///
    /// # Errors
    /// A cap has no room, or the ledger cannot write.
    pub(super) async fn reserve(
        &self,
        ask: Ask,
        capped: Capped,
        exact: Option<Exact>,
    ) -> Result<Settlement, Error> {
        let Inbound {
            state,
            caller,
            arrived,
            ..
        } = self.inbound;
        let decided = arrived.elapsed();
        let mut job = self.job(capped);
        let cause = ask::Cause {
            request: self.inbound.id,
            rule: self.rule,
            task: self.task,
            difficulty: None,
        };
        let facts = ask::facts(self.policy, caller, self.wishes, self.tags, &job, &cause);
        let patience = self.policy.cap_wait;
        let reservation = match exact {
            None => self.reserved(ask, facts, patience).await,
            Some(exact) => match self.reserved(ask, facts.clone(), Duration::ZERO).await {
                Err(Full(_)) => {
                    let found = tokio::task::spawn_blocking(exact).await.unwrap_or(ask);
                    self.reserved(found, facts, patience).await
                }
                other => other,
            },
        };
        let reservation = reservation.map_err(|Full(error)| error)?;
        job.phases = vec![
            ("read", self.read),
            ("decide", decided.saturating_sub(self.read)),
            ("reserve", arrived.elapsed().saturating_sub(decided)),
        ];
        Ok(Settlement::new(job, reservation, state.telemetry.clone()))
    }

    async fn reserved(
        &self,
        mut ask: Ask,
        facts: Opening,
        patience: Duration,
    ) -> Result<Reservation, Full> {
        if let Some(most) = self.wishes.max_cost {
            ask::hold_to_cost(&mut ask, most).map_err(Full)?;
        }
        let reserved = self
            .inbound
            .state
            .ledger
            .reserve(ask, facts, patience)
            .await;
        reserved.map_err(|refused| {
            if let Refused::Full(full) = &refused {
                let scope = full.counter.scope.class();
                let telemetry = &self.inbound.state.telemetry;
                telemetry.cap_refused(scope, full.only_reserved());
            }
            Full(refused.error())
        })
    }

    fn job(&self, capped: Capped) -> Job {
        Job {
            arm: self.arm(),
            effort: Effort::None,
            tier: None,
            baseline: self.arm(),
            capped: capped.any(),
            dialect: self.dialect,
            attached: 0,
            held: 0,
            input: self.input.clone(),
            stream: false,
            arrived: self.inbound.arrived,
            phases: Vec::new(),
            alive: Arc::clone(&self.inbound.state.alive),
        }
    }

    /// Sends it and waits for the head of its answer, which says who served it.
    ///
    /// # Errors
    /// No answer; or the provider's own error, as an answer.
    pub(super) async fn send(
        &self,
        going: Going,
        mut settlement: Settlement,
    ) -> Result<(http::response::Parts, Incoming, Settlement), Result<Response<Answer>, Error>>
    {
        let (state, provider) = (self.inbound.state, &self.model.provider);
        settlement.sending();
        let headers = headers::outgoing(self.inbound.head, provider, &going.url, going.words);
        let sent = state
            .upstream
            .call(going.method, &going.url, headers, going.body);
        let answer = match sent.await {
            Ok(answer) => answer,
            // The client's own fault, and never a whole request to the provider.
            Err(failure) if matches!(failure.error.kind, Kind::TooLarge | Kind::ClientTimeout) => {
                settlement.void(Outcome::NotSent);
                return Err(Err(failure.error));
            }
            Err(failure) => {
                let telemetry = &state.telemetry;
                telemetry.upstream_error(&provider.name, &failure.error);
                return Err(Err(reply::unanswered(failure, settlement)));
            }
        };
        let (mut head, body) = answer.into_parts();
        settlement.status(head.status.as_u16());
        settlement.tier(headers::service_tier(&head.headers));
        headers::returned(&mut head.headers);
        let (model, task, rule) = (&self.model, self.task, self.rule);
        headers::served(&mut head.headers, model, Effort::None, task, rule);
        if head.status.is_success() {
            return Ok((head, body, settlement));
        }
        let refused = reply::refused_upstream(state, provider, &head, body, settlement).await;
        Err(refused.map(|bytes| match going.words.translated.is_some() {
            true => reply::error_of(head, &bytes, self.dialect, self.inbound.id),
            false => Response::from_parts(head, Answer::whole(bytes)),
        }))
    }

    /// Settles an answer that is here as a whole, with its cost in its headers.
    pub(super) fn settled(
        &self,
        head: &mut http::response::Parts,
        answer: &Read,
        mut settlement: Settlement,
    ) {
        settlement.arrived();
        let bill = settlement.answered(answer);
        head.headers
            .extend(bill.map(bill_headers).unwrap_or_default());
    }

    /// Passes on an answer that is too long to be held back.
    pub(super) fn relayed(
        &self,
        head: http::response::Parts,
        first: Bytes,
        rest: Incoming,
        read: ReadWhole,
        settlement: Settlement,
    ) -> Response<Answer> {
        let reading = Reading::Json {
            kept: Some(first.to_vec()),
            read,
        };
        self.relay(head, Some(first), rest, reading, settlement)
    }

    /// Passes on an answer of which perhaps nothing can be read.
    pub(super) fn watched(
        &self,
        head: http::response::Parts,
        first: Option<Bytes>,
        rest: Incoming,
        watch: Watch,
        mut settlement: Settlement,
    ) -> Response<Answer> {
        if matches!(watch, Watch::Events(_)) {
            settlement.streaming();
        }
        self.relay(head, first, rest, Reading::Passed(watch), settlement)
    }

    fn relay(
        &self,
        mut head: http::response::Parts,
        first: Option<Bytes>,
        rest: Incoming,
        reading: Reading,
        settlement: Settlement,
    ) -> Response<Answer> {
        if headers::wants_trailers(self.inbound.head) {
            headers::announce_trailers(&mut head.headers);
        }
        let relay = Relay::new(rest, first, reading, settlement, self.terms());
        Response::from_parts(head, Answer::Relayed(Box::new(relay)))
    }

    fn terms(&self) -> Terms<'_> {
        Terms {
            limits: &self.inbound.state.limits,
            dialect: self.dialect,
            request: self.inbound.id.to_owned(),
            wants_trailers: headers::wants_trailers(self.inbound.head),
            makers: self.inbound.state.affinity.makers().clone(),
            model: self.model.name.clone(),
        }
    }
}
