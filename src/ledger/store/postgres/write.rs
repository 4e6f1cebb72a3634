//! Writing the shared books: each batch in one transaction.

use super::super::columns::{self, CLOSING, ColumnKind, ColumnValue, OPENING};
use super::super::sums::{self, Groups, PastTotals, SumChanges};
use super::super::{Given, StoreAnswer, StoreWork};
use super::{Failed, Owner, learning, read};
use crate::ledger::balance::{Posting, Want};
use crate::ledger::cap::{Counter, covered};
use crate::ledger::judged::{JudgedAnswer, OUTCOMES_MAX};
use crate::ledger::prune::{self, Pass};
use crate::ledger::record::{Closed, Closing, Correction, Opening, Sum, Swept, TrueUp};
use crate::ledger::replay::{Replay, corrections, counts};
use crate::ledger::rollup::{Amounts, Grain, Group};
use bytes::BytesMut;
use postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use postgres::{Client, GenericClient, Transaction};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// How long a part of a cap that was wanted and not there is looked for among the others' idle leases.
const WANTED_FOR: &str = "5 seconds";

/// Changes of one counter's window: posted, this owner's lease, and what was charged for a lost lease.
#[derive(Clone, Copy, Debug, Default)]
struct Change {
    posted: i128,
    leased: i128,
    forfeit: i128,
}

type Changes = BTreeMap<(Arc<str>, i64), Change>;

/// Makes this process known.
pub(super) fn register(client: &mut Client, owner: &Owner) -> Result<(), postgres::Error> {
    let text = "INSERT INTO fb_owner (id, beat, seq) VALUES ($1, now(), $2)";
    client.execute(text, &[&owner.id, &owner.seq]).map(drop)
}

/// Everything in one transaction. Only the answer to its COMMIT can be lost.
pub(super) fn transaction(
    client: &mut Client,
    owner: &mut Owner,
    groups: &mut Groups,
    works: &[&StoreWork],
    dead_after: Duration,
) -> Result<Vec<StoreAnswer>, Failed> {
    let outcome = transaction_once(client, owner, groups, works, dead_after);
    if outcome.is_err() {
        // Those that the transaction has added may not be there.
        groups.clear();
    }
    outcome
}

fn transaction_once(
    client: &mut Client,
    owner: &mut Owner,
    groups: &mut Groups,
    works: &[&StoreWork],
    dead_after: Duration,
) -> Result<Vec<StoreAnswer>, Failed> {
    let mut tx = client.transaction().map_err(Failed::Clean)?;
    let (id, epoch) = live(&mut tx, owner).map_err(Failed::Clean)?;
    let life = Life {
        id: &id,
        epoch,
        dead_after,
    };
    let answers = all(&mut tx, &life, groups, works).map_err(Failed::Clean)?;
    let outcome = tx.commit();
    // If the server said no, nothing was written.
    if let Err(e) = outcome {
        if e.code().is_some() {
            return Err(Failed::Clean(e));
        }
        (owner.id, owner.epoch) = (id, epoch);
        return Err(Failed::Unsure(e, answers));
    }
    (owner.id, owner.epoch) = (id, epoch);
    owner.seq += 1;
    Ok(answers)
}

/// Shows that this process lives. If the others have taken it for dead it begins again, as another one and with nothing.
fn live(tx: &mut Transaction<'_>, owner: &Owner) -> Result<(String, u32), postgres::Error> {
    let seq = owner.seq + 1;
    let alive = "UPDATE fb_owner SET beat = now(), seq = $2 WHERE id = $1 AND NOT gone";
    if tx.execute(alive, &[&owner.id, &seq])? > 0 {
        return Ok((owner.id.clone(), owner.epoch));
    }
    let id = uuid::Uuid::now_v7().to_string();
    let text = "INSERT INTO fb_owner (id, beat, seq) VALUES ($1, now(), $2)";
    tx.execute(text, &[&id, &seq])?;
    Ok((id, owner.epoch + 1))
}

