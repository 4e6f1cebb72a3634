//! The series of each model, arm, rule and task, found once and kept: an attempt adds to some twenty of them, and finding each anew by
//! its labels costs more than counting.

use super::CLASSES;
use super::dollars::Dollars;
use super::make::{Folded, Make, Table};
use crate::arm::{Effort, Tier};
use crate::classify::Task;
use crate::ledger::record::Outcome;
use crate::telemetry::{AttemptClosed, KnownArm, ProbePart};
use foldhash::{HashMap, HashSet};
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};
use std::sync::OnceLock;

/// The value of what is not known.
pub(super) const OTHER: &str = "other";
/// Bands of a prompt's length.
const LENGTHS: [&str; 5] = ["<1k", "1-4k", "4-16k", "16-64k", "64k+"];
/// Bands of difficulty, and what nobody has graded.
pub(super) const BANDS: [&str; 6] = ["0-0.2", "0.2-0.4", "0.4-0.6", "0.6-0.8", "0.8-1", UNGRADED];
/// What nobody has graded.
const UNGRADED: &str = "ungraded";
/// Pairs of asked and serving model that have a series of their own, beside each model that serves itself.
const PAIRS_MAX: usize = 500;
/// Under which names an app asks for a decision.
const AUTO: [&str; 5] = ["auto", "auto:cheap", "auto:best", "auto:fast", "auto:local"];

/// What the series of models, arms, rules and tasks are made from.
#[derive(Debug)]
pub(super) struct Sources {
    requests: IntCounterVec,
    cost: Table<Dollars>,
    baseline: Table<Dollars>,
    baseline_extra: Table<Dollars>,
    saved: Table<Dollars>,
    lost: Table<Dollars>,
    task_cost: Table<Dollars>,
    pub(super) rule_cost: Table<Dollars>,
    tokens: IntCounterVec,
    cached: Table<Dollars>,
    attempts: IntCounterVec,
    ttft: HistogramVec,
    decode: HistogramVec,
    thinking: IntCounterVec,
    thinking_cost: Table<Dollars>,
    served: Table<IntCounter>,
    probe_cost: Table<Dollars>,
    folded: Folded,
}

impl Sources {
    // A table: one entry a metric.
    pub(super) fn new(m: &Make, folded: &IntCounterVec) -> Sources {
        let arm = ["provider", "model", "tier", "effort"];
        Sources {
            requests: m.counts(
                "flyball_requests_total",
                "Attempts that have ended, by tier, effort and outcome.",
                &["tier", "effort", "outcome"],
            ),
            cost: m.dollars(
                "flyball_cost_usd_total",
                "Money spent, in US dollars.",
                &arm,
            ),
            baseline: m.dollars(
                "flyball_baseline_usd_total",
                "What the asked-for or configured baseline would have cost, in US dollars.",
                &arm,
            ),
            baseline_extra: m.dollars(
                "flyball_baseline_extra_usd_total",
                "What baselines may have cost beyond that: had they thought as much as is expected of them, where that was not seen.",
                &["tier", "effort"],
            ),
            saved: m.dollars(
                "flyball_saved_usd_total",
                "Baseline minus cost, of the attempts where that is positive, in US dollars.",
                &["tier", "effort"],
            ),
            lost: m.dollars(
                "flyball_lost_usd_total",
                "Cost minus baseline, of the attempts where that is positive, in US dollars.",
                &["tier", "effort"],
            ),
            task_cost: m.dollars(
                "flyball_task_cost_usd_total",
                "Money spent by graded task, in US dollars.",
                &["task"],
            ),
            rule_cost: m.dollars(
                "flyball_rule_cost_usd_total",
                "Money spent by rule, in US dollars.",
                &["rule"],
            ),
            tokens: m.counts(
                "flyball_tokens_total",
                "Tokens by class; the classes do not overlap and add up to everything billed.",
                &["model", "class"],
            ),
            cached: m.dollars(
                "flyball_cached_usd_total",
                "What providers' prompt caches took off, less what writing them cost, in US dollars.",
                &["model"],
            ),
            attempts: m.counts(
                "flyball_model_attempts_total",
                "Attempts that have ended, by model and outcome.",
                &["model", "outcome"],
            ),
            ttft: m.spread(
                "flyball_ttft_seconds",
                "From sending to the first token of a stream, by the prompt's length in tokens.",
                &["model", "prompt"],
                &super::ANSWER_SECONDS,
            ),
            decode: m.spread(
                "flyball_decode_tokens_per_second",
                "Output tokens a second after the first one, on streams.",
                &["model"],
                &super::TOKENS_PER_SECOND,
            ),
            thinking: m.counts(
                "flyball_reasoning_tokens_total",
                "Tokens of hidden reasoning, by graded task and band of difficulty.",
                &["task", "band"],
            ),
            thinking_cost: m.dollars(
                "flyball_reasoning_usd_total",
                "What hidden reasoning cost, by graded task and band of difficulty, in US dollars.",
                &["task", "band"],
            ),
            served: m.count_table(
                "flyball_served_total",
                "Requests by the model that was asked for and the one that answers.",
                &["asked", "served"],
            ),
            probe_cost: m.dollars(
                "flyball_probe_usd_total",
                "What asking a cheaper model first cost, by what came of it, in US dollars.",
                &["model", "part"],
            ),
            folded: Folded::of(folded, "served"),
        }
    }

