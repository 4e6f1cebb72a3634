//! Asks a flyball's admin listener for what is shown.

use super::told::{Days, Heard, Unheard};
use super::view::{Period, Wish};
use super::words::zone;
use crate::cli::dial::At;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan, ZonedDateTime};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use std::time::Duration;

/// How long an answer may take: the books themselves take five seconds at most.
const PATIENCE: Duration = Duration::from_secs(10);
/// Rows that are asked for of who.
const ROWS: usize = 10_000;

/// Where a flyball's admin listener is, and what opens it.
pub(super) struct Door {
    pub(super) at: At,
    pub(super) token: Option<SecretString>,
}

fn away(why: String) -> Unheard {
    Unheard {
        word: "not reachable",
        why,
    }
}

fn refused(why: String) -> Unheard {
    Unheard {
        word: "refuses to tell",
        why,
    }
}

/// The token is not given, or is another one.
fn token_needed(given: bool) -> Unheard {
    let whose = match given {
        true => "that admin token is not the right one; it is",
        false => "this needs the admin token:",
    };
    Unheard {
        word: "token needed",
        why: format!("{whose} FLYBALL_ADMIN_TOKEN, or --admin-token file:PATH or env:NAME"),
    }
}

impl Door {
    async fn ask(&self, path: &str) -> Result<Value, Unheard> {
        let token = self.token.as_ref().map(ExposeSecret::expose_secret);
        let asked = self.at.get(path, token);
        let answer = match tokio::time::timeout(PATIENCE, asked).await {
            // Why TLS fails tells what to do; that nobody listens is all there is to say otherwise.
            Ok(Err(why)) if why.contains("TLS") => return Err(away(why)),
            Ok(answer) => {
                answer.map_err(|_| away(format!("nothing answers at {}", self.at.shown())))?
            }
            Err(_) => {
                let seconds = PATIENCE.as_secs();
                let why = format!("no answer within {seconds} s at {}", self.at.shown());
                return Err(away(why));
            }
        };
        match answer.status {
            200 => Ok(answer.json()),
            401 => Err(token_needed(self.token.is_some())),
            status => {
                let said = String::from_utf8_lossy(&answer.body);
                let said: String = said.trim().chars().take(300).collect();
                Err(refused(match said.is_empty() {
                    true => format!("HTTP {status}"),
                    false => said,
                }))
            }
        }
    }

    /// Everything that is shown, and the moment in the flyball's own time zone.
    ///
    /// # Errors
    /// Nothing answers, or it refuses.
    pub(super) async fn hear(&self, wish: &Wish) -> Result<(Heard, ZonedDateTime), Unheard> {
        let health = self.ask("/admin/v1/health").await?;
        if health["version"].is_null() {
            let why = format!(
                "what answers at {} is no flyball's admin listener",
                self.at.shown()
            );
            return Err(refused(why));
        }
        let now =
            Timestamp::now().to_zoned_datetime(zone(health["time_zone"].as_str().unwrap_or("UTC")));
        let today = now.date();
        let (from, to) = range(wish.period, today);
        let days = report(
            "day",
            today.first_of_month().min(after(today, -1)),
            after(today, 1),
            &now,
            62,
        );
        let who = report(&wish.by, from, to, &now, ROWS);
        let (caps, days, forecast, report, decisions) = tokio::join!(
            self.ask("/admin/v1/caps"),
            self.ask(&days),
            self.ask("/admin/v1/forecast"),
            self.ask(&who),
            self.ask("/admin/v1/decisions?outcomes=true"),
        );
        let heard = Heard {
            health,
            caps: caps.map_err(|unheard| unheard.why),
            days: days.map_err(|unheard| unheard.why),
            forecast: forecast.map_err(|unheard| unheard.why),
            report: report.map_err(|unheard| unheard.why),
            decisions: decisions.map_err(|unheard| unheard.why),
        };
        Ok((heard, now))
    }
}

fn after(day: Date, days: i64) -> Date {
    day.checked_add(days.days()).unwrap_or(day)
}

fn range(period: Period, today: Date) -> (Date, Date) {
    match period {
        Period::Today => (today, after(today, 1)),
        Period::Yesterday => (after(today, -1), today),
        Period::Week => (after(today, -6), after(today, 1)),
        Period::Month => (today.first_of_month(), after(today, 1)),
    }
}

fn report(by: &str, from: Date, to: Date, now: &ZonedDateTime, limit: usize) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let zone = now.time_zone().iana_name().unwrap_or("UTC");
    format!(
        "/admin/v1/report?by={}&from={from}&to={to}&zone={}&limit={limit}",
        encoded(by),
        encoded(zone)
    )
}

/// The days that the lines above the pages are about.
pub(super) fn days(now: &ZonedDateTime) -> Days {
    let today = now.date();
    Days {
        today: today.to_string(),
        yesterday: after(today, -1).to_string(),
        month: today.strftime("%Y-%m-").to_string(),
    }
}

/// All that was heard, as JSON; what did not come is a sentence under `missing`.
pub(super) fn as_json(heard: &Heard) -> Value {
    let parts = [
        ("caps", &heard.caps),
        ("days", &heard.days),
        ("forecast", &heard.forecast),
        ("report", &heard.report),
        ("decisions", &heard.decisions),
    ];
    let mut all = json!({"health": heard.health, "missing": {}});
    for (name, part) in parts {
        match part {
            Ok(value) => all[name] = value.clone(),
            Err(why) => all["missing"][name] = json!(why),
        }
    }
    all
}
