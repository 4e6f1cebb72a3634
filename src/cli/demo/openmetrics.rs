//! The history of metrics: what was scraped at each of many instants, as OpenMetrics text with timestamps, which `promtool tsdb create-blocks-from
//! openmetrics` makes blocks of. Reads what [`crate::telemetry::Telemetry::encode`] writes, so that names, labels and buckets are those of `/metrics`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;

/// Everything that was scraped.
pub(super) struct History {
    /// What a scrape adds to the labels of each series: `job="…",instance="…"`.
    target: String,
    /// Seconds since 1970, rising.
    times: Vec<i64>,
    families: BTreeMap<String, Family>,
    /// Where each series is: its family, and its place there.
    places: HashMap<String, (String, usize)>,
}

#[derive(Default)]
struct Family {
    kind: String,
    help: String,
    series: Vec<Series>,
}

struct Series {
    /// `flyball_cost_usd_total{model="…"}`.
    name: String,
    /// A value for each time from this one on; no number where it was not there.
    since: usize,
    values: Vec<f64>,
}

impl History {
    pub(super) fn new(job: &str, instance: &str) -> History {
        History {
            target: format!("job=\"{job}\",instance=\"{instance}\""),
            times: Vec::new(),
            families: BTreeMap::new(),
            places: HashMap::new(),
        }
    }

    /// Notes what was scraped, in the text format 0.0.4.
    pub(super) fn note(&mut self, at_ms: i64, scraped: &str) {
        let place = self.times.len();
        self.times.push(at_ms.div_euclid(1_000));
        let mut family = String::new();
        for line in scraped.lines() {
            if let Some(told) = line.strip_prefix("# HELP ") {
                let (name, help) = told.split_once(' ').unwrap_or((told, ""));
                family = name.to_owned();
                let known = self.families.entry(family.clone()).or_default();
                if known.help != help {
                    known.help = help.to_owned();
                }
            } else if let Some(told) = line.strip_prefix("# TYPE ") {
                let (name, kind) = told.split_once(' ').unwrap_or((told, "unknown"));
                family = name.to_owned();
                let known = self.families.entry(family.clone()).or_default();
                kind.clone_into(&mut known.kind);
            } else if let Some((name, value)) = line.rsplit_once(' ')
                && let Ok(value) = value.parse::<f64>()
            {
                self.take(&family, name, place, value);
            }
        }
    }

    fn take(&mut self, family: &str, name: &str, place: usize, value: f64) {
        if !self.places.contains_key(name) {
            let known = self.families.entry(family.to_owned()).or_default();
            known.series.push(Series {
                name: name.to_owned(),
                since: place,
                values: Vec::new(),
            });
            let at = (family.to_owned(), known.series.len() - 1);
            self.places.insert(name.to_owned(), at);
        }
        let (family, number) = &self.places[name];
        let family = self.families.get_mut(family).expect("it was just there");
        let series = &mut family.series[*number];
        series.values.resize(place - series.since, f64::NAN);
        series.values.push(value);
    }

    /// How many series have at least one sample, and how many samples that are.
    pub(super) fn size(&self) -> (u64, u64) {
        let mut size = (0, 0);
        for family in self.families.values() {
            for series in family.shown() {
                size.0 += 1;
                size.1 += u64::try_from(series.samples().count()).unwrap_or(u64::MAX);
            }
        }
        size
    }

    /// Writes everything, family by family and series by series.
    pub(super) fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        for (name, family) in &self.families {
            // A counter's family is named without the ending of its samples.
            let (plain, kind) = match family.kind.as_str() {
                "counter" => (name.strip_suffix("_total").unwrap_or(name), "counter"),
                kind => (&**name, kind),
            };
            writeln!(out, "# HELP {plain} {}", family.help)?;
            writeln!(out, "# TYPE {plain} {kind}")?;
            for series in family.shown() {
                let named = self.named(&series.name);
                for (place, value) in series.samples() {
                    let seconds = self.times[place];
                    writeln!(out, "{named} {value} {seconds}")?;
                }
            }
        }
        writeln!(out, "# EOF")
    }

    /// With the labels that a scrape adds.
    fn named(&self, series: &str) -> String {
        match series.split_once('{') {
            Some((name, rest)) => format!("{name}{{{},{rest}", self.target),
            None => format!("{series}{{{}}}", self.target),
        }
    }
}

