//! A batch on a provider with several credentials is made, looked at and fetched by one of them.

use super::*;
use std::collections::BTreeSet;

fn several(vendor: &Vendor) -> String {
    let credential = |name: &str| {
        format!("\n[[provider.credential]]\nname = \"{name}\"\napi_key = \"file:{name}.key\"\n")
    };
    let all: String = ["a", "b", "c"].map(credential).concat();
    config(vendor, "").replacen("api_key = \"file:key\"\n", &all, 1)
}

fn accounts(vendor: &Vendor) -> BTreeSet<String> {
    let heads = vendor.heads();
    let of_batches = heads
        .iter()
        .filter(|head| head.contains("/v1/batches") || head.contains("/v1/files"));
    let key = |head: &String| {
        let mut lines = head.lines();
        let line = lines.find(|line| line.to_lowercase().starts_with("authorization:"));
        line.unwrap_or_default().to_owned()
    };
    of_batches.map(key).collect()
}

#[tokio::test]
async fn a_batch_stays_with_the_account_that_has_made_it() {
    let vendor = Vendor::start(Ways {
        looks: 3,
        ..Ways::default()
    })
    .await;
    let flyball = start(&several(&vendor), |dir| {
        for name in ["a", "b", "c"] {
            let file = dir.path().join(format!("{name}.key"));
            std::fs::write(file, format!("up-secret-{name}")).expect("a file");
        }
        make_key(dir, "app", Some("5"), |_| {});
    })
    .await;
    let mut used = BTreeSet::new();
    for n in 0..6 {
        let before = accounts(&vendor).len();
        let lines = [
            line("x", "gpt-4o-mini", &format!("one {n}")),
            line("y", "gpt-4o-mini", &format!("two {n}")),
        ];
        let made = hand_in(flyball.at(), "fb_app", &lines.join("\n")).await;
        assert_eq!(made.status, 200, "{}", made.body);
        let id = made.json()["id"].as_str().expect("an id").to_owned();
        let end = over(flyball.at(), "fb_app", &id).await;
        assert_eq!(end["request_counts"]["completed"], 2, "{end}");
        let all = accounts(&vendor);
        assert!(all.len() <= before + 1, "one batch, one account: {all:?}");
        used.extend(all);
    }
    assert!(used.len() > 1, "batches are spread: {used:?}");
    flyball.books_are_right().await;
}