    /// What exists whatever is configured begins at 0.
    pub(super) fn zero(&self) {
        for tier in Tier::ALL {
            for effort in Effort::ALL {
                let (tier, effort) = (tier.name(), effort.name());
                self.requests
                    .with_label_values(&[tier, effort, Outcome::Ok.name()]);
                self.saved.of(&[tier, effort]);
                self.lost.of(&[tier, effort]);
            }
        }
    }
}

/// One model's series.
#[derive(Debug)]
struct ModelSeries {
    tokens: [IntCounter; CLASSES.len()],
    cached: Dollars,
    attempts: [OnceLock<IntCounter>; Outcome::ALL.len()],
    ttft: [OnceLock<Histogram>; LENGTHS.len()],
    decode: Histogram,
    probe_cost: [Dollars; ProbePart::ALL.len()],
    arms: Vec<ArmSeries>,
}

/// One arm's series at one provider.
#[derive(Debug)]
struct ArmSeries {
    provider: String,
    tier: Tier,
    effort: Effort,
    requests: [OnceLock<IntCounter>; Outcome::ALL.len()],
    cost: Dollars,
    baseline: Dollars,
    baseline_extra: Dollars,
    saved: Dollars,
    lost: Dollars,
}

/// One task's series.
#[derive(Debug)]
struct TaskSeries {
    cost: Dollars,
    thinking: [IntCounter; BANDS.len()],
    thinking_cost: [Dollars; BANDS.len()],
}

/// The series of what is known.
#[derive(Debug, Default)]
pub(super) struct KnownSeries {
    models: HashMap<String, ModelSeries>,
    rules: HashMap<String, Dollars>,
    providers: HashSet<String>,
    tasks: HashMap<&'static str, TaskSeries>,
    served: HashMap<String, HashMap<String, IntCounter>>,
    pairs: usize,
}

impl KnownSeries {
    /// The series of these names; anything else is counted as `other`. What was asked for before keeps its series.
    pub(super) fn again(
        &self,
        sources: &Sources,
        (models, rules, providers): (Vec<String>, Vec<String>, Vec<String>),
    ) -> KnownSeries {
        let named = |name: String| {
            let series = ModelSeries::of(sources, &name);
            (name, series)
        };
        let other = [OTHER.to_owned()];
        let mut known = KnownSeries {
            models: models.into_iter().map(named).collect(),
            rules: rules
                .into_iter()
                .chain(other)
                .map(|name| {
                    let cost = sources.rule_cost.of(&[&name]);
                    (name, cost)
                })
                .collect(),
            providers: providers.into_iter().collect(),
            tasks: TaskSeries::all(sources),
            served: self.served.clone(),
            pairs: self.pairs,
        };
        let names: Vec<String> = known.models.keys().cloned().collect();
        for name in names {
            known.pair(sources, AUTO[0], &name);
            known.pair(sources, &name, &name);
        }
        known
    }

