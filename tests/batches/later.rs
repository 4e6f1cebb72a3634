//! One request that can wait: asked by itself with `prefer: respond-async`, answered from a batch that it shares with those of others.

use super::death::{booked, rounds, serve};
use super::{TOKENS, Vendor, Ways, bearer, config, start};
use crate::client::{Answer, get, post, raw};
use crate::flyball::{Flyball, make_key};
use crate::scripted::{Upstream, answer};
use crate::until::{found, killed, until, within, worked};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flyball::ledger::Settings;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

const WAITS: [(&str, &str); 2] = [("prefer", "respond-async"), ("x-flyball-deadline", "1m")];
/// Requests of a minute wait in batches that collect for a moment.
const SOON: &str = "wait_from = \"1s\"\ncollect = \"100ms\"";
const PATH: &str = "/v1/chat/completions";

fn ask(text: &str) -> String {
    json!({"model": "gpt-4o-mini", "max_tokens": 50, "messages": [{"role": "user", "content": text}]})
        .to_string()
}

async fn asked(at: SocketAddr, key: &str, headers: &[(&str, &str)], text: &str) -> Answer {
    let bearer = bearer(key);
    let mut all = vec![("authorization", bearer.as_str())];
    all.extend(headers);
    post(at, PATH, &all, &ask(text)).await
}

/// The id of a request that waits.
fn waiting(answer: &Answer) -> String {
    assert_eq!(answer.status, 202, "{}", answer.body);
    let id = answer.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(answer.header("x-flyball-request-id"), Some(id.as_str()));
    id
}

async fn come_back(at: SocketAddr, key: &str, id: &str) -> Answer {
    let path = format!("/flyball/requests/{id}/answer");
    get(at, &path, &[("authorization", &bearer(key))]).await
}

async fn answered(at: SocketAddr, key: &str, id: &str) -> Answer {
    found("the request is answered", async || {
        let answer = come_back(at, key, id).await;
        (answer.status != 202).then_some(answer)
    })
    .await
}

async fn delete(at: SocketAddr, key: &str, id: &str) -> Answer {
    let request = format!(
        "DELETE /flyball/requests/{id}/answer HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\nauthorization: Bearer {key}\r\n\r\n"
    );
    raw(at, request.as_bytes()).await.answer().await
}

fn half_price() -> i64 {
    i64::try_from(TOKENS.0 * 75_000 + TOKENS.1 * 300_000).expect("small")
}

async fn with_two_keys(vendor: &Vendor, more: &str) -> Flyball {
    start(&config(vendor, more), |dir| {
        make_key(dir, "app", Some("1"), |_| {});
        make_key(dir, "other", Some("1"), |_| {});
    })
    .await
}

#[tokio::test]
async fn requests_of_several_keys_share_one_batch_at_half_price_and_each_key_reads_its_own() {
    let vendor = Vendor::start(Ways::default()).await;
    let flyball = with_two_keys(&vendor, SOON).await;
    let at = flyball.at();
    let mut all = Vec::new();
    for (key, text) in [("fb_app", "a"), ("fb_other", "b"), ("fb_app", "c")] {
        let made = asked(at, key, &WAITS, text).await;
        assert_eq!(made.header("preference-applied"), Some("respond-async"));
        assert_eq!(made.header("x-flyball-service-tier"), Some("batch"));
        assert!(made.header("retry-after").is_some());
        all.push((key, text, waiting(&made)));
    }
    for (key, text, id) in &all {
        let answer = answered(at, key, id).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let said = &answer.json()["choices"][0]["message"]["content"];
        assert_eq!(*said, format!("echo {text}"));
        assert_eq!(answer.header("x-flyball-answers"), Some(id.as_str()));
    }
    assert_eq!(come_back(at, "fb_other", &all[0].2).await.status, 404);
    assert_eq!(delete(at, "fb_other", &all[0].2).await.status, 404);
    assert_eq!(vendor.batches().len(), 1);
    assert_eq!(vendor.asked().len(), 3);
    assert!(vendor.completions().is_empty());
    let rows = flyball.rows().await;
    assert_eq!(rows.len(), 3);
    for (key, _, id) in &all {
        let row = rows.iter().find(|row| row["request"] == **id);
        let row = row.unwrap_or_else(|| panic!("{id} is in the books"));
        assert_eq!(row["cost_pico_usd"], half_price());
        assert_eq!(row["service_tier"], "batch");
        assert_eq!(format!("fb_{}", row["key"].as_str().unwrap_or("")), *key);
    }
    // Nobody's own list of batches tells of it.
    let listed = super::fetched(at, "fb_app", "/v1/batches").await.json();
    assert_eq!(listed["data"], json!([]));
    flyball.books_are_right().await;
}

