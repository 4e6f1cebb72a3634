//! What a grader is made from: the sources, which of their models count as weak and strong, and which task is what.

use super::outcome::Outcome;
use crate::classify::model::Blend;
use crate::classify::{Features, Task};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The recipe of the grader that is built in.
pub static EMBEDDED: &str = include_str!("../data/grader_recipe.json");

/// How to read outcome files.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What the sources are and where they come from, for the card.
    pub about: String,
    /// The seed of everything that looks random.
    pub seed: u64,
    /// The sources, in the order of the table.
    pub sources: Vec<Source>,
    /// Tasks whose name begins like this are one task.
    #[serde(default)]
    pub merge: Vec<String>,
    /// `source/task` to one of flyball's tasks, with `*` at the end for all that begin alike.
    #[serde(default)]
    pub tasks: BTreeMap<String, String>,
    /// What outcomes and what people count for the difficulty of one of flyball's tasks, where it is not the usual.
    #[serde(default)]
    pub blend: BTreeMap<String, [f32; 2]>,
}

/// One source of outcomes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its name in the outcome files.
    pub name: String,
    /// The weak model, or the one that does not think.
    pub weak: String,
    /// The strong model, or the one that thinks.
    pub strong: String,
    /// All models that count as weak.
    pub weak_models: Vec<String>,
    /// All models that count as strong.
    pub strong_models: Vec<String>,
    /// The model whose visible answers tell how long an answer is.
    #[serde(default)]
    pub answer: Option<String>,
    /// A model that writes its reasoning out, and, where there is one, the same model without: what lies between is reasoning.
    #[serde(default)]
    pub reasoning: Option<(String, Option<String>)>,
}

/// An outcome in the recipe's terms.
#[derive(Clone, Debug)]
pub struct Labelled {
    /// The place of its source in the recipe.
    pub source: usize,
    /// Source and task: what is kept apart as a whole.
    pub group: String,
    /// A number for the prompt's text.
    pub prompt: u64,
    /// Characters of the prompt.
    pub chars: usize,
    /// What was measured of it.
    pub features: Features,
    /// Score of the weak model.
    pub weak: f64,
    /// Score of the strong model.
    pub strong: f64,
    /// Mean score of all weak models.
    pub weak_mean: f64,
    /// Mean score of all strong models.
    pub strong_mean: f64,
    /// Characters of the visible answer.
    pub answer_chars: Option<f64>,
    /// Characters of written-out reasoning.
    pub reasoning_chars: Option<f64>,
    /// What it asks for.
    pub task: Option<Task>,
}

impl Labelled {
    /// What the strong model gains.
    #[must_use]
    pub fn gain(&self) -> f64 {
        self.strong - self.weak
    }
}

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// Not JSON of this form, or a task that flyball does not have.
    pub fn read(text: &str) -> Result<Recipe, String> {
        let recipe: Recipe = serde_json::from_str(text).map_err(|e| e.to_string())?;
        match recipe
            .tasks
            .values()
            .chain(recipe.blend.keys())
            .find(|name| Task::parse(name).is_none())
        {
            Some(unknown) => Err(format!("there is no task \"{unknown}\"")),
            None => Ok(recipe),
        }
    }

    /// What difficulty is made of, by task.
    #[must_use]
    pub fn blended(&self) -> Blend {
        let mut blend = Blend::default();
        for (weights, task) in blend.weights.iter_mut().zip(Task::ALL) {
            if let Some(own) = self.blend.get(task.name()) {
                *weights = *own;
            }
        }
        blend
    }

    /// An outcome in the recipe's terms; `None` where its source is not named or one of the two models did not answer.
    #[must_use]
    pub fn label(&self, outcome: &Outcome) -> Option<Labelled> {
        let at = self.sources.iter().position(|s| s.name == outcome.source)?;
        let source = &self.sources[at];
        let score = |model: &String| outcome.scores.get(model).copied();
        let average = |models: &[String]| {
            let scores: Vec<f64> = models.iter().filter_map(score).collect();
            (!scores.is_empty()).then(|| super::mean(scores))
        };
        let chars = |model: &String| outcome.answer_chars.get(model).copied();
        let reasoning = source.reasoning.as_ref().and_then(|(with, without)| {
            let shown = without.as_ref().map_or(Some(0.0), chars)?;
            Some((chars(with)? - shown).max(1.0))
        });
        Some(Labelled {
            source: at,
            group: format!("{}/{}", source.name, self.merged(&outcome.task)),
            prompt: outcome.prompt,
            chars: outcome.chars,
            features: outcome.features.clone(),
            weak: score(&source.weak)?,
            strong: score(&source.strong)?,
            weak_mean: average(&source.weak_models)?,
            strong_mean: average(&source.strong_models)?,
            answer_chars: source.answer.as_ref().and_then(chars),
            reasoning_chars: reasoning,
            task: self.task_of(&format!("{}/{}", source.name, outcome.task)),
        })
    }

    fn merged<'a>(&'a self, task: &'a str) -> &'a str {
        self.merge
            .iter()
            .find(|begin| task.starts_with(begin.as_str()))
            .map_or(task, String::as_str)
    }

    fn task_of(&self, name: &str) -> Option<Task> {
        let exact = self.tasks.get(name);
        let alike = || {
            let mut stems = self
                .tasks
                .iter()
                .filter_map(|(n, t)| Some((n.strip_suffix('*')?, t)));
            stems
                .find(|(stem, _)| name.starts_with(stem))
                .map(|(_, t)| t)
        };
        exact.or_else(alike).and_then(|t| Task::parse(t))
    }
}
