//! Works on one batch until it is over: does what is due, then waits for a while or until it is woken.

use super::super::State;
use super::admit::{NotTaken, admit, refuse};
use super::desk::{Batches, Stopping};
use super::direct::{self, Ran};
use super::seat::{caller_of, is_paused};
use super::settled;
use super::vendor::{Memory, Part};
use crate::batch::course::{self, Waiting};
use crate::batch::{BatchRow, DIRECT, LineRow, LineState, PartRow, PartState};
use crate::dialect::batch::BatchState;
use crate::error::{Error, Kind};
use crate::ledger::now;
use crate::ledger::store::batches::{Claim, Of};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

/// The first wait between two looks; each is half as long again as the one before it.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// Told when it is known whether a batch is taken up.
pub(super) type Admitted = oneshot::Sender<Result<(), Error>>;

/// Works on a batch until it is over or the process ends. `admitted` hears whether it is taken up; a refusal for all of it then leaves
/// nothing of it.
pub async fn drive(
    state: Arc<State>,
    id: String,
    admitted: Option<oneshot::Sender<Result<(), Error>>>,
) {
    let claim = Claim {
        batch: id,
        worker: uuid::Uuid::now_v7().to_string(),
    };
    drive_on(state, claim, admitted, false).await;
}

/// The same as this worker. `has`: the batch is its own already.
pub(super) async fn drive_on(
    state: Arc<State>,
    claim: Claim,
    admitted: Option<oneshot::Sender<Result<(), Error>>>,
    has: bool,
) {
    let id = claim.batch.clone();
    let Some(wake) = state.batches.begins(&id) else {
        return;
    };
    let _alive = Arc::clone(&state.batches.alive);
    let _worked_on = WorkedOn(Arc::clone(&state), id.clone());
    let held = Arc::new(Held {
        has: AtomicBool::new(has),
        ..Held::default()
    });
    let mut worker = Worker {
        state: Arc::clone(&state),
        id: id.clone(),
        admitted,
        memory: HashMap::new(),
        claim: claim.clone(),
        held: Arc::clone(&held),
        fresh: true,
    };
    let (mut wait, mut stopping) = (FIRST_WAIT, state.batches.stopping());
    // A step may take long; nobody else may take the batch meanwhile.
    let beating = beat(Arc::clone(&state), claim, Arc::clone(&held));
    let _beating = Beating(tokio::spawn(beating));
    loop {
        let done = tokio::select! {
            done = worker.step() => done,
            () = held.lost.notified() => {
                worker.lose();
                return;
            }
            _ = stopping.wait_for(|s| *s == Stopping::Now) => break,
        };
        if state.batches.is_stopping() {
            break;
        }
        let most = state
            .batches
            .settings
            .load()
            .poll
            .max(Duration::from_millis(10));
        match done {
            Ok(Step::Over) => {
                state.batches.moved.notify_one();
                return;
            }
            Ok(Step::Lost) => return,
            Ok(Step::Busy) => {
                state.batches.moved.notify_one();
                wait = FIRST_WAIT.min(most);
                continue;
            }
            Ok(Step::Idle) => {}
            Err(error) => tracing::warn!(batch = id, %error, "a batch cannot be worked on now"),
        }
        wait = wait.min(most);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = wake.notified() => wait = FIRST_WAIT,
            _ = stopping.wait_for(|s| *s != Stopping::No) => break,
        }
        wait += wait / 2;
    }
}

/// [`drive_on`] for a batch that a request begins, which may itself be a line that is run: to the compiler the one future would hold the other
/// without end.
pub(super) fn driving(state: Arc<State>, claim: Claim) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(drive_on(state, claim, None, true))
}

/// Somebody works on the batch. In its end, a panic too, nobody does; at the end of the process what has gone out stays open in the books.
struct WorkedOn(Arc<State>, String);

impl Drop for WorkedOn {
    fn drop(&mut self) {
        let WorkedOn(state, id) = self;
        if state.batches.is_stopping() {
            return;
        }
        if std::thread::panicking() {
            state.batches.lose(id);
        }
        state.batches.ends(id);
    }
}

/// Whether the worker has the batch.
#[derive(Default)]
struct Held {
    has: AtomicBool,
    /// It had it, and another one has it now.
    lost: Notify,
}

/// Ends with whoever works on the batch.
struct Beating(tokio::task::JoinHandle<()>);

