//! How metrics are made and registered, and a table of series whose label values may be any words of the operator's.

use super::dollars::Dollars;
use prometheus::core::{Collector, Desc, Metric};
use prometheus::proto::{LabelPair, MetricFamily, MetricType};
use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The labels of one series, in the order of the table's names.
pub(super) type Labels = Vec<String>;

/// Series by their whole label values. The crate's own vectors know a series by a hash of its values written one after the other, so
/// that a team `a` with a key `bc` is one series with a team `ab` and a key `c`: where several labels are the operator's words, that
/// would book the money of one to another.
#[derive(Clone)]
pub(super) struct Table<M> {
    desc: Desc,
    kind: MetricType,
    one: fn() -> M,
    series: Arc<RwLock<BTreeMap<Labels, M>>>,
}

impl<M> std::fmt::Debug for Table<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.desc.fq_name)
    }
}

impl<M: Metric> Table<M> {
    /// The series with these values, which begins at 0 if it is new.
    pub(super) fn of(&self, labels: &[&str]) -> M {
        let labels: Labels = labels.iter().map(|&value| value.to_owned()).collect();
        let mut series = self.write();
        series.entry(labels).or_insert_with(self.one).clone()
    }

    /// Only these series are left.
    pub(super) fn retain(&self, keeps: impl Fn(&[String]) -> bool) {
        self.write().retain(|labels, _| keeps(labels));
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<Labels, M>> {
        self.series.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<Labels, M>> {
        self.series.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table<Gauge> {
    /// Puts these figures in the place of all that were there.
    pub(super) fn replace(&self, figures: impl IntoIterator<Item = (Labels, f64)>) {
        let mut series = BTreeMap::new();
        for (labels, figure) in figures {
            let gauge = (self.one)();
            gauge.set(figure);
            series.insert(labels, gauge);
        }
        *self.write() = series;
    }
}

impl<M: Metric> Collector for Table<M> {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(self.kind);
        let read = self.read();
        let metrics = read.iter().map(|(values, one)| {
            let mut metric = one.metric();
            let names = self.desc.variable_labels.iter();
            let mut pairs: Vec<LabelPair> = names.zip(values).map(pair).collect();
            pairs.sort();
            metric.set_label(pairs);
            metric
        });
        family.set_metric(metrics.collect());
        vec![family]
    }
}

fn pair((name, value): (&String, &String)) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.clone());
    pair.set_value(value.clone());
    pair
}

/// Makes metrics and registers them.
pub(super) struct Make(pub(super) Registry);

impl Make {
    pub(super) fn register<C: Collector + Clone + 'static>(
        &self,
        made: prometheus::Result<C>,
    ) -> C {
        let metric = made.expect("the name and labels are constants");
        let registered = self.0.register(Box::new(metric.clone()));
        registered.expect("every name is registered once");
        metric
    }

    pub(super) fn counts(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }

    pub(super) fn count(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help))
    }

    pub(super) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.register(GaugeVec::new(Opts::new(name, help), labels))
    }

    pub(super) fn whole_gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help))
    }

    pub(super) fn spread(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> HistogramVec {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register(HistogramVec::new(opts, labels))
    }

    /// A table of dollars.
    pub(super) fn dollars(&self, name: &str, help: &str, labels: &[&str]) -> Table<Dollars> {
        self.table(name, help, labels, (MetricType::COUNTER, Dollars::default))
    }

    /// A table of counts, where several labels are the operator's words.
    pub(super) fn count_table(&self, name: &str, help: &str, labels: &[&str]) -> Table<IntCounter> {
        let one = || IntCounter::new("one", "One.").expect("the name is a constant");
        self.table(name, help, labels, (MetricType::COUNTER, one))
    }

    /// A table of gauges, where several labels are the operator's words.
    pub(super) fn gauge_table(&self, name: &str, help: &str, labels: &[&str]) -> Table<Gauge> {
        let one = || Gauge::new("one", "One.").expect("the name is a constant");
        self.table(name, help, labels, (MetricType::GAUGE, one))
    }

    fn table<M: Metric + 'static>(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        (kind, one): (MetricType, fn() -> M),
    ) -> Table<M> {
        let names = labels.iter().map(|&label| label.to_owned()).collect();
        let desc = Desc::new(name.to_owned(), help.to_owned(), names, HashMap::new());
        self.register(desc.map(|desc| Table {
            desc,
            kind,
            one,
            series: Arc::default(),
        }))
    }
}

/// Values of labels beyond a limit are counted as `other`; how many there were is counted here, each once.
#[derive(Debug)]
pub(super) struct Folded {
    count: IntCounter,
    most: std::sync::atomic::AtomicU64,
}

impl Folded {
    /// Counts for this label.
    pub(super) fn of(counts: &IntCounterVec, label: &str) -> Folded {
        Folded {
            count: counts.with_label_values(&[label]),
            most: 0.into(),
        }
    }

    /// So many values are beyond the limit now.
    pub(super) fn now(&self, values: usize) {
        let values = u64::try_from(values).unwrap_or(u64::MAX);
        let before = self
            .most
            .fetch_max(values, std::sync::atomic::Ordering::Relaxed);
        self.count.inc_by(values.saturating_sub(before));
    }

    /// One value more, which is not remembered: one that comes again counts again.
    pub(super) fn one_more(&self) {
        self.count.inc();
    }
}

/// The longest value of a label, in bytes: a longer one is cut.
const VALUE_BYTES_MAX: usize = 128;

/// A word of the operator's as a label's value: nothing is `-`, and what is too long is cut.
pub(super) fn value(word: &str) -> &str {
    match word {
        "" => "-",
        word if word.len() <= VALUE_BYTES_MAX => word,
        word => &word[..word.floor_char_boundary(VALUE_BYTES_MAX)],
    }
}
