//! What lines look like: lists, tables, options, traces, differences, fences.

use super::Scanner;
use crate::classify::letters::hashed;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Line {
    pub(super) chars: u32,
    pub(super) solid: u32,
    pub(super) words: u32,
    pub(super) short_words: u32,
    pub(super) bars: u32,
    pub(super) tabs: u32,
    pub(super) commas: u32,
    pub(super) spaces: u32,
    pub(super) hash: u64,
    pub(super) first_word: u64,
    pub(super) head: [char; 8],
    pub(super) head_len: usize,
    pub(super) indent: u32,
    pub(super) last: char,
    pub(super) digits: u32,
    pub(super) trace: bool,
}

impl Scanner {
    pub(super) fn in_line(&mut self, c: char) {
        if c == '\n' {
            self.end_line();
            return;
        }
        let line = &mut self.pass.line;
        line.chars += 1;
        line.hash = hashed(line.hash, c);
        match c {
            ' ' => line.spaces += 1,
            '\t' => line.tabs += 1,
            '|' => line.bars += 1,
            ',' => line.commas += 1,
            _ => (),
        }
        if c == ' ' || c == '\t' || c == '\r' {
            line.indent += u32::from(line.solid == 0);
        } else {
            line.solid += 1;
            line.last = c;
        }
        if line.solid > 0 && line.head_len < line.head.len() {
            line.head[line.head_len] = c;
            line.head_len += 1;
        }
        line.trace |=
            self.pass.fault && matches!(c, ':' | '[') && self.pass.last.is_ascii_alphanumeric();
    }

    pub(super) fn end_line(&mut self) {
        let line = std::mem::take(&mut self.pass.line);
        self.lines += 1;
        if line.solid == 0 {
            self.gaps += u32::from(self.pass.gap_open);
            self.pass.gap_open = false;
            return;
        }
        self.pass.gap_open = true;
        self.full_lines += 1;
        let head = &line.head[..line.head_len];
        if head.starts_with(&['`', '`', '`']) {
            self.pass.fenced = !self.pass.fenced;
            self.fenced += 1;
            return;
        }
        self.fenced += u32::from(self.pass.fenced);
        self.longest_line = self.longest_line.max(line.chars);
        self.line_squares += line.chars as f32 * line.chars as f32;
        self.indented += u32::from(line.indent >= 2);
        self.code_ends += u32::from(
            matches!(line.last, ';' | '{' | '}') || (line.last == ':' && line.indent >= 2),
        );
        self.pass.lines.note(line.hash);
        self.compare(&line);
        self.list_line(&line, head);
        self.trace_line(&line, head);
    }

    fn compare(&mut self, line: &Line) {
        self.even_lines += u32::from(line.chars == self.pass.last_line_chars && line.chars >= 3);
        self.alike_lines +=
            u32::from(line.words > 0 && line.first_word == self.pass.last_line_first);
        if line.words >= 3 && line.short_words == line.words {
            self.grid_rows += 1;
            self.grid_cells += line.words;
        }
        self.rows += u32::from(
            line.bars >= 2
                || line.tabs >= 2
                || (line.commas >= 3 && line.last != '.' && line.spaces <= line.commas * 2),
        );
        self.pass.last_line_chars = line.chars;
        self.pass.last_line_first = line.first_word;
    }

    fn list_line(&mut self, line: &Line, head: &[char]) {
        let digits = head.iter().take_while(|c| c.is_ascii_digit()).count();
        let after = |at: usize| head.get(at).copied().unwrap_or('\0');
        let numbered = (1..=3).contains(&digits)
            && (matches!(after(digits), '.' | ')' | ':') && after(digits + 1) == ' '
                || after(digits) == '、');
        let bullet = matches!(after(0), '-' | '*' | '•' | '–') && after(1) == ' ';
        self.numbered += u32::from(numbered);
        self.items += u32::from(numbered || bullet);
        let open = usize::from(after(0) == '(');
        if matches!(after(open), 'A'..='J' | 'a'..='j')
            && matches!(after(open + 1), '.' | ')' | ':')
            && line.solid > 2
        {
            self.options += 1;
            self.option_chars += line.chars;
            self.option_numbers += u32::from(line.digits > 0);
        }
    }

    fn trace_line(&mut self, line: &Line, head: &[char]) {
        let starts = |with: &str| {
            with.chars().zip(head.iter()).all(|(a, b)| a == *b)
                && head.len() >= with.chars().count()
        };
        let at = starts("at ") && matches!(line.last, ')' | '0'..='9');
        self.traces += u32::from(
            line.trace
                || at
                || starts("File \"")
                || starts("Traceba")
                || starts("thread '")
                || starts("Caused b")
                || starts("goroutin"),
        );
        self.diff +=
            u32::from(starts("@@ ") || starts("+++ ") || starts("--- a/") || starts("diff --g"));
    }
}

/// `KeyError:`, `NullPointerException:`, `error[E0308]`, `panicked`.
pub(super) fn is_fault(tail: u64) -> bool {
    const ERROR: u64 = u64::from_be_bytes(*b"\0\0\0error");
    const EXCEPTION: u64 = u64::from_be_bytes(*b"xception");
    tail & 0xff_ffff_ffff == ERROR || tail == EXCEPTION
}
