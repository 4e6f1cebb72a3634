//! What apps put beside a user's words: tagged blocks, reports of the state of a machine or an editor, headings before the request.
//! None of it is what the user asks, so none of it is graded.
//!
//! Blocks are known by the words that their names are made of, not by a list of names: `session_context`, `open-files` and
//! `reminderInstructions` are as good as any that somebody has seen.

use super::letters::{trim_end, trim_start};

/// Bytes of a text in which blocks are looked for.
pub(super) const BOILERPLATE_MAX: usize = 48 * 1024;

/// Blocks that are no one's words wherever they stand, closed or not.
const CERTAIN: &[&str] = &[
    "system-reminder",
    "environment_context",
    "environment_details",
    "user_instructions",
    "user_info",
    "additional_data",
    "ide_opened_file",
    "ide_selection",
    "local-command-stdout",
    "local-command-caveat",
    "command-message",
    "permissions instructions",
];

/// A name of several words that has one of these names context.
const TELLING: &[&str] = &[
    "context",
    "environment",
    "env",
    "reminder",
    "reminders",
    "workspace",
    "editor",
    "ide",
    "cwd",
    "git",
    "attachments",
    "memories",
    "diagnostics",
    "clipboard",
];

/// A name that is made of these words alone names context.
const PARTS: &[&str] = &[
    "open",
    "opened",
    "visible",
    "current",
    "active",
    "project",
    "system",
    "recent",
    "recently",
    "viewed",
    "edited",
    "user",
    "session",
    "custom",
    "available",
    "repo",
    "repository",
    "directory",
    "folder",
    "file",
    "files",
    "agent",
    "info",
    "information",
    "rules",
    "tabs",
    "structure",
    "layout",
    "tree",
    "date",
    "time",
    "datetime",
    "state",
    "status",
    "selection",
    "listing",
    "map",
    "instructions",
    "details",
    "skills",
];

/// Words of a report about a machine, a clock or an editor. Agents write them in English whatever their users speak.
const STATE: &[&str] = &[
    "working directory",
    "current directory",
    "directory structure",
    "workspace director",
    "operating system",
    "os version",
    "today's date",
    "todays date",
    "current date",
    "current time",
    "date and time",
    "time zone",
    "timezone",
    "open tabs",
    "opened file",
    "visible files",
    "open files",
    "active file",
    "git status",
    "git branch",
    "current branch",
    "platform:",
    "shell:",
    "cwd:",
];

/// Lines of a text that are looked at for signs of a report.
const LINES_MAX: usize = 60;
/// Bytes of a name.
const NAME_MAX: usize = 48;

/// Where this byte is, as far as blocks are looked for.
pub(super) fn within(byte: u8, text: &[u8]) -> Option<usize> {
    memchr::memchr(byte, &text[..text.len().min(BOILERPLATE_MAX)])
}

/// The bytes of the block of context whose `<` stands at `at`, if one does.
pub(super) fn block_at(text: &str, at: usize) -> Option<usize> {
    let from = &text[at..];
    let inside = &from[1..];
    if let Some(tag) = CERTAIN.iter().find(|tag| inside.starts_with(**tag)) {
        return Some(end_of(from, tag).map_or(from.len(), |(_, end)| end));
    }
    // What is written inside a sentence is a word of it.
    let before = text[..at].trim_end_matches(|c: char| c.is_whitespace() && c != '\n');
    if !before.is_empty() && !before.ends_with('\n') {
        return None;
    }
    let name = name_of(inside)?;
    let after_heading = || {
        let heading = text[..at].trim_end().rsplit('\n').next();
        heading.is_some_and(|line| line.starts_with('#') && line.contains(".md"))
    };
    let (_, end) = match () {
        () if is_context_name(name) => end_of(from, name)?,
        // Users write <context> and <instructions> too; an app's tells of a machine, or stands below the name of a file.
        () if lone(name) => end_of(from, name).filter(|(content, _)| state_lines(content).0 > 0)?,
        () if name.eq_ignore_ascii_case("instructions") && after_heading() => end_of(from, name)?,
        () => return None,
    };
    Some(end)
}

/// The name in an opening tag.
fn name_of(inside: &str) -> Option<&str> {
    let of_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let len = inside.bytes().take(NAME_MAX).take_while(|b| of_name(*b));
    let name = &inside[..len.count()];
    let ends = inside[name.len()..].starts_with(['>', ' ']);
    (ends && name.starts_with(|c: char| c.is_ascii_alphabetic())).then_some(name)
}