impl Family {
    /// The series that are written: all but those of histograms that have never seen anything.
    fn shown(&self) -> impl Iterator<Item = &Series> {
        let empty: HashSet<String> = match self.kind.as_str() {
            "histogram" => {
                let counts = self.series.iter().filter(|s| s.part("_count").is_some());
                let idle = counts.filter(|s| s.values.last().is_none_or(|last| *last <= 0.0));
                idle.filter_map(|s| s.part("_count")).collect()
            }
            _ => HashSet::new(),
        };
        self.series.iter().filter(move |series| {
            let parts = ["_count", "_sum", "_bucket"];
            let of = parts.into_iter().find_map(|part| series.part(part));
            of.is_none_or(|of| !empty.contains(&of))
        })
    }
}

impl Series {
    /// The labels that its histogram bears, where this is such a part of one.
    fn part(&self, part: &str) -> Option<String> {
        let (name, labels) = self.name.split_once('{').unwrap_or((&self.name, "}"));
        name.strip_suffix(part)?;
        let (labels, _) = labels.split_once("le=\"").unwrap_or((labels, ""));
        Some(labels.trim_end_matches([',', '}']).to_owned())
    }

    fn samples(&self) -> impl Iterator<Item = (usize, f64)> {
        let placed = (self.since..).zip(self.values.iter().copied());
        placed.filter(|(_, value)| value.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_becomes_open_metrics_with_times_and_idle_histograms_are_left_out() {
        let mut history = History::new("flyball", "here:1");
        let scrape = |count: u32, gauge: &str| {
            format!(
                "# HELP a_total As.\n# TYPE a_total counter\na_total{{x=\"y z\"}} {count}\n# HELP g G.\n# TYPE g gauge\n{gauge}\
                 # HELP h H.\n# TYPE h histogram\nh_bucket{{m=\"1\",le=\"0.5\"}} {count}\nh_bucket{{m=\"1\",le=\"+Inf\"}} {count}\nh_sum{{m=\"1\"}} 0.25\nh_count{{m=\"1\"}} {count}\n\
                 h_bucket{{m=\"2\",le=\"+Inf\"}} 0\nh_sum{{m=\"2\"}} 0\nh_count{{m=\"2\"}} 0\n"
            )
        };
        history.note(1_000, &scrape(0, ""));
        history.note(2_500, &scrape(3, "g 1.5\n"));
        let mut text = Vec::new();
        history.write(&mut text).expect("memory");
        let at = "job=\"flyball\",instance=\"here:1\"";
        let expected = format!(
            "# HELP a As.\n# TYPE a counter\na_total{{{at},x=\"y z\"}} 0 1\na_total{{{at},x=\"y z\"}} 3 2\n# HELP g G.\n# TYPE g gauge\ng{{{at}}} 1.5 2\n\
             # HELP h H.\n# TYPE h histogram\nh_bucket{{{at},m=\"1\",le=\"0.5\"}} 0 1\nh_bucket{{{at},m=\"1\",le=\"0.5\"}} 3 2\nh_bucket{{{at},m=\"1\",le=\"+Inf\"}} 0 1\n\
             h_bucket{{{at},m=\"1\",le=\"+Inf\"}} 3 2\nh_sum{{{at},m=\"1\"}} 0.25 1\nh_sum{{{at},m=\"1\"}} 0.25 2\nh_count{{{at},m=\"1\"}} 0 1\nh_count{{{at},m=\"1\"}} 3 2\n# EOF\n"
        );
        assert_eq!(String::from_utf8(text).expect("text"), expected);
        assert_eq!(history.size(), (6, 11));
    }
}
