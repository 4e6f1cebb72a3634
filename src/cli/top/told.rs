//! What a flyball's admin listener told, as lines to be drawn.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Everything that was asked for, as it came; what did not come is a sentence.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) health: Value,
    pub(super) caps: Result<Value, String>,
    pub(super) days: Result<Value, String>,
    pub(super) forecast: Result<Value, String>,
    pub(super) report: Result<Value, String>,
    pub(super) decisions: Result<Value, String>,
}

/// Why nothing was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unheard {
    /// In two or three words.
    pub(super) word: &'static str,
    /// In a sentence.
    pub(super) why: String,
}

/// The same to be drawn.
#[derive(Clone, Debug, Default)]
pub(super) struct TopFigures {
    pub(super) health: Health,
    pub(super) yesterday: Sums,
    pub(super) today: Sums,
    pub(super) month: Sums,
    pub(super) forecast: Option<Forecast>,
    pub(super) total: Sums,
    pub(super) why: Vec<Cause>,
    pub(super) who: Vec<Who>,
    pub(super) caps: Vec<CapLine>,
    pub(super) decisions: Vec<Decision>,
    /// What could not be told, and why.
    pub(super) missing: Vec<String>,
    /// The parts of which nothing is known, which is not the same as nothing.
    pub(super) unknown: Vec<Part>,
}

/// What is asked for by itself, beside health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Caps,
    Days,
    Forecast,
    Report,
    Decisions,
}

impl Part {
    const EVERY: [Part; 5] = [
        Part::Caps,
        Part::Days,
        Part::Forecast,
        Part::Report,
        Part::Decisions,
    ];

    fn name(self) -> &'static str {
        match self {
            Part::Caps => "caps",
            Part::Days => "days",
            Part::Forecast => "forecast",
            Part::Report => "report",
            Part::Decisions => "decisions",
        }
    }
}

/// How the flyball is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Health {
    pub(super) version: String,
    pub(super) started_at: i64,
    pub(super) now: i64,
    pub(super) time_zone: String,
    pub(super) simulated: String,
    pub(super) admits: bool,
    pub(super) ledger: LedgerState,
    pub(super) prices: Prices,
    pub(super) configuration: Configuration,
    pub(super) providers: Vec<Provider>,
    pub(super) tags: Vec<String>,
}

/// How its books are.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LedgerState {
    pub(super) writes: bool,
    pub(super) shared: bool,
    pub(super) lag_seconds: Option<f64>,
}

/// What it pays by.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Prices {
    pub(super) catalogue: String,
    pub(super) date: Option<String>,
}

/// What it was told to do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Configuration {
    pub(super) read_at: i64,
    pub(super) complaints: Vec<String>,
}

/// One provider.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Provider {
    pub(super) provider: String,
    pub(super) models: u64,
    pub(super) local: bool,
    pub(super) simulated: bool,
    pub(super) errors: BTreeMap<String, u64>,
    /// What of it is left alone for now.
    pub(super) down: Vec<Value>,
}

/// What a group of requests adds up to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sums {
    pub(super) requests: u64,
    pub(super) cost: f64,
    pub(super) baseline: f64,
    pub(super) saved: f64,
}

/// What the month will have cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forecast {
    pub(super) expected: f64,
    /// Between what and what; none where too little was seen.
    pub(super) range: Option<(f64, f64)>,
}

/// Why something was saved, or lost.
#[derive(Clone, Debug)]
pub(super) struct Cause {
    pub(super) name: &'static str,
    /// Below zero where it was lost.
    pub(super) amount: f64,
}

/// One line of who.
#[derive(Clone, Debug)]
pub(super) struct Who {
    pub(super) name: String,
    pub(super) sums: Sums,
}

