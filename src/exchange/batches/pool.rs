//! Requests that wait: each is asked by itself, by whomever, and goes out with others of its model in one batch of their vendor's. For a
//! while such a batch collects requests; then it is worked on like one that was handed in, and each of its lines belongs to its own asker.

use super::super::channels::to;
use super::super::work::{BatchLine, Order, Unserved, Work};
use super::super::{Exchange, State, reply, returned};
use super::admit::{text_of, wants};
use super::desk::Room;
use super::seat::noted;
use super::work::driving;
use crate::batch::collecting::{Pool, seconds, shared_deadline, times};
use crate::batch::parts::Parts;
use crate::batch::{Asker, BatchDoc, BatchRow, LineDoc, LineRow, LineState, NOBODYS, PartRow};
use crate::chat::ServiceTier;
use crate::dialect::batch::{BatchState, PartLimits};
use crate::error::{Error, Kind, Retry};
use crate::fleet::Arm;
use crate::ledger::store::batches::Claim;
use crate::ledger::store::waiting::WaitingRow;
use crate::ledger::{HeldRoom, now};
use crate::relay::AnswerBody;
use crate::upstream::Out;
use http::header::{HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use http::{Response, StatusCode};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Requests of one key that wait at the same time: their texts are kept on disk.
const WAITING_MAX: i64 = 10_000;
/// A client that asks whether its answer is there is told to come back after so many seconds.
pub(super) const COME_BACK: i64 = 30;
/// A request finds a batch that collects at the second attempt at the latest, since it begins one then, unless the clock jumps.
const ATTEMPTS: usize = 4;

/// Lets a request wait with others for a batch of this arm's vendor. Its room is reserved at the batch's rates before the client is told so.
pub(in crate::exchange) async fn join(
    exchange: &Exchange<'_>,
    work: &dyn Work,
    arm: &Arm,
    line: BatchLine<'_>,
) -> Result<Response<AnswerBody>, Unserved> {
    let (state, admission) = (exchange.state, exchange.admission);
    check_room_for_texts(exchange)
        .await
        .map_err(Unserved::error)?;
    let mut order = work.order_in_batch(arm, &line.told)?;
    let room = exchange.room(&mut *order, Duration::ZERO).await;
    let room = room.map_err(|full| exchange.no_room(full))?;
    let Some(mut room) = room else {
        let why = "a completion stands in the books";
        return Err(Unserved::error(Error::new(Kind::Internal, why)));
    };
    exchange.comes_after_the_last(&mut room);
    let row = row(exchange, (arm, &line), &mut *order, &room).await;
    let mut row = row.map_err(Unserved::error)?;
    let deadline = shared_deadline(admission.wishes.deadline.unwrap_or_default());
    let joining = Joining {
        whom: format!(
            "{}\n{}\n{}\n{}\n{}",
            row.doc.provider,
            row.doc.channel,
            row.doc.model,
            row.doc.out_path,
            deadline.as_secs()
        ),
        limits: line.limits,
        deadline,
    };
    let joined = joining.put(state, &mut row, room).await;
    let expires = joined.map_err(Unserved::error)?;
    let id = admission.id;
    let body = json!({
        "id": id, "object": "flyball.request", "status": "waiting", "expires_at": expires,
        "answer": format!("/flyball/requests/{id}/answer"),
    });
    let mut answer = reply::json(StatusCode::ACCEPTED, body.to_string());
    let headers = answer.headers_mut();
    order.announce(headers);
    returned::set(headers, "x-flyball-service-tier", ServiceTier::Batch.name());
    let applied = HeaderName::from_static("preference-applied");
    headers.insert(applied, HeaderValue::from_static("respond-async"));
    headers.insert(RETRY_AFTER, HeaderValue::from(COME_BACK));
    if let Ok(place) = HeaderValue::try_from(format!("/flyball/requests/{id}/answer")) {
        headers.insert(LOCATION, place);
    }
    Ok(answer)
}

/// # Errors
/// So many requests of this key wait already that no other is kept.
async fn check_room_for_texts(exchange: &Exchange<'_>) -> Result<(), Error> {
    let key = key_of(exchange);
    let desk = &exchange.state.batches;
    let many = desk.with(move |store| store.waiting_of(key, WAITING_MAX));
    match many.await? < WAITING_MAX {
        true => Ok(()),
        false => Err(Error::new(
            Kind::RateReached,
            format!(
                "{WAITING_MAX} requests of this key wait for their answers already. Fetch or cancel some, or ask without \"prefer: respond-async\"."
            ),
        )
        .code("too_many_waiting")
        .retry(Retry::After(Duration::from_secs(60)))),
    }
}

fn key_of(exchange: &Exchange<'_>) -> i64 {
    let key = exchange.admission.caller.key.as_ref();
    key.map_or(0, |key| key.id)
}

/// The line that the request is.
async fn row(
    exchange: &Exchange<'_>,
    (arm, line): (&Arm, &BatchLine<'_>),
    order: &mut dyn Order,
    room: &HeldRoom,
) -> Result<LineRow, Error> {
    let admission = exchange.admission;
    // Whoever waits for the same model waits on the same channel, so that they can share a batch.
    let provider = &arm.model.provider;
    let channels = &exchange.state.channels;
    let channel = channels.prefers(to(arm), wants(&provider.name));
    let outgoing = order.outgoing(room.tokens(), channel)?;
    let path = outgoing.url.strip_prefix(channel.base_url.as_str());
    let out_path = path.unwrap_or(&outgoing.url).to_owned();
    let out = match outgoing.body {
        Out::Whole(full) => text_of(full).await,
        Out::Streamed(_) => String::new(),
    };
    let body = std::str::from_utf8(line.body)
        .map_err(|_| Error::new(Kind::BadRequest, "The body is no UTF-8."))?;
    Ok(LineRow {
        n: 0,
        custom_id: admission.id.to_owned(),
        part: 0,
        state: LineState::Waiting,
        body: body.to_owned(),
        out,
        result: String::new(),
        doc: LineDoc {
            // What follows a question mark may be a key.
            path: admission.head.uri.path().to_owned(),
            told: line.told.dialect.name().to_owned(),
            out_path,
            channel: channel.name.clone(),
            attempt: room.attempt().to_owned(),
            asker: Some(Asker {
                request: admission.id.to_owned(),
                key: key_of(exchange),
                dialect: admission.dialect.name().to_owned(),
                headers: headers(exchange),
            }),
            ..noted(line.decision, arm)
        },
    })
}

/// What came with the request and holds for it still when it is read again, but for what has made it wait.
fn headers(exchange: &Exchange<'_>) -> Vec<(String, String)> {
    let admission = exchange.admission;
    let all = super::headers_that_hold(admission.head, admission.dialect, &admission.policy);
    let stays = |(name, _): &(String, String)| name != "x-flyball-deadline";
    all.into_iter().filter(stays).collect()
}

/// Which batch a request joins.
struct Joining {
    whom: String,
    limits: PartLimits,
    deadline: Duration,
}

impl Joining {
    /// Puts the line into a batch that collects, and its room with it. Gives when its time is over, in seconds since 1970.
    async fn put(
        &self,
        state: &Arc<State>,
        row: &mut LineRow,
        mut room: HeldRoom,
    ) -> Result<i64, Error> {
        let desk = &state.batches;
        let expires = now().saturating_add(seconds(self.deadline));
        let tokens = usize::try_from(room.tokens()).unwrap_or(usize::MAX);
        let sizes = (
            row.out.len(),
            tokens.saturating_mul(super::admit::TOKEN_BYTES),
        );
        let mut pools = desk.pools.lock().await;
        for _ in 0..ATTEMPTS {
            pools.retain(|_, pool| now() < pool.until);
            if !pools.contains_key(&self.whom) {
                let pool = self.begin(state, row).await?;
                pools.insert(self.whom.clone(), pool);
            }
            let Some(pool) = pools.get_mut(&self.whom) else {
                continue;
            };
            if pool.parts.place(&self.whom, sizes, self.limits).0 > 0 {
                // It is full: another one begins.
                pools.remove(&self.whom);
                continue;
            }
            row.n = pool.next;
            pool.next += 1;
            let waiting = WaitingRow {
                request: row.custom_id.clone(),
                key: row.doc.asker.as_ref().map_or(0, |asker| asker.key),
                batch: pool.id.clone(),
                n: row.n,
                created: now(),
                expires,
                gone: false,
                tries: 0,
            };
            // Whoever finds the line finds its room as well.
            desk.keep_room(&pool.id, row.n, Room::Held(room));
            let (line, id, joins) = (row.clone(), pool.id.clone(), waiting.clone());
            let worker = pool.worker.clone();
            let joined = desk.with(move |store| store.join(&worker, &line, &joins));
            let joined = joined.await;
            if matches!(joined, Ok(true)) {
                return Ok(expires);
            }
            let Some(Room::Held(back)) = desk.take_room(&id, row.n) else {
                break;
            };
            room = back;
            if joined.is_err() {
                // It may be there all the same, where the database was lost in the moment of its answer: then it must not go out, since its
                // client is told otherwise.
                let own = waiting.clone();
                let _ = desk
                    .with(move |store| {
                        store.take_back(&own)?;
                        store.forget_waiting(&own)
                    })
                    .await;
            }
            joined?;
            pools.remove(&self.whom);
        }
        let why =
            "No batch takes this request now; ask again, or without \"prefer: respond-async\".";
        Err(Error::new(Kind::Overloaded, why))
    }

    /// Begins a batch that collects requests.
    async fn begin(&self, state: &Arc<State>, row: &LineRow) -> Result<Pool, Error> {
        let desk = &state.batches;
        let settings = desk.settings.load_full();
        let (collects, works) = times(self.deadline, settings.collect);
        let until = now().saturating_add(seconds(collects));
        let id = format!("wait_{}", uuid::Uuid::now_v7().simple());
        let batch = BatchRow {
            id: id.clone(),
            key: NOBODYS,
            state: BatchState::Validating,
            created: now(),
            doc: BatchDoc {
                expires: now().saturating_add(seconds(works)),
                results_for: seconds(settings.keep_for),
                collects_until: Some(until),
                ..BatchDoc::default()
            },
        };
        let part = PartRow {
            provider: row.doc.provider.clone(),
            model: row.doc.model.clone(),
            channel: row.doc.channel.clone(),
            ..PartRow::default()
        };
        let claim = Claim {
            batch: id.clone(),
            worker: uuid::Uuid::now_v7().to_string(),
        };
        let (own, claimed_until) = (claim.clone(), desk.claimed_until());
        desk.with(move |store| store.begin(&own, claimed_until, (&batch, &part)))
            .await?;
        let worker = claim.worker.clone();
        tokio::spawn(driving(Arc::clone(state), claim));
        Ok(Pool {
            id,
            worker,
            next: 0,
            parts: Parts::default(),
            until,
        })
    }
}
