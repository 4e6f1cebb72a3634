//! What `serve` would decide with, in a room of its own: requests are let in and decided as there, nothing is sent and no ledger is opened.

use crate::affinity::{Habits, Items, Makers, Warmth};
use crate::arm::Objective;
use crate::caller::Caller;
use crate::chat::Role;
use crate::chat::conversation::{Conversation, Item, Message};
use crate::classify::KnownAsks;
use crate::config::Config;
use crate::dialect::{Addressee, Dialect, Place};
use crate::error::Error;
use crate::exchange::admission::{Admission, CapBooks, Inbound};
use crate::exchange::completion::Completion;
use crate::ledger::balance::{Balances, Capped};
use crate::ledger::cap::Dims;
use crate::ledger::tree;
use crate::limits::Limits;
use crate::process::policy_of;
use crate::route::Policy;
use crate::telemetry::otlp::Trace;
use crate::upstream::channels::Channels;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

/// What `serve` would decide with, without its sockets and its books: an open ledger under the caps of the configuration.
pub(super) struct House {
    pub(super) policy: Arc<Policy>,
    limits: Limits,
    makers: Makers,
    items: Items,
    warmth: Warmth,
    habits: Habits,
    known_asks: KnownAsks,
    channels: Channels,
    caps: EmptyBooks,
}

/// A request that is asked about.
pub(super) struct Asking<'a> {
    pub(super) dialect: &'static dyn Dialect,
    pub(super) body: &'a Bytes,
    pub(super) place: &'a Place<'a>,
    pub(super) objective: Option<Objective>,
    pub(super) private: bool,
    pub(super) deadline: Option<&'a str>,
}

/// The caps in force, of which nothing is spent.
struct EmptyBooks(Balances);

impl CapBooks for EmptyBooks {
    fn capped(&self, dims: &Dims<'_>) -> Capped {
        self.0.capped(dims)
    }

    fn perhaps_capped(&self, dims: &Dims<'_>) -> Capped {
        self.0.perhaps_capped(dims)
    }

    fn counts_users(&self) -> bool {
        self.0.counts_users()
    }

    fn is_frozen(&self, _provider: &str, _model: &str) -> bool {
        false
    }

    fn fullest(&self, _dims: &Dims<'_>) -> u64 {
        0
    }
}

impl House {
    pub(super) fn new(config: &Config) -> House {
        let (caps, _) = tree::in_force(&config.caps, &[]);
        let mut balances = Balances::new(false, config.sessions_max);
        balances.set_caps(&caps, &[], 0);
        House {
            policy: Arc::new(policy_of(config)),
            limits: config.limits.clone(),
            makers: Makers::default(),
            items: Items::default(),
            warmth: Warmth::default(),
            habits: Habits::default(),
            known_asks: KnownAsks::default(),
            channels: Channels::default(),
            caps: EmptyBooks(balances),
        }
    }

    /// Lets the request in as `serve` would, and looks at it.
    pub(super) fn ask<T>(
        &self,
        asking: &Asking<'_>,
        look: impl FnOnce(&Completion<'_>) -> T,
    ) -> Result<T, Error> {
        let mut request = http::Request::post("/");
        if let Some(objective) = asking.objective {
            request = request.header("x-flyball-objective", objective.name());
        }
        if asking.private {
            request = request.header("x-flyball-privacy", "local");
        }
        if let Some(deadline) = asking.deadline {
            request = request.header("x-flyball-deadline", deadline);
        }
        let (head, ()) = request
            .body(())
            .map_err(|_| Error::bad_field("deadline", "The deadline is no text for a header."))?
            .into_parts();
        let mut admission = Admission::new(Inbound {
            head: &head,
            dialect: asking.dialect,
            caller: Caller { key: None },
            id: "",
            arrived: Instant::now(),
            policy: Arc::clone(&self.policy),
            limits: &self.limits,
            books: &self.caps,
            makers: &self.makers,
            items: &self.items,
            warmth: &self.warmth,
            habits: &self.habits,
            known_asks: &self.known_asks,
            channels: &self.channels,
            trace: Trace::default(),
        })?;
        if let Some(privacy) = &self.policy.privacy {
            admission.found(privacy.detector.find(asking.body, None).classes)?;
        }
        let completion = Completion::read(&admission, asking.body, asking.place)?;
        Ok(look(&completion))
    }
}

/// What an app sends of its own accord before what its user says, and that.
pub(super) struct AppCall<'a> {
    pub(super) system: Option<&'a str>,
    pub(super) prompt: &'a str,
}

/// A request in which a user says this.
pub(super) fn said_by_a_user(
    dialect: &dyn Dialect,
    model: &str,
    words: &AppCall<'_>,
) -> Result<Bytes, String> {
    let mut said = Conversation::default();
    said.system.extend(words.system.map(str::to_owned));
    said.messages.push(Message {
        role: Role::User,
        items: vec![Item::Text(words.prompt.to_owned())],
    });
    let to = Addressee {
        model,
        limit: 4_096,
        thinks: true,
    };
    let written = dialect.write(&said, &to).map_err(|e| e.public)?;
    Ok(Bytes::from(written.body))
}

/// The path that such a body would have come with: it names the model where the body does not.
pub(super) fn place(named: bool, model: &str) -> Place<'_> {
    Place {
        model: (!named).then(|| model.into()),
        ..Place::default()
    }
}
