//! Reading the shared books.

use super::super::{Attempt, Closing, Facts, Forfeit, Frozen, Key, Sum, caps_read};
use crate::chat::Usage;
use crate::ledger::cap::Counter;
use crate::money::PicoUsd;
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::ToSql;
use postgres::{GenericClient, Row};
use std::collections::BTreeMap;

const COLUMNS: &str = "a.attempt, a.request, a.at_ms, a.key, a.provider, a.model, a.effort, a.tier, a.task, a.rule, a.difficulty_milli,
    a.dialect, a.simulated, a.bound::text, a.catalogue, k.name, a.outcome, a.basis, a.cost::text, a.baseline::text, a.reported_cost::text, a.excess::text,
    a.input, a.cached, a.cache_write, a.cache_write_long, a.output, a.reasoning,
    a.counted_ms, a.organisation, a.team, a.session, a.tags, a.bound_tokens, a.tokens, a.service_tier, c.cost::text";

/// A NUMERIC(38,0), read as text.
pub(super) fn amount(row: &Row, column: usize) -> i128 {
    row.get::<_, Option<&str>>(column)
        .and_then(|t| t.parse().ok())
        .unwrap_or(0)
}

pub(super) fn defined(c: &mut impl GenericClient) -> Result<Vec<Counter>, postgres::Error> {
    let rows = c.query("SELECT name FROM fb_defined", &[])?;
    Ok(rows
        .iter()
        .filter_map(|r| Counter::read(r.get(0)))
        .collect())
}

pub(super) fn sums(c: &mut impl GenericClient) -> Result<Vec<Sum>, postgres::Error> {
    let mut all: BTreeMap<(String, i64), (i128, i128)> = BTreeMap::new();
    for row in c.query("SELECT name, id, posted::text FROM fb_counter", &[])? {
        all.entry((row.get(0), row.get(1))).or_default().0 += amount(&row, 2);
    }
    for row in c.query("SELECT counter, id, amount::text FROM fb_lease", &[])? {
        all.entry((row.get(0), row.get(1))).or_default().1 += amount(&row, 2);
    }
    let sum = |((counter, id), (posted, leased))| Sum {
        counter,
        id,
        posted,
        leased,
    };
    Ok(all.into_iter().map(sum).collect())
}

pub(super) fn forfeits(c: &mut impl GenericClient) -> Result<Vec<Forfeit>, postgres::Error> {
    let rows = c.query(
        "SELECT counter, id, amount::text, at_ms FROM fb_forfeit ORDER BY at_ms",
        &[],
    )?;
    let forfeit = |r: &Row| Forfeit {
        counter: r.get(0),
        id: r.get(1),
        amount: amount(r, 2),
        at_ms: r.get(3),
    };
    Ok(rows.iter().map(forfeit).collect())
}

pub(super) fn frozen(c: &mut impl GenericClient) -> Result<Vec<Frozen>, postgres::Error> {
    let rows = c.query(
        "SELECT provider, model, since, why FROM fb_frozen ORDER BY since",
        &[],
    )?;
    let frozen = |r: &Row| Frozen {
        provider: r.get(0),
        model: r.get(1),
        since: r.get(2),
        why: r.get(3),
    };
    Ok(rows.iter().map(frozen).collect())
}

pub(super) fn keys(c: &mut impl GenericClient) -> Result<Vec<Key>, postgres::Error> {
    let rows = c.query(
        "SELECT id, name, hash, created, expires, revoked, private, team, caps, models, tags, required_tags, old_hash, old_until FROM fb_key ORDER BY id",
        &[],
    )?;
    Ok(rows.iter().map(key).collect())
}

fn key(r: &Row) -> Key {
    let hash = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).unwrap_or_default();
    let id = r.get(0);
    let old: Option<&[u8]> = r.get(12);
    // A key whose caps cannot be read must not be one without caps: it is as good as revoked.
    let caps = caps_read(id, r.get(8));
    Key {
        id,
        name: r.get(1),
        hash: hash(r.get(2)),
        old: old.map(hash).zip(r.get::<_, Option<i64>>(13)),
        created: r.get(3),
        expires: r.get(4),
        revoked: r.get::<_, bool>(5) || caps.is_err(),
        private: r.get(6),
        team: r.get(7),
        caps: caps.unwrap_or_default(),
        models: list(r.get(9)),
        tags: list(r.get(10)),
        required_tags: list(r.get(11)),
    }
}

fn list<T: serde::de::DeserializeOwned>(text: &str) -> Vec<T> {
    serde_json::from_str(text).unwrap_or_default()
}

/// Attempts one by one, so that a long ledger needs no memory.
pub(super) fn walk(
    c: &mut impl GenericClient,
    which: &str,
    parameters: &[&(dyn ToSql + Sync)],
    each: &mut dyn FnMut(Attempt) -> bool,
) -> Result<(), postgres::Error> {
    let text = format!(
        "SELECT {COLUMNS} FROM fb_attempt a LEFT JOIN fb_key k ON k.id = a.key LEFT JOIN fb_correction c ON c.attempt = a.attempt WHERE {which} ORDER BY a.at_ms, a.attempt"
    );
    let mut rows = c.query_raw(&text, parameters.iter().copied())?;
    while let Some(row) = rows.next()? {
        if !each(attempt(&row)) {
            break;
        }
    }
    Ok(())
}

fn attempt(r: &Row) -> Attempt {
    let facts = Facts {
        attempt: r.get(0),
        request: r.get(1),
        at_ms: r.get(2),
        key: r.get(3),
        provider: r.get(4),
        model: r.get(5),
        effort: r.get(6),
        tier: r.get(7),
        task: r.get(8),
        rule: r.get(9),
        difficulty_milli: r.get(10),
        dialect: r.get(11),
        simulated: r.get(12),
        bound: PicoUsd(amount(r, 13)),
        catalogue: r.get(14),
        counted_ms: r.get(28),
        organisation: r.get(29),
        team: r.get(30),
        session: r.get(31),
        tags: list(r.get(32)),
        bound_tokens: count(r, 33),
    };
    let outcome: Option<&str> = r.get(16);
    Attempt {
        closing: outcome.map(|outcome| closing(r, &facts.attempt, outcome)),
        key_name: r
            .get::<_, Option<String>>(15)
            .unwrap_or_else(|| "local".into()),
        trued_up: r
            .get::<_, Option<&str>>(36)
            .and_then(|t| t.parse().ok())
            .map(PicoUsd),
        facts,
    }
}

fn closing(r: &Row, attempt: &str, outcome: &str) -> Closing {
    let reported: Option<&str> = r.get(20);
    Closing {
        attempt: attempt.to_owned(),
        outcome: crate::ledger::known_outcome(outcome),
        basis: crate::ledger::known_basis(r.get::<_, Option<&str>>(17).unwrap_or_default()),
        cost: PicoUsd(amount(r, 18)),
        baseline: PicoUsd(amount(r, 19)),
        excess: PicoUsd(amount(r, 21)),
        usage: Usage {
            reported_cost: reported.and_then(|t| t.parse().ok()).map(PicoUsd),
            input: count(r, 22),
            cached: count(r, 23),
            cache_write: count(r, 24),
            cache_write_long: count(r, 25),
            output: count(r, 26),
            reasoning: count(r, 27),
            ..Usage::default()
        },
        service_tier: crate::ledger::known_service_tier(
            r.get::<_, Option<&str>>(35).unwrap_or_default(),
        ),
        tokens: count(r, 34),
    }
}

fn count(r: &Row, column: usize) -> u64 {
    let n: Option<i64> = r.get(column);
    n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
}
