//! How the conversation of a request stands, as far as it is known: who has answered so far, whose prompt cache holds what of it, and how
//! a client that had stayed on the baseline would have fared.

use super::super::bound;
use super::{Completion, Routed};
use crate::affinity::{self, Kept, Reader, SaidEfforts, Served, UserTurn};
use crate::arm::Effort;
use crate::chat::Role;
use crate::classify::stuck;
use crate::dialect::Dialect;
use crate::dialect::band::{Change, InBand, InBandRequest};
use crate::fleet::{Arm, Model};
use crate::price::Price;
use crate::provider::Provider;
use crate::provider::channel::{self, Stickiness};
use crate::route::cost::{self, Stayed};
use crate::route::standing::{ConversationStanding, Habit};
use crate::upstream::channels::Destination;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use std::sync::PoisonError;

/// A conversation that has had so many answers is expected to have as many more, up to this many: nobody knows how long it goes on, and
/// what has lasted lasts.
const AHEAD_MAX: u64 = 20;
/// Requests that an agent makes for one ask at least, as a rule: each call of a tool is one.
const LOOP_STEPS: u64 = 3;

/// Models of which it is remembered in one conversation which efforts were said within it.
const EFFORTS_MAX: usize = 4;

/// The turn that a request is in, and what has served the conversation so far.
#[derive(Clone, Debug)]
pub struct TurnSoFar {
    /// The turn.
    pub turn: UserTurn,
    /// What serves it, if it goes on.
    pub serving: Option<Served>,
    /// What served the turn before it.
    pub before: Option<Served>,
}

/// How many tokens of the conversation an arm's provider has in its cache.
type Warm<'s> = &'s dyn Fn(&Arm) -> u64;
/// What an arm's answers are like.
type Habits<'s> = &'s dyn Fn(&Arm) -> Option<Habit>;

