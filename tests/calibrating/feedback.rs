//! Feedback: who made a request says how good its answer was.

use crate::client::{Answer, post};
use crate::flyball::{Flyball, compatible, make_key};
use crate::scripted::{Upstream, answer, chat};
use flyball::ledger::judged::{JudgedAnswer, JudgedBy};
use serde_json::{Value, json};

const APP: [(&str, &str); 1] = [("authorization", "Bearer fb_app")];
const OTHER: [(&str, &str); 1] = [("authorization", "Bearer fb_other")];

/// A flyball with two keys, and the id of a request that the first one has made.
async fn answered() -> (Upstream, Flyball, String) {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let dir = tempfile::tempdir().expect("a folder");
    for name in ["app", "other"] {
        make_key(&dir, name, None, |_| {});
    }
    let flyball = Flyball::start_in(dir, &compatible(&upstream)).await;
    let id = asked(&flyball, "m-small").await;
    (upstream, flyball, id)
}

async fn asked(flyball: &Flyball, model: &str) -> String {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "Translate into German: Good evening."}]});
    let got = flyball.chat(&APP, &body.to_string()).await;
    assert_eq!(got.status, 200, "{}", got.body);
    got.header("x-flyball-request-id")
        .expect("an id")
        .to_owned()
}

async fn says(flyball: &Flyball, path: &str, key: &[(&str, &str)], body: &Value) -> Answer {
    post(flyball.at(), path, key, &body.to_string()).await
}

async fn outcomes(flyball: &Flyball) -> Vec<JudgedAnswer> {
    flyball.flush().await;
    let mut all = Vec::new();
    let read = flyball.books().outcomes(&mut |o| all.push(o));
    read.expect("the outcomes");
    all
}

#[tokio::test]
async fn every_form_of_feedback_becomes_an_outcome_and_a_later_one_takes_the_place_of_an_earlier_one()
 {
    let (_upstream, flyball, id) = answered().await;
    for (said, score) in [
        (json!({"request": id, "thumb": "up"}), 1.0),
        (json!({"request": id, "thumb": "down"}), 0.0),
        (json!({"request": id, "score": 0.25}), 0.25),
        (json!({"request": id, "good": true}), 1.0),
        (json!({"request": id, "correction": "Guten Abend."}), 0.0),
    ] {
        // SDKs put /v1 before it.
        for path in ["/flyball/feedback", "/v1/flyball/feedback"] {
            let got = says(&flyball, path, &APP, &said).await;
            assert_eq!(got.status, 200, "{}", got.body);
            let told: Value = serde_json::from_str(&got.body).expect("JSON");
            assert_eq!(
                (&told["score"], &told["request"]),
                (&json!(score), &json!(id))
            );
        }
        let all = outcomes(&flyball).await;
        let [outcome] = &all[..] else {
            panic!("{all:?}");
        };
        #[allow(clippy::cast_precision_loss, reason = "it is small")]
        let kept = outcome.score_ppm as f64 / 1e6;
        assert_eq!((kept, outcome.by), (score, JudgedBy::Feedback));
        assert_eq!(
            (outcome.arm().as_str(), &outcome.request),
            ("m-small@none", &id)
        );
        assert!(outcome.cost.is_some() && outcome.key.is_some());
        assert!(
            !format!("{outcome:?}").contains("Guten"),
            "no words are kept"
        );
    }
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_request_of_another_key_and_one_that_nobody_made_are_the_same_404() {
    let (_upstream, flyball, id) = answered().await;
    let path = "/flyball/feedback";
    let other = says(
        &flyball,
        path,
        &OTHER,
        &json!({"request": id, "thumb": "down"}),
    )
    .await;
    let nobody = uuid::Uuid::now_v7().to_string();
    let missing = says(
        &flyball,
        path,
        &APP,
        &json!({"request": nobody, "thumb": "down"}),
    )
    .await;
    let none = says(
        &flyball,
        path,
        &APP,
        &json!({"request": "1' OR 1", "thumb": "up"}),
    )
    .await;
    let without_id = |got: &Answer| {
        let told: Value = serde_json::from_str(&got.body).expect("JSON");
        (got.status, told["error"]["message"].clone())
    };
    assert_eq!(without_id(&other), without_id(&missing));
    assert_eq!(without_id(&other), without_id(&none));
    assert_eq!(other.status, 404);
    let unknown = says(&flyball, path, &[], &json!({"request": id, "thumb": "up"})).await;
    assert_eq!(unknown.status, 401);
    assert!(outcomes(&flyball).await.is_empty());
}

#[tokio::test]
async fn what_is_no_feedback_is_a_400_that_says_what_it_should_be() {
    let (_upstream, flyball, id) = answered().await;
    for said in [
        json!({"request": id}),
        json!({"thumb": "up"}),
        json!({"request": id, "thumb": "sideways"}),
        json!({"request": id, "thumb": 1}),
        json!({"request": id, "score": 1.01}),
        json!({"request": id, "score": -0.1}),
        json!({"request": id, "score": "1"}),
        json!({"request": id, "correction": " "}),
        json!({"request": id, "thumb": "up", "score": 0}),
        json!({"request": id, "thumb": "up", "colour": "red"}),
        json!([id, "up"]),
        json!("up"),
    ] {
        let got = says(&flyball, "/flyball/feedback", &APP, &said).await;
        assert_eq!(got.status, 400, "{said}: {}", got.body);
    }
    let path = format!("/flyball/requests/{}/feedback", uuid::Uuid::now_v7());
    let two = says(
        &flyball,
        &path,
        &APP,
        &json!({"request": id, "thumb": "up"}),
    )
    .await;
    assert_eq!(two.status, 400, "{}", two.body);
    let get = crate::client::get(flyball.at(), "/flyball/feedback", &APP).await;
    assert_eq!(get.status, 404);
    let long = json!({"request": id, "correction": "x".repeat(300_000)});
    let got = says(&flyball, "/flyball/feedback", &APP, &long).await;
    assert_eq!(got.status, 413, "{}", &got.body[..got.body.len().min(200)]);
    assert!(outcomes(&flyball).await.is_empty());
}

#[tokio::test]
async fn a_request_that_was_not_answered_cannot_be_judged() {
    let upstream = Upstream::start(answer(400, r#"{"error":{"message":"no"}}"#)).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let body = json!({"model": "m-small", "messages": [{"role": "user", "content": "Hello"}]});
    let got = flyball.chat(&[], &body.to_string()).await;
    let id = got.header("x-flyball-request-id").expect("an id");
    let said = json!({"request": id, "thumb": "down"});
    let got = says(&flyball, "/flyball/feedback", &[], &said).await;
    assert_eq!(got.status, 404, "{}", got.body);
}

#[tokio::test]
async fn feedback_that_cannot_be_kept_is_told_and_not_taken_for_said() {
    let (_upstream, flyball, id) = answered().await;
    flyball.flush().await;
    let db = flyball::ledger::store::sqlite::open(&flyball.data_dir()).expect("the ledger");
    db.execute_batch("ALTER TABLE outcome RENAME TO away")
        .expect("it is away");
    let said = json!({"request": id, "correction": "Guten Abend."});
    let got = says(&flyball, "/flyball/feedback", &APP, &said).await;
    assert_eq!(got.status, 503, "{}", got.body);
    db.execute_batch("ALTER TABLE away RENAME TO outcome")
        .expect("it is back");
    let got = says(&flyball, "/flyball/feedback", &APP, &said).await;
    assert_eq!(got.status, 200, "{}", got.body);
    assert_eq!(outcomes(&flyball).await.len(), 1);
}
