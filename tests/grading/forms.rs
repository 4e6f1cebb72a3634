//! What is known by the form of a request: an app's housekeeping, what agents add beside the ask, follow-up questions, first words.

use super::tier;
use flyball::arm::Tier;
use flyball::classify::{self, Difficulty, Features, Plain};
use flyball::dialect;
use serde_json::{Value, json};

pub(super) fn read(dialect: &str, body: &Value) -> Features {
    let place = match dialect {
        "gemini" => dialect::Place {
            model: Some("auto".into()),
            ..dialect::Place::default()
        },
        _ => dialect::Place::default(),
    };
    let named = dialect::named(dialect).expect("a dialect");
    let body = body.to_string();
    let request = named
        .decode_at(body.as_bytes(), &place)
        .unwrap_or_else(|e| panic!("{dialect}: {} in {body}", e.public));
    classify::measure(&request.prompt)
}

pub(super) fn graded(dialect: &str, body: &Value) -> (Tier, Difficulty) {
    tier(&read(dialect, body))
}

/// A conversation in the words of OpenAI's chat: the user's and the model's turns, one after the other.
pub(super) fn talk(turns: &[&str]) -> Value {
    let role = |at: usize| {
        if at.is_multiple_of(2) {
            "user"
        } else {
            "assistant"
        }
    };
    let turns = turns.iter().enumerate();
    let messages: Vec<Value> = turns
        .map(|(at, text)| json!({"role": role(at), "content": text}))
        .collect();
    json!({"model": "auto", "messages": messages})
}

/// One text of the user with a system prompt, in every dialect.
fn in_every_dialect(system: &str, parts: &[&str]) -> Vec<(&'static str, Value)> {
    let typed = |kind: &str| -> Vec<Value> {
        parts
            .iter()
            .map(|text| json!({"type": kind, "text": text}))
            .collect()
    };
    let bare: Vec<Value> = parts.iter().map(|text| json!({"text": text})).collect();
    vec![
        (
            "openai_chat",
            json!({"model": "auto", "messages": [{"role": "system", "content": system}, {"role": "user", "content": typed("text")}]}),
        ),
        (
            "openai_responses",
            json!({"model": "auto", "instructions": system, "input": [{"role": "user", "content": typed("input_text")}]}),
        ),
        (
            "anthropic_messages",
            json!({"model": "auto", "max_tokens": 500, "system": system, "messages": [{"role": "user", "content": typed("text")}]}),
        ),
        (
            "gemini",
            json!({"systemInstruction": {"parts": [{"text": system}]}, "contents": [{"role": "user", "parts": bare}]}),
        ),
        (
            "ollama_chat",
            json!({"model": "auto", "messages": [{"role": "system", "content": system}, {"role": "user", "content": parts.join("\n")}]}),
        ),
    ]
}

const HARD: &str = "Prove that every bounded sequence of real numbers has a convergent subsequence, and show where completeness is used.";
const ANSWER: &str =
    "Let (x_n) be bounded. By bisection we construct nested intervals whose lengths tend to zero.";

#[test]
fn an_app_that_asks_for_a_title_tags_or_questions_about_a_hard_chat_is_easy() {
    let quoted = format!("<chat_history>\nUSER: {HARD}\nASSISTANT: {ANSWER}\n</chat_history>");
    let spoken = format!("User: {HARD}\n\nAssistant: {ANSWER}");
    for text in [
        format!(
            "### Task:\nSuggest a few questions that the user may ask as a follow-up in this conversation.\n### Output:\nJSON: {{\"follow_ups\": []}}\n{quoted}"
        ),
        format!(
            "Choose one to three broad tags for the themes of the chat below.\n\n{quoted}\n\nAnswer in JSON."
        ),
        format!(
            "Decide whether search queries are needed to answer the last message, and write them.\n{quoted}"
        ),
        format!("{spoken}\n\nGive this conversation a title of at most five words."),
        format!(
            "Fasse das folgende Gespräch zusammen, als Titel von höchstens fünf Wörtern.\n{spoken}"
        ),
        format!("根据以下对话生成一个简短的标题。\n用户: {HARD}\n助手: {ANSWER}"),
        format!("Write a title of six words for this: {HARD}"),
        format!(
            "Rephrase the follow up question so that it is a standalone question.\nHuman: {HARD}\nAI: {ANSWER}\nFollow up: and in general?"
        ),
    ] {
        let features = read("openai_chat", &talk(&[&text]));
        assert_eq!(features.plain, Some(Plain::Chore), "{text}");
        assert_eq!(tier(&features).0, Tier::Small, "{text}");
    }
}

