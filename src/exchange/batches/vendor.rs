//! A part of a batch at its vendor: made once, found again after a crash, looked at until it is over, its results booked line by line. What is
//! due is decided in [`crate::batch::part`]; here it is done.

use super::super::State;
use super::admit::{Alone, NotTaken, hold, refuse, wants};
use super::desk::Room;
use super::metered::{self, ResultLine};
use super::seat::{Seat, caller_of, is_paused, owner_of};
use super::settled;
use super::wire::{Called, call, whole};
use crate::batch::part::{
    self, AfterCall, Cancel, Due, Moment, Reached, ResultUse, Search, SearchLook, Searched,
    Unanswered,
};
use crate::batch::wire::{Wire, known_of, of_provider};
use crate::batch::{BatchRow, DIRECT, Late, LineRow, LineState, PartRow, PartState};
use crate::dialect::batch::{
    Found, Making, OutLine, Sought, VendorCall, VendorEnd, VendorResult, VendorTold,
};
use crate::error::{Error, Kind};
use crate::ledger::now;
use crate::ledger::store::batches::{Claim, Of};
use crate::provider::Provider;
use crate::provider::channel::Channel;
use crate::route::Policy;
use crate::upstream::In;
use crate::upstream::channels::Destination;
use crate::upstream::health::Ailment;
use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pages of a vendor's list that are looked at.
const PAGES_MAX: usize = 50;
/// Pages of results that are read of one part; more would be a list that leads in a circle.
const RESULT_PAGES_MAX: usize = 100_000;
/// To a batch that was passed on, all of whose requests are done, its client may add others: for so many seconds it is looked at.
const GROWS_FOR: i64 = 86_400;
/// A vendor's clock may be behind ours by so many seconds.
const CLOCKS: i64 = 300;
/// No byte of results comes for so long: the connection is dead.
const IDLE: Duration = Duration::from_secs(120);
/// One result is no longer than this.
const RESULT_MAX: usize = 64 * 1024 * 1024;
/// What its vendor does not take is halved until a batch has so many parts: enough to find ten faults among a thousand lines.
const PARTS_MAX: usize = 200;
/// Results that are booked and kept together.
const KEPT_AT_ONCE: usize = 50;
/// Rooms that are opened in the books together.
const OPENED_AT_ONCE: usize = 500;
/// By so many bytes what goes out grows where it must: doubling would take twice the memory of a whole part.
const GROWS_BY: usize = 1024 * 1024;

/// What is remembered of a part between two looks.
#[derive(Debug, Default)]
pub(super) struct Memory {
    search: Search,
    /// The search for one that was made, on a channel that is gone.
    astray: Search,
    /// So many requests of a batch that may grow were done when its results were read last.
    read: Option<i64>,
    /// Its results are those of another batch, in part at least.
    foreign: bool,
    /// Lines of which the vendor says that it has not done them.
    undone: HashSet<i64>,
    /// Under which policy its lines were looked through last.
    policy: Option<Arc<Policy>>,
    /// The numbers of lines by their clients' own names, of a batch that was passed on; read when its results come.
    names: Option<HashMap<String, i64>>,
}

/// One part that is worked on.
pub(super) struct Part<'a> {
    pub(super) state: &'a Arc<State>,
    pub(super) batch: &'a BatchRow,
    pub(super) claim: &'a Claim,
    pub(super) row: &'a mut PartRow,
    pub(super) memory: &'a mut Memory,
    /// It is to be ended: its batch is cancelled, or its time is over.
    pub(super) stops: bool,
}

/// A provider, and the channel of it on which a part is.
type Way<'a> = (&'a Arc<Provider>, &'a Channel);

/// Whether every line that has not gone out has room.
enum RoomFor {
    /// All of them have.
    All,
    /// No cap has room for one of them now.
    Later,
    /// One is run by itself, or has ended: the others are looked at again.
    Changed,
}

fn provider_of(state: &State, name: &str) -> Option<Arc<Provider>> {
    let policy = state.policy.load();
    let mut all = policy.fleet.providers.iter();
    all.find(|p| p.name == name).map(Arc::clone)
}

fn reached(called: &Called) -> Reached {
    match called {
        Called::Good(_) => Reached::Done,
        Called::Refused(..) => Reached::Refused,
        Called::Busy | Called::NotSent => Reached::NotTaken,
        Called::Unknown(_) => Reached::Unknown,
    }
}

/// Opens the room of these lines of a batch in the books.
///
/// # Errors
/// The books cannot be written.
pub(super) async fn open_rooms(
    state: &Arc<State>,
    batch: &str,
    lines: &[i64],
) -> Result<(), Error> {
    for some in lines.chunks(OPENED_AT_ONCE) {
        open_some(state, batch, some).await?;
        // Without a cap nobody else waits for the disk; but a line that has gone out must be known after a death, so that its result is booked.
        // Nor may a hundred thousand rows wait to be written.
        state.ledger.flush().await;
    }
    Ok(())
}

async fn open_some(state: &Arc<State>, batch: &str, lines: &[i64]) -> Result<(), Error> {
    let desk = &state.batches;
    let opening = lines
        .iter()
        .filter_map(|n| match desk.take_room(batch, *n)? {
            Room::Held(room) => Some((*n, room)),
            open @ Room::Open(_) => {
                desk.keep_room(batch, *n, open);
                None
            }
        });
    let opening: Vec<_> = opening.collect();
    let opened = opening
        .into_iter()
        .map(|(n, room)| async move { room.open().await.map(|reservation| (n, reservation)) });
    let mut failed = None;
    for opened in futures_util::future::join_all(opened).await {
        match opened {
            Ok((n, reservation)) => desk.keep_room(batch, n, Room::Open(reservation)),
            Err(refused) => {
                failed.get_or_insert(refused);
            }
        }
    }
    match failed {
        Some(refused) => Err(refused.error(now(), &|_| String::new())),
        None => Ok(()),
    }
}