impl Completion<'_> {
    /// How its conversation stands.
    pub(super) fn standing<'s>(
        &self,
        turn: Option<&'s TurnSoFar>,
        (warm, habit): (Warm<'s>, Habits<'s>),
        keeps: &'s dyn Fn() -> bool,
        late: &'s dyn Fn(&Arm) -> Option<Price>,
    ) -> ConversationStanding<'s> {
        let prompt = &self.request.prompt;
        let serving = turn.and_then(|turn| turn.serving.as_ref());
        let before = turn.and_then(|turn| turn.before.as_ref());
        let answers = prompt.turns.iter().filter(|t| t.role == Role::Assistant);
        let answers = u64::try_from(answers.count()).unwrap_or(u64::MAX);
        ConversationStanding {
            serving: serving.map(|s| (s.model.as_str(), s.effort, s.rule.as_str())),
            before: before.map(|s| (s.model.as_str(), s.effort)),
            warm,
            keeps,
            ahead: match prompt.tools {
                0 => answers.min(AHEAD_MAX),
                _ => answers.clamp(LOOP_STEPS, AHEAD_MAX),
            },
            stuck: turn.is_some() && self.is_routed() && self.is_stuck(),
            habit,
            late,
        }
    }

    /// Whether the conversation does not get on.
    pub(super) fn is_stuck(&self) -> bool {
        let prompt = &self.request.prompt;
        *self.stuck.get_or_init(|| stuck::is_stuck(prompt))
    }

    /// Whether it asks its provider to keep what it has read, where that must be asked for.
    pub(super) fn asks_to_keep(&self) -> bool {
        *self
            .keeps
            .get_or_init(|| bound::may_ask_for_cache(self.body))
    }

    /// Tokens of the conversation that this arm's provider most likely holds.
    pub(super) fn warm(&self, turn: Option<&TurnSoFar>, arm: &Arm) -> u64 {
        let Some((turn, kept)) = turn.zip(self.kept(&arm.model)) else {
            return 0;
        };
        let apart = cost::effort_is_cached_apart(&arm.model) && !self.may_say_in_band(&arm.model);
        let reader = Reader {
            model: &arm.model.name,
            channel: self.channel_of(&arm.model),
            effort: apart.then(|| arm.effort_or(None)),
        };
        self.admission.warmth.tokens_of(turn.turn, reader, kept)
    }

    /// The channel of a model's provider on which this request would go out now.
    fn channel_of<'m>(&self, model: &'m Model) -> &'m str {
        let provider = &model.provider;
        if !provider.has_several_channels() {
            return &provider.home.name;
        }
        let to = Destination {
            provider,
            model: &model.name,
        };
        let wants = channel::Request {
            sticks: self.sticks(provider),
            id: self.admission.id,
        };
        &self.admission.channels.prefers(to, wants).name
    }

    /// Which channel of a provider it belongs on: that of its conversation, or of its caller where the vendor keeps the answer.
    pub(super) fn sticks(&self, provider: &Provider) -> Stickiness {
        let dialect = self.admission.dialect;
        let kept = || {
            dialect.is_kept(&self.request)
                || dialect.has_effects(&self.request)
                || *self.names_kept.get_or_init(|| names_kept(self.body))
        };
        if provider.speaks(dialect.name()) && kept() {
            return self.admission.sticks_to_caller();
        }
        let conversation = *self.conversation.get_or_init(|| {
            let (caller, prompt) = (self.admission.caller.name(), &self.request.prompt);
            affinity::conversation(caller, self.session(), prompt)
        });
        Stickiness {
            conversation: Some(conversation),
            kept: false,
        }
    }

    /// Whether a change of effort is said to this model within the conversation, as far as that is known before it is told anything.
    fn may_say_in_band(&self, model: &Model) -> bool {
        let (dialect, provider) = (self.admission.dialect, &model.provider);
        provider.says_effort_in_band()
            && provider.speaks(dialect.name())
            && InBand::of(dialect, provider.kind.name, &model.name).is_some()
    }

    /// How long a model's provider keeps what it has read of this request.
    fn kept(&self, model: &Model) -> Option<Kept> {
        cost::cache_lifetime(model, || self.asks_to_keep()).map(|lifetime| Kept {
            lifetime,
            now: self.admission.arrived,
        })
    }
}

/// Fields by which a request names what an account of its vendor keeps: files, answers, containers and caches.
const KEPT_FIELDS: [&[u8]; 7] = [
    b"\"file_id\"",
    b"\"previous_response_id\"",
    b"\"container\"",
    b"\"fileUri\"",
    b"\"file_uri\"",
    b"\"cachedContent\"",
    b"\"cached_content\"",
];

/// Whether a request names something that an account keeps: such a field with a text for its value, which the schema of a tool does not have.
fn names_kept(body: &[u8]) -> bool {
    let is_text = |at: usize| {
        let after = body.get(at..).unwrap_or_default().trim_ascii_start();
        let value = after.strip_prefix(b":").unwrap_or_default();
        value.trim_ascii_start().starts_with(b"\"")
    };
    KEPT_FIELDS
        .iter()
        .any(|field| memchr::memmem::find_iter(body, field).any(|at| is_text(at + field.len())))
}

/// A body that goes out, with a header of its own if it needs one.
pub(super) struct InBandBody {
    pub(super) body: Bytes,
    pub(super) header: Option<(&'static str, HeaderValue)>,
}

impl Routed<'_> {
    /// The efforts that this model was asked for in the conversation so far, where that was said within it.
    pub(super) fn efforts_said(&self, model: &Model) -> Option<&SaidEfforts> {
        let turn = self.turn.as_ref()?;
        let served = turn.serving.as_ref().or(turn.before.as_ref())?;
        served.efforts.iter().find(|said| said.model == model.name)
    }

    /// How changes of effort are said to this arm within the conversation; `None` where they are not.
    pub(super) fn in_band(&self, arm: &Arm, dialect: &dyn Dialect) -> Option<InBand> {
        let provider = &arm.model.provider;
        let may = provider.says_effort_in_band() && self.turn.is_some() && !self.decision.untouched;
        let in_band = may.then(|| InBand::of(dialect, provider.kind.name, &arm.model.name));
        in_band.flatten()
    }

