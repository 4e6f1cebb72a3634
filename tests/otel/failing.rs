//! A collector that is dead, slow, or refuses: requests do not notice.

use super::collector::Collector;
use super::{ASK, started};
use crate::flyball::{Flyball, compatible};
use crate::scripted::{Nobody, Step, Upstream, answer, chat};
use crate::until::until_asked;

/// The figure of this metric with this reason.
async fn dropped(flyball: &Flyball, reason: &str) -> u64 {
    let metrics = flyball.metrics().await;
    let name = format!("flyball_otlp_dropped_total{{reason=\"{reason}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.expect("the metric").parse().expect("a number")
}

async fn drops(flyball: &Flyball, reason: &str, least: u64) {
    let what = format!("{least} spans are counted as {reason}");
    until_asked(&what, async || dropped(flyball, reason).await >= least).await;
}

async fn exporting_to(url: &str, more: &str) -> (Upstream, Flyball) {
    let upstream = Upstream::start(answer(200, &chat(40, 8))).await;
    let models = compatible(&upstream);
    let config = format!("{models}\n[otlp]\nendpoint = \"{url}\"\n{more}\n");
    (upstream, Flyball::start(&config).await)
}

#[tokio::test]
async fn where_nobody_listens_requests_go_on_and_what_is_lost_is_counted() {
    let nobody = Nobody::new();
    let (_upstream, flyball) = exporting_to(&nobody.url(), "queue = 4").await;
    for _ in 0..6 {
        assert_eq!(flyball.chat(&[], ASK).await.status, 200);
    }
    // Two spans for each request, of which four may wait.
    drops(&flyball, "full", 8).await;
    assert_eq!(dropped(&flyball, "full").await, 8);
    let state = flyball.running.state.clone();
    flyball.stop().await;
    let metrics = state.telemetry.encode();
    assert!(metrics.contains("flyball_otlp_dropped_total{reason=\"unreachable\"} 4"));
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_up_neither_requests_nor_the_end() {
    let collector = Collector::that(vec![Step::Stall]).await;
    let url = collector.server.url();
    let (_upstream, flyball) = exporting_to(&url, "queue = 10").await;
    assert_eq!(flyball.chat(&[], ASK).await.status, 200);
    collector.server.stalling().await;
    // One batch is on its way for good, and still everybody is served.
    for _ in 0..20 {
        assert_eq!(flyball.chat(&[], ASK).await.status, 200);
    }
    drops(&flyball, "full", 32).await;
    let state = flyball.running.state.clone();
    flyball.stop().await;
    let metrics = state.telemetry.encode();
    assert!(metrics.contains("flyball_otlp_dropped_total{reason=\"unreachable\"} 10"));
}

#[tokio::test]
async fn a_collector_that_refuses_is_not_asked_again_with_the_same() {
    let collector = Collector::that(answer(401, "who are you?")).await;
    let url = collector.server.url();
    let (_upstream, flyball) = exporting_to(&url, "metrics = false").await;
    flyball.chat(&[], ASK).await;
    drops(&flyball, "refused", 2).await;
    flyball.stop().await;
    assert_eq!(collector.spans().len(), 2);
}

#[tokio::test]
async fn a_collector_that_is_busy_is_sent_the_same_again() {
    let collector = Collector::start().await;
    collector.server.next(answer(503, ""));
    let url = collector.server.url();
    let (_upstream, flyball) = exporting_to(&url, "metrics = false").await;
    flyball.chat(&[], ASK).await;
    collector.has_spans(4).await;
    let spans = collector.spans();
    assert_eq!((&spans[0].id, &spans[1].id), (&spans[2].id, &spans[3].id));
    for reason in ["full", "refused", "unreachable"] {
        assert_eq!(dropped(&flyball, reason).await, 0, "{reason}");
    }
    flyball.stop().await;
    assert_eq!(collector.spans().len(), 4);
}

#[tokio::test]
async fn what_a_collector_says_that_it_has_thrown_away_is_counted() {
    // ExportTraceServiceResponse { partial_success: { rejected_spans: 1 } }
    let partial = "HTTP/1.1 200 X\r\ncontent-type: application/x-protobuf\r\ncontent-length: 4\r\n\r\n\n\x02\x08\x01";
    let collector = Collector::that(vec![Step::Send(partial.into())]).await;
    let url = collector.server.url();
    let (_upstream, flyball) = exporting_to(&url, "metrics = false").await;
    flyball.chat(&[], ASK).await;
    drops(&flyball, "refused", 1).await;
    flyball.stop().await;
    assert_eq!(collector.spans().len(), 2);
}

#[tokio::test]
async fn an_answer_that_is_none_and_one_without_end_are_survived() {
    for answers in [
        vec![Step::Send(b"nonsense\r\n\r\n".to_vec()), Step::Close],
        vec![Step::Reset],
        vec![
            Step::Send(b"HTTP/1.1 200 X\r\ncontent-length: 99999999\r\n\r\n".to_vec()),
            Step::Flood(vec![0; 65_536], 100),
            Step::Close,
        ],
    ] {
        let collector = Collector::that(answers).await;
        let url = collector.server.url();
        let (_upstream, flyball) = exporting_to(&url, "").await;
        assert_eq!(flyball.chat(&[], ASK).await.status, 200);
        collector.server.reached(1).await;
        assert_eq!(flyball.chat(&[], ASK).await.status, 200);
        flyball.stop().await;
    }
}

#[tokio::test]
async fn without_a_table_nothing_is_exported() {
    let upstream = Upstream::start(answer(200, &chat(40, 8))).await;
    let (collector, exporting) = started(&upstream, "traces = false\nmetrics = false").await;
    exporting.chat(&[], ASK).await;
    exporting.stop().await;
    assert_eq!(collector.server.count(), 0);
}
