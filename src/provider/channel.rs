//! Channels: the ways to one provider. A provider may be reached with several credentials (accounts, projects) and at several deployments
//! (regions, resources); each pair of the two is a channel, with its own rate limits and, as a rule, its own prompt cache.
//!
//! Which channel a request takes is decided here from what is known of each of them. Pure.

use foldhash::fast::FixedState;
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::fmt;
use std::hash::BuildHasher;

/// The name of the only channel of a provider that has neither named credentials nor named deployments.
pub const ONLY: &str = "default";

/// One way to a provider.
#[derive(Clone)]
pub struct Channel {
    /// `credential@deployment`, or the one of them that has a name; a metric label.
    pub name: String,
    /// The operator's name for the credential; empty where it has none.
    pub credential: String,
    /// The operator's name for the deployment; empty where it has none.
    pub deployment: String,
    /// Where it is, without a trailing slash.
    pub base_url: String,
    /// Our key there.
    pub api_key: Option<SecretString>,
    /// Its share of the requests, beside the weights of the other channels.
    pub weight: u32,
    /// What models are called at this deployment, where that is not their own name.
    pub models: BTreeMap<String, String>,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Channel({} at {})", self.name, self.base_url)
    }
}

impl Channel {
    /// The only channel of a provider.
    #[must_use]
    pub fn only(base_url: impl Into<String>, api_key: Option<SecretString>) -> Channel {
        Channel {
            name: ONLY.to_owned(),
            credential: String::new(),
            deployment: String::new(),
            base_url: base_url.into(),
            api_key,
            weight: 1,
            models: BTreeMap::new(),
        }
    }

    /// Whether it leads to the same address with the same key.
    #[must_use]
    pub fn is_reached_like(&self, other: &Channel) -> bool {
        let key = |c: &Channel| c.api_key.as_ref().map(|k| k.expose_secret().to_owned());
        self.base_url == other.base_url && key(self) == key(other)
    }

    /// What a model is called at this deployment.
    #[must_use]
    pub fn called<'m>(&'m self, model: &'m str) -> &'m str {
        self.models.get(model).map_or(model, String::as_str)
    }
}

/// How requests are spread over the channels of a provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// A conversation stays on its channel, so that the vendor's prompt cache stays warm; what is no conversation goes to the least loaded.
    #[default]
    Sticky,
    /// The channel with the fewest requests under way for its weight.
    LeastLoaded,
    /// At random, by weight.
    Weighted,
}

impl Balance {
    /// All of them, by the names that configuration uses.
    pub const ALL: [(&'static str, Balance); 3] = [
        ("sticky", Balance::Sticky),
        ("least_loaded", Balance::LeastLoaded),
        ("weighted", Balance::Weighted),
    ];
}

/// Which channel a request belongs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stickiness {
    /// The conversation that it is in, by a hash that is the same in every process; nothing where it is in none.
    pub conversation: Option<u64>,
    /// Its vendor keeps, or has kept, something for it, so that it has to come back to the same account: nothing else counts.
    pub kept: bool,
}

/// What a request brings to the choice of its channel.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Which one it belongs on.
    pub sticks: Stickiness,
    /// The request's id.
    pub id: &'a str,
}

/// How a channel stands at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelStanding {
    /// Requests under way on it.
    pub in_flight: u32,
    /// Its rate limit is nearly used up, as its last answer told.
    pub nearly_out: bool,
}

/// The channels in the order in which a request should try them, by their places. Whoever is nearly out of its rate limit comes after all
/// others, unless the request has to come back to it.
#[must_use]
pub fn ranked(
    channels: &[&Channel],
    standings: &[ChannelStanding],
    balance: Balance,
    request: Request<'_>,
) -> Vec<usize> {
    let standing = |at: usize| standings.get(at).copied().unwrap_or_default();
    let by = match (balance, request.sticks.conversation) {
        (Balance::Sticky, Some(conversation)) => conversation,
        _ if request.sticks.kept => request.sticks.conversation.unwrap_or_default(),
        _ => FixedState::default().hash_one(request.id),
    };
    let loaded = match balance {
        Balance::Sticky => request.sticks.conversation.is_none(),
        Balance::LeastLoaded => true,
        Balance::Weighted => false,
    } && !request.sticks.kept;
    let mut places: Vec<(bool, f64, f64, usize)> = channels
        .iter()
        .enumerate()
        .map(|(at, channel)| {
            let standing = standing(at);
            let load = match loaded {
                true => f64::from(standing.in_flight) / f64::from(channel.weight.max(1)),
                false => 0.0,
            };
            let out = standing.nearly_out && !request.sticks.kept;
            (out, load, -draw(channel, by), at)
        })
        .collect();
    places.sort_by(|a, b| {
        (a.0.cmp(&b.0))
            .then(a.1.total_cmp(&b.1))
            .then(a.2.total_cmp(&b.2))
    });
    places.into_iter().map(|(.., at)| at).collect()
}

