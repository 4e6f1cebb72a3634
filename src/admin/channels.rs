//! The channels of the providers: for the admin port and for a scrape.

use super::Admin;
use crate::exchange::State;
use crate::provider::Provider;
use crate::provider::channel::Channel;
use crate::telemetry::{ChannelFigures, FirstByteFigures};
use crate::upstream::channels::Destination;
use crate::upstream::health::Ailing;
use crate::upstream::load::Lately;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The channels of a provider as rows, each with what its models have done in the last five minutes.
pub(super) fn rows(admin: &Admin, provider: &Provider, lately: &[Lately]) -> Vec<Value> {
    let channels = &admin.state.channels;
    let row = |channel: &Channel| {
        let mine = lately
            .iter()
            .filter(|l| l.provider == provider.name && l.channel == channel.name);
        json!({
            "channel": channel.name,
            "credential": named(&channel.credential),
            "deployment": named(&channel.deployment),
            "weight": channel.weight,
            "up": is_up(&admin.state, provider, channel),
            "in_flight": channels.load.in_flight(&provider.name, &channel.name),
            "models": mine.map(model).collect::<Vec<_>>(),
        })
    };
    provider.channels().map(row).collect()
}

/// What is left alone after it failed; nothing of what is merely stumbling.
pub(super) fn down(ailing: &Ailing) -> Option<Value> {
    Some(json!({
        "model": named(&ailing.model), "credential": named(&ailing.credential), "deployment": named(&ailing.deployment),
        "how": ailing.how.name(), "for_ms": millis(ailing.down_for?), "failures": ailing.failures,
    }))
}

fn named(name: &str) -> Option<&str> {
    Some(name).filter(|name| !name.is_empty())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn model(lately: &Lately) -> Value {
    json!({
        "model": lately.model, "answers": lately.answers,
        "failures": lately.failures.iter().copied().collect::<BTreeMap<_, _>>(),
        "first_byte_p50_ms": lately.first_byte_p50.map(millis), "first_byte_p95_ms": lately.first_byte_p95.map(millis),
        "nearly_out_permille": lately.nearly_out_permille,
    })
}

/// Whether requests go to a channel, whatever their model.
fn is_up(state: &State, provider: &Provider, channel: &Channel) -> bool {
    let to = Destination {
        provider,
        model: "",
    };
    !state.channels.health.is_down(to.on(channel))
}

/// Brings the gauges of the channels up to date.
pub(super) fn publish(state: &State) {
    let policy = state.policy.load();
    let fleet = &policy.fleet;
    let mut channels = Vec::new();
    for provider in &fleet.providers {
        channels.extend(provider.channels().map(|channel| ChannelFigures {
            provider: provider.name.clone(),
            channel: channel.name.clone(),
            up: is_up(state, provider, channel),
            in_flight: state.channels.load.in_flight(&provider.name, &channel.name),
        }));
    }
    let known = |lately: &Lately| {
        let mut models = fleet.models.iter();
        models.any(|m| m.name == lately.model && m.provider.name == lately.provider)
            && channels
                .iter()
                .any(|c| c.provider == lately.provider && c.channel == lately.channel)
    };
    let lately = state.channels.load.lately();
    let models: Vec<FirstByteFigures> = lately
        .into_iter()
        .filter(known)
        .map(|lately| {
            let failed: u64 = lately.failures.iter().map(|(_, count)| count).sum();
            let all = f64::from(u32::try_from(failed + lately.answers).unwrap_or(u32::MAX));
            let percentiles = [("50", lately.first_byte_p50), ("95", lately.first_byte_p95)];
            FirstByteFigures {
                percentiles: percentiles
                    .into_iter()
                    .filter_map(|(percentile, time)| Some((percentile, time?)))
                    .collect(),
                failed: f64::from(u32::try_from(failed).unwrap_or(u32::MAX)) / all.max(1.0),
                provider: lately.provider,
                channel: lately.channel,
                model: lately.model,
            }
        })
        .collect();
    state.telemetry.channels(&channels, &models);
}
