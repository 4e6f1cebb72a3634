//! `[otlp]`: whether and how flyball exports to an OpenTelemetry collector. It does where the table is there, or the standard's own variable
//! names a collector; the other variables of the standard fill in what the table does not say.

use super::{Reading, secret};
use crate::pattern::like;
use crate::reader::{Complaint, Table, suggest};
use crate::telemetry::otlp::{Names, Settings, Share};
use http::{HeaderName, Uri};
use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use std::time::Duration;

/// The standard's variables (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>).
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const SERVICE: &str = "OTEL_SERVICE_NAME";
const RESOURCE: &str = "OTEL_RESOURCE_ATTRIBUTES";
const DISABLED: &str = "OTEL_SDK_DISABLED";

/// Where a collector usually is.
const USUAL: &str = "http://127.0.0.1:4318";
/// Spans that wait for a collector, as the standard has it.
const QUEUE: u64 = 2048;
/// A span is about two KB, and 64 KB with prompt and answer.
const QUEUE_MAX: u64 = 100_000;
/// How often metrics are sent, as the standard has it.
const INTERVAL: Duration = Duration::from_secs(60);
/// More often than this is of no use to anybody.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Pairs in a variable; more are no description of a service.
const PAIRS_MAX: usize = 64;
/// Headers that flyball sets itself.
const OWN_HEADERS: [&str; 5] = [
    "content-type",
    "content-length",
    "host",
    "connection",
    "transfer-encoding",
];

/// Where a value stands: in the file, or in a variable of the environment.
#[derive(Clone, Copy)]
enum ValuePlace<'a> {
    File(&'a Table<'a>, &'static str),
    Variable(&'static str),
}

impl ValuePlace<'_> {
    /// Notes a mistake in it. What is written there is not repeated: a secret may be in it.
    fn complain(self, reading: &Reading<'_>, wrong: &str, help: &str) {
        match self {
            ValuePlace::File(table, key) => {
                table.complain(key, format_args!("{key}: {wrong}"), Some(help.to_owned()));
            }
            ValuePlace::Variable(name) => {
                reading.complain(Complaint::whole(name, wrong).help(help));
            }
        }
    }
}

/// What is exported; `None` where nothing is.
pub(super) fn otlp(
    reading: &Reading<'_>,
    top: &Table<'_>,
    providers: Option<&[String]>,
) -> Option<Settings> {
    let mut table = top.table("otlp");
    if let Some(table) = &mut table {
        table.call("otlp".to_owned());
    }
    let settings = settings(reading, table.as_ref(), providers);
    if let Some(table) = table {
        table.finish();
    }
    let disabled = variable(reading, DISABLED).is_some_and(|v| v.eq_ignore_ascii_case("true"));
    if disabled && settings.is_some() {
        let note = format!("{DISABLED} is true: nothing is exported to an OpenTelemetry collector");
        reading.warn(note);
        return None;
    }
    settings.filter(|s| s.traces || s.metrics)
}

fn settings(
    reading: &Reading<'_>,
    table: Option<&Table<'_>>,
    providers: Option<&[String]>,
) -> Option<Settings> {
    let named = variable(reading, ENDPOINT);
    let written = table.and_then(|table| Some((table, table.text("endpoint")?)));
    let endpoint = match (written, &named, table) {
        (Some((table, text)), ..) => endpoint(reading, ValuePlace::File(table, "endpoint"), text),
        (None, Some(text), _) if speaks_http(reading) => {
            endpoint(reading, ValuePlace::Variable(ENDPOINT), text)
        }
        (None, _, Some(_)) => Some(USUAL.to_owned()),
        (None, _, None) => return None,
    };
    let flag = |key| table.and_then(|table| table.flag(key));
    let (sample, interval) = (share(table), interval(table));
    let names = table.and_then(|table| table.choice("names", "set of names", &NAMES));
    Some(Settings {
        headers: headers(reading, table),
        traces: flag("traces").unwrap_or(true),
        metrics: flag("metrics").unwrap_or(true),
        sample: Share::of(sample),
        resource: resource(reading, table),
        content: flag("content").unwrap_or(false),
        propagate: propagate(table, providers),
        names: names.unwrap_or(Names {
            new: true,
            old: true,
        }),
        interval,
        queue: queue(table),
        endpoint: endpoint?,
    })
}

/// The sets of names.
const NAMES: [(&str, Names); 3] = [
    (
        "new",
        Names {
            new: true,
            old: false,
        },
    ),
    (
        "old",
        Names {
            new: false,
            old: true,
        },
    ),
    (
        "both",
        Names {
            new: true,
            old: true,
        },
    ),
];

