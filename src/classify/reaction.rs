//! How a user takes the answer before: whether the next turn says that it was wrong, takes it back, or asks for the same again in other
//! words. Pure. It errs on the side of hearing nothing: what it hears counts as a vote against the answer.

use super::pieces::own_words;
use super::stuck;
use crate::chat::{Prompt, Role, Turn};
use foldhash::fast::FixedState;
use std::hash::BuildHasher;

/// Whoever says more than this asks for something new.
const BYTES_MAX: usize = 300;
/// A complaint stands at the beginning.
const BEGINS: usize = 90;
/// Fewer words of content than these are no question that can be known again.
const WORDS_MIN: usize = 3;
/// So many of a hundred words of content are the same where the same is asked again.
const SAME_PERCENT: usize = 60;

/// How people begin who do not accept an answer, in small letters.
const REJECTS: [&str; 58] = [
    "no, that",
    "no that",
    "no, this",
    "no, it",
    "no, i ",
    "no, you",
    "no, not",
    "nope",
    "wrong",
    "incorrect",
    "that's not",
    "that is not",
    "this is not",
    "this isn't",
    "that isn't",
    "not what i",
    "you misunderstood",
    "you got it wrong",
    "undo that",
    "undo this",
    "revert that",
    "revert this",
    "scratch that",
    "forget that answer",
    "take that back",
    "nein, das",
    "nein, so",
    "falsch",
    "das ist nicht",
    "das war nicht",
    "so war das nicht",
    "mach das rückgängig",
    "nimm das zurück",
    "non, ce",
    "non, c'",
    "ce n'est pas",
    "c'est pas",
    "annule ça",
    "annule cela",
    "reviens en arrière",
    "no, eso",
    "eso no es",
    "eso está mal",
    "no es lo que",
    "deshaz eso",
    "deshaz esto",
    "não, isso",
    "isso não é",
    "isso está errado",
    "desfaz isso",
    "no, non",
    "non è quello",
    "è sbagliato",
    "annulla questo",
    "нет, это",
    "это не то",
    "неверно",
    "неправильно",
];
/// The same in scripts without spaces, anywhere in a short turn.
const REJECTS_UNSPACED: [&str; 8] = [
    "不对",
    "错了",
    "不是我要",
    "撤销",
    "違います",
    "違う",
    "間違って",
    "틀렸",
];
/// Words with which nobody rejects anything.
const THANKS: [&str; 14] = [
    "thank",
    "great",
    "perfect",
    "danke",
    "super",
    "merci",
    "parfait",
    "gracias",
    "obrigad",
    "grazie",
    "спасибо",
    "谢谢",
    "ありがとう",
    "no problem",
];
/// Words without content.
const SMALL: [&str; 72] = [
    "a", "an", "the", "of", "in", "on", "to", "for", "is", "are", "was", "do", "does", "did", "it",
    "this", "that", "i", "me", "my", "you", "please", "can", "could", "what", "which", "how",
    "and", "or", "with", "der", "die", "das", "ein", "eine", "ist", "von", "zu", "und", "mir",
    "bitte", "was", "wie", "le", "la", "les", "un", "une", "de", "des", "du", "est", "et", "moi",
    "que", "el", "los", "las", "una", "es", "y", "por", "o", "os", "um", "uma", "e", "il", "lo",
    "di", "и", "в",
];

/// How an answer was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// It was wrong, or is taken back.
    Rejected,
    /// The same is asked again in other words.
    AskedAgain,
}

/// How the last turn takes the answer before it, as far as it says anything.
#[must_use]
pub fn reaction(prompt: &Prompt<'_>) -> Option<Reaction> {
    let (last, before) = prompt.turns.split_last()?;
    let (answer, before) = before.split_last()?;
    if last.role != Role::User || answer.role != Role::Assistant {
        return None;
    }
    let asked = before
        .iter()
        .rev()
        .find(|turn| own_words(turn).next().is_some())?;
    let answered: String = answer
        .parts
        .iter()
        .filter_map(|part| match part {
            crate::chat::Part::Text(text) => Some(text.as_ref()),
            _ => None,
        })
        .collect();
    reaction_to(&words_of(asked), &answered, &words_of(last))
}

/// What a user says in a turn.
#[must_use]
pub fn words_of(turn: &Turn<'_>) -> String {
    own_words(turn).collect::<Vec<_>>().join("\n")
}

/// The same of what was asked, answered and said then.
#[must_use]
pub fn reaction_to(asked: &str, answered: &str, said: &str) -> Option<Reaction> {
    let plain = said.trim().to_lowercase().replace('’', "'");
    if plain.is_empty() || plain.len() > BYTES_MAX {
        return None;
    }
    let thanks = THANKS.iter().any(|word| plain.contains(word));
    // Whoever was asked something says no to that.
    let was_asked = answered.trim_end().ends_with(['?', '？']);
    let begins = |word: &&str| {
        plain
            .trim_start_matches(|c: char| !c.is_alphanumeric())
            .starts_with(*word)
    };
    let head = &plain[..plain.floor_char_boundary(BEGINS)];
    let rejects = REJECTS.iter().any(begins)
        || REJECTS_UNSPACED.iter().any(|word| head.contains(word))
        || stuck::complains(head);
    if rejects && !thanks && !was_asked {
        return Some(Reaction::Rejected);
    }
    (!thanks && is_alike(asked, said)).then_some(Reaction::AskedAgain)
}

/// Whether one text asks for the same as another in other words: most of their words of content are the same, and all names and numbers.
#[must_use]
pub fn is_alike(one: &str, other: &str) -> bool {
    let (one, other) = (Content::of(one), Content::of(other));
    let same = one.words.iter().filter(|w| other.words.contains(w)).count();
    let all = one.words.len() + other.words.len() - same;
    let enough = one.words.len().min(other.words.len()) >= WORDS_MIN;
    enough && same * 100 >= all * SAME_PERCENT && one.names == other.names
}

/// What a text is about.
struct Content {
    words: Vec<u64>,
    /// Numbers, quotations, and words with a capital within a sentence.
    names: Vec<u64>,
}

impl Content {
    fn of(text: &str) -> Content {
        let (mut words, mut names) = (Vec::new(), Vec::new());
        let mut begins = true;
        for token in text.split_whitespace() {
            let word = token.trim_matches(|c: char| !c.is_alphanumeric());
            let named = word.chars().any(|c| c.is_numeric())
                || (!begins && word.starts_with(char::is_uppercase))
                || token.starts_with(['"', '\'', '`', '«', '„', '“']);
            begins = token.ends_with(['.', '!', '?', ':']);
            let small = word.to_lowercase();
            if small.is_empty() || SMALL.contains(&small.as_str()) {
                continue;
            }
            let hash = FixedState::default().hash_one(&small);
            words.push(hash);
            if named {
                names.push(hash);
            }
        }
        for list in [&mut words, &mut names] {
            list.sort_unstable();
            list.dedup();
        }
        Content { words, names }
    }
}
