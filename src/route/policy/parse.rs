//! From rule files to rules, with every mistake told. Opens nothing.

use super::{DEFAULT, Efforts, Route, Rule, Span, Target, When, default_rule};
use crate::arm::{Effort, Objective, Tier};
use crate::classify::Task;
use crate::fleet::{Fleet, split_arm};
use crate::private::Class;
use crate::reader::{Complaint, Page, Table, Word, suggest};
use std::collections::BTreeMap;

/// The longest name, in bytes: it is a metric label and a response header.
const NAME_BYTES_MAX: usize = 40;

/// Reads rule files, each a (name, text), in this order; the default rule comes last. With a fleet,
/// the models that rules name must exist and take the efforts asked of them.
///
/// # Errors
/// Every mistake in every file.
pub fn parse(
    files: &[(String, String)],
    fleet: Option<&Fleet>,
) -> Result<Vec<Rule>, Vec<Complaint>> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut complaints = Vec::new();
    let mut places = BTreeMap::from([(DEFAULT.to_owned(), "the built-in rules".to_owned())]);
    for (file, text) in files {
        let page = Page::new(file, text);
        if let Some(tree) = page.parse() {
            let top = Table::top(&page, &tree);
            for table in top.tables("rule") {
                rules.extend(rule(table, file, fleet, &mut places));
            }
            top.finish();
        }
        complaints.extend(page.complaints());
    }
    if !complaints.is_empty() {
        return Err(complaints);
    }
    rules.push(default_rule());
    Ok(rules)
}

fn rule(
    mut table: Table<'_>,
    file: &str,
    fleet: Option<&Fleet>,
    places: &mut BTreeMap<String, String>,
) -> Option<Rule> {
    let name = name(&table, file, places);
    if let Some(name) = &name {
        table.call(format!("rule \"{name}\""));
    }
    let why = table.needed("why").map(str::to_owned);
    let when = table.table("when").map(when).unwrap_or_default();
    let route = match table.table("route") {
        Some(inside) => route(inside, fleet),
        None if table.has("route") => None,
        None => {
            let help = Some("write route = { tier = \"standard\" }".to_owned());
            table.complain("route", "route is missing", help);
            None
        }
    };
    let examples = table.words("examples").unwrap_or_default();
    let line = table.line;
    table.finish();
    Some(Rule {
        name: name?,
        why: why?,
        when,
        route: route?,
        examples: examples.into_iter().map(|w| w.text).collect(),
        file: file.to_owned(),
        line,
    })
}

fn name(table: &Table<'_>, file: &str, places: &mut BTreeMap<String, String>) -> Option<String> {
    let name = table.needed("name")?.to_owned();
    let plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b' ' | b'-');
    if name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
        let help = format!("use at most {NAME_BYTES_MAX} of a-z, 0-9, space and -");
        table.complain("name", format_args!("unfit rule name {name:?}"), Some(help));
    } else if let Some(place) = places.get(&name) {
        let text = format!("rule \"{name}\": the name is taken in {place}");
        table.complain("name", text, Some("choose another".to_owned()));
    }
    let place = format!("{file}:{}", table.line_of("name"));
    places.entry(name.clone()).or_insert(place);
    Some(name)
}

