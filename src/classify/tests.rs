use super::*;
use crate::chat::{Part, Role, Turn};
use proptest::prelude::*;

fn said(turns: &[(Role, &str)]) -> Difficulty {
    let turns = turns
        .iter()
        .map(|(role, text)| Turn {
            role: *role,
            parts: vec![Part::Text((*text).to_owned().into())],
        })
        .collect();
    let features = measure(&Prompt {
        turns,
        ..Prompt::default()
    });
    grade(&features, None)
}

/// A conversation in which a user has said this and nothing else.
fn one_turn(text: &str) -> Prompt<'static> {
    Prompt {
        turns: vec![Turn {
            role: Role::User,
            parts: vec![Part::Text(text.to_owned().into())],
        }],
        ..Prompt::default()
    }
}

fn asked(text: &str) -> Difficulty {
    said(&[(Role::User, text)])
}

#[test]
fn plain_asks_are_told_apart() {
    for (text, task) in [
        ("What is the capital of France?", Task::SimpleQuestion),
        ("Wie heißt die Hauptstadt von Peru?", Task::SimpleQuestion),
        (
            "Translate into German: Good morning, how did you sleep?",
            Task::Translate,
        ),
        ("把下面的句子翻译成英文：今天天气很好。", Task::Translate),
        ("Write a haiku about the first snow.", Task::Creative),
        (
            "Summarise the following article in two sentences.\n\nThe city council met on Tuesday …",
            Task::Summarise,
        ),
        (
            "Extract every date and every amount from this invoice as JSON.",
            Task::Extract,
        ),
        (
            "Write a Python function that merges two sorted lists.",
            Task::Code,
        ),
        (
            "Prove that the square root of 2 is irrational.",
            Task::Maths,
        ),
        (
            "Traceback (most recent call last):\n  File \"a.py\", line 3, in <module>\nKeyError: 'x'\nwhy does this crash?",
            Task::Debug,
        ),
        ("Hello", Task::Unknown),
    ] {
        assert_eq!(asked(text).task, task, "{text}: {:?}", asked(text));
    }
}

#[test]
fn small_sums_are_easy_and_proofs_are_not() {
    assert!(asked("What is 2+2?").difficulty < 0.4);
    assert!(
        asked("Prove that there are infinitely many primes congruent to 3 modulo 4.").difficulty
            > 0.5
    );
}

#[test]
fn a_prompt_without_signals_is_unknown_and_not_easy() {
    let unknown = asked("Thursday, blue, the usual way");
    assert_eq!(unknown.task, Task::Unknown, "{unknown:?}");
}

#[test]
fn a_short_reply_inherits_the_task_before_it() {
    for reply in ["yes, do it", "ok", "weiter", "好的"] {
        let graded = said(&[
            (
                Role::User,
                "Prove that the sum of two odd integers is even.",
            ),
            (Role::Assistant, "Shall I go on?"),
            (Role::User, reply),
        ]);
        assert_eq!(graded.task, Task::Maths, "{reply}");
    }
}

#[test]
fn a_harness_and_its_tools_are_not_graded() {
    let text = "<system-reminder>error: debug the stack trace, prove the theorem</system-reminder>Translate to French: good evening";
    assert_eq!(asked(text).task, Task::Translate);
}

#[test]
fn four_fifths_of_the_demo_prompts_grade_as_their_author_meant() {
    let (mut right, mut all) = (0, 0);
    for line in include_str!("../data/demo_prompts.jsonl").lines() {
        let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let (prompt, task) = (
            row["prompt"].as_str().expect("a prompt"),
            row["task"].as_str().expect("a task"),
        );
        let graded = asked(prompt).task.name();
        all += 1;
        if graded == task {
            right += 1;
        } else {
            println!(
                "{task} graded {graded}: {}",
                prompt.chars().take(70).collect::<String>()
            );
        }
    }
    println!("{right} of {all}");
    assert!(right * 5 >= all * 4, "{right} of {all}");
}

#[test]
fn an_ask_that_is_known_is_graded_as_one_that_is_read_anew() {
    let prompts: Vec<String> = include_str!("../data/demo_prompts.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .map(|row| row["prompt"].as_str().expect("a prompt").to_owned())
        .collect();
    let known = KnownAsks::default();
    // Each as it comes, again after a tool's result, with the next one as a follow-up, and with a reply behind it.
    for (at, text) in prompts.iter().enumerate() {
        let turn = |role, text: &str| Turn {
            role,
            parts: vec![Part::Text(text.to_owned().into())],
        };
        let next = &prompts[(at + 1) % prompts.len()];
        let mut turns = vec![turn(Role::User, text)];
        for more in [
            None,
            Some(turn(Role::Assistant, "Let me look.")),
            Some(turn(Role::Tool, "3 files")),
            Some(turn(Role::User, next)),
            Some(turn(Role::User, "yes, do it")),
            Some(turn(Role::User, "And why?")),
        ] {
            turns.extend(more);
            let prompt = Prompt {
                turns: turns.clone(),
                ..Prompt::default()
            };
            let anew = measure(&prompt);
            let mut first = None;
            for _ in 0..2 {
                let again = measure_known(&prompt, known.of("ann"));
                assert_eq!(
                    again.named().collect::<Vec<_>>(),
                    anew.named().collect::<Vec<_>>()
                );
                assert_eq!(again.grams(), anew.grams());
                assert_eq!(grade(&again, None), grade(&anew, None), "{text}");
                assert!(
                    decisive(&again).map(Features::values) == decisive(&anew).map(Features::values)
                );
                assert_eq!(again.inherited, anew.inherited);
                let reading = first.get_or_insert_with(|| again.reading.clone());
                assert!(Arc::ptr_eq(reading, &again.reading), "it was read again");
            }
            let other = measure_known(&prompt, known.of("bob"));
            assert!(!first.is_some_and(|first| Arc::ptr_eq(&first, &other.reading)));
        }
    }
}

#[test]
fn long_asks_that_differ_where_they_are_read_are_read_anew() {
    let known = KnownAsks::default();
    let line = "The harvest was good, and the barn is full of hay and straw.\n";
    let long = line.repeat(2_000);
    let reading = |text: &str| measure_known(&one_turn(text), known.of("ann"));
    let plain = reading(&long);
    let asks = "\n\nTranslate this into French, please.\n\n";
    // The window of either end, and what is looked through for an instruction beside it.
    for at in [0, 2_000, 2_700, 14_000, 60_000] {
        for at in [at, long.len() - at] {
            let at = long[..at].rfind('\n').map_or(0, |end| end + 1);
            let with = format!("{}{asks}{}", &long[..at], &long[at..]);
            let again = reading(&with);
            let anew = measure(&one_turn(&with));
            assert_eq!(again.values(), anew.values(), "{at}");
            assert_eq!(again.grams(), anew.grams(), "{at}");
        }
    }
    assert_eq!(reading(&long).values(), plain.values());
}

proptest! {
    #[test]
    fn any_text_has_a_grade_within_bounds(text in "\\PC{0,400}", other in any::<String>()) {
        for t in [&text, &other] {
            let graded = asked(t);
            prop_assert!((0.0..=1.0).contains(&graded.difficulty) && (0.0..=1.0).contains(&graded.confidence));
            prop_assert_eq!(graded, asked(t));
        }
    }
}
