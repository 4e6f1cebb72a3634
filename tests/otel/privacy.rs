//! What must not reach a collector, a log or a metric.

use super::collector::Collector;
use super::{ASK, started, streamed};
use crate::flyball::{Flyball, compatible};
use crate::logged::Logged;
use crate::scripted::{Upstream, answer, chat, chat_stream};

const SECRET: &str = "words-that-nobody-else-may-read";

fn asking(stream: bool) -> String {
    format!(
        r#"{{"model":"m-small","stream":{stream},"messages":[{{"role":"system","content":"be kind"}},{{"role":"user","content":"{SECRET}"}}]}}"#
    )
}

/// Everything that a collector was sent, as bytes that may be text.
fn everything(collector: &Collector) -> String {
    let seen = collector.server.seen();
    seen.iter()
        .map(|s| format!("{}{}", s.head, s.body))
        .collect()
}

#[tokio::test]
async fn no_word_of_prompt_or_answer_is_sent_unless_configuration_says_so() {
    let upstream = Upstream::start(answer(200, &chat(40, 8))).await;
    let (collector, flyball) = started(&upstream, "").await;
    flyball.chat(&[], &asking(false)).await;
    flyball.stop().await;
    assert_eq!(collector.spans().len(), 2);
    let sent = everything(&collector);
    assert!(!sent.contains(SECRET) && !sent.contains("hi there"));
}

#[tokio::test]
async fn prompt_and_answer_are_sent_where_configuration_says_so() {
    let upstream = Upstream::start(chat_stream(&["hi ", "there"], 40, 8)).await;
    upstream.next(answer(200, &chat(40, 8)));
    let (collector, flyball) = started(&upstream, "content = true").await;
    flyball.chat(&[], &asking(false)).await;
    flyball.chat(&[], &asking(true)).await;
    flyball.stop().await;
    let spans = collector.spans();
    let attempts: Vec<_> = spans.iter().filter(|s| s.kind == "client").collect();
    assert_eq!(attempts.len(), 2);
    for attempt in attempts {
        let told = &attempt.attributes;
        assert_eq!(
            told["gen_ai.input.messages"],
            format!(r#"[{{"role":"user","parts":[{{"type":"text","content":"{SECRET}"}}]}}]"#)
        );
        assert_eq!(
            told["gen_ai.system_instructions"],
            r#"[{"type":"text","content":"be kind"}]"#
        );
        assert_eq!(
            told["gen_ai.output.messages"],
            r#"[{"role":"assistant","parts":[{"type":"text","content":"hi there"}],"finish_reason":"stop"}]"#
        );
    }
}

#[tokio::test]
async fn no_word_of_a_confidential_request_is_ever_sent() {
    let upstream = Upstream::start(chat_stream(&["hi ", "there"], 40, 8)).await;
    upstream.next(answer(200, &chat(40, 8)));
    let collector = Collector::start().await;
    let local = compatible(&upstream).replacen("base_url", "local = true\nbase_url", 1);
    let config = format!("{local}\n{}", collector.table("content = true"));
    let flyball = Flyball::start(&config).await;
    for stream in [false, true] {
        let private = [("x-flyball-privacy", "local")];
        let got = flyball.chat(&private, &asking(stream)).await;
        assert_eq!(got.status, 200, "{}", got.body);
    }
    flyball.stop().await;
    assert_eq!(collector.spans().len(), 4);
    let sent = everything(&collector);
    assert!(!sent.contains(SECRET) && !sent.contains("hi there"));
    assert!(!sent.contains("be kind"));
}

#[tokio::test]
async fn no_word_of_what_is_found_to_be_confidential_is_ever_sent() {
    let upstream = Upstream::start(answer(200, &chat(40, 8))).await;
    let collector = Collector::start().await;
    let local = compatible(&upstream).replacen("base_url", "local = true\nbase_url", 1);
    let found = format!("[privacy]\ndetect = [\"own\"]\nwords = [\"{SECRET}\"]");
    let config = format!("{local}\n{found}\n{}", collector.table("content = true"));
    let flyball = Flyball::start(&config).await;
    let got = flyball.chat(&[], &asking(false)).await;
    assert_eq!(got.status, 200, "{}", got.body);
    flyball.stop().await;
    assert_eq!(collector.spans().len(), 2);
    let sent = everything(&collector);
    assert!(!sent.contains(SECRET) && !sent.contains("hi there"));
}

#[tokio::test]
async fn a_prompt_of_any_length_is_cut() {
    let upstream = Upstream::start(answer(200, &chat(40, 8))).await;
    let (collector, flyball) = started(&upstream, "content = true\nmetrics = false").await;
    let long = ASK.replace("hello", &"x ".repeat(200_000));
    flyball.chat(&[], &long).await;
    flyball.stop().await;
    let seen = collector.server.seen();
    let sent: usize = seen.iter().map(|s| s.bytes.len()).sum();
    assert!((16_000..40_000).contains(&sent), "{sent}");
}

#[tokio::test]
async fn the_collectors_secret_is_in_its_headers_and_nowhere_else() {
    let log = Logged::here();
    let upstream = Upstream::start(answer(200, &chat(40, 8))).await;
    let collector = Collector::that(answer(401, "Bearer otlp-secret is wrong")).await;
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("token"), "Bearer otlp-secret\n").expect("a file");
    let table = collector.table("headers = { authorization = \"file:token\" }");
    let config = format!("{}\n{table}", compatible(&upstream));
    let flyball = Flyball::start_in(dir, &config).await;
    for _ in 0..3 {
        flyball.chat(&[], ASK).await;
        flyball.chat(&[], &streamed()).await;
    }
    let metrics = flyball.metrics().await;
    let shown = format!("{:?}", flyball.running.state.telemetry);
    flyball.stop().await;
    let posts = collector.server.seen();
    assert!(!posts.is_empty());
    for post in posts {
        let told = post.header("authorization");
        assert_eq!(told.as_deref(), Some("Bearer otlp-secret"));
    }
    let log = log.text();
    let complaint = "the OpenTelemetry collector does not take what it is sent";
    // Several exports have failed; the log says so once.
    assert_eq!(log.matches(complaint).count(), 1, "{log}");
    for text in [&log, &metrics, &shown] {
        assert!(!text.contains("otlp-secret"), "{text}");
    }
}
