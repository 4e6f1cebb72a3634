//! Batches in a file of their own beside the ledger's.

use crate::error::{Error, Kind};
use crate::ledger::store::batches::{Batches, Cell, Database, Statement};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ToSql, TransactionBehavior, params_from_iter};
use std::path::Path;
use std::time::Duration;

/// The file.
const FILE: &str = "batches.sqlite";
/// Another process that looks at the file, or writes to it, is waited for so long.
const BUSY: Duration = Duration::from_secs(10);

struct Own(Connection);

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Cell::Int(n) => ToSqlOutput::Owned(Value::Integer(*n)),
            Cell::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Cell::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

/// SQLite numbers its parameters with a question mark.
fn own(sql: &str) -> String {
    sql.replace('$', "?")
}

impl Own {
    fn written(
        &mut self,
        guard: Option<&Statement>,
        statements: &[Statement],
    ) -> rusqlite::Result<Option<Vec<u64>>> {
        let tx = self
            .0
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let run = |(sql, of): &Statement| -> rusqlite::Result<u64> {
            let mut statement = tx.prepare_cached(&own(sql))?;
            let rows = statement.execute(params_from_iter(of))?;
            Ok(u64::try_from(rows).unwrap_or(u64::MAX))
        };
        if let Some(guard) = guard
            && run(guard)? == 0
        {
            return Ok(None);
        }
        let mut changed = Vec::with_capacity(statements.len());
        for statement in statements {
            changed.push(run(statement)?);
        }
        tx.commit()?;
        Ok(Some(changed))
    }

    fn looked(
        &mut self,
        sql: &str,
        of: &[Cell],
        bytes_max: usize,
    ) -> rusqlite::Result<Vec<Vec<Cell>>> {
        let mut statement = self.0.prepare_cached(&own(sql))?;
        let columns = statement.column_count();
        let mut rows = statement.query(params_from_iter(of))?;
        let (mut all, mut bytes) = (Vec::new(), 0_usize);
        while bytes < bytes_max
            && let Some(row) = rows.next()?
        {
            let mut cells = Vec::with_capacity(columns);
            for column in 0..columns {
                cells.push(match row.get_ref(column)? {
                    ValueRef::Integer(n) => Cell::Int(n),
                    ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
                    ValueRef::Blob(bytes) => Cell::Bytes(bytes.to_vec()),
                    ValueRef::Null | ValueRef::Real(_) => Cell::Int(0),
                });
            }
            bytes = bytes.saturating_add(cells.iter().map(Cell::bytes).sum());
            all.push(cells);
        }
        Ok(all)
    }
}

impl Database for Own {
    fn lay_out(&mut self, schema: &[&str]) -> Result<(), String> {
        let made = schema.iter().try_for_each(|sql| self.0.execute_batch(sql));
        made.map_err(|e| e.to_string())
    }

    fn write(
        &mut self,
        guard: Option<&Statement>,
        statements: &[Statement],
    ) -> Result<Option<Vec<u64>>, String> {
        self.written(guard, statements).map_err(|e| e.to_string())
    }

    fn read(
        &mut self,
        sql: &'static str,
        of: &[Cell],
        bytes_max: usize,
    ) -> Result<Vec<Vec<Cell>>, String> {
        self.looked(sql, of, bytes_max).map_err(|e| e.to_string())
    }
}

fn opened(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open(path)?;
    db.busy_timeout(BUSY)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    // What is about to be sent must be known after a crash, or it would be sent twice.
    db.pragma_update(None, "synchronous", "FULL")?;
    // Pages of the files that pass through are of no use a second time.
    db.pragma_update(None, "cache_size", -4_000)?;
    Ok(db)
}

/// Opens the file, which it makes where there is none.
///
/// # Errors
/// It cannot be opened, or a newer flyball wrote it.
pub(in crate::ledger) fn open(folder: &Path) -> Result<Batches, Error> {
    let path = folder.join(FILE);
    let db = opened(&path).map_err(|e| {
        Error::new(Kind::Internal, "batches cannot be kept")
            .detail(format!("{}: {e}", path.display()))
    })?;
    Batches::over(Box::new(Own(db)))
}
