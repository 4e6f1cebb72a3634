//! What is exported, and where to.

use super::context::Share;
use http::HeaderName;
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

/// The name of what measures, in every export.
pub(super) const SCOPE: &str = "flyball";

/// Which names of metrics and attributes are used, where the conventions have changed theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// Those of the conventions' newest version.
    pub new: bool,
    /// Those that most dashboards still ask for.
    pub old: bool,
}

/// How flyball exports to an OpenTelemetry collector.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the collector is, without a trailing slash and the path of a signal.
    pub endpoint: String,
    /// What every export has in its head.
    pub headers: Vec<(HeaderName, SecretString)>,
    /// Traces are exported.
    pub traces: bool,
    /// Metrics are exported.
    pub metrics: bool,
    /// The share of traces that are kept, where the client has not decided it.
    pub sample: Share,
    /// What every export is of: `service.name` and others.
    pub resource: Vec<(String, String)>,
    /// Prompts and answers are sent, too, but for confidential ones.
    pub content: bool,
    /// Patterns (see [`crate::pattern::like`]) of the providers that are told which trace an attempt belongs to.
    pub propagate: Vec<String>,
    /// The names.
    pub names: Names,
    /// How often metrics are sent.
    pub interval: Duration,
    /// Spans that wait at most for a collector that does not take them.
    pub queue: usize,
}

impl PartialEq for Settings {
    fn eq(&self, other: &Settings) -> bool {
        let own = |s: &Settings| {
            let headers = s.headers.iter();
            let headers = headers.map(|(n, v)| (n.clone(), v.expose_secret().to_owned()));
            let lists = (s.resource.clone(), s.propagate.clone());
            let switches = (s.traces, s.metrics, s.content, s.names);
            let numbers = (s.sample, s.interval, s.queue);
            (
                s.endpoint.clone(),
                headers.collect::<Vec<_>>(),
                lists,
                switches,
                numbers,
            )
        };
        own(self) == own(other)
    }
}