fn all(
    tx: &mut Transaction<'_>,
    life: &Life<'_>,
    groups: &mut Groups,
    works: &[&StoreWork],
) -> Result<Vec<StoreAnswer>, postgres::Error> {
    let mut changes = BatchChanges::default();
    let mut answers = Vec::with_capacity(works.len());
    for work in works {
        answers.push(one(tx, life, work, &mut changes)?);
    }
    apply(tx, life.id, &mut changes.counters)?;
    apply_sums(tx, groups, &mut changes.sums)?;
    Ok(answers)
}

/// What a transaction changes beside the rows of attempts.
#[derive(Default)]
struct BatchChanges<'w> {
    counters: Changes,
    sums: SumChanges<'w>,
}

/// Who writes.
struct Life<'a> {
    id: &'a str,
    epoch: u32,
    dead_after: Duration,
}

fn one<'w>(
    tx: &mut Transaction<'_>,
    life: &Life<'_>,
    work: &'w StoreWork,
    changes: &mut BatchChanges<'w>,
) -> Result<StoreAnswer, postgres::Error> {
    match work {
        StoreWork::Open(opening) => insert(tx, life.id, opening)?,
        StoreWork::Close(opening, closing, postings) => {
            // Only an open row can be closed: a second close changes nothing and spends nothing.
            if close(tx, closing)? == 1 {
                note(&mut changes.counters, life.epoch, postings);
                add_up(tx, &mut changes.sums, opening, closing)?;
            }
        }
        StoreWork::Return(postings) => note(&mut changes.counters, life.epoch, postings),
        StoreWork::Lease(wants) => {
            apply(tx, life.id, &mut changes.counters)?;
            let mut wants: Vec<&Want> = wants.iter().collect();
            // Everybody locks in the same order.
            wants.sort_by(|a, b| (&a.counter, a.id).cmp(&(&b.counter, b.id)));
            let given = wants.into_iter().map(|want| lease(tx, life, want));
            return Ok(StoreAnswer::Leases(
                life.epoch,
                given.collect::<Result<_, _>>()?,
            ));
        }
        StoreWork::Recall(asked) => {
            apply(tx, life.id, &mut changes.counters)?;
            return Ok(StoreAnswer::Sums(recall(tx, asked)?));
        }
        StoreWork::Define { counters, now } => {
            apply(tx, life.id, &mut changes.counters)?;
            return Ok(StoreAnswer::Sums(define(tx, counters, *now)?));
        }
        StoreWork::Expire { before_ms, most } => expire(tx, *before_ms, *most)?,
        StoreWork::Prune { pass, now } => prune(tx, pass, *now)?,
        StoreWork::Freeze(f) => {
            let text = "INSERT INTO fb_frozen (provider, model, since, why) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
            tx.execute(text, &[&f.provider, &f.model, &f.since, &f.why])?;
        }
        StoreWork::Beat => {
            let swept = sweep(tx, life.id, life.dead_after, &mut changes.sums)?;
            return beat(tx, life.epoch, swept);
        }
        StoreWork::Learn(entries) => {
            let text = "INSERT INTO fb_learned (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
            for (name, value) in entries {
                tx.execute(text, &[name, value])?;
            }
        }
        StoreWork::Judge(outcomes) => judge(tx, outcomes)?,
        StoreWork::Measure(asks) => learning::measure(tx, asks)?,
        StoreWork::Flush | StoreWork::PagesMax(_) => {}
    }
    Ok(StoreAnswer::Done)
}

/// As in the embedded store, for one that leases nothing.
fn recall(
    tx: &mut Transaction<'_>,
    asked: &[(Arc<str>, i64)],
) -> Result<Vec<Sum>, postgres::Error> {
    let text = "SELECT posted::text FROM fb_counter WHERE name = $1 AND id = $2";
    let mut found = Vec::with_capacity(asked.len());
    for (counter, id) in asked {
        if let Some(row) = tx.query_opt(text, &[&&**counter, id])? {
            found.push(Sum {
                counter: counter.to_string(),
                id: *id,
                posted: read::amount(&row, 0),
                leased: 0,
            });
        }
    }
    Ok(found)
}

