//! A batch on a provider with several credentials is made, looked at and fetched by one of them.

use super::*;
use std::collections::BTreeSet;

fn several(vendor: &Vendor) -> String {
    called(vendor, &[("a", "a"), ("b", "b"), ("c", "c")])
}

/// Credentials of these names, each with the key of an account.
fn called(vendor: &Vendor, names: &[(&str, &str)]) -> String {
    let credential = |(name, account): &(&str, &str)| {
        format!("\n[[provider.credential]]\nname = \"{name}\"\napi_key = \"file:{account}.key\"\n")
    };
    let all: String = names.iter().map(credential).collect();
    config(vendor, "").replacen("api_key = \"file:key\"\n", &all, 1)
}

fn keys(dir: &tempfile::TempDir) {
    for name in ["a", "b", "c"] {
        let file = dir.path().join(format!("{name}.key"));
        std::fs::write(file, format!("up-secret-{name}")).expect("a file");
    }
    make_key(dir, "app", Some("5"), |_| {});
}

/// From now on the credentials have other names.
fn renames(flyball: &Flyball, vendor: &Vendor, names: &[(&str, &str)]) {
    let file = flyball.dir.path().join("flyball.toml");
    std::fs::write(file, called(vendor, names)).expect("a file");
    flyball.running.reload().expect("a good file");
}

fn accounts(vendor: &Vendor) -> BTreeSet<String> {
    let heads = vendor.heads();
    let of_batches = heads
        .iter()
        .filter(|head| head.contains("/v1/batches") || head.contains("/v1/files"));
    of_batches.map(|head| vendor::key_of(head)).collect()
}

#[tokio::test]
async fn a_batch_stays_with_the_account_that_has_made_it() {
    let vendor = Vendor::start(Ways {
        looks: 3,
        ..Ways::default()
    })
    .await;
    let flyball = start(&several(&vendor), keys).await;
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
