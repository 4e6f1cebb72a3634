//! What goes astray: a batch that is another's, a list that is late, books that fail, answers that are no line of JSON.

use super::{Vendor, Ways, config, hand_in, id_of, line, over, posted, results, start, upload};
use crate::flyball::make_key;
use serde_json::Value;
use std::time::Duration;

fn lines(many: usize, model: &str) -> String {
    let lines: Vec<String> = (0..many)
        .map(|n| line(&format!("c{n}"), model, "q"))
        .collect();
    lines.join("\n")
}

#[tokio::test]
async fn a_batch_of_anthropics_is_found_by_its_size_and_none_that_is_known_is_taken_for_it() {
    let vendor = Vendor::start(Ways::default()).await;
    let flyball = start(&config(&vendor, ""), |_| {}).await;
    for loses in [0, 1] {
        vendor.change(|ways| ways.loses_creates = loses);
        let made = hand_in(flyball.at(), "x", &lines(2, "claude-haiku-4-5")).await;
        let batch = over(flyball.at(), "x", &id_of(&made)).await;
        assert_eq!(batch["request_counts"]["completed"], 2, "{batch}");
        let told = results(flyball.at(), "x", &batch).await;
        let said = told["c0"]["response"]["body"].to_string();
        assert!(said.contains(&format!("msgbatch_v{loses}")), "{said}");
    }
    let names = vendor.messages();
    assert_eq!(names.len(), 2);
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let names: Vec<String> = names.concat();
    assert!(
        names
            .iter()
            .all(|name| name.len() <= 64 && name.chars().all(fits))
    );
    let once: std::collections::HashSet<&String> = names.iter().collect();
    assert_eq!(once.len(), 4, "each is called otherwise: {names:?}");
    flyball.books_are_right().await;
}

#[tokio::test]
async fn what_another_has_asked_is_nobody_elses_answer() {
    let ways = Ways {
        swaps_creates: 1,
        ..Ways::default()
    };
    let vendor = Vendor::start(ways).await;
    let flyball = start(&config(&vendor, ""), |dir| {
        make_key(dir, "app", Some("1"), |_| {})
    })
    .await;
    let made = hand_in(flyball.at(), "fb_app", &lines(2, "claude-haiku-4-5")).await;
    let batch = over(flyball.at(), "fb_app", &id_of(&made)).await;
    assert_eq!(batch["request_counts"]["failed"], 2, "{batch}");
    let told = results(flyball.at(), "fb_app", &batch).await;
    let said = told["c0"]["response"]["body"].to_string();
    assert!(said.contains("cannot be found out"), "{said}");
    assert_eq!(vendor.messages().len(), 1, "it is not sent again");
    assert!(posted(&flyball) > 0, "it may have been done");
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_batch_that_its_vendor_lists_late_is_not_made_again() {
    let ways = Ways {
        loses_creates: 1,
        lists_after: Duration::from_millis(900),
        ..Ways::default()
    };
    let vendor = Vendor::start(ways).await;
    // It is looked for during three seconds at least, and the first looks come before it is listed.
    let toml = config(&vendor, "").replace("20ms", "1s");
    let flyball = start(&toml, |_| {}).await;
    let made = hand_in(flyball.at(), "x", &lines(1, "gpt-4o-mini")).await;
    let batch = over(flyball.at(), "x", &id_of(&made)).await;
    assert_eq!(batch["status"], "completed", "{batch}");
    assert_eq!(vendor.batches().len(), 1);
}

#[tokio::test]
async fn a_line_whose_end_the_books_do_not_take_is_reported_and_the_others_go_on() {
    let vendor = Vendor::start(Ways::default()).await;
    let flyball = start(&config(&vendor, ""), |_| {}).await;
    let file = upload(flyball.at(), "x", &lines(6, "m-alone")).await;
    let books = flyball.dir.path().join("data").join("batches.sqlite");
    let books = rusqlite::Connection::open(books).expect("the file");
    books
        .execute_batch(
            "CREATE TRIGGER fault BEFORE UPDATE ON fb_batch_line WHEN NEW.n = 1 AND NEW.state = 2 BEGIN SELECT RAISE(FAIL, 'a fault'); END",
        )
        .expect("a fault");
    let id = file.json()["id"].as_str().expect("an id").to_owned();
    let made = super::create(flyball.at(), "x", &id).await;
    let batch = over(flyball.at(), "x", &id_of(&made)).await;
    assert_eq!(batch["request_counts"]["completed"], 5, "{batch}");
    let told = results(flyball.at(), "x", &batch).await;
    let said = told["c1"]["response"]["body"].to_string();
    assert!(said.contains("could not keep what came of it"), "{said}");
    assert_eq!(vendor.completions().len(), 6, "nothing is sent twice");
    flyball.books_are_right().await;
}

#[tokio::test]
async fn an_answer_on_many_lines_is_one_line_of_the_results_and_one_that_is_no_json_an_error() {
    let vendor = Vendor::start(Ways {
        pretty: true,
        ..Ways::default()
    })
    .await;
    let flyball = start(&config(&vendor, ""), |_| {}).await;
    let made = hand_in(flyball.at(), "x", &lines(2, "m-alone")).await;
    let batch = over(flyball.at(), "x", &id_of(&made)).await;
    let told = results(flyball.at(), "x", &batch).await;
    let body = &told["c1"]["response"]["body"];
    assert_eq!(body["choices"][0]["message"]["content"], "echo q", "{body}");
    let output = batch["output_file_id"].as_str().expect("a file");
    let path = format!("/v1/files/{output}/content");
    let raw = super::fetched(flyball.at(), "x", &path).await.body;
    assert_eq!(raw.matches("\"created\":1.50,").count(), 2, "{raw}");
    vendor.change(|ways| ways.garbles = true);
    let made = hand_in(flyball.at(), "x", &lines(1, "m-alone")).await;
    let batch = over(flyball.at(), "x", &id_of(&made)).await;
    let told: Vec<Value> = results(flyball.at(), "x", &batch)
        .await
        .into_values()
        .collect();
    assert_eq!(told.len(), 1);
    let error = &told[0]["response"]["body"]["error"]["message"];
    assert!(error.is_string(), "{told:?}");
}
