//! Which channel of an arm's provider a request goes out on: the one that it belongs on, and another one where that has failed and has left no
//! bill.

use super::Exchange;
use super::status::Excused;
use super::work::{Bar, Failing, UNNAMED, Unserved, Work};
use crate::fleet::Arm;
use crate::provider::Provider;
use crate::provider::channel::{Channel, Request};
use crate::upstream::channels::Destination;
use crate::upstream::health::Ailment;

/// So many channels that refuse a request are left for another one whatever the budget of second tries: what is refused may be what it says.
const REFUSALS_FREE: usize = 2;

/// Who an arm's channels lead to.
pub(super) fn to(arm: &Arm) -> Destination<'_> {
    Destination {
        provider: &arm.model.provider,
        model: &arm.model.name,
    }
}

impl Exchange<'_> {
    /// What this request brings to the choice of a channel.
    fn wants(&self, work: &dyn Work, arm: &Arm) -> Request<'_> {
        Request {
            sticks: match arm.model.provider.has_several_channels() {
                true => work.sticks(arm),
                false => <_>::default(),
            },
            id: self.admission.id,
        }
    }

    /// The channel on which an arm may be asked where another arm can be: it has not failed again and again lately, or is due to be tried
    /// anew, and its rate limit is not nearly used up.
    pub(super) fn admits<'m>(&self, work: &dyn Work, arm: &'m Arm) -> Option<&'m Channel> {
        let wants = self.wants(work, arm);
        let channels = &self.state.channels;
        channels.admits(to(arm), wants, false, &|_| false)
    }

    /// Why an arm is not asked that no channel admits.
    pub(super) fn passed_over(&self, arm: &Arm) -> Bar {
        let (bar, reason) = match self.state.channels.is_nearly_out(to(arm)) {
            true => (Bar::NearlyOut, "rate_limit"),
            false => (Bar::Down, "down"),
        };
        self.state.telemetry.passed_over(&arm.model.name, reason);
        bar
    }

    /// The channel on which an arm is asked whatever is known of it. Where it is due to be tried anew, this is the request that tries it.
    pub(super) fn insists<'m>(&self, work: &dyn Work, arm: &'m Arm) -> &'m Channel {
        let admitted = self.admits_spent(work, arm);
        let (channels, wants) = (&self.state.channels, self.wants(work, arm));
        admitted.unwrap_or_else(|| channels.prefers(to(arm), wants))
    }

    /// The channel on which an arm may be asked, whatever is left of its rate limit: as [`Exchange::admits`], so that no second request asks
    /// what is being tried anew.
    pub(super) fn admits_spent<'m>(&self, work: &dyn Work, arm: &'m Arm) -> Option<&'m Channel> {
        let wants = self.wants(work, arm);
        let channels = &self.state.channels;
        channels.admits(to(arm), wants, true, &|_| false)
    }

    /// Another channel of the same arm that may be asked at the same time.
    pub(super) fn other_channel<'m>(
        &self,
        work: &dyn Work,
        arm: &'m Arm,
        own: &Channel,
    ) -> Option<&'m Channel> {
        let wants = self.wants(work, arm);
        // What its vendor keeps for it is nowhere else.
        if wants.sticks.kept || !arm.model.provider.has_several_channels() {
            return None;
        }
        let channels = &self.state.channels;
        channels.admits(to(arm), wants, false, &|channel| channel.name == own.name)
    }

    /// Another channel of the same arm, now that these have failed; `None` where there is none, or the failure may have left a bill. One that
    /// has failed itself since its last good answer is asked within the budget of second tries alone, so that an outage is not multiplied.
    pub(super) fn moves_to<'m>(
        &self,
        work: &dyn Work,
        arm: &'m Arm,
        asked: &[&Channel],
        unserved: &Unserved,
    ) -> Option<&'m Channel> {
        let provider = &arm.model.provider;
        let Unserved::NextArm(reply, failing) = unserved else {
            return None;
        };
        if !provider.has_several_channels() || !work.moves() || *self.state.closing.borrow() {
            return None;
        }
        let excused = Excused::of(*failing, reply.as_ref().as_ref().ok())?;
        let last = asked.last()?;
        let wants = self.wants(work, arm);
        let (channels, to) = (&self.state.channels, to(arm));
        let avoided = |channel: &Channel| {
            let deployment = *failing == Failing::NotSent && channel.deployment == last.deployment;
            deployment || asked.iter().any(|other| other.name == channel.name)
        };
        let kept = wants.sticks.kept;
        // It has not lost what it keeps because it is busy.
        if kept && excused == Excused::Deployment {
            return None;
        }
        let next = channels.finds(to, wants, &avoided)?;
        let few = asked.len() <= REFUSALS_FREE;
        let free = match (excused, failing) {
            (Excused::Account, Failing::Untaken) => true,
            (Excused::Account, _) => few,
            (Excused::Absent, _) => kept || (few && !channels.health.is_in_doubt(to.on(next))),
            (Excused::Deployment, _) => !channels.health.is_in_doubt(to.on(next)),
        };
        if !free && !channels.health.spends_a_try() {
            return None;
        }
        // Last of all, so that whoever is let through to try it does.
        match kept {
            true => channels.health.admits(to.on(next)).then_some(next),
            false => channels.admits(to, wants, true, &avoided),
        }
    }

    /// Its vendor keeps something for this request, or has kept it.
    pub(super) fn is_kept(&self, work: &dyn Work, arm: &Arm) -> bool {
        self.wants(work, arm).sticks.kept
    }

    /// Channels that refused a request which another one has taken: their keys are refused, or may not use this model. Whom something is
    /// `kept` for may have been refused for what it names.
    pub(super) fn were_refused(&self, arm: &Arm, refused: &[(&Channel, Ailment)], kept: bool) {
        let provider = &arm.model.provider;
        for (channel, how) in refused {
            let of_request = kept && *how == Ailment::Forbidden;
            if of_request || arm.model.name == UNNAMED || !self.is_in_force(provider, channel) {
                continue;
            }
            self.state.channels.health.fails(to(arm).on(channel), *how);
            tracing::warn!(
                provider = provider.name,
                channel = channel.name,
                model = arm.model.name,
                how = how.name(),
                "a provider refuses a credential, which is not used for a while; the admin port tells for how long"
            );
        }
    }

    /// Whether a channel has the same key and address in the configuration that holds now: what is said to an old key says nothing of its
    /// successor.
    pub(super) fn is_in_force(&self, provider: &Provider, channel: &Channel) -> bool {
        let policy = self.state.policy.load();
        let mut all = policy.fleet.providers.iter();
        let now = all.find(|now| now.name == provider.name);
        let now = now.and_then(|now| now.channel(&channel.name));
        now.is_some_and(|now| now.is_reached_like(channel))
    }
}
