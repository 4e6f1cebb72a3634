//! What traffic would cost on a machine of one's own, and how long its answers would take there: requests wait in line for a place,
//! each takes as long as its tokens take at the measured speed, and electricity is paid by the hour. Numbers in, numbers out: it knows
//! no books, and measures nothing.

use crate::money::PicoUsd;
use serde_json::{Map, Value, json};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// An hour, in milliseconds.
const HOUR_MS: i64 = 3_600_000;
/// A day, in milliseconds.
pub const DAY_MS: i64 = 24 * HOUR_MS;
/// So many thousandths of a joule are a kilowatt-hour; watts times milliseconds are such.
const KWH_MJ: i128 = 3_600_000_000;
/// So many tasks are told apart.
const TASKS_MAX: usize = 64;

/// How fast a model is on a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speed {
    /// So many requests are answered at once.
    pub slots: u32,
    /// Thousandths of a token of the prompt that each of them reads in a second, while all are busy.
    pub prefill_milli: u64,
    /// Thousandths of a token of the answer that each of them writes in a second, while all are busy.
    pub decode_milli: u64,
    /// So many tokens of prompt and answer fit into it; `None` where nobody knows.
    pub context: Option<u64>,
}

impl Speed {
    /// How long an answer takes once its turn has come, in milliseconds, rounded up.
    #[must_use]
    pub fn takes_ms(&self, input: u64, output: u64) -> i64 {
        let part = |tokens: u64, milli: u64| {
            let ms = u128::from(tokens) * 1_000_000;
            ms.div_ceil(u128::from(milli.max(1)))
        };
        let ms = part(input, self.prefill_milli) + part(output, self.decode_milli);
        i64::try_from(ms).unwrap_or(i64::MAX / 4)
    }
}

/// The hours of the day in which a machine is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    /// The first that counts, 0 to 23.
    pub from: u8,
    /// The first that does not any more, 1 to 24.
    pub to: u8,
}

impl Hours {
    /// All day.
    pub const ALL: Hours = Hours { from: 0, to: 24 };

    /// `8-20`.
    ///
    /// # Errors
    /// It is not two hours of a day with a hyphen between them.
    pub fn parse(text: &str) -> Result<Hours, String> {
        let wrong = || format!("\"{text}\" is not like 8-20: two hours of a day, 0 to 24");
        let (from, to) = text.split_once('-').ok_or_else(wrong)?;
        let hour = |text: &str| text.trim().parse::<u8>().ok().filter(|hour| *hour <= 24);
        match (hour(from), hour(to)) {
            (Some(from), Some(to)) if from < to => Ok(Hours { from, to }),
            _ => Err(wrong()),
        }
    }

    fn has(self, hour: u8) -> bool {
        (self.from..self.to).contains(&hour)
    }

    fn count(self) -> i64 {
        i64::from(self.to - self.from)
    }
}

/// A machine that may answer in the place of an API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// What it costs to buy.
    pub price: PicoUsd,
    /// What it draws while it answers.
    pub watts: u32,
    /// What it draws while it waits.
    pub idle_watts: u32,
    /// What a kilowatt-hour costs.
    pub kwh: PicoUsd,
    /// When it is on.
    pub hours: Hours,
    /// How fast the model is on it.
    pub speed: Speed,
    /// An answer that takes longer, waiting included, is late.
    pub deadline_ms: i64,
}

/// A request that an API has answered.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// When it came, in milliseconds since 1970; never before the one before it.
    pub at_ms: i64,
    /// The hour of the day then, where the machine is.
    pub hour: u8,
    /// Tokens to be read.
    pub input: u64,
    /// Tokens to be written.
    pub output: u64,
    /// What it has cost at the API.
    pub cost: PicoUsd,
    /// What it was about.
    pub task: &'a str,
}

/// Requests, how many of them would have been late, and what they have cost at the API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How many.
    pub requests: u64,
    /// Of these, how many would have taken longer than they may.
    pub late: u64,
    /// What they have cost at the API.
    pub cost: PicoUsd,
}

/// How long answers take, each to three digits, so that millions of them need little room.
#[derive(Debug, Default)]
struct Times {
    counts: BTreeMap<i64, u64>,
    all: u64,
}

impl Times {
    fn add(&mut self, ms: i64) {
        let mut step = 1;
        while ms / step >= 1_000 {
            step *= 10;
        }
        // Up, never down: an answer does not come sooner than it does.
        let rounded = (ms + step - 1) / step * step;
        *self.counts.entry(rounded).or_default() += 1;
        self.all += 1;
    }

    /// So many percent of the answers take no longer.
    fn percent(&self, percent: u64) -> Option<i64> {
        let wanted = (self.all * percent).div_ceil(100).max(1);
        let mut seen = 0;
        self.counts.iter().find_map(|(ms, count)| {
            seen += count;
            (seen >= wanted).then_some(*ms)
        })
    }
}

/// A machine under traffic. Requests are added as they came.
#[derive(Debug)]
pub struct Trial<'m> {
    machine: &'m Machine,
    /// When each place is free again, soonest first.
    places: BinaryHeap<Reverse<i64>>,
    here: Share,
    tasks: BTreeMap<String, Share>,
    too_long: Share,
    outside: Share,
    times: Times,
    busy_ms: i64,
    busy_until: i64,
    first_ms: Option<i64>,
}