/// One cap.
#[derive(Clone, Debug, Default)]
pub(super) struct CapLine {
    pub(super) name: String,
    pub(super) dollars: bool,
    pub(super) measure: String,
    pub(super) limit: f64,
    pub(super) spent: f64,
    pub(super) reserved: f64,
    pub(super) resets_at: Option<i64>,
    /// When it is used up at its pace, where that is before it resets.
    pub(super) out_at: Option<i64>,
}

impl CapLine {
    /// What may still be spent.
    pub(super) fn left(&self) -> f64 {
        (self.limit - self.spent - self.reserved).max(0.0)
    }

    /// Nothing of it is left.
    pub(super) fn full(&self) -> bool {
        self.left() <= self.limit * 1e-4
    }

    /// The share that is spent.
    pub(super) fn used(&self) -> f64 {
        if self.limit > 0.0 {
            self.spent / self.limit
        } else {
            1.0
        }
    }
}

/// One decision and what came of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Decision {
    pub(super) request: String,
    pub(super) at_ms: i64,
    pub(super) task: String,
    pub(super) difficulty: f64,
    pub(super) objective: Option<String>,
    pub(super) rule: String,
    pub(super) stuck: bool,
    pub(super) attempts: Vec<String>,
    pub(super) baseline: String,
    pub(super) considered: Vec<Arm>,
    pub(super) left_off: u64,
    pub(super) outcome: Option<Outcome>,
}

/// An arm that was weighed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Arm {
    pub(super) arm: String,
    pub(super) chance: Option<f64>,
    pub(super) verdict: String,
    pub(super) expected_usd: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Outcome {
    pub(super) cost_usd: String,
    pub(super) saved_usd: String,
    pub(super) attempts: Vec<Attempt>,
}

/// One attempt.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Attempt {
    pub(super) provider: String,
    pub(super) model: String,
    pub(super) effort: String,
    pub(super) outcome: String,
    pub(super) key: String,
    pub(super) team: String,
    pub(super) cost_pico_usd: Option<f64>,
    pub(super) cause: Option<String>,
    pub(super) tokens: Tokens,
}

/// What it used.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tokens {
    pub(super) input: u64,
    pub(super) cached: u64,
    pub(super) output: u64,
    pub(super) reasoning: u64,
}

impl Attempt {
    /// Its arm, as decisions name it.
    pub(super) fn arm(&self) -> String {
        match self.effort.as_str() {
            "" | "none" => self.model.clone(),
            effort => format!("{}@{effort}", self.model),
        }
    }
}

impl Outcome {
    /// The attempts at an answer; those that were asked about another one's answer are none.
    fn answering(&self) -> impl DoubleEndedIterator<Item = &Attempt> {
        let all = self.attempts.iter();
        all.filter(|a| a.cause.as_deref() != Some("check"))
    }
}

impl Decision {
    /// The arms that were asked, or the one that was to be.
    pub(super) fn arms(&self) -> String {
        let answering = self.outcome.iter().flat_map(Outcome::answering);
        let arms: Vec<String> = answering.map(Attempt::arm).collect();
        match arms.is_empty() {
            true => self.attempts.first().cloned().unwrap_or_default(),
            false => arms.join(" → "),
        }
    }

    /// What is to be said of its end, where it is not simply well.
    pub(super) fn end(&self) -> String {
        let Some(outcome) = &self.outcome else {
            return String::new();
        };
        if outcome.attempts.iter().any(|a| a.outcome == "escalated") {
            return "escalated".to_owned();
        }
        let last = outcome.answering().next_back();
        match last.map(|a| a.outcome.as_str()) {
            Some("ok" | "length") if outcome.answering().count() > 1 => "fell back".to_owned(),
            Some("ok" | "length") | None => String::new(),
            Some(other) => other.replace('_', " "),
        }
    }

    /// Who asked.
    pub(super) fn who(&self) -> String {
        let last = self.outcome.as_ref().and_then(|o| o.attempts.last());
        match last {
            Some(a) if a.team.is_empty() => a.key.clone(),
            Some(a) => format!("{} · {}", a.team, a.key),
            None => String::new(),
        }
    }
}

