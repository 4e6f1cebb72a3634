//! The channels of the providers: which of them answer, what is under way, how long answers took to begin lately, how often a request moved.

use super::make::{Labels, Make, Table};
use prometheus::{Gauge, IntCounter};
use std::time::Duration;

/// How a channel of a provider stands.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelFigures {
    /// The provider's name.
    pub provider: String,
    /// The channel's name.
    pub channel: String,
    /// Requests go there at this moment, whatever their model.
    pub up: bool,
    /// Requests under way.
    pub in_flight: u32,
}

/// How long a model's answers took to begin on a channel in the last five minutes.
#[derive(Clone, Debug, PartialEq)]
pub struct FirstByteFigures {
    /// The provider's name.
    pub provider: String,
    /// The channel's name.
    pub channel: String,
    /// The model, one of the configuration's.
    pub model: String,
    /// The median and the 95th percentile.
    pub percentiles: Vec<(&'static str, Duration)>,
    /// The share of attempts that failed, from 0 to 1.
    pub failed: f64,
}

/// The series of all channels.
#[derive(Debug)]
pub(in crate::telemetry) struct ChannelSeries {
    up: Table<Gauge>,
    in_flight: Table<Gauge>,
    headroom: Table<Gauge>,
    first_byte: Table<Gauge>,
    failed: Table<Gauge>,
    moves: Table<IntCounter>,
}

impl ChannelSeries {
    pub(super) fn new(m: &Make) -> ChannelSeries {
        let labels = ["provider", "channel"];
        ChannelSeries {
            up: m.gauge_table(
                "flyball_channel_up",
                "1 where requests go to a channel of a provider, 0 while it is left alone.",
                &labels,
            ),
            in_flight: m.gauge_table(
                "flyball_channel_in_flight",
                "Requests under way on a channel of a provider.",
                &labels,
            ),
            headroom: m.gauge_table(
                "flyball_channel_headroom_ratio",
                "How much of what a provider with several channels allows on one of them is left, as its last answer told.",
                &["provider", "channel", "kind"],
            ),
            first_byte: m.gauge_table(
                "flyball_channel_first_byte_seconds",
                "Within which time answers of a model began on a channel in the last five minutes.",
                &["provider", "channel", "model", "percentile"],
            ),
            failed: m.gauge_table(
                "flyball_channel_failed_ratio",
                "The share of attempts of a model on a channel that failed in the last five minutes.",
                &["provider", "channel", "model"],
            ),
            moves: m.count_table(
                "flyball_channel_moves_total",
                "Requests that were sent on another channel of a provider after a failure that left no bill.",
                &["provider"],
            ),
        }
    }

    /// These are the channels now.
    pub(in crate::telemetry) fn replace(
        &self,
        channels: &[ChannelFigures],
        models: &[FirstByteFigures],
    ) {
        let of = |c: &ChannelFigures| -> Labels { vec![c.provider.clone(), c.channel.clone()] };
        let up = channels.iter().map(|c| (of(c), f64::from(u8::from(c.up))));
        self.up.replace(up);
        let in_flight = channels.iter().map(|c| (of(c), f64::from(c.in_flight)));
        self.in_flight.replace(in_flight);
        let of_model = |m: &FirstByteFigures| -> Labels {
            vec![m.provider.clone(), m.channel.clone(), m.model.clone()]
        };
        let first_byte = models.iter().flat_map(|m| {
            m.percentiles.iter().map(move |(percentile, time)| {
                let mut labels = of_model(m);
                labels.push((*percentile).to_owned());
                (labels, time.as_secs_f64())
            })
        });
        self.first_byte.replace(first_byte);
        self.failed
            .replace(models.iter().map(|m| (of_model(m), m.failed)));
    }

    /// An answer on one of several channels has told that so much is left.
    pub(super) fn headroom(&self, labels: [&str; 3], left: f64) {
        self.headroom.of(&labels).set(left);
    }

    /// The providers are others now, or their channels: what is left is told by the next answers.
    pub(super) fn forget_headroom(&self) {
        self.headroom.retain(|_| false);
    }

    /// A request has moved to another channel.
    pub(in crate::telemetry) fn moved(&self, provider: &str) {
        self.moves.of(&[provider]).inc();
    }

    /// Providers with several channels, whose moves begin at 0.
    pub(super) fn know(&self, provider: &str) {
        self.moves.of(&[provider]);
    }
}
