//! The registry of signals: what is measured of an ask. Each is a number; most say nothing about language.

use super::{Ask, Task};

/// One measurement.
pub struct Signal {
    /// Its name in `flyball classify`.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Measures.
    pub measure: fn(&Ask) -> f64,
}

/// Every signal.
pub static ALL: &[Signal; 30] = &[
    Signal {
        name: "chars",
        help: "characters of the ask",
        measure: |a| count(a.chars),
    },
    Signal {
        name: "words",
        help: "words of the ask",
        measure: |a| count(a.words),
    },
    Signal {
        name: "lines",
        help: "lines that are not empty",
        measure: |a| count(a.lines),
    },
    Signal {
        name: "longest_sentence",
        help: "characters of the longest sentence",
        measure: |a| count(a.longest_sentence),
    },
    Signal {
        name: "digit_share",
        help: "digits among characters",
        measure: |a| share(a.digits, a.chars),
    },
    Signal {
        name: "operators",
        help: "mathematical operators",
        measure: |a| count(a.operators),
    },
    Signal {
        name: "operator_share",
        help: "operators among characters",
        measure: |a| share(a.operators, a.chars),
    },
    Signal {
        name: "code_share",
        help: "brackets and other marks of code among characters",
        measure: |a| share(a.code_marks, a.chars),
    },
    Signal {
        name: "questions",
        help: "question marks of any script",
        measure: |a| count(a.questions),
    },
    Signal {
        name: "foreign_share",
        help: "letters outside ASCII among characters",
        measure: |a| share(a.foreign, a.chars),
    },
    Signal {
        name: "items",
        help: "lines that begin like list items",
        measure: |a| count(a.items),
    },
    Signal {
        name: "options",
        help: "lines that begin like answers to choose",
        measure: |a| count(a.options),
    },
    Signal {
        name: "indented_share",
        help: "indented lines among lines",
        measure: |a| share(a.indented, a.lines),
    },
    Signal {
        name: "fenced",
        help: "lines in code fences",
        measure: |a| count(a.fenced),
    },
    Signal {
        name: "rows",
        help: "lines that look like rows of a table",
        measure: |a| count(a.rows),
    },
    Signal {
        name: "traces",
        help: "lines that look like a stack trace or a compiler's complaint",
        measure: |a| count(a.traces),
    },
    Signal {
        name: "diff",
        help: "lines of a diff",
        measure: |a| count(a.diff),
    },
    Signal {
        name: "latex",
        help: "LaTeX commands",
        measure: |a| count(a.text.matches('\\').count()),
    },
    Signal {
        name: "turns",
        help: "turns of the conversation",
        measure: |a| count(a.turns),
    },
    Signal {
        name: "tool_turns",
        help: "tool results since the user spoke",
        measure: |a| count(a.tool_turns),
    },
    Signal {
        name: "cue_summarise",
        help: "words that ask for a summary",
        measure: |a| cue(a, Task::Summarise),
    },
    Signal {
        name: "cue_translate",
        help: "words that ask for a translation",
        measure: |a| cue(a, Task::Translate),
    },
    Signal {
        name: "cue_creative",
        help: "words that ask for a text to be made up",
        measure: |a| cue(a, Task::Creative),
    },
    Signal {
        name: "cue_simple_question",
        help: "words that begin a question of knowledge",
        measure: |a| cue(a, Task::SimpleQuestion),
    },
    Signal {
        name: "cue_extract",
        help: "words that ask to find or classify",
        measure: |a| cue(a, Task::Extract),
    },
    Signal {
        name: "cue_code",
        help: "words that ask for a program",
        measure: |a| cue(a, Task::Code),
    },
    Signal {
        name: "cue_debug",
        help: "words about something that fails",
        measure: |a| cue(a, Task::Debug),
    },
    Signal {
        name: "cue_maths",
        help: "words that ask to calculate or prove",
        measure: |a| cue(a, Task::Maths),
    },
    Signal {
        name: "cue_logic",
        help: "words of puzzles and conclusions",
        measure: |a| cue(a, Task::Logic),
    },
    Signal {
        name: "cue_multi_step",
        help: "words of plans, designs and comparisons",
        measure: |a| cue(a, Task::MultiStep),
    },
];

fn count(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

fn share(part: usize, whole: usize) -> f64 {
    count(part) / count(whole.max(1))
}

fn cue(ask: &Ask, task: Task) -> f64 {
    Task::ALL
        .iter()
        .position(|t| *t == task)
        .map_or(0.0, |at| ask.cues[at])
}