#[test]
fn an_app_that_asks_about_the_conversation_so_far_is_easy() {
    for text in [
        "Look only at your last response and tell who should speak next: the user or the model. Answer in JSON.",
        "Please give our conversation a title of four to five words, without quotation marks.",
        "Summarise the discussion in at most 200 words, to be used as context later.",
        "Schlage einen kurzen Titel für diese Unterhaltung vor.",
        "Propose un titre court pour cette conversation.",
        "请为以上对话生成一个简短的标题。",
    ] {
        let features = read("openai_chat", &talk(&[HARD, ANSWER, text]));
        assert_eq!(features.plain, Some(Plain::Chore), "{text}");
    }
}

#[test]
fn a_system_prompt_that_wants_only_a_title_makes_the_call_easy_in_every_dialect() {
    for system in [
        "You are a title generator. You output only a title.",
        "You name coding sessions: write a short title for the conversation that begins with this message.",
        "Tell whether this message begins a new conversation topic. If so, give two words for it as JSON.",
        "你是对话标题生成器，只输出标题。",
        "Sei un generatore di titoli. Rispondi solo con il titolo.",
    ] {
        for (dialect, body) in in_every_dialect(system, &[HARD]) {
            assert_eq!(
                read(dialect, &body).plain,
                Some(Plain::Chore),
                "{dialect}: {system}"
            );
        }
    }
    for system in [
        "You are a helpful assistant in a chat. Give every answer a short title.",
        "You are a careful mathematician. Answer in full sentences.",
        "You are an agent for software in a conversation with its developer. Use your tools.",
    ] {
        for (dialect, body) in in_every_dialect(system, &[HARD]) {
            assert_eq!(read(dialect, &body).plain, None, "{dialect}: {system}");
        }
    }
}

#[test]
fn what_a_user_asks_about_chats_and_titles_is_no_housekeeping() {
    for text in [
        "Write a React component that shows the chat history with a title for each conversation.",
        "Design a database schema for conversations, tags and summaries, with an API for search queries.",
        "Debug this: the conversation title is not saved. TypeError: title is undefined at saveChat (chat.js:12)",
        "Write a Python script that parses this log and prints a title for each chat:\nUser: hi\nAssistant: hello",
    ] {
        assert_eq!(read("openai_chat", &talk(&[text])).plain, None, "{text}");
    }
}

#[test]
fn an_agent_that_shortens_its_own_history_asks_for_a_summary() {
    let compact = "Your task is to write a detailed summary of the conversation so far, with the user's explicit requests, your own actions, the files that were read and changed, the mistakes that were made and mended, and what is left to be done, so that the work can go on without losing its thread. Answer with words only and call no tool.";
    let mut body = talk(&["Find the deadlock in the pool.", "Found it.", compact]);
    let tool = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}});
    body["tools"] = json!([tool("read"), tool("write")]);
    assert_eq!(read("openai_chat", &body).plain, Some(Plain::Chore));
    body = talk(&[
        "Find the deadlock in the pool.",
        "Found it.",
        "Add a summary of the conversation to the page.",
    ]);
    body["tools"] = json!([tool("read"), tool("write")]);
    assert_eq!(read("openai_chat", &body).plain, None);
}

