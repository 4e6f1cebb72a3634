//! Batches in tables of their own in the shared ledger's database.

use super::tls;
use crate::error::Error;
use crate::ledger::store::batches::{Batches, Cell, Database, Statement};
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::{ToSql, Type};
use postgres::{Client, Row};
use secrecy::{ExposeSecret, SecretString};

/// The lock under which the tables are made: replicas that start together must not make them twice.
const LOCK: i64 = 0x0066_6c79_6261_6c6c;

struct Shared {
    url: SecretString,
    client: Option<Client>,
}

impl Shared {
    fn client(&mut self) -> Result<&mut Client, postgres::Error> {
        if self.client.as_ref().is_none_or(Client::is_closed) {
            let mut client = tls::connect(self.url.expose_secret())?;
            client.batch_execute("SET statement_timeout = 30000; SET lock_timeout = 30000; SET synchronous_commit = on")?;
            self.client = Some(client);
        }
        Ok(self.client.as_mut().expect("just made"))
    }

    fn done<T>(
        &mut self,
        work: impl FnOnce(&mut Client) -> Result<T, postgres::Error>,
    ) -> Result<T, String> {
        let outcome = self.client().and_then(work);
        outcome.map_err(|e| {
            // Whatever it was, the next call begins with a connection that is known to work.
            self.client = None;
            let of_database = e.as_db_error().map(ToString::to_string);
            of_database.unwrap_or_else(|| e.to_string())
        })
    }
}

fn parameter(cell: &Cell) -> &(dyn ToSql + Sync) {
    match cell {
        Cell::Int(n) => n,
        Cell::Text(text) => text,
        Cell::Bytes(bytes) => bytes,
    }
}

fn parameters(of: &[Cell]) -> Vec<&(dyn ToSql + Sync)> {
    of.iter().map(parameter).collect()
}

fn cells(row: &Row) -> Result<Vec<Cell>, postgres::Error> {
    let mut all = Vec::with_capacity(row.len());
    for (place, column) in row.columns().iter().enumerate() {
        all.push(match *column.type_() {
            Type::INT2 => Cell::Int(row.try_get::<_, Option<i16>>(place)?.map_or(0, i64::from)),
            Type::INT4 => Cell::Int(row.try_get::<_, Option<i32>>(place)?.map_or(0, i64::from)),
            Type::INT8 => Cell::Int(row.try_get::<_, Option<i64>>(place)?.unwrap_or(0)),
            Type::BYTEA => Cell::Bytes(row.try_get(place)?),
            _ => Cell::Text(row.try_get(place)?),
        });
    }
    Ok(all)
}

impl Database for Shared {
    fn lay_out(&mut self, schema: &[&str]) -> Result<(), String> {
        self.done(|client| {
            let mut tx = client.transaction()?;
            tx.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])?;
            for sql in schema {
                tx.batch_execute(&sql.replace("BLOB", "BYTEA"))?;
            }
            tx.commit()
        })
    }

    fn write(
        &mut self,
        guard: Option<&Statement>,
        statements: &[Statement],
    ) -> Result<Option<Vec<u64>>, String> {
        self.done(|client| {
            let mut tx = client.transaction()?;
            if let Some((sql, of)) = guard
                && tx.execute(*sql, &parameters(of))? == 0
            {
                tx.rollback()?;
                return Ok(None);
            }
            let mut changed = Vec::with_capacity(statements.len());
            let mut prepared: Vec<(&str, postgres::Statement)> = Vec::new();
            for (sql, of) in statements {
                let known = prepared.iter().find(|(text, _)| text == sql);
                let statement = match known {
                    Some((_, statement)) => statement.clone(),
                    None => {
                        let statement = tx.prepare(sql)?;
                        prepared.push((sql, statement.clone()));
                        statement
                    }
                };
                changed.push(tx.execute(&statement, &parameters(of))?);
            }
            tx.commit()?;
            Ok(Some(changed))
        })
    }

    fn read(
        &mut self,
        sql: &'static str,
        of: &[Cell],
        bytes_max: usize,
    ) -> Result<Vec<Vec<Cell>>, String> {
        self.done(|client| {
            let mut rows = client.query_raw(sql, parameters(of))?;
            let (mut all, mut bytes) = (Vec::new(), 0_usize);
            while bytes < bytes_max
                && let Some(row) = rows.next()?
            {
                let row = cells(&row)?;
                bytes = bytes.saturating_add(row.iter().map(Cell::bytes).sum());
                all.push(row);
            }
            Ok(all)
        })
    }
}

/// Opens the tables, which it makes where there are none.
///
/// # Errors
/// The database cannot be reached, or a newer flyball wrote them.
pub(in crate::ledger) fn open(url: &SecretString) -> Result<Batches, Error> {
    Batches::over(Box::new(Shared {
        url: url.clone(),
        client: None,
    }))
}