/// As in the embedded store.
fn judge(tx: &mut Transaction<'_>, outcomes: &[JudgedAnswer]) -> Result<(), postgres::Error> {
    let text = "INSERT INTO fb_outcome (request, model, effort, judged_by, task, difficulty_milli, score_ppm, cost, seen_ppm, at_ms, key)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::numeric, $9, $10, $11)
        ON CONFLICT (request, judged_by, model, effort) DO UPDATE SET task = excluded.task, difficulty_milli = excluded.difficulty_milli,
            score_ppm = excluded.score_ppm, cost = excluded.cost, seen_ppm = excluded.seen_ppm, at_ms = excluded.at_ms, key = excluded.key";
    for o in outcomes {
        let cost = o.cost.map(|cost| cost.0.to_string());
        let (effort, by) = (o.effort.name(), o.by.name());
        tx.execute(
            text,
            &[
                &o.request,
                &o.model,
                &effort,
                &by,
                &o.task,
                &o.difficulty_milli,
                &o.score_ppm,
                &cost,
                &o.seen_ppm,
                &o.at_ms,
                &o.key,
            ],
        )?;
    }
    let text = "DELETE FROM fb_outcome WHERE id <= (SELECT MAX(id) FROM fb_outcome) - $1";
    tx.execute(text, &[&OUTCOMES_MAX]).map(drop)
}

/// The same for a command.
pub(super) fn keep_outcomes(
    c: &mut Client,
    outcomes: &[JudgedAnswer],
) -> Result<(), postgres::Error> {
    let mut tx = c.transaction()?;
    judge(&mut tx, outcomes)?;
    tx.commit()
}

/// As in the embedded store: a request counts once, with its last attempt.
fn add_up<'w>(
    tx: &mut Transaction<'_>,
    sums: &mut SumChanges<'w>,
    opening: &'w Opening,
    closing: &'w Closing,
) -> Result<(), postgres::Error> {
    let attempt = &*opening.attempt;
    let followed = sums::may_be_followed(closing) && read::followers(tx, attempt, "")? > 0;
    sums.ended(&Closed {
        opening,
        closing,
        trued_up: None,
        followed,
    });
    let from = &*opening.escalated_from;
    if closing.is_aside() || from.is_empty() || read::followers(tx, from, attempt)? > 0 {
        return Ok(());
    }
    if let Some(before) = read::one(tx, from)? {
        sums.overtaken(&before);
    }
    Ok(())
}

/// All of one grain at once, in the order in which everybody writes them.
static ADD_SUMS: LazyLock<[String; 2]> = LazyLock::new(|| {
    Grain::ALL.map(|grain| {
        let table = read::sums_table(grain);
        let names = sums::columns(|name, _| name.to_owned());
        let arrays = sums::columns(|_, n| format!("${}::text[]::numeric[]", n + 3));
        let added = sums::columns(|name, _| format!("{name} = {table}.{name} + excluded.{name}"));
        format!(
            "INSERT INTO {table} (at, grp, {names}) SELECT * FROM unnest($1::bigint[], $2::bigint[], {arrays}) ORDER BY 1, 2 ON CONFLICT (at, grp) DO UPDATE SET {added}"
        )
    })
});

/// Writes what was gathered.
fn apply_sums(
    tx: &mut Transaction<'_>,
    groups: &mut Groups,
    changes: &mut SumChanges<'_>,
) -> Result<(), postgres::Error> {
    let all = changes.take(groups, |group| group_row(tx, group))?;
    for ((_, rows), text) in all.iter().zip(&*ADD_SUMS) {
        if rows.is_empty() {
            continue;
        }
        let at: Vec<i64> = rows.iter().map(|((at, _), _)| *at).collect();
        let group: Vec<i64> = rows.iter().map(|((_, group), _)| *group).collect();
        let mut columns: [Vec<String>; Amounts::NAMES.len()] = Default::default();
        for (_, amounts) in rows {
            for (column, value) in columns.iter_mut().zip(amounts.values()) {
                column.push(value.to_string());
            }
        }
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&at, &group];
        parameters.extend(columns.iter().map(|column| column as &(dyn ToSql + Sync)));
        tx.execute(text.as_str(), &parameters)?;
    }
    Ok(())
}

