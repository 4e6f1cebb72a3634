//! The fields of an event as they stand in a line of the log: byte for byte as tracing's own formatter writes them without colours, which
//! goes through its styles for each name and each sign. Every attempt has a line of some thirty fields.

use std::fmt::{self, Debug, Write};
use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultVisitor, Writer};

/// Room for the line of an attempt.
const LINE: usize = 1024;
/// The most digits that a number has.
const DIGITS: usize = 20;

/// Writes the fields of an event as `name=value`, with blanks between them. Nothing is coloured.
pub(super) struct PlainFields;

impl<'w> FormatFields<'w> for PlainFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = Line {
            text: String::with_capacity(LINE),
            written: Ok(()),
        };
        fields.record(&mut line);
        line.written?;
        writer.write_str(&line.text)
    }
}

struct Line {
    text: String,
    written: fmt::Result,
}

impl Line {
    /// Begins a field; its value follows.
    fn begin(&mut self, field: &Field) {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(field.name());
        self.text.push('=');
    }

    /// Leaves a field to tracing's own formatter.
    fn as_usual(&mut self, record: impl FnOnce(&mut DefaultVisitor<'_>)) {
        let first = self.text.is_empty();
        let mut usual = DefaultVisitor::new(Writer::new(&mut self.text), first);
        record(&mut usual);
        let written = tracing_subscriber::field::VisitOutput::finish(usual);
        self.written = self.written.and(written);
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if !(has_plain_name(field) && value.bytes().all(is_plain)) {
            return self.as_usual(|usual| usual.record_str(field, value));
        }
        self.begin(field);
        self.text.push('"');
        self.text.push_str(value);
        self.text.push('"');
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if !has_plain_name(field) {
            return self.as_usual(|usual| usual.record_u64(field, value));
        }
        self.begin(field);
        push_number(value, &mut self.text);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if !has_plain_name(field) {
            return self.as_usual(|usual| usual.record_bool(field, value));
        }
        self.begin(field);
        self.text.push_str(if value { "true" } else { "false" });
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.as_usual(|usual| usual.record_error(field, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if !has_plain_name(field) {
            return self.as_usual(|usual| usual.record_debug(field, value));
        }
        self.begin(field);
        self.written = self.written.and(write!(self.text, "{value:?}"));
    }
}

/// It is called what it is called, and is not the message, which has no name in the line.
fn has_plain_name(field: &Field) -> bool {
    let name = field.name();
    name != "message" && !name.starts_with("r#")
}

/// It stands in a quoted text as it is.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

fn push_number(mut value: u64, text: &mut String) {
    let mut digits = [b'0'; DIGITS];
    let mut first = DIGITS;
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789"[usize::try_from(value % 10).unwrap_or(0)];
        value /= 10;
        first -= 1;
        if value == 0 {
            break;
        }
    }
    text.push_str(std::str::from_utf8(&digits[first..]).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex, PoisonError};
    use tracing_subscriber::fmt::MakeWriter;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        fn text(&self) -> String {
            let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            String::from_utf8_lossy(&bytes).into_owned()
        }
    }

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'w> MakeWriter<'w> for Kept {
        type Writer = Kept;

        fn make_writer(&'w self) -> Kept {
            self.clone()
        }
    }

    fn events() {
        let error = io::Error::other(fmt::Error);
        let error: &(dyn std::error::Error + 'static) = &error;
        for text in [
            "",
            "a b",
            "\"",
            "\\",
            "ü",
            "\n\t\u{1b}[31m",
            "'",
            "~ \u{7f}",
        ] {
            tracing::info!(
                text,
                shown = %text,
                told = ?text,
                message = text,
                "left out"
            );
            tracing::warn!(model = text, "what \"{text}\" says");
            tracing::info!(text);
        }
        for number in [0_u64, 7, 10, 12_345_678_901, u64::MAX] {
            tracing::info!(
                number,
                signed = -1_i64,
                half = 0.5,
                wide = u128::MAX,
                "numbers"
            );
        }
        let none: Option<u64> = None;
        tracing::info!(
            none,
            some = Some(3_u64),
            yes = true,
            no = false,
            r#type = 1_u64
        );
        tracing::error!(error, bound = Some(display("0.5")), "failed");
        tracing::info!(r#type = "x", r#as = true, list = ?[1, 2]);
        tracing::info!("alone");
    }

    #[test]
    fn a_line_of_the_log_is_the_one_that_tracings_own_formatter_writes() {
        let (own, usual) = (Kept::default(), Kept::default());
        let log = || {
            tracing_subscriber::fmt()
                .without_time()
                .with_target(false)
                .with_ansi(false)
        };
        let to_own = log().with_writer(own.clone()).fmt_fields(PlainFields);
        tracing::subscriber::with_default(to_own.finish(), events);
        let to_usual = log().with_writer(usual.clone());
        tracing::subscriber::with_default(to_usual.finish(), events);
        assert_eq!(own.text(), usual.text());
        assert!(own.text().lines().count() > 20, "{}", own.text());
    }
}
