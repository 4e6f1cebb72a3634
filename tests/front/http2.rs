//! HTTP/2 in front: with agreement over TLS and without it, what a stream's end means, and what a client can make flyball keep.

use super::{ASK, STREAM, client, connected, fixture, folder};
use crate::flyball::{Flyball, compatible};
use crate::scripted::{
    Step, Upstream, answer, chat, chat_stream, delta, end, finish, piece, stream_head,
};
use crate::until::{until_asked, within};
use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

const CHAT: &str = "http://localhost/v1/chat/completions";

type Sender = SendRequest<Bytes>;
type End = JoinHandle<Result<(), h2::Error>>;

/// Speaks HTTP/2 on a socket.
async fn spoken(socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> (Sender, End) {
    let begun = h2::client::handshake(socket).await;
    let (sender, connection) = begun.expect("it begins");
    (sender, tokio::spawn(connection))
}

async fn plain(flyball: &Flyball) -> (Sender, End) {
    let socket = TcpStream::connect(flyball.at()).await;
    spoken(socket.expect("a connection")).await
}

fn request(uri: &str, more: &[(&str, &str)]) -> Request<()> {
    let request = Request::post(uri).header("content-type", "application/json");
    let with = |request: http::request::Builder, (name, value): &(&str, &str)| {
        request.header(*name, *value)
    };
    more.iter().fold(request, with).body(()).expect("a request")
}

/// Sends a request, and gives the stream on which its answer comes.
async fn sent(
    sender: &Sender,
    request: Request<()>,
    body: &'static str,
) -> h2::client::ResponseFuture {
    let mut sender = sender.clone().ready().await.expect("there is room");
    let (answer, mut stream) = sender.send_request(request, false).expect("sent");
    stream
        .send_data(Bytes::from_static(body.as_bytes()), true)
        .expect("sent");
    answer
}

/// The whole of an answer: its text and its trailers.
async fn whole(answer: Response<RecvStream>) -> (String, Option<HeaderMap>) {
    let mut body = answer.into_body();
    let mut text = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.expect("it goes on");
        let _ = body.flow_control().release_capacity(data.len());
        text.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.expect("it ends well");
    (String::from_utf8_lossy(&text).into_owned(), trailers)
}

async fn asked(sender: &Sender, request: Request<()>, body: &'static str) -> (u16, String) {
    let asking = async {
        let answer = sent(sender, request, body).await.await.expect("an answer");
        (answer.status().as_u16(), whole(answer).await.0)
    };
    within("an answer over HTTP/2", asking).await
}

#[tokio::test]
async fn it_is_spoken_by_the_first_bytes_whole_and_in_streams_with_trailers_where_asked() {
    let upstream = Upstream::start(answer(200, &chat(1_000, 100))).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let (sender, _end) = plain(&flyball).await;
    let (status, text) = asked(&sender, request(CHAT, &[]), ASK).await;
    assert_eq!((status, text.contains("hi there")), (200, true), "{text}");

    upstream.next(chat_stream(&["one ", "two"], 3, 2));
    let wants = request(CHAT, &[("te", "trailers")]);
    let answer = sent(&sender, wants, STREAM).await.await.expect("an answer");
    let (text, trailers) = within("the stream", whole(answer)).await;
    assert!(
        text.contains("two") && text.ends_with("[DONE]\n\n"),
        "{text}"
    );
    let cost = trailers.expect("trailers")["x-flyball-cost-usd"].clone();
    assert!(
        cost.to_str().is_ok_and(|cost| cost.starts_with("0.0000")),
        "{cost:?}"
    );

    upstream.next(chat_stream(&["one ", "two"], 3, 2));
    let answer = sent(&sender, request(CHAT, &[]), STREAM).await.await;
    let (_, trailers) = within("the stream", whole(answer.expect("an answer"))).await;
    assert_eq!(trailers, None);
    // What speaks HTTP/1 on the same port is served as ever.
    assert_eq!(flyball.chat(&[], ASK).await.status, 200);
    assert_eq!(flyball.rows().await.len(), 4);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn over_tls_it_is_spoken_where_the_client_offers_it() {
    let upstream = Upstream::start(answer(200, &chat(1_000, 100))).await;
    let toml = format!("{}{}", super::TLS, compatible(&upstream));
    let flyball = Flyball::start_in(folder("front-a"), &toml).await;
    for (offers, agreed) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let mut config = (*client(None, rustls::ALL_VERSIONS)).clone();
        config.alpn_protocols = offers.iter().map(|o| o.as_bytes().to_vec()).collect();
        let stream = connected(&flyball, Arc::new(config)).await.expect("TLS");
        let told = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        assert_eq!(told.as_deref(), agreed.map(str::as_bytes));
        if agreed == Some("h2") {
            let (sender, _end) = spoken(stream).await;
            let (status, text) = asked(&sender, request(CHAT, &[]), ASK).await;
            assert_eq!(status, 200, "{text}");
        }
    }
    assert!(fixture("front-a.pem").exists());
    assert_eq!(flyball.rows().await.len(), 1);
}

#[tokio::test]
async fn many_requests_share_a_connection_up_to_its_limit() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let gated = [vec![Step::Gate], answer(200, &chat(10, 5))].concat();
    for _ in 0..3 {
        upstream.next(gated.clone());
    }
    let toml = format!("[limits]\nstreams_max = 3\n{}", compatible(&upstream));
    let flyball = Flyball::start(&toml).await;
    let (sender, _end) = plain(&flyball).await;
    // The client knows the limit once it has an answer.
    let ping = Request::get("http://localhost/v1/models")
        .body(())
        .expect("a request");
    assert_eq!(asked(&sender, ping, "").await.0, 200);
    assert_eq!(sender.current_max_send_streams(), 3);
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(sent(&sender, request(CHAT, &[]), ASK).await);
    }
    upstream.reached(3).await;
    // A fourth waits until one of them is over.
    let fourth = tokio::spawn({
        let sender = sender.clone();
        async move { asked(&sender, request(CHAT, &[]), ASK).await.0 }
    });
    assert_eq!(upstream.count(), 3);
    upstream.open_gate();
    for answer in answers {
        assert_eq!(
            within("an answer", answer).await.expect("one").status(),
            200
        );
    }
    assert_eq!(within("the fourth", fourth).await.expect("one"), 200);
    assert_eq!(flyball.rows().await.len(), 4);
}

