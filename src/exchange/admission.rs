//! A request that is let in: who asks, under which policy, with which wishes. Everything that is decided about it is decided from
//! here, by `serve` as by `explain`. Opens nothing and sends nothing.

use super::wishes::{self, Wishes};
use crate::affinity::{self, Habits, Items, Makers, Warmth};
use crate::arm::{Effort, Tier};
use crate::caller::{Caller, EndUser, EndUsers};
use crate::classify::KnownAsks;
use crate::dialect::Dialect;
use crate::error::{Error, Kind};
use crate::fleet::{Arm, Model};
use crate::json::Object;
use crate::ledger::balance::Capped;
use crate::ledger::cap::{self, Dims};
use crate::ledger::record::Opening;
use crate::ledger::{Ledger, now_ms};
use crate::limits::Limits;
use crate::private::{Action, Classes};
use crate::provider::Provider;
use crate::provider::channel::Stickiness;
use crate::route::{EXPLORING, Policy};
use crate::telemetry::otlp::Trace;
use crate::upstream::channels::Channels;
use http::request::Parts;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// What the books say before anything is written into them.
pub trait CapBooks: Sync {
    /// Which measures of such an attempt a cap counts; before its arm is known, those that do not depend on it.
    fn capped(&self, dims: &Dims<'_>) -> Capped;
    /// Which measures a cap counts for some model that such an attempt may mean, beside those that are counted anyhow.
    fn perhaps_capped(&self, dims: &Dims<'_>) -> Capped;
    /// A cap counts what each end user spends.
    fn counts_users(&self) -> bool {
        false
    }
    /// Whether a model is not used under a cap for now, since it has cost more than its bound.
    fn is_frozen(&self, provider: &str, model: &str) -> bool;
    /// The share, in percent, of the fullest cap that counts such a request whatever arm it goes to.
    fn fullest(&self, dims: &Dims<'_>) -> u64;
}

impl CapBooks for Ledger {
    fn capped(&self, dims: &Dims<'_>) -> Capped {
        Ledger::capped(self, dims)
    }

    fn perhaps_capped(&self, dims: &Dims<'_>) -> Capped {
        Ledger::perhaps_capped(self, dims)
    }

    fn counts_users(&self) -> bool {
        Ledger::counts_users(self)
    }

    fn is_frozen(&self, provider: &str, model: &str) -> bool {
        Ledger::is_frozen(self, provider, model)
    }

    fn fullest(&self, dims: &Dims<'_>) -> u64 {
        Ledger::fullest(self, dims)
    }
}

/// A request that comes: whose it is, and what it says of itself.
pub(super) struct Entrant<'a> {
    pub(super) caller: Caller,
    pub(super) head: &'a Parts,
    pub(super) dialect: &'static dyn Dialect,
    pub(super) id: &'a str,
    pub(super) arrived: Instant,
    pub(super) policy: Arc<Policy>,
    pub(super) trace: Trace,
}

/// A request whose caller is known.
pub struct Inbound<'a> {
    /// Its method, path and headers.
    pub head: &'a Parts,
    /// The client's own dialect.
    pub dialect: &'static dyn Dialect,
    /// Who asks.
    pub caller: Caller,
    /// The request id.
    pub id: &'a str,
    /// When it arrived.
    pub arrived: Instant,
    /// What decisions are made from, as it stands at this moment: one for the whole exchange.
    pub policy: Arc<Policy>,
    /// Sizes and deadlines.
    pub limits: &'a Limits,
    /// What caps say.
    pub books: &'a dyn CapBooks,
    /// Who made which sealed reasoning.
    pub makers: &'a Makers,
    /// What callers were answered with and may name.
    pub items: &'a Items,
    /// How much of which conversation was read before.
    pub warmth: &'a Warmth,
    /// What arms use.
    pub habits: &'a Habits,
    /// The asks that were read lately.
    pub known_asks: &'a KnownAsks,
    /// What is known of the channels of all providers.
    pub channels: &'a Channels,
    /// The exchange as traces see it.
    pub trace: Trace,
}

/// A request that is let in.
pub struct Admission<'a> {
    pub(super) head: &'a Parts,
    pub(super) dialect: &'static dyn Dialect,
    pub(super) caller: Caller,
    pub(super) id: &'a str,
    pub(super) arrived: Instant,
    pub(super) policy: Arc<Policy>,
    pub(super) limits: &'a Limits,
    /// Its answer is there already.
    answered: bool,
    books: &'a dyn CapBooks,
    pub(super) makers: &'a Makers,
    pub(super) items: &'a Items,
    pub(super) warmth: &'a Warmth,
    pub(super) habits: &'a Habits,
    pub(super) known_asks: &'a KnownAsks,
    pub(super) channels: &'a Channels,
    pub(super) trace: Trace,
    pub(super) wishes: Wishes,
    /// What was found in what it says.
    pub(super) detected: Classes,
    /// The end user whom it names, where anybody wants to know.
    user: EndUser,
    /// The tags that caps count.
    pub(super) tags: Vec<(String, String)>,
    /// The same of an attempt that is made for a comparison alone; made once, if anybody asks.
    tags_of_exploring: OnceLock<Vec<(String, String)>>,
}

