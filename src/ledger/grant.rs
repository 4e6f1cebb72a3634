//! How an attempt gets its reservation in the balances: at once, from a lease that has to come from the store first, from parts
//! that other replicas do not need, or when an open reservation has closed.

use super::balance::{Denied, Full, Grant, Requirement, Want};
use super::record::Opening;
use super::store::{StoreAnswer, StoreWork};
use super::{Ledger, Refused};
use std::sync::Arc;
use std::time::Duration;

/// How long a request waits for a lease before the store counts as away.
const LEASE_WAIT: Duration = Duration::from_secs(2);
/// How long a request waits for parts of a cap that other replicas hold and may not need.
const OTHERS_WAIT: Duration = Duration::from_millis(1_500);
/// How often it looks meanwhile.
const OTHERS_LOOK: Duration = Duration::from_millis(100);
/// How often leases are asked for again because what came was gone before it could be used: given back as idle, spent by another
/// request, or lost because this process was taken for dead.
const LEASES_MAX: usize = 16;
/// Requests that may wait for room at once; more are refused at once.
const WAITING_MAX: usize = 1_024;

/// What came of asking for leases.
enum Leased {
    /// What there was.
    Given {
        /// Of every counter at least what is needed.
        enough: bool,
        /// Others hold parts of what was not given.
        others: bool,
    },
    /// Nothing: the store begins a new life of this process. It may ask again.
    InAnotherLife,
}

impl Ledger {
    /// Looks and reserves; asks the store for leases where they are too small, for a while also for parts that others hold and may
    /// not need.
    pub(super) async fn grant(
        self: &Arc<Ledger>,
        ask: Requirement,
        opening: &Opening,
    ) -> Result<Grant, Refused> {
        let look = |last| {
            let at = self.latest(opening.at_ms.div_euclid(1_000));
            self.balances().reserve(&opening.dims(), ask, at, last)
        };
        let deadline = tokio::time::Instant::now() + OTHERS_WAIT;
        loop {
            let (denied, others) = match look(false) {
                Ok(grant) => return Ok(grant),
                Err(Denied::Full(full)) => return Err(Refused::Full(full)),
                Err(Denied::Short(_)) => self.look_and_lease(&look).await?,
                Err(Denied::Unknown) => (self.recall_and_look(&look).await?, false),
            };
            match denied {
                Ok(grant) => return Ok(grant),
                Err(Denied::Full(full)) => {
                    let may_come = others && full.only_reserved();
                    if !may_come || tokio::time::Instant::now() >= deadline {
                        return Err(Refused::Full(full));
                    }
                    tokio::time::sleep(OTHERS_LOOK).await;
                }
                Err(Denied::Short(_) | Denied::Unknown) => {
                    return Err(Refused::Store("the store gave no lease".into()));
                }
            }
        }
    }

    /// One at a time: what the one before got may do for the next, and nobody is refused while a lease is on its way. Tells too
    /// whether others hold parts of what was not given.
    async fn look_and_lease(
        self: &Arc<Ledger>,
        look: &impl Fn(bool) -> Result<Grant, Denied>,
    ) -> Result<(Result<Grant, Denied>, bool), Refused> {
        let _turn = self.leasing.lock().await;
        for _ in 0..LEASES_MAX {
            let wants = match look(false) {
                Err(Denied::Short(wants)) => wants,
                other => return Ok((other, false)),
            };
            let Leased::Given { enough, others } = self.lease(wants).await? else {
                continue;
            };
            match look(true) {
                // It was there and is gone again, so that it is the lease that is short and not the cap.
                Err(Denied::Full(full)) if enough && full.only_reserved() => {}
                found => return Ok((found, others)),
            }
        }
        Err(Refused::Store(
            "what is leased is gone before it can be used, again and again".into(),
        ))
    }

