//! The reservation protocol with leases, as a model small enough to be looked at in every state.
//!
//! Two replicas lease parts of one cap from a store and spend them locally. Anything may be interleaved: leases asked for, granted and lost on
//! the way, requests reserved, dispatched, grown, billed and closed, closings on their way to the store, leases given back, the window's end,
//! crashes at every step, and sweeps of replicas that are dead or only paused. The provider bills at most what is reserved when it works.

/// The cap of each window.
pub const CAP: u8 = 3;
/// What one attempt reserves at first; it may grow by one.
const BOUND: u8 = 1;
/// What is leased at a time, where so much is left.
const SLICE: u8 = 2;
const REPLICAS: usize = 2;
const WINDOWS: usize = 2;

/// One rule left out or broken. The model must then fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A lease is granted by what is posted, not by what others have leased too.
    GrantsTwice,
    /// A sweep frees a dead replica's lease.
    SweepFrees,
    /// What a swept replica still closes is posted again.
    PostsAfterSweep,
    /// A replica admits by its lease and forgets what it holds open.
    ForgetsOpen,
    /// A second attempt goes out on the first one's reservation.
    RetriesOnFirst,
    /// An attempt is posted in the window in which it ends.
    PostsWhereItEnds,
    /// A lease is taken along into the next window.
    CarriesLease,
    /// A lease is given back with what open reservations hold.
    ReturnsHeld,
    /// A replica that was swept takes over a lease that was granted to it before.
    TakesOldLease,
    /// The provider bills more than was reserved.
    Overruns,
    /// A closing is applied twice.
    PostsTwice,
    /// A reservation grows without room in the lease.
    GrowsBlindly,
    /// An attempt whose end nobody knows is closed with nothing.
    FreesUnknown,
    /// A closing gives its hold back before the cost is posted.
    ReleasesFirst,
    /// How much of the lease a closing gives back is decided when the store hears of it, not when it closes.
    DecidesLate,
}

