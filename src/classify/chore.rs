//! An app's housekeeping: titles, tags, follow-up suggestions, search queries, topic checks and summaries of a chat that the app
//! asks for behind its user's back. However hard the chat is that it is about, the call itself is easy.
//!
//! Known by its shape, not by an app's templates: a sentence of the instructions (the last turn's beginning or end, or a short
//! system prompt) names the product *and* the conversation that it is about, or a conversation is quoted beside the product's name.

use super::lexicon::Class;
use super::said::{Beginnings, Said, WordList};
use super::scan::Scanner;
use crate::chat::{Part, Prompt, Role};

/// Bytes at the beginning of a text in which an instruction is looked for.
const HEAD: usize = 500;
/// Bytes at its end.
const TAIL: usize = 300;
/// Bytes of a text in which a quoted conversation is looked for.
const QUOTE_MAX: usize = 16 * 1024;
/// A system prompt that is longer is an app's own, with many duties.
const SYSTEM_MAX: usize = 12 * 1024;
/// Tools that a call may offer that only wants its answer in a form.
const TOOLS_MAX: usize = 1;
/// The instructions to shorten an agent's whole history are at least so long; a user's wish is not.
const COMPACTION_MIN: usize = 300;

/// What is wanted, but for summaries.
static LABELS: WordList = WordList::of(&[
    "title*",
    "headline*",
    "header",
    "label",
    "tag",
    "tags",
    "tagging",
    "emoji",
    "topic",
    "topics",
    "naming",
    "name for",
    "follow-up*",
    "followup*",
    "follow up question*",
    "follow up questions",
    "standalone question",
    "search quer*",
    "search queries",
    "search query",
    "relevant questions",
    "suggested question*",
    "suggested prompts",
    "titel*",
    "schlagw*",
    "thema",
    "folgefrage*",
    "anschlussfrage*",
    "suchanfrage*",
    "titre*",
    "étiquette*",
    "sujet",
    "questions de suivi",
    "requêtes de recherche",
    "título*",
    "titulo*",
    "etiqueta*",
    "preguntas de seguimiento",
    "consultas de búsqueda",
    "titolo",
    "titoli",
    "etichett*",
    "domande di approfondimento",
    "query di ricerca",
    "perguntas de acompanhamento",
    "consultas de pesquisa",
    "заголов*",
    "названи*",
    "тег*",
    "тему",
    "поисковые запросы",
    "поисковый запрос",
    "поисковых запрос",
    "уточняющ*",
    "标题",
    "標題",
    "标签",
    "タイトル",
    "タグ",
    "후속",
    "عنوان",
    "وسوم",
]);

/// A summary.
static SUMMARIES: WordList = WordList::of(&[
    "summar*",
    "recap",
    "zusammenfass*",
    "résum*",
    "resum*",
    "riassu*",
    "кратк*",
    "резюм*",
    "总结",
    "摘要",
    "要約",
    "ملخص",
]);

/// What it is about.
static CHATS: WordList = WordList::of(&[
    "conversation*",
    "chat",
    "chats",
    "chat's",
    "dialogue*",
    "dialog",
    "dialogs",
    "discussion*",
    "session",
    "sessions",
    "thread*",
    "messages",
    "exchange",
    "handoff",
    "compaction",
    "user's question",
    "first message",
    "user message",
    "user's message",
    "konversation*",
    "gespräch*",
    "unterhaltung*",
    "chatverlauf*",
    "verlauf*",
    "sitzung*",
    "nachrichten",
    "échange*",
    "historique",
    "conversaci*",
    "charla",
    "historial",
    "conversazion*",
    "conversa",
    "conversas",
    "histórico",
    "разговор*",
    "бесед*",
    "диалог*",
    "переписк*",
    "对话",
    "會話",
    "会話",
    "聊天",
    "محادثة",
]);

/// Who makes nothing else: "You are a title generator".
static MAKERS: WordList = WordList::of(&[
    "generator",
    "générateur",
    "generador",
    "generatore",
    "gerador",
    "titelgenerator",
    "генератор",
    "生成器",
    "生成",
    "مولد",
    "writer",
    "namer",
]);

/// How an app tells a model what it is to do.
static TASKED: WordList = WordList::of(&["your task", "you are", "your urgent task", "compaction"]);

