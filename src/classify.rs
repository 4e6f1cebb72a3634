//! From a prompt to a difficulty (placeholder until the grader lands).
#![allow(missing_docs)]
use crate::chat::Prompt;
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task { Summarise, Translate, Creative, SimpleQuestion, Extract, Code, Debug, Maths, Logic, MultiStep, Unknown }
impl Task {
    pub const ALL: [Task; 11] = [Task::Summarise, Task::Translate, Task::Creative, Task::SimpleQuestion, Task::Extract, Task::Code, Task::Debug, Task::Maths, Task::Logic, Task::MultiStep, Task::Unknown];
    #[must_use]
    pub fn name(self) -> &'static str {
        ["summarise", "translate", "creative", "simple_question", "extract", "code", "debug", "maths", "logic", "multi_step", "unknown"][Task::ALL.iter().position(|t| *t == self).unwrap_or(10)]
    }
    #[must_use]
    pub fn parse(name: &str) -> Option<Task> { Task::ALL.into_iter().find(|t| t.name() == name) }
}
#[derive(Clone, Copy, Debug)]
pub struct Difficulty { pub difficulty: f64, pub confidence: f64, pub task: Task }
#[derive(Clone, Debug, Default)]
pub struct Features { pub prompt_tokens_estimate: u64, pub ask_chars: usize, pub turns: usize, pub inherited: bool }
#[must_use]
pub fn measure(prompt: &Prompt<'_>) -> Features { Features { turns: prompt.turns.len(), ..Features::default() } }
#[must_use]
pub fn grade(_: &Features) -> Difficulty { Difficulty { difficulty: 0.5, confidence: 0.1, task: Task::Unknown } }