/// The row of a group, which is made where there is none.
fn group_row(tx: &mut Transaction<'_>, group: &Group<'_>) -> Result<i64, postgres::Error> {
    let name = group.text();
    let find = "SELECT id FROM fb_rollup_group WHERE name = $1";
    if let Some(row) = tx.query_opt(find, &[&name])? {
        return Ok(row.get(0));
    }
    let make = "INSERT INTO fb_rollup_group (name) VALUES ($1) ON CONFLICT DO NOTHING";
    tx.execute(make, &[&name])?;
    // Where another replica has made it meanwhile, that has waited for the other's end.
    Ok(tx.query_one(find, &[&name])?.get(0))
}

/// Adds up every attempt of books from before sums were kept.
pub(super) fn fill_sums(tx: &mut Transaction<'_>) -> Result<(), postgres::Error> {
    let (mut groups, mut sums) = (Groups::default(), SumChanges::default());
    read::walk(tx, "TRUE", &[], &mut |attempt| {
        if let Some(closed) = attempt.closed() {
            sums.ended_owned(&closed);
        }
        true
    })?;
    apply_sums(tx, &mut groups, &mut sums)
}

/// What is posted out of a lease of an earlier epoch is charged already, with that lease: then the charge becomes the attempt's.
fn note(changes: &mut Changes, epoch: u32, postings: &[Posting]) {
    for p in postings {
        let change = changes.entry((p.counter.clone(), p.id)).or_default();
        if p.epoch == epoch || !p.leased {
            change.posted += p.posted;
            change.leased -= p.unleased;
        } else {
            change.forfeit -= p.posted;
        }
    }
}

fn apply(
    tx: &mut impl GenericClient,
    owner: &str,
    changes: &mut Changes,
) -> Result<(), postgres::Error> {
    for ((counter, id), change) in std::mem::take(changes) {
        let counter = &*counter;
        // The counter's row first: it is the lock of its leases.
        tx.execute(
            "INSERT INTO fb_counter (name, id, posted) VALUES ($1, $2, $3::text::numeric) ON CONFLICT (name, id) DO UPDATE SET posted = fb_counter.posted + excluded.posted",
            &[&counter, &id, &change.posted.to_string()],
        )?;
        if change.leased != 0 {
            tx.execute(
                "INSERT INTO fb_lease (owner, counter, id, amount) VALUES ($1, $2, $3, $4::text::numeric) ON CONFLICT (counter, id, owner) DO UPDATE SET amount = fb_lease.amount + excluded.amount",
                &[&owner, &counter, &id, &change.leased.to_string()],
            )?;
        }
        if change.forfeit != 0 {
            forfeit(tx, counter, id, change.forfeit)?;
        }
    }
    Ok(())
}

fn forfeit(
    tx: &mut impl GenericClient,
    counter: &str,
    id: i64,
    amount: i128,
) -> Result<(), postgres::Error> {
    tx.execute(
        "INSERT INTO fb_forfeit (counter, id, amount, at_ms) VALUES ($1, $2, $3::text::numeric, (extract(epoch FROM now()) * 1000)::bigint)",
        &[&counter, &id, &amount.to_string()],
    )
    .map(drop)
}

