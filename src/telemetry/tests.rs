use super::*;
use crate::chat::Usage;
use crate::classify::Task;
use crate::ledger::record::{Basis, Cause, Outcome};
use crate::money::PICO_PER_USD;
use crate::private::Class;
use crate::route::{HedgeEnd, ShadowEnd};
use std::collections::{BTreeMap, BTreeSet};

const PHASES: [(&str, Duration); 3] = [
    ("read", Duration::from_micros(20)),
    ("decide", Duration::from_micros(30)),
    ("reserve", Duration::from_micros(150)),
];

fn opening() -> Opening {
    Opening {
        request: "r".into(),
        attempt: "a".into(),
        provider: "openai".into(),
        model: "small-1".into(),
        tier: Tier::Small,
        task: "code".into(),
        rule: "plain".into(),
        difficulty_milli: 700,
        key: Some(7),
        team: "red".into(),
        tags: vec![("app".into(), "search".into())],
        dialect: "openai-chat".into(),
        bound: PicoUsd(PICO_PER_USD / 2),
        ..Opening::default()
    }
}

fn closing() -> Closing {
    Closing {
        usage: Usage {
            input: 1_000,
            cached: 200,
            cache_write: 30,
            cache_write_long: 4,
            output: 500,
            reasoning: 120,
            ..Usage::default()
        },
        basis: Basis::Reported,
        cost: PicoUsd(PICO_PER_USD / 4),
        baseline: PicoUsd(PICO_PER_USD),
        cause: Some(Cause::Route),
        cache_discount: PicoUsd(PICO_PER_USD / 16),
        ..Closing::void("a", Outcome::Ok)
    }
}

fn attempt<'a>(opening: &'a Opening, closing: &'a Closing) -> AttemptClosed<'a> {
    AttemptClosed {
        opening,
        closing,
        effort: Effort::Low,
        reasoning_cost: PicoUsd(PICO_PER_USD / 8),
        graded: true,
        probe: Some(ProbePart::Stood),
        capped: true,
        stream: true,
        status: 200,
        ttft: Some(Duration::from_millis(300)),
        decode_tokens_per_second: Some(75.0),
        total: Duration::from_secs(3),
        added: Duration::from_micros(200),
        phases: &PHASES,
        traced: None,
    }
}

fn told() -> Telemetry {
    let telemetry = Telemetry::new("2026-11");
    let list = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    telemetry.known(list(&["small-1"]), list(&["plain"]), list(&["openai"]));
    telemetry.keys(&[KnownKey {
        id: 7,
        team: "red",
        name: "app",
    }]);
    telemetry.tags([("app", "search")]);
    telemetry
}

/// One sample of every family, with the label values that hostile clients would like to see.
fn everything(telemetry: &Telemetry) {
    for n in 0..50 {
        let raw = format!("sk-secret-{n}\"\n{{}}");
        telemetry.decided(&Decided {
            asked: &raw,
            rule: &raw,
            task: "code",
            tier: Tier::Small,
            unknown: None,
            noted: None,
        });
        telemetry.attempt_opened();
        let hostile = Opening {
            request: raw.clone(),
            attempt: raw.clone(),
            provider: raw.clone(),
            model: raw.clone(),
            rule: raw.clone(),
            key: Some(1_000 + n),
            team: raw.clone(),
            tags: vec![(raw.clone(), raw.clone())],
            ..opening()
        };
        telemetry.served(&raw, &raw, || false);
        telemetry.served(&raw, "small-1", || false);
        telemetry.attempt(&attempt(&hostile, &closing()));
        telemetry.upstream_status(&raw, 503);
        telemetry.compared(&raw, Compared::Above);
        telemetry.unpriced_tier(&raw);
        let error = Error::new(Kind::CapReached, raw.clone()).code("flyball_cap");
        telemetry.refused(&Refusal {
            request: &raw,
            error: &error,
        });
        telemetry.shadowed(&raw, ShadowEnd::Judged.name());
        telemetry.upstream_error(&raw, &Error::new(Kind::UpstreamTimeout, raw.clone()));
    }
    telemetry.attempt(&attempt(&opening(), &closing()));
    telemetry.served("auto", "small-1", || false);
    telemetry.turn(Some(TurnChange::Model));
    telemetry.headroom(("openai", Some("team-a")), "tokens", 0.5);
    telemetry.hedged(HedgeEnd::Won.name());
    telemetry.passed_over("anything", "rate_limit");
    telemetry.moved("openai");
    let (provider, channel) = ("openai".to_owned(), "team-a".to_owned());
    telemetry.channels(
        &[ChannelFigures {
            provider: provider.clone(),
            channel: channel.clone(),
            up: true,
            in_flight: 2,
        }],
        &[FirstByteFigures {
            provider,
            channel,
            model: "small-1".to_owned(),
            percentiles: vec![
                ("50", Duration::from_millis(5)),
                ("95", Duration::from_millis(9)),
            ],
            failed: 0.25,
        }],
    );
    telemetry.books(&BooksFigures {
        periods: [PeriodFigures::default(); 6],
        provisional: PicoUsd::ZERO,
        expected: Some(PicoUsd(PICO_PER_USD)),
        interval: Some((PicoUsd::ZERO, PicoUsd(PICO_PER_USD))),
        bytes: 1,
        attempts: 1,
    });
    telemetry.cap_refused(&CapRefusal {
        cap: "key app day",
        scope: "keys",
        only_reserved: true,
    });
    telemetry.caps(&[figures("all day"), figures("key app day")]);
}

