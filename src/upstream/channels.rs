//! What is known of the channels of all providers, and which of them a request takes.

use super::health::{Ailment, Health, Target};
use super::load::{Load, UnderWay};
use crate::provider::Provider;
use crate::provider::channel::{Channel, ChannelStanding, Request, ranked};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is known of the channels of all providers.
#[derive(Debug, Default)]
pub struct Channels {
    /// Who has failed lately.
    pub health: Health,
    /// What is under way, and how it went lately.
    pub load: Load,
    /// How many requests may be sent twice.
    pub hedges: Budget,
}

/// A share of all requests that may do something. Nothing is saved up beyond ten.
#[derive(Debug, Default)]
pub struct Budget(Mutex<u32>);

/// What one request needs, in thousandths.
const ONE: u32 = 1_000;
/// The most that is saved up, in thousandths.
const SAVED_MAX: u32 = 10 * ONE;

impl Budget {
    /// A request has come, which earns so many thousandths of one that may.
    pub fn earns(&self, permille: u32) {
        let mut saved = self.saved();
        *saved = saved.saturating_add(permille).min(SAVED_MAX);
    }

    /// Whether one more may.
    #[must_use]
    pub fn spends(&self) -> bool {
        let mut saved = self.saved();
        let may = *saved >= ONE;
        if may {
            *saved -= ONE;
        }
        may
    }

    /// It came to nothing.
    pub fn gives_back(&self) {
        self.earns(ONE);
    }

    fn saved(&self) -> MutexGuard<'_, u32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A model of a provider, to which some channel leads.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// The provider.
    pub provider: &'a Provider,
    /// The model's name.
    pub model: &'a str,
}

impl<'a> Destination<'a> {
    /// The same on this channel.
    #[must_use]
    pub fn on(self, channel: &'a Channel) -> Target<'a> {
        Target {
            provider: &self.provider.name,
            channel,
            model: self.model,
        }
    }
}

impl Channels {
    /// The channel that a request would take now. Unlike [`Channels::admits`] this lets nobody through.
    #[must_use]
    pub fn prefers<'a>(&self, to: Destination<'a>, request: Request<'_>) -> &'a Channel {
        let ranked = self.ranked(to, request);
        let up = ranked.iter().find(|channel| match request.sticks.kept {
            true => !self.health.is_shut(to.on(channel)),
            false => !self.health.is_down(to.on(channel)),
        });
        up.or(ranked.first()).copied().unwrap_or(&to.provider.home)
    }