#[tokio::test]
async fn a_stream_that_its_client_resets_is_a_client_that_is_gone_and_the_others_go_on() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let (sender, _end) = plain(&flyball).await;
    // In the middle of its answer, and before it has one.
    let begun = vec![stream_head(), piece(&delta("first")), Step::Stall];
    for (n, steps) in [begun, vec![Step::Stall]].into_iter().enumerate() {
        let before = flyball.rows().await.len();
        upstream.next(steps);
        let mut ready = sender.clone().ready().await.expect("there is room");
        let (answer, mut stream) = ready.send_request(request(CHAT, &[]), false).expect("sent");
        stream
            .send_data(Bytes::from_static(STREAM.as_bytes()), true)
            .expect("sent");
        within("the provider is asked", upstream.stalling()).await;
        let answer = match n {
            0 => Ok(within("a head", answer).await.expect("a head")),
            _ => Err(answer),
        };
        stream.send_reset(Reason::CANCEL);
        let row = until_asked("the attempt is closed", async || {
            flyball.rows().await.len() > before
        });
        row.await;
        drop(answer);
        let rows = flyball.rows().await;
        assert_eq!(rows[before]["outcome"], "client_gone", "{n}");
        upstream.peer_closed().await;
        assert_eq!(asked(&sender, request(CHAT, &[]), ASK).await.0, 200);
    }
    flyball.books_are_right().await;
}

#[tokio::test]
async fn hosts_are_looked_at_as_over_http1() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let (sender, _end) = plain(&flyball).await;
    for (uri, headers, status) in [
        (CHAT, &[][..], 200),
        (CHAT, &[("host", "localhost")], 200),
        ("http://evil.example/v1/chat/completions", &[], 403),
        (CHAT, &[("host", "evil.example")], 400),
        (CHAT, &[("origin", "https://evil.example")], 403),
        ("http://a,b/v1/chat/completions", &[], 400),
    ] {
        let Ok(uri) = uri.parse::<http::Uri>() else {
            continue;
        };
        let (told, text) = asked(&sender, request(&uri.to_string(), headers), ASK).await;
        assert_eq!(told, status, "{uri} {headers:?}: {text}");
    }
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn heads_that_are_too_large_and_bodies_that_are_too_slow_are_refused() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let limits = "[limits]\nhead_bytes_max = 8192\nclient_body = \"1s\"\n";
    let flyball = Flyball::start(&format!("{limits}{}", compatible(&upstream))).await;
    let (sender, _end) = plain(&flyball).await;
    let long = "x".repeat(9_000);
    let answer = sent(&sender, request(CHAT, &[("x-long", &long)]), ASK).await;
    let told = within("a refusal", answer).await;
    let status = told.map(|answer| answer.status().as_u16());
    assert!(matches!(status, Ok(431) | Err(_)), "{status:?}");

    let mut ready = sender.clone().ready().await.expect("there is room");
    let (answer, mut stream) = ready.send_request(request(CHAT, &[]), false).expect("sent");
    stream
        .send_data(Bytes::from_static(b"{"), false)
        .expect("sent");
    let told = within("a refusal", answer).await.expect("a head");
    assert_eq!(told.status(), 408);
    // Neither has hurt the connection.
    assert_eq!(asked(&sender, request(CHAT, &[]), ASK).await.0, 200);
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn who_begins_requests_only_to_reset_them_is_cut_off() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let (sender, end) = plain(&flyball).await;
    let mut begun = 0;
    let flood = async {
        while let Ok(mut ready) = sender.clone().ready().await {
            let Ok((answer, mut stream)) = ready.send_request(request(CHAT, &[]), false) else {
                return;
            };
            begun += 1;
            // Until flyball has taken it up, so that it is more than a frame.
            tokio::task::yield_now().await;
            stream.send_reset(Reason::CANCEL);
            drop(answer);
        }
    };
    within("flyball closes the connection", flood).await;
    let _ = within("the connection ends", end).await;
    assert!(begun > 0);
    // Others are served, and nothing of it has reached a provider.
    assert_eq!(flyball.chat(&[], ASK).await.status, 200);
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_connection_that_is_not_used_is_closed() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let limits = "[limits]\nclient_head = \"1s\"\n";
    let flyball = Flyball::start(&format!("{limits}{}", compatible(&upstream))).await;
    let (sender, end) = plain(&flyball).await;
    assert_eq!(asked(&sender, request(CHAT, &[]), ASK).await.0, 200);
    let ended = within("the connection ends", end).await.expect("no panic");
    assert!(ended.is_ok(), "{ended:?}");
    drop(sender);
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_left_and_the_others_go_on() {
    let long = piece(&delta(&"word ".repeat(200)).repeat(40));
    let steps = std::iter::once(stream_head()).chain(std::iter::repeat_n(long, 400));
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    upstream.next(steps.chain([Step::Stall]).collect());
    let limits = "[limits]\nidle = \"1s\"\n";
    let flyball = Flyball::start(&format!("{limits}{}", compatible(&upstream))).await;
    let (sender, _end) = plain(&flyball).await;
    let answer = sent(&sender, request(CHAT, &[]), STREAM).await;
    let answer = within("a head", answer).await.expect("a head");
    // Its own window is full; that of the connection has no room left either.
    until_asked("the attempt is closed", async || {
        let mut open = 0;
        let mut all = 0;
        let mut look = |a: flyball::ledger::record::Attempt| {
            all += 1;
            open += usize::from(flyball::exchange::describe(&a)["outcome"] == "open");
            true
        };
        let _ = flyball
            .books()
            .attempts(flyball::ledger::store::EVER, &mut look);
        (all, open) == (1, 0)
    })
    .await;
    assert_eq!(flyball.rows().await[0]["outcome"], "client_gone");
    drop(answer);
    assert_eq!(flyball.chat(&[], ASK).await.status, 200);
}