#[test]
fn what_agents_add_beside_the_ask_changes_no_grade_in_any_dialect() {
    let blocks = [
        "<session_context>\nThis is the CLI. Today's date is Sunday, 1 March 2026.\n- **Workspace Directories:**\n  - /home/u/proj\nerror: debug the stack trace, prove the theorem\n</session_context>",
        "<environment_details>\n# Visible Files\nsrc/prove.rs\n# Current Time\n2/3/2026, 10:14:03 AM\n# Context Window\n12,345 / 200K tokens (6%)\n</environment_details>",
        "<system-reminder>\nThe todo list is empty. Optimise the algorithm; find the bug.\n</system-reminder>",
        "<context>\nCurrent directory: /home/u/proj\nOpen files: main.rs, lib.rs\nDebug the race, prove that it ends.\n</context>",
        "<editorContext>\nThe user's current file is /w/solve.py. Line 3 fails with a KeyError.\n</editorContext>",
        "<open_files>\nsrc/theorem.rs\nsrc/lemma.rs\n</open_files>",
        "# AGENTS.md instructions for /home/u/proj\n\n<INSTRUCTIONS>\nRun the tests. Debug failures until the suite is green. Prove invariants.\n</INSTRUCTIONS>",
        "Working directory: /home/u/proj\nOperating system: linux\nDirectory structure:\nsrc/\n  proof.rs\n  debug.rs",
    ];
    for ask in [
        "What is the capital of France?",
        "Translate to German: good morning, how are you?",
        HARD,
    ] {
        for (at, (dialect, plain)) in in_every_dialect("You are an agent.", &[ask])
            .into_iter()
            .enumerate()
        {
            let alone = graded(dialect, &plain);
            for block in blocks {
                // Ollama's messages are one text, in which an untagged report cannot be told from the user's words.
                if dialect == "ollama_chat" && !block.contains('<') {
                    continue;
                }
                for parts in [[block, ask], [ask, block]] {
                    let with = &in_every_dialect("You are an agent.", &parts)[at];
                    let got = graded(dialect, &with.1);
                    assert_eq!(
                        (got.0, got.1.task),
                        (alone.0, alone.1.task),
                        "{dialect}: {parts:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_request_below_an_editors_headings_is_the_ask() {
    let text = "# Context from my IDE setup:\n\n## Active file: src/proof.rs\n\n## Open tabs:\n- lib.rs: src/lib.rs\n\n## My request for Codex:\nWhat is the capital of France?";
    let (tier, grade) = graded("openai_responses", &json!({"model": "auto", "input": text}));
    assert_eq!((tier, grade.task.name()), (Tier::Small, "simple_question"));
}

#[test]
fn what_a_user_puts_into_tags_is_still_asked() {
    for text in [
        format!("<instructions>{HARD}</instructions>"),
        format!("<task>\n{HARD}\n</task>"),
        format!("<context>\n{HARD}\n</context>\nDo what is said above."),
    ] {
        let (tier, grade) = graded("openai_chat", &talk(&[&text]));
        assert_ne!(tier, Tier::Small, "{text} {grade:?}");
    }
}

#[test]
fn a_follow_up_is_not_easier_than_what_it_asks_about() {
    let code = "Write a Python program that finds the longest common subsequence of any number of strings.";
    let logic = "Five people sit in a row. Exactly one of them always lies: Dora says Anna sits in the middle, Emil says Dora lies, Ben says that Carl sits at the end. Deduce where each of them sits.";
    for (first, second) in [
        (code, "Can you parallelize it?"),
        (code, "and in Rust?"),
        (code, "Is there one with a better complexity?"),
        (HARD, "why?"),
        (HARD, "What about sequences in the plane?"),
        (HARD, "Warum?"),
        (HARD, "Und ohne die Bisektion?"),
        (HARD, "Pourquoi ?"),
        (HARD, "¿Y para el plano?"),
        (HARD, "E se fosse nel piano?"),
        (HARD, "E no plano, também vale?"),
        (HARD, "А почему это верно?"),
        (HARD, "为什么？"),
        (HARD, "なぜですか？"),
        (HARD, "لماذا؟"),
        (logic, "now the same with two liars"),
        (logic, "yes, do it"),
        (logic, "ok"),
    ] {
        let before = graded("openai_chat", &talk(&[first]));
        let after = graded("openai_chat", &talk(&[first, "Shall I go on?", second]));
        assert!(after.0 >= before.0, "{second}: {before:?} then {after:?}");
        let third = graded(
            "openai_chat",
            &talk(&[first, "Shall I go on?", second, "Yes.", "and why?"]),
        );
        assert!(
            third.0 >= before.0,
            "{second}, and why: {before:?} then {third:?}"
        );
    }
}

#[test]
fn a_follow_up_that_is_plainly_easier_inherits_nothing() {
    for second in [
        "thanks!",
        "Vielen Dank, tschüss!",
        "谢谢！",
        "Translate that into German.",
        "What is the capital of France?",
        "2 + 2 =",
    ] {
        let (tier, grade) = graded("openai_chat", &talk(&[HARD, ANSWER, second]));
        assert_eq!(tier, Tier::Small, "{second}: {grade:?}");
    }
}

#[test]
fn first_words_go_to_the_small_model_without_thinking() {
    for words in [
        "hello",
        "Hi!",
        "hey there",
        "HELLO??",
        "good morning",
        "how are you?",
        "what's up",
        "yo",
        "ok",
        "okay cool",
        "yes please",
        "no",
        "test",
        "testing testing",
        "thanks!",
        "thank you so much",
        "thx",
        "bye",
        "lol",
        "👍",
        "...",
        "Hallo",
        "Guten Morgen!",
        "danke dir",
        "ja",
        "Bonjour, ça va ?",
        "merci beaucoup",
        "hola, ¿qué tal?",
        "muchas gracias",
        "buenas noches",
        "ciao, come stai?",
        "grazie mille",
        "olá, tudo bem?",
        "obrigado!",
        "Привет, как дела?",
        "спасибо большое",
        "你好",
        "谢谢！",
        "こんにちは",
        "ありがとうございます",
        "مرحبا",
        "안녕하세요",
        "2 + 2 =",
        "7*8",
        "what is 12 + 30?",
        "Wie viel ist 3 mal 4?",
        "Combien font 6 fois 7 ?",
        "¿Cuánto es 9 por 8?",
        "15-6=?",
        "Fix the typo: teh cat",
        "Correct the spelling: recieve",
        "Korrigiere die Rechtschreibung: Ich bin nachhause gegangn.",
        "Corrige la ortografía: ola amigo",
        "改正错别字：我门去公圆",
    ] {
        let (tier, grade) = graded("openai_chat", &talk(&[words]));
        assert_eq!(tier, Tier::Small, "{words}: {grade:?}");
        assert!(grade.difficulty < 0.117, "no thinking: {words}: {grade:?}");
    }
}

#[test]
fn a_few_words_that_name_work_do_not_go_to_the_small_model() {
    for words in [
        "Solve the three-body problem analytically",
        "Write a kernel scheduler in C and formally verify it",
        "Prove P != NP",
        "Prove the Riemann hypothesis",
        "Derive the Black-Scholes formula",
        "Implement Raft",
        "Design a distributed lock service",
        "Simulate a quantum computer",
        "Disprove Goldbach's conjecture",
        "Find an optimal policy for blackjack",
        "Write a C compiler in Rust",
        "Beweise den Satz von Bolzano-Weierstraß",
        "Démontre le théorème de Cauchy",
        "Demuestra que hay infinitos primos",
        "Dimostra che la radice di 2 è irrazionale",
        "Докажи теорему Ферма для n = 4",
        "证明素数有无穷多个",
        "Thursday, blue, the usual way",
        "la misma de siempre",
        "1234567 * 7654321 - 99999 / 17",
    ] {
        let (tier, grade) = graded("openai_chat", &talk(&[words]));
        assert!(tier >= Tier::Standard, "{words}: {grade:?}");
    }
}
