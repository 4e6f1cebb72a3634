//! What was spent, saved and lost, by who and why, and what the month will have cost: as `flyball report` tells it.

use super::Admin;
use super::answer::{json_answer, say};
use super::outcomes::{in_time, no_books};
use super::query::{Query, QueryNames};
use crate::ledger::now_ms;
use crate::ledger::report::{self, Dimension, ROWS_MAX};
use crate::ledger::rollup::DAY_MS;
use crate::ledger::window::Zone;
use crate::relay::AnswerBody;
use http::{Response, StatusCode};
use std::ops::Range;

/// What a report may be asked for.
const KNOWN: QueryNames<'_> = QueryNames {
    once: &["by", "days", "from", "to", "zone", "limit"],
    often: &["only"],
};
/// By what it is split where nothing is said.
const BY: &str = "tier,effort";
/// Over so many days it goes where nothing is said.
const DAYS: usize = 30;
/// And so many at most; there is no reason to ask for more.
const DAYS_MAX: usize = 36_500;

/// A report.
pub(super) async fn report(admin: &Admin, query: Option<&str>) -> Response<AnswerBody> {
    let asked = match asked(admin, query) {
        Ok(asked) => asked,
        Err(why) => return say(StatusCode::BAD_REQUEST, &why),
    };
    match in_time(admin.state.ledger.report(asked)).await {
        Ok(report) => json_answer(&report.json()),
        Err(why) => no_books(&why),
    }
}

/// What the month will have cost at its end.
pub(super) async fn forecast(admin: &Admin, query: Option<&str>) -> Response<AnswerBody> {
    let known = QueryNames {
        once: &["zone"],
        often: &[],
    };
    let zone = match Query::read(query, &known).and_then(|query| zone(admin, &query)) {
        Ok(zone) => zone,
        Err(why) => return say(StatusCode::BAD_REQUEST, &why),
    };
    match in_time(admin.state.ledger.forecast(zone, now_ms())).await {
        Ok(forecast) => json_answer(&forecast.json()),
        Err(why) => no_books(&why),
    }
}

fn asked(admin: &Admin, query: Option<&str>) -> Result<report::Query, String> {
    let query = Query::read(query, &KNOWN)?;
    let zone = zone(admin, &query)?;
    let between = between(&query, &zone, now_ms())?;
    let only = query.all("only").map(only).collect::<Result<_, _>>()?;
    let by = Dimension::parse_list(query.get("by").unwrap_or(BY));
    Ok(report::Query {
        only,
        rows_max: query.number("limit", ROWS_MAX, ROWS_MAX)?,
        zone,
        ..report::Query::between(between.start, between.end, by.map_err(named("by"))?)
    })
}

/// The zone that is asked for, else that of the configuration.
fn zone(admin: &Admin, query: &Query) -> Result<Zone, String> {
    match query.get("zone") {
        Some(name) => Zone::named(name).map_err(named("zone")),
        None => Ok(admin.state.policy.load().zone.clone()),
    }
}

/// The first instant that counts and the first that does not any more, milliseconds since 1970.
fn between(query: &Query, zone: &Zone, now_ms: i64) -> Result<Range<i64>, String> {
    let instant = |name| {
        let text = query.get(name);
        let read = text.map(|text| zone.instant(text).map_err(named(name)));
        read.transpose()
    };
    let (from, to) = (instant("from")?, instant("to")?);
    if query.get("days").is_some() && (from.is_some() || to.is_some()) {
        return Err("days goes neither with from nor with to".to_owned());
    }
    let days = query.number("days", DAYS, DAYS_MAX)?;
    let days_ms = i64::try_from(days)
        .unwrap_or(i64::MAX)
        .saturating_mul(DAY_MS);
    let to = to.unwrap_or(now_ms + 1);
    let from = from.unwrap_or(to.min(now_ms).saturating_sub(days_ms));
    match from < to {
        true => Ok(from..to),
        false => Err("from is not before to".to_owned()),
    }
}

/// `team=research`.
fn only(text: &str) -> Result<(Dimension, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("only: {text:?} is not like team=research"))?;
    let dimension = Dimension::parse(name).map_err(named("only"))?;
    Ok((dimension, value.to_owned()))
}

/// A complaint that says where it is at home.
fn named(name: &str) -> impl Fn(String) -> String {
    move |why| format!("{name}: {why}")
}