impl Part<'_> {
    /// Does what is due now. Gives whether anything has changed.
    pub(super) async fn step(&mut self) -> Result<bool, Error> {
        self.recall_sent().await?;
        let moment = Moment {
            now: now(),
            expires: self.batch.doc.expires,
            cancelling: self.batch.doc.cancelling,
            stops: self.stops || self.row.recalled,
            passed: self.batch.is_passed(),
        };
        let due = part::due(self.row, moment);
        if due == Due::Nothing {
            return Ok(false);
        }
        let provider = provider_of(self.state, &self.row.provider);
        let wire = match self.batch.is_passed() {
            true => provider.as_ref().and_then(|p| known_of(p)),
            false => provider.as_ref().and_then(|p| of_provider(p)),
        };
        let (Some(provider), Some(wire)) = (provider, wire) else {
            if self.batch.is_passed() && moment.now <= moment.expires {
                // It may be configured again.
                return Ok(false);
            }
            let gone = Error::new(
                Kind::NotFound,
                "The provider of this request is not configured any more.",
            );
            return self.give_up(&gone).await;
        };
        let channel = self.own_channel(&provider);
        match due {
            Due::Nothing => Ok(false),
            Due::Drop => self.wait_again().await,
            Due::Make => {
                // Nothing of it is anywhere: where its channel is gone another one takes its place, and is noted with what is about to be made.
                let channel = channel.unwrap_or_else(|| self.takes_its_place(&provider));
                channel.name.clone_into(&mut self.row.channel);
                self.make((&provider, channel), &wire).await
            }
            Due::Find => self.find(&provider, channel, &wire).await,
            Due::Look(cancel) => match channel {
                Some(channel) => self.look((&provider, channel), &wire, cancel).await,
                None => self.look_everywhere(&provider, &wire, cancel).await,
            },
            Due::GiveUp => {
                let why = match self.batch.is_passed() {
                    true => "What has become of a batch that was passed on cannot be found out.",
                    false => {
                        "The provider does not end a batch that it was asked to cancel; the request is charged at its bound."
                    }
                };
                self.give_up(&Error::new(Kind::UpstreamTimeout, why)).await
            }
        }
    }

    /// The channel on which the part is; `None` where the configuration has no channel of that name any more. Older versions kept no name, and
    /// knew one channel alone.
    fn own_channel<'p>(&self, provider: &'p Provider) -> Option<&'p Channel> {
        match self.row.channel.is_empty() && !provider.has_several_channels() {
            true => Some(&provider.home),
            false => provider.channel(&self.row.channel),
        }
    }

    /// The channel on which a part is made whose own one is gone.
    fn takes_its_place<'p>(&self, provider: &'p Provider) -> &'p Channel {
        let to = Destination {
            provider,
            model: &self.row.model,
        };
        let name = &self.state.channels.prefers(to, wants(&self.batch.id)).name;
        provider.channel(name).unwrap_or(&provider.home)
    }

    /// The next page of lines of the part that have come so far.
    async fn page(&self, state: LineState, after: i64) -> Result<Vec<LineRow>, Error> {
        let (id, of) = (self.batch.id.clone(), Of::Part(self.row.n, state));
        let desk = &self.state.batches;
        desk.with(move |store| store.lines(&id, of, after)).await
    }

    /// The numbers of all of them.
    async fn numbers(&self, state: LineState) -> Result<Vec<i64>, Error> {
        let (id, n) = (self.batch.id.clone(), self.row.n);
        let desk = &self.state.batches;
        desk.with(move |store| store.numbers(&id, n, state)).await
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
        let (claim, part) = (self.claim.clone(), self.row.clone());
        let desk = &self.state.batches;
        desk.with(move |store| store.save(&claim, &lines, &[part]))
            .await
    }

    async fn save_lines(&self, lines: Vec<LineRow>) -> Result<(), Error> {
        let claim = self.claim.clone();
        let desk = &self.state.batches;
        desk.with(move |store| store.save(&claim, &lines, &[]))
            .await
    }

    /// Notes durably what is about to be made, opens the room of each line in the books, and makes it.
    async fn make(&mut self, at: Way<'_>, wire: &Wire) -> Result<bool, Error> {
        if !self.drop_unwanted().await? {
            return Ok(false);
        }
        if let Some(changed) = self.hold_back().await? {
            return Ok(changed);
        }
        if let Some(recalled) = self.recall().await? {
            // It is begun anew, without them.
            return Ok(recalled);
        }
        match self.room_for_waiting().await? {
            RoomFor::All => {}
            RoomFor::Later => return Ok(false),
            RoomFor::Changed => return Ok(true),
        }
        let waiting = self.numbers(LineState::Waiting).await?.len();
        let lines = waiting + self.numbers(LineState::Sent).await?.len();
        if lines == 0 {
            self.row.state = PartState::Ended;
            self.save(Vec::new()).await?;
            return Ok(true);
        }
        self.row.state = PartState::Sending;
        self.row.intent_at = now();
        self.row.lines = i64::try_from(lines).unwrap_or(i64::MAX);
        let (claim, row) = (self.claim.clone(), self.row.clone());
        let desk = &self.state.batches;
        desk.with(move |store| store.send(&claim, &row)).await?;
        // A request that was waiting may have been taken back until then.
        let lines = self.numbers(LineState::Sent).await?;
        let many = i64::try_from(lines.len()).unwrap_or(i64::MAX);
        if many != self.row.lines {
            self.row.lines = many;
            self.save(Vec::new()).await?;
        }
        if lines.is_empty() {
            return self.begin_anew().await;
        }
        self.open(&lines).await?;
        self.send(at, wire).await
    }

    /// The lines in this state that may not go to this part's model any more, since what makes a request confidential has changed: nothing of them
    /// is looked through where `[privacy]` finds nothing. `confidential`: those alone which may not for that reason, whatever else their keys may
    /// not.
    async fn barred(&self, state: LineState, confidential: bool) -> Result<Vec<LineRow>, Error> {
        let mut barred = Vec::new();
        let mut after = -1;
        loop {
            let page = self.page(state, after).await?;
            let Some(last) = page.last() else { break };
            after = last.n;
            for line in page {
                let owner = owner_of(self.state, self.batch.key_of(&line.doc));
                let Ok(seat) = Seat::of(self.state, self.batch, owner, &line) else {
                    continue;
                };
                let bars = match super::direct::may_still(self.state, &seat, &line).await {
                    Ok(()) => false,
                    Err(error) => !confidential || error.kind == Kind::PrivateOnly,
                };
                if bars {
                    barred.push(line);
                }
            }
        }
        Ok(barred)
    }

    /// The policy under which lines have to be looked through: it has a `[privacy]`, and they were not looked through under it.
    fn new_privacy(&self) -> Option<Arc<Policy>> {
        let policy = self.state.policy.load_full();
        let before = self.memory.policy.as_ref();
        let is_new = policy.privacy.is_some() && !before.is_some_and(|b| Arc::ptr_eq(b, &policy));
        is_new.then_some(policy)
    }

    /// Takes back what has not gone out and may not any more: it is decided anew, and run by itself. `None`: there is nothing of it; else
    /// whether all of it could be taken back.
    async fn recall(&mut self) -> Result<Option<bool>, Error> {
        let Some(policy) = self.new_privacy() else {
            return Ok(None);
        };
        let mut barred = self.barred(LineState::Waiting, false).await?;
        // The call that would have made it may have been refused, or lost: then their room stands in the books.
        barred.extend(self.barred(LineState::Sent, false).await?);
        if barred.is_empty() {
            self.memory.policy = Some(policy);
            return Ok(None);
        }
        for line in &mut barred {
            if !settled::undone(self.state, self.batch, line).await? {
                return Ok(Some(false));
            }
            line.state = LineState::Waiting;
            line.part = DIRECT;
            line.out.clear();
        }
        self.save_lines(barred).await?;
        Ok(Some(true))
    }

    /// Ends the lines that have not gone out and whose askers want no answer any more: nothing of them is asked, nor paid. Gives whether all of
    /// them could be ended.
    async fn drop_unwanted(&self) -> Result<bool, Error> {
        for n in self.state.batches.gone(self.batch).await? {
            let Some(mut line) = self.line(n).await? else {
                continue;
            };
            let is_open = matches!(line.state, LineState::Waiting | LineState::Sent);
            if line.part != self.row.n || !is_open {
                continue;
            }
            if !settled::undone(self.state, self.batch, &line).await? {
                return Ok(false);
            }
            line.state = LineState::Cancelled;
            line.out.clear();
            self.state.batches.note(line.state);
            self.save_lines(vec![line]).await?;
        }
        Ok(true)
    }

    /// Keeps back what has not gone out of keys that may have nothing begun any more: lines of one that was revoked, or whose time is over, end
    /// so; those of one that is paused wait, by themselves where others share their batch. `None`: everything else may go out.
    async fn hold_back(&mut self) -> Result<Option<bool>, Error> {
        if !self.is_shared() && caller_of(self.state, self.batch.key).is_ok() {
            return Ok(None);
        }
        let (mut paused, mut others) = (Vec::new(), false);
        for state in [LineState::Waiting, LineState::Sent] {
            let mut after = -1;
            loop {
                let page = self.page(state, after).await?;
                let Some(last) = page.last() else { break };
                after = last.n;
                let mut ended = Vec::new();
                for mut line in page {
                    match caller_of(self.state, self.batch.key_of(&line.doc)) {
                        Ok(_) => others = true,
                        Err(error) if is_paused(&error) => paused.push(line.n),
                        Err(error) => {
                            if !settled::undone(self.state, self.batch, &line).await? {
                                return Ok(Some(false));
                            }
                            refuse(&mut line, self.batch, &error)?;
                            line.out.clear();
                            self.state.batches.note(line.state);
                            ended.push(line);
                        }
                    }
                }
                self.save_lines(ended).await?;
            }
        }
        match (paused.is_empty(), others) {
            (true, _) => Ok(None),
            (false, false) => Ok(Some(false)),
            (false, true) => {
                for n in &paused {
                    if let Some(line) = self.line(*n).await?
                        && !settled::undone(self.state, self.batch, &line).await?
                    {
                        return Ok(Some(false));
                    }
                }
                self.split(&[&paused[..]], Vec::new()).await?;
                Ok(Some(true))
            }
        }
    }

    /// What is at its vendor is taken back where a line of it has become confidential meanwhile, as far as the vendor has not done it.
    async fn recall_sent(&mut self) -> Result<(), Error> {
        let is_there = self.row.state == PartState::Sent && !self.batch.is_passed();
        if !is_there || self.row.recalled {
            return Ok(());
        }
        let Some(policy) = self.new_privacy() else {
            return Ok(());
        };
        let barred = self.barred(LineState::Sent, true).await?;
        if barred.is_empty() {
            self.memory.policy = Some(policy);
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

    /// Looks for room for every line that has not gone out and has none, as after a restart.
    async fn room_for_waiting(&mut self) -> Result<RoomFor, Error> {
        let waiting = self.numbers(LineState::Waiting).await?;
        let (mut changed, mut full) = (false, Vec::new());
        for n in waiting {
            if self.state.batches.has_room(&self.batch.id, n) {
                continue;
            }
            let Some(line) = self.line(n).await? else {
                continue;
            };
            match self.room_for(line).await? {
                RoomFor::All => {}
                RoomFor::Changed => changed = true,
                RoomFor::Later if self.is_shared() => full.push(n),
                RoomFor::Later => return Ok(RoomFor::Later),
            }
        }
        if !full.is_empty() {
            let sent = self.numbers(LineState::Sent).await?.len();
            if self.numbers(LineState::Waiting).await?.len() + sent <= full.len() {
                return Ok(RoomFor::Later);
            }
            // Nobody waits for the caps of another one's key: they go out by themselves once there is room.
            self.split(&[&full[..]], Vec::new()).await?;
            changed = true;
        }
        Ok(match changed {
            true => RoomFor::Changed,
            false => RoomFor::All,
        })
    }

    /// Whether its lines belong to several askers, none of whom answers for another one's mistake.
    fn is_shared(&self) -> bool {
        self.batch.doc.collects_until.is_some()
    }

    /// Puts lines into parts of their own, which are made by themselves. `ended`: parts that are kept in the same moment.
    async fn split(&self, groups: &[&[i64]], ended: Vec<PartRow>) -> Result<(), Error> {
        let id = self.batch.id.clone();
        let desk = &self.state.batches;
        let known = desk.with(move |store| store.parts(&id)).await?;
        let first = known.iter().map(|part| part.n).max().unwrap_or(0) + 1;
        let (mut lines, mut parts) = (Vec::new(), ended);
        for (next, group) in (first..).zip(groups) {
            for n in *group {
                if let Some(mut line) = self.line(*n).await? {
                    line.state = LineState::Waiting;
                    line.part = next;
                    lines.push(line);
                }
            }
            parts.push(PartRow {
                n: next,
                provider: self.row.provider.clone(),
                model: self.row.model.clone(),
                channel: self.row.channel.clone(),
                ..PartRow::default()
            });
        }
        let claim = self.claim.clone();
        desk.with(move |store| store.save(&claim, &lines, &parts))
            .await
    }

    async fn line(&self, n: i64) -> Result<Option<LineRow>, Error> {
        let id = self.batch.id.clone();
        let desk = &self.state.batches;
        desk.with(move |store| store.line(&id, n)).await
    }

    /// Decides a line anew and looks for room for it.
    async fn room_for(&mut self, mut line: LineRow) -> Result<RoomFor, Error> {
        let desk = &self.state.batches;
        let caller = caller_of(self.state, self.batch.key_of(&line.doc));
        let seat = caller.and_then(|caller| Seat::of(self.state, self.batch, caller, &line));
        let seat = match seat {
            Ok(seat) => seat,
            Err(error) if is_paused(&error) => return Ok(RoomFor::Later),
            // Its key is gone, which keeps nobody else's line from going out.
            Err(error) => {
                refuse(&mut line, self.batch, &error)?;
                self.save_lines(vec![line]).await?;
                return Ok(RoomFor::Changed);
            }
        };
        let (part, out_path) = (line.part, line.doc.out_path.clone());
        let held = hold(self.state, self.batch, &seat, (&mut line, Alone::Perhaps)).await;
        let same = line.doc.provider == self.row.provider
            && line.doc.model == self.row.model
            && self.names_alike(&line.doc.channel)
            && line.doc.out_path == out_path;
        let outcome = match held {
            Ok(Some(_)) if same => {
                line.part = part;
                RoomFor::All
            }
            // It is decided otherwise now: it is run by itself.
            Ok(_) => {
                drop(desk.take_room(&self.batch.id, line.n));
                line.part = DIRECT;
                line.state = LineState::Waiting;
                RoomFor::Changed
            }
            Err(NotTaken::Refused(error))
                if matches!(
                    error.kind,
                    Kind::CapReached | Kind::RateReached | Kind::Overloaded
                ) =>
            {
                return Ok(RoomFor::Later);
            }
            Err(NotTaken::Refused(error)) => {
                refuse(&mut line, self.batch, &error)?;
                RoomFor::Changed
            }
            Err(NotTaken::Defects(_)) => return Ok(RoomFor::Later),
        };
        self.save_lines(vec![line]).await?;
        Ok(outcome)
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
    async fn open(&self, lines: &[i64]) -> Result<(), Error> {
        open_rooms(self.state, &self.batch.id, lines).await
    }

    /// The lines of the part as they go out, and where each would be asked by itself. They are read a page at a time; together they fit into
    /// memory by the way parts are made.
    async fn written(&self, wire: &Wire) -> Result<(Bytes, String), Error> {
        let frame = wire.batches.frame(&self.row.tag(&self.batch.id));
        let mut out = Vec::from(frame.before.as_bytes());
        let (mut path, mut after) = (None, -1);
        loop {
            let page = self.page(LineState::Sent, after).await?;
            let Some(last) = page.last() else { break };
            after = last.n;
            for line in &page {
                let between = path.as_ref().map_or("", |_| frame.between);
                let more = between.len() + line.out.len() + 256;
                if out.capacity() - out.len() < more {
                    out.reserve_exact(more.max(GROWS_BY));
                }
                out.extend(between.bytes());
                let out_line = OutLine {
                    id: &self.row.line_tag(&self.batch.id, line.n),
                    path: &line.doc.out_path,
                    body: &line.out,
                };
                wire.batches.write(&out_line, &mut out);
                path.get_or_insert_with(|| line.doc.out_path.clone());
            }
        }
        out.extend(frame.after.bytes());
        Ok((Bytes::from(out), path.unwrap_or_default()))
    }

    /// Makes the part at its vendor.
    async fn send(&mut self, at: Way<'_>, wire: &Wire) -> Result<bool, Error> {
        let tag = self.row.tag(&self.batch.id);
        let (lines, path) = self.written(wire).await?;
        let mut uploaded = None;
        if let Some(upload) = wire.batches.upload(&tag, &lines) {
            let called = call(self.state, at, wire, upload).await;
            match (part::after_upload(reached(&called)), called) {
                (AfterCall::GoOn, Called::Good(answer)) => {
                    uploaded = wire.batches.uploaded(&whole(answer).await?);
                    if uploaded.is_none() {
                        let why =
                            "the model's server does not say what it calls the lines of a batch";
                        return Err(Error::new(Kind::UpstreamFailed, why));
                    }
                }
                (AfterCall::Refuse, Called::Refused(status, words)) => {
                    return self.refused(at, (status, &words)).await;
                }
                _ => return self.begin_anew().await,
            }
        }
        if !self.state.batches.keep_claim(self.claim).await? {
            // Another process has the batch, and looks whether this part was made.
            return Ok(false);
        }
        let making = Making {
            tag: &tag,
            model: &self.row.model,
            path: &path,
            uploaded: uploaded.as_deref(),
        };
        let create = wire.batches.create(&making, lines);
        let called = call(self.state, at, wire, create).await;
        let at_once = reached(&called);
        let mut made = None;
        match called {
            Called::Good(answer) => {
                let words = whole(answer).await.ok();
                made = words.and_then(|words| wire.batches.created(uploaded.as_deref(), &words));
            }
            Called::Refused(status, words) => return self.refused(at, (status, &words)).await,
            Called::Unknown(error) => {
                tracing::warn!(batch = self.batch.id, part = self.row.n, %error, "whether a batch was made at its provider is not known; it is looked for there");
            }
            Called::Busy | Called::NotSent => {}
        }
        match (part::after_create(at_once, made.is_some()), made) {
            (AfterCall::GoOn, Some(told)) => self.made(told.id).await,
            (AfterCall::BeginAnew, _) => self.begin_anew().await,
            _ => Ok(false),
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
    async fn begin_anew(&mut self) -> Result<bool, Error> {
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
            return self.begin_anew().await;
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
        // Whose credential or model is refused has nothing to do with any one line.
        if self.is_shared() && !matches!(status, 401..=404) {
            return self.halve(&error).await;
        }
        self.all_undone(|line, batch| refuse(line, batch, &error))
            .await
    }

    /// Its vendor does not take it, and any of its lines may be why: each half of it is tried by itself, until the one at fault is alone and
    /// hears the vendor's words, which nobody else reads.
    async fn halve(&mut self, error: &Error) -> Result<bool, Error> {
        let lines = self.numbers(LineState::Sent).await?;
        if lines.len() < 2 {
            return self
                .all_undone(|line, batch| refuse(line, batch, error))
                .await;
        }
        let id = self.batch.id.clone();
        let desk = &self.state.batches;
        let parts = desk.with(move |store| store.parts(&id)).await?;
        if parts.len() >= PARTS_MAX {
            if desk.settings.load().late == Late::Run {
                return self.wait_again().await;
            }
            let why = "The provider did not take the batch in which this request waited, and nothing of it is charged. Ask it again, or without \"prefer: respond-async\".";
            let error = Error::new(Kind::UpstreamFailed, why);
            return self
                .all_undone(|line, batch| refuse(line, batch, &error))
                .await;
        }
        for n in &lines {
            if let Some(line) = self.line(*n).await?
                && !settled::undone(self.state, self.batch, &line).await?
            {
                return Ok(false);
            }
        }
        self.row.state = PartState::Ended;
        let (one, other) = lines.split_at(lines.len() / 2);
        self.split(&[one, other], vec![self.row.clone()]).await?;
        Ok(true)
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

    /// Looks for a part of which nobody knows whether it was made: on its channel, or on every channel of the provider where the configuration
    /// has its own one no more. There it is never made again: the account on which it may be might be one that no channel leads to any more.
    async fn find(
        &mut self,
        provider: &Arc<Provider>,
        own: Option<&Channel>,
        wire: &Wire,
    ) -> Result<bool, Error> {
        let (known, rival) = self.others().await?;
        let known = (&known[..], rival);
        let found = match own {
            Some(own) => self.listed((provider, own), wire, known).await?,
            None => self.found_anywhere(provider, wire, known).await?,
        };
        let Some(found) = found else {
            return Ok(false);
        };
        match self.memory.search.heard(found, self.search_look()) {
            Searched::There(id) => {
                self.row.guessed = !wire.batches.keeps_marks();
                self.made(id).await
            }
            Searched::Later => Ok(false),
            Searched::Remake => match own {
                Some(own) => self.resend((provider, own), wire).await,
                None => self.give_up_unclear().await,
            },
            Searched::GiveUp => self.give_up_unclear().await,
        }
    }

    fn search_look(&self) -> SearchLook {
        SearchLook {
            at: Instant::now(),
            since_made: now().saturating_sub(self.row.intent_at),
            poll: self.state.batches.settings.load().poll,
        }
    }

    /// What the list of batches on one channel says of the part, and `None` where it cannot be read now. `known`: what all other parts are
    /// called, and whether another one with as many lines is looked for.
    async fn listed(
        &self,
        at: Way<'_>,
        wire: &Wire,
        (known, rival): (&[String], bool),
    ) -> Result<Option<Found>, Error> {
        let tag = self.row.tag(&self.batch.id);
        let mut after: Option<String> = None;
        for page in 0..PAGES_MAX {
            let sought = Sought {
                tag: &tag,
                lines: usize::try_from(self.row.lines).unwrap_or(0),
                since: self.row.intent_at - CLOCKS,
                known,
                rival,
                page,
            };
            let look = wire.batches.find(after.as_deref());
            let found = match call(self.state, at, wire, look).await {
                Called::Good(answer) => wire.batches.found(&whole(answer).await?, &sought),
                Called::Busy | Called::NotSent | Called::Unknown(_) => return Ok(None),
                Called::Refused(..) => Found::Unclear,
            };
            match found {
                Found::Further(next) => after = Some(next),
                found => return Ok(Some(found)),
            }
        }
        Ok(Some(Found::Unclear))
    }

    /// The same of all channels of its provider. That none of them knows it says nothing, and where batches bear no marks, two that might be it
    /// are none.
    async fn found_anywhere(
        &mut self,
        provider: &Arc<Provider>,
        wire: &Wire,
        known: (&[String], bool),
    ) -> Result<Option<Found>, Error> {
        let (mut found, mut later): (Vec<(&Channel, String)>, bool) = (Vec::new(), false);
        for channel in provider.channels() {
            match self.listed((provider, channel), wire, known).await? {
                Some(Found::Yes(id)) => found.push((channel, id)),
                Some(_) => {}
                None => later = true,
            }
        }
        let Some((channel, id)) = found.first() else {
            return Ok((!later).then_some(Found::Unclear));
        };
        let is_one = found.iter().all(|(_, other)| other == id);
        if !wire.batches.keeps_marks() {
            if later {
                return Ok(None);
            }
            if !is_one {
                return Ok(Some(Found::Unclear));
            }
        }
        self.is_on(channel);
        Ok(Some(Found::Yes(id.clone())))
    }

    /// Its own channel is gone from the configuration, and it was found on this one.
    fn is_on(&mut self, channel: &Channel) {
        tracing::warn!(
            batch = self.batch.id,
            part = self.row.n,
            provider = self.row.provider,
            channel = self.row.channel,
            found_on = channel.name,
            "the channel of a batch is not configured any more; the batch was found on another one"
        );
        channel.name.clone_into(&mut self.row.channel);
    }

    /// Looks at a part whose channel is gone on every channel of its provider. One that none of them knows is given up after some looks.
    async fn look_everywhere(
        &mut self,
        provider: &Arc<Provider>,
        wire: &Wire,
        cancel: Cancel,
    ) -> Result<bool, Error> {
        let mut later = false;
        for channel in provider.channels() {
            let look = wire.batches.look(&self.row.vendor_id);
            match call(self.state, (provider, channel), wire, look).await {
                Called::Good(_) => {
                    self.is_on(channel);
                    self.save(Vec::new()).await?;
                    return self.look((provider, channel), wire, cancel).await;
                }
                Called::Refused(..) => {}
                Called::Busy | Called::NotSent | Called::Unknown(_) => later = true,
            }
        }
        // What was passed on is looked for until nobody keeps its results any more: its channel may be configured again.
        if later || self.batch.is_passed() {
            return Ok(false);
        }
        match self.memory.astray.heard(Found::Unclear, self.search_look()) {
            Searched::GiveUp => {
                let why = "No credential of the provider that is configured now knows the batch in which this request is; it is charged at its bound and was not sent again.";
                self.give_up(&Error::new(Kind::UpstreamFailed, why)).await
            }
            _ => Ok(false),
        }
    }

    async fn give_up_unclear(&mut self) -> Result<bool, Error> {
        let why = "Whether the provider has done this request cannot be found out; it is charged at its bound and was not sent again.";
        self.give_up(&Error::new(Kind::UpstreamFailed, why)).await
    }

    /// It was never made: now it is. After a crash its lines were charged at their bounds, which their results correct; one whose room was
    /// never written into the books gets it now.
    async fn resend(&mut self, at: Way<'_>, wire: &Wire) -> Result<bool, Error> {
        if self.stops {
            return self.wait_again().await;
        }
        if !self.drop_unwanted().await? {
            return Ok(false);
        }
        if let Some(changed) = self.hold_back().await? {
            return Ok(changed);
        }
        if let Some(recalled) = self.recall().await? {
            // What is left of it is looked for, and made, without them.
            return Ok(recalled);
        }
        let mut unbooked = Vec::new();
        for n in self.numbers(LineState::Sent).await? {
            if self.state.batches.has_room(&self.batch.id, n) {
                continue;
            }
            let Some(line) = self.line(n).await? else {
                continue;
            };
            let request = self.batch.request_of(n, &line.doc);
            let rows = self.state.ledger.request(&request).await?;
            let booked = rows
                .iter()
                .any(|row| row.opening.attempt == line.doc.attempt);
            if booked {
                continue;
            }
            match self.room_for(line).await? {
                RoomFor::All => unbooked.push(n),
                RoomFor::Changed => {}
                RoomFor::Later => return Ok(false),
            }
        }
        self.open(&unbooked).await?;
        let lines = self.numbers(LineState::Sent).await?.len();
        if lines == 0 {
            // What has not gone out of it is begun anew, and else it is over.
            return self.begin_anew().await;
        }
        self.row.lines = i64::try_from(lines).unwrap_or(i64::MAX);
        self.row.intent_at = now();
        self.save(Vec::new()).await?;
        *self.memory = Memory {
            policy: self.memory.policy.take(),
            ..Memory::default()
        };
        self.send(at, wire).await
    }

    /// Asks the vendor how it stands.
    async fn look(&mut self, at: Way<'_>, wire: &Wire, cancel: Cancel) -> Result<bool, Error> {
        let cancelled = match cancel {
            Cancel::Nothing => false,
            Cancel::Spared => true,
            Cancel::Asked => {
                let cancel = wire.batches.cancel(&self.row.vendor_id);
                let called = call(self.state, at, wire, cancel).await;
                matches!(reached(&called), Reached::Done | Reached::Refused)
            }
        };
        if cancelled {
            self.row.cancelled = true;
            self.save(Vec::new()).await?;
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
            Some(told) if part::is_over(self.row, &told) => self.ended(at, wire, told).await,
            _ => Ok(false),
        }
    }

    /// The vendor's batch is over: every line of it gets its end.
    async fn ended(&mut self, at: Way<'_>, wire: &Wire, told: VendorTold) -> Result<bool, Error> {
        let Some(end) = told.end else {
            return Ok(false);
        };
        let grows = self.batch.is_passed() && wire.batches.grows() && end == VendorEnd::Completed;
        let there = told.lines.map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        if grows && there.is_some() && self.memory.read == there {
            let quiet_for = now().saturating_sub(self.row.intent_at);
            return match quiet_for < GROWS_FOR {
                true => Ok(false),
                false => self.rest(&end).await,
            };
        }
        tracing::info!(
            batch = self.batch.id,
            part = self.row.n,
            provider = self.row.provider,
            end = ?end,
            "a provider's batch is over"
        );
        if let VendorEnd::Refused(why) = &end {
            let error = Error::new(Kind::BadRequest, why.clone());
            if self.is_shared() {
                return self.halve(&error).await;
            }
            return self
                .all_undone(|line, batch| refuse(line, batch, &error))
                .await;
        }
        if !self.take((at.0, wire), told.inline).await? {
            return Ok(false);
        }
        for path in told.results {
            let read = match wire.batches.in_pages() {
                true => self.pages(at, wire, path).await?,
                false => self.lines_at(at, wire, path).await?,
            };
            if !read {
                return Ok(false);
            }
        }
        if self.row.guessed && self.memory.foreign {
            return self.give_up_unclear().await;
        }
        if grows {
            // Its client may add others.
            self.memory.read = there;
            if let Some(there) = there.filter(|there| *there != self.row.lines) {
                (self.row.lines, self.row.intent_at) = (there, now());
                self.save(Vec::new()).await?;
            }
            return Ok(false);
        }
        self.rest(&end).await
    }

    /// Reads results that come as lines.
    async fn lines_at(&mut self, at: Way<'_>, wire: &Wire, path: String) -> Result<bool, Error> {
        match call(self.state, at, wire, VendorCall::get(path)).await {
            Called::Good(answer) => self.stream((at.0, wire), answer).await,
            Called::Refused(404, _) => Ok(true),
            _ => Ok(false),
        }
    }

    /// Reads results that come in pages.
    async fn pages(&mut self, at: Way<'_>, wire: &Wire, path: String) -> Result<bool, Error> {
        let mut next = Some(path);
        for _ in 0..RESULT_PAGES_MAX {
            let Some(path) = next else { return Ok(true) };
            let Called::Good(answer) =
                call(self.state, at, wire, VendorCall::get(path.clone())).await
            else {
                return Ok(false);
            };
            let Some(page) = wire.batches.page(&path, &whole(answer).await?) else {
                return Ok(false);
            };
            if !self.take((at.0, wire), page.results).await? {
                return Ok(false);
            }
            next = page.next;
        }
        Ok(false)
    }

    /// Lines without a result.
    async fn rest(&mut self, end: &VendorEnd) -> Result<bool, Error> {
        // What was passed on is its client's: it is not asked again here.
        let late = match self.batch.is_passed() {
            true => Late::Report,
            false if self.row.recalled => Late::Run,
            false => self.state.batches.settings.load().late,
        };
        if self.batch.is_passed() && self.memory.names.as_ref().is_none_or(HashMap::is_empty) {
            tracing::error!(
                batch = self.batch.id,
                provider = self.row.provider,
                "no result of a batch that was passed on could be read; what it costs is in no book"
            );
        }
        let gone = self.state.batches.gone(self.batch).await?;
        loop {
            let mut page = self.page(LineState::Sent, -1).await?;
            if page.is_empty() {
                break;
            }
            for at in 0..page.len() {
                let line = &mut page[at];
                let undone = self.memory.undone.contains(&line.n);
                match part::unanswered(end, undone, self.batch.state, late) {
                    Unanswered::Lost => {
                        let why = "The provider says that its batch is complete, and has no result for this request; it is charged at its bound.";
                        settled::unknown(self.state, self.batch, line).await?;
                        refuse(line, self.batch, &Error::new(Kind::UpstreamFailed, why))?;
                    }
                    fate => {
                        if !settled::undone(self.state, self.batch, line).await? {
                            page.truncate(at);
                            self.save_lines(page).await?;
                            return Ok(false);
                        }
                        line.state = match fate {
                            Unanswered::Ends(state) => state,
                            // Nobody wants its answer any more.
                            _ if gone.contains(&line.n) => LineState::Cancelled,
                            _ => LineState::Waiting,
                        };
                        if line.state == LineState::Waiting {
                            line.part = DIRECT;
                        }
                    }
                }
                line.out.clear();
                if line.state != LineState::Waiting {
                    self.state.batches.note(line.state);
                }
            }
            self.save_lines(page).await?;
        }
        self.row.state = PartState::Ended;
        self.save(Vec::new()).await?;
        Ok(true)
    }

    /// Reads results as they come.
    async fn stream(
        &mut self,
        from: (&Arc<Provider>, &Wire),
        answer: Response<In>,
    ) -> Result<bool, Error> {
        let wire = from.1;
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
            let mut read = 0;
            while let Some(end) = memchr::memchr(b'\n', &held[read..]) {
                results.extend(wire.batches.result(&held[read..read + end]));
                read += end + 1;
                let full = results.len() >= KEPT_AT_ONCE;
                if full && !self.take(from, std::mem::take(&mut results)).await? {
                    return Ok(false);
                }
            }
            held.drain(..read);
            if held.len() > RESULT_MAX {
                return Err(broken("a result is too long".into()));
            }
            if over {
                results.extend(wire.batches.result(&held));
                return self.take(from, results).await;
            }
        }
    }

    /// Books results and keeps them. One that was booked before changes nothing.
    async fn take(
        &mut self,
        from: (&Arc<Provider>, &Wire),
        results: Vec<VendorResult>,
    ) -> Result<bool, Error> {
        if self.batch.is_passed() {
            return self.take_passed(from, results).await;
        }
        let mut kept = Vec::with_capacity(results.len());
        let mut all = true;
        for result in &results {
            let Some(n) = self.row.line_of(&self.batch.id, &result.id) else {
                self.memory.foreign = true;
                continue;
            };
            let Some(mut line) = self.line(n).await? else {
                continue;
            };
            if kept.iter().any(|other: &LineRow| other.n == n) {
                continue;
            }
            match part::of_result(self.row, (line.part, line.state), result.end) {
                ResultUse::Ignore => continue,
                ResultUse::Undone => {
                    self.memory.undone.insert(n);
                    continue;
                }
                ResultUse::Settle => {}
            }
            if !settled::settle(self.state, self.batch, &mut line, result).await? {
                all = false;
                break;
            }
            kept.push(line);
        }
        // What is told as ended is in the books: after a crash nobody would look for it again.
        self.state.ledger.flush().await;
        self.save_lines(kept).await?;
        Ok(all)
    }

    /// The same of a batch that was passed on: its lines are known by their clients' own names, most of them from their results alone.
    async fn take_passed(
        &mut self,
        from: (&Arc<Provider>, &Wire),
        results: Vec<VendorResult>,
    ) -> Result<bool, Error> {
        let mut names = match self.memory.names.take() {
            Some(names) => names,
            None => {
                let id = self.batch.id.clone();
                let all = self.state.batches.with(move |store| store.names(&id));
                all.await?.into_iter().collect()
            }
        };
        let mut open: Vec<(ResultLine, &VendorResult)> = Vec::new();
        let mut rows = Vec::new();
        let mut all = true;
        for result in &results {
            let next = i64::try_from(names.len()).unwrap_or(i64::MAX);
            let n = *names.entry(metered::name_of(result)).or_insert(next);
            let known = self.line(n).await?;
            let ended = |line: &LineRow| line.state != LineState::Sent;
            let twice = open.iter().any(|(of, _)| of.line.n == n);
            if twice || known.as_ref().is_some_and(ended) {
                continue;
            }
            let mut of =
                metered::line_of(self.state, self.batch, from, result, (n, known.as_ref()));
            if let Some(known) = &known {
                of.line.doc.attempt.clone_from(&known.doc.attempt);
            }
            if let Some(attempt) = self.state.batches.attempt(&self.batch.id, n) {
                of.line.doc.attempt = attempt;
            }
            if of.line.state == LineState::Sent {
                let has_room = self.state.batches.has_room(&self.batch.id, n);
                let is_booked =
                    known.is_some() && metered::is_booked(self.state, self.batch, &of.line).await?;
                if !has_room && !is_booked {
                    metered::hold(self.state, self.batch, from.1, &mut of)?;
                }
                rows.push(of.line.clone());
                open.push((of, result));
            } else if known.is_none() || settled::undone(self.state, self.batch, &of.line).await? {
                rows.push(of.line);
            } else {
                // Its attempt still belongs to a process that has died and was not swept yet.
                all = false;
            }
        }
        self.memory.names = Some(names);
        // Which attempt is whose is known before it stands in the books, so that nothing is booked twice.
        self.save_lines(rows).await?;
        let numbers: Vec<i64> = open.iter().map(|(of, _)| of.line.n).collect();
        self.open(&numbers).await?;
        let mut kept = Vec::with_capacity(open.len());
        for (mut of, result) in open {
            if !metered::settle(self.state, self.batch, from.1, &mut of, result).await? {
                all = false;
                break;
            }
            kept.push(of.line);
        }
        self.state.ledger.flush().await;
        self.save_lines(kept).await?;
        Ok(all)
    }

    /// Nothing of the part was made, and nothing will be: its lines wait for whoever ends them.
    async fn wait_again(&mut self) -> Result<bool, Error> {
        self.all_undone(|line, _| {
            line.state = LineState::Waiting;
            line.part = DIRECT;
            Ok(())
        })
        .await
    }

    /// Nothing of the part was done: its lines end so, or wait again.
    async fn all_undone(
        &mut self,
        end: impl Fn(&mut LineRow, &BatchRow) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        loop {
            let mut page = self.page(LineState::Sent, -1).await?;
            if page.is_empty() {
                break;
            }
            for at in 0..page.len() {
                let line = &mut page[at];
                if !settled::undone(self.state, self.batch, line).await? {
                    page.truncate(at);
                    self.save_lines(page).await?;
                    return Ok(false);
                }
                end(line, self.batch)?;
                line.out.clear();
                if line.state != LineState::Waiting {
                    self.state.batches.note(line.state);
                }
            }
            self.save_lines(page).await?;
        }
        self.row.state = PartState::Ended;
        self.save(Vec::new()).await?;
        Ok(true)
    }

    /// Nobody will hear what came of it: its lines are charged at their bounds and reported.
    async fn give_up(&mut self, error: &Error) -> Result<bool, Error> {
        tracing::error!(batch = self.batch.id, part = self.row.n, %error, "lines of a batch are given up");
        for state in [LineState::Waiting, LineState::Sent] {
            loop {
                let mut page = self.page(state, -1).await?;
                if page.is_empty() {
                    break;
                }
                for line in &mut page {
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
                self.save_lines(page).await?;
            }
        }
        self.row.state = PartState::Ended;
        self.save(Vec::new()).await?;
        Ok(true)
    }
}
