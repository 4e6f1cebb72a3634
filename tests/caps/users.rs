//! Caps on the end users of apps, whom a request names.

use super::{KEY, body, bound_pico};
use crate::client::{get, post};
use crate::flyball::{Flyball, compatible, make_key, overrides};
use crate::scripted::{Upstream, answer, chat};
use flyball::ledger::cap::Cap;
use flyball::money::PicoUsd;
use futures_util::future::join_all;
use serde_json::{Value, json};

const INPUT: u64 = 400 + 528;

/// Headers and a body, and the status that they are answered with.
type Call<'a> = (&'a [(&'a str, &'a str)], String, u16);

fn usd(requests: u64) -> String {
    PicoUsd(i128::from(bound_pico(400, 100) * requests)).usd_text()
}

async fn upstream() -> Upstream {
    Upstream::start(answer(200, &chat(INPUT, 100))).await
}

/// A request that costs its bound, of 400 bytes, which names its user with this field.
fn naming(field: &str) -> String {
    let whole = body(400, Some(100), false);
    let filled = "x".repeat(field.len());
    let shorter = whole.replacen(&filled, "", 1);
    shorter.replacen("{\"model\"", &format!("{{{field}\"model\""), 1)
}

fn user(name: &str) -> String {
    naming(&format!("\"user\":\"{name}\","))
}

#[tokio::test]
async fn each_user_has_a_room_that_exceptions_replace_and_that_leaving_the_name_out_does_not_dodge()
{
    let upstream = upstream().await;
    let toml = format!(
        "end_user_header = \"x-user-id\"\n{}\n[[cap]]\neach = \"user\"\nusd = {}\nwindow = \"day\"\n\
         [[cap]]\nuser = \"vip-*\"\nusd = {}\nwindow = \"day\"\n[[cap]]\nuser = \"vip-eve\"\nusd = 0\nwindow = \"day\"\n",
        compatible(&upstream),
        usd(1),
        usd(3)
    );
    let flyball = Flyball::start(&toml).await;
    assert_eq!(user("alice").len(), 400);
    let plain = body(400, Some(100), false);
    let alice = ("x-user-id", "alice");
    let calls: [Call<'_>; 14] = [
        (&[], user("alice"), 200),
        (&[], user("alice"), 402),
        // The same user by the header, which goes before the field.
        (&[alice], user("bob"), 402),
        (&[], user("bob"), 200),
        (&[], naming("\"safety_identifier\":\"bob\","), 402),
        // Nobody is a user too.
        (&[], plain.clone(), 200),
        (&[], plain.clone(), 402),
        (&[], user(""), 402),
        (&[("x-user-id", "")], plain, 402),
        (&[], user("vip-tom"), 200),
        (&[], user("vip-tom"), 200),
        (&[], user("vip-tom"), 200),
        (&[], user("vip-tom"), 402),
        (&[], user("vip-eve"), 402),
    ];
    for (n, (headers, asked, status)) in calls.into_iter().enumerate() {
        let got = flyball.chat(headers, &asked).await;
        assert_eq!(got.status, status, "{n}: {}", got.body);
        if status == 402 {
            let said = "The day spend cap of this flyball on this end user has no room";
            assert!(got.body.contains(said), "{n}: {}", got.body);
            assert_eq!(got.header("x-should-retry"), Some("false"));
        }
    }
    assert_eq!(upstream.count(), 6);
    assert!(
        upstream
            .seen()
            .iter()
            .all(|s| s.header("x-user-id").is_none())
    );
    flyball.books_are_right().await;
}

