//! A provider that compresses its answer although it was asked not to.

use super::{ask, model, post};
use crate::client;
use crate::flyball::Flyball;
use crate::scripted::{Step, Upstream, chat, delta, finish};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use serde_json::json;
use std::io::Write;
use std::time::Duration;

/// How a server packs: the name that it says, and what it does.
type Packs = (&'static str, fn(&[&str]) -> Vec<Vec<u8>>);

const ALL: [Packs; 3] = [
    ("gzip", |texts| {
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        let mut all = pieces(texts, &mut packer, |p| std::mem::take(p.get_mut()));
        all.push(packer.finish().expect("memory takes it"));
        all
    }),
    ("deflate", |texts| {
        let mut packer = ZlibEncoder::new(Vec::new(), Compression::fast());
        let mut all = pieces(texts, &mut packer, |p| std::mem::take(p.get_mut()));
        all.push(packer.finish().expect("memory takes it"));
        all
    }),
    ("deflate", |texts| {
        let mut packer = DeflateEncoder::new(Vec::new(), Compression::fast());
        let mut all = pieces(texts, &mut packer, |p| std::mem::take(p.get_mut()));
        all.push(packer.finish().expect("memory takes it"));
        all
    }),
];

/// Each text as one piece, flushed, as a server sends events.
fn pieces<W: Write>(texts: &[&str], packer: &mut W, take: fn(&mut W) -> Vec<u8>) -> Vec<Vec<u8>> {
    let pack = |text: &&str| {
        packer.write_all(text.as_bytes()).expect("memory takes it");
        packer.flush().expect("memory takes it");
        take(packer)
    };
    texts.iter().map(pack).collect()
}

fn sent(status: u16, kind: &str, (coding, pack): Packs, texts: &[&str]) -> Vec<Step> {
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-encoding: {coding}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let pieces = pack(texts).into_iter().filter(|piece| !piece.is_empty());
    let chunks = pieces.map(|piece| {
        let head = format!("{:x}\r\n", piece.len()).into_bytes();
        Step::Send([head, piece, b"\r\n".to_vec()].concat())
    });
    std::iter::once(Step::Send(head.into_bytes()))
        .chain(chunks)
        .chain([crate::scripted::end()])
        .collect()
}

async fn is_reported(flyball: &Flyball, what: &str) {
    is_reported_as(flyball, what, 5).await;
}

async fn is_reported_as(flyball: &Flyball, what: &str, output: u64) {
    for row in flyball.rows().await {
        assert_eq!(
            (&row["basis"], &row["outcome"], &row["tokens"]["output"]),
            (&json!("reported"), &json!("ok"), &json!(output)),
            "{what}"
        );
    }
}

#[tokio::test]
async fn a_whole_compressed_answer_is_read_and_reaches_every_client_as_it_can_read_it() {
    for packs in ALL {
        let steps = sent(200, "application/json", packs, &[&chat(10, 5)]);
        let upstream = Upstream::start(steps).await;
        let flyball = Flyball::start(&model("openai-compatible", &upstream)).await;
        for path in [
            "/v1/chat/completions",
            "/v1/messages",
            "/p/up/v1/chat/completions",
        ] {
            let got = post(&flyball, path, &ask(false)).await;
            assert_eq!((got.status, got.header("content-encoding")), (200, None));
            assert!(got.body.contains("hi there"), "{path}: {}", got.body);
        }
        is_reported(&flyball, packs.0).await;
    }
}

#[tokio::test]
async fn a_client_that_takes_gzip_gets_the_very_bytes() {
    let packed = ALL[0].1(&[&chat(10, 5)]).concat();
    let head = format!(
        "HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        packed.len()
    );
    let steps = vec![Step::Send([head.as_bytes(), &packed].concat())];
    let upstream = Upstream::start(steps).await;
    let flyball = Flyball::start(&model("openai-compatible", &upstream)).await;
    for (accepts, same) in [
        ("gzip", true),
        ("br, gzip;q=0.5", true),
        ("gzip;q=0", false),
        ("br", false),
    ] {
        let headers = [("accept-encoding", accepts)];
        let call = client::send(flyball.at(), "/v1/chat/completions", &headers, &ask(false)).await;
        let bytes = call.bytes().await;
        assert_eq!(bytes.ends_with(&packed), same, "{accepts}");
    }
    is_reported(&flyball, "gzip").await;
}

#[tokio::test]
async fn a_compressed_stream_is_read_event_by_event() {
    for packs in ALL {
        let events: Vec<String> = [delta("one"), delta(" two")]
            .into_iter()
            .chain(finish(10, 5))
            .collect();
        let texts: Vec<&str> = events.iter().map(String::as_str).collect();
        let mut steps = sent(200, "text/event-stream", packs, &texts);
        // The client must have the first words before the provider goes on.
        steps.insert(3, Step::Gate);
        for path in [
            "/v1/chat/completions",
            "/v1/messages",
            "/p/up/v1/chat/completions",
        ] {
            let upstream = Upstream::start(steps.clone()).await;
            let flyball = Flyball::start(&model("openai-compatible", &upstream)).await;
            let mut call = client::send(flyball.at(), path, &[], &ask(true)).await;
            let read = tokio::time::timeout(Duration::from_secs(30), call.until("one")).await;
            read.expect("the first words in time");
            upstream.open_gate();
            let got = call.answer().await;
            assert_eq!((got.status, got.header("content-encoding")), (200, None));
            assert!(got.body.contains("two") && !got.is_cut(), "{}", got.body);
            is_reported(&flyball, path).await;
        }
    }
}

#[tokio::test]
async fn a_long_compressed_answer_is_unpacked_as_it_goes() {
    // Words that deflate does not make short, so that what comes is over 1 MiB too.
    let mut state = 1_u64;
    let noise: String = (0..3_000_000)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            char::from(b'#' + u8::try_from(state >> 58).expect("six bits"))
        })
        .filter(|c| *c != '\\')
        .collect();
    let long = chat(10, 900_000).replace("hi there", &noise);
    let steps = sent(200, "application/json", ALL[0], &[&long]);
    let upstream = Upstream::start(steps).await;
    let flyball = Flyball::start(&model("openai-compatible", &upstream)).await;
    let got = post(&flyball, "/v1/chat/completions", &ask(false)).await;
    assert_eq!(
        (got.body == long, got.header("content-encoding")),
        (true, None)
    );
    is_reported_as(&flyball, "long", 900_000).await;
}