/// A variable that is set and says something.
fn variable(reading: &Reading<'_>, name: &str) -> Option<String> {
    let value = (reading.around.env)(name)?;
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// Whether the environment means a collector to which flyball can speak. It may be meant for other programs.
fn speaks_http(reading: &Reading<'_>) -> bool {
    let Some(protocol) = variable(reading, PROTOCOL).filter(|p| p != "http/protobuf") else {
        return true;
    };
    reading.warn(format!(
        "{PROTOCOL} is {protocol:?}, and flyball speaks http/protobuf alone: {ENDPOINT} is not used; write the collector's HTTP address into flyball.toml as endpoint of [otlp], for example \"{USUAL}\""
    ));
    false
}

/// The collector's address, without the path of a signal.
fn endpoint(reading: &Reading<'_>, place: ValuePlace<'_>, text: &str) -> Option<String> {
    let complain = |wrong: &str, help: &str| {
        place.complain(reading, wrong, help);
        None
    };
    let usual = format!("write the collector's HTTP address, for example \"{USUAL}\"");
    let Some(uri) = text.parse::<Uri>().ok().filter(|uri| uri.host().is_some()) else {
        return complain("it is not an address", &usual);
    };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return complain("it must begin with http:// or https://", &usual);
    }
    if uri.authority().is_some_and(|a| a.as_str().contains('@')) || uri.query().is_some() {
        let help = "write what the collector asks for as headers, for example headers = { authorization = \"env:OTLP_AUTHORIZATION\" }";
        return complain("it holds a name, a password or a query", help);
    }
    let text = text.trim_end_matches('/');
    if ["/v1/traces", "/v1/metrics"]
        .iter()
        .any(|end| text.ends_with(end))
    {
        let help = "leave the path of the signal off: flyball adds /v1/traces and /v1/metrics";
        return complain("it is the address of one signal", help);
    }
    if uri.port_u16() == Some(4317) {
        reading.warn(format!(
            "the OpenTelemetry collector's port 4317 is that of gRPC as a rule, and flyball speaks HTTP: that is at 4318, for example \"{USUAL}\""
        ));
    }
    Some(text.to_owned())
}

/// The headers of the variable, and those of the table in their place where they have the same name.
fn headers(reading: &Reading<'_>, table: Option<&Table<'_>>) -> Vec<(HeaderName, SecretString)> {
    let mut headers: Vec<(HeaderName, SecretString)> = Vec::new();
    for (name, value) in pairs(reading, HEADERS) {
        let place = ValuePlace::Variable(HEADERS);
        let fits = value.bytes().all(fits_header);
        if !fits {
            place.complain(reading, "a value cannot be in a header", PAIRS_HELP);
        }
        if let Some(name) = header_name(reading, place, &name).filter(|_| fits) {
            headers.push((name, value.into()));
        }
    }
    let Some(table) = table else {
        return headers;
    };
    for (name, written) in table.pairs("headers") {
        let value = secret::referred(reading, table, "headers", &written, &fits_header);
        let name = header_name(reading, ValuePlace::File(table, "headers"), &name);
        if let Some((name, value)) = name.zip(value) {
            headers.retain(|(other, _)| *other != name);
            headers.push((name, value));
        }
    }
    headers
}

/// Letters, digits, signs and blanks: `Bearer …` has one.
fn fits_header(byte: u8) -> bool {
    byte == b' ' || byte.is_ascii_graphic()
}

fn header_name(reading: &Reading<'_>, place: ValuePlace<'_>, name: &str) -> Option<HeaderName> {
    let read = name.to_ascii_lowercase().parse::<HeaderName>().ok();
    let own = |name: &HeaderName| OWN_HEADERS.contains(&name.as_str());
    let wrong = match &read {
        None => "it names what is no header",
        Some(name) if own(name) => "it names a header that flyball sets itself",
        Some(_) => return read,
    };
    place.complain(reading, wrong, "name one like authorization or x-api-key");
    None
}

const PAIRS_HELP: &str = "write name=value,name=value with anything unusual percent-encoded";

