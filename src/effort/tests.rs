use super::*;

const CHAT: &str = "openai_chat";
const MESSAGES: &str = "anthropic_messages";

fn fields(body: &str) -> Object<'_> {
    Object::read(body.as_bytes()).expect("a valid body")
}

fn words(dialect: &str) -> &'static dyn Words {
    crate::dialect::named(dialect)
        .expect("a dialect of this name")
        .effort()
}

fn asked(dialect: &str, fields: &Object<'_>) -> Option<Effort> {
    words(dialect).asked(fields)
}

fn limit_field(family: Family, model: &str, dialect: &str, asked: &Object<'_>) -> &'static str {
    words(dialect).limit_field(family, &accepts(family, model), asked)
}

fn write(
    family: Family,
    model: &str,
    dialect: &str,
    wanted: Effort,
    asked: &Object<'_>,
    limit_tokens: Option<u64>,
    anthropic_version: Option<&str>,
) -> Written {
    let target = Target {
        family,
        model,
        words: words(dialect),
        asked,
        limit_tokens,
        version: anthropic_version,
    };
    write_as(&target, &accepts(family, model), wanted)
}

/// The body after the edits, what was removed, and the effort really asked for.
fn written(
    family: Family,
    model: &str,
    dialect: &str,
    wanted: Effort,
    body: &str,
) -> (String, Written) {
    let asked = fields(body);
    let written = write(family, model, dialect, wanted, &asked, None, None);
    let after = asked
        .edited(&written.edits)
        .unwrap_or_else(|| body.to_owned());
    (after, written)
}

type Golden = (
    Family,
    &'static str,
    Effort,
    &'static str,
    &'static str,
    Effort,
);

fn check(dialect: &str, rows: &[Golden]) {
    for (family, model, wanted, body, expected, effort) in rows {
        let (after, written) = written(*family, model, dialect, *wanted, body);
        let case = format!("{} {model} {wanted}: {body}", family.name());
        assert_eq!(after, *expected, "{case}");
        assert_eq!(written.effort, *effort, "{case}");
    }
}

#[test]
#[rustfmt::skip]
fn openai_models_get_their_own_effort_and_limit_field() {
    use Effort::{High, Low, Max, Medium, Minimal, None, Xhigh};
    use Family::OpenAi;
    check(
        CHAT,
        &[
            (OpenAi, "gpt-5.6-sol", High, r#"{"a":1}"#, r#"{"reasoning_effort":"high","a":1}"#, High),
            (OpenAi, "gpt-5.6-sol", None, r#"{"a":1}"#, r#"{"reasoning_effort":"none","a":1}"#, None),
            // gpt-5.4 does not think unless told: silence is off already.
            (OpenAi, "gpt-5.4", None, r#"{"temperature": 0}"#, r#"{"temperature": 0}"#, None),
            (OpenAi, "gpt-5.4", None, r#"{"reasoning_effort":"high"}"#, r#"{"reasoning_effort":"none"}"#, None),
            (OpenAi, "gpt-5.4", Max, r#"{"reasoning_effort":"low"}"#, r#"{"reasoning_effort":"xhigh"}"#, Xhigh),
            (OpenAi, "gpt-5.4", High, r#"{"tools":[{"type":"function"}]}"#, r#"{"tools":[{"type":"function"}]}"#, None),
            (OpenAi, "gpt-5.6", High, r#"{"tools":[{}]}"#, r#"{"reasoning_effort":"none","tools":[{}]}"#, None),
            (OpenAi, "gpt-5.6", High, r#"{"tools":[ ]}"#, r#"{"reasoning_effort":"high","tools":[ ]}"#, High),
            (OpenAi, "gpt-6-astra", High, r#"{"tools":[{}]}"#, r#"{"reasoning_effort":"high","tools":[{}]}"#, High),
            (OpenAi, "gpt-5-mini", Minimal, r#"{"reasoning_effort":null}"#, r#"{"reasoning_effort":"minimal"}"#, Minimal),
            (OpenAi, "gpt-5-pro", None, "{}", r#"{"reasoning_effort":"high"}"#, High),
            (OpenAi, "gpt-5.3-chat-latest", Max, "{}", r#"{"reasoning_effort":"medium"}"#, Medium),
            (OpenAi, "gpt-5.1-codex", Xhigh, "{}", r#"{"reasoning_effort":"high"}"#, High),
            (OpenAi, "o3", None, r#"{"model":"o3","temperature":1,"top_p": 0.5,"logprobs":true,"max_tokens":1e3}"#, r#"{"reasoning_effort":"low","max_completion_tokens":1e3,"model":"o3"}"#, Low),
            (OpenAi, "gpt-4o", High, r#"{"max_tokens":9,"reasoning_effort":"high"}"#, r#"{"max_tokens":9}"#, None),
            (OpenAi, "gpt-5-chat-latest", None, r#"{"top_p":1}"#, r#"{"top_p":1}"#, None),
            (OpenAi, "gpt-5.6", None, r#"{"max_tokens":9,"max_completion_tokens":5}"#, r#"{"reasoning_effort":"none","max_completion_tokens":5}"#, None),
            (OpenAi, "gpt-5.6", None, r#"{"max_tokens":4,"max_completion_tokens":5}"#, r#"{"reasoning_effort":"none","max_completion_tokens":4}"#, None),
            (OpenAi, "gpt-9", Max, r#"{"temperature":1}"#, r#"{"reasoning_effort":"max"}"#, Max),
            (OpenAi, "gpt-9", None, r#"{"temperature":1,"reasoning_effort":"low"}"#, r#"{"temperature":1}"#, None),
        ],
    );
}

#[test]
#[rustfmt::skip]
fn other_chat_providers_get_their_own_words() {
    use Effort::{High, Low, Max, Medium, Minimal, None, Xhigh};
    use Family::{
        Compatible, DeepSeek, Gemini, Groq, LlamaCpp, LmStudio, Mistral, Ollama, OpenRouter,
        Simulated, Vllm, Xai,
    };
    check(
        CHAT,
        &[
            (Gemini, "gemini-2.5-pro", None, "{}", r#"{"reasoning_effort":"low"}"#, Low),
            (Gemini, "gemini-2.5-flash", None, "{}", r#"{"reasoning_effort":"none"}"#, None),
            (Gemini, "gemini-3.8-flash", Minimal, "{}", r#"{"reasoning_effort":"low"}"#, Low),
            (Gemini, "gemini-2.0-flash", High, r#"{"reasoning_effort":"low"}"#, "{}", None),
            (Gemini, "gemini-3.5-flash", High, r#"{"extra_body":{"google":{"thinking_config":{"include_thoughts":true,"thinking_level":"low"},"x":1}}}"#, r#"{"reasoning_effort":"high","extra_body":{"google":{"thinking_config":{"include_thoughts":true},"x":1}}}"#, High),
            (DeepSeek, "deepseek-v4-pro", Medium, "{}", r#"{"reasoning_effort":"high","thinking":{"type":"enabled"}}"#, High),
            (DeepSeek, "deepseek-flash", None, r#"{"reasoning_effort":"max","thinking":{"k":1,"type":"enabled"},"max_completion_tokens":7}"#, r#"{"max_tokens":7,"thinking":{"k":1,"type":"disabled"}}"#, None),
            (Xai, "grok-4.7", Max, r#"{"temperature":1}"#, r#"{"reasoning_effort":"xhigh","temperature":1}"#, Xhigh),
            (Xai, "grok-3-mini-fast", Medium, "{}", r#"{"reasoning_effort":"low"}"#, Low),
            (Xai, "grok-4.20-0309-reasoning", High, r#"{"reasoning_effort":"high"}"#, "{}", Medium),
            (Xai, "grok-4.20-0309-non-reasoning", High, r#"{"reasoning_effort":"high"}"#, "{}", None),
            (Groq, "qwen/qwen3.8-27b", High, "{}", r#"{"reasoning_effort":"default"}"#, Medium),
            (Groq, "qwen/qwen3.8-27b", None, "{}", r#"{"reasoning_effort":"none"}"#, None),
            (Groq, "openai/gpt-oss-20b", None, "{}", r#"{"reasoning_effort":"low"}"#, Low),
            (Mistral, "mistral-medium-latest", Low, "{}", r#"{"reasoning_effort":"high"}"#, High),
            (Mistral, "magistral-medium-latest", High, r#"{"reasoning_effort":"high","x":1}"#, r#"{"x":1}"#, Medium),
            (OpenRouter, "openai/gpt-5.4", Max, r#"{"reasoning":{"max_tokens":9,"exclude":true},"reasoning_effort":"low"}"#, r#"{"reasoning":{"effort":"xhigh","exclude":true}}"#, Xhigh),
            (OpenRouter, "x/y", None, "{}", r#"{"reasoning":{"effort":"none"}}"#, None),
            (Ollama, "qwen3:8b", Xhigh, "{}", r#"{"reasoning_effort":"max"}"#, Max),
            (Ollama, "gpt-oss:20b", None, "{}", r#"{"reasoning_effort":"low"}"#, Low),
            (LlamaCpp, "any", None, "{}", r#"{"chat_template_kwargs":{"enable_thinking":false},"reasoning_effort":"none"}"#, None),
            (LlamaCpp, "any", High, r#"{"chat_template_kwargs":{"enable_thinking":false}}"#, r#"{"reasoning_effort":"high","chat_template_kwargs":{"enable_thinking":true}}"#, High),
            (LmStudio, "qwen3-4b", Max, "{}", r#"{"reasoning_effort":"xhigh"}"#, Xhigh),
            (Vllm, "Qwen/Qwen3-8B", None, r#"{"reasoning_effort":"low"}"#, r#"{"chat_template_kwargs":{"enable_thinking":false}}"#, None),
            (Vllm, "ibm-granite/granite-3.3-8b", High, "{}", r#"{"chat_template_kwargs":{"thinking":true}}"#, Medium),
            (Vllm, "ibm-granite/granite-3.3-8b", None, "{}", "{}", None),
            (Vllm, "openai/gpt-oss-20b", High, "{}", r#"{"reasoning_effort":"high"}"#, High),
            (Compatible, "any", None, r#"{"reasoning_effort":"low"}"#, "{}", None),
            (Simulated, "sim-standard", Max, "{}", r#"{"reasoning_effort":"high"}"#, High),
            (Simulated, "sim-reasoning", None, "{}", r#"{"reasoning_effort":"low"}"#, Low),
            (Simulated, "sim-small", High, "{}", "{}", None),
        ],
    );
}

#[test]
#[rustfmt::skip]
fn anthropic_models_get_the_thinking_that_they_take() {
    use Effort::{High, Low, Max, Medium, None, Xhigh};
    use Family::{Anthropic, DeepSeek, LlamaCpp, Ollama, Simulated};
    check(
        MESSAGES,
        &[
            (Anthropic, "claude-opus-5", High, r#"{"a":1}"#, r#"{"output_config":{"effort":"high"},"thinking":{"type":"adaptive"},"a":1}"#, High),
            (Anthropic, "claude-opus-5", None, "{}", r#"{"thinking":{"type":"disabled"}}"#, None),
            (Anthropic, "claude-opus-5", None, r#"{"thinking":{"type":"adaptive","display":"summarized"},"output_config":{"effort":"max"}}"#, r#"{"thinking":{"type":"disabled"},"output_config":{"effort":"high"}}"#, None),
            (Anthropic, "claude-haiku-5-5", Low, r#"{"thinking":{"type":"enabled","budget_tokens":2000,"display":"omitted"},"output_config":{"format":{}}}"#, r#"{"thinking":{"type":"adaptive","display":"omitted"},"output_config":{"effort":"low","format":{}}}"#, Low),
            (Anthropic, "claude-sonnet-5-5", None, r#"{"thinking":{"type":"adaptive","display":"omitted"}}"#, r#"{"thinking":{"type":"between_tools","display":"omitted"}}"#, None),
            (Anthropic, "claude-sonnet-5-5", Max, r#"{"tool_choice":{"type":"any"},"output_config":{"effort":"xhigh"}}"#, r#"{"thinking":{"type":"between_tools"},"tool_choice":{"type":"any"},"output_config":{"effort":"high"}}"#, None),
            (Anthropic, "claude-sonnet-5-5", Max, r#"{"tool_choice":{"type":"auto"}}"#, r#"{"output_config":{"effort":"max"},"thinking":{"type":"adaptive"},"tool_choice":{"type":"auto"}}"#, Max),
            (Anthropic, "claude-opus-5-5", None, "{}", r#"{"output_config":{"effort":"low"}}"#, Low),
            (Anthropic, "claude-opus-5-5", High, r#"{"thinking":{"type":"disabled"},"temperature":0}"#, r#"{"output_config":{"effort":"high"},"thinking":{"type":"adaptive"}}"#, High),
            (Anthropic, "claude-opus-5-5", High, r#"{"tool_choice":{"type":"tool","name":"t"}}"#, r#"{"output_config":{"effort":"low"},"tool_choice":{"type":"tool","name":"t"}}"#, Low),
            (Anthropic, "claude-mythos-preview", Xhigh, "{}", r#"{"output_config":{"effort":"high"}}"#, High),
            (Anthropic, "claude-opus-4-8", None, r#"{"top_k":3}"#, "{}", None),
            (Anthropic, "claude-sonnet-4-6", Xhigh, r#"{"temperature":0}"#, r#"{"output_config":{"effort":"high"},"thinking":{"type":"adaptive"}}"#, High),
            (Anthropic, "claude-sonnet-4-6", None, r#"{"temperature":0}"#, r#"{"temperature":0}"#, None),
            (Anthropic, "claude-opus-4-5-20251101", Medium, r#"{"max_tokens":32000}"#, r#"{"output_config":{"effort":"medium"},"thinking":{"budget_tokens":8192,"type":"enabled"},"max_tokens":32000}"#, Medium),
            (Anthropic, "claude-haiku-4-5", High, r#"{"max_tokens":4000,"temperature":0.2,"output_config":{"effort":"low"}}"#, r#"{"thinking":{"budget_tokens":3000,"type":"enabled"},"max_tokens":4000}"#, High),
            (Anthropic, "claude-haiku-4-5", High, r#"{"max_tokens":1300,"temperature":0}"#, r#"{"max_tokens":1300,"temperature":0}"#, None),
            (Anthropic, "claude-sonnet-4-20250514", High, r#"{"thinking":{"type":"enabled","budget_tokens":9},"tool_choice":{"type":"any"},"max_tokens":64000}"#, r#"{"thinking":{"type":"disabled"},"tool_choice":{"type":"any"},"max_tokens":64000}"#, None),
            (Anthropic, "claude-3-5-haiku-latest", High, r#"{"thinking":{"type":"adaptive"},"temperature":0}"#, r#"{"temperature":0}"#, None),
            (Anthropic, "claude-zeta-9", High, "{}", r#"{"output_config":{"effort":"high"},"thinking":{"type":"adaptive"}}"#, High),
            (DeepSeek, "deepseek-v4-pro", Low, "{}", r#"{"output_config":{"effort":"low"},"thinking":{"type":"enabled"}}"#, Low),
            (Ollama, "qwen3:8b", None, "{}", r#"{"thinking":{"type":"disabled"}}"#, None),
            (LlamaCpp, "any", High, r#"{"thinking":{"type":"disabled"}}"#, r#"{"thinking":{"type":"enabled"}}"#, High),
            (Simulated, "sim-standard", High, "{}", r#"{"output_config":{"effort":"high"},"thinking":{"type":"adaptive"}}"#, High),
            (Simulated, "sim-reasoning", None, r#"{"thinking":{"type":"disabled"}}"#, r#"{"output_config":{"effort":"low"},"thinking":{"type":"adaptive"}}"#, Low),
            (Simulated, "sim-small", Max, r#"{"top_k":1}"#, r#"{"top_k":1}"#, None),
        ],
    );
}

#[test]
fn removed_fields_are_named_and_renamed_ones_are_not() {
    let body = r#"{"temperature":0,"top_p":null,"logit_bias":{},"max_tokens":5}"#;
    let (_, written) = written(Family::OpenAi, "o3", CHAT, Effort::High, body);
    assert_eq!(written.removed, ["temperature", "logit_bias"]);
    assert_eq!(written.reasoning_allowance, 16_384);
    assert_eq!(written.least_reasoning_tokens, 1_024);
}

#[test]
fn the_newest_anthropic_version_takes_sampling_from_every_model() {
    let body = r#"{"temperature":1,"top_p":1,"top_k":1}"#;
    let asked = fields(body);
    for (version, removed) in [(None, 0), (Some("2023-06-01"), 0), (Some("2026-10-21"), 3)] {
        for model in ["claude-3-haiku", "claude-opus-4-6", "claude-unknown"] {
            let off = write(
                Family::Anthropic,
                model,
                MESSAGES,
                Effort::None,
                &asked,
                None,
                version,
            );
            assert_eq!(off.removed.len(), removed, "{model} {version:?}");
            assert_eq!(off.least_reasoning_tokens, 0);
            assert_eq!(off.reasoning_allowance, 0);
        }
    }
}

#[test]
fn a_budget_fits_the_smaller_of_both_limits() {
    let asked = fields(r#"{"max_tokens":50000}"#);
    for (limit, budget) in [
        (None, 16_384),
        (Some(8_000), 6_000),
        (Some(1_366), 1_024),
        (Some(1_365), 0),
        (Some(90_000), 16_384),
    ] {
        let written = write(
            Family::Anthropic,
            "claude-sonnet-4-5",
            MESSAGES,
            Effort::High,
            &asked,
            limit,
            None,
        );
        assert_eq!(written.reasoning_allowance, budget, "{limit:?}");
        assert_eq!(written.effort == Effort::None, budget == 0, "{limit:?}");
    }
}

#[test]
fn the_configured_list_decides_where_the_table_is_silent() {
    let asked = fields("{}");
    let target = |model| Target {
        family: Family::Compatible,
        model,
        words: words(CHAT),
        asked: &asked,
        limit_tokens: None,
        version: None,
    };
    let listed = Accepts::listed(vec![Effort::High, Effort::Low, Effort::Low]);
    assert_eq!(listed.efforts, [Effort::Low, Effort::High]);
    let written = write_as(&target("m"), &listed, Effort::None);
    assert_eq!(
        written.edits,
        [Edit::set_text(&["reasoning_effort"], "low")]
    );
    let silent = write_as(&target("m"), &Accepts::listed(vec![]), Effort::High);
    assert_eq!((silent.edits.len(), silent.effort), (0, Effort::None));
}

#[test]
fn clamping_prefers_near_then_lower_and_keeps_a_wish_to_think() {
    use Effort::{High, Low, Max, Medium, Minimal, None, Xhigh};
    let listed = |efforts: &[Effort]| Accepts::listed(efforts.to_vec());
    for (efforts, wanted, expected) in [
        (vec![None, Low, Medium, High], Minimal, Low),
        (vec![None, Low, Medium, High], Max, High),
        (vec![Low, High], Medium, Low),
        (vec![Low, High], None, Low),
        (vec![None, High], Minimal, High),
        (vec![None], Max, None),
        (vec![], High, None),
        (vec![Minimal, High], Xhigh, High),
    ] {
        assert_eq!(
            clamp(&listed(&efforts), wanted),
            expected,
            "{efforts:?} {wanted}"
        );
    }
    assert_eq!(clamp(&Accepts::default(), Xhigh), Xhigh);
}

#[test]
fn a_client_s_own_words_are_understood() {
    use Effort::{High, Low, Max, Medium, None, Xhigh};
    for (dialect, body, expected) in [
        (CHAT, r#"{"reasoning_effort":"xhigh"}"#, Some(Xhigh)),
        (CHAT, r#"{"reasoning_effort":"default"}"#, Some(Medium)),
        (CHAT, r#"{"reasoning_effort":null}"#, Option::None),
        (CHAT, r#"{"reasoning":{"effort":"low"}}"#, Some(Low)),
        (CHAT, r#"{"reasoning":{"max_tokens":16384}}"#, Some(High)),
        (CHAT, r#"{"reasoning":{"enabled":false}}"#, Some(None)),
        (CHAT, r#"{"thinking":{"type":"disabled"}}"#, Some(None)),
        (
            CHAT,
            r#"{"chat_template_kwargs":{"enable_thinking":false}}"#,
            Some(None),
        ),
        (CHAT, r#"{"reasoning":7,"thinking":"x"}"#, Option::None),
        (MESSAGES, "{}", Option::None),
        (
            MESSAGES,
            r#"{"thinking":{"type":"disabled"},"output_config":{"effort":"low"}}"#,
            Some(None),
        ),
        (
            MESSAGES,
            r#"{"thinking":{"type":"between_tools"}}"#,
            Some(None),
        ),
        (
            MESSAGES,
            r#"{"thinking":{"type":"enabled","budget_tokens":1024}}"#,
            Some(Low),
        ),
        (
            MESSAGES,
            r#"{"thinking":{"type":"enabled","budget_tokens":8193}}"#,
            Some(High),
        ),
        (
            MESSAGES,
            r#"{"thinking":{"type":"enabled","budget_tokens":999999}}"#,
            Some(Max),
        ),
        (MESSAGES, r#"{"thinking":{"type":"adaptive"}}"#, Some(High)),
        (
            MESSAGES,
            r#"{"thinking":{"type":"adaptive"},"output_config":{"effort":"max"}}"#,
            Some(Max),
        ),
        (
            MESSAGES,
            r#"{"output_config":{"effort":"medium"}}"#,
            Some(Medium),
        ),
    ] {
        assert_eq!(asked(dialect, &fields(body)), expected, "{body}");
    }
}

#[test]
fn the_limit_is_where_the_provider_reads_it() {
    let (old, new) = (r#"{"max_tokens":1}"#, r#"{"max_completion_tokens":1}"#);
    for (family, model, body, field) in [
        (Family::OpenAi, "o3", old, "max_completion_tokens"),
        (Family::OpenAi, "gpt-4o", old, "max_tokens"),
        (Family::OpenAi, "gpt-4o", new, "max_completion_tokens"),
        (Family::DeepSeek, "deepseek-flash", new, "max_tokens"),
        (Family::Groq, "openai/gpt-oss-20b", "{}", "max_tokens"),
    ] {
        assert_eq!(
            limit_field(family, model, CHAT, &fields(body)),
            field,
            "{model} {body}"
        );
    }
    assert_eq!(
        limit_field(Family::Anthropic, "m", MESSAGES, &fields("{}")),
        "max_tokens"
    );
}

/// A model's name that the pattern matches.
fn example(pattern: &str) -> String {
    pattern.replace('*', "-x-")
}

#[test]
fn every_row_of_the_table_is_sorted_and_reached() {
    for (name, rows) in &table::table().families {
        let family = Family::ALL.into_iter().find(|f| f.name() == name);
        let family = family.unwrap_or_else(|| panic!("\"{name}\" is a family"));
        for wanted in rows {
            for pattern in &wanted.prefix {
                let found = row(family, &example(pattern)).expect("a row");
                assert!(
                    std::ptr::eq(found, wanted),
                    "{name} {pattern} is hidden by a row above"
                );
            }
            let efforts = wanted.accepts().efforts;
            assert!(
                efforts.is_sorted_by(|a, b| a < b),
                "{name} {:?}",
                wanted.prefix
            );
            for to in wanted.rounds.values() {
                assert!(efforts.contains(&to.0), "{name} {:?}", wanted.prefix);
            }
            let thinks = !efforts.is_empty();
            assert_eq!(
                wanted.thinking.is_empty(),
                !(thinks && ["anthropic", "simulated"].contains(&name.as_str()))
            );
        }
    }
}

/// What a body asks for after the edits, in the words of its provider.
fn asks(dialect: &str, body: &str) -> Option<Effort> {
    asked(dialect, &fields(body))
}

#[test]
fn whatever_is_wanted_an_accepted_effort_is_written() {
    let bodies = [
        r#"{"model":"m"}"#,
        r#"{"tools":[{}],"tool_choice":{"type":"any"},"max_tokens":20000,"temperature":0.5,"reasoning_effort":"max","thinking":{"type":"enabled","budget_tokens":2000},"output_config":{"effort":"max"}}"#,
        r#"{"max_tokens":1200,"thinking":{"type":"disabled"},"reasoning_effort":"none","reasoning":{"effort":"none"}}"#,
    ];
    let mut checked = 0;
    for (name, rows) in &table::table().families {
        let family = Family::ALL
            .into_iter()
            .find(|f| f.name() == name)
            .expect("a family");
        let dialects: &[&str] = if family == Family::Anthropic {
            &[MESSAGES]
        } else {
            &[CHAT, MESSAGES]
        };
        for pattern in rows.iter().flat_map(|row| &row.prefix) {
            let model = example(pattern);
            let accepted = accepts(family, &model);
            for (dialect, wanted, body) in dialects.iter().flat_map(|d| {
                Effort::ALL
                    .into_iter()
                    .flat_map(move |e| bodies.map(|b| (*d, e, b)))
            }) {
                let case = format!("{name} {model} {dialect} {wanted} {body}");
                let (after, written) = written(family, &model, dialect, wanted, body);
                let off = accepted.efforts.is_empty() && written.effort == Effort::None;
                assert!(off || accepted.efforts.contains(&written.effort), "{case}");
                let (again, _) = self::written(family, &model, dialect, wanted, &after);
                assert_eq!(again, after, "a second writing changes nothing: {case}");
                if let (CHAT, Some(said)) = (dialect, asks(dialect, &after)) {
                    assert_eq!(said, written.effort, "{case}: {after}");
                }
                if dialect == MESSAGES && family == Family::Anthropic {
                    legal_for_anthropic(&model, &after, &case);
                }
                checked += 1;
            }
        }
    }
    assert!(checked > 2_000, "{checked}");
}

/// The rules of the Messages API that a body must keep, read from the body alone.
fn legal_for_anthropic(model: &str, body: &str, case: &str) {
    let row = row(Family::Anthropic, model).expect("a known model");
    let object = fields(body);
    let thinking = inner(&object, "thinking");
    let kind = thinking
        .as_ref()
        .and_then(|t| t.some("type"))
        .map(|raw| raw.trim_matches('"').to_owned());
    let on = match kind.as_deref() {
        None => row.on_by_default,
        Some("adaptive" | "enabled") => true,
        Some(_) => false,
    };
    if let Some(kind) = &kind {
        assert!(
            row.thinking
                .iter()
                .any(|t| serde_json::from_str::<Thinking>(&format!("\"{kind}\""))
                    .is_ok_and(|k| k == *t)),
            "{case}: {body}"
        );
    }
    let budget = thinking
        .as_ref()
        .and_then(|t| t.some("budget_tokens"))
        .map(|raw| raw.parse::<u64>().expect("a number"));
    assert_eq!(
        budget.is_some(),
        kind.as_deref() == Some("enabled"),
        "{case}: {body}"
    );
    if let (Some(budget), Some(limit)) = (budget, object.some("max_tokens")) {
        assert!(
            (1_024..limit.parse().expect("a number")).contains(&budget),
            "{case}: {body}"
        );
    }
    let effort = inner(&object, "output_config").and_then(|c| c.some("effort").and_then(spoken));
    if let Some(effort) = effort {
        assert!(
            !row.mute && row.accepts().efforts.contains(&effort),
            "{case}: {body}"
        );
        assert!(on || effort <= Effort::High, "{case}: {body}");
    }
    assert!(
        !on && row.sampling || object.get("temperature").is_none(),
        "{case}: {body}"
    );
    let can_be_off = row.accepts().efforts.contains(&Effort::None);
    assert!(
        row.forced_tools || !can_be_off || !on || object.get("tool_choice").is_none(),
        "{case}: {body}"
    );
}