impl Drop for Beating {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Keeps a batch that the worker has.
async fn beat(state: Arc<State>, claim: Claim, held: Arc<Held>) {
    let _alive = Arc::clone(&state.batches.alive);
    loop {
        tokio::time::sleep(state.batches.claim_time() / 3).await;
        match state.batches.keep_claim(&claim).await {
            Ok(true) => {}
            Ok(false) if held.has.swap(false, Ordering::Relaxed) => held.lost.notify_one(),
            Ok(false) => {}
            Err(error) => tracing::warn!(batch = claim.batch, %error, "a batch cannot be claimed"),
        }
    }
}

enum Step {
    /// There is more to do at once.
    Busy,
    /// Others are waited for.
    Idle,
    /// Nothing is left to do.
    Over,
    /// Another process has taken the batch over.
    Lost,
}

struct Worker {
    state: Arc<State>,
    id: String,
    admitted: Option<Admitted>,
    memory: HashMap<i64, Memory>,
    /// What it writes, it writes as this.
    claim: Claim,
    held: Arc<Held>,
    /// It has not looked for what an earlier process left, or what it has lost itself.
    fresh: bool,
}

impl Worker {
    fn desk(&self) -> &Batches {
        &self.state.batches
    }

    async fn found(&self) -> Result<Option<BatchRow>, Error> {
        let id = self.id.clone();
        self.desk().with(move |store| store.batch(&id)).await
    }

    /// Another process has the batch: what was open here is charged at its bound, and corrected by whoever hears what came of it. Nothing is
    /// written any more as this worker; should the batch come back, another one begins.
    fn lose(&self) {
        tracing::warn!(
            batch = self.id,
            "a batch that was worked on here was taken over by another process"
        );
        self.desk().lose(&self.id);
    }

    async fn step(&mut self) -> Result<Step, Error> {
        // One that is not there cannot be claimed.
        if self
            .found()
            .await?
            .is_none_or(|batch| batch.state.is_over())
        {
            return Ok(Step::Over);
        }
        // Who has had it goes on only while nobody else has taken it since.
        let claimed = match self.held.has.load(Ordering::Relaxed) {
            true => self.desk().keep_claim(&self.claim).await?,
            false => self.desk().claim(&self.claim).await?,
        };
        if !claimed {
            // Another replica has it.
            if self.held.has.swap(false, Ordering::Relaxed) {
                self.lose();
                return Ok(Step::Lost);
            }
            self.desk().is_anothers(&self.id).await;
            return Ok(Step::Idle);
        }
        self.held.has.store(true, Ordering::Relaxed);
        // As whoever had it before has left it.
        let Some(batch) = self.found().await? else {
            return Ok(Step::Over);
        };
        match batch.state {
            BatchState::Validating if batch.doc.collects_until.is_some() => {
                self.collect(batch).await
            }
            BatchState::Validating => self.take_up(batch).await,
            BatchState::InProgress | BatchState::Cancelling => self.work(&batch).await,
            _ => Ok(Step::Over),
        }
    }

    /// Requests that wait are collected until it is time for them to go out.
    async fn collect(&self, mut batch: BatchRow) -> Result<Step, Error> {
        if batch.doc.collects_until.is_some_and(|until| now() < until) {
            return Ok(Step::Idle);
        }
        batch.state = BatchState::InProgress;
        batch.doc.began = Some(now());
        // From here on nobody joins it; one that was cancelled meanwhile is looked at again.
        self.changed(&batch, BatchState::Validating).await?;
        Ok(Step::Busy)
    }

    async fn take_up(&mut self, mut batch: BatchRow) -> Result<Step, Error> {
        let outcome = admit(&self.state, &batch, &self.claim).await;
        self.fresh = false;
        let told = match outcome {
            Ok(()) => {
                batch.state = BatchState::InProgress;
                batch.doc.began = Some(now());
                // Cancelled meanwhile, it is looked at again.
                let was = BatchState::Validating;
                self.changed(&batch, was).await?;
                Ok(())
            }
            Err(NotTaken::Defects(errors)) => {
                self.fail(&mut batch, errors).await?;
                Ok(())
            }
            Err(NotTaken::Refused(error)) => {
                let code = error.code.unwrap_or("batch_refused");
                let told = serde_json::json!({"code": code, "message": error.public, "param": null, "line": null});
                self.fail(&mut batch, vec![told]).await?;
                Err(error)
            }
        };
        if let Some(admitted) = self.admitted.take() {
            let _ = admitted.send(told);
        }
        Ok(Step::Busy)
    }