impl<'m> Trial<'m> {
    /// Nothing was asked yet.
    #[must_use]
    pub fn of(machine: &'m Machine) -> Trial<'m> {
        let slots = machine.speed.slots.max(1);
        Trial {
            machine,
            places: (0..slots).map(|_| Reverse(i64::MIN)).collect(),
            here: Share::default(),
            tasks: BTreeMap::new(),
            too_long: Share::default(),
            outside: Share::default(),
            times: Times::default(),
            busy_ms: 0,
            busy_until: i64::MIN,
            first_ms: None,
        }
    }

    /// The next request.
    pub fn add(&mut self, load: &Load<'_>) {
        self.first_ms.get_or_insert(load.at_ms);
        let context = self.machine.speed.context;
        if context.is_some_and(|most| load.input.saturating_add(load.output) > most) {
            return count(&mut self.too_long, load, false);
        }
        if !self.machine.hours.has(load.hour) {
            return count(&mut self.outside, load, false);
        }
        let free = self.places.pop().map_or(i64::MIN, |Reverse(at)| at);
        let begins = free.max(load.at_ms);
        let ends = begins.saturating_add(self.machine.speed.takes_ms(load.input, load.output));
        self.places.push(Reverse(ends));
        // Requests begin in the order in which they came, so what is busy already ends where the latest of them ends.
        self.busy_ms += (ends - begins.max(self.busy_until)).max(0);
        self.busy_until = self.busy_until.max(ends);
        let took = ends - load.at_ms;
        let late = took > self.machine.deadline_ms;
        self.times.add(took);
        count(&mut self.here, load, late);
        let task = match self.tasks.len() < TASKS_MAX || self.tasks.contains_key(load.task) {
            true => load.task,
            false => "other",
        };
        match self.tasks.get_mut(task) {
            Some(share) => count(share, load, late),
            None => count(self.tasks.entry(task.to_owned()).or_default(), load, late),
        }
    }

    /// What it comes to, up to this instant.
    #[must_use]
    pub fn ends(self, to_ms: i64) -> Figures {
        let machine = self.machine;
        let span_ms = self.first_ms.map_or(0, |first| (to_ms - first).max(1));
        let on_ms = span_ms / 24 * machine.hours.count();
        let busy_ms = self.busy_ms;
        let energy = |ms: i64, watts: u32| i128::from(ms.max(0)) * i128::from(watts);
        let energy_mj =
            energy(busy_ms, machine.watts) + energy(on_ms - busy_ms, machine.idle_watts);
        let electricity = PicoUsd((energy_mj * machine.kwh.0 + KWH_MJ - 1) / KWH_MJ);
        let net = self.here.cost - electricity;
        let pays_after_days = (net > PicoUsd::ZERO).then(|| {
            let days = machine.price.0.saturating_mul(i128::from(span_ms));
            let days = days / (net.0 * i128::from(DAY_MS));
            u64::try_from(days).unwrap_or(u64::MAX).saturating_add(1)
        });
        Figures {
            span_ms,
            here: self.here,
            tasks: self.tasks.into_iter().collect(),
            too_long: self.too_long,
            outside: self.outside,
            busy_ms,
            on_ms,
            energy_mj,
            electricity,
            median_ms: self.times.percent(50),
            p95_ms: self.times.percent(95),
            pays_after_days: match machine.price {
                PicoUsd::ZERO => pays_after_days.map(|_| 0),
                _ => pays_after_days,
            },
        }
    }
}

fn count(share: &mut Share, load: &Load<'_>, late: bool) {
    share.requests += 1;
    share.late += u64::from(late);
    share.cost += load.cost;
}

/// What a machine comes to.
#[derive(Debug, PartialEq, Eq)]
pub struct Figures {
    /// From the first request to the end, in milliseconds.
    pub span_ms: i64,
    /// What it would answer.
    pub here: Share,
    /// The same by task.
    pub tasks: Vec<(String, Share)>,
    /// What stays at the API, since it does not fit into the model's context.
    pub too_long: Share,
    /// What stays at the API, since the machine is off then.
    pub outside: Share,
    /// So long it would answer at least one request.
    pub busy_ms: i64,
    /// So long it would be on.
    pub on_ms: i64,
    /// What it would draw: thousandths of a joule.
    pub energy_mj: i128,
    /// What that costs.
    pub electricity: PicoUsd,
    /// Half of the answers take no longer, waiting included; `None` where there is none.
    pub median_ms: Option<i64>,
    /// 95 % of them take no longer.
    pub p95_ms: Option<i64>,
    /// After so many days at this pace it has paid for itself; `None` where it never does.
    pub pays_after_days: Option<u64>,
}

impl Figures {
    /// Kilowatt-hours, to three digits after the point, rounded up.
    #[must_use]
    pub fn kwh_text(&self) -> String {
        let thousandths = (self.energy_mj * 1_000 + KWH_MJ - 1) / KWH_MJ;
        format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000)
    }