/// What people build and mend: a sentence about one of these wants a program.
static BUILT: WordList = WordList::of(&[
    "debug*",
    "bug",
    "bugs",
    "fix",
    "error*",
    "typeerror",
    "crash*",
    "component*",
    "schema*",
    "database*",
    "endpoint*",
    "button*",
    "implement*",
    "script*",
    "fehler",
    "datenbank*",
    "komponente*",
    "erreur*",
    "composant*",
    "base de données",
    "componente*",
    "base de datos",
    "errore*",
    "banco de dados",
    "ошибк*",
    "компонент*",
    "базу данных",
    "报错",
    "组件",
    "数据库",
    "バグ",
    "エラー",
    "خطأ",
]);

/// Guesses at who speaks next, and what.
static NEXT: WordList = WordList::of(&["speak next", "type next", "ask next", "say next"]);

/// What an assistant does with every answer is no housekeeping.
static ALWAYS: WordList = WordList::of(&[
    "each",
    "every",
    "always",
    "whenever",
    "at the end",
    "jede*",
    "chaque",
    "cada",
    "ogni",
    "кажд*",
    "每",
    "كل",
]);

/// How what is wanted begins.
static WANTED: Beginnings = Beginnings::of(&[&LABELS, &SUMMARIES, &NEXT]);

/// Words that say how short it must be.
static LENGTHS: WordList = WordList::of(&[
    "word",
    "words",
    "characters",
    "wörter",
    "wörtern",
    "worten",
    "zeichen",
    "mots",
    "caract*",
    "palabras",
    "parole",
    "palavras",
    "слов",
    "слова",
    "символ*",
    "字",
    "文字",
    "كلمات",
]);

/// Who speaks in a quoted conversation.
const SPEAKERS: &[&str] = &[
    "user",
    "human",
    "assistant",
    "ai",
    "bot",
    "model",
    "system",
    "chatgpt",
    "benutzer",
    "nutzer",
    "assistent",
    "utilisateur",
    "usuario",
    "asistente",
    "utente",
    "assistente",
    "usuário",
    "пользователь",
    "ассистент",
    "用户",
    "助手",
    "ユーザー",
    "アシスタント",
    "المستخدم",
];

/// Words in the name of a tag that holds a conversation.
const HOLDERS: &[&str] = &[
    "chat",
    "conversation",
    "history",
    "messages",
    "dialogue",
    "dialog",
    "transcript",
    "thread",
    "session",
];

/// Whether this is a call for housekeeping.
pub(super) fn is_chore(prompt: &Prompt<'_>) -> bool {
    let last = prompt.turns.iter().rev().find(|t| t.role == Role::User);
    let texts = last.into_iter().flat_map(|turn| &turn.parts);
    let texts: Vec<&str> = texts
        .filter_map(|part| match part {
            Part::Text(text) if !text.trim_ascii().is_empty() => Some(text.as_ref()),
            _ => None,
        })
        .collect();
    // Results of tools beside or after the user's words are an agent at work.
    let at_work = prompt.turns.last().is_none_or(|t| {
        t.role != Role::User || t.parts.iter().any(|p| matches!(p, Part::ToolResult(_)))
    });
    let (Some(first), Some(end), false) = (texts.first(), texts.last(), at_work) else {
        return false;
    };
    if prompt.tools > TOOLS_MAX {
        return is_compaction(prompt, first);
    }
    let quote = texts.iter().find_map(|text| quote_in(text));
    if let Some((before, after)) = quote {
        let instructions = [head(before), tail(after)];
        let labels = |text: &&str| {
            let said = Said::new(text);
            (said.has(&LABELS) || said.has(&SUMMARIES) || said.has(&NEXT))
                && work_in(text) < QUOTED_WORK
        };
        return instructions.iter().any(labels) || by_system(prompt);
    }
    asks_for_chore(head(first), false)
        || (first != end && asks_for_chore(tail(end), false))
        || by_system(prompt)
}

/// Words that name work are as many as this where a conversation is quoted as material for a program.
const QUOTED_WORK: f32 = 4.0;

/// The instructions of an agent to shorten its own history, which come after its work and with its tools.
fn is_compaction(prompt: &Prompt<'_>, text: &str) -> bool {
    prompt.turns.len() > 2 && text.len() >= COMPACTION_MIN && {
        let said = Said::new(head(text));
        said.has(&SUMMARIES) && said.has(&CHATS) && (said.has(&TASKED))
    }
}