fn figures(cap: &str) -> CapFigures {
    let scope = if cap.starts_with("key") {
        "keys"
    } else {
        "global"
    };
    CapFigures {
        cap: cap.into(),
        scope,
        window: "day",
        money: Some(CapMoney {
            limit: PicoUsd(PICO_PER_USD),
            spent: PicoUsd(PICO_PER_USD / 2),
            reserved: PicoUsd(PICO_PER_USD / 8),
        }),
        reset_unix: Some(1_800_000_000),
        exhausted_unix: [Some(1_799_999_000), None, None],
    }
}

/// The value of one sample; panics with the whole text where there is none.
fn value(text: &str, sample: &str) -> f64 {
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {sample} in\n{text}"))
        .parse()
        .expect("a sample is a number")
}

/// Every label's values, without the buckets' bounds.
fn labels(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let Some((_, rest)) = line.split_once('{') else {
            continue;
        };
        let (pairs, _) = rest.rsplit_once('}').expect("labels end");
        for pair in pairs.split("\",") {
            let (name, value) = pair.split_once("=\"").expect("a label is name=\"value\"");
            let values = all.entry(name.to_owned()).or_default();
            values.insert(value.trim_end_matches('"').to_owned());
        }
    }
    all.remove("le");
    all
}

#[test]
fn every_label_has_values_from_a_closed_set_whatever_clients_send() {
    let telemetry = told();
    everything(&telemetry);
    let open =
        |names: &[&str]| -> BTreeSet<String> { names.iter().map(ToString::to_string).collect() };
    let kinds: Vec<&str> = KINDS.into_iter().map(kind_name).collect();
    let dialects: Vec<&str> = crate::dialect::ALL.iter().map(|d| d.name()).collect();
    let sets: BTreeMap<&str, BTreeSet<String>> = BTreeMap::from([
        ("provider", open(&["openai", "other"])),
        ("model", open(&["small-1", "other"])),
        ("rule", open(&["plain", "other"])),
        ("tier", Tier::ALL.map(|t| t.name().to_owned()).into()),
        ("effort", Effort::ALL.map(|e| e.name().to_owned()).into()),
        (
            "task",
            open(&[&Task::ALL.map(Task::name)[..], &["embed", "ungraded"]].concat()),
        ),
        (
            "outcome",
            open(
                &[
                    &Outcome::ALL.map(Outcome::name)[..],
                    &["stands", "escalated", "strong_failed", "failed", "no_room"],
                    &["delivered", "given_up", "refused", "unreachable"],
                ]
                .concat(),
            ),
        ),
        ("basis", open(&Basis::ALL.map(Basis::name))),
        (
            "cause",
            open(
                &[
                    &Cause::LOSSES.map(Cause::name)[..],
                    &Cause::SAVINGS.map(Cause::name),
                ]
                .concat(),
            ),
        ),
        ("cap", open(&["all day", "key app day", "any"])),
        ("period", open(&Period::ALL.map(Period::name))),
        ("bound", open(&["low", "expected", "high"])),
        ("pace", open(&["1h", "6h", "3d"])),
        ("team", open(&["red", "-", "other"])),
        ("key", open(&["app", "local", "other"])),
        ("tag", open(&["app", "other"])),
        ("value", open(&["search", "other"])),
        ("asked", open(&["auto", "small-1", "other"])),
        ("served", open(&["small-1", "other"])),
        ("change", open(&["none", "model", "effort"])),
        ("part", open(&ProbePart::ALL.map(ProbePart::name))),
        ("label", open(&["cap", "key", "tag", "served"])),
        ("simulated", open(&["false", "mixed", "true"])),
        (
            "band",
            open(&[
                "0-0.2", "0.2-0.4", "0.4-0.6", "0.6-0.8", "0.8-1", "ungraded",
            ]),
        ),
        (
            "class",
            open(
                &[
                    &Class::ALL.map(Class::name)[..],
                    &["input", "cached", "cache_write", "output", "reasoning"],
                ]
                .concat(),
            ),
        ),
        ("compared", open(&Compared::ALL.map(Compared::name))),
        ("prompt", open(&["<1k", "1-4k", "4-16k", "16-64k", "64k+"])),
        (
            "phase",
            open(&["total", "read", "decide", "reserve", "settle"]),
        ),
        ("from", open(&dialects)),
        ("to", open(&dialects)),
        ("scope", open(&["global", "keys", "other", "any"])),
        (
            "window",
            open(&["minute", "hour", "day", "week", "month", "total"]),
        ),
        (
            "reason",
            open(&[
                "full",
                "reserved",
                "no_price",
                "unbounded",
                "frozen",
                "unreachable",
                "refused",
                "repeats",
                "failures",
                "session",
                "down",
                "rate_limit",
            ]),
        ),
        (
            "kind",
            open(&[&kinds[..], &["429", "4xx", "5xx", "requests", "tokens"]].concat()),
        ),
        (
            "result",
            open(
                &[
                    &["ok", "refused"][..],
                    &CacheResult::ALL.map(CacheResult::name),
                    &ShadowEnd::ALL.map(ShadowEnd::name),
                    &HedgeEnd::ALL.map(HedgeEnd::name),
                ]
                .concat(),
            ),
        ),
        ("channel", open(&["team-a"])),
        ("percentile", open(&["50", "95"])),
        ("event", open(&["begun", "settled", "at_bound"])),
        (
            "state",
            open(&[
                "validating",
                "failed",
                "in_progress",
                "cancelling",
                "completed",
                "expired",
                "cancelled",
            ]),
        ),
        (
            "end",
            open(&["waiting", "sent", "done", "failed", "expired", "cancelled"]),
        ),
        ("version", open(&[env!("CARGO_PKG_VERSION")])),
        ("prices", open(&["2026-11"])),
    ]);
    for (label, values) in labels(&telemetry.encode()) {
        let set = sets.get(label.as_str());
        let set = set.unwrap_or_else(|| panic!("the label {label} has no closed set"));
        let strange: Vec<_> = values.difference(set).collect();
        assert!(strange.is_empty(), "{label}: {strange:?}");
    }
    // One family speaks of secrets in its own words.
    let text = telemetry.encode();
    let mut others = text
        .lines()
        .filter(|l| !l.contains("flyball_private_requests_total"));
    assert!(others.all(|line| !line.contains("secret")));
}