fn when(table: Table<'_>) -> When {
    let tasks: Vec<(&'static str, Task)> = Task::ALL.into_iter().map(|t| (t.name(), t)).collect();
    let strings = |words: Option<Vec<Word>>| -> Vec<String> {
        words.into_iter().flatten().map(|w| w.text).collect()
    };
    let when = When {
        task: table.choices("task", "task", &tasks),
        difficulty: span(&table, "difficulty", share),
        confidence: span(&table, "confidence", share),
        gain: span(&table, "gain", signed_share),
        tokens: span(&table, "tokens", whole),
        tools: table.flag("tools"),
        structured: table.flag("structured"),
        images: table.flag("images"),
        turns: span(&table, "turns", whole),
        cap_used: span(&table, "cap_used", whole),
        model: strings(table.words("model")),
        tag: table.pairs("tag"),
        header: lower_names(table.pairs("header")),
        key: strings(table.words("key")),
        objective: table.choices(
            "objective",
            "objective",
            &Objective::ALL.map(|o| (o.name(), o)),
        ),
        private: table
            .choice("privacy", "privacy", &[("local", true)])
            .is_some(),
        detected: table
            .choices("detected", "class", &Class::ALL.map(|c| (c.name(), c)))
            .into_iter()
            .collect(),
    };
    table.finish();
    when
}

fn lower_names(pairs: Vec<(String, String)>) -> Vec<(String, String)> {
    let lower = |(name, value): (String, String)| (name.to_ascii_lowercase(), value);
    pairs.into_iter().map(lower).collect()
}

/// A number from 0 to 1.
fn share(text: &str) -> Option<f64> {
    text.parse().ok().filter(|n| (0.0..=1.0).contains(n))
}

/// A number from -1 to 1.
fn signed_share(text: &str) -> Option<f64> {
    text.parse().ok().filter(|n| (-1.0..=1.0).contains(n))
}

fn whole(text: &str) -> Option<u64> {
    text.parse().ok()
}

fn span<T: PartialOrd + Copy>(
    table: &Table<'_>,
    key: &'static str,
    read: fn(&str) -> Option<T>,
) -> Option<Span<T>> {
    let text = table.text(key)?;
    let end = |text: &str| match text.trim() {
        "" => Some(None),
        text => read(text).map(Some),
    };
    let ends = text.split_once("..").map(|(a, b)| (end(a), end(b)));
    match ends {
        Some((Some(from), Some(to))) if from.is_some() || to.is_some() => {
            if from.zip(to).is_none_or(|(from, to)| from < to) {
                return Some(Span { from, to });
            }
            let help = Some("the second number is the first that lies outside".to_owned());
            table.complain(key, format_args!("{key} \"{text}\" holds nothing"), help);
        }
        _ => {
            let example = if matches!(key, "tokens" | "turns" | "cap_used") {
                "\"3..\" or \"..4000\""
            } else {
                "\"0.5..\" or \"..0.3\", from 0 to 1"
            };
            let help = Some(format!("write a range like {example}"));
            table.complain(key, format_args!("{key} \"{text}\" is not a range"), help);
        }
    }
    None
}

fn route(table: Table<'_>, fleet: Option<&Fleet>) -> Option<Route> {
    let tier = table.choice("tier", "tier", &Tier::ALL.map(|t| (t.name(), t)));
    let arm = table
        .text("arm")
        .and_then(|text| arm(&table, text, table.line_of("arm"), fleet));
    let within = within(&table);
    let effort = efforts(&table);
    let floor = table.number("floor").filter(|floor| {
        let share = (0.0..=1.0).contains(floor);
        if !share {
            let help = Some("write a share like 0.95".to_owned());
            table.complain(
                "floor",
                format_args!("floor {floor} is not from 0 to 1"),
                help,
            );
        }
        share
    });
    let never = table.words("never").unwrap_or_default();
    let bounds = ["least", "most"].iter().any(|key| table.has(key));
    let targets = [table.has("tier"), table.has("arm"), bounds];
    if targets.iter().filter(|there| **there).count() > 1 {
        let help = Some("write a tier, an arm, or least and most".to_owned());
        table.complain(
            "arm",
            "a route goes to one tier or one arm, or stays within tiers",
            help,
        );
    }
    let probe = table.flag("probe");
    let says = [
        "tier", "arm", "least", "most", "effort", "floor", "probe", "never", "cache",
    ];
    if !says.iter().any(|key| table.has(key)) {
        let help = Some(
            "write a tier, an arm, or bounds: least, most, effort, floor, probe, never; or cache"
                .to_owned(),
        );
        table.complain("tier", "the route says nothing", help);
    }
    if effort.is_some() && matches!(arm, Some(Target::Arm(_, Some(_)))) {
        table.complain("effort", "the arm has an effort already", None);
    }
    let strict = table.flag("strict").unwrap_or(false);
    let cache = table.flag("cache").unwrap_or(false);
    let fallback = table.words("fallback").unwrap_or_default();
    let fallback = fallback
        .iter()
        .filter_map(|w| match Tier::parse(&w.text) {
            Some(tier) => Some(Target::Tier(tier)),
            None => self::arm(&table, &w.text, w.line, fleet),
        })
        .collect();
    let open = within.filter(|_| !table.has("tier") && !table.has("arm"));
    table.finish();
    Some(Route {
        to: arm.or(tier.map(Target::Tier)).or(open)?,
        effort,
        floor,
        probe,
        never: never.into_iter().map(|word| word.text).collect(),
        strict,
        cache,
        fallback,
    })
}

/// The tiers from `least` to `most`; an end that is not said is open.
fn within(table: &Table<'_>) -> Option<Target> {
    let tiers = Tier::ALL.map(|t| (t.name(), t));
    let end = |key, open| match table.has(key) {
        true => table.choice(key, "tier", &tiers),
        false => Some(open),
    };
    let (least, most) = (end("least", Tier::Local)?, end("most", Tier::Reasoning)?);
    if least > most {
        let help = Some("least names the cheaper tier".to_owned());
        table.complain(
            "least",
            format_args!("no tier lies from {least} to {most}"),
            help,
        );
        return None;
    }
    Some(Target::Within(least, most))
}

fn arm(table: &Table<'_>, text: &str, line: usize, fleet: Option<&Fleet>) -> Option<Target> {
    let Some(fleet) = fleet else {
        let (model, effort) = split_arm(text);
        return Some(Target::Arm(model.to_owned(), effort));
    };
    match fleet.arm(text) {
        Some(arm) => Some(Target::Arm(arm.model.name.clone(), arm.effort)),
        None => {
            let (text, help) = no_arm(fleet, text);
            table.complain_at(line, text, help);
            None
        }
    }
}

/// Why the fleet has no such arm, and advice.
#[must_use]
pub fn no_arm(fleet: &Fleet, text: &str) -> (String, Option<String>) {
    let names = || fleet.models.iter().map(|m| m.name.as_str());
    let (name, effort) = split_arm(text);
    if let (Some(model), Some(effort)) = (fleet.named(name), effort) {
        let taken: Vec<&str> = model.accepts.efforts.iter().map(|e| e.name()).collect();
        let help = match taken.is_empty() {
            true => "leave the effort out".to_owned(),
            false => format!("it takes {}", taken.join(", ")),
        };
        return (
            format!("\"{name}\" does not take effort \"{effort}\""),
            Some(help),
        );
    }
    // `haiku@hot`: the model is right and what follows is no effort.
    if let Some((model, wrong)) = text
        .rsplit_once('@')
        .filter(|(m, _)| fleet.named(m).is_some())
    {
        let help = suggest(wrong, Effort::ALL.iter().map(|e| e.name()));
        return (format!("unknown effort \"{wrong}\" for \"{model}\""), help);
    }
    (format!("unknown model \"{name}\""), suggest(name, names()))
}

/// One effort, or `least..most` with both included: unlike numbers, efforts have names for their ends.
fn efforts(table: &Table<'_>) -> Option<Efforts> {
    let text = table.text("effort")?;
    let names = Effort::ALL.map(|e| (e.name(), e));
    let line = table.line_of("effort");
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    let least = table.choose("effort", least.trim(), line, &names);
    let most = match text.contains("..") {
        true => table.choose("effort", most.trim(), line, &names),
        false => least,
    };
    let efforts = Efforts {
        least: least?,
        most: most?,
    };
    if efforts.least > efforts.most {
        let help = Some("write the weaker effort first".to_owned());
        table.complain(
            "effort",
            format_args!("effort \"{text}\" holds nothing"),
            help,
        );
        return None;
    }
    Some(efforts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effort::Accepts;
    use crate::fleet::Model;
    use crate::provider::channel::Channel;
    use crate::provider::{self, Provider};
    use std::sync::Arc;

    fn fleet() -> Fleet {
        let provider = Arc::new(Provider::new(
            "anthropic",
            &provider::anthropic::KIND,
            Channel::only("http://127.0.0.1:0", None),
        ));
        let model = Model {
            name: "haiku".to_owned(),
            provider: Arc::clone(&provider),
            tier: Tier::Small,
            accepts: Accepts::listed(vec![Effort::Low, Effort::High]),
            price: None,
            context_tokens: None,
            answer_tokens_max: None,
            local: false,
            simulated: false,
            media: Default::default(),
            senses: Default::default(),
            ability: Default::default(),
            embeds: false,
            logprobs: false,
            takes: Default::default(),
        };
        Fleet {
            models: vec![Arc::new(model)],
            providers: vec![provider],
        }
    }

    fn one(body: &str) -> Result<Rule, Vec<String>> {
        let text = format!("[[rule]]\nname = \"a\"\nwhy = \"w\"\n{body}");
        let told = |all: Vec<Complaint>| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        let rules = parse(&[("r.toml".to_owned(), text)], Some(&fleet())).map_err(told)?;
        Ok(rules.into_iter().next().expect("one rule and the default"))
    }

    #[test]
    fn a_route_is_a_tier_or_an_arm_with_one_effort_or_a_range() {
        let arm = |e| Target::Arm("haiku".to_owned(), e);
        let efforts = |least, most| Some(Efforts { least, most });
        for (route, to, effort) in [
            ("tier = \"small\"", Target::Tier(Tier::Small), None),
            (
                "tier = \"small\", effort = \"low\"",
                Target::Tier(Tier::Small),
                efforts(Effort::Low, Effort::Low),
            ),
            (
                "tier = \"small\", effort = \"low..high\"",
                Target::Tier(Tier::Small),
                efforts(Effort::Low, Effort::High),
            ),
            ("arm = \"haiku\"", arm(None), None),
            ("arm = \"haiku@high\"", arm(Some(Effort::High)), None),
        ] {
            let rule = one(&format!("route = {{ {route} }}")).unwrap_or_else(|t| panic!("{t:?}"));
            assert_eq!((rule.route.to, rule.route.effort), (to, effort), "{route}");
        }
        let rule = one("route = { tier = \"reasoning\", strict = true, fallback = [\"standard\", \"haiku@low\"] }").expect("a good rule");
        assert!(rule.route.strict);
        let second = Target::Arm("haiku".to_owned(), Some(Effort::Low));
        assert_eq!(rule.route.fallback, [Target::Tier(Tier::Standard), second]);
        assert_eq!((rule.file.as_str(), rule.line), ("r.toml", 1));
    }

    #[test]
    fn a_mistake_names_file_line_rule_and_what_was_meant() {
        let tier = "route = { tier = \"small\" }";
        for (body, told) in [
            (
                "route = { arm = \"haikuu\" }",
                "r.toml:4: rule \"a\": unknown model \"haikuu\"; did you mean \"haiku\"?",
            ),
            (
                "route = { arm = \"haiku@max\" }",
                "r.toml:4: rule \"a\": \"haiku\" does not take effort \"max\"; it takes low, high",
            ),
            (
                "route = { arm = \"haiku@hihg\" }",
                "r.toml:4: rule \"a\": unknown effort \"hihg\" for \"haiku\"; did you mean \"high\"?",
            ),
            (
                "route = { tier = \"smal\" }",
                "r.toml:4: rule \"a\": unknown tier \"smal\"; did you mean \"small\"?",
            ),
            (
                "route = { tier = \"small\", effort = \"high..low\" }",
                "r.toml:4: rule \"a\": effort \"high..low\" holds nothing; write the weaker effort first",
            ),
            (
                "route = { tier = \"small\", arm = \"haiku\" }",
                "r.toml:4: rule \"a\": a route goes to one tier or one arm, or stays within tiers; write a tier, an arm, or least and most",
            ),
            (
                "",
                "r.toml:1: rule \"a\": route is missing; write route = { tier = \"standard\" }",
            ),
            (
                &*format!("{tier}\nexample = [\"x\"]"),
                "r.toml:5: rule \"a\": unknown key \"example\"; did you mean \"examples\"?",
            ),
            (
                &*format!("when = {{ tokens = \"10..10\" }}\n{tier}"),
                "r.toml:4: rule \"a\": tokens \"10..10\" holds nothing; the second number is the first that lies outside",
            ),
            (
                &*format!("when = {{ turns = \"..\" }}\n{tier}"),
                "r.toml:4: rule \"a\": turns \"..\" is not a range; write a range like \"3..\" or \"..4000\"",
            ),
            (
                &*format!("when = {{ difficulty = \"5..\" }}\n{tier}"),
                "r.toml:4: rule \"a\": difficulty \"5..\" is not a range; write a range like \"0.5..\" or \"..0.3\", from 0 to 1",
            ),
            (
                &*format!("when = {{ objective = \"fats\" }}\n{tier}"),
                "r.toml:4: rule \"a\": unknown objective \"fats\"; did you mean \"fast\"?",
            ),
        ] {
            assert_eq!(one(body), Err(vec![told.to_owned()]), "{body}");
        }
    }

    #[test]
    fn names_are_plain_and_unique_over_all_files() {
        let file = |name: &str, rule: &str| {
            let text =
                format!("[[rule]]\nname = {rule:?}\nwhy = \"w\"\nroute = {{ tier = \"small\" }}\n");
            (name.to_owned(), text)
        };
        let long = "x".repeat(41);
        let files = [
            file("a.toml", "one"),
            file("b.toml", "one"),
            file("c.toml", "Two"),
            file("d.toml", &long),
            file("e.toml", DEFAULT),
        ];
        let told = parse(&files, None).expect_err("four bad names");
        let told: Vec<String> = told.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 4, "{told:?}");
        assert_eq!(
            told[0],
            "b.toml:2: rule \"one\": the name is taken in a.toml:2; choose another"
        );
        assert!(told[1].starts_with("c.toml:2: unfit rule name \"Two\""));
        assert!(told[2].starts_with("d.toml:2: unfit rule name"));
        assert!(told[3].starts_with("e.toml:2: rule \"default\": the name is taken"));
    }
}
