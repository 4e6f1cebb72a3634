//! Hears of the ends of answers that vendors make in the background, whether their clients come back for them or not, so that they are booked by
//! what they have used; and ends what a process that has died was making. Of several processes one does it for each job.

use super::super::{State, outgoing, reply};
use super::until;
use crate::chat::Manner;
use crate::dialect::background::JobEnding;
use crate::dialect::{self, Answer};
use crate::error::Error;
use crate::ledger::record::{Basis, Correction, TrueUp};
use crate::ledger::store::jobs::{JobKind, JobRow, JobState};
use crate::ledger::{now, now_ms};
use crate::money::PicoUsd;
use crate::provider::channel::Channel;
use crate::provider::{Provider, Side};
use crate::settle::charge::ChargeTerms;
use crate::telemetry::JobEnd;
use crate::upstream::{AGENT, Begins, Terms};
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Method, header};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A vendor is asked of its jobs for so many seconds; later than this its reservation has ended at its bound anyhow.
pub(super) const WATCHED_FOR: i64 = 2 * 24 * 3_600;
/// A job that its client has fetched within this time is booked; later its reservation has ended at its bound, which its end corrects.
const BOOKED_WITHIN: i64 = 24 * 3_600;
/// A job that is under way for long is asked for less and less often, but never more seldom than this.
const POLL_MAX: Duration = Duration::from_secs(300);
/// Of a job's age, one part in so many is waited until it is asked for again.
const POLL_PART: u32 = 10;
/// Vendors that are asked at once.
const AT_ONCE: usize = 8;
/// A vendor has so long to tell how a job stands.
const CALL: Duration = Duration::from_secs(60);
/// How often it is looked for jobs at least.
const LOOK: Duration = Duration::from_secs(5);
/// How often what is outdated is forgotten.
const TIDY: Duration = Duration::from_secs(600);
/// Where a correction comes from that the end of a job makes after a crash.
const SOURCE: &str = "background job";

/// Goes on until the process stops.
pub async fn keep_polling(state: Arc<State>, mut stop: watch::Receiver<bool>) {
    let mut asked: HashMap<String, Instant> = HashMap::new();
    let mut tidied: Option<Instant> = None;
    // Vendors take their time to answer; nobody else may take a job for a dead one's meanwhile.
    let beating = beat(&state);
    tokio::pin!(beating);
    loop {
        let look = async {
            if let Err(error) = look(&state, &mut asked).await {
                tracing::warn!(%error, "jobs in the background cannot be looked for");
            }
            if tidied.is_none_or(|last| last.elapsed() >= TIDY) {
                tidied = Some(Instant::now());
                state.background.evict();
                let tidy = state.batches.with(|store| store.tidy_jobs(now()));
                if let Err(error) = tidy.await {
                    tracing::warn!(%error, "old answers of the background cannot be forgotten");
                }
            }
        };
        tokio::select! {
            () = look => {}
            () = &mut beating => {}
            _ = stop.wait_for(|stopped| *stopped) => break,
        }
        let most = state.batches.claim_time() / 3;
        let wait = state.background.settings.load().poll.min(LOOK).min(most);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = &mut beating => {}
            _ = stop.wait_for(|stopped| *stopped) => break,
        }
    }
    let owner = state.background.process.clone();
    if let Err(error) = state
        .batches
        .with(move |store| store.leave_jobs(&owner))
        .await
    {
        tracing::warn!(%error, "jobs in the background cannot be left to others at once");
    }
}

/// Keeps the jobs that this process has.
async fn beat(state: &Arc<State>) {
    loop {
        tokio::time::sleep(state.batches.claim_time() / 3).await;
        let (owner, until) = (state.background.process.clone(), until(state));
        let kept = state
            .batches
            .with(move |store| store.keep_jobs(&owner, until));
        if let Err(error) = kept.await {
            tracing::warn!(%error, "jobs in the background cannot be claimed");
        }
    }
}