/// `name=value,name=value`, percent-encoded.
fn pairs(reading: &Reading<'_>, name: &'static str) -> Vec<(String, String)> {
    let Some(text) = variable(reading, name) else {
        return Vec::new();
    };
    let decoded = |text: &str| {
        let decoded = percent_decode_str(text.trim()).decode_utf8();
        decoded.ok().map(|text| text.into_owned())
    };
    let mut pairs = Vec::new();
    for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
        let read = pair.split_once('=');
        let read = read.and_then(|(key, value)| Some((decoded(key)?, decoded(value)?)));
        match read.filter(|(key, _)| !key.is_empty() && pairs.len() < PAIRS_MAX) {
            Some(pair) => pairs.push(pair),
            None => {
                let wrong = "it is no list of pairs";
                ValuePlace::Variable(name).complain(reading, wrong, PAIRS_HELP);
                break;
            }
        }
    }
    pairs
}

/// What every export is of. The table's `service_name` goes before the variable's, and that before the attribute's.
fn resource(reading: &Reading<'_>, table: Option<&Table<'_>>) -> Vec<(String, String)> {
    const NAME: &str = "service.name";
    let mut resource = pairs(reading, RESOURCE);
    let written = table.and_then(|table| table.text("service_name"));
    if let Some(table) = table.filter(|_| written.is_some_and(|name| name.trim().is_empty())) {
        table.complain("service_name", "service_name is empty", None);
    }
    let name = written.map(str::to_owned);
    let name = name.or_else(|| variable(reading, SERVICE));
    let has = resource.iter().any(|(key, _)| key == NAME);
    if let Some(name) = name.or_else(|| (!has).then(|| "flyball".to_owned())) {
        resource.retain(|(key, _)| key != NAME);
        resource.push((NAME.to_owned(), name));
    }
    if !resource.iter().any(|(key, _)| key == "service.version") {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        resource.push(("service.version".to_owned(), version));
    }
    resource
}

/// The share of traces that are kept.
fn share(table: Option<&Table<'_>>) -> f64 {
    let Some((table, share)) = table.and_then(|table| Some((table, table.number("sample")?)))
    else {
        return 1.0;
    };
    if !(0.0..=1.0).contains(&share) {
        let help = "write the share of traces to keep, from 0 to 1";
        let text = format_args!("sample {share} is not from 0 to 1");
        table.complain("sample", text, Some(help.to_owned()));
    }
    share
}

fn interval(table: Option<&Table<'_>>) -> Duration {
    let written = table.and_then(|table| Some((table, table.duration("interval")?)));
    match written {
        None => INTERVAL,
        Some((table, interval)) => {
            if interval < INTERVAL_MIN {
                table.complain("interval", "interval is at least 1s", None);
            }
            interval
        }
    }
}

fn queue(table: Option<&Table<'_>>) -> usize {
    let written = table.and_then(|table| Some((table, table.count_from_1("queue")?)));
    let spans = written.map_or(QUEUE, |(table, spans)| {
        if spans > QUEUE_MAX {
            table.complain("queue", format_args!("queue is at most {QUEUE_MAX}"), None);
        }
        spans
    });
    usize::try_from(spans).unwrap_or(usize::MAX)
}

