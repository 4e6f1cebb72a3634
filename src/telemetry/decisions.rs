//! The last decisions, for whoever asks the admin listener why a request went where it went. No prompt and no key is kept.

use crate::arm::Objective;
use crate::classify::Task;
use crate::route::{Considered, Decision};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Decisions that are kept; an entry is about two kilobytes.
const KEPT: usize = 200;
/// Arms of a decision that are kept, best first.
const ARMS_KEPT: usize = 12;

/// One decision.
#[derive(Clone, Debug)]
pub struct NotedDecision {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The request id.
    pub request: String,
    /// The task.
    pub task: Task,
    /// The chance that a small model fails.
    pub difficulty: f64,
    /// What the caller wanted, where it said so.
    pub objective: Option<Objective>,
    /// The rule that decided.
    pub rule: String,
    /// The conversation did not get on.
    pub stuck: bool,
    /// The cheaper arm that was to be asked before them.
    pub asks_first: Option<String>,
    /// The arms that were to be tried, in this order.
    pub attempts: Vec<String>,
    /// What it is compared with.
    pub baseline: String,
    /// Every arm that was weighed, as far as it is kept.
    pub considered: Vec<Considered>,
    /// Arms that were weighed and are not kept.
    pub left_off: usize,
}

/// The last decisions, the latest first.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    kept: Mutex<VecDeque<NotedDecision>>,
}

/// A request and what was decided for it.
#[derive(Clone, Copy, Debug)]
pub struct DecidedFor<'a> {
    /// The request id.
    pub request: &'a str,
    /// The task.
    pub task: Task,
    /// The chance that a small model fails.
    pub difficulty: f64,
    /// What the caller wanted, where it said so.
    pub objective: Option<Objective>,
    /// The conversation did not get on.
    pub stuck: bool,
    /// What was decided.
    pub decision: &'a Decision,
}

impl Decisions {
    pub(super) fn note(&self, asked: &DecidedFor<'_>) {
        let decision = asked.decision;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let kept: Vec<Considered> = decision
            .considered
            .iter()
            .take(ARMS_KEPT)
            .cloned()
            .collect();
        let noted = NotedDecision {
            at_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            request: asked.request.to_owned(),
            task: asked.task,
            difficulty: asked.difficulty,
            objective: asked.objective,
            rule: decision.rule.clone(),
            stuck: asked.stuck,
            asks_first: decision.probe.as_ref().map(|p| p.arm.to_string()),
            attempts: decision.attempts.iter().map(ToString::to_string).collect(),
            baseline: decision.baseline.to_string(),
            left_off: decision.considered.len() - kept.len(),
            considered: kept,
        };
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        all.truncate(KEPT - 1);
        all.push_front(noted);
    }

    pub(super) fn last(&self) -> Vec<NotedDecision> {
        let all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().cloned().collect()
    }
}