async fn look(state: &Arc<State>, asked: &mut HashMap<String, Instant>) -> Result<(), Error> {
    for row in taken(state, JobKind::Own).await? {
        own(state, &row).await?;
    }
    let rows = taken(state, JobKind::Vendors).await?;
    asked.retain(|id, _| rows.iter().any(|row| row.id == *id));
    let poll = state.background.settings.load().poll;
    let due = rows.into_iter().filter(|row| {
        let age = u64::try_from(now().saturating_sub(row.created)).unwrap_or(0);
        let wait = (Duration::from_secs(age) / POLL_PART).min(POLL_MAX);
        let last = asked.get(&row.id);
        let is_due = match last {
            Some(last) => last.elapsed() >= wait.max(poll),
            // Who has begun it just now knows that it is not there yet.
            None => row.doc.process != state.background.process || Duration::from_secs(age) >= poll,
        };
        if is_due {
            asked.insert(row.id.clone(), Instant::now());
        }
        is_due
    });
    let due: Vec<JobRow> = due.collect();
    let asking = due.into_iter().map(|row| {
        let state = Arc::clone(state);
        async move { vendors(&state, &row).await }
    });
    let asking = futures_util::stream::iter(asking).buffer_unordered(AT_ONCE);
    asking.collect::<Vec<()>>().await;
    Ok(())
}

async fn taken(state: &Arc<State>, kind: JobKind) -> Result<Vec<JobRow>, Error> {
    let (owner, until) = (state.background.process.clone(), until(state));
    let rows = state
        .batches
        .with(move |store| store.take_jobs(kind, &owner, (now(), until)));
    rows.await
}

/// A job that flyball makes itself: it is to be cancelled, or whoever made it has died.
async fn own(state: &Arc<State>, row: &JobRow) -> Result<(), Error> {
    match state.background.live(&row.id) {
        Some(live) if row.state == JobState::Cancelling => live.cancel(),
        // What could not be kept at its end is kept now.
        Some(live) if live.is_over() => state.background.ended(state, &live).await,
        Some(_) => {}
        None => {
            let words = dialect::named(&row.doc.dialect).and_then(|d| d.background());
            let Some(words) = words else { return Ok(()) };
            let how = match row.state {
                JobState::Cancelling => JobEnding::Cancelled,
                JobState::Running | JobState::Over => JobEnding::Failed(
                    "flyball ended while this answer was made; it was not asked again, and is charged at its bound",
                ),
            };
            let event = words.ending(&row.doc.response, how, 0);
            let response = event.response.unwrap_or_default();
            let pieces = vec![response.into_bytes(), event.text.into_bytes()];
            let (id, most) = (row.id.clone(), state.background.bytes_max());
            let ended = state
                .batches
                .with(move |store| store.end_job(&id, pieces, most));
            ended.await?;
        }
    }
    Ok(())
}

/// Asks a vendor how its job stands, and books what it has used once it is over.
async fn vendors(state: &Arc<State>, row: &JobRow) {
    let here = row.doc.process == state.background.process;
    let open = state.jobs.has(&row.doc.provider, &row.id);
    let old = now().saturating_sub(row.created) >= BOOKED_WITHIN;
    let over = match here && !open && !old {
        // Its client has fetched it, and it is booked.
        true => true,
        false => match told(state, row).await {
            JobLook::Over(answer) => match booked(state, row, &answer).await {
                Booked::Done => true,
                Booked::Later => false,
                Booked::ByItsOwn => {
                    give_back(state, row).await;
                    false
                }
            },
            JobLook::Gone => {
                state.jobs.lost(&row.doc.provider, &row.id);
                true
            }
            JobLook::GoesOn => now() >= row.expires,
        },
    };
    if over {
        let id = row.id.clone();
        let ended = state
            .batches
            .with(move |store| store.end_job(&id, Vec::new(), i64::MAX));
        if let Err(error) = ended.await {
            tracing::warn!(job = row.id, %error, "that a job in the background is over cannot be noted");
        }
    }
}

/// Whoever began a job lives, and has its reservation: it hears of its end.
async fn give_back(state: &Arc<State>, row: &JobRow) {
    let (id, until) = (row.id.clone(), until(state));
    let (from, to) = (state.background.process.clone(), row.doc.process.clone());
    let given = state
        .batches
        .with(move |store| store.give_job(&id, (&from, &to), until));
    if let Err(error) = given.await {
        tracing::warn!(job = row.id, %error, "a job in the background cannot be given back to whoever began it");
    }
}

/// What a vendor says of a job.
enum JobLook {
    GoesOn,
    Over(Box<Answer>),
    /// It knows no such job, and will not.
    Gone,
}