/// Who has made an answer, as the head of that answer says it.
pub(super) struct Maker<'a> {
    pub(super) provider: &'a str,
    pub(super) model: &'a str,
    pub(super) effort: Effort,
    pub(super) tier: Tier,
    pub(super) task: &'a str,
    pub(super) rule: &'a str,
    pub(super) difficulty: Option<f64>,
    pub(super) simulated: bool,
}

/// What the books say of an attempt besides who asked for it.
pub(super) struct AttemptLabel<'a> {
    pub(super) arm: &'a Arm,
    pub(super) effort: Effort,
    pub(super) task: &'a str,
    pub(super) rule: &'a str,
    /// From 0 to 1, where it was graded.
    pub(super) difficulty: Option<f64>,
    pub(super) dialect: &'static dyn Dialect,
}

impl<'a> Admission<'a> {
    /// Lets a request in.
    ///
    /// # Errors
    /// A wish that cannot be read, or a tag that is missing or not allowed.
    pub fn new(inbound: Inbound<'a>) -> Result<Admission<'a>, Error> {
        let admission = Admission::keeping(inbound)?;
        admission.wishes.name_no_provider()?;
        Ok(admission)
    }

    /// Lets a request in that may name the provider that keeps its files and batches.
    ///
    /// # Errors
    /// As [`Admission::new`].
    pub(super) fn keeping(inbound: Inbound<'a>) -> Result<Admission<'a>, Error> {
        let mut admission = Admission::of(inbound)?;
        admission.tags = admission.caller.counted_tags(&admission.wishes.tags)?;
        Ok(admission)
    }

    /// Lets a request in whose answer is there already: it is booked, whether its model may still be asked or not.
    ///
    /// # Errors
    /// A wish that cannot be read.
    pub(super) fn answered(inbound: Inbound<'a>) -> Result<Admission<'a>, Error> {
        let mut admission = Admission::of(inbound)?;
        admission.wishes.name_no_provider()?;
        // Its key may demand other tags by now than when it was asked; those that the key bears count all the same.
        let counted = admission.caller.counted_tags(&admission.wishes.tags);
        let borne = |_| {
            let key = admission.caller.key.as_ref();
            key.map(|key| key.tags.clone()).unwrap_or_default()
        };
        admission.tags = counted.unwrap_or_else(borne);
        admission.answered = true;
        Ok(admission)
    }

    /// Lets a request in that no cap counts, since it costs nothing.
    ///
    /// # Errors
    /// A wish that cannot be read.
    pub(super) fn uncounted(inbound: Inbound<'a>) -> Result<Admission<'a>, Error> {
        let admission = Admission::of(inbound)?;
        admission.wishes.name_no_provider()?;
        Ok(admission)
    }

    fn of(inbound: Inbound<'a>) -> Result<Admission<'a>, Error> {
        Ok(Admission {
            wishes: wishes::read(inbound.head, &inbound.caller)?,
            answered: false,
            head: inbound.head,
            dialect: inbound.dialect,
            caller: inbound.caller,
            id: inbound.id,
            arrived: inbound.arrived,
            policy: inbound.policy,
            limits: inbound.limits,
            books: inbound.books,
            makers: inbound.makers,
            items: inbound.items,
            warmth: inbound.warmth,
            habits: inbound.habits,
            known_asks: inbound.known_asks,
            channels: inbound.channels,
            detected: Classes::default(),
            trace: inbound.trace,
            user: EndUser::default(),
            tags: Vec::new(),
            tags_of_exploring: OnceLock::new(),
        })
    }

    /// A request for which a vendor keeps something belongs on the same channel as all others of its caller.
    pub(super) fn sticks_to_caller(&self) -> Stickiness {
        Stickiness {
            conversation: Some(affinity::named(self.caller.name())),
            kept: true,
        }
    }

    /// Notes what was found in what it says; from here on it stays on local models, where that makes it confidential.
    ///
    /// # Errors
    /// The configuration refuses what is confidential.
    pub fn found(&mut self, found: Classes) -> Result<(), Error> {
        self.detected = found;
        let Some(privacy) = &self.policy.privacy else {
            return Ok(());
        };
        if found.within(privacy.confidential).is_empty() {
            return Ok(());
        }
        match privacy.action {
            Action::Local => {
                self.wishes.private = true;
                Ok(())
            }
            Action::Refuse => {
                let public =
                    "This request is refused, since what is confidential is not answered here.";
                Err(Error::new(Kind::PrivateOnly, public).code("flyball_private"))
            }
        }
    }

    /// Notes the end user whom it names, by a header or by its body. The body is looked at once more for that, where users are told apart.
    ///
    /// # Errors
    /// A name that cannot be one, or none where there must be one.
    pub(super) fn names_user(&mut self, body: &[u8]) -> Result<(), Error> {
        let users = &self.policy.end_users;
        if users.is_on() || self.books.counts_users() {
            let fields = Object::read(body).ok();
            let said = fields.as_ref().and_then(|f| self.dialect.end_user(f));
            self.user = users.named(&self.head.headers, said)?;
        }
        Ok(())
    }

    /// The same of a request whose body nobody reads: a header alone names its user. `must`: it may be refused for naming none.
    ///
    /// # Errors
    /// As [`Admission::names_user`].
    pub(super) fn names_user_in_header(&mut self, must: bool) -> Result<(), Error> {
        let users = &self.policy.end_users;
        let users = EndUsers {
            required: users.required && must,
            ..users.clone()
        };
        self.user = users.named(&self.head.headers, None)?;
        Ok(())
    }

    /// The request as caps see it, before or after its arm is chosen.
    fn dims<'d>(&'d self, arm: Option<&'d Arm>) -> Dims<'d> {
        let team = self.caller.team();
        Dims {
            organisation: self.policy.teams.get(team).map_or("", String::as_str),
            team,
            key: cap::row_text(self.caller.key.as_ref().map(|k| k.id)),
            session: self.wishes.session.as_deref().unwrap_or_default(),
            user: &self.user.booked,
            user_name: &self.user.name,
            provider: arm.map_or("", |a| &a.model.provider.name),
            model: arm.map_or("", |a| &a.model.name),
            tier: arm.map_or("", |a| a.model.tier.name()),
            tags: &self.tags,
        }
    }

    /// Which measures of an attempt on this arm a cap, or the caller's own limit of cost, counts.
    ///
    /// # Errors
    /// A cap counts it, and its model is not used under one for now.
    pub(super) fn capped(&self, arm: &Arm) -> Result<Capped, Error> {
        self.capped_as(&self.dims(Some(arm)))
    }

    /// The same of an attempt that is made for a comparison alone, which a cap of its own counts.
    ///
    /// # Errors
    /// As [`Admission::capped`].
    pub(super) fn capped_to_explore(&self, arm: &Arm) -> Result<Capped, Error> {
        let tags = self.tags_of_exploring();
        self.capped_as(&Dims {
            tags,
            ..self.dims(Some(arm))
        })
    }

    /// The tags of an attempt that is made for a comparison alone.
    pub(super) fn tags_of_exploring(&self) -> &[(String, String)] {
        self.tags_of_exploring.get_or_init(|| {
            let (name, value) = EXPLORING;
            let own = (name.to_owned(), value.to_owned());
            self.tags.iter().cloned().chain([own]).collect()
        })
    }

    fn capped_as(&self, dims: &Dims<'_>) -> Result<Capped, Error> {
        let mut capped = self.books.capped(dims);
        if !self.answered && capped.any() && self.books.is_frozen(dims.provider, dims.model) {
            return Err(frozen(dims.model));
        }
        capped.usd |= self.wishes.max_cost.is_some();
        Ok(capped)
    }

    /// Which measures are capped for some model of this arm's provider, or for some model like this one.
    pub(super) fn perhaps_capped(&self, arm: &Arm) -> Capped {
        self.books.perhaps_capped(&self.dims(Some(arm)))
    }

    /// Which measures are capped for some model of this provider.
    pub(super) fn perhaps_capped_at(&self, provider: &Provider) -> Capped {
        let provider = &provider.name;
        let dims = Dims {
            provider,
            ..self.dims(None)
        };
        self.books.perhaps_capped(&dims)
    }

    /// How full the fullest cap is, in percent, where a rule asks for it.
    pub(super) fn cap_used(&self) -> u64 {
        let asks = |rule: &Arc<crate::route::policy::Rule>| rule.when.cap_used.is_some();
        match self.policy.rules.iter().any(asks) {
            true => self.books.fullest(&self.dims(None)),
            false => 0,
        }
    }

    /// The gates that every model stands behind.
    ///
    /// # Errors
    /// The key may not use it, or the request must stay on this machine and the model does not.
    pub(super) fn permitted(&self, model: &Model) -> Result<(), Error> {
        if !self.caller.may_use(&model.name) {
            let public = format!("This key may not use the model \"{}\".", model.name);
            return Err(Error::new(Kind::Forbidden, public).code("model_not_allowed"));
        }
        if self.wishes.private && (!model.local || model.simulated) {
            let public =
                "This request is confidential and must stay on local models, and this one is not.";
            return Err(Error::new(Kind::PrivateOnly, public).code("flyball_private"));
        }
        Ok(())
    }

    /// What every row of this request says, whoever answers it.
    fn opening_of(&self, dims: &Dims<'_>) -> Opening {
        Opening {
            request: self.id.to_owned(),
            attempt: uuid::Uuid::now_v7().to_string(),
            at_ms: now_ms(),
            key: self.caller.key.as_ref().map(|k| k.id),
            organisation: dims.organisation.to_owned(),
            team: dims.team.to_owned(),
            session: dims.session.to_owned(),
            user: dims.user.to_owned(),
            user_name: dims.user_name.to_owned(),
            tags: self.tags.clone(),
            catalogue: self.policy.catalogue.version.clone(),
            ..Opening::default()
        }
    }

    /// The row of a request that is given an answer which was made before.
    pub(super) fn opening_of_shared(&self, maker: &Maker<'_>) -> Opening {
        Opening {
            provider: maker.provider.to_owned(),
            model: maker.model.to_owned(),
            effort: maker.effort,
            tier: maker.tier,
            task: maker.task.into(),
            rule: maker.rule.into(),
            difficulty_milli: maker.difficulty.map_or(0, thousandths),
            dialect: self.dialect.name().into(),
            simulated: maker.simulated,
            ..self.opening_of(&self.dims(None))
        }
    }

    /// The row that opens an attempt.
    pub(super) fn opening(&self, label: &AttemptLabel<'_>) -> Opening {
        let model = &label.arm.model;
        Opening {
            provider: model.provider.name.clone(),
            model: model.name.clone(),
            effort: label.effort,
            tier: model.tier,
            task: label.task.into(),
            rule: label.rule.into(),
            difficulty_milli: label.difficulty.map_or(0, thousandths),
            dialect: label.dialect.name().into(),
            simulated: model.simulated,
            ..self.opening_of(&self.dims(Some(label.arm)))
        }
    }
}

fn frozen(model: &str) -> Error {
    Error::new(
        Kind::CapReached,
        format!("Answers of \"{model}\" have cost more than was reserved for them, so it is not used under a cap until the operator allows it again."),
    )
    .code("flyball_frozen")
    .detail(format!("{model} is frozen; `flyball caps` says why, `flyball caps unfreeze {model}` allows it again"))
}

/// A difficulty as a whole number of thousandths, for the ledger. Counting avoids a float-to-integer cast, which the lints forbid;
/// ten comparisons find the place.
pub(super) fn thousandths(difficulty: f64) -> i64 {
    let (mut low, mut high) = (0_i32, 1_000_i32);
    while low < high {
        let middle = (low + high + 1) / 2;
        if f64::from(middle) <= difficulty * 1_000.0 + 0.5 {
            low = middle
        } else {
            high = middle - 1
        }
    }
    i64::from(low)
}
