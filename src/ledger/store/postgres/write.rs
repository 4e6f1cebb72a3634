//! Writing the shared books: each batch in one transaction.

use super::super::columns::{self, CLOSING, ColumnKind, ColumnValue, OPENING};
use super::super::{Given, Key, StoreAnswer, StoreWork, caps_text};
use super::{Failed, Owner, read};
use crate::ledger::balance::{Posting, Want};
use crate::ledger::cap::{Counter, covered};
use crate::ledger::record::{Closing, Correction, Opening, Sum, TrueUp, crashed};
use crate::ledger::replay::{Replay, corrections, counts};
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
    let answers = all(&mut tx, &life, works).map_err(Failed::Clean)?;
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
    works: &[&StoreWork],
) -> Result<Vec<StoreAnswer>, postgres::Error> {
    let mut changes = Changes::new();
    let mut answers = Vec::with_capacity(works.len());
    for work in works {
        answers.push(one(tx, life, work, &mut changes)?);
    }
    apply(tx, life.id, &mut changes)?;
    Ok(answers)
}

/// Who writes.
struct Life<'a> {
    id: &'a str,
    epoch: u32,
    dead_after: Duration,
}

fn one(
    tx: &mut Transaction<'_>,
    life: &Life<'_>,
    work: &StoreWork,
    changes: &mut Changes,
) -> Result<StoreAnswer, postgres::Error> {
    match work {
        StoreWork::Open(opening) => insert(tx, life.id, opening)?,
        StoreWork::Close(closing, postings) => {
            // Only an open row can be closed: a second close changes nothing and spends nothing.
            if close(tx, closing)? == 1 {
                note(changes, life.epoch, postings);
            }
        }
        StoreWork::Return(postings) => note(changes, life.epoch, postings),
        StoreWork::Lease(wants) => {
            apply(tx, life.id, changes)?;
            let mut wants: Vec<&Want> = wants.iter().collect();
            // Everybody locks in the same order.
            wants.sort_by(|a, b| (&a.counter, a.id).cmp(&(&b.counter, b.id)));
            let given = wants.into_iter().map(|want| lease(tx, life, want));
            return Ok(StoreAnswer::Leases(
                life.epoch,
                given.collect::<Result<_, _>>()?,
            ));
        }
        StoreWork::Define { counters, now } => {
            apply(tx, life.id, changes)?;
            return Ok(StoreAnswer::Sums(define(tx, counters, *now)?));
        }
        StoreWork::Freeze(f) => {
            let text = "INSERT INTO fb_frozen (provider, model, since, why) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
            tx.execute(text, &[&f.provider, &f.model, &f.since, &f.why])?;
        }
        StoreWork::Beat => {
            sweep(tx, life.id, life.dead_after)?;
            return beat(tx, life.epoch);
        }
        StoreWork::Learn(entries) => {
            let text = "INSERT INTO fb_learned (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
            for (name, value) in entries {
                tx.execute(text, &[name, value])?;
            }
        }
        StoreWork::Flush | StoreWork::PagesMax(_) => {}
    }
    Ok(StoreAnswer::Done)
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
fn beat(tx: &mut Transaction<'_>, epoch: u32) -> Result<StoreAnswer, postgres::Error> {
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
    })
}

/// Charges what dead processes left: their open attempts at the bound, and whatever else of their leases. Returns how many attempts.
pub(super) fn sweep(
    c: &mut impl GenericClient,
    own: &str,
    dead_after: Duration,
) -> Result<usize, postgres::Error> {
    let mut tx = c.transaction()?;
    let text = format!(
        "SELECT id FROM fb_owner WHERE NOT gone AND id <> $1 AND beat < now() - interval '{} milliseconds' ORDER BY id FOR UPDATE SKIP LOCKED",
        dead_after.as_millis()
    );
    let dead: Vec<String> = tx.query(&text, &[&own])?.iter().map(|r| r.get(0)).collect();
    let mut count = 0;
    if !dead.is_empty() {
        let counters = read::defined(&mut tx)?;
        for owner in dead {
            count += bury(&mut tx, &owner, &counters)?;
        }
    }
    tx.commit()?;
    Ok(count)
}

fn bury(
    tx: &mut Transaction<'_>,
    owner: &str,
    counters: &[Counter],
) -> Result<usize, postgres::Error> {
    tx.execute("UPDATE fb_owner SET gone = TRUE WHERE id = $1", &[&owner])?;
    let mut open = Vec::new();
    read::walk(
        tx,
        "a.outcome IS NULL AND a.owner = $1",
        &[&owner],
        &mut |a| {
            open.push(a.opening);
            true
        },
    )?;
    let mut changes = Changes::new();
    for opening in &open {
        let closing = crashed(opening);
        close(tx, &closing)?;
        for (name, id, amount) in counts(counters, opening, &closing) {
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
    Ok(open.len())
}

/// As in the embedded store. What replicas have leased is theirs; the rest of a cap is less or more from now on.
pub(super) fn true_up(
    client: &mut Client,
    correction: &Correction,
) -> Result<TrueUp, postgres::Error> {
    let mut tx = client.transaction()?;
    let mut found = None;
    read::walk(
        &mut tx,
        "a.attempt = $1",
        &[&correction.attempt],
        &mut |a| {
            found = Some(a);
            true
        },
    )?;
    let Some(attempt) = found else {
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
    let mut replay = Replay::running(new, now);
    let from = replay.from_ms();
    read::walk(tx, "a.at_ms >= $1", &[&from], &mut |attempt| {
        replay.add(&attempt);
        true
    })?;
    let sums = replay.sums();
    for sum in &sums {
        tx.execute(
            "INSERT INTO fb_counter (name, id, posted) VALUES ($1, $2, $3::text::numeric)",
            &[&sum.counter, &sum.id, &sum.posted.to_string()],
        )?;
    }
    Ok(sums)
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

pub(super) fn create_key(client: &mut Client, key: &Key) -> Result<i64, postgres::Error> {
    let (caps, hash) = (caps_text(&key.caps), key.hash.as_slice());
    let json = |list: serde_json::Result<String>| list.expect("names are JSON");
    let models = json(serde_json::to_string(&key.models));
    let tags = json(serde_json::to_string(&key.tags));
    let required = json(serde_json::to_string(&key.required_tags));
    let row = client.query_one(
        "INSERT INTO fb_key (name, hash, created, expires, private, team, caps, models, tags, required_tags) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING id",
        &[&key.name, &hash, &key.created, &key.expires, &key.private, &key.team, &caps, &models, &tags, &required],
    )?;
    Ok(row.get(0))
}