#[tokio::test]
async fn a_client_that_takes_its_answer_slowly_but_steadily_gets_all_of_it() {
    let long = piece(&delta(&"word ".repeat(200)).repeat(40));
    let mut steps = vec![stream_head()];
    steps.extend(std::iter::repeat_n(long, 5));
    steps.extend([piece(&finish(10, 5).concat()), end()]);
    let upstream = Upstream::start(steps).await;
    let limits = "[limits]\nidle = \"2s\"\n";
    let flyball = Flyball::start(&format!("{limits}{}", compatible(&upstream))).await;
    let (sender, _end) = plain(&flyball).await;
    let answer = sent(&sender, request(CHAT, &[]), STREAM).await;
    let mut body = within("a head", answer).await.expect("a head").into_body();
    let mut text = Vec::new();
    // It is behind all the while, and for longer than a client may be that takes nothing.
    while let Some(data) = within("more of it", body.data()).await {
        let data = data.expect("it goes on");
        text.extend_from_slice(&data);
        tokio::time::sleep(Duration::from_millis(300)).await;
        let _ = body.flow_control().release_capacity(data.len());
    }
    assert!(String::from_utf8_lossy(&text).ends_with("[DONE]\n\n"));
    assert_eq!(flyball.rows().await[0]["outcome"], "ok");
}

#[tokio::test]
async fn at_a_stop_the_client_is_told_and_what_is_open_goes_on() {
    let steps = vec![
        stream_head(),
        piece(&delta("first")),
        Step::Gate,
        piece(&finish(10, 5).concat()),
        end(),
    ];
    let upstream = Upstream::start(steps).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let settings = flyball.running.state.ledger.settings().clone();
    let (sender, end) = plain(&flyball).await;
    let answer = sent(&sender, request(CHAT, &[]), STREAM).await;
    let answer = within("a head", answer).await.expect("a head");
    let stopped = tokio::spawn(flyball.stop());
    let refused = until_asked("flyball says that it goes", async || {
        match sender.clone().ready().await {
            Err(error) => error.is_go_away(),
            Ok(_) => false,
        }
    });
    refused.await;
    upstream.open_gate();
    let (text, _) = within("the rest", whole(answer)).await;
    assert!(text.ends_with("[DONE]\n\n"), "{text}");
    let _dir = within("it stops", stopped).await.expect("no panic");
    let _ = within("the connection ends", end).await;
    let mut books = flyball::ledger::books::open(&settings).expect("the ledger");
    let mut outcomes = Vec::new();
    let mut look = |a: flyball::ledger::record::Attempt| {
        outcomes.push(flyball::exchange::describe(&a)["outcome"].clone());
        true
    };
    books
        .attempts(flyball::ledger::store::EVER, &mut look)
        .expect("it can be read");
    assert_eq!(outcomes, ["ok"]);
}