    async fn fail(
        &self,
        batch: &mut BatchRow,
        errors: Vec<serde_json::Value>,
    ) -> Result<(), Error> {
        batch.state = BatchState::Failed;
        batch.doc.errors = errors;
        batch.doc.ended = Some(now());
        let was = BatchState::Validating;
        if !self.changed(batch, was).await? {
            self.changed(batch, BatchState::Cancelling).await?;
        }
        Ok(())
    }

    /// The batch stands otherwise, if it stood so.
    async fn changed(&self, batch: &BatchRow, was: BatchState) -> Result<bool, Error> {
        self.desk().change(Some(&self.claim), batch, was).await
    }

    async fn work(&mut self, batch: &BatchRow) -> Result<Step, Error> {
        if self.fresh {
            self.recover(batch).await?;
            self.fresh = false;
        }
        let late = now() >= batch.doc.expires;
        let rule = self.desk().settings.load().late;
        let course = match batch.is_passed() {
            true => course::OF_PASSED,
            false => course::course(batch.state, late, rule),
        };
        let id = self.id.clone();
        let mut parts = self.desk().with(move |store| store.parts(&id)).await?;
        let mut busy = false;
        for part in &mut parts {
            match self.part(batch, part, course.stops).await {
                Ok(changed) => busy |= changed,
                // The others go on.
                Err(error) => {
                    tracing::warn!(batch = self.id, part = part.n, provider = part.provider, %error, "a part of a batch cannot be worked on now");
                }
            }
        }
        busy |= match course.waiting {
            Waiting::Ends(end) => self.end_waiting(batch, end).await?,
            Waiting::RunsAlone => self.run_waiting(batch, false).await?,
            Waiting::AllRunAlone => self.run_waiting(batch, true).await?,
        };
        let id = self.id.clone();
        let counts = self.desk().with(move |store| store.counts(&id)).await?;
        // Lines of a batch that was passed on may be known from its results alone.
        let heard = parts.iter().all(|part| part.state == PartState::Ended);
        let end = match batch.is_passed() && !heard {
            true => None,
            false => course::end(batch.state, &counts),
        };
        let Some(end) = end else {
            return Ok(if busy { Step::Busy } else { Step::Idle });
        };
        let mut over = batch.clone();
        over.state = end;
        over.doc.ended = Some(now());
        self.changed(&over, batch.state).await?;
        Ok(Step::Busy)
    }

    async fn part(
        &mut self,
        batch: &BatchRow,
        row: &mut PartRow,
        stops: bool,
    ) -> Result<bool, Error> {
        let memory = self.memory.entry(row.n).or_default();
        let mut part = Part {
            state: &self.state,
            batch,
            claim: &self.claim,
            row,
            memory,
            stops,
        };
        part.step().await
    }

    /// Lines that an earlier process was running by itself: nobody knows what came of them.
    async fn recover(&self, batch: &BatchRow) -> Result<(), Error> {
        let why = "flyball ended while this request was under way, or could not keep what came of it; it was not sent again, and is charged at its bound where nobody knows what it has used.";
        let error = Error::new(Kind::UpstreamFailed, why);
        let mut after = -1;
        loop {
            let id = self.id.clone();
            let of = Of::Part(DIRECT, LineState::Sent);
            let page = self
                .desk()
                .with(move |store| store.lines(&id, of, after))
                .await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.n;
            let mut lost = page;
            for line in &mut lost {
                settled::unknown(&self.state, batch, line).await?;
                refuse(line, batch, &error)?;
            }
            self.save(lost).await?;
        }
    }

    async fn save(&self, lines: Vec<LineRow>) -> Result<(), Error> {
        let claim = self.claim.clone();
        self.desk()
            .with(move |store| store.save(&claim, &lines, &[]))
            .await
    }

    /// Lines that have not gone out, and will not.
    async fn end_waiting(&self, batch: &BatchRow, end: LineState) -> Result<bool, Error> {
        let id = self.id.clone();
        let of = Of::State(LineState::Waiting);
        let mut page = self
            .desk()
            .with(move |store| store.lines(&id, of, -1))
            .await?;
        let busy = !page.is_empty();
        for line in &mut page {
            settled::undone(&self.state, batch, line).await?;
            line.state = end;
            line.out.clear();
            self.desk().note(end);
        }
        self.save(page).await?;
        Ok(busy)
    }

