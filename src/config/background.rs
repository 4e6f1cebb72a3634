//! `[background]`: how answers are kept that flyball makes in the background, and how often vendors are asked for theirs.

use crate::exchange::background::Settings;
use crate::reader::Table;

/// The settings.
pub(super) fn background(top: &Table<'_>) -> Settings {
    let usual = Settings::default();
    let Some(mut table) = top.table("background") else {
        return usual;
    };
    table.call("[background]".to_owned());
    let settings = Settings {
        keep_for: table.duration("keep_for").unwrap_or(usual.keep_for),
        bytes_max: table.count_from_1("bytes_max").unwrap_or(usual.bytes_max),
        poll: table.duration("poll").unwrap_or(usual.poll),
    };
    table.finish();
    settings
}
