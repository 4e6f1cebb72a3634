//! An exchange whose answer equal requests share: an answer of before is given again, one that is on its way is listened to, and the
//! first of several equal requests makes the call that the others listen to. That call goes the same way as any other, in `exchange`; who
//! may share, and what makes two requests equal, is in `cached`.

use super::admission::{Admission, Entrant};
use super::cached::{self, Asked, Shared};
use super::completion::Completion;
use super::work::Reply;
use super::{Exchange, State, returned, router};
use crate::error::Error;
use crate::ledger::balance::Requirement;
use crate::relay::{AnswerBody, Followed, bill_headers};
use crate::response_cache::{Found, Landing, Listener, Pilot, Stored, Wish};
use crate::settle::{Around, Paid, Replayed};
use crate::telemetry::CacheResult;
use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use std::sync::Arc;

impl Exchange<'_> {
    /// Past the response cache, although that was asked for.
    pub(super) async fn bypass(&self, completion: &Completion<'_>) -> Reply {
        let answer = self.complete_alone(completion).await?;
        Ok(self.noted(answer, CacheResult::Bypass))
    }

    /// An answer of before is given again; one that is on its way to an equal request is listened to; and the first of several equal
    /// requests makes the call that the others listen to.
    pub(super) async fn complete_shared(
        &self,
        completion: &Completion<'_>,
        body: &Bytes,
        Shared { cache, wish, key }: &Shared,
    ) -> Reply {
        let stream = completion.request.stream;
        loop {
            let (listener, paid) = match cache.find(*key, *wish, self.admission.id) {
                Found::Stored(stored) => {
                    return match self
                        .row_of_shared(&stored.head, stream, &stored.paid)
                        .await?
                    {
                        Some(row) => Ok(self.give_again(&stored, row)),
                        None => self.bypass(completion).await,
                    };
                }
                Found::Flying(listener, paid) => (listener, paid),
                Found::Nothing(pilot, listener) => {
                    let asked = Asked::of(self.admission, body);
                    tokio::spawn(fly(Arc::clone(self.state), asked, pilot));
                    let (head, whole) = match listener.landed().await {
                        Landing::Answer(head, whole) => (head, whole),
                        Landing::Failed(error) => return Err(error),
                        Landing::Lost => return Err(cached::lost()),
                    };
                    let body = match whole {
                        Some(bytes) => AnswerBody::whole(bytes),
                        None => self.followed(&head.headers, listener, None),
                    };
                    let result = match wish {
                        Wish::Use(_) => CacheResult::Miss,
                        Wish::Refresh => CacheResult::Refresh,
                    };
                    return Ok(self.noted(Response::from_parts(head, body), result));
                }
            };
            let (head, whole) = match listener.landed().await {
                Landing::Answer(head, whole) => (head, whole),
                Landing::Failed(error) if cached::is_of_provider(&error) => return Err(error),
                // What was in the way of who has asked first is not in the way of the others: the next of them makes the call.
                Landing::Failed(_) | Landing::Lost => continue,
            };
            let mut answer = if head.status.is_success() {
                let row = self.row_of_shared(&head.headers, stream, &paid).await?;
                let Some(row) = row else {
                    return self.bypass(completion).await;
                };
                let request = listener.request().to_owned();
                let mut headers = cached::shared_head(&head.headers);
                let body = match whole {
                    Some(bytes) => {
                        headers.extend(bill_headers(row.ended()));
                        AnswerBody::whole(bytes)
                    }
                    None => self.followed(&headers, listener, Some((row, paid))),
                };
                let mut answer = Response::new(body);
                *answer.headers_mut() = headers;
                cached::from(&mut answer, &request);
                answer
            } else {
                cached::refused(head, whole)
            };
            answer = self.noted(answer, CacheResult::Shared);
            return Ok(answer);
        }
    }

    /// The body of an answer that several listen to.
    fn followed(
        &self,
        headers: &HeaderMap,
        listener: Listener,
        row: Option<(Replayed, Arc<Paid>)>,
    ) -> AnswerBody {
        let Admission { dialect, id, .. } = *self.admission;
        let events = returned::is_event_stream(headers).then_some(dialect);
        AnswerBody::Followed(Box::new(Followed::new(listener, row, events, id)))
    }

    /// An answer of before, which costs nothing.
    fn give_again(&self, stored: &Stored, row: Replayed) -> Response<AnswerBody> {
        let mut answer = cached::replayed(stored);
        answer.headers_mut().extend(bill_headers(row.ended()));
        self.noted(answer, CacheResult::Hit)
    }

    /// The row of a request that is given an answer with this head: a request like any other before caps that count requests, and nothing
    /// before those that count money or tokens. `None` where its caller could not be answered so.
    async fn row_of_shared(
        &self,
        headers: &HeaderMap,
        stream: bool,
        paid: &Arc<Paid>,
    ) -> Result<Option<Replayed>, Error> {
        let maker = cached::maker(headers);
        let Some(maker) = maker.filter(|maker| cached::is_permitted(self.admission, maker)) else {
            return Ok(None);
        };
        let opening = self.admission.opening_of_shared(&maker);
        let nothing = Requirement::default();
        let patience = self.admission.policy.cap_wait;
        let opened = self.state.ledger.reserve(nothing, opening, patience).await;
        let reservation = match opened {
            Ok(reservation) => reservation,
            Err(refused) => {
                let refusal = self.refusal(&refused, None).reply();
                return refusal.map(|_| None);
            }
        };
        let around = Around {
            telemetry: Arc::clone(&self.state.telemetry),
            arrived: self.admission.arrived,
            phases: vec![("read", self.read)],
            alive: Arc::clone(&self.state.alive),
            trace: self.admission.trace.clone(),
            paid: None,
            delivery: None,
            lost: None,
        };
        let terms = (maker.effort, stream);
        let row = Replayed::new(around, reservation, terms, Arc::clone(paid));
        Ok(Some(row))
    }

    /// What the response cache had for it.
    fn noted(&self, answer: Response<AnswerBody>, result: CacheResult) -> Response<AnswerBody> {
        self.state.telemetry.response_cache(result);
        cached::noted(answer, result)
    }
}