    /// The model as a label.
    pub(super) fn model<'n>(&self, name: &'n str) -> &'n str {
        match self.models.contains_key(name) {
            true => name,
            false => OTHER,
        }
    }

    /// The provider as a label.
    pub(super) fn provider<'n>(&self, name: &'n str) -> &'n str {
        match self.providers.contains(name) {
            true => name,
            false => OTHER,
        }
    }

    /// The rule as a label.
    pub(super) fn rule<'n>(&self, name: &'n str) -> &'n str {
        match self.rules.contains_key(name) {
            true => name,
            false => OTHER,
        }
    }

    /// Makes the series of an arm, if there are none yet.
    pub(super) fn prepare(&mut self, sources: &Sources, arm: &KnownArm<'_>) {
        let provider = self.provider(arm.provider);
        let model = self.model(arm.model);
        let series = self.models.entry(model.to_owned());
        let series = series.or_insert_with(|| ModelSeries::of(sources, model));
        if series.arm(provider, arm.tier, arm.effort).is_none() {
            let labels = [provider, model, arm.tier.name(), arm.effort.name()];
            series.arms.push(ArmSeries {
                provider: provider.to_owned(),
                tier: arm.tier,
                effort: arm.effort,
                requests: Default::default(),
                cost: sources.cost.of(&labels),
                baseline: sources.baseline.of(&labels),
                baseline_extra: sources.baseline_extra.of(&labels[2..]),
                saved: sources.saved.of(&labels[2..]),
                lost: sources.lost.of(&labels[2..]),
            });
        }
    }

    /// Counts an attempt that has ended; `false` where the series of its arm have to be made first.
    pub(super) fn count(&self, sources: &Sources, e: &AttemptClosed<'_>) -> bool {
        let opening = e.opening;
        let model = self.models.get(opening.model.as_str());
        let Some(model) = model.or_else(|| self.models.get(OTHER)) else {
            return false;
        };
        let provider = self.provider(&opening.provider);
        let Some(arm) = model.arm(provider, opening.tier, e.effort) else {
            return false;
        };
        arm.count(sources, e);
        model.count(sources, e, self.model(&opening.model));
        let rule = self.rules.get(opening.rule.as_str());
        if let Some(cost) = rule.or_else(|| self.rules.get(OTHER)) {
            cost.add(e.closing.cost);
        }
        let task = self.tasks.get(opening.task.as_str());
        if let Some(task) = task.or_else(|| self.tasks.get(Task::Unknown.name())) {
            task.count(e);
        }
        true
    }

    /// Counts a request that a model answers.
    pub(super) fn count_served(&self, asked: &str, served: &str) -> bool {
        let series = self.served.get(asked);
        let series = series.and_then(|series| series.get(self.model(served)));
        let Some(count) = series else { return false };
        count.inc();
        true
    }

    /// Counts a request for a model that was not asked for before; `is_name`: it is some vendor's.
    pub(super) fn count_served_anew(
        &mut self,
        sources: &Sources,
        (asked, served): (&str, &str),
        is_name: bool,
    ) {
        let served = self.model(served);
        let known = is_name || AUTO.contains(&asked) || self.models.contains_key(asked);
        let mut asked = if known { asked } else { OTHER };
        let there = |asked: &str| {
            let series = self.served.get(asked);
            series.is_some_and(|series| series.contains_key(served))
        };
        // What is not known itself is one name more for each model at most.
        if !there(asked) && asked != OTHER {
            match self.pairs < PAIRS_MAX {
                true => self.pairs += 1,
                false => {
                    sources.folded.one_more();
                    asked = OTHER;
                }
            }
        }
        self.pair(sources, asked, served).inc();
    }

    fn pair(&mut self, sources: &Sources, asked: &str, served: &str) -> &IntCounter {
        let series = self.served.entry(asked.to_owned()).or_default();
        series
            .entry(served.to_owned())
            .or_insert_with(|| sources.served.of(&[asked, served]))
    }
}

impl ModelSeries {
    fn of(sources: &Sources, name: &str) -> ModelSeries {
        let series = ModelSeries {
            tokens: CLASSES.map(|class| sources.tokens.with_label_values(&[name, class])),
            cached: sources.cached.of(&[name]),
            attempts: Default::default(),
            ttft: Default::default(),
            decode: sources.decode.with_label_values(&[name]),
            probe_cost: ProbePart::ALL.map(|part| sources.probe_cost.of(&[name, part.name()])),
            arms: Vec::new(),
        };
        series.attempts(sources, name, Outcome::Ok);
        series
    }

    fn arm(&self, provider: &str, tier: Tier, effort: Effort) -> Option<&ArmSeries> {
        let mut arms = self.arms.iter();
        arms.find(|a| (a.tier, a.effort) == (tier, effort) && a.provider == provider)
    }

    fn attempts(&self, sources: &Sources, name: &str, outcome: Outcome) -> &IntCounter {
        let count = &self.attempts[place(&Outcome::ALL, outcome)];
        let labels = [name, outcome.name()];
        count.get_or_init(|| sources.attempts.with_label_values(&labels))
    }