/// Names of the causes as people say them; the first six are savings.
const CAUSES: [(&str, &str); 13] = [
    ("route", "a cheaper model"),
    ("effort", "less effort"),
    ("local", "own models"),
    ("batch", "batch and flex"),
    ("prompt_cache", "a warmer prompt cache"),
    ("response_cache", "answers of before"),
    ("escalated", "asked first in vain"),
    ("check", "comparisons"),
    ("shadow", "shadows"),
    ("hedge", "sent twice"),
    ("cold", "colder prompt cache"),
    ("dearer", "dearer model"),
    ("client_gone", "client gone"),
];

/// A decimal number in a string, as the admin listener tells amounts.
pub(super) fn number(value: &Value) -> f64 {
    let text = value.as_str().and_then(|text| text.parse().ok());
    text.or(value.as_f64()).unwrap_or(0.0)
}

impl Sums {
    fn read(row: &Value) -> Sums {
        Sums {
            requests: row["requests"].as_u64().unwrap_or(0),
            cost: number(&row["cost_usd"]),
            baseline: number(&row["baseline_usd"]),
            saved: number(&row["saved_usd"]),
        }
    }

    fn add(&mut self, other: Sums) {
        self.requests += other.requests;
        self.cost += other.cost;
        self.baseline += other.baseline;
        self.saved += other.saved;
    }
}

impl TopFigures {
    /// Before anything was heard.
    pub(super) fn nothing() -> TopFigures {
        TopFigures {
            unknown: Part::EVERY.to_vec(),
            ..TopFigures::default()
        }
    }

    /// Keeps what was told before of what could not be told now: a figure of a minute ago says more than none.
    pub(super) fn or_before(mut self, before: TopFigures) -> TopFigures {
        let unknown = std::mem::take(&mut self.unknown).into_iter();
        let (still, kept): (Vec<Part>, Vec<Part>) =
            unknown.partition(|part| before.unknown.contains(part));
        self.unknown = still;
        for part in kept {
            match part {
                Part::Caps => self.caps.clone_from(&before.caps),
                Part::Days => {
                    self.yesterday = before.yesterday;
                    self.today = before.today;
                    self.month = before.month;
                }
                Part::Forecast => self.forecast = before.forecast,
                Part::Report => {
                    self.total = before.total;
                    self.who.clone_from(&before.who);
                    self.why.clone_from(&before.why);
                }
                Part::Decisions => self.decisions.clone_from(&before.decisions),
            }
        }
        self
    }

    /// The report is by something else now.
    pub(super) fn forget_report(&mut self) {
        self.who.clear();
        self.why.clear();
        self.unknown.push(Part::Report);
    }

    /// Reads what was heard; `today` and `yesterday` are days as reports name them, and `by` is what the report is split by.
    pub(super) fn read(heard: &Heard, days: &Days, by: &str) -> TopFigures {
        let mut told = TopFigures {
            health: read(&heard.health),
            ..TopFigures::default()
        };
        told.take(Part::Caps, &heard.caps, |told, caps| {
            told.caps = caps_of(caps)
        });
        told.take(Part::Days, &heard.days, |told, report| {
            told.take_days(report, days)
        });
        told.take(Part::Forecast, &heard.forecast, |told, f| {
            told.forecast = forecast(f)
        });
        told.take(Part::Report, &heard.report, |told, report| {
            told.take_who(report, by)
        });
        told.take(Part::Decisions, &heard.decisions, |told, list| {
            told.decisions = list["decisions"]
                .as_array()
                .into_iter()
                .flatten()
                .map(read)
                .collect();
        });
        told
    }

    fn take(
        &mut self,
        part: Part,
        heard: &Result<Value, String>,
        put: impl FnOnce(&mut TopFigures, &Value),
    ) {
        match heard {
            Ok(value) => put(self, value),
            Err(why) => {
                self.missing.push(format!("{}: {why}", part.name()));
                self.unknown.push(part);
            }
        }
    }