/// What a channel draws in the lot for a conversation: the highest wins. Each channel wins a share of all conversations that is its weight's
/// share of all weights, and where one is gone only its own conversations move (weighted rendezvous hashing: Mosko 1998, `-w / ln h`).
fn draw(channel: &Channel, by: u64) -> f64 {
    let hash = FixedState::default().hash_one((&channel.name, by));
    // The upper 32 bits, from just above 0 to just below 1.
    let upper = u32::try_from(hash >> 32).unwrap_or(u32::MAX);
    let h = (f64::from(upper) + 0.5) / (f64::from(u32::MAX) + 1.0);
    -f64::from(channel.weight.max(1)) / h.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str, weight: u32) -> Channel {
        Channel {
            name: name.to_owned(),
            weight,
            ..Channel::only("http://127.0.0.1:1", None)
        }
    }

    fn first(
        channels: &[Channel],
        standings: &[ChannelStanding],
        balance: Balance,
        n: u64,
    ) -> String {
        let all: Vec<&Channel> = channels.iter().collect();
        let id = n.to_string();
        let request = Request {
            sticks: Stickiness {
                conversation: Some(n),
                kept: false,
            },
            id: &id,
        };
        let ranked = ranked(&all, standings, balance, request);
        assert_eq!(ranked.len(), channels.len());
        channels[ranked[0]].name.clone()
    }

    #[test]
    fn conversations_are_shared_out_by_weight_and_only_those_of_a_channel_that_is_gone_move() {
        let channels = [channel("a", 1), channel("b", 2), channel("c", 1)];
        let without = [channel("a", 1), channel("b", 2)];
        let mut won: BTreeMap<String, u32> = BTreeMap::new();
        for n in 0..4_000 {
            let name = first(&channels, &[], Balance::Sticky, n);
            if name != "c" {
                assert_eq!(first(&without, &[], Balance::Sticky, n), name, "{n}");
            }
            *won.entry(name).or_default() += 1;
        }
        for (name, share) in [("a", 1_000), ("b", 2_000), ("c", 1_000)] {
            assert!(won[name].abs_diff(share) < 150, "{name}: {won:?}");
        }
    }

    #[test]
    fn the_least_loaded_channel_is_the_one_with_the_fewest_requests_for_its_weight() {
        let channels = [channel("a", 1), channel("b", 4)];
        let busy = |a, b| {
            [a, b].map(|in_flight| ChannelStanding {
                in_flight,
                nearly_out: false,
            })
        };
        for (a, b, wins) in [(1, 0, "b"), (1, 3, "b"), (1, 5, "a"), (0, 1, "a")] {
            for n in 0..20 {
                let name = first(&channels, &busy(a, b), Balance::LeastLoaded, n);
                assert_eq!(name, wins, "{a} {b}");
            }
        }
    }

    #[test]
    fn who_is_nearly_out_of_its_rate_limit_comes_last_unless_the_request_has_to_come_back_to_it() {
        let channels = [channel("a", 1), channel("b", 1)];
        let all: Vec<&Channel> = channels.iter().collect();
        for n in 0..50 {
            let mut request = Request {
                sticks: Stickiness {
                    conversation: Some(n),
                    kept: false,
                },
                id: "",
            };
            let at_rest = ranked(&all, &[], Balance::Sticky, request);
            let mut standings = [ChannelStanding::default(); 2];
            standings[at_rest[0]].nearly_out = true;
            let steered = ranked(&all, &standings, Balance::Sticky, request);
            assert_eq!(steered, [at_rest[1], at_rest[0]]);
            request.sticks.kept = true;
            assert_eq!(ranked(&all, &standings, Balance::Sticky, request), at_rest);
        }
    }
}
