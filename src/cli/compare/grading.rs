//! The ways of grading that `--grade` names, a command's verdict and a person's among them.

use super::questions::Question;
use crate::judge;
use regex::Regex;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A command that takes longer is ended, and its answer is not good.
const COMMAND_MAX: Duration = Duration::from_secs(120);

/// How answers are graded.
#[derive(Clone, Debug)]
pub(super) enum Grader {
    /// The answer is the expected one, but for case, white space and a full stop at its end.
    Exact,
    /// Its last number is the expected one.
    Number,
    /// It matches this pattern, or its question's own.
    Pattern(Option<Regex>),
    /// It is JSON that follows its question's schema.
    Schema,
    /// A command says so by ending with 0; it reads the answer.
    Command(String),
    /// Another arm says which of two is better.
    Judge(String),
    /// Somebody at this terminal says so.
    Person,
}

impl Grader {
    /// Reads `exact`, `number`, `regex`, `regex:PATTERN`, `schema`, `command:…`, `judge:ARM` or `person`.
    ///
    /// # Errors
    /// It is none of them; says which there are.
    pub(super) fn parse(text: &str) -> Result<Grader, String> {
        let (name, rest) = match text.split_once(':') {
            Some((name, rest)) => (name, Some(rest)),
            None => (text, None),
        };
        match (name, rest) {
            ("exact", None) => Ok(Grader::Exact),
            ("number", None) => Ok(Grader::Number),
            ("regex", None) => Ok(Grader::Pattern(None)),
            ("regex", Some(pattern)) => Ok(Grader::Pattern(Some(judge::pattern(pattern)?))),
            ("schema", None) => Ok(Grader::Schema),
            ("command", Some(command)) if !command.is_empty() => {
                Ok(Grader::Command(command.to_owned()))
            }
            ("judge", Some(arm)) if !arm.is_empty() => Ok(Grader::Judge(arm.to_owned())),
            ("person", None) => Ok(Grader::Person),
            _ => Err(format!(
                "\"{text}\" is no way of grading; it may be exact, number, regex, regex:PATTERN, schema, command:COMMAND, judge:ARM or person"
            )),
        }
    }

    /// What a question lacks for this grader; nothing where it has it.
    pub(super) fn lacks(&self, question: &Question) -> Option<&'static str> {
        match self {
            Grader::Exact | Grader::Number | Grader::Pattern(None) => {
                question.answer.is_none().then_some("answer")
            }
            Grader::Schema => question.schema.is_none().then_some("schema"),
            Grader::Pattern(Some(_)) | Grader::Command(_) | Grader::Judge(_) | Grader::Person => {
                None
            }
        }
    }

    /// The score of one answer, from 0 to 1; `None` for graders that compare answers or ask somebody.
    ///
    /// # Errors
    /// The pattern of the question is none, or the command cannot be run.
    pub(super) fn score(&self, question: &Question, answer: &str) -> Result<Option<f64>, String> {
        let expected = question.answer.as_deref().unwrap_or_default();
        let good = match self {
            Grader::Exact => judge::is_exactly(answer, expected),
            Grader::Number => judge::is_same_number(answer, expected),
            Grader::Pattern(Some(pattern)) => pattern.is_match(answer),
            Grader::Pattern(None) => judge::pattern(expected)?.is_match(answer),
            Grader::Schema => {
                let schema = question.schema.as_ref();
                schema.is_some_and(|schema| judge::follows(schema, answer))
            }
            Grader::Command(command) => runs_well(command, question, answer)?,
            Grader::Judge(_) | Grader::Person => return Ok(None),
        };
        Ok(Some(f64::from(u8::from(good))))
    }
}

/// Whether the command ends with 0. It reads the answer, and knows its question by `FLYBALL_ID` and `FLYBALL_EXPECTED`.
fn runs_well(command: &str, question: &Question, answer: &str) -> Result<bool, String> {
    let told = |e: std::io::Error| format!("the grader's command \"{command}\": {e}");
    let mut child = Command::new("sh")
        .args(["-c", command])
        .env("FLYBALL_ID", &question.id)
        .env(
            "FLYBALL_EXPECTED",
            question.answer.as_deref().unwrap_or_default(),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(told)?;
    // A command that reads nothing may be gone already; what it says by its end counts.
    if let Some(mut input) = child.stdin.take() {
        let text = answer.to_owned();
        std::thread::spawn(move || input.write_all(text.as_bytes()));
    }
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(told)? {
            return Ok(status.success());
        }
        if began.elapsed() > COMMAND_MAX {
            child.kill().map_err(told)?;
            child.wait().map_err(told)?;
            return Ok(false);
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "this thread is there to wait for the command"
        )]
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn question(answer: &str) -> Question {
        Question {
            answer: Some(answer.into()),
            schema: Some(json!({"type": "object", "required": ["a"]})),
            ..Question::alone("?")
        }
    }

    fn good(grader: &str, expected: &str, answer: &str) -> bool {
        let grader = Grader::parse(grader).expect("a grader");
        let score = grader.score(&question(expected), answer).expect("graded");
        score == Some(1.0)
    }

    #[test]
    fn answers_are_held_against_what_is_expected() {
        assert!(good("exact", "Paris", " paris. "));
        assert!(!good("exact", "Paris", "It is Paris."));
        assert!(good("number", "1000", "So 3 times that makes $1,000."));
        assert!(!good("number", "1000", "1,001"));
        assert!(!good("number", "1000", "no idea"));
        assert!(good("regex", "(?i)par[ai]s", "It is PARIS"));
        assert!(good("regex:^x", "", "xy"));
        assert!(good("schema", "", "```json\n{\"a\": 1}\n```"));
        assert!(!good("schema", "", "{\"b\": 1}"));
        assert!(!good("schema", "", "not JSON"));
    }

    #[cfg(unix)]
    #[test]
    fn a_command_reads_the_answer_and_says_by_its_end_whether_it_is_good() {
        let grader = "command:grep -q \"$FLYBALL_EXPECTED\"";
        assert!(good(grader, "needle", "a needle in the hay"));
        assert!(!good(grader, "needle", "only hay"));
        assert!(good("command:exit 0", "", &"long ".repeat(100_000)));
    }

    #[test]
    fn what_is_no_grader_or_lacks_what_it_needs_is_told() {
        for text in ["exakt", "command:", "judge", "regex:(", "exact:x"] {
            assert!(Grader::parse(text).is_err(), "{text}");
        }
        let lacks = |grader: &str| {
            Grader::parse(grader)
                .expect("a grader")
                .lacks(&Question::alone("?"))
        };
        assert_eq!(
            ["exact", "schema", "regex", "regex:x", "person"].map(lacks),
            [Some("answer"), Some("schema"), Some("answer"), None, None]
        );
    }
}
