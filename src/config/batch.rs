//! `[batch]`: whether batches are kept here, and how.

use crate::batch::{Late, Settings};
use crate::reader::Table;

/// The settings.
pub(super) fn batch(top: &Table<'_>) -> Settings {
    let usual = Settings::default();
    let Some(mut table) = top.table("batch") else {
        return usual;
    };
    table.call("[batch]".to_owned());
    let late = [("report", Late::Report), ("run", Late::Run)];
    let settings = Settings {
        keep: table.flag("keep").unwrap_or(usual.keep),
        late: table.choice("late", "late", &late).unwrap_or_default(),
        concurrency: table
            .count_from_1("concurrency")
            .map_or(usual.concurrency, |n| {
                usize::try_from(n).unwrap_or(usize::MAX).min(256)
            }),
        poll: table.duration("poll").unwrap_or(usual.poll),
        window: table.duration("window").unwrap_or(usual.window),
        file_bytes_max: table
            .count_from_1("file_bytes_max")
            .unwrap_or(usual.file_bytes_max),
        key_bytes_max: table
            .count_from_1("key_bytes_max")
            .unwrap_or(usual.key_bytes_max),
        keep_for: table.duration("keep_for").unwrap_or(usual.keep_for),
        wait_from: table.duration("wait_from").unwrap_or(usual.wait_from),
        collect: table.duration("collect").unwrap_or(usual.collect),
    };
    table.finish();
    settings
}