    fn take_days(&mut self, report: &Value, days: &Days) {
        for row in rows(report) {
            let day = row["day"].as_str().unwrap_or_default();
            let sums = Sums::read(row);
            if day.starts_with(&days.yesterday) {
                self.yesterday.add(sums);
            }
            if day.starts_with(&days.today) {
                self.today.add(sums);
            }
            if day.starts_with(&days.month) {
                self.month.add(sums);
            }
        }
    }

    fn take_who(&mut self, report: &Value, by: &str) {
        self.total = Sums::read(&report["total"]);
        let amount = |(id, name): &(&str, &'static str)| {
            let saved = number(&report["total"]["saved_by"][*id]);
            let lost = number(&report["total"]["lost_by"][*id]);
            Cause {
                name,
                amount: saved - lost,
            }
        };
        let causes = CAUSES.iter().map(amount);
        self.why = causes.filter(|cause| cause.amount != 0.0).collect();
        self.why.sort_by(|a, b| b.amount.total_cmp(&a.amount));
        let who = |row: &Value| Who {
            name: row[by].as_str().unwrap_or_default().to_owned(),
            sums: Sums::read(row),
        };
        self.who = rows(report).map(who).collect();
    }
}

/// Days as reports name them.
#[derive(Clone, Debug, Default)]
pub(super) struct Days {
    /// `2026-11-30`.
    pub(super) today: String,
    /// The day before.
    pub(super) yesterday: String,
    /// `2026-11-`.
    pub(super) month: String,
}

fn rows(report: &Value) -> impl Iterator<Item = &Value> {
    report["rows"].as_array().into_iter().flatten()
}

/// A part that another version tells otherwise is drawn as far as it is understood.
fn read<T: for<'de> Deserialize<'de> + Default>(value: &Value) -> T {
    T::deserialize(value).unwrap_or_default()
}

/// None where nothing can be expected yet.
fn forecast(told: &Value) -> Option<Forecast> {
    let some = |name: &str| Some(&told[name]).filter(|v| !v.is_null()).map(number);
    Some(Forecast {
        expected: some("expected_usd")?,
        range: some("low_usd").zip(some("high_usd")),
    })
}

/// Those that run out first before the others.
fn caps_of(told: &Value) -> Vec<CapLine> {
    let all = told["caps"].as_array().into_iter().flatten();
    let mut caps: Vec<CapLine> = all.filter(|c| !c["limit"].is_null()).map(cap).collect();
    let order = |cap: &CapLine| match (cap.full(), cap.out_at) {
        (true, _) => (0, 0),
        (false, Some(at)) => (1, at),
        (false, None) => (2, 0),
    };
    caps.sort_by(|a, b| {
        let used = || b.used().total_cmp(&a.used());
        order(a).cmp(&order(b)).then_with(used)
    });
    caps
}

fn cap(row: &Value) -> CapLine {
    let text = |name: &str| row[name].as_str().unwrap_or_default();
    let resets_at = row["resets_at"].as_i64();
    let paces = ["6h", "1h", "3d"].map(|pace| row["exhausted_at"][pace].as_i64());
    let out_at = paces.into_iter().flatten().next();
    let made = match (text("name"), text("key")) {
        ("", "") => format!("{} {}", text("node"), text("window")),
        ("", key) => format!("key {key} {}", text("window")),
        (name, _) => name.to_owned(),
    };
    CapLine {
        name: made,
        dollars: text("measure") == "usd",
        measure: text("measure").to_owned(),
        limit: number(&row["limit"]),
        spent: number(&row["spent"]),
        reserved: number(&row["reserved"]),
        resets_at,
        out_at: out_at.filter(|at| resets_at.is_none_or(|resets| *at < resets)),
    }
}