#[tokio::test]
async fn who_does_not_come_back_for_it_is_answered_at_once() {
    let vendor = Vendor::start(Ways::default()).await;
    let flyball = with_two_keys(&vendor, SOON).await;
    let short = [("prefer", "respond-async"), ("x-flyball-deadline", "500ms")];
    for headers in [&WAITS[..1], &WAITS[1..], &short[..]] {
        let answer = asked(flyball.at(), "fb_app", headers, "q").await;
        assert_eq!(answer.status, 200, "{headers:?}: {}", answer.body);
        assert_eq!(answer.header("preference-applied"), None);
    }
    let streamed = ask("q").replacen('{', "{\"stream\":true,", 1);
    let alone = ask("q").replace("gpt-4o-mini", "m-alone");
    let bearer = bearer("fb_app");
    let headers = [("authorization", bearer.as_str()), WAITS[0], WAITS[1]];
    for body in [&streamed, &alone] {
        let answer = post(flyball.at(), PATH, &headers, body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    assert!(vendor.batches().is_empty());
    assert_eq!(vendor.completions().len(), 5);
}

#[tokio::test]
async fn the_answer_is_in_the_words_in_which_it_was_asked_for_and_so_is_an_error() {
    let ways = Ways {
        fails_every: Some(2),
        ..Ways::default()
    };
    let vendor = Vendor::start(ways).await;
    let flyball = with_two_keys(&vendor, SOON).await;
    let at = flyball.at();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let body = json!({"model": "gpt-4o-mini", "max_tokens": 50, "messages": [{"role": "user", "content": "q"}]});
        let headers = [
            ("x-api-key", "fb_app"),
            ("anthropic-version", "2023-06-01"),
            WAITS[0],
            WAITS[1],
        ];
        let made = post(at, "/v1/messages", &headers, &body.to_string()).await;
        ids.push(waiting(&made));
    }
    let mut kinds = Vec::new();
    for id in &ids {
        kinds.push(answered(at, "fb_app", id).await.json()["type"].clone());
    }
    kinds.sort_by_key(Value::to_string);
    assert_eq!(kinds, [json!("error"), json!("message")]);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn what_is_cancelled_before_it_goes_out_is_never_asked_and_costs_nothing() {
    let vendor = Vendor::start(Ways::default()).await;
    let flyball = with_two_keys(&vendor, "wait_from = \"1s\"\ncollect = \"3s\"").await;
    let at = flyball.at();
    let gone = waiting(&asked(at, "fb_app", &WAITS, "gone").await);
    let stays = waiting(&asked(at, "fb_app", &WAITS, "stays").await);
    let told = delete(at, "fb_app", &gone).await;
    assert_eq!(told.json()["status"], "cancelled", "{}", told.body);
    assert_eq!(answered(at, "fb_app", &stays).await.status, 200);
    let lost = come_back(at, "fb_app", &gone).await;
    assert_eq!(lost.status, 404);
    assert_eq!(lost.json()["error"]["code"], "flyball_cancelled");
    assert_eq!(vendor.asked().len(), 1);
    assert_eq!(super::posted(&flyball), i128::from(half_price()));
    let told = delete(at, "fb_app", &stays).await;
    assert_eq!(told.json()["status"], "deleted", "{}", told.body);
    assert_eq!(come_back(at, "fb_app", &stays).await.status, 404);
    flyball.books_are_right().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_ledger_keeps_what_waits_and_cancels_one_of_several() {
    let made = worked("a database is made", crate::stores::database).await;
    let Some(url) = made else { return };
    let vendor = Vendor::start(Ways::default()).await;
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
    let address = dir.path().join("ledger");
    std::fs::write(&address, url).expect("a file");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&address, private).expect("private");
    }
    let waits = "wait_from = \"1s\"\ncollect = \"3s\"";
    let toml = format!(
        "shared_ledger = \"file:{}\"\n{}",
        address.display(),
        config(&vendor, waits)
    );
    let flyball = Flyball::start_in(dir, &toml).await;
    let at = flyball.at();
    let gone = waiting(&asked(at, "none", &WAITS, "gone").await);
    let stays = waiting(&asked(at, "none", &WAITS, "stays").await);
    let told = delete(at, "none", &gone).await;
    assert_eq!(told.status, 200, "{}", told.body);
    assert_eq!(told.json()["status"], "cancelled");
    assert_eq!(answered(at, "none", &stays).await.status, 200);
    assert_eq!(come_back(at, "none", &gone).await.status, 404);
    assert_eq!(vendor.asked().len(), 1);
}

#[tokio::test]
async fn a_batch_of_which_nobody_wants_anything_any_more_is_cancelled_at_its_vendor() {
    let hangs = Ways {
        hangs: true,
        ..Ways::default()
    };
    let vendor = Vendor::start(hangs).await;
    let flyball = with_two_keys(&vendor, SOON).await;
    let id = waiting(&asked(flyball.at(), "fb_app", &WAITS, "q").await);
    until("the vendor has it", || vendor.batches().len() == 1).await;
    let told = delete(flyball.at(), "fb_app", &id).await;
    assert_eq!(told.json()["status"], "cancelled", "{}", told.body);
    let cancelled = |head: &String| head.contains("/cancel");
    until("it is cancelled", || vendor.heads().iter().any(cancelled)).await;
    found("its room is free", async || {
        let rows = flyball.rows().await;
        (rows[0]["outcome"] != "open").then_some(())
    })
    .await;
    assert_eq!(super::posted(&flyball), 0);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn what_its_vendor_has_not_done_in_time_is_told_or_asked_at_once_as_the_operator_says() {
    for (late, status) in [("report", 504), ("run", 200)] {
        let hangs = Ways {
            hangs: true,
            ..Ways::default()
        };
        let vendor = Vendor::start(hangs).await;
        let flyball = with_two_keys(&vendor, &format!("{SOON}\nlate = \"{late}\"")).await;
        let soon = [("prefer", "respond-async"), ("x-flyball-deadline", "3s")];
        let id = waiting(&asked(flyball.at(), "fb_app", &soon, "q").await);
        let answer = answered(flyball.at(), "fb_app", &id).await;
        assert_eq!(answer.status, status, "{late}: {}", answer.body);
        assert_eq!(vendor.batches().len(), 1, "{late}");
        let alone = usize::from(late == "run");
        assert_eq!(vendor.completions().len(), alone, "{late}");
        match late {
            "run" => assert_eq!(super::posted(&flyball), 2 * i128::from(half_price())),
            _ => {
                assert_eq!(answer.json()["error"]["code"], "flyball_deadline");
                assert_eq!(super::posted(&flyball), 0);
            }
        }
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn a_cap_holds_what_waits_as_well() {
    let hangs = Ways {
        hangs: true,
        ..Ways::default()
    };
    let vendor = Vendor::start(hangs).await;
    let flyball = start(&config(&vendor, SOON), |dir| {
        make_key(dir, "app", Some("0.0001"), |_| {});
    })
    .await;
    waiting(&asked(flyball.at(), "fb_app", &WAITS, "q").await);
    let refused = asked(flyball.at(), "fb_app", &WAITS, "q").await;
    assert_eq!(refused.status, 402, "{}", refused.body);
}

#[tokio::test]
async fn what_waits_goes_on_after_a_restart() {
    let vendor = Vendor::start(Ways::default()).await;
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
    make_key(&dir, "app", Some("1"), |_| {});
    // It is stopped while it collects.
    let toml = config(&vendor, "wait_from = \"1s\"\ncollect = \"4s\"");
    let flyball = Flyball::start_in(dir, &toml).await;
    let id = waiting(&asked(flyball.at(), "fb_app", &WAITS, "q").await);
    let dir = flyball.stop().await;
    assert!(vendor.asked().is_empty());
    let flyball = Flyball::start_in(dir, &toml).await;
    let answer = answered(flyball.at(), "fb_app", &id).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(vendor.asked().len(), 1);
    assert_eq!(super::posted(&flyball), i128::from(half_price()));
    flyball.books_are_right().await;
}

/// The parts of a post that a receiver checks.
fn signed(head: &str, body: &str, secret: &[u8]) -> bool {
    use hmac::{Hmac, KeyInit, Mac};
    let of = |name: &str| {
        let line = head
            .lines()
            .find(|line| line.to_ascii_lowercase().starts_with(name));
        line.and_then(|line| line.split_once(": "))
            .map(|(_, value)| value.trim().to_owned())
    };
    let (Some(id), Some(at), Some(signature)) = (
        of("webhook-id"),
        of("webhook-timestamp"),
        of("webhook-signature"),
    ) else {
        return false;
    };
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret).expect("any length");
    mac.update(format!("{id}.{at}.{body}").as_bytes());
    signature == format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn a_signed_webhook_tells_of_it_until_it_is_heard_and_also_after_a_restart() {
    let vendor = Vendor::start(Ways::default()).await;
    let hook = Upstream::start(answer(500, "{}")).await;
    let others = Upstream::start(answer(200, "{}")).await;
    let secret = [7_u8; 32];
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
    let written = format!("whsec_{}", STANDARD.encode(secret));
    std::fs::write(dir.path().join("hook"), written).expect("a file");
    for (name, url) in [("own-url", hook.url()), ("other-url", others.url())] {
        std::fs::write(dir.path().join(name), url).expect("a file");
    }
    make_key(&dir, "app", Some("1"), |_| {});
    let toml = format!(
        "{}\n[[webhook]]\nkey = \"app\"\nurl = \"file:own-url\"\nsecret = \"file:hook\"\n[[webhook]]\nurl = \"file:other-url\"\nsecret = \"file:hook\"\n",
        config(&vendor, SOON)
    );
    let flyball = Flyball::start_in(dir, &toml).await;
    let id = waiting(&asked(flyball.at(), "fb_app", &WAITS, "q").await);
    hook.reached(1).await;
    let dir = flyball.stop().await;
    let refused = hook.count();
    hook.only(answer(200, "{}"));
    let flyball = Flyball::start_in(dir, &toml).await;
    hook.reached(refused + 1).await;
    for seen in hook.seen() {
        assert!(signed(&seen.head, &seen.body, &secret), "{}", seen.head);
        let told: Value = serde_json::from_str(&seen.body).expect("JSON");
        assert_eq!(told["type"], "request.completed");
        assert_eq!(told["data"]["id"], id);
        assert!(
            !seen.body.contains("echo"),
            "the answer is fetched: {}",
            seen.body
        );
        let of = seen.header("webhook-id");
        assert_eq!(of, Some(format!("msg_{id}")), "the same each time");
    }
    assert_eq!(others.count(), 0);
    found("it is counted", async || {
        let metrics = flyball.metrics().await;
        let told = "flyball_webhook_posts_total{outcome=\"delivered\"} 1";
        metrics.contains(told).then_some(())
    })
    .await;
    let answer = answered(flyball.at(), "fb_app", &id).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[tokio::test]
async fn what_has_become_confidential_meanwhile_does_not_go_out_and_is_taken_back_where_it_has() {
    for sent in [false, true] {
        let hangs = Ways {
            hangs: sent,
            ..Ways::default()
        };
        let vendor = Vendor::start(hangs).await;
        let waits = match sent {
            true => SOON,
            false => "wait_from = \"1s\"\ncollect = \"3s\"",
        };
        let far = "api_key = \"file:key\"\nlocal = false";
        let toml = config(&vendor, waits).replace("api_key = \"file:key\"", far);
        let flyball = start(&toml, |dir| make_key(dir, "app", Some("1"), |_| {})).await;
        let at = flyball.at();
        let secret = waiting(&asked(at, "fb_app", &WAITS, "about wombats").await);
        let plain = waiting(&asked(at, "fb_app", &WAITS, "about trees").await);
        if sent {
            until("the vendor has it", || vendor.batches().len() == 1).await;
        }
        let privacy = format!("{toml}\n[privacy]\ndetect = [\"own\"]\nwords = [\"wombats\"]\n");
        let file = flyball.dir.path().join("flyball.toml");
        std::fs::write(file, privacy).expect("written");
        flyball.running.reload().expect("reloaded");
        let refused = answered(at, "fb_app", &secret).await;
        assert_eq!(refused.status, 403, "{sent}: {}", refused.body);
        let told = answered(at, "fb_app", &plain).await;
        assert_eq!(told.status, 200, "{sent}: {}", told.body);
        let alone = vendor.completions();
        assert_eq!(alone.len(), usize::from(sent), "{alone:?}");
        assert!(alone.iter().all(|body| !body.contains("wombats")));
        match sent {
            true => assert!(vendor.heads().iter().any(|head| head.contains("/cancel"))),
            false => assert_eq!(vendor.asked().len(), 1),
        }
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn what_has_become_confidential_while_its_vendor_took_nothing_never_goes_there() {
    for busy in [true, false] {
        // The one has not taken the call, of the other nobody knows.
        let ways = match busy {
            true => Ways {
                busy_creates: usize::MAX,
                ..Ways::default()
            },
            false => Ways {
                breaks_creates: usize::MAX,
                ..Ways::default()
            },
        };
        let vendor = Vendor::start(ways).await;
        let far = "api_key = \"file:key\"\nlocal = false";
        let toml = config(&vendor, SOON).replace("api_key = \"file:key\"", far);
        let flyball = start(&toml, |dir| make_key(dir, "app", Some("1"), |_| {})).await;
        let at = flyball.at();
        let secret = waiting(&asked(at, "fb_app", &WAITS, "about wombats").await);
        let plain = waiting(&asked(at, "fb_app", &WAITS, "about trees").await);
        let made = |head: &String| head.starts_with("POST /v1/batches");
        until("its vendor was called", || vendor.heads().iter().any(made)).await;
        let privacy = format!("{toml}\n[privacy]\ndetect = [\"own\"]\nwords = [\"wombats\"]\n");
        let file = flyball.dir.path().join("flyball.toml");
        std::fs::write(file, privacy).expect("written");
        flyball.running.reload().expect("reloaded");
        let refused = answered(at, "fb_app", &secret).await;
        assert_eq!(refused.status, 403, "{busy}: {}", refused.body);
        vendor.change(|ways| (ways.busy_creates, ways.breaks_creates) = (0, 0));
        let told = answered(at, "fb_app", &plain).await;
        assert_eq!(told.status, 200, "{busy}: {}", told.body);
        assert_eq!(vendor.asked().len(), 1, "{busy}");
        assert!(vendor.completions().is_empty(), "{busy}");
        assert_eq!(super::posted(&flyball), i128::from(half_price()), "{busy}");
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn who_shares_a_batch_does_not_fail_for_another_ones_mistake_nor_reads_of_it() {
    let ways = Ways {
        refuses: Some("wrong"),
        ..Ways::default()
    };
    let vendor = Vendor::start(ways).await;
    let flyball = with_two_keys(&vendor, "wait_from = \"1s\"\ncollect = \"1s\"").await;
    let at = flyball.at();
    let mut ids = Vec::new();
    for text in ["a", "wrong", "b", "c", "d"] {
        let key = match text {
            "wrong" => "fb_other",
            _ => "fb_app",
        };
        let id = waiting(&asked(at, key, &WAITS, text).await);
        ids.push((key, text, id));
    }
    for (key, text, id) in &ids {
        let told = answered(at, key, id).await;
        match *text {
            "wrong" => assert_eq!(told.status, 400, "{}", told.body),
            _ => assert_eq!(told.status, 200, "{text}: {}", told.body),
        }
        assert_eq!(told.body.contains("org-secret"), *text == "wrong");
    }
    assert!(vendor.completions().is_empty());
    assert_eq!(vendor.asked().len(), 4, "nothing is asked twice");
    assert_eq!(super::posted(&flyball), 4 * i128::from(half_price()));
    flyball.books_are_right().await;
}

#[tokio::test]
async fn what_was_cancelled_is_not_asked_at_once_when_its_batch_is_late() {
    let hangs = Ways {
        hangs: true,
        ..Ways::default()
    };
    let vendor = Vendor::start(hangs).await;
    let flyball = with_two_keys(
        &vendor,
        "wait_from = \"1s\"\ncollect = \"300ms\"\nlate = \"run\"",
    )
    .await;
    let at = flyball.at();
    let soon = [("prefer", "respond-async"), ("x-flyball-deadline", "4s")];
    let gone = waiting(&asked(at, "fb_app", &soon, "gone").await);
    let stays = waiting(&asked(at, "fb_other", &soon, "stays").await);
    until("the vendor has it", || !vendor.batches().is_empty()).await;
    let told = delete(at, "fb_app", &gone).await;
    assert_eq!(told.json()["status"], "cancelled", "{}", told.body);
    assert_eq!(answered(at, "fb_other", &stays).await.status, 200);
    let alone = vendor.completions();
    assert_eq!(alone.len(), 1, "{alone:?}");
    assert!(alone[0].contains("stays"), "{alone:?}");
    flyball.books_are_right().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_waits_is_sent_twice_or_lost_whenever_it_dies() {
    for round in 0..rounds() {
        let ways = Ways {
            looks: 3,
            loses_creates: usize::try_from(round % 2).expect("small"),
            ..Ways::default()
        };
        let vendor = Vendor::start(ways).await;
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
        make_key(&dir, "app", Some("1"), |_| {});
        let settings = Settings::embedded(&dir.path().join("data"));
        let toml = config(&vendor, SOON);
        std::fs::write(dir.path().join("flyball.toml"), toml).expect("a file");
        let (mut child, at) = serve(dir.path());
        let mut ids = Vec::new();
        for n in 0..8 {
            ids.push(waiting(
                &asked(at, "fb_app", &WAITS, &format!("q{n}")).await,
            ));
        }
        for death in 0..3_u64 {
            // Somewhere within the seconds that it waits and is answered in; whatever it meets, the outcome is the same.
            let pause = Duration::from_millis((round * 237 + death * 411) % 1_300);
            tokio::time::sleep(pause).await;
            killed(&mut child);
            let (next, _) = serve(dir.path());
            child = next;
        }
        killed(&mut child);
        let (mut child, at) = serve(dir.path());
        for id in &ids {
            let told = within("it is answered", answered(at, "fb_app", id)).await;
            assert_eq!(told.status, 200, "round {round}: {}", told.body);
        }
        let asked = vendor.asked();
        let once: HashSet<&(String, String)> = asked.iter().collect();
        assert_eq!(asked.len(), once.len(), "round {round}: sent twice");
        assert_eq!(asked.len(), 8, "round {round}");
        killed(&mut child);
        let booked = worked("the books are read", move || booked(&settings)).await;
        assert_eq!(booked, 8 * i128::from(half_price()), "round {round}");
    }
}

#[tokio::test]
async fn a_key_that_is_paused_waits_by_itself_and_one_that_is_revoked_keeps_nobody_waiting() {
    for revoked in [false, true] {
        let vendor = Vendor::start(Ways {
            busy_creates: usize::MAX,
            ..Ways::default()
        })
        .await;
        let flyball = super::administered(&vendor, SOON).await;
        let at = flyball.at();
        let own = waiting(&asked(at, "fb_app", &WAITS, "a").await);
        let others = waiting(&asked(at, "fb_other", &WAITS, "b").await);
        let made = |head: &String| head.starts_with("POST /v1/batches ");
        until("its vendor was called", || vendor.heads().iter().any(made)).await;
        let change = async |method: &str, body: &str| {
            let changed = crate::admin::keys::call(&flyball, method, "/keys/other", body).await;
            assert_eq!(changed.status, 200, "{}", changed.body);
        };
        match revoked {
            true => change("DELETE", "").await,
            false => change("PATCH", r#"{"paused":true}"#).await,
        }
        vendor.change(|ways| ways.busy_creates = 0);
        let told = answered(at, "fb_app", &own).await;
        assert_eq!(told.status, 200, "{revoked}: {}", told.body);
        assert_eq!(vendor.asked().len(), 1, "{revoked}");
        match revoked {
            true => {
                found("the batch is over", async || {
                    let open = flyball.running.state.batches.live().await.expect("read");
                    open.is_empty().then_some(())
                })
                .await;
            }
            false => {
                change("PATCH", r#"{"paused":false}"#).await;
                let told = answered(at, "fb_other", &others).await;
                assert_eq!(told.status, 200, "{}", told.body);
            }
        }
        assert_eq!(vendor.asked().len(), if revoked { 1 } else { 2 });
        flyball.books_are_right().await;
    }
}
