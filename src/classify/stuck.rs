//! Signs that a conversation does not get on: a tool that fails in the same way again, or a user who says that it was wrong. Pure.

use super::pieces::own_words;
use crate::chat::{Part, Prompt, Role};
use foldhash::fast::FixedState;
use std::hash::{BuildHasher, Hasher};

/// The last so many results of tools are looked at: what failed long ago may have been mended since.
const RESULTS: usize = 6;
/// A result tells of its failure at its beginning or its end.
const EDGE: usize = 600;
/// Whoever says more than this asks for something new.
const COMPLAINT_BYTES_MAX: usize = 400;

/// What failures of tools have in common, in small letters.
const FAILURES: [&str; 15] = [
    "error",
    "failed",
    "failure",
    "exception",
    "traceback",
    "panicked",
    "not found",
    "no such file",
    "permission denied",
    "exit code 1",
    "exit code: 1",
    "exited with 1",
    "cannot find",
    "undefined",
    "timed out",
];

/// How people say that the last answer was wrong, in small letters and ten languages.
const COMPLAINTS: [&str; 52] = [
    "that's wrong",
    "thats wrong",
    "that is wrong",
    "this is wrong",
    "wrong answer",
    "not correct",
    "incorrect",
    "still wrong",
    "still fails",
    "still failing",
    "still broken",
    "still not working",
    "still doesn't work",
    "still does not work",
    "doesn't work",
    "does not work",
    "didn't work",
    "did not work",
    "same error",
    "same problem",
    "same issue",
    "not what i asked",
    "you broke",
    "that's not right",
    "that is not right",
    "you made a mistake",
    "it's not fixed",
    "not fixed",
    "das ist falsch",
    "das stimmt nicht",
    "immer noch falsch",
    "geht immer noch nicht",
    "funktioniert nicht",
    "derselbe fehler",
    "gleicher fehler",
    "c'est faux",
    "ça ne marche",
    "toujours pas",
    "même erreur",
    "está mal",
    "no funciona",
    "mismo error",
    "sigue sin",
    "está errado",
    "não funciona",
    "mesmo erro",
    "non funziona",
    "stesso errore",
    "не работает",
    "та же ошибка",
    "还是不行",
    "同样的错误",
];

/// Whether the conversation does not get on.
#[must_use]
pub fn is_stuck(prompt: &Prompt<'_>) -> bool {
    let answered = prompt.turns.iter().any(|turn| turn.role == Role::Assistant);
    answered && (fails_again(prompt) || is_told_wrong(prompt))
}

/// The last result of a tool is a failure that one of the results before it has told in the same words.
fn fails_again(prompt: &Prompt<'_>) -> bool {
    // What was tried before the user spoke last was another try.
    let asks = |turn| own_words(turn).next().is_some();
    let from = prompt.turns.iter().rposition(asks).map_or(0, |at| at + 1);
    let parts = prompt.turns[from..]
        .iter()
        .rev()
        .flat_map(|turn| turn.parts.iter().rev());
    let mut results = parts
        .filter_map(|part| match part {
            Part::ToolResult(text) => Some(text.as_ref()),
            _ => None,
        })
        .take(RESULTS);
    let Some(last) = results.next().filter(|last| tells_failure(last)) else {
        return false;
    };
    let print = print_of(last);
    results.any(|earlier| print_of(earlier) == print)
}

/// The user's last words complain of the answer before them.
fn is_told_wrong(prompt: &Prompt<'_>) -> bool {
    let words = prompt.turns.last().into_iter().flat_map(own_words);
    let said: String = words.collect::<Vec<_>>().join("\n");
    if said.is_empty() || said.len() > COMPLAINT_BYTES_MAX {
        return false;
    }
    complains(&said.to_lowercase().replace('’', "'"))
}

/// Whether a text in small letters says that an answer was wrong.
pub(super) fn complains(said: &str) -> bool {
    COMPLAINTS.iter().any(|words| said.contains(words))
}

pub(super) fn tells_failure(text: &str) -> bool {
    let (head, tail) = (edge(text, false), edge(text, true));
    [head, tail].into_iter().any(|part| {
        let part = part.to_lowercase();
        FAILURES.iter().any(|words| part.contains(words))
    })
}

/// The first or the last bytes of a text, cut between letters.
fn edge(text: &str, last: bool) -> &str {
    if text.len() <= EDGE {
        return text;
    }
    match last {
        true => &text[text.ceil_char_boundary(text.len() - EDGE)..],
        false => &text[..text.floor_char_boundary(EDGE)],
    }
}

/// What is the same in two tellings of one failure: the words without numbers, which are times, addresses and counts.
pub(super) fn print_of(text: &str) -> u64 {
    let mut hash = FixedState::default().build_hasher();
    for part in [edge(text, false), edge(text, true)] {
        let bytes = part
            .bytes()
            .filter(|b| !b.is_ascii_digit() && !b.is_ascii_whitespace());
        bytes.for_each(|b| hash.write_u8(b));
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Turn;

    fn turn(role: Role, part: Part<'static>) -> Turn<'static> {
        let parts = vec![part];
        Turn { role, parts }
    }

    fn user(text: &'static str) -> Turn<'static> {
        turn(Role::User, Part::Text(text.into()))
    }

    fn step(result: &'static str) -> [Turn<'static>; 2] {
        [
            turn(Role::Assistant, Part::ToolCall),
            turn(Role::Tool, Part::ToolResult(result.into())),
        ]
    }

    fn stuck(turns: Vec<Turn<'static>>) -> bool {
        is_stuck(&Prompt {
            turns,
            ..Prompt::default()
        })
    }

    #[test]
    fn a_tool_that_fails_twice_in_the_same_way_is_a_sign() {
        const FAILED: &str = "12:01:07 error[E0308]: mismatched types in line 40";
        const AGAIN: &str = "12:03:55 error[E0308]: mismatched types in line 41";
        for (results, sign) in [
            (&[FAILED, AGAIN][..], true),
            (&[FAILED, "ok", AGAIN], true),
            (&[FAILED], false),
            (&[FAILED, AGAIN, "ok"], false),
            (&["ok", "ok", "ok"], false),
            (&[FAILED, "error[E0599]: no method named x"], false),
        ] {
            let mut turns = vec![user("make the tests pass")];
            turns.extend(results.iter().flat_map(|result| step(result)));
            assert_eq!(stuck(turns), sign, "{results:?}");
        }
        let mut turns = vec![user("make the tests pass")];
        turns.extend(step(FAILED));
        turns.push(user("now with the other compiler"));
        turns.extend(step(FAILED));
        assert!(!stuck(turns), "the user has spoken between");
    }

    #[test]
    fn a_user_who_says_that_it_was_wrong_is_a_sign() {
        let answer = || turn(Role::Assistant, Part::Text("Done.".into()));
        for (said, sign) in [
            ("That’s wrong.", true),
            ("It still doesn't work", true),
            ("Das stimmt nicht!", true),
            ("还是不行", true),
            ("Thanks, and now the second part", false),
        ] {
            assert_eq!(
                stuck(vec![user("do it"), answer(), user(said)]),
                sign,
                "{said}"
            );
            assert!(!stuck(vec![user(said)]), "nothing was answered yet: {said}");
        }
    }
}