    /// The body with its effort said as the conversation has said it before, so that what the provider has read of it stays as it was.
    /// Where that cannot be, the body stays as it is and the conversation begins anew for its provider's cache.
    pub(super) fn with_effort_in_band(
        &self,
        (arm, effort): (&Arm, Effort),
        dialect: &dyn Dialect,
        body: Bytes,
        headers: &HeaderMap,
    ) -> InBandBody {
        let Some(in_band) = self.in_band(arm, dialect) else {
            return InBandBody { body, header: None };
        };
        let begun = || SaidEfforts {
            model: arm.model.name.clone(),
            began: effort,
            changes: Vec::new(),
        };
        let mut said = self.efforts_said(&arm.model).cloned().unwrap_or_else(begun);
        if said.present() != effort {
            match in_band.place(&body) {
                Some(at) => said.changes.push(Change { at, effort }),
                None => said = begun(),
            }
        }
        let written = in_band.write(&body, Some(said.began), &said.changes, headers);
        let said = if written.is_some() { said } else { begun() };
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
        match written {
            Some(InBandRequest { body, header }) => InBandBody { body, header },
            None => InBandBody { body, header: None },
        }
    }

    /// The efforts that were said within the conversation, this request included.
    pub(super) fn efforts_to_remember(&self) -> Vec<SaidEfforts> {
        let now = self
            .said
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let turn = self.turn.as_ref();
        let before = turn.and_then(|turn| turn.serving.as_ref().or(turn.before.as_ref()));
        let before = before.into_iter().flat_map(|served| &served.efforts);
        let replaced = |said: &&SaidEfforts| now.as_ref().is_none_or(|now| now.model != said.model);
        let kept: Vec<SaidEfforts> = before.filter(replaced).cloned().collect();
        now.into_iter().chain(kept).take(EFFORTS_MAX).collect()
    }

    /// How the baseline would have got the answer that this arm has given at this effort.
    #[must_use]
    pub fn stayed(&self, arm: &Arm, effort: Effort) -> Stayed {
        let completion = self.completion;
        let baseline = &self.decision.baseline;
        let usual = baseline.effort_or(None);
        let answers = baseline.model.name == arm.model.name && usual == effort;
        let thinking = (!answers && !self.decision.untouched).then(|| {
            let habits = completion.admission.habits;
            let difficulty = &completion.graded().difficulty;
            let habit = habits.of(&baseline.model.name, usual, difficulty.task);
            cost::baseline_thinking(baseline, difficulty, habit)
        });
        let elsewhere = baseline.model.name != arm.model.name;
        let asks = || completion.asks_to_keep();
        Stayed {
            warm: self.warm_on_baseline(arm, effort),
            writes: elsewhere && cost::charges_for_writing(&baseline.model, asks()),
            thinking,
        }
    }

    /// Tokens that the baseline would have read from its provider's cache, had it answered so far.
    fn warm_on_baseline(&self, arm: &Arm, effort: Effort) -> u64 {
        let baseline = &self.decision.baseline.model;
        let usual = self.decision.baseline.effort_or(None);
        let apart = cost::effort_is_cached_apart(baseline);
        let kept = self.completion.kept(baseline);
        let Some((turn, kept)) = self.turn.as_ref().zip(kept) else {
            return 0;
        };
        let warmth = self.completion.admission.warmth;
        let warm = warmth.tokens(turn.turn, kept);
        let own = Reader {
            model: &baseline.name,
            channel: self.completion.channel_of(baseline),
            effort: apart.then_some(usual),
        };
        let same_cache = arm.model.name == baseline.name && (!apart || effort == usual);
        // Where the baseline itself answers and has never been left, it is as warm as its provider says.
        let stayed = same_cache && warmth.tokens_of(turn.turn, own, kept) >= warm;
        if stayed { 0 } else { warm }
    }
}