/// Sets a part of a cap aside: as much as is wanted and left, or nothing if that is less than the need.
fn lease(tx: &mut Transaction<'_>, life: &Life<'_>, want: &Want) -> Result<Given, postgres::Error> {
    let counter = &*want.counter;
    let none = Given {
        counter: want.counter.clone(),
        id: want.id,
        given: 0,
        posted: 0,
        others: 0,
    };
    if want.epoch != life.epoch {
        return Ok(none);
    }
    tx.execute(
        "INSERT INTO fb_counter (name, id, posted) VALUES ($1, $2, 0) ON CONFLICT DO NOTHING",
        &[&counter, &want.id],
    )?;
    let row = tx.query_one(
        "SELECT posted::text FROM fb_counter WHERE name = $1 AND id = $2 FOR UPDATE",
        &[&counter, &want.id],
    )?;
    let posted = read::amount(&row, 0);
    let row = tx.query_one(
        "SELECT coalesce(sum(amount), 0)::text, coalesce(sum(amount) FILTER (WHERE owner <> $3), 0)::text FROM fb_lease WHERE counter = $1 AND id = $2",
        &[&counter, &want.id, &life.id],
    )?;
    let (leased, others) = (read::amount(&row, 0), read::amount(&row, 1));
    let left = (want.limit - posted - leased).max(0);
    let given = if left >= want.need {
        want.want.min(left)
    } else {
        0
    };
    if given > 0 {
        let mut changes = Changes::new();
        changes
            .entry((want.counter.clone(), want.id))
            .or_default()
            .leased = given;
        apply(tx, life.id, &mut changes)?;
    } else if others > 0 {
        tx.execute("INSERT INTO fb_wanted (counter, at) VALUES ($1, now()) ON CONFLICT (counter) DO UPDATE SET at = excluded.at", &[&counter])?;
    }
    Ok(Given {
        given,
        posted,
        others,
        ..none
    })
}

/// The database's time, and what others look for.
fn beat(
    tx: &mut Transaction<'_>,
    epoch: u32,
    swept: Vec<Swept>,
) -> Result<StoreAnswer, postgres::Error> {
    let now = tx.query_one(
        "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint",
        &[],
    )?;
    let text = format!("SELECT counter FROM fb_wanted WHERE at > now() - interval '{WANTED_FOR}'");
    let wanted = tx.query(&text, &[])?;
    Ok(StoreAnswer::Beat {
        epoch,
        now_ms: now.get(0),
        wanted: wanted.iter().map(|r| r.get(0)).collect(),
        swept,
    })
}

/// In a transaction of its own, when a process begins.
pub(super) fn sweep_alone(
    client: &mut Client,
    own: &str,
    dead_after: Duration,
) -> Result<Vec<Swept>, postgres::Error> {
    let mut tx = client.transaction()?;
    let mut sums = SumChanges::default();
    let swept = sweep(&mut tx, own, dead_after, &mut sums)?;
    apply_sums(&mut tx, &mut Groups::default(), &mut sums)?;
    tx.commit()?;
    Ok(swept)
}

/// Charges what dead processes left: their open attempts at the bound, and whatever else of their leases. Tells which attempts.
fn sweep(
    tx: &mut Transaction<'_>,
    own: &str,
    dead_after: Duration,
    sums: &mut SumChanges<'_>,
) -> Result<Vec<Swept>, postgres::Error> {
    let text = format!(
        "SELECT id FROM fb_owner WHERE NOT gone AND id <> $1 AND beat < now() - interval '{} milliseconds' ORDER BY id FOR UPDATE SKIP LOCKED",
        dead_after.as_millis()
    );
    let dead: Vec<String> = tx.query(&text, &[&own])?.iter().map(|r| r.get(0)).collect();
    let mut swept = Vec::new();
    if !dead.is_empty() {
        let counters = read::defined(tx)?;
        for owner in dead {
            swept.extend(bury(tx, &owner, &counters, sums)?);
        }
    }
    Ok(swept)
}

