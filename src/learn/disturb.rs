//! The same ask, said a little differently: what must not change where it goes.

use super::chance::Chance;

/// One way to say the same differently.
#[derive(Clone, Copy)]
pub struct Disturbance {
    /// Its name in the table.
    pub name: &'static str,
    /// Says it differently.
    pub apply: fn(&str) -> String,
}

/// Every disturbance.
pub const ALL: [Disturbance; 6] = [
    Disturbance {
        name: "typos (one letter in forty)",
        apply: typos,
    },
    Disturbance {
        name: "small letters only",
        apply: str_lower,
    },
    Disturbance {
        name: "capitals at every word",
        apply: title,
    },
    Disturbance {
        name: "white space",
        apply: spaced,
    },
    Disturbance {
        name: "a polite frame",
        apply: polite,
    },
    Disturbance {
        name: "an expert's frame",
        apply: expert,
    },
];

/// Swaps neighbouring letters inside words, about one letter in forty.
fn typos(text: &str) -> String {
    let mut chance = Chance::new(text.len() as u64);
    let mut chars: Vec<char> = text.chars().collect();
    for at in 1..chars.len().saturating_sub(1) {
        let inside = chars[at - 1].is_alphabetic()
            && chars[at].is_alphabetic()
            && chars[at + 1].is_alphabetic();
        if inside && chance.below(40) == 0 {
            chars.swap(at, at + 1);
        }
    }
    chars.into_iter().collect()
}

fn str_lower(text: &str) -> String {
    text.to_lowercase()
}

fn title(text: &str) -> String {
    let mut starts = true;
    text.chars()
        .map(|c| {
            let out = if starts {
                c.to_uppercase().next().unwrap_or(c)
            } else {
                c
            };
            starts = c.is_whitespace();
            out
        })
        .collect()
}

/// Blanks at the ends of lines, an empty line before and after, two blanks after each stop.
fn spaced(text: &str) -> String {
    format!(
        "\n\n  {}  \n\n",
        text.replace(". ", ".  ").replace('\n', " \n")
    )
}

fn polite(text: &str) -> String {
    format!(
        "Hi! I hope you can help me with this one.\n\n{text}\n\nThank you very much in advance."
    )
}

fn expert(text: &str) -> String {
    format!(
        "You are a helpful assistant with broad expertise. Please take care of the following request.\n\n{text}"
    )
}
