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
    // Which account takes one is left to chance: one out of 2^39 times all of them go to the first.
    for n in 0..40 {
        if n >= 6 && used.len() > 1 {
            break;
        }
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

/// A batch whose making nobody has heard of while its credential, `before`, is replaced by these. Gives how it ended, and its result.
async fn replaced(
    before: &[(&str, &str)],
    names: &[(&str, &str)],
    ways: Ways,
) -> (Vendor, Flyball, Value, Value) {
    let vendor = Vendor::start(Ways {
        has_accounts: true,
        holds_creates: true,
        ..ways
    })
    .await;
    let flyball = start(&called(&vendor, before), keys).await;
    let made = hand_in(flyball.at(), "fb_app", &line("x", "gpt-4o-mini", "q")).await;
    found("the batch is made", async || {
        (vendor.held() == 1).then_some(())
    })
    .await;
    renames(&flyball, &vendor, names);
    vendor.release();
    let batch = over(flyball.at(), "fb_app", &id_of(&made)).await;
    let result = results(flyball.at(), "fb_app", &batch).await;
    flyball.books_are_right().await;
    let result = result["x"].clone();
    (vendor, flyball, batch, result)
}

#[tokio::test]
async fn a_batch_whose_credential_is_renamed_while_it_is_made_is_found_under_the_new_name() {
    for ways in [
        Ways {
            loses_creates: 1,
            ..Ways::default()
        },
        // It was heard of, and is looked at and fetched there.
        Ways::default(),
    ] {
        let names = [("other", "b"), ("renamed", "a")];
        let (vendor, flyball, batch, result) = replaced(&[("a", "a")], &names, ways).await;
        assert_eq!(vendor.batches().len(), 1, "{ways:?}");
        assert_eq!(batch["request_counts"]["completed"], 1, "{batch}");
        assert_eq!(result["response"]["status_code"], 200, "{result}");
        let rows = flyball.rows().await;
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert_eq!(costs(&rows)[0].1, batch_price(), "{rows:?}");
    }
}

#[tokio::test]
async fn a_batch_whose_only_key_becomes_one_of_several_credentials_is_found_on_that() {
    let vendor = Vendor::start(Ways {
        has_accounts: true,
        holds_creates: true,
        loses_creates: 1,
        ..Ways::default()
    })
    .await;
    let flyball = start(&config(&vendor, ""), |dir| {
        keys(dir);
        std::fs::write(dir.path().join("a.key"), "up-secret").expect("a file");
    })
    .await;
    let made = hand_in(flyball.at(), "fb_app", &line("x", "gpt-4o-mini", "q")).await;
    found("the batch is made", async || {
        (vendor.held() == 1).then_some(())
    })
    .await;
    renames(&flyball, &vendor, &[("b", "b"), ("a", "a")]);
    vendor.release();
    let batch = over(flyball.at(), "fb_app", &id_of(&made)).await;
    assert_eq!(batch["request_counts"]["completed"], 1, "{batch}");
    assert_eq!(vendor.batches().len(), 1);
    assert_eq!(posted(&flyball), batch_price());
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_batch_whose_credential_is_gone_is_never_made_again_and_is_charged_at_its_bound() {
    for (ways, says) in [
        (
            Ways {
                loses_creates: 1,
                ..Ways::default()
            },
            "cannot be found out",
        ),
        (Ways::default(), "No credential of the provider"),
    ] {
        let names = [("b", "b"), ("c", "c")];
        let (vendor, flyball, batch, result) = replaced(&[("a", "a")], &names, ways).await;
        assert_eq!(vendor.batches().len(), 1, "{ways:?}");
        assert_eq!(batch["request_counts"]["failed"], 1, "{batch}");
        let told = result.to_string();
        assert!(told.contains(says), "{told}");
        let rows = flyball.rows().await;
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert!(costs(&rows)[0].1 > batch_price(), "{rows:?}");
        assert_eq!(rows[0]["basis"], "bound", "{rows:?}");
        // What the books say the metrics say.
        let told = costs_told(&flyball).await;
        assert_eq!(told, costs(&rows)[0].1);
    }
}

/// What metrics say that everything has cost, in pico-dollars.
async fn costs_told(flyball: &Flyball) -> i128 {
    let metrics = flyball.metrics().await;
    let all = metrics.lines().filter_map(|line| {
        let told = line.strip_prefix("flyball_cost_usd_total{")?;
        told.rsplit(' ').next()?.parse::<f64>().ok()
    });
    let sum: f64 = all.sum();
    format!("{:.0}", sum * 1e12).parse().expect("a number")
}
