//! The words by which housekeeping is known, in ten languages where its apps speak them.

use crate::classify::vocabulary::{Beginnings, Vocabulary, WordList};

/// All of these words.
pub(super) static VOCABULARY: Vocabulary = Vocabulary::of(&[
    LABELS,
    SUMMARIES,
    CHATS,
    MAKERS,
    TASKED,
    BUILT,
    NEXT,
    USERS,
    COMMITS,
    CHANGES,
    VERDICTS,
    REQUESTS,
    COMMAND_FACTS,
    COMMANDS,
    COMPLETERS,
    SOLE,
    BARE,
    ALWAYS,
    LENGTHS,
]);

/// What is wanted, but for summaries.
pub(super) const LABELS: WordList = WordList::of(&[
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
    "follow up question",
    "quick-repl*",
    "quick repl",
    "suggested repl",
    "standalone question",
    "search quer",
    "relevant questions",
    "suggested question",
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
])
.at(0);

/// A summary.
pub(super) const SUMMARIES: WordList = WordList::of(&[
    "summar*",
    "recap",
    "distil*",
    "catch-up*",
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
])
.at(1);

/// What it is about.
pub(super) const CHATS: WordList = WordList::of(&[
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
    "assistant message",
    "user message",
    "user's message",
    "user prompt",
    "user's prompt",
    "what the user",
    "speaker's",
    "tool output",
    "tool's output",
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
    "会话",
    "會話",
    "会話",
    "聊天",
    "محادثة",
])
.at(2);

/// Who makes nothing else: "You are a title generator".
pub(super) const MAKERS: WordList = WordList::of(&[
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
])
.at(3);

/// How an app tells a model what it is to do.
pub(super) const TASKED: WordList =
    WordList::of(&["your task", "you are", "your urgent task", "compaction"]).at(4);

/// What people build and mend: a sentence about one of these wants a program.
pub(super) const BUILT: WordList = WordList::of(&[
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
    "architect*",
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
    "架构",
    "功能",
    "报错",
    "组件",
    "数据库",
    "バグ",
    "エラー",
    "خطأ",
])
.at(5);

/// Guesses at who speaks next, and what.
pub(super) const NEXT: WordList =
    WordList::of(&["speak next", "type next", "ask next", "say next"]).at(6);

/// Of whom they are made.
pub(super) const USERS: WordList = WordList::of(&["user", "users", "user's"]).at(7);

/// What is written of a change to files.
pub(super) const COMMITS: WordList = WordList::of(&[
    "commit message",
    "commit-message*",
    "branch name",
    "commit-nachricht*",
    "message de commit",
    "mensaje de commit",
    "messaggio di commit",
    "mensagem de commit",
    "сообщение коммита",
    "сообщение для коммита",
    "提交信息",
    "提交消息",
])
.at(8);

/// The change.
pub(super) const CHANGES: WordList = WordList::of(&[
    "diff",
    "diffs",
    "change",
    "changes",
    "änderung*",
    "modification*",
    "changement*",
    "cambio*",
    "modific*",
    "alteraç*",
    "изменени*",
    "修改",
    "变更",
    "更改",
])
.at(9);

/// Verdicts.
pub(super) const VERDICTS: WordList = WordList::of(&[
    "classif*",
    "categori*",
    "routing",
    "router",
    "complexity",
    "difficulty",
    "intent",
    "klassifi*",
    "einordne*",
    "clasific*",
    "классифи*",
    "分类",
    "意图",
])
.at(10);

/// On what a user asks for.
pub(super) const REQUESTS: WordList = WordList::of(&[
    "user's request",
    "user request",
    "user's query",
    "user query",
    "user's message",
    "user message",
    "user's prompt",
    "user prompt",
    "user input",
    "last message",
    "incoming message",
    "incoming request",
    "anfrage*",
    "demande*",
    "petición",
    "solicitud",
    "запрос*",
    "用户请求",
    "用户的请求",
    "用户输入",
])
.at(11);

/// What is told of a command before it runs, or after.
pub(super) const COMMAND_FACTS: WordList =
    WordList::of(&["prefix", "file paths", "injection"]).at(12);

/// The command.
pub(super) const COMMANDS: WordList = WordList::of(&[
    "bash command",
    "shell command",
    "this command",
    "command reads",
])
.at(13);

/// Who completes what is being typed.
pub(super) const COMPLETERS: WordList = WordList::of(&[
    "autocompletion system",
    "autocompletion engine",
    "autocompletion model",
    "autocomplete system",
    "autocomplete engine",
    "autocomplete model",
    "completion engine",
    "code completion assistant",
    "code completion model",
    "code completion tool",
    "inline completion",
    "hole filler",
])
.at(14);

/// That a prompt sets this one task and no other.
pub(super) const SOLE: WordList = WordList::of(&[
    "sole",
    "solely",
    "only function",
    "only job",
    "only purpose",
    "only role",
    "only task",
    "nothing else",
    "einzige aufgabe",
    "seule tâche",
    "única tarea",
    "única función",
    "unico compito",
    "única tarefa",
    "единственная задача",
    "唯一任务",
    "唯一的任务",
])
.at(15);

/// How a prompt says that an answer is a label and nothing else.
pub(super) const BARE: WordList = WordList::of(&[
    "only the title",
    "only a title",
    "only a thread title",
    "only the tags",
    "only the label",
    "only the emoji",
    "only an emoji",
    "only one emoji",
    "only a single emoji",
    "only the search quer",
    "nur den titel",
    "nur der titel",
    "seulement le titre",
    "uniquement le titre",
    "solo el título",
    "solo il titolo",
    "apenas o título",
    "только заголовок",
    "只输出标题",
])
.at(16);

/// Marks around a hole in a text, for models that fill it.
pub(super) const HOLES: [&str; 4] = ["<|fim_", "<fim_", "<fim-", "<PRE>"];

/// What an assistant does with every answer is no housekeeping.
pub(super) const ALWAYS: WordList = WordList::of(&[
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
])
.at(17);

/// How what is wanted begins.
pub(super) static WANTED: Beginnings = Beginnings::of(&[
    LABELS,
    SUMMARIES,
    NEXT,
    COMMITS,
    VERDICTS,
    COMMAND_FACTS,
    COMPLETERS,
]);

/// Words that say how short it must be.
pub(super) const LENGTHS: WordList = WordList::of(&[
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
])
.at(18);

/// Who speaks in a quoted conversation.
pub(super) const SPEAKERS: &[&str] = &[
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
pub(super) const HOLDERS: &[&str] = &[
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