fn bury(
    tx: &mut Transaction<'_>,
    owner: &str,
    counters: &[Counter],
    sums: &mut SumChanges<'_>,
) -> Result<Vec<Swept>, postgres::Error> {
    tx.execute("UPDATE fb_owner SET gone = TRUE WHERE id = $1", &[&owner])?;
    let mut open = Vec::new();
    read::walk(
        tx,
        "a.outcome IS NULL AND a.owner = $1",
        &[&owner],
        &mut |a| {
            open.push(Swept::from(a.opening));
            true
        },
    )?;
    let mut changes = Changes::new();
    for Swept { opening, closing } in &open {
        close(tx, closing)?;
        let mut own = SumChanges::default();
        add_up(tx, &mut own, opening, closing)?;
        sums.append(own);
        for (name, id, amount) in counts(counters, opening, closing) {
            changes
                .entry((name.as_str().into(), id))
                .or_default()
                .posted += amount;
        }
    }
    let rows = tx.query(
        "SELECT counter, id, amount::text FROM fb_lease WHERE owner = $1",
        &[&owner],
    )?;
    tx.execute("DELETE FROM fb_lease WHERE owner = $1", &[&owner])?;
    for row in rows {
        let change = changes
            .entry((row.get::<_, &str>(0).into(), row.get(1)))
            .or_default();
        // The open attempts were reserved out of the lease.
        let rest = (read::amount(&row, 2) - change.posted).max(0);
        change.posted += rest;
        change.forfeit += rest;
    }
    apply(tx, owner, &mut changes)?;
    Ok(open)
}

/// As in the embedded store. What replicas have leased is theirs; the rest of a cap is less or more from now on.
pub(super) fn true_up(
    client: &mut Client,
    correction: &Correction,
) -> Result<TrueUp, postgres::Error> {
    let mut tx = client.transaction()?;
    let Some(attempt) = read::one(&mut tx, &correction.attempt)? else {
        return Ok(TrueUp::Unclear);
    };
    let change = match attempt.change_to(correction.cost) {
        Ok(change) => change,
        Err(nothing) => return Ok(nothing),
    };
    let c = correction;
    let inserted = tx.execute(
        "INSERT INTO fb_correction (attempt, cost, at_ms, source) VALUES ($1, $2::text::numeric, $3, $4) ON CONFLICT DO NOTHING",
        &[&c.attempt, &c.cost.0.to_string(), &c.at_ms, &c.source],
    )?;
    if inserted == 0 {
        return Ok(TrueUp::Again);
    }
    let mut changes = Changes::new();
    for (name, id, amount) in corrections(&read::defined(&mut tx)?, &attempt.opening, change) {
        let change = changes.entry((name.as_str().into(), id)).or_default();
        change.posted += amount;
    }
    apply(&mut tx, "", &mut changes)?;
    let mut sums = SumChanges::default();
    sums.corrected(&attempt, c.cost);
    apply_sums(&mut tx, &mut Groups::default(), &mut sums)?;
    tx.commit()?;
    Ok(TrueUp::Corrected(change))
}

/// As in the embedded store: a new counter begins with what its attempts of the running window add up to.
fn define(
    tx: &mut Transaction<'_>,
    counters: &[Counter],
    now: i64,
) -> Result<Vec<Sum>, postgres::Error> {
    let known = read::defined(tx)?;
    let (_, new): (Vec<Counter>, Vec<Counter>) = counters
        .iter()
        .cloned()
        .partition(|c| covered(&c.to_string(), &known));
    tx.execute("DELETE FROM fb_defined", &[])?;
    for counter in counters {
        tx.execute(
            "INSERT INTO fb_defined (name) VALUES ($1) ON CONFLICT DO NOTHING",
            &[&counter.to_string()],
        )?;
    }
    if new.is_empty() {
        return Ok(Vec::new());
    }
    for sum in read::sums(tx)?.iter().filter(|s| covered(&s.counter, &new)) {
        tx.execute(
            "DELETE FROM fb_counter WHERE name = $1 AND id = $2",
            &[&sum.counter, &sum.id],
        )?;
    }
    let past = PastTotals::of(&new);
    for sum in read::carried(tx)?
        .iter()
        .filter(|s| covered(&s.counter, &new))
    {
        tx.execute(
            "DELETE FROM fb_carried WHERE name = $1 AND id = $2",
            &[&sum.counter, &sum.id],
        )?;
    }
    let mut replay = Replay::running(new, now);
    let from = replay.from_ms();
    read::walk(tx, "a.at_ms >= $1", &[&from], &mut |attempt| {
        replay.add(&attempt);
        true
    })?;
    for sum in carry_totals(tx, past)? {
        replay.add_sum(&sum);
    }
    let sums = replay.sums();
    for sum in &sums {
        tx.execute(
            "INSERT INTO fb_counter (name, id, posted) VALUES ($1, $2, $3::text::numeric)",
            &[&sum.counter, &sum.id, &sum.posted.to_string()],
        )?;
    }
    Ok(sums)
}