    /// Runs lines that are in no vendor's batch. `all`: those that are in one which was never made, too.
    async fn run_waiting(&mut self, batch: &BatchRow, all: bool) -> Result<bool, Error> {
        let mut runs = Runs::default();
        let begun = self.begin_waiting(batch, all, &mut runs).await;
        // What is under way comes to its end, whatever became of another line.
        while !runs.running.is_empty() {
            runs.ended().await;
        }
        if let Some(error) = runs.failed {
            // What came of its line may not be kept: it is to be reported.
            self.fresh = true;
            return Err(error);
        }
        Ok(begun? && !runs.no_room)
    }

    /// Gives whether there are any.
    async fn begin_waiting(
        &self,
        batch: &BatchRow,
        all: bool,
        runs: &mut Runs,
    ) -> Result<bool, Error> {
        let id = self.id.clone();
        let of = if all {
            Of::State(LineState::Waiting)
        } else {
            Of::Part(DIRECT, LineState::Waiting)
        };
        let most = self.desk().settings.load().concurrency.max(1);
        let (mut after, mut busy) = (-1, false);
        let gone = self.desk().gone(batch).await?;
        loop {
            let id = id.clone();
            let page = self
                .desk()
                .with(move |store| store.lines(&id, of, after))
                .await?;
            let Some(last) = page.last() else {
                return Ok(busy);
            };
            after = last.n;
            for mut line in page {
                if self.is_stopped(batch).await? {
                    return Ok(busy);
                }
                if gone.contains(&line.n) {
                    // Nobody wants its answer: it costs nothing.
                    settled::undone(&self.state, batch, &line).await?;
                    line.state = LineState::Cancelled;
                    line.out.clear();
                    self.desk().note(line.state);
                    self.save(vec![line]).await?;
                    busy = true;
                    continue;
                }
                if caller_of(&self.state, batch.key_of(&line.doc)).is_err_and(|e| is_paused(&e)) {
                    // It waits for its key, at the longest as long as it may.
                    if now() >= batch.doc.expires {
                        self.expire(batch, line).await?;
                        busy = true;
                    }
                    continue;
                }
                if line.part != DIRECT {
                    // Its room is that of a batch; by itself it costs more.
                    drop(self.desk().take_room(&self.id, line.n));
                    line.part = DIRECT;
                    line.out.clear();
                }
                if runs.running.len() >= most && !runs.ended().await {
                    return Ok(busy);
                }
                let others = runs.running.len() + 1;
                let whose = (batch.clone(), self.claim.clone());
                runs.running
                    .spawn(direct::run(Arc::clone(&self.state), whose, line, others));
                busy = true;
            }
        }
    }

    /// A line whose key was paused until its batch's time was over.
    async fn expire(&self, batch: &BatchRow, mut line: LineRow) -> Result<(), Error> {
        settled::undone(&self.state, batch, &line).await?;
        line.state = LineState::Expired;
        line.out.clear();
        self.desk().note(line.state);
        self.save(vec![line]).await
    }

    /// The batch was cancelled meanwhile, or another process has it.
    async fn is_stopped(&self, batch: &BatchRow) -> Result<bool, Error> {
        if self.desk().is_stopping() || !self.desk().claim(&self.claim).await? {
            return Ok(true);
        }
        let found = self.found().await?;
        Ok(found.is_none_or(|found| found.state != batch.state))
    }
}

/// Lines that run by themselves.
#[derive(Default)]
struct Runs {
    running: JoinSet<Result<Ran, Error>>,
    no_room: bool,
    /// The first that went wrong.
    failed: Option<Error>,
}

impl Runs {
    /// One of them has ended. Gives whether others may begin.
    async fn ended(&mut self) -> bool {
        let Some(ran) = self.running.join_next().await else {
            return true;
        };
        match has_run(ran) {
            Ok(has_run) => {
                self.no_room |= !has_run;
                has_run
            }
            Err(error) => {
                self.failed.get_or_insert(error);
                false
            }
        }
    }
}

fn has_run(ran: Result<Result<Ran, Error>, tokio::task::JoinError>) -> Result<bool, Error> {
    match ran {
        Ok(Ok(Ran::Ended)) => Ok(true),
        Ok(Ok(Ran::NoRoom)) => Ok(false),
        Ok(Err(error)) => Err(error),
        Err(error) => Err(
            Error::new(Kind::Internal, "a line of a batch ended in a defect")
                .detail(error.to_string()),
        ),
    }
}