/// A short system prompt that sets the model this task alone.
fn by_system(prompt: &Prompt<'_>) -> bool {
    let bytes: usize = prompt.system.iter().map(|s| s.len()).sum();
    let users = prompt.turns.iter().filter(|t| t.role == Role::User);
    bytes <= SYSTEM_MAX
        && users.take(3).count() < 3
        && prompt
            .system
            .iter()
            .any(|text| asks_for_chore(head(text), true))
}

/// Whether a sentence of this text asks for such a thing about a conversation.
fn asks_for_chore(text: &str, system: bool) -> bool {
    // Most texts speak of no such thing at all.
    if !WANTED.may_be_in(text) {
        return false;
    }
    let mut sentences = text
        .split(['.', '\n', '!', '?', '。', '！', '？'])
        .filter(|s| s.len() > 7)
        .take(8);
    let all = Said::new(text);
    if !(all.has(&LABELS) || all.has(&SUMMARIES) || all.has(&NEXT)) {
        return false;
    }
    let mut first = true;
    sentences.any(|sentence| {
        // What a title is wanted for may stand after a colon; the work in it is not wanted.
        let before = sentence.split([':', '：']).next().unwrap_or_default();
        let sentence = match Said::new(before).has(&LABELS) {
            true => before,
            false => sentence,
        };
        let said = Said::new(sentence);
        // A duty beside others comes after who the assistant is; a summary is also that.
        let summary = (!system || first) && said.has(&SUMMARIES);
        let label = said.has(&LABELS);
        let about = said.has(&CHATS)
            || (label && said.has(&LENGTHS) && first)
            || (system && label && said.has(&MAKERS));
        first = false;
        let chore = (label || summary) && about;
        said.has(&NEXT)
            || (chore && !said.has(&ALWAYS) && !said.has(&BUILT) && work_in(sentence) < 1.0)
    })
}

/// How much a sentence speaks of work that is more than a label: programs, failures, sums, conclusions.
fn work_in(text: &str) -> f32 {
    let mut scanner = Scanner::default();
    scanner.feed(text);
    let scan = scanner.close();
    let work = [Class::Code, Class::Debug, Class::Maths, Class::Logic];
    work.iter().map(|class| scan.near[class.index()]).sum()
}

fn head(text: &str) -> &str {
    let text = text.trim_start();
    &text[..text.floor_char_boundary(HEAD)]
}

fn tail(text: &str) -> &str {
    let text = text.trim_end();
    &text[text.ceil_char_boundary(text.len().saturating_sub(TAIL))..]
}

/// What stands before and after a quoted conversation, if there is one.
fn quote_in(text: &str) -> Option<(&str, &str)> {
    let read = &text[..text.floor_char_boundary(QUOTE_MAX)];
    let (mut begins, mut ends, mut spoken) = (None, 0, 0);
    let mut at = 0;
    for line in read.split_inclusive('\n') {
        let said = line.trim_start_matches([' ', '\t', '*', '#', '-', '[', '>', '"', '{']);
        if holds_chat(line.trim()) {
            let close = text[at + line.len()..].rfind("</");
            let end = close.map_or(text.len(), |c| at + line.len() + c);
            return Some((&text[..at], &text[end..]));
        }
        if is_speaker(said) {
            spoken += 1;
            begins = begins.or(Some(at));
            ends = at + line.len();
        }
        at += line.len();
    }
    let begins = begins.filter(|_| spoken > 1)?;
    Some((&text[..begins], &text[ends..]))
}

/// Whether a line opens a tag that holds a conversation.
fn holds_chat(line: &str) -> bool {
    let name = line
        .strip_prefix('<')
        .and_then(|l| l.split(['>', ' ']).next());
    name.is_some_and(|name| {
        let mut words = name.split(['_', '-']);
        words.any(|word| HOLDERS.iter().any(|h| h.eq_ignore_ascii_case(word)))
    })
}

/// Whether a line begins with who speaks, as a label or as a role in JSON.
fn is_speaker(line: &str) -> bool {
    let line = &line[..line.floor_char_boundary(40)];
    if let Some(rest) = line.strip_prefix("role\"") {
        return rest.trim_start().starts_with(':');
    }
    let Some((label, _)) = line.split_once([':', '：', ']']) else {
        return false;
    };
    let label = label.trim_matches(['*', ' ', '_']).to_lowercase();
    SPEAKERS.contains(&label.as_str())
}