/// What is between the tags of this name, and where the closing one ends.
fn end_of<'t>(text: &'t str, name: &str) -> Option<(&'t str, usize)> {
    let opened = within(b'>', text.as_bytes())? + 1;
    let mut at = opened;
    loop {
        at += within(b'<', &text.as_bytes()[at..])?;
        let closes = text[at..]
            .strip_prefix("</")
            .and_then(|t| t.strip_prefix(name));
        if let Some(after) = closes.and_then(|t| t.strip_prefix('>')) {
            return Some((&text[opened..at], text.len() - after.len()));
        }
        at += 1;
    }
}

/// The words that a name is made of: `session_context`, `open-files`, `editorContext`.
fn words_of(name: &str) -> impl Iterator<Item = &str> {
    name.split(['_', '-']).flat_map(|part| {
        let humps = part.bytes().zip(part.bytes().skip(1)).enumerate();
        let mut cuts = humps
            .filter(|(_, (a, b))| a.is_ascii_lowercase() && b.is_ascii_uppercase())
            .map(|(at, _)| at + 1);
        let mut from = Some(0);
        std::iter::from_fn(move || {
            let start = from?;
            from = cuts.next();
            Some(&part[start..from.unwrap_or(part.len())])
        })
    })
}

fn is_context_name(name: &str) -> bool {
    let one_of = |words: &[&str], word: &str| words.iter().any(|w| w.eq_ignore_ascii_case(word));
    let mut words = words_of(name);
    words_of(name).count() > 1
        && (words_of(name).any(|word| one_of(TELLING, word))
            || words.all(|word| one_of(PARTS, word)))
}

/// Names of one word that apps and users give to what they add.
fn lone(name: &str) -> bool {
    let names = [
        "context",
        "environment",
        "env",
        "info",
        "metadata",
        "workspace",
        "system",
        "reminder",
    ];
    names.iter().any(|n| n.eq_ignore_ascii_case(name))
}

/// The text without a heading at its end that only names the block that follows.
pub(super) fn without_heading(text: &str) -> &str {
    let trimmed = trim_end(text);
    let last = trimmed.rfind('\n').map_or(0, |at| at + 1);
    match trimmed[last..].starts_with('#') {
        true => &text[..last],
        false => text,
    }
}

/// Lines that report a state, lines with a label and a number, and all lines that are not empty, of the first ones of a text.
fn state_lines(text: &str) -> (usize, usize, usize) {
    let (mut states, mut counters, mut all) = (0, 0, 0);
    for line in text.lines().take(LINES_MAX) {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        all += 1;
        let head = &line[..line.floor_char_boundary(100)].to_ascii_lowercase();
        if STATE.iter().any(|words| head.contains(words)) {
            states += 1;
        } else if is_labelled_number(line) {
            counters += 1;
        }
    }
    (states, counters, all)
}

/// `Context left: 45 %`, `Tokens: 1,200 of 200,000`.
fn is_labelled_number(line: &str) -> bool {
    let Some((label, value)) = line.split_once([':', '：']) else {
        return false;
    };
    let plain = |c: char| c.is_alphabetic() || matches!(c, ' ' | '_' | '-' | '*' | '[' | '(');
    label.len() <= 40
        && label.chars().all(plain)
        && value.len() <= 60
        && value.bytes().any(|b| b.is_ascii_digit())
        && !value.contains(['?', '？'])
}

/// Whether a part of a message, one of several, only reports a state: of a machine, an editor, a clock or a count.
pub(super) fn is_state(text: &str) -> bool {
    let (states, counters, all) = state_lines(text);
    states >= 2 || (all > 0 && all <= 3 && states + counters == all)
}

/// The request at the end of a text that begins with headings of context, as editors write it: what stands below the last
/// heading that calls it the request.
pub(super) fn request_in(text: &str) -> &str {
    let head = trim_start(text);
    if !head.starts_with('#') {
        return text;
    }
    let first = head.lines().next().unwrap_or_default();
    if !first.to_ascii_lowercase().contains("context") {
        return text;
    }
    let called = |line: &str| {
        let line = line.to_ascii_lowercase();
        line.starts_with('#')
            && ["request", "query", "question", "prompt"]
                .iter()
                .any(|w| line.contains(w))
    };
    let mut end = text.len();
    while end > 0 {
        let above = text[..end].strip_suffix('\n').unwrap_or(&text[..end]);
        let start = above.rfind('\n').map_or(0, |at| at + 1);
        let below = &text[end..];
        if called(text[start..end].trim_end()) && !below.trim().is_empty() {
            return below;
        }
        end = start;
    }
    text
}