#[test]
fn the_exposition_says_of_every_family_what_it_is() {
    let telemetry = told();
    everything(&telemetry);
    let text = telemetry.encode();
    let mut kinds = BTreeMap::new();
    let mut helped = BTreeSet::new();
    for line in text.lines() {
        match line.splitn(4, ' ').collect::<Vec<_>>()[..] {
            ["#", "HELP", name, help] => {
                assert!(help.ends_with('.'), "{name}: {help}");
                assert!(helped.insert(name), "{name} has two HELP lines");
            }
            ["#", "TYPE", name, kind] => {
                assert!(helped.contains(name), "{name} has no HELP before its TYPE");
                assert!(kinds.insert(name, kind).is_none(), "{name} is there twice");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            }
            _ => {
                let sample = line.split(['{', ' ']).next().expect("a sample has a name");
                let family = ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|end| sample.strip_suffix(end).filter(|f| kinds.contains_key(f)));
                assert!(kinds.contains_key(family.unwrap_or(sample)), "{line}");
            }
        }
    }
    let ours = kinds.keys().filter(|n| n.starts_with("flyball_")).count();
    assert_eq!(ours, 81, "{kinds:?}");
}

#[test]
fn an_attempt_is_counted_in_money_tokens_and_time() {
    let telemetry = told();
    telemetry.attempt_opened();
    telemetry.attempt(&attempt(&opening(), &closing()));
    let text = telemetry.encode();
    let arm = r#"effort="low",model="small-1",provider="openai",tier="small""#;
    for (sample, expected) in [
        (format!("flyball_cost_usd_total{{{arm}}}"), 0.25),
        (format!("flyball_baseline_usd_total{{{arm}}}"), 1.0),
        (
            r#"flyball_saved_usd_total{effort="low",tier="small"}"#.into(),
            0.75,
        ),
        (
            r#"flyball_lost_usd_total{effort="low",tier="small"}"#.into(),
            0.0,
        ),
        (r#"flyball_savings_usd_total{cause="route"}"#.into(), 0.75),
        (r#"flyball_savings_usd_total{cause="effort"}"#.into(), 0.0),
        (
            r#"flyball_spend_usd_total{key="app",team="red"}"#.into(),
            0.25,
        ),
        (
            r#"flyball_spend_baseline_usd_total{key="app",team="red"}"#.into(),
            1.0,
        ),
        (
            r#"flyball_tag_spend_usd_total{tag="app",value="search"}"#.into(),
            0.25,
        ),
        (
            r#"flyball_reasoning_tokens_total{band="0.6-0.8",task="code"}"#.into(),
            120.0,
        ),
        (
            r#"flyball_reasoning_usd_total{band="0.6-0.8",task="code"}"#.into(),
            0.125,
        ),
        (
            r#"flyball_cached_usd_total{model="small-1"}"#.into(),
            0.0625,
        ),
        (
            r#"flyball_model_attempts_total{model="small-1",outcome="ok"}"#.into(),
            1.0,
        ),
        (
            r#"flyball_probe_usd_total{model="small-1",part="stood"}"#.into(),
            0.25,
        ),
        (r#"flyball_task_cost_usd_total{task="code"}"#.into(), 0.25),
        (r#"flyball_rule_cost_usd_total{rule="plain"}"#.into(), 0.25),
        (
            r#"flyball_tokens_total{class="input",model="small-1"}"#.into(),
            1_000.0,
        ),
        (
            r#"flyball_tokens_total{class="cached",model="small-1"}"#.into(),
            200.0,
        ),
        (
            r#"flyball_tokens_total{class="cache_write",model="small-1"}"#.into(),
            34.0,
        ),
        (
            r#"flyball_tokens_total{class="output",model="small-1"}"#.into(),
            380.0,
        ),
        (
            r#"flyball_tokens_total{class="reasoning",model="small-1"}"#.into(),
            120.0,
        ),
        (
            r#"flyball_requests_total{effort="low",outcome="ok",tier="small"}"#.into(),
            1.0,
        ),
        (r#"flyball_cost_basis_total{basis="reported"}"#.into(), 1.0),
        (
            r#"flyball_ttft_seconds_count{model="small-1",prompt="1-4k"}"#.into(),
            1.0,
        ),
        (
            r#"flyball_decode_tokens_per_second_sum{model="small-1"}"#.into(),
            75.0,
        ),
        (
            r#"flyball_added_latency_seconds_count{phase="decide"}"#.into(),
            1.0,
        ),
        (
            r#"flyball_added_latency_seconds_bucket{phase="total",le="0.0002"}"#.into(),
            1.0,
        ),
        ("flyball_attempts_open".into(), 0.0),
    ] {
        assert!((value(&text, &sample) - expected).abs() < 1e-12, "{sample}");
    }
}

#[test]
fn a_bad_route_is_a_loss_and_never_a_negative_saving() {
    let telemetry = told();
    let dear = Closing {
        cost: PicoUsd(PICO_PER_USD),
        baseline: PicoUsd(PICO_PER_USD / 4),
        ..closing()
    };
    telemetry.attempt(&attempt(&opening(), &dear));
    let text = telemetry.encode();
    let of = |name: &str| value(&text, &format!(r#"{name}{{effort="low",tier="small"}}"#));
    assert!(of("flyball_saved_usd_total").abs() < 1e-12);
    assert!((of("flyball_lost_usd_total") - 0.75).abs() < 1e-12);
}

#[test]
fn numbers_that_make_no_sense_do_not_spoil_the_sums() {
    let telemetry = told();
    for rate in [f64::NAN, f64::INFINITY, 10.0] {
        let strange = Closing {
            usage: Usage {
                output: 7,
                reasoning: 9,
                anomaly: true,
                ..Usage::default()
            },
            ..closing()
        };
        telemetry.attempt(&AttemptClosed {
            decode_tokens_per_second: Some(rate),
            ..attempt(&opening(), &strange)
        });
    }
    let text = telemetry.encode();
    for (sample, expected) in [
        (
            r#"flyball_decode_tokens_per_second_sum{model="small-1"}"#,
            10.0,
        ),
        (
            r#"flyball_tokens_total{class="output",model="small-1"}"#,
            0.0,
        ),
        (
            r#"flyball_tokens_total{class="reasoning",model="small-1"}"#,
            21.0,
        ),
        (r#"flyball_usage_anomalies_total{provider="openai"}"#, 3.0),
    ] {
        assert!((value(&text, sample) - expected).abs() < 1e-12, "{sample}");
    }
}

#[test]
fn what_can_exist_from_the_start_begins_at_zero() {
    let telemetry = told();
    telemetry.known_arms([KnownArm {
        provider: "openai",
        model: "small-1",
        tier: Tier::Small,
        effort: Effort::Low,
    }]);
    let text = telemetry.encode();
    for sample in [
        r#"flyball_cost_usd_total{effort="low",model="small-1",provider="openai",tier="small"}"#,
        r#"flyball_baseline_usd_total{effort="low",model="small-1",provider="openai",tier="small"}"#,
        r#"flyball_requests_total{effort="max",outcome="ok",tier="reasoning"}"#,
        r#"flyball_tokens_total{class="input",model="small-1"}"#,
        r#"flyball_dropped_fields_total{from="openai_chat",to="anthropic_messages"}"#,
        r#"flyball_cap_refusals_total{cap="any",reason="frozen",scope="any"}"#,
        r#"flyball_spend_usd_total{key="app",team="red"}"#,
        r#"flyball_spend_usd_total{key="local",team="-"}"#,
        r#"flyball_spend_usd_total{key="other",team="other"}"#,
        r#"flyball_tag_spend_usd_total{tag="app",value="search"}"#,
        r#"flyball_reasoning_usd_total{band="0-0.2",task="translate"}"#,
        r#"flyball_savings_usd_total{cause="prompt_cache"}"#,
        r#"flyball_served_total{asked="auto",served="small-1"}"#,
        r#"flyball_conversation_turns_total{change="model"}"#,
        r#"flyball_probe_usd_total{model="small-1",part="escalated"}"#,
        r#"flyball_folded_total{label="key"}"#,
        "flyball_reload_failed",
        r#"flyball_refusals_total{kind="private"}"#,
        "flyball_overruns_total",
        "flyball_bound_excess_usd_total",
        "flyball_streams_open",
    ] {
        assert!(value(&text, sample).abs() < 1e-12, "{sample}");
    }
    assert!((value(&text, "flyball_ledger_up") - 1.0).abs() < 1e-12);
}

#[test]
fn a_cap_that_is_gone_is_no_longer_shown() {
    let telemetry = told();
    telemetry.caps(&[figures("all day"), figures("key app day")]);
    let full = r#"flyball_cap_refusals_total{cap="all day",reason="full",scope="global"}"#;
    assert!(value(&telemetry.encode(), full).abs() < 1e-12);
    telemetry.caps(&[figures("key app day")]);
    let text = telemetry.encode();
    let spent = r#"flyball_cap_spent_usd{cap="key app day",scope="keys",window="day"}"#;
    assert!((value(&text, spent) - 0.5).abs() < 1e-12);
    assert!(!text.contains("all day"), "{text}");
}

#[test]
fn another_price_catalogue_replaces_the_old_one() {
    let telemetry = told();
    let prices = KnownPrices {
        version: "2026-12",
        made_unix: Some(1_764_000_000),
    };
    telemetry.prices(prices, SimulatedModels::among([true, false]));
    let text = telemetry.encode();
    assert!(text.contains(r#"simulated="mixed""#), "{text}");
    assert!(text.contains(r#"prices="2026-12""#));
    assert!(!text.contains(r#"prices="2026-11""#));
}

#[test]
fn a_reload_forgets_names_that_are_no_longer_known() {
    let telemetry = told();
    telemetry.known(vec!["small-2".into()], Vec::new(), Vec::new());
    telemetry.attempt(&attempt(&opening(), &closing()));
    let text = telemetry.encode();
    let old = r#"flyball_tokens_total{class="input",model="small-1"}"#;
    let other = r#"flyball_tokens_total{class="input",model="other"}"#;
    assert!(value(&text, old).abs() < 1e-12);
    assert!((value(&text, other) - 1_000.0).abs() < 1e-12);
}

/// A key, a cap and a tag for each of so many names, and what is counted apart of them.
#[test]
fn a_hundred_thousand_hostile_values_stay_within_the_limits_and_are_counted() {
    let telemetry = told();
    let before = telemetry.encode().lines().count();
    let long = "\u{e4}\"\n\\{}".repeat(1_500);
    let names: Vec<String> = (0..100_000)
        .map(|n| format!("{n}{}", &long[..n % 3 * 6]))
        .collect();
    let ids = 0..i64::MAX;
    let keys = ids.zip(&names).map(|(id, name)| KnownKey {
        id,
        team: name,
        name,
    });
    telemetry.keys(&keys.collect::<Vec<_>>());
    telemetry.tags(names.iter().map(|name| (name.as_str(), name.as_str())));
    telemetry.caps(&names.iter().map(|name| figures(name)).collect::<Vec<_>>());
    for (id, name) in (0..).zip(&names) {
        telemetry.served(name, "small-1", || true);
        telemetry.served(name, name, || false);
        telemetry.cap_refused(&CapRefusal {
            cap: name,
            scope: "keys",
            only_reserved: false,
        });
        let hostile = Opening {
            key: Some(id),
            model: name.clone(),
            provider: name.clone(),
            rule: name.clone(),
            tags: vec![(name.clone(), name.clone())],
            ..opening()
        };
        telemetry.attempt(&attempt(&hostile, &closing()));
    }
    telemetry.keys(&[]);
    let text = telemetry.encode();
    assert!(
        text.lines().count() < before + 3_000,
        "{}",
        text.lines().count()
    );
    assert!(text.len() < 1_000_000, "{}", text.len());
    for (label, least) in [
        ("key", 99_900),
        ("tag", 99_899),
        ("cap", 99_800),
        ("served", 99_500),
    ] {
        let folded = value(&text, &format!("flyball_folded_total{{label=\"{label}\"}}"));
        assert!((folded - f64::from(least)).abs() < 1.5, "{label}: {folded}");
    }
    let spent: f64 = text
        .lines()
        .filter(|l| l.starts_with("flyball_tag_spend_usd_total{"))
        .map(|l| {
            l.rsplit_once(' ')
                .expect("a value")
                .1
                .parse::<f64>()
                .expect("a number")
        })
        .sum();
    assert!((spent - 25_000.0).abs() < 1e-6, "nothing is lost: {spent}");
}

/// The words of one label must not run into those of the next.
#[test]
fn teams_and_keys_whose_names_read_alike_side_by_side_are_two() {
    let telemetry = told();
    let key = |id, team, name| KnownKey { id, team, name };
    telemetry.keys(&[key(1, "ab", "c"), key(2, "a", "bc")]);
    let own = Opening {
        key: Some(1),
        ..opening()
    };
    telemetry.attempt(&attempt(&own, &closing()));
    let text = telemetry.encode();
    for (sample, expected) in [
        (r#"flyball_spend_usd_total{key="c",team="ab"}"#, 0.25),
        (r#"flyball_spend_usd_total{key="bc",team="a"}"#, 0.0),
    ] {
        assert!((value(&text, sample) - expected).abs() < 1e-12, "{sample}");
    }
}
