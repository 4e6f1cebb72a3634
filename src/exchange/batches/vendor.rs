//! A part of a batch at its vendor: made once, found again after a crash, looked at until it is over, its results booked line by line.

use super::super::State;
use super::admit::{Alone, refuse, wants};
use super::desk::Room;
use super::settled;
use super::wire::{Called, call, whole};
use crate::batch::wire::{Wire, of_provider};
use crate::batch::{BatchRow, LineRow, LineState, PartRow, PartState};
use crate::dialect::batch::{Found, LineEnd, OutLine, Sought, VendorEnd, VendorResult, VendorTold};
use crate::error::{Error, Kind};
use crate::ledger::now;
use crate::ledger::store::batches::Of;
use crate::provider::Provider;
use crate::provider::channel::Channel;
use crate::route::Policy;
use crate::upstream::In;
use crate::upstream::channels::Destination;
use crate::upstream::health::Ailment;
use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// So often a batch must not be found, one look after the other, before it is taken not to exist.
const LOOKS: u32 = 2;
/// What was made may be listed late: looks count from so many times `[batch] poll` after its making on (two minutes by default), each as long
/// after the one before it as a look at a batch is.
const SETTLES: u32 = 4;
/// So often it may be unclear whether it exists before its lines are given up.
const UNCLEAR_MAX: u32 = 5;
/// Pages of a vendor's list that are looked at.
const PAGES_MAX: usize = 50;
/// A vendor's clock may be behind ours by so many seconds.
const CLOCKS: i64 = 300;
/// No byte of results comes for so long: the connection is dead.
const IDLE: Duration = Duration::from_secs(120);
/// One result is no longer than this.
const RESULT_MAX: usize = 64 * 1024 * 1024;
/// Results that are booked and kept together.
const KEPT_AT_ONCE: usize = 50;

/// What is remembered of a part between two looks.
#[derive(Debug, Default)]
pub(super) struct Memory {
    not_found: u32,
    unclear: u32,
    /// When it was looked for last, as far as that counts.
    looked: Option<Instant>,
    /// Its results are those of another batch, in part at least.
    foreign: bool,
    /// Lines of which the vendor says that it has not done them.
    undone: HashSet<i64>,
    /// Under which policy its lines were looked through last.
    policy: Option<Arc<Policy>>,
}

/// One part that is worked on.
pub(super) struct Part<'a> {
    pub(super) state: &'a Arc<State>,
    pub(super) batch: &'a BatchRow,
    pub(super) row: &'a mut PartRow,
    pub(super) memory: &'a mut Memory,
    /// It is to be ended: its batch is cancelled, or its time is over.
    pub(super) stops: bool,
}

/// A provider, and the channel of it on which a part is.
type Way<'a> = (&'a Provider, &'a Channel);

fn provider_of(state: &State, name: &str) -> Option<Arc<Provider>> {
    let policy = state.policy.load();
    let mut all = policy.fleet.providers.iter();
    all.find(|p| p.name == name).map(Arc::clone)
}

