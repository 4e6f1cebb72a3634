//! One counter's standing in its current window.

use super::terms::{CounterStanding, Denied, Full, Held, Posting, Reason, Want};
use crate::ledger::cap::{AtCap, Cap, Counter, Dim, Pick};
use std::sync::Arc;

/// Whether what a user's counter has spent is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SpentKnown {
    /// No. What is spent meanwhile is in the books when they are asked.
    Not,
    /// No, and somebody waits for it.
    Wanted,
    /// The books have been asked. What is spent meanwhile comes on top of what they say.
    Asked,
    /// Yes.
    All,
}

/// Whether a counter, or each of those of a kind, is of one end user.
pub(super) fn tells(counter: &Counter) -> bool {
    *counter.scope.pick(Dim::User) != Pick::Any
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) counter: Counter,
    pub(super) id: i64,
    pub(super) ends_at: i64,
    pub(super) limit: Option<i128>,
    pub(super) posted: i128,
    pub(super) reserved: i128,
    /// Of `reserved`, what a lease stands behind.
    reserved_leased: i128,
    lease: i128,
    /// The most of the lease that was in use since the last look.
    busy: i128,
    /// The cap that holds, if one does.
    pub(super) cap: Option<Arc<Cap>>,
    told: ToldPercent,
    pub(super) session_counted: Option<i64>,
    /// Of an end user's counter, whether what it has spent is known here; nothing of others, which always are.
    pub(super) known: Option<SpentKnown>,
    /// In which round it was last needed.
    pub(super) needed_in: u64,
}

/// How much of a cap was told in one window.
#[derive(Debug, Default)]
struct ToldPercent {
    /// Which window, and under which limit; another limit is told anew.
    of: Option<(i64, i128)>,
    percent: u8,
}

impl Slot {
    pub(super) fn new(counter: Counter, now: i64) -> Slot {
        let id = counter.window.id(&counter.zone, now);
        let ends_at = counter
            .window
            .ends_at(&counter.zone, id)
            .unwrap_or(i64::MAX);
        Slot {
            known: tells(&counter).then_some(SpentKnown::Not),
            needed_in: 0,
            counter,
            id,
            ends_at,
            limit: None,
            posted: 0,
            reserved: 0,
            reserved_leased: 0,
            lease: 0,
            busy: 0,
            cap: None,
            told: ToldPercent::default(),
            session_counted: None,
        }
    }

    /// Takes note of a cap; the narrowest counts, and of those the lowest.
    pub(super) fn cap(&mut self, cap: &Arc<Cap>) {
        let other = self.cap.as_ref();
        if other.is_none_or(|other| cap.goes_before(other)) {
            (self.limit, self.cap) = (Some(cap.limit), Some(Arc::clone(cap)));
        }
    }

    /// No cap holds any more.
    pub(super) fn uncap(&mut self) {
        (self.limit, self.cap) = (None, None);
    }

    /// Begins the window of `now`. Ids never fall, so a clock that jumps back reopens nothing. What is left of a past
    /// window's lease goes back, except for what its open reservations hold: they give that back themselves.
    pub(super) fn roll(&mut self, name: &Arc<str>, now: i64, epoch: u32) -> Option<Posting> {
        if now < self.ends_at {
            return None;
        }
        let (old, left) = (self.id, self.lease - self.reserved_leased);
        self.roll_to(self.counter.window.id(&self.counter.zone, now));
        (left > 0).then(|| Posting {
            counter: name.clone(),
            id: old,
            posted: 0,
            unleased: left,
            leased: true,
            epoch,
        })
    }

    pub(super) fn roll_to(&mut self, id: i64) {
        if id > self.id {
            self.id = id;
            // Whatever is spent in a window that has just begun is spent here.
            self.known = self.known.map(|_| SpentKnown::All);
            let ends = self.counter.window.ends_at(&self.counter.zone, id);
            self.ends_at = ends.unwrap_or(i64::MAX);
            (self.posted, self.reserved, self.reserved_leased) = (0, 0, 0);
            (self.lease, self.busy) = (0, 0);
        }
    }

    /// What the cap has left.
    pub(super) fn room(&self, limit: i128) -> i128 {
        limit - self.posted - self.reserved
    }

    /// What the lease has left.
    pub(super) fn leased_room(&self) -> i128 {
        self.lease - self.reserved_leased
    }

    pub(super) fn hold(&mut self, amount: i128, leased: bool) {
        self.reserved += amount;
        if leased {
            self.reserved_leased += amount;
            self.busy = self.busy.max(self.reserved_leased);
        }
    }

