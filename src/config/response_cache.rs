//! `[response_cache]`: whether equal requests share answers, and how long.

use super::Reading;
use crate::reader::Table;
use crate::response_cache::{IN_FLIGHT, Settings, Share};
use crate::route::policy::Rule;
use std::time::Duration;

/// Some ten thousand answers as chats have them.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// A few short answers.
const BYTES_MIN: usize = 16 * 1024;
/// A long answer in a stream whose every token is an event of its own takes half of this.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// As long as an evaluation that is run again, or a page that is loaded again.
const TTL: Duration = Duration::from_secs(600);

/// The settings; nothing where there is no cache.
pub(super) fn response_cache(
    reading: &Reading<'_>,
    top: &Table<'_>,
    rules: &[Rule],
) -> Option<Settings> {
    let by_rule = rules.iter().find(|rule| rule.route.cache);
    let settings = top.table("response_cache").and_then(read);
    let settings = settings.map(|settings| Settings {
        by_rules: by_rule.is_some(),
        ..settings
    });
    if let (None, Some(rule)) = (settings, by_rule) {
        reading.warn(format!(
            "{}:{}: rule \"{}\": it says cache = true, and there is no [response_cache]",
            rule.file, rule.line, rule.name
        ));
    }
    settings
}

fn read(mut table: Table<'_>) -> Option<Settings> {
    table.call("[response_cache]".to_owned());
    let size = |count: Option<u64>, usual: usize| {
        count.map_or(usual, |n| usize::try_from(n).unwrap_or(usize::MAX))
    };
    let bytes_max = size(table.count("bytes_max"), BYTES_MAX);
    let usual = ANSWER_BYTES_MAX.min(bytes_max / IN_FLIGHT);
    let answer_bytes_max = size(table.count_from_1("answer_bytes_max"), usual);
    if (1..BYTES_MIN).contains(&bytes_max) {
        let text = format_args!("bytes_max ({bytes_max}) is too little for any answer");
        let help = format!("write {BYTES_MIN} or more, or 0 for no cache");
        table.complain("bytes_max", text, Some(help));
    } else if bytes_max > 0 && answer_bytes_max > bytes_max / IN_FLIGHT {
        let text = format_args!(
            "answer_bytes_max ({answer_bytes_max}) is more than a quarter of bytes_max ({bytes_max}), which is for answers on their way"
        );
        let help = format!(
            "write {} at most, or make bytes_max larger",
            bytes_max / IN_FLIGHT
        );
        table.complain("answer_bytes_max", text, Some(help));
    }
    let ttl = table.duration("ttl").unwrap_or(TTL);
    let shares = [
        ("key", Share::Key),
        ("team", Share::Team),
        ("all", Share::All),
    ];
    let share = table.choice("share", "share", &shares);
    table.finish();
    (bytes_max > 0).then(|| Settings {
        bytes_max,
        answer_bytes_max,
        ttl,
        share: share.unwrap_or_default(),
        by_rules: false,
    })
}
