//! Traces and metrics as a scripted OpenTelemetry collector gets them.

mod collector;
pub use collector::Collector;
mod failing;
mod privacy;

use crate::client::{self, send};
use crate::flyball::{Flyball, compatible, make_key};
use crate::probing;
use crate::scripted::{
    Step, Upstream, answer, chat, chat_stream, delta, end, finish, piece, stream_head,
};
use collector::Shown;
use serde_json::json;

const ASK: &str = r#"{"model":"m-small","messages":[{"role":"user","content":"hello"}]}"#;
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A flyball in front of this provider, which exports to a collector that takes everything.
async fn started(upstream: &Upstream, more: &str) -> (Collector, Flyball) {
    let collector = Collector::start().await;
    let config = format!("{}\n{}", compatible(upstream), collector.table(more));
    (collector, Flyball::start(&config).await)
}

fn streamed() -> String {
    ASK.replacen('{', r#"{"stream":true,"#, 1)
}

#[tokio::test]
async fn a_whole_exchange_is_a_span_of_the_server_and_its_attempt_one_of_a_client() {
    let upstream = Upstream::start(answer(200, &chat(40, 8))).await;
    let (collector, flyball) = started(&upstream, "").await;
    let got = flyball.chat(&[], ASK).await;
    let id = got
        .header("x-flyball-request-id")
        .expect("an id")
        .to_owned();
    flyball.stop().await;
    let spans = collector.spans();
    let [attempt, exchange] = &spans[..] else {
        panic!("{spans:#?}")
    };
    // Whoever has a request's id has its trace.
    assert_eq!(exchange.trace, id.replace('-', ""));
    assert_eq!(attempt.trace, exchange.trace);
    assert_eq!((&*exchange.parent, exchange.kind), ("", "server"));
    assert_eq!((&attempt.parent, attempt.kind), (&exchange.id, "client"));
    assert_eq!(exchange.name, "POST completion");
    assert_eq!(attempt.name, "chat m-small");
    assert!(!exchange.failed && !attempt.failed);
    assert!(attempt.starts >= exchange.starts && attempt.ends <= exchange.ends);
    assert!(attempt.ends >= attempt.starts);
    for (key, value) in [
        ("http.request.method", json!("POST")),
        ("http.response.status_code", json!(200)),
        ("flyball.request_id", json!(id)),
        ("flyball.call", json!("completion")),
        ("flyball.dialect", json!("openai_chat")),
        ("gen_ai.request.model", json!("m-small")),
        ("flyball.rule", json!("asked")),
        ("flyball.task", json!("ungraded")),
        ("flyball.tier", json!("small")),
        ("flyball.attempts", json!(1)),
        ("flyball.model", json!("m-small")),
        ("flyball.provider", json!("up")),
        ("flyball.cost_usd", json!(0.00012)),
        ("flyball.baseline_usd", json!(0.00012)),
        ("flyball.saved_usd", json!(0.0)),
    ] {
        assert_eq!(exchange.attributes.get(key), Some(&value), "{key}");
    }
    for (key, value) in [
        ("gen_ai.operation.name", json!("chat")),
        ("gen_ai.provider.name", json!("openai-compatible")),
        ("gen_ai.request.model", json!("m-small")),
        ("gen_ai.request.stream", json!(false)),
        ("gen_ai.response.model", json!("m-up")),
        ("gen_ai.response.finish_reasons", json!(["stop"])),
        ("gen_ai.usage.input_tokens", json!(40)),
        ("gen_ai.usage.output_tokens", json!(8)),
        ("gen_ai.usage.cache_read.input_tokens", json!(0)),
        ("gen_ai.usage.cache_write.input_tokens", json!(0)),
        ("gen_ai.usage.cache_creation.input_tokens", json!(0)),
        ("gen_ai.usage.reasoning.output_tokens", json!(0)),
        ("server.address", json!("127.0.0.1")),
        ("server.port", json!(upstream.address.port())),
        ("http.response.status_code", json!(200)),
        ("flyball.request_id", json!(id)),
        ("flyball.provider", json!("up")),
        ("flyball.rule", json!("asked")),
        ("flyball.outcome", json!("ok")),
        ("flyball.basis", json!("reported")),
        ("flyball.cost_usd", json!(0.00012)),
        ("flyball.simulated", json!(false)),
    ] {
        assert_eq!(attempt.attributes.get(key), Some(&value), "{key}");
    }
    // What was used stands on the attempt alone, so that a sum over all spans is right.
    let used = |span: &Shown| {
        span.attributes
            .keys()
            .any(|k| k.starts_with("gen_ai.usage"))
    };
    assert!(used(attempt) && !used(exchange));
    for resource in collector.resources() {
        assert_eq!(resource["service.name"], "flyball");
        assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    }
}

#[tokio::test]
async fn a_stream_is_told_with_its_first_token_and_ends_with_its_last() {
    let upstream = Upstream::start(chat_stream(&["a", "b"], 40, 8)).await;
    let (collector, flyball) = started(&upstream, "").await;
    flyball.chat(&[], &streamed()).await;
    flyball.stop().await;
    let spans = collector.spans();
    let [attempt, exchange] = &spans[..] else {
        panic!("{spans:#?}")
    };
    let attributes = &attempt.attributes;
    assert_eq!(attributes["gen_ai.request.stream"], json!(true));
    let first = &attributes["gen_ai.response.time_to_first_chunk"];
    assert!(first.as_f64().expect("seconds") > 0.0);
    assert_eq!(attributes["gen_ai.response.model"], json!("m-up"));
    assert_eq!(attempt.ends, exchange.ends);
    assert_eq!(exchange.attributes["http.response.status_code"], json!(200));
    assert_eq!(exchange.attributes["flyball.cost_usd"], json!(0.00012));
}

#[tokio::test]
async fn a_stream_that_breaks_off_and_a_client_that_leaves_are_told_as_that() {
    let upstream = Upstream::start(vec![stream_head(), piece(&delta("a")), Step::Reset]).await;
    let (collector, flyball) = started(&upstream, "").await;
    flyball.chat(&[], &streamed()).await;
    upstream.next(vec![stream_head(), piece(&delta("a")), Step::Stall]);
    let mut call = send(flyball.at(), "/v1/chat/completions", &[], &streamed()).await;
    call.until("\"a\"").await;
    drop(call);
    upstream.peer_closed().await;
    flyball.rows().await;
    flyball.stop().await;
    let of = |kind: &str, error: &str| {
        let spans = collector.spans();
        let mut found = spans.into_iter().filter(|s| {
            s.kind == kind && s.attributes.get("error.type").is_some_and(|e| e == error)
        });
        found.next()
    };
    let cut = of("server", "stream_cut").expect("the broken stream");
    assert!(cut.failed);
    assert!(of("client", "stream_cut").expect("its attempt").failed);
    let gone = of("server", "client_gone").expect("the client that left");
    assert!(!gone.failed);
    assert!(of("client", "client_gone").is_none());
}

#[tokio::test]
async fn both_attempts_of_an_escalation_are_children_of_the_exchange() {
    let upstream = Upstream::start(answer(200, &chat(40, 8))).await;
    upstream.next(answer(200, &probing::unsure()));
    let collector = Collector::start().await;
    let config = format!("{}\n{}", probing::config(&upstream), collector.table(""));
    let flyball = Flyball::start_in(probing::folder(), &config).await;
    let got = flyball.chat(&[], probing::ASK).await;
    assert_eq!(got.header("x-flyball-probe"), Some("escalated"));
    flyball.stop().await;
    let spans = collector.spans();
    let exchange = spans.iter().find(|s| s.kind == "server").expect("one");
    let attempts: Vec<&Shown> = spans.iter().filter(|s| s.kind == "client").collect();
    assert_eq!(attempts.len(), 2, "{spans:#?}");
    for attempt in &attempts {
        assert_eq!(attempt.parent, exchange.id);
        assert_eq!(attempt.trace, exchange.trace);
        assert_eq!(attempt.attributes["flyball.rule"], json!("strong"));
        assert!(!attempt.failed);
    }
    let model = |name: &str| {
        let mut found = attempts.iter();
        let found = found.find(|a| a.attributes["gen_ai.request.model"] == name);
        &found.expect("an attempt").attributes
    };
    let (small, big) = (model("m-small"), model("m-big"));
    assert_eq!(small["flyball.outcome"], json!("escalated"));
    assert_eq!(small["flyball.lost_by"], json!("escalated"));
    assert_eq!(big["flyball.escalated_from"], small["flyball.attempt_id"]);
    assert_eq!(big["flyball.effort"], json!("low"));
    let told = &exchange.attributes;
    assert_eq!(told["gen_ai.request.model"], json!("auto"));
    assert_eq!(told["flyball.model"], json!("m-big"));
    assert_eq!(told["flyball.attempts"], json!(2));
    let difficulty = told["flyball.difficulty"].as_f64().expect("a number");
    assert!((0.0..=1.0).contains(&difficulty));
    let cost = |of: &serde_json::Map<String, serde_json::Value>| of["flyball.cost_usd"].as_f64();
    let both = cost(small).zip(cost(big)).map(|(a, b)| a + b);
    let apart = both.zip(cost(told)).map(|(a, b)| (a - b).abs());
    assert!(apart.expect("dollars") < 1e-12);
}

#[tokio::test]
async fn a_refusal_says_why_and_a_provider_that_fails_is_told_on_its_attempt() {
    let upstream = Upstream::start(answer(500, r#"{"error":{"message":"no"}}"#)).await;
    let (collector, flyball) = started(&upstream, "").await;
    assert_eq!(flyball.chat(&[], ASK).await.status, 500);
    assert_eq!(flyball.chat(&[], "{").await.status, 400);
    let nowhere = client::get(flyball.at(), "/nowhere", &[]).await;
    assert_eq!(nowhere.status, 404);
    flyball.rows().await;
    flyball.stop().await;
    let spans = collector.spans();
    let of = |status: u16, kind: &str| {
        let told = |s: &&Shown| {
            s.kind == kind && s.attributes["http.response.status_code"] == json!(status)
        };
        let found = spans.iter().find(told);
        found.unwrap_or_else(|| panic!("{status} {kind}: {spans:#?}"))
    };
    let attempt = of(500, "client");
    assert_eq!(attempt.attributes["error.type"], json!("500"));
    assert!(attempt.failed && of(500, "server").failed);
    let bad = of(400, "server");
    assert_eq!(bad.attributes["error.type"], json!("bad_request"));
    assert!(!bad.failed, "the client's own fault");
    let nowhere = of(404, "server");
    assert_eq!(nowhere.name, "GET look");
    assert_eq!(nowhere.attributes["error.type"], json!("not_found"));
}

#[tokio::test]
async fn a_cap_without_room_is_told_by_its_kind() {
    let upstream = Upstream::start(answer(200, &chat(40, 8))).await;
    let collector = Collector::start().await;
    let config = format!("{}\n{}", compatible(&upstream), collector.table(""));
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "app", Some("0.000001"), |_| {});
    let flyball = Flyball::start_in(dir, &config).await;
    let auth = [("authorization", "Bearer fb_app")];
    assert_eq!(flyball.chat(&auth, ASK).await.status, 402);
    flyball.stop().await;
    let spans = collector.spans();
    assert_eq!(spans.len(), 1, "{spans:#?}");
    let told = &spans[0].attributes;
    assert_eq!(told["error.type"], json!("cap"));
    assert_eq!(told["http.response.status_code"], json!(402));
    assert_eq!(told["flyball.attempts"], json!(0));
}

#[tokio::test]
async fn a_clients_trace_is_gone_on_with_and_its_decision_holds() {
    let upstream = Upstream::start(answer(200, &chat(40, 8))).await;
    let (collector, flyball) = started(&upstream, "sample = 0.0").await;
    let told = [("traceparent", PARENT), ("tracestate", "a=1")];
    flyball.chat(&told, ASK).await;
    let unsampled = PARENT.replace("-01", "-00");
    flyball.chat(&[("traceparent", &unsampled)], ASK).await;
    flyball.chat(&[], ASK).await;
    flyball.stop().await;
    let spans = collector.spans();
    assert_eq!(spans.len(), 2, "{spans:#?}");
    for span in &spans {
        assert_eq!(span.trace, "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(span.state, "a=1");
    }
    let exchange = spans.iter().find(|s| s.kind == "server").expect("one");
    assert_eq!(exchange.parent, "00f067aa0ba902b7");
    // What is not traced is measured all the same.
    assert_eq!(collector.count("http.server.request.duration"), 3);
}

#[tokio::test]
async fn a_provider_hears_what_the_client_has_said_of_its_trace_and_nothing_else() {
    let upstream = Upstream::start(answer(200, &chat(40, 8))).await;
    let (_collector, flyball) = started(&upstream, "").await;
    flyball.chat(&[("traceparent", PARENT)], ASK).await;
    flyball.chat(&[], ASK).await;
    let seen = upstream.seen();
    assert_eq!(seen[0].header("traceparent").as_deref(), Some(PARENT));
    assert_eq!(seen[1].header("traceparent"), None);
}

#[tokio::test]
async fn a_provider_that_is_named_hears_of_the_attempts_own_span() {
    let upstream = Upstream::start(answer(200, &chat(40, 8))).await;
    let (collector, flyball) = started(&upstream, "propagate = [\"u*\"]").await;
    let told = [("traceparent", PARENT), ("tracestate", "a=1")];
    flyball.chat(&told, ASK).await;
    flyball
        .chat(&[("traceparent", "nonsense"), ("tracestate", "b=2")], ASK)
        .await;
    // To another dialect no header of the client's goes.
    let other =
        r#"{"model":"m-small","max_tokens":50,"messages":[{"role":"user","content":"hello"}]}"#;
    let version = ("anthropic-version", "2023-06-01");
    let told = [told[0], told[1], version];
    client::post(flyball.at(), "/v1/messages", &told, other).await;
    flyball.stop().await;
    let spans = collector.spans();
    let attempts: Vec<&Shown> = spans.iter().filter(|s| s.kind == "client").collect();
    assert_eq!(attempts.len(), 3, "{spans:#?}");
    for (seen, state) in upstream.seen().iter().zip([Some("a=1"), None, Some("a=1")]) {
        let said = seen.header("traceparent").expect("it is told");
        let known = |a: &&Shown| said == format!("00-{}-{}-01", a.trace, a.id);
        assert!(attempts.iter().any(known), "{said}: {attempts:#?}");
        assert_eq!(seen.header("tracestate").as_deref(), state);
    }
}

#[tokio::test]
async fn metrics_have_the_conventions_names_and_flyballs_money() {
    let upstream = Upstream::start(answer(200, &chat(40, 8))).await;
    let (collector, flyball) = started(&upstream, "").await;
    flyball.chat(&[], ASK).await;
    flyball.chat(&[], ASK).await;
    upstream.next(chat_stream(&["a", "b"], 40, 8));
    flyball.chat(&[], &streamed()).await;
    flyball.stop().await;
    for (name, unit, count) in [
        ("http.server.request.duration", "s", 3),
        ("gen_ai.client.operation.duration", "s", 3),
        ("gen_ai.client.operation.time_to_first_chunk", "s", 1),
        ("gen_ai.client.inference.duration", "s", 3),
        ("gen_ai.client.inference.time_to_first_chunk", "s", 1),
        ("gen_ai.client.token.usage", "{token}", 6),
    ] {
        assert_eq!(collector.count(name), count, "{name}");
        assert_eq!(collector.unit(name), unit, "{name}");
    }
    for (name, unit, sum) in [
        (
            "gen_ai.client.inference.usage.input_tokens",
            "{token}",
            120.0,
        ),
        (
            "gen_ai.client.inference.usage.output_tokens",
            "{token}",
            24.0,
        ),
        ("flyball.cost", "USD", 0.00036),
        ("flyball.baseline", "USD", 0.00036),
    ] {
        assert!((collector.sum(name) - sum).abs() < 1e-12, "{name}");
        assert_eq!(collector.unit(name), unit, "{name}");
    }
    let labels = collector.labels("gen_ai.client.operation.duration");
    assert_eq!(labels["gen_ai.operation.name"], json!("chat"));
    assert_eq!(labels["gen_ai.provider.name"], json!("openai-compatible"));
    assert_eq!(labels["gen_ai.request.model"], json!("m-small"));
    assert_eq!(labels["flyball.provider"], json!("up"));
}

#[tokio::test]
async fn either_signal_and_either_set_of_names_can_be_left_out() {
    let upstream = Upstream::start(answer(200, &chat(40, 8))).await;
    let (collector, flyball) = started(&upstream, "metrics = false\nnames = \"new\"").await;
    flyball.chat(&[], ASK).await;
    flyball.stop().await;
    assert!(!collector.has_metrics());
    let spans = collector.spans();
    let told = |key: &str| spans.iter().any(|s| s.attributes.contains_key(key));
    assert!(told("gen_ai.usage.cache_write.input_tokens"));
    assert!(!told("gen_ai.usage.cache_creation.input_tokens"));

    let (collector, flyball) = started(&upstream, "traces = false\nnames = \"old\"").await;
    flyball.chat(&[("traceparent", PARENT)], ASK).await;
    flyball.stop().await;
    assert_eq!(collector.spans().len(), 0);
    assert_eq!(collector.count("gen_ai.client.operation.duration"), 1);
    assert_eq!(collector.count("gen_ai.client.inference.duration"), 0);
}

#[tokio::test]
async fn names_that_clients_make_up_are_no_labels() {
    let upstream = Upstream::start(answer(200, &chat(40, 8))).await;
    let (collector, flyball) = started(&upstream, "").await;
    for n in 0..20 {
        let body = format!(r#"{{"model":"made-up-{n}","messages":[]}}"#);
        client::post(flyball.at(), "/p/up/v1/chat/completions", &[], &body).await;
    }
    flyball.rows().await;
    flyball.stop().await;
    let labels = collector.all_labels();
    assert!(!labels.is_empty());
    assert!(!labels.iter().any(|l| l.contains("made-up")), "{labels:#?}");
}

#[tokio::test]
async fn spans_come_while_it_runs_and_an_exchange_does_not_wait_for_its_job() {
    let upstream = Upstream::start(answer(
        200,
        r#"{"id":"resp_1","object":"response","status":"queued","background":true,"model":"m-o","output":[],"usage":null,"error":null}"#,
    ))
    .await;
    let collector = Collector::start().await;
    let config = format!(
        "[[provider]]\nname = \"o\"\nkind = \"openai\"\nbase_url = \"{}\"\napi_key = \"file:key\"\n\n[[model]]\nname = \"m-o\"\nprovider = \"o\"\ntier = \"small\"\nefforts = []\ninput_usd_per_mtok = 10\noutput_usd_per_mtok = 100\n{}",
        upstream.url(),
        collector.table("")
    );
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
    let flyball = Flyball::start_in(dir, &config).await;
    let ask = r#"{"model":"m-o","input":"Prove it all","background":true}"#;
    let got = client::post(flyball.at(), "/v1/responses", &[], ask).await;
    assert_eq!(got.status, 200, "{}", got.body);
    collector.has_spans(1).await;
    let exchange = collector.spans();
    assert_eq!(exchange[0].kind, "server");
    flyball.stop().await;
    let spans = collector.spans();
    assert_eq!(spans.len(), 2, "{spans:#?}");
    let attempt = &spans[1].attributes;
    assert_eq!(attempt["gen_ai.operation.name"], json!("chat"));
    assert_eq!(spans[1].parent, exchange[0].id);
}

#[tokio::test]
async fn long_streams_and_many_at_once_are_all_told() {
    let long: Vec<Step> = std::iter::once(stream_head())
        .chain((0..200).map(|_| piece(&delta("word "))))
        .chain(finish(40, 8).iter().map(|e| piece(e)))
        .chain([end()])
        .collect();
    let upstream = Upstream::start(long).await;
    let (collector, flyball) = started(&upstream, "").await;
    let body = streamed();
    let calls = (0..50).map(|_| flyball.chat(&[], &body));
    futures_util::future::join_all(calls).await;
    let metrics = flyball.metrics().await;
    flyball.stop().await;
    let spans = collector.spans();
    assert_eq!(spans.len(), 100);
    let traces: std::collections::BTreeSet<_> = spans.iter().map(|s| &s.trace).collect();
    assert_eq!(traces.len(), 50);
    assert!(metrics.contains("flyball_otlp_dropped_total{reason=\"full\"} 0"));
}
