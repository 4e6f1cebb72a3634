//! Caps by their names.

use super::{ask, samples, sum};
use crate::flyball::{Flyball, compatible, make_key};
use crate::scripted::{Upstream, answer, chat};

#[tokio::test]
async fn every_cap_is_shown_by_its_name_with_its_own_figures_and_refusals() {
    let upstream = Upstream::start(answer(200, &chat(1_000, 100))).await;
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "app", Some("0.02"), |key| key.team = "red".into());
    make_key(&dir, "bot", None, |_| {});
    let caps = r#"
[[team]]
name = "red"
[[cap]]
name = "everything"
usd = 100
window = "month"
[[cap]]
team = "red"
usd = 5
window = "day"
[[cap]]
each = "key"
usd = 9
window = "week"
[[cap]]
name = "per key"
each = "key"
requests = 1000
window = "hour"
"#;
    let flyball = Flyball::start_in(dir, &format!("{}{caps}", compatible(&upstream))).await;
    let mut refused = 0;
    for key in ["app", "bot"] {
        let secret = format!("Bearer fb_{key}");
        let mut asked: serde_json::Value =
            serde_json::from_str(&ask("m-small", "hello")).expect("JSON");
        asked["max_tokens"] = 400.into();
        for _ in 0..10 {
            let answer = flyball
                .chat(&[("authorization", &secret)], &asked.to_string())
                .await;
            refused += u32::from(answer.status == 402);
        }
    }
    assert!(refused > 0, "the cap of app's own is full");
    let app = f64::from(10 - refused);
    flyball.rows().await;
    let text = flyball.metrics().await;
    let now = samples(&text);
    for (cap, scope, window, limit, requests) in [
        ("everything", "global", "month", 100.0, 10.0 + app),
        ("team red day", "other", "day", 5.0, app),
        ("each key week: app", "keys", "week", 9.0, app),
        ("each key week: bot", "keys", "week", 9.0, 10.0),
        ("key app day", "keys", "day", 0.02, app),
    ] {
        let labels = format!("{{cap=\"{cap}\",scope=\"{scope}\",window=\"{window}\"}}");
        let of = |metric: &str| now.get(&format!("{metric}{labels}")).copied();
        assert_eq!(of("flyball_cap_limit_usd"), Some(limit), "{cap}\n{text}");
        let spent = of("flyball_cap_spent_usd").expect("spent");
        assert!((spent - requests * 0.002).abs() < 1e-9, "{cap}: {spent}");
        assert!(
            of("flyball_cap_reset_timestamp_seconds") > Some(1.7e9),
            "{cap}"
        );
        assert_eq!(of("flyball_cap_reserved_usd"), Some(0.0), "{cap}");
    }
    assert!(
        !text.contains("cap=\"per key: app\",scope=\"keys\",window"),
        "no dollars, no gauge"
    );
    let refusals = |labels: &[&str]| sum(&now, "flyball_cap_refusals_total", labels);
    assert_eq!(refusals(&["cap=\"key app day\""]), f64::from(refused));
    assert_eq!(refusals(&[]), f64::from(refused));
    assert_eq!(
        now.get("flyball_cap_refusals_total{cap=\"per key: bot\",reason=\"full\",scope=\"keys\"}"),
        Some(&0.0)
    );
}
