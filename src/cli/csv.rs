//! Comma-separated values as spreadsheets read them (RFC 4180), of which no cell is a formula.

/// One line with its end.
pub(super) fn line(cells: &[String]) -> String {
    let quoted: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
    quoted.join(",") + "\r\n"
}

fn quoted(cell: &str) -> String {
    match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    }
}

/// Somebody's own words as a cell. What a spreadsheet would take for a formula gets an apostrophe before it, as OWASP advises
/// (<https://owasp.org/www-community/attacks/CSV_Injection>).
pub(super) fn words(text: &str) -> String {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
        true => format!("'{text}"),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be_and_no_words_are_a_formula() {
        for (text, cell) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"no\"", "\"say \"\"no\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-2,5", "\"'-2,5\""),
            ("\t=1", "'\t=1"),
            ("\r=1", "\"'\r=1\""),
            ("", ""),
        ] {
            assert_eq!(line(&[words(text)]), format!("{cell}\r\n"), "{text:?}");
        }
    }
}