/// As in the embedded store: what deleted attempts would have added to new counters without a window.
fn carry_totals(
    tx: &mut Transaction<'_>,
    mut past: PastTotals,
) -> Result<Vec<Sum>, postgres::Error> {
    let from_ms = read::kept(tx)?.from_ms;
    if past.is_idle() || from_ms == i64::MIN {
        return Ok(Vec::new());
    }
    let mut groups = BTreeMap::new();
    read::groups(tx, &mut groups)?;
    let days = i64::MIN..Grain::Day.of(from_ms);
    read::rollups(tx, Grain::Day, days, true, &mut |_, id, amounts| {
        if let Some(group) = groups.get(&id) {
            past.add(group, amounts);
        }
    })?;
    read::walk(tx, "a.at_ms < $1", &[&from_ms], &mut |attempt| {
        past.is_there(&attempt);
        true
    })?;
    let mut sums = Vec::new();
    for (counter, posted) in past.sums() {
        carry(tx, &counter, 0, posted)?;
        sums.push(Sum {
            counter,
            id: 0,
            posted,
            leased: 0,
        });
    }
    Ok(sums)
}

fn carry(
    tx: &mut Transaction<'_>,
    name: &str,
    id: i64,
    amount: i128,
) -> Result<(), postgres::Error> {
    tx.execute(
        "INSERT INTO fb_carried (name, id, amount) VALUES ($1, $2, $3::text::numeric) ON CONFLICT (name, id) DO UPDATE SET amount = fb_carried.amount + excluded.amount",
        &[&name, &id, &amount.to_string()],
    )
    .map(drop)
}

/// As in the embedded store. Of several replicas each takes attempts that no other has taken.
fn expire(tx: &mut Transaction<'_>, before_ms: i64, most: i64) -> Result<(), postgres::Error> {
    let mut old = Vec::new();
    let which = "a.attempt IN (SELECT attempt FROM fb_attempt WHERE at_ms < $1 AND outcome IS NOT NULL ORDER BY at_ms LIMIT $2 FOR UPDATE SKIP LOCKED)";
    read::walk(tx, which, &[&before_ms, &most], &mut |a| {
        old.push(a);
        true
    })?;
    let hours = tx.execute(
        "DELETE FROM fb_rollup_hour WHERE at = (SELECT min(at) FROM fb_rollup_hour) AND at < $1",
        &[&Grain::Hour.of(before_ms)],
    )?;
    if old.is_empty() && hours == 0 {
        return Ok(());
    }
    tx.execute(
        "INSERT INTO fb_kept (one, from_ms) VALUES (1, $1) ON CONFLICT (one) DO UPDATE SET from_ms = greatest(fb_kept.from_ms, excluded.from_ms)",
        &[&before_ms],
    )?;
    let counters = read::defined(tx)?;
    let mut carried: BTreeMap<(String, i64), i128> = BTreeMap::new();
    for attempt in &old {
        for (at, amount) in sums::left_behind(&counters, attempt) {
            *carried.entry(at).or_default() += amount;
        }
    }
    for ((name, id), amount) in carried {
        carry(tx, &name, id, amount)?;
    }
    let gone: Vec<&str> = old.iter().map(|a| &*a.opening.attempt).collect();
    for table in ["fb_correction", "fb_attempt"] {
        tx.execute(
            &format!("DELETE FROM {table} WHERE attempt = ANY($1)"),
            &[&gone],
        )?;
    }
    Ok(())
}

