//! Virtual keys and the audit log in the shared store.

use super::super::{Key, caps_text, old_text};
use super::read;
use crate::ledger::audit::{BEGINNING, Deed, Entry, seal};
use crate::ledger::keyring::{Acted, KeyAct};
use postgres::{Client, GenericClient, Row};

/// Whoever holds this lock is the only one who changes keys and adds to the audit log; both can be read meanwhile.
pub(super) const ALONE: &str = "LOCK TABLE fb_audit IN SHARE ROW EXCLUSIVE MODE";

/// Does it and notes it, or neither.
pub(super) fn act(
    client: &mut Client,
    who: &str,
    at_ms: i64,
    act: &KeyAct,
) -> Result<Result<Key, String>, postgres::Error> {
    let mut tx = client.transaction()?;
    tx.batch_execute(ALONE)?;
    let Acted { before, after } = match act.applied(&read::keys(&mut tx)?) {
        Ok(acted) => acted,
        Err(why) => return Ok(Err(why)),
    };
    if act.is_done(before.as_ref(), &after) {
        return Ok(Ok(after));
    }
    let key = write(&mut tx, after)?;
    let deed = act.deed(who, at_ms, (before.as_ref(), &key));
    append(&mut tx, &deed)?;
    tx.commit()?;
    Ok(Ok(key))
}

/// A new row where it has none yet.
fn write(c: &mut impl GenericClient, key: Key) -> Result<Key, postgres::Error> {
    let json = |list: serde_json::Result<String>| list.expect("names are JSON");
    let (caps, hash) = (caps_text(&key.caps), key.hash.as_slice());
    let models = json(serde_json::to_string(&key.models));
    let tags = json(serde_json::to_string(&key.tags));
    let required = json(serde_json::to_string(&key.required_tags));
    let old = old_text(&key.old);
    let columns: [&(dyn postgres::types::ToSql + Sync); 13] = [
        &key.name,
        &hash,
        &key.created,
        &key.expires,
        &key.private,
        &key.team,
        &caps,
        &models,
        &tags,
        &required,
        &key.revoked,
        &key.paused,
        &old,
    ];
    let id = if key.id == 0 {
        let text = "INSERT INTO fb_key (name, hash, created, expires, private, team, caps, models, tags, required_tags, revoked, paused, old)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING id";
        c.query_one(text, &columns)?.get(0)
    } else {
        let text = "UPDATE fb_key SET name = $1, hash = $2, created = $3, expires = $4, private = $5, team = $6, caps = $7, models = $8, tags = $9,
            required_tags = $10, revoked = $11, paused = $12, old = $13 WHERE id = $14";
        let mut all = columns.to_vec();
        all.push(&key.id);
        c.execute(text, &all)?;
        key.id
    };
    let caps = key.caps.into_iter().map(|cap| cap.for_key(id)).collect();
    Ok(Key { id, caps, ..key })
}

/// Seals a deed and adds it, while nobody else does.
pub(super) fn append(
    c: &mut impl GenericClient,
    deed: &Deed,
) -> Result<(i64, [u8; 32]), postgres::Error> {
    let last = c.query_opt(
        "SELECT number, seal FROM fb_audit ORDER BY number DESC LIMIT 1",
        &[],
    )?;
    let (number, before) = match &last {
        Some(row) => (row.get::<_, i64>(0), row.get::<_, Vec<u8>>(1)),
        None => (0, BEGINNING.to_vec()),
    };
    let number = number + 1;
    let line = deed.line(number);
    let sealed = seal(&before, &line);
    c.execute(
        "INSERT INTO fb_audit (number, what, line, seal) VALUES ($1, $2, $3, $4)",
        &[&number, &deed.what, &line, &sealed.as_slice()],
    )?;
    Ok((number, sealed))
}

pub(super) fn note(client: &mut Client, deed: &Deed) -> Result<(i64, [u8; 32]), postgres::Error> {
    let mut tx = client.transaction()?;
    tx.batch_execute(ALONE)?;
    let noted = append(&mut tx, deed)?;
    tx.commit()?;
    Ok(noted)
}

/// So many entries are read at once.
const PAGE: i64 = 1_000;

pub(super) fn walk(
    client: &mut Client,
    mut after: i64,
    each: &mut dyn FnMut(Entry) -> bool,
) -> Result<(), postgres::Error> {
    let text = "SELECT number, line, seal FROM fb_audit WHERE number > $1 ORDER BY number LIMIT $2";
    loop {
        let rows = client.query(text, &[&after, &PAGE])?;
        for row in &rows {
            let entry = entry(row);
            after = entry.number;
            if !each(entry) {
                return Ok(());
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
    }
}

pub(super) fn last(client: &mut Client, what: &str) -> Result<Option<Entry>, postgres::Error> {
    let text =
        "SELECT number, line, seal FROM fb_audit WHERE what = $1 ORDER BY number DESC LIMIT 1";
    Ok(client.query_opt(text, &[&what])?.as_ref().map(entry))
}

fn entry(row: &Row) -> Entry {
    Entry {
        number: row.get(0),
        line: row.get(1),
        seal: row.get(2),
    }
}
