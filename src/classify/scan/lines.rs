//! What lines look like: lists, tables, options, traces, differences, fences.

use super::Scanner;
use super::grams::mix;

/// What the words of a line tell of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Line {
    pub(super) words: u32,
    pub(super) short_words: u32,
    pub(super) first_word: u64,
    pub(super) trace: bool,
}

/// Characters that are counted by line.
const MARKS: [char; 5] = [' ', '\t', '\r', '|', ','];
/// White space inside a line.
const BLANKS: [char; 3] = [' ', '\t', '\r'];

/// What its characters tell of a line that is not empty.
struct Laid<'t> {
    /// From its first character that is no white space on.
    text: &'t str,
    chars: u32,
    solid: u32,
    /// How often each of [`MARKS`] stands in it.
    marks: [u32; MARKS.len()],
    indent: usize,
    /// Its last character that is no white space.
    last: char,
}

impl Scanner<'_> {
    /// Reads a line; `ended` by a line feed.
    pub(super) fn read_line(&mut self, line: &str, ended: bool) {
        let before = self.marks_so_far();
        let chars_before = self.chars;
        let hash = self.count_chars(line);
        self.read_words(line);
        let chars = self.chars - chars_before;
        let mut marks = self.marks_so_far();
        for (mark, before) in marks.iter_mut().zip(before) {
            *mark -= before;
        }
        if ended {
            self.count_chars("\n");
            self.take('\n');
        } else {
            self.end_word();
        }
        let words = std::mem::take(&mut self.pass.line);
        self.lines += 1;
        let text = line.trim_start_matches(BLANKS);
        let Some(last) = text.trim_end_matches(BLANKS).chars().next_back() else {
            self.gaps += u32::from(self.pass.gap_open);
            self.pass.gap_open = false;
            return;
        };
        let [spaces, tabs, returns, ..] = marks;
        let laid = Laid {
            text,
            chars,
            solid: chars - spaces - tabs - returns,
            marks,
            indent: line.len() - text.len(),
            last,
        };
        self.end_line(&laid, &words, hash);
    }

    fn marks_so_far(&self) -> [u32; MARKS.len()] {
        MARKS.map(|mark| self.ascii[mark as usize])
    }

    fn end_line(&mut self, line: &Laid<'_>, words: &Line, hash: u64) {
        self.pass.gap_open = true;
        self.full_lines += 1;
        if line.text.starts_with("```") {
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
        self.pass.lines.note(mix(hash));
        self.compare(line, words);
        self.list_line(line);
        self.trace_line(line, words.trace);
    }

    fn compare(&mut self, line: &Laid<'_>, words: &Line) {
        self.even_lines += u32::from(line.chars == self.pass.last_line_chars && line.chars >= 3);
        self.alike_lines +=
            u32::from(words.words > 0 && words.first_word == self.pass.last_line_first);
        if words.words >= 3 && words.short_words == words.words {
            self.grid_rows += 1;
            self.grid_cells += words.words;
        }
        let [spaces, tabs, _, bars, commas] = line.marks;
        self.rows += u32::from(
            bars >= 2 || tabs >= 2 || (commas >= 3 && line.last != '.' && spaces <= commas * 2),
        );
        self.pass.last_line_chars = line.chars;
        self.pass.last_line_first = words.first_word;
    }

    fn list_line(&mut self, line: &Laid<'_>) {
        let text = line.text;
        let digits = text.bytes().take(4).take_while(u8::is_ascii_digit).count();
        let after = &text[digits..];
        let stopped = after.starts_with(['.', ')', ':']) && after[1..].starts_with(' ');
        let numbered = (1..=3).contains(&digits) && (stopped || after.starts_with('、'));
        let bullet = text
            .strip_prefix(['-', '*', '•', '–'])
            .is_some_and(|rest| rest.starts_with(' '));
        self.numbered += u32::from(numbered);
        self.items += u32::from(numbered || bullet);
        let option = text
            .strip_prefix('(')
            .unwrap_or(text)
            .strip_prefix(|c: char| matches!(c, 'A'..='J' | 'a'..='j'))
            .is_some_and(|rest| rest.starts_with(['.', ')', ':']));
        if option && line.solid > 2 {
            self.options += 1;
            self.option_chars += line.chars;
            self.option_numbers += u32::from(text.bytes().any(|b| b.is_ascii_digit()));
        }
    }

    fn trace_line(&mut self, line: &Laid<'_>, trace: bool) {
        let starts = |with: &str| line.text.starts_with(with);
        let at = starts("at ") && matches!(line.last, ')' | '0'..='9');
        self.traces += u32::from(
            trace
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