/// The providers that are told which trace an attempt belongs to. Each pattern must be like one, where they are known.
fn propagate(table: Option<&Table<'_>>, providers: Option<&[String]>) -> Vec<String> {
    let Some(table) = table else {
        return Vec::new();
    };
    let words = table.words("propagate").unwrap_or_default();
    for word in &words {
        let Some(providers) = providers else { break };
        if !providers.iter().any(|name| like(&word.text, name)) {
            let help = suggest(&word.text, providers.iter().map(String::as_str));
            let text = format_args!("propagate: no provider is named \"{}\"", word.text);
            table.complain_at(word.line, text, help);
        }
    }
    words.into_iter().map(|word| word.text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::Folder;
    use crate::config::{Config, FILE, Overrides, Surroundings, load_in};
    use secrecy::ExposeSecret;

    const HOME: &str = "[[provider]]\nname = \"home\"\nkind = \"ollama\"\n\n[[model]]\nname = \"m\"\nprovider = \"home\"\ntier = \"local\"\n";

    fn read(text: &str, variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let folder = Folder::new();
        folder.write(FILE, &format!("data_dir = \"d\"\n{HOME}{text}"));
        let env = |name: &str| {
            let found = variables.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let around = Surroundings {
            env: &env,
            local_servers: &[],
            folder: folder.path(),
        };
        let shown = folder.path().display().to_string() + "/";
        let config = load_in(&Overrides::default(), &around);
        config.map_err(|all| {
            all.iter()
                .map(|c| c.to_string().replace(&shown, ""))
                .collect()
        })
    }

    fn exports(text: &str, variables: &[(&str, &str)]) -> Option<Settings> {
        let config = read(text, variables).unwrap_or_else(|told| panic!("{text}: {told:#?}"));
        config.otlp
    }

    fn names(pairs: &[(String, String)]) -> Vec<String> {
        let mut all: Vec<_> = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect();
        all.sort();
        all
    }

    #[test]
    fn nothing_is_exported_where_nobody_asks_for_it() {
        let others = [(HEADERS, "a=b"), (SERVICE, "x"), (RESOURCE, "nonsense")];
        assert_eq!(exports("", &others), None);
        assert_eq!(exports("", &[]), None);
    }

    #[test]
    fn an_empty_table_exports_to_this_machine() {
        let settings = exports("[otlp]\n", &[]).expect("it is on");
        assert_eq!(settings.endpoint, USUAL);
        assert!(settings.traces && settings.metrics && !settings.content);
        assert!(settings.headers.is_empty() && settings.propagate.is_empty());
        assert!(settings.names.old && settings.names.new);
        assert_eq!((settings.sample, settings.queue), (Share::of(1.0), 2048));
        assert_eq!(settings.interval, INTERVAL);
        let version = format!("service.version={}", env!("CARGO_PKG_VERSION"));
        assert_eq!(
            names(&settings.resource),
            ["service.name=flyball", &version]
        );
    }

    #[test]
    fn everything_that_can_be_set_is_set() {
        let text = r#"[otlp]
endpoint = "https://otel.example:4318/base/"
headers = { Authorization = "env:TOKEN", x-scope = "env:SCOPE" }
traces = true
metrics = false
sample = 0.25
service_name = "gate"
names = "new"
content = true
propagate = ["ho*"]
interval = "10s"
queue = 10
"#;
        let variables = [
            ("TOKEN", "Bearer abc def"),
            ("SCOPE", "team"),
            (HEADERS, "authorization=other,api-key=k%3D1"),
            (ENDPOINT, "http://elsewhere:1"),
            (SERVICE, "not this"),
            (
                RESOURCE,
                "deployment.environment.name=a%20b, service.name=nor this",
            ),
        ];
        let settings = exports(text, &variables).expect("it is on");
        assert_eq!(settings.endpoint, "https://otel.example:4318/base");
        let headers = settings.headers.iter();
        let headers: Vec<_> = headers
            .map(|(n, v)| (n.as_str(), v.expose_secret()))
            .collect();
        assert_eq!(
            headers,
            [
                ("api-key", "k=1"),
                ("authorization", "Bearer abc def"),
                ("x-scope", "team")
            ]
        );
        assert!(settings.traces && !settings.metrics && settings.content);
        assert!(!settings.names.old);
        assert_eq!(settings.sample, Share::of(0.25));
        assert_eq!(settings.propagate, ["ho*"]);
        assert_eq!(
            (settings.interval, settings.queue),
            (Duration::from_secs(10), 10)
        );
        let resource = names(&settings.resource);
        assert_eq!(
            resource[..2],
            ["deployment.environment.name=a b", "service.name=gate"]
        );
        assert!(!format!("{settings:?}").contains("Bearer"));
    }

    #[test]
    fn the_standards_variables_alone_are_enough() {
        let variables = [
            (ENDPOINT, " http://collector:4318/ "),
            (SERVICE, "gate"),
            (HEADERS, "x-key=secret"),
        ];
        let settings = exports("", &variables).expect("it is on");
        assert_eq!(settings.endpoint, "http://collector:4318");
        assert!(names(&settings.resource).contains(&"service.name=gate".to_owned()));
        assert_eq!(settings.headers.len(), 1);
    }

    #[test]
    fn what_is_switched_off_is_off() {
        let off = "[otlp]\ntraces = false\nmetrics = false\n";
        assert_eq!(exports(off, &[]), None);
        assert_eq!(exports("[otlp]\n", &[(DISABLED, "true")]), None);
        let grpc = [(ENDPOINT, "http://collector:4317"), (PROTOCOL, "grpc")];
        let config = read("", &grpc).expect("others may mean it");
        assert_eq!(config.otlp, None);
        assert!(
            config.warnings[0].contains("http/protobuf"),
            "{:?}",
            config.warnings
        );
        // Who writes a table means flyball.
        assert_eq!(
            exports("[otlp]\n", &grpc).expect("it is on").endpoint,
            USUAL
        );
    }

    #[test]
    fn the_port_of_grpc_is_a_warning() {
        let config = read("[otlp]\nendpoint = \"http://c:4317\"\n", &[]).expect("it may be right");
        assert!(config.warnings[0].contains("4318"), "{:?}", config.warnings);
    }

    #[test]
    fn every_mistake_is_told_with_its_place_and_what_to_do() {
        for (line, told) in [
            (
                "endpoint = \"localhost:4318\"",
                "endpoint: it must begin with http:// or https://; write",
            ),
            ("endpoint = \"\"", "endpoint: it is not an address; write"),
            (
                "endpoint = \"ftp://c\"",
                "endpoint: it must begin with http:// or https://; write",
            ),
            (
                "endpoint = \"http://me:pass-word@c:4318\"",
                "endpoint: it holds a name, a password or a query; write",
            ),
            (
                "endpoint = \"http://c/v1/traces\"",
                "endpoint: it is the address of one signal; leave",
            ),
            ("endpoint = 5", "endpoint must be a string"),
            (
                "headers = { authorization = \"Bearer pass-word\" }",
                "headers must not hold the secret itself; write",
            ),
            (
                "headers = { authorization = \"env:NONE\" }",
                "headers: the variable NONE is not set or empty",
            ),
            (
                "headers = { \"a b\" = \"env:TOKEN\" }",
                "headers: it names what is no header; name one",
            ),
            (
                "headers = { host = \"env:TOKEN\" }",
                "headers: it names a header that flyball sets itself; name",
            ),
            ("sample = 1.5", "sample 1.5 is not from 0 to 1; write"),
            ("sample = -1", "sample -1 is not from 0 to 1; write"),
            ("traces = \"yes\"", "traces must be true or false"),
            (
                "names = \"newest\"",
                "unknown set of names \"newest\"; use one of: new, old, both",
            ),
            (
                "propagate = [\"hone\"]",
                "propagate: no provider is named \"hone\"; did you mean \"home\"?",
            ),
            ("interval = \"1ms\"", "interval is at least 1s"),
            ("queue = 0", "queue must be at least 1"),
            ("queue = 1000000", "queue is at most 100000"),
            ("service_name = \" \"", "service_name is empty"),
            (
                "sampel = 1",
                "unknown key \"sampel\"; did you mean \"sample\"?",
            ),
        ] {
            let all = read(&format!("[otlp]\n{line}\n"), &[("TOKEN", "t")]).expect_err(line);
            assert_eq!(all.len(), 1, "{line}: {all:#?}");
            let wanted = format!("flyball.toml:11: otlp: {told}");
            assert!(all[0].starts_with(&wanted), "{line}: {}", all[0]);
            assert!(!all[0].contains("pass-word"), "{}", all[0]);
        }
    }

    #[test]
    fn a_wrong_variable_is_named_and_not_shown() {
        let good = (ENDPOINT, "http://c:4318");
        for (wrong, told) in [
            (
                (ENDPOINT, "pass-word"),
                "OTEL_EXPORTER_OTLP_ENDPOINT: it must begin with",
            ),
            (
                (HEADERS, "pass-word"),
                "OTEL_EXPORTER_OTLP_HEADERS: it is no list of pairs; write",
            ),
            (
                (HEADERS, "a=pass-word%0a"),
                "OTEL_EXPORTER_OTLP_HEADERS: a value cannot be in a header; write",
            ),
            (
                (HEADERS, "a b=pass-word"),
                "OTEL_EXPORTER_OTLP_HEADERS: it names what is no header; name",
            ),
            (
                (RESOURCE, "=pass-word"),
                "OTEL_RESOURCE_ATTRIBUTES: it is no list of pairs; write",
            ),
            (
                (RESOURCE, "a=pass-word%ff"),
                "OTEL_RESOURCE_ATTRIBUTES: it is no list of pairs; write",
            ),
        ] {
            let all = read("", &[wrong, good]).expect_err(wrong.1);
            assert!(all[0].starts_with(told), "{wrong:?}: {all:#?}");
            assert!(!all.concat().contains("pass-word"), "{all:#?}");
        }
    }

    #[test]
    fn who_only_looks_needs_no_secret() {
        let folder = Folder::new();
        let text = format!("data_dir = \"d\"\n{HOME}[otlp]\nheaders = {{ a = \"env:NONE\" }}\n");
        folder.write(FILE, &text);
        let around = Surroundings {
            env: &|_| None,
            local_servers: &[],
            folder: folder.path(),
        };
        let overrides = Overrides {
            needs: crate::config::Needs::Models,
            ..Overrides::default()
        };
        load_in(&overrides, &around).expect("it can be read");
    }
}
