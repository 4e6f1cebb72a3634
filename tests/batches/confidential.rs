//! Lines of a batch that are confidential by what is in them stay at home, whatever becomes of the others.

use super::vendor::{Vendor, Ways};
use super::{config, hand_in, id_of, line, over, results, start};
use crate::private::DETECTS;
use crate::scripted::{Upstream, answer, chat};

const MARK: &str = "zzqconfidentialzzq";
const OPEN: &str = "zzqordinaryzzq";
const CARD: &str = "4111 1111 1111 1111";
const LINES: usize = 90;

#[tokio::test]
async fn no_byte_of_a_confidential_line_reaches_a_vendor_in_a_batch_or_one_by_one() {
    // Some lines fail at the vendor, and one call that makes a batch is broken and made again.
    let vendor = Vendor::start(Ways {
        looks: 1,
        fails_every: Some(7),
        breaks_creates: 1,
        ..Ways::default()
    })
    .await;
    let home = Upstream::start(answer(200, &chat(10, 5))).await;
    let local = format!(
        "[[provider]]\nname = \"home\"\nkind = \"llamacpp\"\nbase_url = \"{}\"\n[[model]]\nname = \"own\"\nprovider = \"home\"\ntier = \"local\"\n",
        home.url()
    );
    // A server on this machine counts as local unless it is said to be none.
    let away = config(&vendor, "").replace("\nbase_url = ", "\nlocal = false\nbase_url = ");
    let flyball = start(&(away + &local + DETECTS), |_| {}).await;
    let confidential = |n: usize| n % 5 < 2;
    let models = ["gpt-4o-mini", "m-alone", "auto", "claude-haiku-4-5"];
    let lines: Vec<String> = (0..LINES)
        .map(|n| {
            let text = match confidential(n) {
                true => format!("{MARK} {n}: {CARD}, please"),
                false => format!("{OPEN} {n}: the weather"),
            };
            line(&format!("c{n}"), models[n % models.len()], &text)
        })
        .collect();
    let id = id_of(&hand_in(flyball.at(), "none", &lines.join("\n")).await);
    let batch = over(flyball.at(), "none", &id).await;
    assert_eq!(batch["status"], "completed", "{batch}");
    let all = results(flyball.at(), "none", &batch).await;
    assert_eq!(all.len(), LINES, "every line has an end");
    let told = vendor.bodies().concat();
    assert!(told.contains(OPEN), "ordinary lines went out");
    assert!(!vendor.batches().is_empty() && !vendor.completions().is_empty());
    let leaked: Vec<String> = vendor
        .bodies()
        .into_iter()
        .filter(|body| body.contains(MARK))
        .collect();
    assert!(leaked.is_empty(), "{leaked:?}");
    assert!(!told.contains(CARD));
    // Those that may be answered by any model were answered at home.
    let at_home = home.seen().iter().filter(|s| s.body.contains(MARK)).count();
    let routed = (0..LINES).filter(|n| confidential(*n) && n % models.len() == 2);
    assert!(at_home >= routed.count(), "{at_home}");
    flyball.books_are_right().await;
}