    /// Asks the store what end users have spent of whom nothing is known here: for all at once who wait for that.
    async fn recall_and_look(
        self: &Arc<Ledger>,
        look: &impl Fn(bool) -> Result<Grant, Denied>,
    ) -> Result<Result<Grant, Denied>, Refused> {
        for _ in 0..LEASES_MAX {
            self.check_doubt()?;
            // One at a time: what the one before has asked may be what the next one needs.
            let turn = tokio::time::timeout(LEASE_WAIT, self.recalling.clone().lock_owned()).await;
            let Ok(turn) = turn else {
                return Err(Refused::Store("the store does not answer".into()));
            };
            match look(false) {
                Err(Denied::Unknown) => {}
                other => return Ok(other),
            }
            let (asked, told) = {
                // Under the lock: what closes from now on is not in what the store says.
                let mut balances = self.balances();
                let asked = balances.take_wanted();
                let told = self.writer.ask(StoreWork::Recall(asked.clone()));
                (asked, told)
            };
            let ledger = self.clone();
            // By itself: others wait for the answer, too, when this request has gone away.
            let recalling = tokio::spawn(async move {
                let told = told.await;
                let mut balances = ledger.balances();
                let outcome = match told {
                    Ok(Ok(StoreAnswer::Sums(sums))) => {
                        balances.recalled(&asked, &sums);
                        Ok(())
                    }
                    Ok(Err(why)) => Err(why),
                    _ => Err("the ledger thread has ended".to_owned()),
                };
                if outcome.is_err() {
                    balances.not_recalled(&asked);
                }
                drop(balances);
                drop(turn);
                outcome
            });
            match tokio::time::timeout(LEASE_WAIT, recalling).await {
                Ok(Ok(outcome)) => outcome.map_err(Refused::Store)?,
                _ => return Err(Refused::Store("the store does not answer".into())),
            }
            match look(false) {
                Err(Denied::Unknown) => {}
                other => return Ok(other),
            }
        }
        Err(Refused::Store(
            "what users have spent is forgotten before it can be used, again and again".into(),
        ))
    }

    /// The store answers nobody as long as it asks whether a commit took place: who would wait for it is told at once.
    fn check_doubt(&self) -> Result<(), Refused> {
        match self.writer.in_doubt() {
            true => Err(Refused::Store(
                "the answer to a commit was lost, and the store has not said yet whether it took place".into(),
            )),
            false => Ok(()),
        }
    }

    /// Takes leases from the store.
    async fn lease(self: &Arc<Ledger>, mut wants: Vec<Want>) -> Result<Leased, Refused> {
        self.check_doubt()?;
        let asked_in = wants.first().map_or(0, |want| want.epoch);
        for want in &mut wants {
            let slice = want.limit * i128::from(self.settings.slice_permille()) / 1_000;
            want.want = want.want.max(slice);
        }
        let needs: Vec<i128> = wants.iter().map(|want| want.need).collect();
        let told = self.writer.ask(StoreWork::Lease(wants));
        let ledger = self.clone();
        // By itself: a lease that comes late, or whose request has gone away, must not be lost.
        let taking = tokio::spawn(async move {
            let (epoch, given) = match told.await {
                Ok(Ok(StoreAnswer::Leases(epoch, given))) => (epoch, given),
                Ok(Err(why)) => return Err(why),
                _ => return Err("the ledger thread has ended".into()),
            };
            let mut balances = ledger.balances();
            balances.begin_epoch(epoch);
            if epoch < balances.epoch() {
                // It was given to an earlier life of this process, and is charged already.
                return Ok(Leased::InAnotherLife);
            }
            if epoch != asked_in {
                // Nothing was given: not because there is no room, but because whoever asked has been taken for dead.
                return Ok(Leased::InAnotherLife);
            }
            let others = given.iter().any(|g| g.given == 0 && g.others > 0);
            let enough = given.iter().zip(needs).all(|(g, need)| g.given >= need);
            for g in given {
                balances.leased(&g.counter, g.id, g.given, g.posted);
            }
            Ok(Leased::Given { enough, others })
        });
        match tokio::time::timeout(LEASE_WAIT, taking).await {
            Ok(Ok(taken)) => taken.map_err(Refused::Store),
            _ => Err(Refused::Store("the store does not answer".into())),
        }
    }

    /// Waits for room, first come first tried at every close.
    pub(super) async fn grant_within(
        self: &Arc<Ledger>,
        ask: Requirement,
        opening: &Opening,
        patience: Duration,
        mut full: Box<Full>,
    ) -> Result<Grant, Refused> {
        use std::sync::atomic::Ordering::Relaxed;
        struct Leaving<'a>(&'a std::sync::atomic::AtomicUsize);
        impl Drop for Leaving<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Relaxed);
            }
        }
        let before = self.waiting.fetch_add(1, Relaxed);
        let _leaving = Leaving(&self.waiting);
        if before >= WAITING_MAX {
            return Err(Refused::Full(full));
        }
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let mut told = std::pin::pin!(self.room.notified());
            // Armed before the look, so that room which comes in between is not missed.
            told.as_mut().enable();
            match self.grant(ask, opening).await {
                Err(Refused::Full(f)) if f.only_reserved() => full = f,
                other => return other,
            }
            if tokio::time::timeout_at(deadline, told).await.is_err() {
                return Err(Refused::Full(full));
            }
        }
    }
}