#[tokio::test]
async fn users_of_an_anthropic_client_are_refused_in_its_words_and_the_room_of_the_whole_still_holds()
 {
    let upstream = upstream().await;
    let toml = format!(
        "{}\n[[cap]]\neach = \"user\"\nrequests = 1\nwindow = \"day\"\n[[cap]]\nrequests = 2\nwindow = \"day\"\n",
        compatible(&upstream)
    );
    let flyball = Flyball::start(&toml).await;
    let asked = |name: &str| {
        json!({"model": "m-small", "max_tokens": 100, "metadata": {"user_id": name},
            "messages": [{"role": "user", "content": "hi"}]})
        .to_string()
    };
    let version = ("anthropic-version", "2023-06-01");
    let ask = async |name: &str| post(flyball.at(), "/v1/messages", &[version], &asked(name)).await;
    assert_eq!(ask("alice").await.status, 200);
    let refused = ask("alice").await;
    assert_eq!(
        (refused.status, refused.json()["error"]["type"].clone()),
        (402, json!("billing_error")),
        "{}",
        refused.body
    );
    assert!(
        refused.body.contains("on this end user"),
        "{}",
        refused.body
    );
    assert_eq!(ask("bob").await.status, 200);
    // Whoever makes up names spends from the same whole.
    let carol = ask("carol").await;
    assert!(
        carol.status == 402 && !carol.body.contains("end user"),
        "{}",
        carol.body
    );
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_request_without_a_user_is_refused_where_there_must_be_one() {
    let upstream = upstream().await;
    let toml = format!("require_user = true\n{}", compatible(&upstream));
    let flyball = Flyball::start(&toml).await;
    let refused = flyball.chat(&[], &body(400, Some(100), false)).await;
    assert_eq!(
        (refused.status, refused.json()["error"]["code"].clone()),
        (400, json!("flyball_user")),
        "{}",
        refused.body
    );
    let long = user(&"y".repeat(300));
    let refused = flyball.chat(&[], &long).await;
    assert!(
        refused.status == 400 && refused.body.contains("at most 256 bytes"),
        "{}",
        refused.body
    );
    assert_eq!(flyball.chat(&[], &user("alice")).await.status, 200);
    // A list of models is for nobody in particular.
    assert_eq!(get(flyball.at(), "/v1/models", &[]).await.status, 200);
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn what_users_have_spent_survives_restarts_and_stands_in_the_books_under_their_hash() {
    let upstream = upstream().await;
    let cap = format!(
        "[[cap]]\neach = \"user\"\nusd = {}\nwindow = \"day\"\n",
        usd(2)
    );
    let toml = format!("{}\n{cap}", compatible(&upstream));
    let flyball = Flyball::start(&toml).await;
    for name in ["alice", "bob", "alice"] {
        assert_eq!(flyball.chat(&[], &user(name)).await.status, 200);
    }
    flyball.books_are_right().await;
    let dir = flyball.stop().await;
    let flyball = Flyball::start_in(dir, &toml).await;
    for (name, status) in [("alice", 402), ("bob", 200), ("bob", 402), ("carol", 200)] {
        assert_eq!(
            flyball.chat(&[], &user(name)).await.status,
            status,
            "{name}"
        );
    }
    flyball.books_are_right().await;
    // printf alice | sha256sum | cut -c1-32
    let alice = "2bd806c97f0e00af1a1fc3328fa763a9";
    let rows = flyball.rows().await;
    let of_alice = rows.iter().filter(|row| row["user"] == alice).count();
    assert_eq!((rows.len(), of_alice), (5, 2));
    let metrics = flyball.metrics().await;
    let refusals = metrics.lines().find(|line| {
        line.starts_with("flyball_cap_refusals_total{cap=\"each user day\"")
            && line.contains("reason=\"full\"")
    });
    assert!(
        refusals.is_some_and(|line| line.ends_with(" 2")),
        "{refusals:?}"
    );
    let admin = get(flyball.running.admin, "/admin/v1/caps", &[]).await;
    let me = get(flyball.at(), "/flyball/me", &[]).await;
    for (what, told) in [
        ("metrics", &metrics),
        ("admin", &admin.body),
        ("me", &me.body),
    ] {
        assert!(!told.contains("alice"), "{what}");
    }
    assert!(!metrics.contains(alice) && !me.body.contains(alice));
    let caps = admin.json();
    let shown = caps["caps"].as_array().expect("caps").iter();
    let of_alice = shown.filter(|row| row["counter"].as_str().is_some_and(|c| c.contains(alice)));
    assert_eq!(
        of_alice
            .map(|row| row["spent_usd"].clone())
            .collect::<Vec<_>>(),
        [json!(usd(2))]
    );
    let query = "/admin/v1/report?by=user";
    let report = get(flyball.running.admin, query, &[]).await.json();
    let rows: Vec<&Value> = report["rows"].as_array().expect("rows").iter().collect();
    let of_alice = rows.iter().find(|row| row["user"] == alice).expect("a row");
    assert_eq!(of_alice["cost_usd"], json!(usd(2)));
}

#[tokio::test]
async fn a_cap_on_users_that_comes_later_counts_what_they_have_spent_before() {
    let upstream = upstream().await;
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "app", None, |_| {});
    let toml = format!("end_user_names = \"plain\"\n{}", compatible(&upstream));
    let flyball = Flyball::start_in(dir, &toml).await;
    for _ in 0..2 {
        assert_eq!(flyball.chat(&[KEY], &user("alice")).await.status, 200);
    }
    let rows = flyball.rows().await;
    assert_eq!(rows[0]["user"], "alice");
    // A cap of the key's own, on each of its users.
    let cap = Cap::parse(&format!("{}usd/day user", usd(3))).expect("a cap");
    let ledger = flyball.running.state.ledger.clone();
    let set = ledger.set_caps(|| vec![cap.for_key(1)]).await;
    set.expect("set");
    for (name, status) in [("alice", 200), ("alice", 402), ("bob", 200)] {
        let got = flyball.chat(&[KEY], &user(name)).await;
        assert_eq!(got.status, status, "{name}: {}", got.body);
    }
    let refused = flyball.chat(&[KEY], &user("alice")).await;
    assert!(
        refused.body.contains("of this key on this end user (")
            && refused.body.contains("nothing is left"),
        "{}",
        refused.body
    );
    flyball.books_are_right().await;
}

#[tokio::test]
async fn of_a_hundred_at_once_for_one_user_as_many_are_answered_as_fit() {
    let upstream = upstream().await;
    let toml = format!(
        "{}\n[[cap]]\neach = \"user\"\nusd = {}\nwindow = \"day\"\n",
        compatible(&upstream),
        usd(7)
    );
    let flyball = Flyball::start(&toml).await;
    let at = flyball.at();
    let calls = (0..100).map(|n| {
        let asked = user(if n % 2 == 0 { "alice" } else { "bob" });
        async move { post(at, "/v1/chat/completions", &[], &asked).await.status }
    });
    let statuses = join_all(calls).await;
    let answered = statuses.iter().filter(|s| **s == 200).count();
    // Whoever meets open reservations alone is refused too, and could have waited.
    assert!((2..=14).contains(&answered), "{statuses:?}");
    flyball.books_are_right().await;
    let spent = flyball.running.state.ledger.standings();
    let users = spent
        .iter()
        .filter(|s| s.counter.to_string().starts_with("user="));
    let spent: Vec<i128> = users.map(|s| s.posted).collect();
    let one = i128::from(bound_pico(400, 100));
    assert_eq!(
        spent.iter().sum::<i128>(),
        one * i128::try_from(answered).expect("few")
    );
    assert!(spent.iter().all(|s| *s <= one * 7), "{spent:?}");
}

#[tokio::test]
async fn wrong_settings_of_users_are_told_with_their_line() {
    for (toml, told) in [
        (
            "end_user_header = \"x user\"\n",
            "flyball.toml:1: end_user_header: \"x user\" is not the name of a header",
        ),
        (
            "end_user_header = \"Authorization\"\n",
            "flyball.toml:1: end_user_header: \"Authorization\" says something else already",
        ),
        ("end_user_names = \"hash\"\n", "did you mean \"hashed\"?"),
        ("require_user = 1\n", "flyball.toml:1:"),
        (
            "[[cap]]\neach = \"user\"\nusd = 1\nwindow = \"day\"\nnotify_percent = 50\n",
            "flyball.toml:5:",
        ),
        (
            "[[cap]]\nuser = \"a\"\nusd = 1\nwindow = \"day\"\n[[cap]]\nuser = \"a\"\nusd = 2\nwindow = \"day\"\n",
            "cap: there is one for this window already",
        ),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let overrides = overrides(&dir);
        std::fs::write(dir.path().join("flyball.toml"), toml).expect("a file");
        let Err(complaints) = flyball::config::load(&overrides) else {
            panic!("{toml} is taken");
        };
        let all: Vec<String> = complaints.iter().map(ToString::to_string).collect();
        let all = all.join("\n");
        assert!(all.contains(told), "{toml}: {all}");
    }
}

#[tokio::test]
async fn a_call_that_equal_requests_share_counts_for_the_user_who_has_made_it() {
    let upstream = upstream().await;
    let toml = format!(
        "end_user_header = \"x-user-id\"\n{}\n[response_cache]\n[[cap]]\neach = \"user\"\nusd = {}\nwindow = \"day\"\n",
        compatible(&upstream),
        usd(1)
    );
    let flyball = Flyball::start(&toml).await;
    let asked = body(400, Some(100), false);
    for (user, status) in [("alice", 200), ("alice", 402), ("bob", 200)] {
        let headers = [("x-user-id", user), ("x-flyball-cache", "refresh")];
        let got = flyball.chat(&headers, &asked).await;
        assert_eq!(got.status, status, "{user}: {}", got.body);
    }
    flyball.books_are_right().await;
}

#[tokio::test]
async fn files_and_batches_that_a_vendor_keeps_are_for_the_end_user_whom_a_header_names() {
    let upstream = Upstream::start(answer(200, r#"{"id":"batch-1"}"#)).await;
    let base = upstream.url();
    let toml = format!(
        "end_user_header = \"x-user-id\"\nrequire_user = true\n\
         [batch]\nkeep = false\n\
         [[provider]]\nname = \"o\"\nkind = \"openai\"\nbase_url = \"{base}\"\napi_key = \"file:key\"\n\
         [[model]]\nname = \"m-o\"\nprovider = \"o\"\ntier = \"small\"\n\
         [[cap]]\nuser = \"eve\"\nusd = 0\nwindow = \"day\"\n"
    );
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
    let flyball = Flyball::start_in(dir, &toml).await;
    let hand_in = async |headers: &[(&str, &str)]| {
        let body = r#"{"input_file_id":"file-1"}"#;
        post(flyball.at(), "/v1/batches", headers, body).await
    };
    let told = |got: &crate::client::Answer| (got.status, got.json()["error"]["code"].clone());
    let bob = hand_in(&[("x-user-id", "bob")]).await;
    assert_eq!(bob.status, 200, "{}", bob.body);
    let eve = hand_in(&[("x-user-id", "eve")]).await;
    assert_eq!(
        told(&eve),
        (400, json!("flyball_unbounded")),
        "{}",
        eve.body
    );
    let nobody = hand_in(&[]).await;
    assert_eq!(
        told(&nobody),
        (400, json!("flyball_user")),
        "{}",
        nobody.body
    );
    // Looking and cancelling make nothing.
    for path in ["/v1/batches/batch-1", "/v1/responses/resp_1"] {
        let got = get(flyball.at(), path, &[]).await;
        assert_eq!(got.status, 200, "{path}: {}", got.body);
    }
    let cancelled = post(flyball.at(), "/v1/batches/batch-1/cancel", &[], "").await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.body);
    let seen = upstream.seen();
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().all(|s| s.header("x-user-id").is_none()));
    flyball.books_are_right().await;
}