    /// Ends a hold of this window; gives how much of the lease is used up.
    pub(super) fn close(&mut self, held: &Held, spent: i128, epoch: u32) -> i128 {
        self.reserved -= held.amount;
        self.post(spent);
        if !held.leased {
            return 0;
        }
        // Its lease was charged with an earlier life of this process.
        if held.epoch != epoch {
            return 0;
        }
        // What an answer cost above its bound no lease has set aside: it is posted on top.
        let used = spent.min(held.amount);
        self.reserved_leased -= held.amount;
        self.lease -= used;
        used
    }

    pub(super) fn take_lease(&mut self, given: i128, posted: i128) {
        self.lease += given;
        // Whoever asked for it has not held it yet, and it must not go back as idle before.
        self.busy = self.busy.max(self.lease);
        self.posted = self.posted.max(posted);
    }

    /// What is given back of the lease: with `all` everything that is not held, else what was idle since the last look.
    pub(super) fn give_back(&mut self, name: &Arc<str>, all: bool, epoch: u32) -> Option<Posting> {
        let keep = if all || self.limit.is_none() {
            self.reserved_leased
        } else {
            self.busy
        };
        self.busy = self.reserved_leased;
        let left = self.lease - keep;
        if left <= 0 {
            return None;
        }
        self.lease = keep;
        Some(Posting {
            counter: name.clone(),
            id: self.id,
            posted: 0,
            unleased: left,
            leased: true,
            epoch,
        })
    }

    /// The lease is gone; what it stood behind is open still.
    pub(super) fn lose_lease(&mut self) {
        (self.lease, self.reserved_leased, self.busy) = (0, 0, 0);
    }

    pub(super) fn want(
        &self,
        counter: &Arc<str>,
        limit: i128,
        least: i128,
        whole: i128,
        epoch: u32,
    ) -> Want {
        let have = self.leased_room();
        Want {
            counter: counter.clone(),
            id: self.id,
            epoch,
            need: (least - have).max(0),
            want: whole - have,
            limit,
        }
    }

    pub(super) fn full(&self, at_cap: AtCap, limit: i128, needed: i128, reason: Reason) -> Denied {
        Denied::Full(Box::new(Full {
            counter: self.counter.clone(),
            ends_at: Some(self.ends_at).filter(|e| *e != i64::MAX),
            limit,
            posted: self.posted,
            reserved: self.reserved,
            needed,
            at_cap,
            reason,
            cap: self.cap.clone(),
        }))
    }

    /// The shares that what is posted has passed for the first time in this window, in rising order.
    pub(super) fn crossed(&mut self) -> Vec<u8> {
        let (Some(limit), Some(cap)) = (self.limit, &self.cap) else {
            return Vec::new();
        };
        let used = percent(self.posted, limit);
        let told_at = cap.told_at();
        // Nearly always nothing is passed.
        if told_at.first().is_none_or(|first| used < u64::from(*first)) {
            return Vec::new();
        }
        let before = match self.told.of == Some((self.id, limit)) {
            true => self.told.percent,
            false => 0,
        };
        let new = |share: &&u8| **share > before && u64::from(**share) <= used;
        let passed: Vec<u8> = told_at.iter().filter(new).copied().collect();
        if let Some(last) = passed.last() {
            self.told = ToldPercent {
                of: Some((self.id, limit)),
                percent: *last,
            };
        }
        passed
    }

    pub(super) fn in_use(&self) -> bool {
        self.reserved != 0 || self.lease != 0
    }

    pub(super) fn standing(&self) -> CounterStanding {
        CounterStanding {
            counter: self.counter.clone(),
            id: self.id,
            ends_at: Some(self.ends_at).filter(|e| *e != i64::MAX),
            limit: self.limit,
            posted: self.posted,
            reserved: self.reserved,
            lease: self.lease,
            cap: self.cap.clone(),
        }
    }
}

impl Slot {
    /// So much is spent for good.
    pub(super) fn post(&mut self, amount: i128) {
        if !matches!(self.known, Some(SpentKnown::Not | SpentKnown::Wanted)) {
            self.posted += amount;
        }
    }

    /// What was known is not known any more.
    pub(super) fn forget(&mut self) {
        self.known = self.known.map(|_| SpentKnown::Not);
    }

    /// Somebody waits for what the store says of it.
    pub(super) fn is_awaited(&self) -> bool {
        matches!(self.known, Some(SpentKnown::Wanted | SpentKnown::Asked))
    }
}

/// `part` in percent of `whole`, rounded down; a cap of nothing is always full.
pub(super) fn percent(part: i128, whole: i128) -> u64 {
    if whole <= 0 {
        return 100;
    }
    u64::try_from(part.max(0).saturating_mul(100) / whole).unwrap_or(u64::MAX)
}
