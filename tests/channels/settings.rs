//! What is wrong in the settings of credentials and deployments is told with file, line and advice.

use super::{MODEL, credential, folder};
use flyball::config::{self, Needs, Overrides};

fn complaints(provider: &str) -> Vec<String> {
    let dir = folder(&["a", "b"]);
    let file = dir.path().join("flyball.toml");
    let toml =
        format!("[[provider]]\nname = \"up\"\nkind = \"openai-compatible\"\n{provider}{MODEL}");
    std::fs::write(&file, toml).expect("a file");
    let overrides = Overrides {
        config: Some(file),
        needs: Needs::All,
        ..Overrides::default()
    };
    match config::load(&overrides) {
        Ok(_) => Vec::new(),
        Err(all) => all.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn every_mistake_has_its_line_and_says_what_to_do() {
    let url = "base_url = \"http://127.0.0.1:1\"\n";
    let a = credential("a");
    let place = |more: &str| format!("[[provider.deployment]]\n{more}");
    let at = |name: &str, url: &str| format!("name = \"{name}\"\nbase_url = \"{url}\"\n");
    let many: String = (0..65)
        .map(|n| credential("a").replace("name = \"a\"", &format!("name = \"c{n}\"")))
        .collect();
    for (provider, line, says, advises) in [
        (
            format!("{url}balance = \"stiky\"\n"),
            5,
            "unknown balance \"stiky\"",
            "did you mean \"sticky\"",
        ),
        (
            format!("{url}headroom_min_percent = 80\n"),
            5,
            "headroom_min_percent 80 is more than 50",
            "from 0 (never) to 50",
        ),
        (
            format!("{url}api_key = \"file:a.key\"\n{a}"),
            5,
            "api_key stands beside [[provider.credential]]",
            "a name of its own",
        ),
        (
            format!("{url}{a}weight = 0\n"),
            8,
            "credential \"a\": weight 0 is out of range",
            "from 1 to 1000",
        ),
        (
            format!("{url}{a}weight = 5000\n"),
            8,
            "weight 5000 is out of range",
            "from 1 to 1000",
        ),
        (
            format!("{url}{a}{a}"),
            9,
            "credential \"a\": the name is taken",
            "a name of its own",
        ),
        (
            format!("{url}[[provider.credential]]\nname = \"a b\"\napi_key = \"file:a.key\"\n"),
            6,
            "unfit name",
            "letters, digits",
        ),
        (
            format!("{url}[[provider.credential]]\nname = \"a\"\n"),
            5,
            "api_key is missing",
            "env:NAME",
        ),
        (
            format!("{url}[[provider.credential]]\nname = \"a\"\napi_key = \"sk-secret\"\n"),
            7,
            "api_key must not hold the secret itself",
            "env:NAME",
        ),
        (
            format!("{url}[[provider.credential]]\napi_key = \"file:a.key\"\n"),
            5,
            "name is missing",
            "",
        ),
        (
            format!("{url}{a}wieght = 2\n"),
            8,
            "unknown key \"wieght\"",
            "did you mean \"weight\"",
        ),
        (
            format!("{url}{}", place(&at("x", "http://127.0.0.1:2"))),
            4,
            "base_url stands beside [[provider.deployment]]",
            "a name of its own",
        ),
        (
            place("name = \"x\"\n"),
            4,
            "base_url is missing",
            "write base_url",
        ),
        (
            place(&at("x", "ftp://h")),
            6,
            "base_url is not an address",
            "http://HOST:PORT",
        ),
        (
            place(&format!("{}models = [1]\n", at("x", "http://127.0.0.1:2"))),
            7,
            "models must be a table of strings",
            "",
        ),
        (
            format!(
                "{}{}",
                place(&at("x", "http://127.0.0.1:2")),
                place(&at("y", "https://example.com"))
            ),
            4,
            "some of its deployments are on this machine",
            "two providers",
        ),
        (
            format!("{url}{many}"),
            5,
            "make 65 pairs; 64 are the most",
            "two providers",
        ),
    ] {
        let all = complaints(&provider);
        let place = format!("flyball.toml:{line}: ");
        let found = all.iter().any(|complaint| {
            complaint.contains(&place) && complaint.contains(says) && complaint.contains(advises)
        });
        assert!(found, "{says}, line {line}: {all:#?}");
        assert!(all.iter().all(|complaint| !complaint.contains("sk-secret")));
    }
}

#[test]
fn what_is_right_is_taken() {
    let url = "base_url = \"http://127.0.0.1:1\"\n";
    let place = "[[provider.deployment]]\nname = \"x\"\nbase_url = \"http://127.0.0.1:2/openai\"\napi_key = \"file:b.key\"\nweight = 3\nmodels = { m = \"n\" }\n";
    for provider in [
        url.to_owned(),
        format!("{url}{}{}weight = 1000\n", credential("a"), credential("b")),
        format!("{}{place}", credential("a")),
        format!("balance = \"weighted\"\nheadroom_min_percent = 0\n{place}"),
    ] {
        assert_eq!(complaints(&provider), [""; 0], "{provider}");
    }
}
