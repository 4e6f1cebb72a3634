//! Neither what is asked nor what is answered is in the log of a confidential request, however it ends.

use super::asking::{Asking, WAYS, Way};
use super::{CARD, DETECTS, asked, start};
use crate::client::post;
use crate::logged::Logged;
use crate::scripted::{Step, Upstream, answer, chat, chat_stream};

const ANSWER: &str = "zzqanswerzzq";

#[tokio::test]
async fn no_log_line_holds_what_is_asked_or_answered() {
    // All of this test, flyball in it, runs on this thread.
    let log = Logged::here();
    let says = format!("{{\"error\":{{\"message\":\"{ANSWER}: {CARD} is no number\"}}}}");
    let cloud = Upstream::start(answer(200, &chat(10, 5))).await;
    let local = Upstream::start(answer(200, &chat(10, 5).replace("hi there", ANSWER))).await;
    let flyball = start(&cloud, &local, DETECTS).await;
    for fate in [
        answer(200, &chat(10, 5).replace("hi there", ANSWER)),
        chat_stream(&[ANSWER], 3, 2),
        answer(400, &says),
        answer(500, &says),
        answer(429, &says),
        answer(200, &says),
        answer(200, &format!("no JSON {ANSWER}")),
        vec![Step::Reset],
    ] {
        for way in WAYS {
            local.next(fate.clone());
            asked(&flyball, &Asking::of(way, "auto", CARD)).await;
        }
    }
    // What is wrong with a request is told in its own words, to its client.
    let number = CARD.replace(' ', "");
    for body in [
        format!("{{\"model\":\"{number}\",\"messages\":[]}}"),
        format!(
            "{{\"model\":\"auto\",\"messages\":[{{\"role\":\"{number}\",\"content\":\"a\"}}]}}"
        ),
        format!("{{\"model\":\"auto\",\"messages\":\"{number}\"}}"),
        format!("{{\"model\":\"auto\",\"stream\":\"{number}\"}}"),
        format!("{{\"model\":\"auto\",\"messages\":[{{\"role\":\"user\",\"content\":\"{number}"),
    ] {
        for path in [
            "/v1/chat/completions",
            "/v1/messages",
            "/v1/responses",
            "/v1/embeddings",
        ] {
            let got = post(flyball.at(), path, &[], &body).await;
            assert_eq!(
                got.header("x-flyball-private"),
                Some("cards"),
                "{}",
                got.body
            );
        }
    }
    // The same where a header says that it is confidential.
    let marked = Asking::of(Way::Chat, "auto", "x")
        .body
        .replace("\"user\"", "\"zzqrolezzq\"");
    let header = [("x-flyball-privacy", "local")];
    let got = flyball.chat(&header, &marked).await;
    assert!(!got.body.is_empty());
    flyball.rows().await;
    flyball.stop().await;
    let text = log.text();
    assert!(text.contains("refused"), "this log is one: {text}");
    for secret in [CARD, &number, "5787 6362", ANSWER, "zzqrolezzq"] {
        let line = text.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
}