/// As in the embedded store. What another replica has forgotten already is not there.
fn prune(tx: &mut Transaction<'_>, pass: &Pass, now: i64) -> Result<(), postgres::Error> {
    if !pass.is_due(now) {
        return Ok(());
    }
    let (name, id) = pass.after();
    let text =
        "SELECT name, id FROM fb_counter WHERE (name, id) > ($1, $2) ORDER BY name, id LIMIT $3";
    let rows = tx.query(text, &[&name, &id, &prune::STEP])?;
    let looked_at: Vec<(String, i64)> = rows.iter().map(|r| (r.get(0), r.get(1))).collect();
    let (names, ids): (Vec<&str>, Vec<i64>) = looked_at
        .iter()
        .filter(|(name, id)| prune::is_forgotten(name, *id, now))
        .map(|(name, id)| (name.as_str(), *id))
        .unzip();
    if !names.is_empty() {
        // Who locks several sums does so in their order: those that are in use are left to whoever uses them.
        let text = "DELETE FROM fb_counter WHERE (name, id) IN (SELECT c.name, c.id FROM fb_counter c
            JOIN unnest($1::text[], $2::bigint[]) AS old (name, id) ON c.name = old.name AND c.id = old.id FOR UPDATE OF c SKIP LOCKED)";
        tx.execute(text, &[&names, &ids])?;
    }
    pass.looked_at(&looked_at, now);
    Ok(())
}

/// A number that is wider than any of PostgreSQL's integers goes as text.
fn place(n: usize, kind: ColumnKind) -> String {
    match kind {
        ColumnKind::Money | ColumnKind::MaybeMoney => format!("${n}::text::numeric"),
        _ => format!("${n}"),
    }
}

static INSERT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT INTO fb_attempt ({}, owner) VALUES ({}, ${}) ON CONFLICT DO NOTHING",
        columns::names(&OPENING),
        columns::places(&OPENING, place),
        OPENING.len() + 1
    )
});

static CLOSE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "UPDATE fb_attempt SET {} WHERE attempt = ${} AND outcome IS NULL",
        columns::sets(&CLOSING, place),
        CLOSING.len() + 1
    )
});

fn insert(tx: &mut Transaction<'_>, owner: &str, opening: &Opening) -> Result<(), postgres::Error> {
    let values: [ColumnValue<'_>; OPENING.len()] =
        std::array::from_fn(|n| (OPENING[n].write)(opening));
    let parameters: Vec<&(dyn ToSql + Sync)> = values
        .iter()
        .map(|value| value as &(dyn ToSql + Sync))
        .chain([&owner as &(dyn ToSql + Sync)])
        .collect();
    tx.execute(INSERT.as_str(), &parameters).map(drop)
}

fn close(tx: &mut Transaction<'_>, closing: &Closing) -> Result<u64, postgres::Error> {
    let values: [ColumnValue<'_>; CLOSING.len()] =
        std::array::from_fn(|n| (CLOSING[n].write)(closing));
    let parameters: Vec<&(dyn ToSql + Sync)> = values
        .iter()
        .map(|value| value as &(dyn ToSql + Sync))
        .chain([&closing.attempt as &(dyn ToSql + Sync)])
        .collect();
    tx.execute(CLOSE.as_str(), &parameters)
}

impl ToSql for ColumnValue<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            ColumnValue::Nothing => Ok(IsNull::Yes),
            ColumnValue::Integer(n) => n.to_sql(ty, out),
            ColumnValue::Truth(is) => is.to_sql(ty, out),
            ColumnValue::Text(text) => text.to_sql(ty, out),
            ColumnValue::Money(amount) => amount.0.to_string().to_sql(ty, out),
            ColumnValue::Pairs(pairs) => serde_json::to_string(pairs)?.to_sql(ty, out),
        }
    }

    fn accepts(ty: &Type) -> bool {
        [Type::INT8, Type::BOOL, Type::TEXT].contains(ty)
    }

    to_sql_checked!();
}