/// Answers a request for all that listen, by itself: it goes on when the one that has asked first goes away, and ends when nobody listens.
async fn fly(state: Arc<State>, asked: Asked, pilot: Pilot) {
    let answer = tokio::select! {
        answer = answered_for_all(&state, &asked, pilot.paid()) => answer,
        () = pilot.abandoned() => return,
    };
    let (head, mut body) = match answer {
        Ok(answer) => answer.into_parts(),
        Err(error) => return pilot.fails(error),
    };
    let whole = matches!(body, AnswerBody::Whole(_));
    let shared = cached::shared_head(&head.headers);
    if !whole {
        pilot.lands(head.clone(), None);
    }
    let (mut bytes, mut trailers) = (Bytes::new(), None);
    let end = loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = pilot.abandoned() => return,
        };
        match frame {
            None => break Ok(()),
            Some(Err(why)) => break Err(why.to_string()),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if whole => bytes = data,
                Ok(data) => pilot.push(&data).await,
                Err(other) => trailers = other.into_trailers().ok(),
            },
        }
    };
    let kept = if whole {
        Some(bytes.clone())
    } else {
        pilot.kept()
    };
    if let Some(kept) = kept
        && end.is_ok()
        && cached::may_be_kept(&head, pilot.paid())
    {
        pilot.keeps(shared, kept, !whole);
    }
    if whole {
        pilot.lands(head, Some(bytes));
    }
    pilot.ends(end, trailers);
    state.tell_response_cache();
}

/// The exchange that is for all that listen.
async fn answered_for_all(state: &Arc<State>, asked: &Asked, paid: &Arc<Paid>) -> Reply {
    let place = asked.place()?;
    let (dialect, _) = router::asked(&asked.head);
    let mut admission = Admission::new(state.inbound(Entrant {
        caller: asked.caller.clone(),
        head: &asked.head,
        dialect,
        id: &asked.id,
        arrived: asked.arrived,
        policy: Arc::clone(&asked.policy),
        trace: asked.trace.clone(),
    }))?;
    admission.names_user(&asked.body)?;
    let exchange = Exchange {
        paid: Some(Arc::clone(paid)),
        ..Exchange::of(state, &admission)
    };
    let completion = Completion::read(&admission, &asked.body, &place)?;
    exchange.complete_alone(&completion).await
}