    /// The best channel that lets the request through: none that is down or in `avoided`, and none that is nearly out of its rate limit unless
    /// `spent` ones will do. Whoever is let through after a time of failures is the one that tries it.
    #[must_use]
    pub fn admits<'a>(
        &self,
        to: Destination<'a>,
        request: Request<'_>,
        spent: bool,
        avoided: &dyn Fn(&Channel) -> bool,
    ) -> Option<&'a Channel> {
        let ranked = self.ranked(to, request);
        let mut left = ranked.into_iter().filter(|channel| !avoided(channel));
        if request.sticks.kept {
            // What is kept there is nowhere else: only an account that refuses us is passed by.
            let own = left.find(|channel| !self.health.is_shut(to.on(channel)))?;
            return self.health.admits(to.on(own)).then_some(own);
        }
        left.find(|channel| {
            (spent || !self.load.is_nearly_out(to.on(channel)))
                && self.health.admits(to.on(channel))
        })
    }

    /// The best channel that is not down, whatever is left of its rate limit; of those that keep something the best one whose account does not
    /// refuse us. Unlike [`Channels::admits`] this lets nobody through.
    #[must_use]
    pub fn finds<'a>(
        &self,
        to: Destination<'a>,
        request: Request<'_>,
        avoided: &dyn Fn(&Channel) -> bool,
    ) -> Option<&'a Channel> {
        let ranked = self.ranked(to, request);
        let mut left = ranked.into_iter().filter(|channel| !avoided(channel));
        left.find(|channel| match request.sticks.kept {
            true => !self.health.is_shut(to.on(channel)),
            false => !self.health.is_down(to.on(channel)),
        })
    }

    /// Whether nobody asks this model at this moment, where another one can be asked.
    #[must_use]
    pub fn is_down(&self, to: Destination<'_>) -> bool {
        let mut channels = to.provider.channels();
        channels.all(|channel| {
            self.health.is_down(to.on(channel)) || self.load.is_nearly_out(to.on(channel))
        })
    }

    /// Whether it is a rate limit alone that keeps requests from some channel of this model.
    #[must_use]
    pub fn is_nearly_out(&self, to: Destination<'_>) -> bool {
        let mut channels = to.provider.channels();
        channels.any(|channel| {
            let on = to.on(channel);
            self.load.is_nearly_out(on) && !self.health.is_down(on)
        })
    }

    /// A request goes out.
    #[must_use]
    pub fn sends(&self, target: Target<'_>) -> UnderWay {
        self.load.sends(target)
    }

    /// It has failed.
    pub fn fails(&self, target: Target<'_>, how: Ailment) {
        self.health.fails(target, how);
        self.load.fails(target, how);
    }

    fn ranked<'a>(&self, to: Destination<'a>, request: Request<'_>) -> Vec<&'a Channel> {
        let channels: Vec<&Channel> = to.provider.channels().collect();
        if channels.len() == 1 {
            return channels;
        }
        let standings: Vec<ChannelStanding> = channels
            .iter()
            .map(|channel| ChannelStanding {
                in_flight: self.load.in_flight(&to.provider.name, &channel.name),
                nearly_out: self.load.is_nearly_out(to.on(channel)),
            })
            .collect();
        let order = ranked(&channels, &standings, to.provider.balance, request);
        let by = order.into_iter().filter_map(|at| channels.get(at).copied());
        by.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider;
    use crate::provider::channel::Stickiness;
    use std::time::Duration;

    fn provider() -> Provider {
        let channel = |name: &str| Channel {
            name: name.to_owned(),
            credential: name.to_owned(),
            ..Channel::only("http://127.0.0.1:1", None)
        };
        Provider {
            more: vec![channel("b"), channel("c")],
            ..Provider::new("p", &provider::openai::KIND, channel("a"))
        }
    }

    #[test]
    fn a_conversation_leaves_its_channel_only_while_that_is_down() {
        let (provider, channels) = (provider(), Channels::default());
        let to = Destination {
            provider: &provider,
            model: "m",
        };
        for conversation in 0..30 {
            let request = Request {
                sticks: Stickiness {
                    conversation: Some(conversation),
                    kept: false,
                },
                id: "r",
            };
            let none = |_: &Channel| false;
            let own = channels.prefers(to, request);
            let admitted = channels.admits(to, request, false, &none);
            assert_eq!(admitted.map(|c| &c.name), Some(&own.name));
            let second = channels.admits(to, request, false, &|c| c.name == own.name);
            channels.fails(to.on(own), Ailment::Busy(None));
            let moved = channels.prefers(to, request);
            assert_eq!(Some(&moved.name), second.map(|c| &c.name));
            assert!(!channels.is_down(to), "there are others");
            channels.health.is_well(to.on(own), Duration::ZERO);
            assert_eq!(channels.prefers(to, request).name, own.name, "back again");
        }
    }

    #[test]
    fn what_is_kept_is_asked_for_where_it_is_unless_that_account_refuses_us() {
        let (provider, channels) = (provider(), Channels::default());
        let to = Destination {
            provider: &provider,
            model: "m",
        };
        let request = Request {
            sticks: Stickiness {
                conversation: Some(7),
                kept: true,
            },
            id: "r",
        };
        let own = channels.prefers(to, request).name.clone();
        channels.fails(
            to.on(provider.channel(&own).expect("it")),
            Ailment::Busy(None),
        );
        assert_eq!(channels.prefers(to, request).name, own);
        assert!(channels.admits(to, request, true, &|_| false).is_none());
        channels.fails(to.on(provider.channel(&own).expect("it")), Ailment::Refused);
        assert_ne!(channels.prefers(to, request).name, own);
        assert!(channels.admits(to, request, true, &|_| false).is_some());
    }

    #[test]
    fn a_model_is_down_where_every_channel_is() {
        let (provider, channels) = (provider(), Channels::default());
        let to = Destination {
            provider: &provider,
            model: "m",
        };
        let request = Request {
            sticks: Stickiness::default(),
            id: "r",
        };
        for (n, channel) in provider.channels().enumerate() {
            assert!(!channels.is_down(to), "{n}");
            channels.fails(to.on(channel), Ailment::Refused);
        }
        assert!(channels.is_down(to));
        assert!(channels.admits(to, request, true, &|_| false).is_none());
    }
}