    fn count(&self, sources: &Sources, e: &AttemptClosed<'_>, name: &str) {
        let usage = &e.closing.usage;
        self.attempts(sources, name, e.closing.outcome).inc();
        // More reasoning than output is an anomaly; the sum must still be what was billed.
        let reasoning = usage.reasoning.min(usage.output);
        let counts = [
            usage.input,
            usage.cached,
            usage.cache_write.saturating_add(usage.cache_write_long),
            usage.output - reasoning,
            reasoning,
        ];
        for (series, count) in self.tokens.iter().zip(counts) {
            series.inc_by(count);
        }
        self.cached.add(e.closing.cache_discount);
        if let Some(ttft) = e.ttft {
            let band = length_band(usage.input_total());
            let labels = [name, LENGTHS[band]];
            let spread = self.ttft[band].get_or_init(|| sources.ttft.with_label_values(&labels));
            spread.observe(ttft.as_secs_f64());
        }
        // One NaN would make the histogram's sum NaN for ever.
        if let Some(rate) = e.decode_tokens_per_second.filter(|r| r.is_finite()) {
            self.decode.observe(rate);
        }
        if let Some(part) = e.probe {
            self.probe_cost[place(&ProbePart::ALL, part)].add(e.closing.cost);
        }
    }
}

impl ArmSeries {
    fn count(&self, sources: &Sources, e: &AttemptClosed<'_>) {
        let closing = e.closing;
        let count = &self.requests[place(&Outcome::ALL, closing.outcome)];
        let labels = [self.tier.name(), self.effort.name(), closing.outcome.name()];
        count
            .get_or_init(|| sources.requests.with_label_values(&labels))
            .inc();
        self.cost.add(closing.cost);
        self.baseline.add(closing.baseline);
        self.baseline_extra.add(closing.baseline_extra);
        // One of the two differences is negative, and adds nothing.
        self.saved.add(closing.baseline - closing.cost);
        self.lost.add(closing.cost - closing.baseline);
    }
}

impl TaskSeries {
    fn all(sources: &Sources) -> HashMap<&'static str, TaskSeries> {
        let names = Task::ALL.iter().map(|task| task.name());
        let series = |task: &'static str| {
            let series = TaskSeries {
                cost: sources.task_cost.of(&[task]),
                thinking: BANDS.map(|band| sources.thinking.with_label_values(&[task, band])),
                thinking_cost: BANDS.map(|band| sources.thinking_cost.of(&[task, band])),
            };
            (task, series)
        };
        names.chain(["embed", UNGRADED]).map(series).collect()
    }

    fn count(&self, e: &AttemptClosed<'_>) {
        self.cost.add(e.closing.cost);
        let tokens = e.closing.usage.reasoning.min(e.closing.usage.output);
        if tokens > 0 {
            let band = match e.graded {
                true => difficulty_band(e.opening.difficulty_milli),
                false => BANDS.len() - 1,
            };
            self.thinking[band].inc_by(tokens);
            self.thinking_cost[band].add(e.reasoning_cost);
        }
    }
}

/// Where it stands among all of its kind.
pub(super) fn place<T: PartialEq>(all: &[T], one: T) -> usize {
    all.iter().position(|other| *other == one).unwrap_or(0)
}

/// Where in [`LENGTHS`] a prompt of so many tokens is.
fn length_band(tokens: u64) -> usize {
    match tokens {
        0..1_000 => 0,
        1_000..4_000 => 1,
        4_000..16_000 => 2,
        16_000..64_000 => 3,
        _ => 4,
    }
}

/// Where in [`BANDS`] a difficulty in thousandths is.
fn difficulty_band(milli: i64) -> usize {
    match milli {
        ..200 => 0,
        200..400 => 1,
        400..600 => 2,
        600..800 => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_fall_into_the_band_of_their_length() {
        for (tokens, band) in [
            (0, "<1k"),
            (999, "<1k"),
            (1_000, "1-4k"),
            (4_000, "4-16k"),
            (16_000, "16-64k"),
            (64_000, "64k+"),
            (u64::MAX, "64k+"),
        ] {
            assert_eq!(LENGTHS[length_band(tokens)], band, "{tokens}");
        }
    }

    #[test]
    fn difficulties_fall_into_bands_of_a_fifth() {
        for (milli, band) in [
            (0, "0-0.2"),
            (199, "0-0.2"),
            (200, "0.2-0.4"),
            (599, "0.4-0.6"),
            (600, "0.6-0.8"),
            (800, "0.8-1"),
            (1_000, "0.8-1"),
        ] {
            assert_eq!(BANDS[difficulty_band(milli)], band, "{milli}");
        }
    }
}