    /// As JSON: money as text in US dollars, times in milliseconds.
    #[must_use]
    pub fn json(&self) -> Map<String, Value> {
        let share = |share: &Share| json!({"requests": share.requests, "late": share.late, "api_cost_usd": share.cost.usd_text()});
        let tasks: Map<String, Value> = self
            .tasks
            .iter()
            .map(|(task, of_task)| (task.clone(), share(of_task)))
            .collect();
        let fields = json!({
            "span_ms": self.span_ms,
            "local": share(&self.here),
            "by_task": tasks,
            "too_long": share(&self.too_long),
            "outside_hours": share(&self.outside),
            "busy_ms": self.busy_ms,
            "on_ms": self.on_ms,
            "kwh": self.kwh_text(),
            "electricity_usd": self.electricity.usd_text(),
            "median_ms": self.median_ms,
            "p95_ms": self.p95_ms,
            "pays_after_days": self.pays_after_days,
        });
        match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CENT: PicoUsd = PicoUsd(10_000_000_000);

    fn machine() -> Machine {
        Machine {
            price: PicoUsd(1_000_000_000_000_000),
            watts: 100,
            idle_watts: 10,
            kwh: PicoUsd(300_000_000_000),
            hours: Hours::ALL,
            speed: Speed {
                slots: 1,
                prefill_milli: 1_000_000,
                decode_milli: 10_000,
                context: Some(4_000),
            },
            deadline_ms: 5_000,
        }
    }

    fn load(at_ms: i64, input: u64, output: u64) -> Load<'static> {
        Load {
            at_ms,
            hour: 12,
            input,
            output,
            cost: CENT,
            task: "summarise",
        }
    }

    fn figures(machine: &Machine, loads: &[Load<'_>], to_ms: i64) -> Figures {
        let mut trial = Trial::of(machine);
        for load in loads {
            trial.add(load);
        }
        trial.ends(to_ms)
    }

    #[test]
    fn a_request_waits_for_the_one_before_it_where_there_is_one_place() {
        // A second to read 1,000 tokens, three to write 30.
        let loads = [load(0, 1_000, 30), load(1_000, 1_000, 30)];
        let told = figures(&machine(), &loads, 60_000);
        assert_eq!((told.here.requests, told.here.late), (2, 1));
        assert_eq!((told.median_ms, told.p95_ms), (Some(4_000), Some(7_000)));
        assert_eq!(told.busy_ms, 8_000);
        let two = Machine {
            speed: Speed {
                slots: 2,
                ..machine().speed
            },
            ..machine()
        };
        let told = figures(&two, &loads, 60_000);
        assert_eq!(told.here.late, 0);
        // From 0 to 4 and from 1 to 5 seconds it is busy for five.
        assert_eq!(told.busy_ms, 5_000);
    }

    #[test]
    fn what_does_not_fit_or_comes_at_night_stays_at_the_api() {
        let day = Machine {
            hours: Hours { from: 8, to: 20 },
            ..machine()
        };
        let night = Load {
            hour: 20,
            ..load(0, 1, 1)
        };
        let told = figures(&day, &[load(0, 4_000, 1), night], DAY_MS);
        assert_eq!(told.here.requests, 0);
        assert_eq!((told.too_long.requests, told.outside.requests), (1, 1));
        assert_eq!(told.too_long.cost + told.outside.cost, CENT + CENT);
        assert_eq!(told.on_ms, 12 * HOUR_MS);
        assert_eq!(told.pays_after_days, None);
    }

    #[test]
    fn electricity_and_the_day_on_which_it_has_paid_for_itself_are_exact() {
        // One busy hour at 100 W and 23 at 10 W are 0.33 kWh: 9.9 cents a day. 1,000 requests of a cent each are 10 dollars.
        let mut loads = vec![Load {
            cost: CENT.times(1_000),
            ..load(0, 0, 36_000)
        }];
        let machine = Machine {
            speed: Speed {
                context: None,
                ..machine().speed
            },
            ..machine()
        };
        let told = figures(&machine, &loads, DAY_MS);
        assert_eq!(told.kwh_text(), "0.330");
        assert_eq!(told.electricity, PicoUsd(99_000_000_000));
        // 1,000 dollars at 9.901 a day: 100.999 days, so on the 101st.
        assert_eq!(told.pays_after_days, Some(101));
        loads[0].cost = CENT;
        let told = figures(&machine, &loads, DAY_MS);
        assert_eq!(told.pays_after_days, None);
        let owned = Machine {
            price: PicoUsd::ZERO,
            ..machine
        };
        loads[0].cost = CENT.times(1_000);
        assert_eq!(figures(&owned, &loads, DAY_MS).pays_after_days, Some(0));
    }

    #[test]
    fn hours_are_two_numbers_of_a_day() {
        assert_eq!(Hours::parse("8-20"), Ok(Hours { from: 8, to: 20 }));
        assert_eq!(Hours::parse("0-24"), Ok(Hours::ALL));
        for wrong in ["", "8", "20-8", "8-25", "a-b", "8-8"] {
            assert!(Hours::parse(wrong).is_err(), "{wrong}");
        }
    }
}