#[tokio::test]
async fn a_compressed_error_says_what_it_says_without_our_key() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "up-secret-key").expect("a file");
    let error =
        r#"{"error":{"message":"no such thing as up-secret-key","type":"invalid_request_error"}}"#;
    let upstream = Upstream::start(sent(400, "application/json", ALL[0], &[error])).await;
    let toml = model("openai-compatible", &upstream)
        .replace("base_url", "api_key = \"file:key\"\nbase_url");
    let flyball = Flyball::start_in(dir, &toml).await;
    for path in ["/v1/chat/completions", "/v1/messages"] {
        let got = post(&flyball, path, &ask(false)).await;
        assert_eq!(got.status, 400);
        assert!(
            got.body.contains("no such thing as [redacted]"),
            "{}",
            got.body
        );
    }
}

#[tokio::test]
async fn an_answer_that_swells_beyond_measure_is_charged_at_the_bound_and_never_held() {
    let huge = format!("{}{}", chat(10, 5), " ".repeat(40_000_000));
    let steps = sent(200, "application/json", ALL[0], &[&huge]);
    let upstream = Upstream::start(steps).await;
    let flyball = Flyball::start(&model("openai-compatible", &upstream)).await;
    let got = post(&flyball, "/v1/chat/completions", &ask(false)).await;
    assert_eq!(
        (got.status, got.header("content-encoding")),
        (200, Some("gzip"))
    );
    let got = post(&flyball, "/v1/messages", &ask(false)).await;
    assert_eq!(
        (got.status, got.header("x-should-retry")),
        (502, Some("false"))
    );
    for row in flyball.rows().await {
        assert_eq!(row["basis"], "bound");
    }
}
