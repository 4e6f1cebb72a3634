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
