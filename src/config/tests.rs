//! Tests of the whole: files in, settings or complaints out.

use super::*;
use crate::arm::{Effort, Tier};
use crate::chat::ServiceTier;
use crate::fleet::Arm;
use crate::ledger::cap::Cap;
use crate::money::PicoUsd;
use crate::route::HookFormat;
use crate::route::policy::DEFAULT;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A folder of this test alone.
pub(in crate::config) struct Folder(PathBuf);

impl Folder {
    pub(in crate::config) fn new() -> Folder {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("flyball-config-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }

    pub(in crate::config) fn path(&self) -> &Path {
        &self.0
    }

    pub(in crate::config) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        let parent = path.parent().expect("it is in the folder");
        std::fs::create_dir_all(parent).expect("a folder");
        std::fs::write(&path, text).expect("a file");
        path
    }

    fn load(&self, overrides: &Overrides) -> Result<Config, Vec<String>> {
        let env = |name: &str| match name {
            "HOME" => Some("/home/a".to_owned()),
            "OPENAI_API_KEY" => Some("sk-from-env".to_owned()),
            "TOKEN" => Some("sk-token".to_owned()),
            "BROKEN" => Some("sk-bro ken".to_owned()),
            _ => None,
        };
        let around = Surroundings {
            env: &env,
            local_servers: &[],
            folder: self.path(),
        };
        let shown = self.0.display().to_string() + "/";
        let plain = |c: &Complaint| c.to_string().replace(&shown, "");
        load_in(overrides, &around).map_err(|told| told.iter().map(plain).collect())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a file in a folder of its own says.
fn read(text: &str) -> Result<Config, Vec<String>> {
    let folder = Folder::new();
    folder.write(FILE, text);
    folder.load(&Overrides::default())
}

fn good(text: &str) -> Config {
    read(text).unwrap_or_else(|told| panic!("{text}: {told:#?}"))
}

fn bad(text: &str) -> Vec<String> {
    read(text).expect_err(text)
}

/// Enough to start with.
const OPENAI: &str = "[[provider]]\nname = \"openai\"\n";

/// A server at home.
const HOME: &str = "[[provider]]\nname = \"home\"\nkind = \"openai-compatible\"\n";

#[test]
fn everything_that_can_be_set_is_set() {
    let config = good(
        r#"
listen = "0.0.0.0:1"
admin_listen = "localhost:2"
data_dir = "~/ledger"
admin_token = "env:TOKEN"
objective = "fast"
intercept = ["gpt-*", "claude-*"]
baseline = "big@high"
answer_tokens_max = 1000
answer_tokens_min = 10
lower_limits = false
grade_asked = true
may_drop = ["metadata", "options.*"]
log = "json"

[[provider]]
name = "home"
kind = "openai-compatible"
base_url = "http://127.0.0.1:9/"

[[model]]
name = "big"
tier = "reasoning"
efforts = ["high", "low"]
context_tokens = 100_000
answer_tokens_max = 4096
input_usd_per_mtok = 0.1
output_usd_per_mtok = 4
cached_usd_per_mtok = "0.01"

[[cap]]
usd = 5.0
window = "day"

[[cap]]
usd = 100
window = "month"

[key_defaults]
cap_usd_month = 0.5

[simulate]
speed = 10
seed = 7

[limits]
body_bytes_max = 1024
total = "2m"
"#,
    );
    assert_eq!(config.listen.to_string(), "0.0.0.0:1");
    assert_eq!(config.admin_listen.to_string(), "127.0.0.1:2");
    assert_eq!(config.data_dir, Path::new("/home/a/ledger"));
    assert!(
        config.admin_token.is_some()
            && config.log_json
            && !config.lower_limits
            && config.grade_asked
    );
    assert_eq!(config.may_drop, ["metadata", "options.*"]);
    assert_eq!(config.objective, Objective::Fast);
    assert_eq!(config.intercept, ["gpt-*", "claude-*"]);
    let Arm { model, effort } = config.baseline.as_ref().expect("a baseline");
    assert_eq!((&*model.name, *effort), ("big", Some(Effort::High)));
    assert_eq!(
        (config.answer_tokens_max, config.answer_tokens_min),
        (1000, 10)
    );
    let texts = |caps: &[Cap]| caps.iter().map(Cap::text).collect::<Vec<_>>();
    assert_eq!(texts(&config.caps.caps), ["5usd/day", "100usd/month"]);
    assert_eq!(texts(&config.caps.each_key), ["0.5usd/month"]);
    assert_eq!(config.simulate, Some((10.0, 7)));
    assert_eq!(config.limits.body_bytes_max, 1024);
    assert_eq!(config.limits.total, Duration::from_secs(120));
    assert_eq!(config.limits.idle, Limits::default().idle);
    assert_eq!(model.provider.home.base_url, "http://127.0.0.1:9");
    assert_eq!(model.accepts.efforts, [Effort::Low, Effort::High]);
    assert_eq!(
        (model.context_tokens, model.answer_tokens_max),
        (Some(100_000), Some(4096))
    );
    assert!(
        model.local
            && config
                .fleet
                .named("sim-small")
                .is_some_and(|m| m.simulated && !m.local)
    );
    assert_eq!(config.rules.last().map(|r| r.name.as_str()), Some(DEFAULT));
}

#[test]
fn money_a_million_tokens_becomes_exact_pico_dollars_a_token() {
    let config = good(&format!(
        "{HOME}base_url = \"http://10.0.0.1\"\n[[model]]\nname = \"m\"\ntier = \"small\"\ninput_usd_per_mtok = 0.1\noutput_usd_per_mtok = 0.3\nreasoning_usd_per_mtok = 0.000001\n"
    ));
    let price = config.fleet.models[0].price.expect("a price");
    assert_eq!(price.rates.input, PicoUsd(100_000));
    assert_eq!(price.rates.cached, PicoUsd(100_000), "unsaid is not free");
    assert_eq!(price.rates.output, PicoUsd(300_000));
    assert_eq!(price.rates.reasoning, PicoUsd(1));
    let own: Vec<_> = config.catalogue.own().collect();
    assert_eq!(own, [("home", "m", &price)]);
    assert_ne!(config.catalogue.version, Catalogue::embedded().version);
    let tiered = good(&format!(
        "{HOME}base_url = \"http://10.0.0.1\"\nservice_tiers = [\"standard\", \"flex\"]\n[[model]]\nname = \"m\"\ntier = \"small\"\ninput_usd_per_mtok = 2\noutput_usd_per_mtok = 8\naudio_input_usd_per_mtok = 40\naudio_output_usd_per_mtok = 80\nimage_input_usd_per_mtok = 3\n[model.flex]\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 4\n[model.priority]\ninput_usd_per_mtok = 4\noutput_usd_per_mtok = 16\ncached_usd_per_mtok = 1\n"
    ));
    let model = &tiered.fleet.models[0];
    let price = model.price.expect("a price");
    assert_eq!(price.rates.audio_input, PicoUsd(40_000_000));
    assert_eq!(price.rates.audio_output, PicoUsd(80_000_000));
    assert_eq!(price.media_input, Some(PicoUsd(3_000_000)));
    let flex = price.served(ServiceTier::Flex, 0).expect("a price");
    assert_eq!(
        (flex.rates.cached, flex.rates.output),
        (PicoUsd(1_000_000), PicoUsd(4_000_000))
    );
    assert_eq!(flex.media_input, Some(PicoUsd(1_500_000)), "in proportion");
    let priority = price.served(ServiceTier::Priority, 0).expect("a price");
    assert_eq!(
        (priority.rates.cached, priority.rates.input),
        (PicoUsd(1_000_000), PicoUsd(4_000_000))
    );
    assert_eq!(price.served(ServiceTier::Batch, 0), None);
    use ServiceTier::{Flex, Priority, Standard};
    assert_eq!(model.provider.may_serve(None), [Standard, Standard, Flex]);
    assert_eq!(
        model.provider.may_serve(Some(Priority)),
        [Standard, Priority]
    );
    let anthropic = good(
        "[[provider]]\nname = \"a\"\nkind = \"anthropic\"\napi_key = \"env:TOKEN\"\n[[model]]\nname = \"m\"\ntier = \"small\"\ninput_usd_per_mtok = 4\noutput_usd_per_mtok = 8\n",
    );
    let rates = anthropic.fleet.models[0].price.expect("a price").rates;
    assert_eq!(rates.cache_write, PicoUsd(5_000_000));
    assert_eq!(rates.cache_write_long, PicoUsd(8_000_000));
}

#[test]
fn five_mistakes_are_told_at_once_each_with_file_line_and_advice() {
    let told = bad(r#"objectiv = "fast"
listen = "8484"
[[provider]]
name = "openai"
kind = "opnai"
[[model]]
name = "gpt-6-luna"
provider = "openia"
tier = "smal"
[limits]
idle = "30"
"#);
    assert_eq!(
        told,
        [
            "flyball.toml:1: unknown key \"objectiv\"; did you mean \"objective\"?",
            "flyball.toml:2: listen: \"8484\" is not an address; write IP:PORT, for example 127.0.0.1:8484, or unix:PATH",
            "flyball.toml:5: provider \"openai\": unknown kind \"opnai\"; did you mean \"openai\"?",
            "flyball.toml:8: model \"gpt-6-luna\": unknown provider \"openia\"; did you mean \"openai\"?",
            "flyball.toml:9: model \"gpt-6-luna\": unknown tier \"smal\"; did you mean \"small\"?",
            "flyball.toml:11: idle must be a time above 0 like \"150ms\", \"30s\", \"5m\", \"1h\" or \"400d\"",
        ]
    );
}

#[test]
fn each_mistake_is_told_once() {
    let home = format!("{HOME}base_url = \"http://10.0.0.1\"\n");
    let model = format!("{home}[[model]]\nname = \"m\"\ntier = \"small\"\n");
    for (text, told) in [
        (
            format!("baseline = \"gpt-6-lunna\"\n{OPENAI}"),
            "flyball.toml:1: baseline: unknown model \"gpt-6-lunna\"; did you mean \"gpt-6-luna\"?",
        ),
        (
            format!("admin_listen = \"127.0.0.1:8484\"\n{OPENAI}"),
            "flyball.toml:1: admin_listen is the same address as listen; give each its own port",
        ),
        (
            format!("answer_tokens_max = 10\n{OPENAI}"),
            "flyball.toml:1: answer_tokens_min (256) is above answer_tokens_max (10)",
        ),
        (
            format!("answer_tokens_max = 0\n{OPENAI}"),
            "flyball.toml:1: answer_tokens_max must be at least 1",
        ),
        (
            format!("rules = \"nowhere\"\n{OPENAI}"),
            "flyball.toml:1: rules: nowhere cannot be read: No such file or directory (os error 2)",
        ),
        (
            "provider = []\n".to_owned(),
            "flyball.toml:1: there is no provider; add a [[provider]], or try --simulate",
        ),
        (
            "[[provider]]\nname = \"anthropic\"\n".to_owned(),
            "flyball.toml:1: provider \"anthropic\": there is no key; set ANTHROPIC_API_KEY, or write api_key = \"env:NAME\"",
        ),
        (
            "[[provider]]\nname = \"simulated\"\nkind = \"ollama\"\n[[model]]\nname = \"m\"\n"
                .to_owned(),
            "flyball.toml:2: provider \"simulated\": the name is taken",
        ),
        (
            format!("{OPENAI}{OPENAI}"),
            "flyball.toml:4: provider \"openai\": the name is taken",
        ),
        (
            HOME.to_owned(),
            "flyball.toml:1: provider \"home\": openai-compatible needs a base_url; write base_url = \"http://HOST:PORT\"",
        ),
        (
            format!("{HOME}base_url = \"localhost:80\"\n"),
            "flyball.toml:4: provider \"home\": base_url is not an address; write http://HOST:PORT or https://HOST, without a query",
        ),
        (
            home.clone(),
            "flyball.toml:1: provider \"home\" has no model; add a [[model]] with provider = \"home\"",
        ),
        (
            format!("{home}[[model]]\nname = \"m\"\n"),
            "flyball.toml:5: model \"m\": tier is missing; use one of: local, small, standard, reasoning",
        ),
        (
            format!("{home}[[model]]\nname = \"m\"\ntier = \"local\"\n"),
            "flyball.toml:7: model \"m\": it does not run on your machines but at \"home\"; choose another tier, or set local = true in the provider if it is",
        ),
        (
            format!("{model}[[model]]\nname = \"m\"\ntier = \"small\"\n"),
            "flyball.toml:9: model \"m\": the name is taken",
        ),
        (
            format!("{model}efforts = [\"low\", \"hgih\"]\n"),
            "flyball.toml:8: model \"m\": unknown effort \"hgih\"; did you mean \"high\"?",
        ),
        (
            format!("{model}input_usd_per_mtok = 1\n"),
            "flyball.toml:5: model \"m\": its price lacks output_usd_per_mtok",
        ),
        (
            format!("{model}free = true\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 1"),
            "flyball.toml:8: model \"m\": it is free and yet has a price",
        ),
        (
            format!("{model}input_usd_per_mtok = 0.0000001\noutput_usd_per_mtok = 1"),
            "flyball.toml:8: model \"m\": input_usd_per_mtok is finer than a pico-dollar (1e-12) a token",
        ),
        (
            format!("{model}[model.flex]\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 1"),
            "flyball.toml:8: model \"m\": flex needs the rest of the price beside it: input_usd_per_mtok and output_usd_per_mtok",
        ),
        (
            format!(
                "{model}input_usd_per_mtok = 1\noutput_usd_per_mtok = 1\n[model.batch]\ninput_usd_per_mtok = 1"
            ),
            "flyball.toml:10: model \"m\": its batch price lacks output_usd_per_mtok",
        ),
        (
            format!("{model}input_usd_per_mtok = 1\noutput_usd_per_mtok = 1\n[model.batch]"),
            "flyball.toml:10: model \"m\": its batch price lacks input_usd_per_mtok and output_usd_per_mtok",
        ),
        (
            format!(
                "{model}input_usd_per_mtok = 1\noutput_usd_per_mtok = 1\n[model.flex]\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 1\nimage_input_usd_per_mtok = 1"
            ),
            "flyball.toml:13: model \"m\": unknown key \"image_input_usd_per_mtok\"; did you mean \"audio_input_usd_per_mtok\"?",
        ),
        (
            format!("{model}free = true\nimage_input_usd_per_mtok = 1"),
            "flyball.toml:8: model \"m\": it is free and yet has a price",
        ),
        (
            format!("{OPENAI}service_tiers = [\"prioirty\"]"),
            "flyball.toml:3: provider \"openai\": unknown service tier \"prioirty\"; did you mean \"priority\"?",
        ),
        (
            format!("{model}watts = 300"),
            "flyball.toml:8: model \"m\": electricity needs both watts and usd_per_kwh",
        ),
        (
            format!("{OPENAI}[[cap]]\nusd = -1\nwindow = \"day\""),
            "flyball.toml:4: usd must not be negative",
        ),
        (
            format!("{OPENAI}[[cap]]\nusd = 1e7\nwindow = \"day\""),
            "flyball.toml:4: usd is above the 9.2 million dollars that the ledger can hold",
        ),
        (
            format!("{OPENAI}[[cap]]\nusd = 1\nwindow = \"fortnight\""),
            "flyball.toml:5: unknown window \"fortnight\"; use one of: minute, hour, day, week, month, total",
        ),
        (
            format!("{OPENAI}[[cap]]\nusd = 1\ntokens = 5\nwindow = \"week\""),
            "flyball.toml:4: cap: it has more than one of usd, tokens and requests; write a [[cap]] for each",
        ),
        (
            format!("{OPENAI}[[cap]]\nusd = 1\nwindow = \"week\"\ntime_zone = \"Europe/Berln\""),
            "flyball.toml:6: time_zone: unknown time zone \"Europe/Berln\"; use a name like Europe/Berlin, America/New_York or UTC",
        ),
        (
            format!("{OPENAI}[[cap]]\nusd = 1\nwindow = \"week\"\nteam = \"red\"\neach = \"team\""),
            "flyball.toml:7: cap: it is for one team and for each team",
        ),
        (
            format!("{OPENAI}[simulate]\nspeed = 0"),
            "flyball.toml:4: speed must be above 0; 1 is lifelike",
        ),
    ] {
        assert_eq!(bad(&text), [told], "{text}");
    }
}

#[test]
fn a_secret_shows_neither_in_settings_nor_in_complaints() {
    let folder = Folder::new();
    folder.write("key", "sk-from-file\n");
    folder.write(FILE, "admin_token = \"env:TOKEN\"\n[[provider]]\nname = \"openai\"\n[[provider]]\nname = \"groq\"\napi_key = \"file:key\"\n");
    let config = folder.load(&Overrides::default()).expect("a good file");
    let shown = format!("{config:?} {:?}", config.providers_note);
    assert!(!shown.contains("sk-"), "{shown}");
    assert!(
        config
            .fleet
            .providers
            .iter()
            .all(|p| p.home.api_key.is_some())
    );
    assert!(
        config.sources.contains(&folder.path().join("key")),
        "a new key is a change"
    );
    for (reference, told) in [
        (
            "sk-literal",
            "api_key must not hold the secret itself; write \"env:NAME\" for a variable or \"file:PATH\" for a file that holds it",
        ),
        (
            "sk:literal",
            "api_key must not hold the secret itself; write \"env:NAME\" for a variable or \"file:PATH\" for a file that holds it",
        ),
        (
            "env:sk-literal",
            "api_key must not hold the secret itself; write \"env:NAME\" for a variable or \"file:PATH\" for a file that holds it",
        ),
        (
            "env:MISSING",
            "api_key: the variable MISSING is not set or empty",
        ),
        (
            "env:BROKEN",
            "api_key: the variable BROKEN holds a character that cannot be in a header",
        ),
    ] {
        let text = format!("{OPENAI}api_key = \"{reference}\"\n");
        assert_eq!(
            bad(&text),
            [format!("flyball.toml:3: provider \"openai\": {told}")]
        );
    }
    let broken = format!("{OPENAI}api_key = \"sk-unclosed\n");
    let user = format!("{OPENAI}base_url = \"https://me:sk-pass@example.org\"\n");
    for text in [broken, user, "admin_token = [\"sk-list\"]".to_owned()] {
        let told = bad(&text).concat();
        assert!(!told.contains("sk-"), "{told}");
    }
}

#[test]
fn an_address_may_be_written_as_sdks_want_it() {
    for (written, kept) in [
        ("http://10.0.0.1/v1", "http://10.0.0.1"),
        ("http://10.0.0.1/v1/", "http://10.0.0.1"),
        ("http://10.0.0.1/team/v1", "http://10.0.0.1/team"),
        ("http://10.0.0.1/v1/chat/completions", "http://10.0.0.1"),
        ("http://10.0.0.1/dev1", "http://10.0.0.1/dev1"),
        ("http://10.0.0.1/v1/team", "http://10.0.0.1/v1/team"),
        ("http://v1", "http://v1"),
    ] {
        let config = good(&format!(
            "{HOME}base_url = \"{written}\"\n[[model]]\nname = \"m\"\ntier = \"small\"\nfree = true\n"
        ));
        assert_eq!(config.fleet.providers[0].home.base_url, kept, "{written}");
    }
}

#[test]
fn a_vendors_own_key_does_not_go_to_another_address() {
    let config = good(&format!("{OPENAI}base_url = \"https://example.org\"\n"));
    assert!(config.fleet.providers[0].home.api_key.is_none());
    assert!(good(OPENAI).fleet.providers[0].home.api_key.is_some());
}

#[test]
fn a_broken_rule_file_names_file_and_line_and_own_rules_replace_the_starters() {
    let folder = Folder::new();
    folder.write(FILE, OPENAI);
    let rule = "\n[[rule]]\nname = \"mine\"\nwhy = \"w\"\nroute = { arm = \"gpt-6-luna\" }\n";
    folder.write("rules/b.toml", rule);
    let config = folder.load(&Overrides::default()).expect("good rules");
    let names: Vec<&str> = config.rules.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["mine", DEFAULT]);
    assert!(config.sources.contains(&folder.path().join("rules")));
    folder.write(
        "rules/a.toml",
        &rule.replace("mine", "a").replace("luna", "luna2"),
    );
    folder.write("rules/c.toml", "[[rule]\n");
    let told = folder
        .load(&Overrides::default())
        .expect_err("two bad files");
    assert_eq!(
        told[0],
        "rules/a.toml:5: rule \"a\": unknown model \"gpt-6-luna2\"; did you mean \"gpt-6-luna\"?"
    );
    assert!(
        told[1].starts_with("rules/c.toml:1: not TOML: "),
        "{told:?}"
    );
}

#[test]
fn a_model_is_local_only_where_its_server_and_itself_are() {
    for (url, local, name, expected) in [
        ("http://127.0.0.1:1", "", "qwen3:8b", true),
        ("http://localhost:1", "", "qwen3:8b", true),
        ("http://[::1]:1", "", "qwen3:8b", true),
        ("http://127.0.0.1:1", "", "glm-5:cloud", false),
        (
            "http://127.0.0.1:1",
            "local = true",
            "gpt-oss:120b-cloud",
            false,
        ),
        ("http://127.0.0.1:1", "local = false", "qwen3:8b", false),
        ("http://10.0.0.7:1", "", "qwen3:8b", false),
        ("http://10.0.0.7:1", "local = true", "qwen3:8b", true),
        ("http://127.0.0.1.example.org", "", "qwen3:8b", false),
    ] {
        let config = good(&format!(
            "[[provider]]\nname = \"ollama\"\nbase_url = \"{url}\"\n{local}\n[[model]]\nname = \"{name}\"\ntier = \"small\"\n"
        ));
        let model = &config.fleet.models[0];
        assert_eq!(model.local, expected, "{url} {local} {name}");
        let remote = name.contains("cloud");
        assert_eq!(
            model.price.is_none(),
            remote,
            "{name}: a cloud model is not free"
        );
    }
}

#[test]
fn a_model_without_a_price_is_allowed_and_noted() {
    let config = good(&format!(
        "{HOME}base_url = \"http://10.0.0.1\"\n[[model]]\nname = \"m\"\ntier = \"small\"\n"
    ));
    assert!(config.fleet.models[0].price.is_none());
    assert!(
        config
            .providers_note
            .iter()
            .any(|n| n.contains("\"m\" has no known price"))
    );
    let free = good(&format!(
        "{HOME}base_url = \"http://10.0.0.1\"\n[[model]]\nname = \"m\"\ntier = \"small\"\nfree = true\n"
    ));
    assert!(free.providers_note.is_empty(), "{:?}", free.providers_note);
}

#[test]
fn without_a_file_what_is_found_is_used() {
    let folder = Folder::new();
    let config = folder.load(&Overrides::default()).expect("a key is set");
    assert_eq!(config.source, Source::NoConfig);
    assert!(config.fleet.in_tier(Tier::Small).next().is_some());
    assert!(config.simulate.is_none() && config.fleet.named("sim-small").is_none());
    let simulate = Overrides {
        simulate: true,
        ..Overrides::default()
    };
    let config = folder.load(&simulate).expect("simulated models");
    assert!(
        config
            .fleet
            .models
            .iter()
            .all(|m| m.simulated && m.price.is_some())
    );
    assert_eq!(config.simulate, Some((1.0, 1)));
}

#[test]
fn a_file_that_names_no_provider_leaves_them_to_be_found() {
    for text in [
        "",
        "[[cap]]\nusd = 1\nwindow = \"day\"\n",
        "[key_defaults]\ncap_usd_day = 1\n",
    ] {
        let config = good(text);
        assert_eq!(config.fleet.providers[0].name, "openai", "{text}");
        assert!(config.found && config.simulate.is_none(), "{text}");
    }
    let folder = Folder::new();
    folder.write(FILE, "[[cap]]\nusd = 1\nwindow = \"day\"\n");
    let env = |name: &str| (name == "HOME").then(|| "/home/a".to_owned());
    let around = Surroundings {
        env: &env,
        local_servers: &[],
        folder: folder.path(),
    };
    let told = load_in(&Overrides::default(), &around).expect_err("nothing to serve");
    let told = told[0].to_string();
    assert!(
        told.contains("flyball.toml: no provider found; looked for OPENAI_API_KEY, ")
            && told.ends_with("add a [[provider]], or try --simulate"),
        "{told}"
    );
}

#[test]
fn a_name_that_nobody_has_is_a_mistake_with_a_suggestion() {
    let team = "[[team]]\nname = \"red\"\norganisation = \"acme\"\n";
    for (scope, told) in [
        (
            "tier = \"smal\"",
            "unknown tier \"smal\"; did you mean \"small\"?",
        ),
        (
            "provider = \"opnai\"",
            "unknown provider \"opnai\"; did you mean \"openai\"?",
        ),
        (
            "team = \"rde\"",
            "unknown team \"rde\"; did you mean \"red\"? Or write [[team]] name = \"rde\" if it is one",
        ),
        (
            "organisation = \"amce\"",
            "unknown organisation \"amce\"; did you mean \"acme\"? Or write organisation = \"amce\" in a [[team]] if it is one",
        ),
        (
            "model = \"gpt-6-lunna\"",
            "unknown model \"gpt-6-lunna\"; did you mean \"gpt-6-luna\"?",
        ),
    ] {
        let text = format!("{OPENAI}{team}[[cap]]\nusd = 0\nwindow = \"day\"\n{scope}\n");
        let line = format!("flyball.toml:9: cap: {told}");
        assert_eq!(bad(&text), [line], "{scope}");
    }
    let text = format!(
        "{OPENAI}{team}[key_defaults]\ncaps = [\"1usd/day tier=smal\", \"1usd/day provider=opnai\"]\n"
    );
    assert_eq!(
        bad(&text),
        [
            "flyball.toml:7: caps: unknown tier \"smal\"; did you mean \"small\"?",
            "flyball.toml:7: caps: unknown provider \"opnai\"; did you mean \"openai\"?",
        ]
    );
    for scope in [
        "tier = \"local\"",
        "provider = \"openai\"",
        "team = \"red\"",
        "organisation = \"acme\"",
        "model = \"gpt-4.1-mini\"",
        "model = \"gpt-6*\"",
    ] {
        let text = format!("{OPENAI}{team}[[cap]]\nusd = 0\nwindow = \"day\"\n{scope}\n");
        assert_eq!(good(&text).warnings, [""; 0], "{scope}");
    }
}

#[test]
fn a_pattern_that_matches_no_model_is_a_warning() {
    let folder = Folder::new();
    let rule = "[[rule]]\nname = \"a\"\nwhy = \"w\"\nwhen = { model = [\"gtq-6*\", \"gpt-*\", \"our-own\"] }\nroute = { tier = \"small\" }\n";
    folder.write("rules/a.toml", rule);
    let cap = "[[cap]]\nusd = 0\nwindow = \"day\"\n";
    folder.write(
        FILE,
        &format!("intercept = [\"gtp-*\", \"our-own\", \"gpt-4oo\"]\n{OPENAI}{cap}model = \"gtp_*\"\n[key_defaults]\ncaps = [\"1usd/day model=gtp_*\"]\n"),
    );
    let config = folder.load(&Overrides::default()).expect("no mistakes");
    let shown = folder.path().display().to_string() + "/";
    let told: Vec<String> = config
        .warnings
        .iter()
        .map(|w| w.replace(&shown, ""))
        .collect();
    assert_eq!(told.len(), 5, "{told:#?}");
    for (warning, place) in told.iter().zip([
        "flyball.toml:7: cap: the pattern \"gtp_*\" matches no model",
        "flyball.toml:9: caps: the pattern \"gtp_*\" matches no model",
        "flyball.toml:1: intercept: the pattern \"gtp-*\" matches no model; did you mean \"gpt-*\"?",
        "flyball.toml:1: intercept: unknown model \"gpt-4oo\"; did you mean \"gpt-4o\"?",
        "rules/a.toml:1: rule \"a\": the pattern \"gtq-6*\" matches no model",
    ]) {
        assert!(warning.starts_with(place), "{warning}");
    }
}

#[test]
fn keys_and_tags_that_only_the_ledger_knows_are_doubted_once_it_is_read() {
    use crate::ledger::store::Key;
    let folder = Folder::new();
    folder.write("rules/a.toml", "[[rule]]\nname = \"a\"\nwhy = \"w\"\nwhen = { key = \"pap\" }\nroute = { tier = \"small\" }\n");
    let cap = "[[cap]]\nusd = 0\nwindow = \"day\"\n";
    folder.write(
        FILE,
        &format!("{OPENAI}[[team]]\nname = \"red\"\n{cap}key = \"ap\"\n{cap}tag = {{ project = \"x\" }}\n"),
    );
    let config = folder.load(&Overrides::default()).expect("no mistakes");
    let key = Key {
        name: "app".into(),
        team: "rde".into(),
        models: vec!["gtp-*".into(), "gpt-6*".into()],
        caps: vec![Cap::parse("1usd/day tier=smal").expect("a cap")],
        required_tags: vec![("project".into(), vec!["y".into()])],
        ..Key::default()
    };
    let shown = folder.path().display().to_string() + "/";
    let plain = |told: Vec<String>| {
        told.iter()
            .map(|w| w.replace(&shown, ""))
            .collect::<Vec<_>>()
    };
    let told = plain(config.doubts_about_keys(std::slice::from_ref(&key)));
    assert_eq!(told.len(), 6, "{told:#?}");
    for (told, start) in told.iter().zip([
        "flyball.toml:8: cap: there is no key \"ap\"; did you mean \"app\"?",
        "rules/a.toml:1: rule \"a\": there is no key \"pap\"; did you mean \"app\"?",
        "flyball.toml:12: cap: no key bears or demands the tag project=x",
        "key \"app\": unknown team \"rde\"; did you mean \"red\"?",
        "key \"app\": the pattern \"gtp-*\" matches no model",
        "key \"app\": unknown tier \"smal\"; did you mean \"small\"?",
    ]) {
        assert!(told.starts_with(start), "{told}");
    }
    let told = plain(config.doubts_about_keys(&[]));
    assert_eq!(
        told[0],
        "flyball.toml:8: cap: there is no key \"ap\"; it counts for nobody until `flyball key create ap` makes it"
    );
}

#[test]
fn who_only_reads_needs_no_secret_but_the_ledgers() {
    let folder = Folder::new();
    folder.write(
        FILE,
        "admin_token = \"env:NONE\"\ncap_webhook = \"file:none\"\nshared_ledger = \"env:NONE_EITHER\"\n[[provider]]\nname = \"groq\"\n[[provider]]\nname = \"openai\"\napi_key = \"env:NOTHING\"\n",
    );
    let read = |needs| {
        let overrides = Overrides {
            needs,
            ..Overrides::default()
        };
        folder.load(&overrides).map_err(|told| told.len())
    };
    assert_eq!(read(Needs::All).err(), Some(5));
    assert_eq!(read(Needs::Books).err(), Some(1));
    assert!(read(Needs::Models).is_ok() && read(Needs::File).is_ok());
}

#[test]
fn names_and_shares_of_caps_are_read_and_bounded() {
    let cap = |more: &str| format!("{OPENAI}[[cap]]\nusd = 1\nwindow = \"day\"\n{more}\n");
    let config = good(&format!(
        "notify_percent = [95, 50]\n{}",
        cap("name = \"research budget\"\nnotify_percent = [100, 80, 80]")
    ));
    let read = &config.caps.caps[0];
    assert_eq!(
        (&*read.name, read.told_at(), &config.caps.notify_percent[..]),
        ("research budget", &[80, 100][..], &[50, 95][..])
    );
    assert_eq!(good(&cap("soft_percent = 60")).caps.caps[0].told_at(), [60]);
    let long = format!("name = \"{}\"", "x".repeat(65));
    let named =
        "name: the name of a cap is 1 to 64 visible characters, and not \"other\" or \"any\"";
    let shares = "notify_percent is 1 to 100, or up to ten such numbers; for example notify_percent = [50, 80, 95, 100]";
    for (more, told) in [
        (long.as_str(), named),
        ("name = \"\"", named),
        ("name = \"a\\nb\"", named),
        ("name = \"other\"", named),
        ("notify_percent = [0]", shares),
        ("notify_percent = [101]", shares),
        ("notify_percent = []", shares),
        (
            "notify_percent = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]",
            shares,
        ),
        (
            "soft_percent = 80\nnotify_percent = [80]",
            "cap: soft_percent and notify_percent say the same; write notify_percent alone, e.g. notify_percent = [50, 80, 95, 100]",
        ),
        ("soft_percent = 101", "soft_percent is 1 to 100"),
    ] {
        let complaints = bad(&cap(more));
        assert!(
            complaints.iter().any(|c| c.ends_with(told)),
            "{more}: {complaints:?}"
        );
    }
    let twice = format!(
        "{}[[cap]]\nusd = 1\nwindow = \"week\"\nname = \"a\"\n",
        cap("name = \"a\"")
    );
    assert_eq!(
        bad(&twice),
        [
            "flyball.toml:10: cap: there is one of the name \"a\" already; give each a name of its own, or none"
        ]
    );
}

#[test]
fn a_webhook_is_an_address_or_a_table_with_one() {
    let hook = |text: &str| format!("cap_webhook = {text}\n{OPENAI}");
    let config = good(&hook("\"env:TOKEN\""));
    let told = config.cap_webhook.expect("a webhook");
    assert_eq!(
        (told.format, told.secret.is_none()),
        (HookFormat::Json, true)
    );
    let config = good(&hook(
        "{ url = \"env:TOKEN\", format = \"slack\", secret = \"env:TOKEN\" }",
    ));
    let told = config.cap_webhook.expect("a webhook");
    assert_eq!(
        (told.format, told.secret.is_some()),
        (HookFormat::Slack, true)
    );
    for (text, complaint) in [
        ("{ format = \"json\" }", "cap_webhook: url is missing"),
        (
            "{ url = \"env:TOKEN\", format = \"xml\" }",
            "format of a webhook",
        ),
        ("{ url = \"env:TOKEN\", token = \"x\" }", "token"),
        (
            "{ url = \"https://example.org/secret\" }",
            "url must not hold the secret itself",
        ),
    ] {
        let complaints = bad(&hook(text));
        let said = |c: &String| c.contains(complaint) && !c.contains("example.org");
        assert!(complaints.iter().any(said), "{text}: {complaints:?}");
    }
}

#[test]
fn the_days_of_default_caps_begin_where_time_zone_says() {
    let config = good(&format!(
        "time_zone = \"Europe/Berlin\"\n{OPENAI}[key_defaults]\ncap_usd_day = 1\ncaps = [\"9usd/month\", \"7usd/week@UTC\"]\n"
    ));
    let zones = config
        .caps
        .each_key
        .iter()
        .map(|c| c.counter.zone.to_string());
    assert_eq!(
        zones.collect::<Vec<_>>(),
        ["Europe/Berlin", "Europe/Berlin", "UTC"]
    );
}

#[test]
fn with_nothing_found_only_loopback_listeners_get_simulated_models() {
    let env = |name: &str| (name == "HOME").then(|| "/home/a".to_owned());
    let folder = Folder::new();
    let around = Surroundings {
        env: &env,
        local_servers: &[],
        folder: folder.path(),
    };
    let config = load_in(&Overrides::default(), &around).expect("simulated models");
    assert!(config.fleet.models.iter().all(|m| m.simulated));
    let open = Overrides {
        listen: Some("0.0.0.0:8484".to_owned()),
        ..Overrides::default()
    };
    let told = load_in(&open, &around).expect_err("nothing to serve");
    assert_eq!(told.len(), 1);
    let told = told[0].to_string();
    assert!(
        told.contains("no provider found; looked for OPENAI_API_KEY, "),
        "{told}"
    );
}

#[test]
fn flags_win_over_the_file_and_a_wrong_flag_is_named() {
    let folder = Folder::new();
    folder.write(
        FILE,
        &format!("listen = \"127.0.0.1:1\"\nintercept = [\"a\"]\ndata_dir = \"x\"\n{OPENAI}"),
    );
    let flags = Overrides {
        listen: Some("127.0.0.1:3".to_owned()),
        data_dir: Some(PathBuf::from("/y")),
        intercept: vec!["*".to_owned()],
        ..Overrides::default()
    };
    let config = folder.load(&flags).expect("a good file");
    assert_eq!(config.listen.to_string(), "127.0.0.1:3");
    assert_eq!(config.intercept, ["*"]);
    assert_eq!(config.data_dir, Path::new("/y"));
    let wrong = Overrides {
        admin_listen: Some("x".to_owned()),
        ..flags
    };
    let told = folder.load(&wrong).expect_err("a wrong flag");
    assert_eq!(
        told,
        [
            "--admin-listen: \"x\" is not an address; write IP:PORT, for example 127.0.0.1:8485, or unix:PATH"
        ]
    );
    let missing = Overrides {
        config: Some(folder.path().join("none.toml")),
        ..Overrides::default()
    };
    let told = folder.load(&missing).expect_err("no such file");
    assert!(
        told[0].starts_with("none.toml: cannot be read: "),
        "{told:?}"
    );
}

#[test]
fn the_simulated_address_reaches_fleet_and_baseline() {
    let config = good("baseline = \"sim-reasoning\"\n[simulate]\n");
    let config = config.with_simulated_at(SocketAddr::from(([127, 0, 0, 1], 5)));
    let Arm { model, .. } = config.baseline.expect("a baseline");
    assert_eq!(model.provider.home.base_url, "http://127.0.0.1:5");
}

#[test]
fn a_key_of_the_configuration_is_read_and_what_is_wrong_with_one_is_told_with_its_line() {
    let digits = "ab".repeat(32);
    let hash = format!("hash = \"sha256:{digits}\"");
    let all = format!(
        "{OPENAI}[[team]]\nname = \"red\"\n[[key]]\nname = \"app\"\n{hash}\nteam = \"red\"\ncaps = [\"5usd/day\"]\nmodels = [\"gpt-*\"]\nprivate = true\ntags = [\"a=b\"]\nrequired_tags = [\"env=dev|test\"]\nexpires = \"2030-01-01\"\npaused = true\n"
    );
    let key = good(&all).keys.remove(0);
    assert_eq!((key.name.as_str(), key.hash), ("app", [0xab; 32]));
    assert_eq!(
        (key.team.as_str(), key.caps[0].text()),
        ("red", "5usd/day".to_owned())
    );
    assert_eq!(key.expires, Some(1_893_456_000));
    assert!(key.private && key.paused && key.models == ["gpt-*"] && key.tags.len() == 1);
    assert_eq!(key.required_tags[0].1, ["dev", "test"]);
    for (what, says) in [
        (format!("{hash}\n"), "name"),
        ("name = \"app\"\n".to_owned(), "hash"),
        (
            format!("name = \"app\"\nhash = \"{digits}\"\n"),
            "does not begin with \"sha256:\"",
        ),
        (
            "name = \"app\"\nhash = \"sha256:abc\"\n".to_owned(),
            "64 hexadecimal digits",
        ),
        (
            format!("name = \"app\"\nhash = \"sha256:{}\"\n", "xy".repeat(32)),
            "64 hexadecimal digits",
        ),
        (
            format!("name = \"app\"\nhash = \"sha256:{}\"\n", "00".repeat(32)),
            "64 hexadecimal digits",
        ),
        (
            format!("name = \"app\"\nhash = \"fb_{digits}\"\n"),
            "a key's secret and not its hash",
        ),
        (
            format!("name = \"app\"\n{hash}\nexpires = \"soon\"\n"),
            "neither a date nor a time",
        ),
        (
            format!("name = \"app\"\n{hash}\ncaps = [\"5usd\"]\n"),
            "key \"app\"",
        ),
        (
            format!("name = \"app\"\n{hash}\ntags = [\"a\"]\n"),
            "is not k=v",
        ),
        (
            format!("name = \"app\"\n{hash}\nmodels = [\"gtp-6-luna\"]\n"),
            "unknown model",
        ),
        (
            format!("name = \"app\"\n{hash}\nsecret = \"x\"\n"),
            "secret",
        ),
        (
            format!(
                "name = \"app\"\n{hash}\n[[key]]\nname = \"app\"\nhash = \"sha256:{}\"\n",
                "cd".repeat(32)
            ),
            "named \"app\" already",
        ),
        (
            format!("name = \"app\"\n{hash}\n[[key]]\nname = \"bot\"\n{hash}\n"),
            "has the same hash",
        ),
    ] {
        let told = bad(&format!("{OPENAI}[[key]]\n{what}"));
        assert_eq!(told.len(), 1, "{what}: {told:?}");
        assert!(
            told[0].starts_with("flyball.toml:") && told[0].contains(says),
            "{what}: {told:?}"
        );
        assert!(
            !told[0].contains(&digits),
            "a secret is not repeated: {told:?}"
        );
    }
    let both = format!("{OPENAI}[[key]]\nname = \"app\"\nhash = \"{digits}\"\ncaps = [\"5usd\"]\n");
    assert_eq!(bad(&both).len(), 2, "a wrong hash hides nothing else");
}
