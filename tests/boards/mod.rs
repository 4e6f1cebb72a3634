//! Metrics in the code, in the docs, on the board and in the rules are the same ones, and the board keeps its habits.
//!
//! Whether the queries give data is seen by `tests/e2e/boards.sh`, with a real Prometheus.

mod board;
mod files;

use flyball::arm::{Effort, Tier};
use flyball::chat::Usage;
use flyball::error::{Error, Kind};
use flyball::ledger::record::{Basis, Closing, Opening, Outcome};
use flyball::money::{PICO_PER_USD, PicoUsd};
use flyball::telemetry::{
    AttemptClosed, BooksFigures, CapFigures, CapMoney, CapRefusal, ChannelFigures, Decided,
    FirstByteFigures, PeriodFigures, ProbePart, Refusal, Telemetry,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the exposition says of one metric.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    labels: BTreeSet<String>,
}

type Families = BTreeMap<String, Family>;

/// Every family, with at least one sample each.
fn families() -> Families {
    let mut families = Families::new();
    for line in told().lines() {
        if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            families.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if !line.starts_with('#') {
            let (sample, labels) = labels(line);
            let name = family(&families, sample).to_owned();
            let found = families.get_mut(&name).expect("TYPE comes before samples");
            found
                .labels
                .extend(labels.into_iter().filter(|l| l != "le"));
        }
    }
    families
}

/// The metric that a sample belongs to: without the suffix of a histogram's parts.
fn family<'a>(families: &Families, sample: &'a str) -> &'a str {
    ["_bucket", "_sum", "_count"]
        .iter()
        .filter_map(|end| sample.strip_suffix(end))
        .find(|name| families.get(*name).is_some_and(|f| f.kind == "histogram"))
        .unwrap_or(sample)
}

fn labels(line: &str) -> (&str, Vec<String>) {
    match line.split_once('{') {
        None => (line.split(' ').next().unwrap_or_default(), Vec::new()),
        Some((name, rest)) => {
            let inside = rest.rsplit_once('}').expect("labels end").0;
            let names = inside.split("\",").filter_map(|pair| pair.split_once('='));
            (name, names.map(|(name, _)| name.to_owned()).collect())
        }
    }
}

/// The exposition after one event of each kind.
fn told() -> String {
    let telemetry = Telemetry::new("2026-11");
    telemetry.known(vec!["m".into()], vec!["r".into()], vec!["p".into()]);
    telemetry.decided(&Decided {
        asked: "m",
        rule: "r",
        task: "code",
        tier: Tier::Small,
        unknown: None,
        noted: None,
    });
    telemetry.attempt_opened();
    let opening = Opening {
        provider: "p".into(),
        model: "m".into(),
        tier: Tier::Small,
        task: "code".into(),
        rule: "r".into(),
        ..Opening::default()
    };
    let closing = Closing {
        usage: Usage {
            input: 10,
            output: 10,
            ..Usage::default()
        },
        basis: Basis::Reported,
        cost: PicoUsd(PICO_PER_USD),
        baseline: PicoUsd(PICO_PER_USD),
        ..Closing::void("a", Outcome::Ok)
    };
    telemetry.attempt(&AttemptClosed {
        reasoning_cost: PicoUsd::ZERO,
        graded: true,
        probe: Some(ProbePart::Stood),
        opening: &opening,
        closing: &closing,
        effort: Effort::None,
        capped: false,
        stream: true,
        status: 200,
        ttft: Some(Duration::from_millis(10)),
        decode_tokens_per_second: Some(10.0),
        total: Duration::from_secs(1),
        added: Duration::from_micros(100),
        phases: &[],
        traced: None,
    });
    let error = Error::new(Kind::BadRequest, "no");
    telemetry.refused(&Refusal {
        request: "q",
        error: &error,
    });
    telemetry.cap_refused(&CapRefusal {
        cap: "all day",
        scope: "global",
        only_reserved: false,
    });
    telemetry.dropped("openai_chat", "anthropic_messages", 1);
    telemetry.probed("m", "stands");
    telemetry.headroom(("p", Some("c")), "tokens", 0.5);
    telemetry.moved("p");
    let (provider, channel) = ("p".to_owned(), "c".to_owned());
    telemetry.channels(
        &[ChannelFigures {
            provider: provider.clone(),
            channel: channel.clone(),
            up: true,
            in_flight: 1,
        }],
        &[FirstByteFigures {
            provider,
            channel,
            model: "m".into(),
            percentiles: vec![
                ("50", Duration::from_millis(5)),
                ("95", Duration::from_millis(9)),
            ],
            failed: 0.0,
        }],
    );
    telemetry.books(&BooksFigures {
        periods: [PeriodFigures::default(); 6],
        provisional: PicoUsd::ZERO,
        expected: Some(PicoUsd::ZERO),
        interval: None,
        bytes: 1,
        attempts: 1,
    });
    telemetry.caps(&[CapFigures {
        cap: "all day".into(),
        scope: "global",
        window: "day",
        money: Some(CapMoney {
            limit: PicoUsd(PICO_PER_USD),
            spent: PicoUsd::ZERO,
            reserved: PicoUsd::ZERO,
        }),
        reset_unix: Some(1_800_000_000),
        exhausted_unix: [Some(1_799_999_000); 3],
    }]);
    telemetry.encode()
}

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = top().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Everything in a text that is spelled like one of our metrics or like a recorded one.
fn names(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':' || c == '.'))
        // A file's name has a dot in it, a sentence may end with one.
        .map(|word| word.trim_matches(['.', ':']))
        .filter(|word| !word.contains('.'))
        .filter(|word| {
            word.contains(":flyball_")
                || ["flyball_", "process_"].iter().any(|prefix| {
                    word.strip_prefix(prefix)
                        .is_some_and(|rest| !rest.is_empty())
                })
        })
        .collect()
}