async fn told(state: &Arc<State>, row: &JobRow) -> JobLook {
    let policy = state.policy.load();
    let mut providers = policy.fleet.providers.iter();
    let provider = providers.find(|p| p.name == row.doc.provider).cloned();
    let dialect = dialect::named(&row.doc.dialect);
    let (Some(provider), Some(dialect)) = (provider, dialect) else {
        // Its provider may be named again by the next configuration.
        return JobLook::GoesOn;
    };
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '~');
    let is_segment = row.id.chars().all(letter) && !matches!(&*row.id, "" | "." | "..");
    let channel = provider.channel(&row.doc.channel);
    let channel = channel.unwrap_or(&provider.home);
    let url = provider.side(channel, Side::Answers(dialect.name()), "", "");
    let Some(url) = url.filter(|_| is_segment) else {
        return JobLook::Gone;
    };
    let url = format!("{url}/{}", row.id);
    match asked(state, (&*provider, channel), &url).await {
        Some((200, bytes)) => {
            let answer = dialect.answer(&bytes, provider.kind.usage);
            match answer.goes_on || answer.is_unread() {
                true => JobLook::GoesOn,
                false => JobLook::Over(Box::new(answer)),
            }
        }
        Some((404, _)) => JobLook::Gone,
        _ => JobLook::GoesOn,
    }
}

async fn asked(
    state: &Arc<State>,
    (provider, channel): (&Provider, &Channel),
    url: &str,
) -> Option<(u16, Bytes)> {
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, AGENT);
    let plain = HeaderValue::from_static("identity");
    headers.insert(header::ACCEPT_ENCODING, plain);
    outgoing::credential(&mut headers, (provider, channel), url);
    let terms = Terms {
        begins: Begins::AtItsEnd,
        http2: provider.http2(),
    };
    let body = (Bytes::new().into(), terms);
    let sent = state.upstream.call(Method::GET, url, headers, body);
    let answer = tokio::time::timeout(CALL, sent).await.ok()?.ok()?;
    let status = answer.status().as_u16();
    let (_, body) = answer.into_parts();
    match reply::read_up_to(body, reply::TRANSLATED_MAX, CALL).await {
        reply::HeldAnswer::Whole(bytes) => Some((status, bytes)),
        reply::HeldAnswer::Longer(..) | reply::HeldAnswer::Broken(_) => None,
    }
}

/// What came of booking a job's end.
enum Booked {
    /// There is nothing left to do.
    Done,
    /// It cannot be booked now.
    Later,
    /// Its reservation is open: whoever began it books it, or has died, which was not noticed yet.
    ByItsOwn,
}

/// Books what a job has used.
async fn booked(state: &Arc<State>, row: &JobRow, answer: &Answer) -> Booked {
    let provider = &row.doc.provider;
    if state.jobs.has(provider, &row.id) {
        state.jobs.told(provider, &row.id, answer);
        return Booked::Done;
    }
    let Some(usage) = answer.usage.filter(|usage| !usage.anomaly) else {
        // It stays at its bound, at which it was charged.
        return Booked::Done;
    };
    let policy = state.policy.load();
    let model = policy
        .fleet
        .resolve(&row.doc.model, &row.doc.dialect, &policy.catalogue);
    let Ok(model) = model else {
        return Booked::Done;
    };
    let terms = ChargeTerms {
        price: model.price.as_ref(),
        asked: None,
        told: usage.tier,
        manner: Manner::default(),
        capped: true,
        bound: PicoUsd::ZERO,
        at: row.created,
        media_tokens_max: 0,
        took: Duration::ZERO,
    };
    let charged = terms.charge(&usage, Basis::Reported);
    if charged.unpriced {
        return Booked::Done;
    }
    let correction = Correction {
        attempt: row.doc.attempt.clone(),
        cost: charged.cost,
        at_ms: now_ms(),
        source: SOURCE.to_owned(),
    };
    match state.ledger.correct(&row.doc.request, correction).await {
        Ok(TrueUp::Open) => Booked::ByItsOwn,
        Ok(told) => {
            if told != TrueUp::Unclear {
                state.telemetry.job(provider, JobEnd::Settled);
            }
            Booked::Done
        }
        Err(error) => {
            tracing::warn!(job = row.id, %error, "what a job in the background has cost cannot be booked now");
            Booked::Later
        }
    }
}