pub const MUTANTS: [Mutant; 15] = [
    Mutant::GrantsTwice,
    Mutant::SweepFrees,
    Mutant::PostsAfterSweep,
    Mutant::ForgetsOpen,
    Mutant::RetriesOnFirst,
    Mutant::PostsWhereItEnds,
    Mutant::CarriesLease,
    Mutant::ReturnsHeld,
    Mutant::TakesOldLease,
    Mutant::Overruns,
    Mutant::PostsTwice,
    Mutant::GrowsBlindly,
    Mutant::FreesUnknown,
    Mutant::ReleasesFirst,
    Mutant::DecidesLate,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Stage {
    New,
    Reserved,
    Sent,
    /// The provider has billed.
    Billed,
    /// Closed in the replica; the store does not know yet. Holds what is posted, and what of the lease is used up or given back.
    Closing(u8, u8),
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Request {
    stage: Stage,
    replica: u8,
    /// The replica's life in which it was reserved.
    epoch: u8,
    window: u8,
    held: u8,
    bill: u8,
    retried: bool,
}

impl Request {
    /// Over: only its bill is of interest any more, so states that differ in nothing else are one.
    fn finish(&mut self) {
        *self = Request {
            stage: Stage::Over,
            replica: 0,
            epoch: 0,
            held: 0,
            retried: false,
            ..*self
        };
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Replica {
    dead: bool,
    epoch: u8,
    window: u8,
    /// What is left of its lease, open reservations included.
    lease: u8,
    /// A grant on its way: window, amount, the epoch it was granted to.
    grant: Option<(u8, u8, u8)>,
    /// Something given back on its way: window, amount, epoch.
    back: Option<(u8, u8, u8)>,
}

/// A state of everything, with `N` requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State<const N: usize> {
    now: u8,
    posted: [u8; WINDOWS],
    /// By replica and window, of the replica's present epoch.
    leased: [[u8; WINDOWS]; REPLICAS],
    epoch: [u8; REPLICAS],
    replicas: [Replica; REPLICAS],
    requests: [Request; N],
}

impl<const N: usize> State<N> {
    pub fn first() -> Self {
        let request = Request {
            stage: Stage::New,
            replica: 0,
            epoch: 0,
            window: 0,
            held: 0,
            bill: 0,
            retried: false,
        };
        State {
            now: 0,
            posted: [0; WINDOWS],
            leased: [[0; WINDOWS]; REPLICAS],
            epoch: [0; REPLICAS],
            replicas: [Replica::default(); REPLICAS],
            requests: [request; N],
        }
    }

    /// Begins in the last window, which does not end.
    pub fn in_one_window() -> Self {
        let mut first = Self::first();
        first.now = u8::try_from(WINDOWS - 1).expect("small");
        for replica in &mut first.replicas {
            replica.window = first.now;
        }
        first
    }

    /// Requests are alike: states that differ in their order alone are one.
    pub fn sorted(mut self) -> Self {
        self.requests.sort_unstable();
        self
    }

    fn open(&self, r: usize, window: u8) -> u8 {
        let own = |q: &&Request| {
            usize::from(q.replica) == r
                && q.epoch == self.replicas[r].epoch
                && q.window == window
                && matches!(q.stage, Stage::Reserved | Stage::Sent | Stage::Billed)
        };
        self.requests.iter().filter(own).map(|q| q.held).sum()
    }

    fn bill(&self, window: usize) -> u8 {
        let here = |q: &&Request| usize::from(q.window) == window;
        self.requests.iter().filter(here).map(|q| q.bill).sum()
    }

    fn leased_in(&self, window: usize) -> u8 {
        self.leased.iter().map(|l| l[window]).sum()
    }

    /// What must hold in every state.
    pub fn broken(&self) -> Option<&'static str> {
        for w in 0..WINDOWS {
            if self.posted[w] + self.leased_in(w) > CAP {
                return Some("posted + leased > cap");
            }
            if self.bill(w) > CAP {
                return Some("the provider billed more than the cap");
            }
            // What is set aside and posted covers every bill that is out, or a crash now would lose it.
            if self.posted[w] + self.leased_in(w) < self.bill(w) {
                return Some("the books do not cover the bill");
            }
        }
        None
    }

    /// What must hold when nothing can happen any more.
    pub fn unfinished(&self) -> Option<&'static str> {
        let settled = |q: &Request| matches!(q.stage, Stage::New | Stage::Over);
        (0..WINDOWS)
            .find_map(|w| (self.posted[w] < self.bill(w)).then_some("a bill is not in the books"))
            .or_else(|| (!self.requests.iter().all(settled)).then_some("a request is stuck"))
            .or_else(|| {
                let any = self.leased.iter().flatten().any(|l| *l > 0);
                any.then_some("a lease is stuck")
            })
    }

    /// The whole cap is spent: the model does not hold by refusing everything.
    pub fn full(&self) -> bool {
        (0..WINDOWS).any(|w| self.posted[w] == CAP && self.bill(w) == CAP)
    }

    /// Every state that may come next.
    pub fn next(&self, mutant: Option<Mutant>) -> Vec<Self> {
        let mut out = Vec::new();
        let is = |m| mutant == Some(m);
        if usize::from(self.now) + 1 < WINDOWS {
            let mut s = *self;
            s.now += 1;
            out.push(s);
        }
        for r in 0..REPLICAS {
            self.replica_steps(r, &is, &mut out);
        }
        for i in 0..N {
            self.request_steps(i, &is, &mut out);
        }
        out
    }

    fn replica_steps(&self, r: usize, is: &dyn Fn(Mutant) -> bool, out: &mut Vec<Self>) {
        let me = self.replicas[r];
        // The sweep does not know whether a replica is dead or only paused. It charges the whole lease and ends the epoch.
        // Replicas are alike: it is enough that one of them is struck.
        if r == 0 && self.epoch[r] == 0 {
            let mut s = *self;
            for w in 0..WINDOWS {
                if !is(Mutant::SweepFrees) {
                    s.posted[w] += s.leased[r][w];
                }
                s.leased[r][w] = 0;
            }
            s.epoch[r] = 1;
            out.push(s);
        }
        if me.dead {
            return;
        }
        // It dies: what it knew is gone; what it held is for the sweep.
        if r == 0 && me.epoch == 0 && self.epoch[r] == 0 {
            let mut s = *self;
            s.replicas[r].dead = true;
            for q in s
                .requests
                .iter_mut()
                .filter(|q| usize::from(q.replica) == r)
            {
                if q.stage != Stage::New {
                    q.finish();
                }
            }
            out.push(s);
        }
        // It notices that it was swept, and goes on with nothing.
        if me.epoch != self.epoch[r] {
            let mut s = *self;
            s.replicas[r].epoch = self.epoch[r];
            s.replicas[r].lease = 0;
            out.push(s);
        }
        // It sees the new window; what is left of the old lease goes back, except for what is held.
        if me.window < self.now && me.back.is_none() {
            let mut s = *self;
            let held = self.open(r, me.window);
            let left = me.lease.saturating_sub(held);
            if left > 0 && !is(Mutant::CarriesLease) {
                s.replicas[r].back = Some((me.window, left, me.epoch));
            }
            s.replicas[r].window = self.now;
            if !is(Mutant::CarriesLease) {
                s.replicas[r].lease = 0;
            }
            out.push(s);
        }
        self.lease_steps(r, is, out);
    }

    fn lease_steps(&self, r: usize, is: &dyn Fn(Mutant) -> bool, out: &mut Vec<Self>) {
        let me = self.replicas[r];
        let w = usize::from(me.window);
        // The store grants; only an epoch that it knows.
        if me.grant.is_none() && me.epoch == self.epoch[r] {
            let others = if is(Mutant::GrantsTwice) {
                self.leased[r][w]
            } else {
                self.leased_in(w)
            };
            let amount = CAP.saturating_sub(self.posted[w] + others).min(SLICE);
            if amount > 0 {
                let mut s = *self;
                s.leased[r][w] += amount;
                s.replicas[r].grant = Some((me.window, amount, me.epoch));
                out.push(s);
            }
        }
        // The grant arrives. For a window or an epoch that has passed it is of no use: it goes back.
        if let Some((window, amount, epoch)) = me.grant {
            let mut s = *self;
            s.replicas[r].grant = None;
            let current = epoch == me.epoch || is(Mutant::TakesOldLease);
            if current && window == me.window {
                s.replicas[r].lease += amount;
                out.push(s);
            } else if me.back.is_none() {
                s.replicas[r].back = Some((window, amount, epoch));
                out.push(s);
            }
        }
        // Idle parts go back.
        let held = if is(Mutant::ReturnsHeld) {
            0
        } else {
            self.open(r, me.window)
        };
        if me.back.is_none() && me.lease > held {
            let mut s = *self;
            s.replicas[r].lease = held;
            s.replicas[r].back = Some((me.window, me.lease - held, me.epoch));
            out.push(s);
        }
        if let Some((window, amount, epoch)) = me.back {
            let mut s = *self;
            s.replicas[r].back = None;
            // What was swept is charged already.
            if epoch == self.epoch[r] {
                let leased = &mut s.leased[r][usize::from(window)];
                *leased = leased.saturating_sub(amount);
            }
            out.push(s);
        }
    }

    fn request_steps(&self, i: usize, is: &dyn Fn(Mutant) -> bool, out: &mut Vec<Self>) {
        let q = self.requests[i];
        let r = usize::from(q.replica);
        match q.stage {
            Stage::New => {
                // Of those that have not begun it is enough that one does.
                if i > 0 && self.requests[i - 1].stage == Stage::New {
                    return;
                }
                for r in 0..REPLICAS {
                    let me = self.replicas[r];
                    let open = if is(Mutant::ForgetsOpen) {
                        0
                    } else {
                        self.open(r, me.window)
                    };
                    if !me.dead && me.lease >= open + BOUND {
                        let mut s = *self;
                        s.requests[i] = Request {
                            stage: Stage::Reserved,
                            replica: u8::try_from(r).expect("small"),
                            epoch: me.epoch,
                            window: me.window,
                            held: BOUND,
                            ..q
                        };
                        out.push(s);
                    }
                }
            }
            Stage::Reserved => {
                let mut s = *self;
                s.requests[i].stage = Stage::Sent;
                out.push(s);
                // It is never sent: nothing is charged.
                out.push(self.closed(i, 0, is));
            }
            Stage::Sent => {
                let most = q.held + u8::from(is(Mutant::Overruns));
                for bill in 0..=most {
                    let mut s = *self;
                    s.requests[i].stage = Stage::Billed;
                    s.requests[i].bill += bill;
                    out.push(s);
                }
                // A stream may grow while its lease has room.
                let me = self.replicas[r];
                let room = me.lease > self.open(r, q.window) || is(Mutant::GrowsBlindly);
                if q.held == BOUND && room && me.epoch == q.epoch && me.window == q.window {
                    let mut s = *self;
                    s.requests[i].held += 1;
                    out.push(s);
                }
            }
            Stage::Billed => {
                out.push(self.closed(i, q.bill, is));
                // The answer broke off: nobody knows the bill.
                let unknown = if is(Mutant::FreesUnknown) {
                    0
                } else {
                    q.held.max(q.bill)
                };
                out.push(self.closed(i, unknown, is));
                if is(Mutant::RetriesOnFirst) && !q.retried {
                    let mut s = *self;
                    s.requests[i].stage = Stage::Sent;
                    s.requests[i].retried = true;
                    out.push(s);
                }
            }
            Stage::Closing(cost, unleased) => {
                out.push(self.posted_in_store(i, cost, unleased, is));
            }
            Stage::Over => {}
        }
    }

    /// Closed in the replica: what it held is free there, what it cost is not.
    fn closed(&self, i: usize, cost: u8, is: &dyn Fn(Mutant) -> bool) -> Self {
        let mut s = *self;
        let q = self.requests[i];
        let me = &mut s.replicas[usize::from(q.replica)];
        let mut unleased = q.held;
        if me.epoch == q.epoch && me.window == q.window {
            unleased = cost.min(q.held);
            me.lease -= unleased.min(me.lease);
        }
        s.requests[i].stage = Stage::Closing(cost, unleased);
        if is(Mutant::ReleasesFirst) {
            let leased = &mut s.leased[usize::from(q.replica)][usize::from(q.window)];
            *leased = leased.saturating_sub(q.held);
        }
        s
    }

    /// The store posts a closing and takes it out of the lease, in one step; of a swept epoch everything is charged already.
    fn posted_in_store(
        &self,
        i: usize,
        cost: u8,
        unleased: u8,
        is: &dyn Fn(Mutant) -> bool,
    ) -> Self {
        let mut s = *self;
        let q = self.requests[i];
        let (r, mut w) = (usize::from(q.replica), usize::from(q.window));
        if is(Mutant::PostsWhereItEnds) {
            w = usize::from(self.now);
        }
        s.requests[i].finish();
        if q.epoch != self.epoch[r] && !is(Mutant::PostsAfterSweep) {
            return s;
        }
        s.posted[w] += cost;
        if is(Mutant::PostsTwice) {
            s.posted[w] += cost;
        }
        if q.epoch == self.epoch[r] {
            let late = match self.replicas[r].window == q.window {
                true => cost.min(q.held),
                false => q.held,
            };
            let unleased = if is(Mutant::DecidesLate) {
                late
            } else {
                unleased
            };
            let leased = &mut s.leased[r][usize::from(q.window)];
            *leased = leased.saturating_sub(unleased);
        }
        s
    }
}
