//! Figures for people: money and tables.

use crate::money::PicoUsd;

/// An empty table with these columns.
pub(super) fn table(columns: &[&str]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table
        .load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY)
        .set_header(columns);
    table
}

/// Dollars to a hundredth of a cent, rounded up: for people, not for the books.
pub(super) fn dollars(amount: PicoUsd) -> String {
    const STEP: i128 = 100_000_000;
    let sign = amount.0.signum();
    let steps = (amount.0.abs() + STEP - 1) / STEP;
    PicoUsd(steps * STEP * sign).to_string()
}