impl Part<'_> {
    /// Does what is due now. Gives whether anything has changed.
    pub(super) async fn step(&mut self) -> Result<bool, Error> {
        let provider = provider_of(self.state, &self.row.provider);
        let wire = provider.as_ref().and_then(|p| of_provider(p));
        let (Some(provider), Some(wire)) = (provider, wire) else {
            let gone = Error::new(
                Kind::NotFound,
                "The provider of this request is not configured any more.",
            );
            return self.give_up(&gone).await;
        };
        let channel = provider.channel(&self.row.channel);
        let at = (&*provider, channel.unwrap_or(&provider.home));
        match self.row.state {
            // Nothing of it was made: what was about to go out waits again, for whoever ends it.
            PartState::Planned if self.stops => {
                self.all_undone(|line, _| {
                    line.state = LineState::Waiting;
                    Ok(())
                })
                .await
            }
            PartState::Planned => self.make(at, &wire).await,
            PartState::Sending => self.find(at, &wire).await,
            PartState::Sent => self.look(at, &wire).await,
            PartState::Ended => Ok(false),
        }
    }

    /// All lines of the part that have come so far, which fit into memory by the way parts are made.
    async fn lines(&self, states: &[LineState]) -> Result<Vec<LineRow>, Error> {
        let mut all: Vec<LineRow> = Vec::new();
        for state in states {
            let (of, mut after) = (Of::Part(self.row.n, *state), -1);
            loop {
                let id = self.batch.id.clone();
                let desk = &self.state.batches;
                let page = desk.with(move |store| store.lines(&id, of, after)).await?;
                let Some(last) = page.last() else { break };
                after = last.n;
                all.extend(page);
            }
        }
        all.sort_unstable_by_key(|line| line.n);
        Ok(all)
    }

    /// What all other parts are called at their vendors, and whether another one with as many lines is looked for.
    async fn others(&self) -> Result<(Vec<String>, bool), Error> {
        let all = self.state.batches.with(|store| store.all_parts()).await?;
        let other =
            |(batch, part): &(String, PartRow)| *batch != self.batch.id || part.n != self.row.n;
        let others: Vec<PartRow> = all
            .into_iter()
            .filter(other)
            .map(|(_, part)| part)
            .collect();
        let rival = others
            .iter()
            .any(|part| part.state == PartState::Sending && part.lines == self.row.lines);
        let known = others.into_iter().map(|part| part.vendor_id);
        Ok((known.filter(|id| !id.is_empty()).collect(), rival))
    }

    async fn save(&self, lines: Vec<LineRow>) -> Result<(), Error> {
        let (id, part) = (self.batch.id.clone(), self.row.clone());
        let desk = &self.state.batches;
        desk.with(move |store| store.save(&id, &lines, &[part]))
            .await
    }

    /// Notes durably what is about to be made, opens the room of each line in the books, and makes it.
    async fn make(&mut self, at: Way<'_>, wire: &Wire) -> Result<bool, Error> {
        let mut lines = self.lines(&[LineState::Waiting, LineState::Sent]).await?;
        if lines.is_empty() {
            self.row.state = PartState::Ended;
            self.save(Vec::new()).await?;
            return Ok(true);
        }
        if self.recall(&lines).await? {
            // It is begun anew, without them.
            return Ok(true);
        }
        if !self.has_room_for(&mut lines).await? {
            return Ok(false);
        }
        for line in &mut lines {
            line.state = LineState::Sent;
        }
        self.row.state = PartState::Sending;
        self.row.intent_at = now();
        self.row.lines = i64::try_from(lines.len()).unwrap_or(i64::MAX);
        self.save(lines.clone()).await?;
        self.open(&lines).await?;
        self.send(at, wire, &lines).await
    }

    /// The lines that may not go to this part's model any more, since what makes a request confidential has changed: nothing of them is looked
    /// through where `[privacy]` finds nothing.
    async fn barred(&mut self, lines: &[LineRow]) -> Result<Vec<LineRow>, Error> {
        let policy = self.state.policy.load_full();
        let looked = self.memory.policy.as_ref();
        if policy.privacy.is_none() || looked.is_some_and(|before| Arc::ptr_eq(before, &policy)) {
            return Ok(Vec::new());
        }
        let mut barred = Vec::new();
        for line in lines {
            let caller = super::seat::caller_of(self.state, self.batch.key_of(&line.doc));
            let seat = caller
                .and_then(|caller| super::seat::Seat::of(self.state, self.batch, caller, line));
            // Whose key is gone is told that elsewhere.
            let Ok(seat) = seat else { continue };
            let may = super::direct::may_still(self.state, &seat, line).await;
            if !may.unwrap_or(false) {
                barred.push(line.clone());
            }
        }
        self.memory.policy = Some(policy);
        Ok(barred)
    }

    /// Takes back what has not gone out and may not any more: it is decided anew, and run by itself. Gives whether there is any.
    async fn recall(&mut self, lines: &[LineRow]) -> Result<bool, Error> {
        let mut barred = self.barred(lines).await?;
        for line in &mut barred {
            drop(self.state.batches.take_room(&self.batch.id, line.n));
            line.part = crate::batch::DIRECT;
            line.out.clear();
        }
        let any = !barred.is_empty();
        self.save(barred).await?;
        Ok(any)
    }

    /// What is at its vendor is taken back where a line of it has become confidential meanwhile, as far as the vendor has not done it.
    async fn recall_sent(&mut self) -> Result<(), Error> {
        if self.row.recalled || self.state.policy.load().privacy.is_none() {
            return Ok(());
        }
        let lines = self.lines(&[LineState::Sent]).await?;
        let barred = self.barred(&lines).await?;
        if barred.is_empty() {
            return Ok(());
        }
        tracing::warn!(
            batch = self.batch.id,
            part = self.row.n,
            provider = self.row.provider,
            lines = barred.len(),
            "lines that are confidential by now are at a provider, in a batch that was made before; it is asked to cancel it"
        );
        self.row.recalled = true;
        self.save(Vec::new()).await
    }

    /// Whether there is room for every line that has not gone out. After a restart it is looked for anew.
    async fn has_room_for(&self, lines: &mut [LineRow]) -> Result<bool, Error> {
        let desk = &self.state.batches;
        for line in lines.iter_mut() {
            if line.state != LineState::Waiting || desk.has_room(&self.batch.id, line.n) {
                continue;
            }
            let caller = super::seat::caller_of(self.state, self.batch.key_of(&line.doc));
            let seat = caller
                .and_then(|caller| super::seat::Seat::of(self.state, self.batch, caller, line));
            let seat = match seat {
                Ok(seat) => seat,
                // Its key is gone, which keeps nobody else's line from going out.
                Err(error) => {
                    refuse(line, self.batch, &error)?;
                    self.save(vec![line.clone()]).await?;
                    return Ok(false);
                }
            };
            let (part, out_path) = (line.part, line.doc.out_path.clone());
            let held =
                super::admit::hold(self.state, self.batch, &seat, (line, Alone::Perhaps)).await;
            let same = line.doc.provider == self.row.provider
                && line.doc.model == self.row.model
                && self.names_alike(&line.doc.channel)
                && line.doc.out_path == out_path;
            match held {
                Ok(Some(_)) if same => line.part = part,
                // It is decided otherwise now: it is run by itself.
                Ok(_) => {
                    drop(desk.take_room(&self.batch.id, line.n));
                    line.part = crate::batch::DIRECT;
                    self.save(vec![line.clone()]).await?;
                    return Ok(false);
                }
                Err(super::admit::NotTaken::Refused(error))
                    if matches!(
                        error.kind,
                        Kind::CapReached | Kind::RateReached | Kind::Overloaded
                    ) =>
                {
                    return Ok(false);
                }
                Err(super::admit::NotTaken::Refused(error)) => {
                    refuse(line, self.batch, &error)?;
                    self.save(vec![line.clone()]).await?;
                    return Ok(false);
                }
                Err(super::admit::NotTaken::Defects(_)) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Whether models are called on this channel as they are on the part's, so that a line which was written for the one can go out on the other.
    fn names_alike(&self, channel: &str) -> bool {
        let Some(provider) = provider_of(self.state, &self.row.provider) else {
            return false;
        };
        let names = |name| &provider.channel(name).unwrap_or(&provider.home).models;
        names(channel) == names(&self.row.channel)
    }

    /// Every line's room is in the books before the part is made.
    async fn open(&self, lines: &[LineRow]) -> Result<(), Error> {
        let opening = lines.iter().filter_map(|line| {
            match self.state.batches.take_room(&self.batch.id, line.n)? {
                Room::Held(room) => Some((line.n, room)),
                open @ Room::Open(_) => {
                    self.state.batches.keep_room(&self.batch.id, line.n, open);
                    None
                }
            }
        });
        let opening: Vec<_> = opening.collect();
        let opened = opening
            .into_iter()
            .map(|(n, room)| async move { room.open().await.map(|reservation| (n, reservation)) });
        for opened in futures_util::future::join_all(opened).await {
            match opened {
                Ok((n, reservation)) => {
                    let room = Room::Open(reservation);
                    self.state.batches.keep_room(&self.batch.id, n, room);
                }
                Err(refused) => {
                    let error = refused.error(now(), &|_| String::new());
                    return Err(error);
                }
            }
        }
        // Without a cap nobody else waits for the disk; but a line that has gone out must be known after a death, so that its result is booked.
        self.state.ledger.flush().await;
        Ok(())
    }

    /// Makes the part at its vendor.
    async fn send(&mut self, at: Way<'_>, wire: &Wire, lines: &[LineRow]) -> Result<bool, Error> {
        let tag = self.row.tag(&self.batch.id);
        let ids: Vec<String> = lines
            .iter()
            .map(|line| self.row.line_tag(&self.batch.id, line.n))
            .collect();
        let out: Vec<OutLine<'_>> = lines
            .iter()
            .zip(&ids)
            .map(|(line, id)| OutLine {
                id,
                path: &line.doc.out_path,
                body: &line.out,
            })
            .collect();
        let mut uploaded = None;
        if let Some(upload) = wire.batches.upload(&tag, &out) {
            match call(self.state, at, wire, upload).await {
                Called::Good(answer) => {
                    uploaded = wire.batches.uploaded(&whole(answer).await?);
                }
                Called::Refused(status, words) => {
                    return self.refused(at, (status, &words)).await;
                }
                // Nothing was made of it: it is begun anew.
                Called::Busy | Called::NotSent | Called::Unknown(_) => {
                    return self.again().await;
                }
            }
        }
        if !self.state.batches.keep_claim(&self.batch.id).await? {
            // Another process has the batch, and looks whether this part was made.
            return Ok(false);
        }
        let create = wire
            .batches
            .create(&tag, &self.row.model, uploaded.as_deref(), &out);
        match call(self.state, at, wire, create).await {
            Called::Good(answer) => {
                let told = whole(answer).await.ok();
                match told.and_then(|words| wire.batches.told(&words)) {
                    Some(told) => self.made(told.id).await,
                    // It was made, and nobody has heard its id: it is looked for.
                    None => Ok(false),
                }
            }
            Called::Refused(status, words) => self.refused(at, (status, &words)).await,
            Called::Busy | Called::NotSent => self.again().await,
            Called::Unknown(error) => {
                tracing::warn!(batch = self.batch.id, part = self.row.n, %error, "whether a batch was made at its provider is not known; it is looked for there");
                Ok(false)
            }
        }
    }

    async fn made(&mut self, id: String) -> Result<bool, Error> {
        tracing::info!(
            batch = self.batch.id,
            part = self.row.n,
            provider = self.row.provider,
            vendor_batch = id,
            lines = self.row.lines,
            "a batch was made at its provider"
        );
        self.row.vendor_id = id;
        self.row.state = PartState::Sent;
        self.save(Vec::new()).await?;
        Ok(true)
    }

    /// Nothing was made: it is tried again later.
    async fn again(&mut self) -> Result<bool, Error> {
        self.row.state = PartState::Planned;
        self.save(Vec::new()).await?;
        Ok(false)
    }

    /// The vendor does not take it: another account of ours may have it taken, else its lines are refused.
    async fn refused(
        &mut self,
        at: Way<'_>,
        (status, words): (u16, &Bytes),
    ) -> Result<bool, Error> {
        if let Some(next) = self.another_account(at, status) {
            tracing::warn!(
                batch = self.batch.id,
                part = self.row.n,
                provider = self.row.provider,
                channel = self.row.channel,
                next,
                status,
                "a provider refuses a credential; a batch goes to another one"
            );
            self.row.channel = next;
            return self.again().await;
        }
        tracing::warn!(
            batch = self.batch.id,
            part = self.row.n,
            provider = self.row.provider,
            status,
            "a provider does not take a batch"
        );
        let kind = crate::dialect::fault::of_status(status).unwrap_or(Kind::UpstreamFailed);
        let error = Error::new(kind, crate::dialect::fault::said(words));
        self.all_undone(|line, batch| refuse(line, batch, &error))
            .await
    }

    /// The channel that takes the place of one whose credential is refused, where its models are called the same there.
    fn another_account(&self, (provider, refused): Way<'_>, status: u16) -> Option<String> {
        if !matches!(status, 401..=403) || !provider.has_several_channels() {
            return None;
        }
        let to = Destination {
            provider,
            model: &self.row.model,
        };
        let channels = &self.state.channels;
        channels.fails(to.on(refused), Ailment::Refused);
        let other =
            |channel: &Channel| channel.name == refused.name || channel.models != refused.models;
        let next = channels.admits(to, wants(&self.batch.id), true, &other);
        next.map(|channel| channel.name.clone())
    }

    /// Looks for a part of which nobody knows whether it was made.
    async fn find(&mut self, at: Way<'_>, wire: &Wire) -> Result<bool, Error> {
        let tag = self.row.tag(&self.batch.id);
        let (known, rival) = self.others().await?;
        let sought = Sought {
            tag: &tag,
            lines: usize::try_from(self.row.lines).unwrap_or(0),
            since: self.row.intent_at - CLOCKS,
            known: &known,
            rival,
        };
        let mut after: Option<String> = None;
        let mut found = Found::Unclear;
        for _ in 0..PAGES_MAX {
            let look = wire.batches.find(after.as_deref());
            found = match call(self.state, at, wire, look).await {
                Called::Good(answer) => wire.batches.found(&whole(answer).await?, &sought),
                Called::Busy | Called::NotSent | Called::Unknown(_) => return Ok(false),
                Called::Refused(..) => Found::Unclear,
            };
            match found {
                Found::Further(next) => {
                    after = Some(next);
                    found = Found::Unclear;
                }
                _ => break,
            }
        }
        match found {
            Found::Yes(id) => {
                self.row.guessed = !wire.batches.keeps_marks();
                self.made(id).await
            }
            _ if !self.look_counts() => Ok(false),
            Found::No => {
                self.memory.not_found += 1;
                match self.memory.not_found >= LOOKS {
                    true => self.resend(at, wire).await,
                    false => Ok(false),
                }
            }
            Found::Further(_) | Found::Unclear => {
                self.memory.unclear += 1;
                match self.memory.unclear >= UNCLEAR_MAX {
                    true => self.give_up_unclear().await,
                    false => Ok(false),
                }
            }
        }
    }

    /// Whether a look that has not found it says anything: it is long enough ago that it was made, and that it was looked for.
    fn look_counts(&mut self) -> bool {
        let poll = self.state.batches.settings.load().poll;
        let settles = i64::try_from(poll.saturating_mul(SETTLES).as_secs()).unwrap_or(i64::MAX);
        let apart = self.memory.looked.is_none_or(|at| at.elapsed() >= poll);
        let counts = apart && now().saturating_sub(self.row.intent_at) >= settles;
        if counts {
            self.memory.looked = Some(Instant::now());
        }
        counts
    }

    async fn give_up_unclear(&mut self) -> Result<bool, Error> {
        let why = "Whether the provider has done this request cannot be found out; it is charged at its bound and was not sent again.";
        self.give_up(&Error::new(Kind::UpstreamFailed, why)).await
    }

    /// It was never made: now it is. After a crash its lines were charged at their bounds, which their results correct; one whose room was
    /// never written into the books gets it now.
    async fn resend(&mut self, at: Way<'_>, wire: &Wire) -> Result<bool, Error> {
        if self.stops {
            return self
                .all_undone(|line, _| {
                    line.state = LineState::Waiting;
                    Ok(())
                })
                .await;
        }
        let mut lines = self.lines(&[LineState::Sent]).await?;
        let mut unbooked = Vec::new();
        for line in &lines {
            if self.state.batches.has_room(&self.batch.id, line.n) {
                continue;
            }
            let request = self.batch.request_of(line.n, &line.doc);
            let rows = self.state.ledger.request(&request).await?;
            if !rows
                .iter()
                .any(|row| row.opening.attempt == line.doc.attempt)
            {
                unbooked.push(line.n);
            }
        }
        if !unbooked.is_empty() {
            for line in lines.iter_mut().filter(|line| unbooked.contains(&line.n)) {
                line.state = LineState::Waiting;
            }
            if !self.has_room_for(&mut lines).await? {
                return Ok(false);
            }
            for line in &mut lines {
                line.state = LineState::Sent;
            }
            self.save(lines.clone()).await?;
            self.open(&lines).await?;
        }
        self.row.intent_at = now();
        self.save(Vec::new()).await?;
        *self.memory = Memory::default();
        self.send(at, wire, &lines).await
    }

    /// Asks the vendor how it stands.
    async fn look(&mut self, at: Way<'_>, wire: &Wire) -> Result<bool, Error> {
        self.recall_sent().await?;
        let stops = self.stops || self.row.recalled;
        if stops && !self.row.cancelled && self.row.guessed {
            // What may be another's is not cancelled; it is waited for as long as for one that was.
            self.row.cancelled = true;
            self.save(Vec::new()).await?;
        } else if stops && !self.row.cancelled {
            let cancel = wire.batches.cancel(&self.row.vendor_id);
            if let Called::Good(_) | Called::Refused(..) = call(self.state, at, wire, cancel).await
            {
                self.row.cancelled = true;
                self.save(Vec::new()).await?;
            }
        }
        let look = wire.batches.look(&self.row.vendor_id);
        let told = match call(self.state, at, wire, look).await {
            Called::Good(answer) => wire.batches.told(&whole(answer).await?),
            Called::Refused(404, _) => {
                let why = "The provider does not know its own batch any more; the request is charged at its bound.";
                return self.give_up(&Error::new(Kind::UpstreamFailed, why)).await;
            }
            _ => None,
        };
        match told {
            Some(VendorTold {
                end: Some(end),
                results,
                inline,
                ..
            }) => self.ended(at, wire, (end, results, inline)).await,
            _ => Ok(false),
        }
    }

    /// The vendor's batch is over: every line of it gets its end.
    async fn ended(
        &mut self,
        at: Way<'_>,
        wire: &Wire,
        (end, results, inline): (VendorEnd, Vec<String>, Vec<VendorResult>),
    ) -> Result<bool, Error> {
        tracing::info!(
            batch = self.batch.id,
            part = self.row.n,
            provider = self.row.provider,
            end = ?end,
            "a provider's batch is over"
        );
        if let VendorEnd::Refused(why) = &end {
            let error = Error::new(Kind::BadRequest, why.clone());
            return self
                .all_undone(|line, batch| refuse(line, batch, &error))
                .await;
        }
        if !self.take(inline).await? {
            return Ok(false);
        }
        for path in results {
            let fetch = crate::dialect::batch::VendorCall::get(path);
            match call(self.state, at, wire, fetch).await {
                Called::Good(answer) => {
                    if !self.stream(wire, answer).await? {
                        return Ok(false);
                    }
                }
                Called::Refused(404, _) => {}
                _ => return Ok(false),
            }
        }
        if self.row.guessed && self.memory.foreign {
            return self.give_up_unclear().await;
        }
        self.rest(&end).await
    }

    /// Lines without a result.
    async fn rest(&mut self, end: &VendorEnd) -> Result<bool, Error> {
        let mut rest = self.lines(&[LineState::Sent]).await?;
        let late = self.state.batches.settings.load().late;
        for line in &mut rest {
            match end {
                _ if self.memory.undone.contains(&line.n) => {}
                VendorEnd::Expired | VendorEnd::Cancelled => {}
                VendorEnd::Completed | VendorEnd::Refused(_) => {
                    let why = "The provider says that its batch is complete, and has no result for this request; it is charged at its bound.";
                    settled::unknown(self.state, self.batch, line).await?;
                    refuse(line, self.batch, &Error::new(Kind::UpstreamFailed, why))?;
                    self.state.batches.note(line.state);
                    continue;
                }
            }
            if !settled::undone(self.state, self.batch, line).await? {
                return Ok(false);
            }
            let wanted = self.batch.state != crate::dialect::batch::BatchState::Cancelling;
            if wanted && (self.row.recalled || late == crate::batch::Late::Run) {
                line.state = LineState::Waiting;
                line.part = crate::batch::DIRECT;
                line.out.clear();
                continue;
            }
            // What flyball itself has cancelled because its time was over has expired for the client.
            line.state = match wanted {
                false => LineState::Cancelled,
                true => LineState::Expired,
            };
            line.out.clear();
            self.state.batches.note(line.state);
        }
        self.row.state = PartState::Ended;
        self.save(rest).await?;
        Ok(true)
    }

    /// Reads results as they come.
    async fn stream(&mut self, wire: &Wire, answer: Response<In>) -> Result<bool, Error> {
        let mut body = answer.into_body();
        let (mut held, mut results) = (Vec::new(), Vec::new());
        let broken = |why: String| {
            Error::new(
                Kind::UpstreamFailed,
                "the model's server broke off in its results",
            )
            .detail(why)
        };
        loop {
            let frame = tokio::time::timeout(IDLE, body.frame()).await;
            let over = match frame {
                Err(_) => return Err(broken("no byte came in time".into())),
                Ok(Some(Err(error))) => return Err(broken(error.to_string())),
                Ok(None) => true,
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        held.extend_from_slice(&data);
                    }
                    false
                }
            };
            let mut from = 0;
            while let Some(end) = memchr::memchr(b'\n', &held[from..]) {
                results.extend(wire.batches.result(&held[from..from + end]));
                from += end + 1;
                if results.len() >= KEPT_AT_ONCE && !self.take(std::mem::take(&mut results)).await?
                {
                    return Ok(false);
                }
            }
            held.drain(..from);
            if held.len() > RESULT_MAX {
                return Err(broken("a result is too long".into()));
            }
            if over {
                results.extend(wire.batches.result(&held));
                return self.take(results).await;
            }
        }
    }

    /// Books results and keeps them. One that was booked before changes nothing.
    async fn take(&mut self, results: Vec<VendorResult>) -> Result<bool, Error> {
        let mut kept = Vec::with_capacity(results.len());
        for result in &results {
            let Some(n) = self.row.line_of(&self.batch.id, &result.id) else {
                self.memory.foreign = true;
                continue;
            };
            let id = self.batch.id.clone();
            let found = self
                .state
                .batches
                .with(move |store| store.line(&id, n))
                .await?;
            let Some(mut line) = found else { continue };
            let twice = kept.iter().any(|other: &LineRow| other.n == n);
            if line.part != self.row.n || line.state != LineState::Sent || twice {
                continue;
            }
            // What was not done may be run by itself, once everything else has been read.
            if matches!(result.end, LineEnd::Expired | LineEnd::Cancelled) {
                self.memory.undone.insert(n);
                continue;
            }
            if !settled::settle(self.state, self.batch, &mut line, result).await? {
                return Ok(false);
            }
            kept.push(line);
        }
        // What is told as ended is in the books: after a crash nobody would look for it again.
        self.state.ledger.flush().await;
        self.save(kept).await?;
        Ok(true)
    }

    /// Nothing of the part was done: its lines end so, or wait again.
    async fn all_undone(
        &mut self,
        end: impl Fn(&mut LineRow, &BatchRow) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let mut lines = self.lines(&[LineState::Sent]).await?;
        for line in &mut lines {
            if !settled::undone(self.state, self.batch, line).await? {
                return Ok(false);
            }
            end(line, self.batch)?;
            line.out.clear();
            if line.state != LineState::Waiting {
                self.state.batches.note(line.state);
            }
        }
        self.row.state = PartState::Ended;
        self.save(lines).await?;
        Ok(true)
    }

    /// Nobody will hear what came of it: its lines are charged at their bounds and reported.
    pub(super) async fn give_up(&mut self, error: &Error) -> Result<bool, Error> {
        tracing::error!(batch = self.batch.id, part = self.row.n, %error, "lines of a batch are given up");
        let mut lines = self.lines(&[LineState::Waiting, LineState::Sent]).await?;
        for line in &mut lines {
            match line.state {
                LineState::Waiting => {
                    settled::undone(self.state, self.batch, line).await?;
                }
                _ => {
                    settled::unknown(self.state, self.batch, line).await?;
                }
            }
            refuse(line, self.batch, error)?;
            line.out.clear();
            self.state.batches.note(line.state);
        }
        self.row.state = PartState::Ended;
        self.save(lines).await?;
        Ok(true)
    }
}
