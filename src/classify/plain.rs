//! Asks that are plain by their form alone, so that nothing learned is needed to grade them: small talk, a small sum, a slip of the
//! pen to be put right. And the opposite: words of a short ask that say that it is work.

use super::vocabulary::{Vocabulary, WordList, words};

/// Characters of what may be small talk.
const TALK_MAX: usize = 60;
/// Words of it.
const TALK_WORDS_MAX: usize = 8;
/// Bytes of a text whose spelling is to be put right.
const PROOF_MAX: usize = 600;
/// Operators of a small sum.
const OPERATORS_MAX: usize = 2;
/// Digits of its numbers.
const DIGITS_MAX: usize = 4;
/// Characters of a short ask: of a longer one the grader sees enough.
pub(super) const SHORT: u32 = 200;

/// What an ask is by its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    /// An app's housekeeping.
    Chore,
    /// A greeting, a yes or a no.
    Talk,
    /// Thanks, or a farewell: it asks for nothing more.
    Farewell,
    /// Two or three small numbers.
    Sum,
    /// Spelling, grammar and punctuation of a short text.
    Proof,
}

/// Words that stand around a greeting, in ten languages and as they are typed.
const AROUND_GREETING: &[&str] = &[
    "day",
    "hmm",
    "hm",
    "um",
    "oh",
    "ah",
    "please",
    "what's",
    "whats",
    "there",
    "are",
    "is",
    "it",
    "going",
    "you",
    "everyone",
    "all",
    "again",
    "i",
    "am",
    "i'm",
    "here",
    "and",
    "to",
    "very",
    "so",
    "well",
    "right",
    "got",
    "that",
    "that's",
    "do",
    "don't",
    "mention",
    "morgen",
    "tag",
    "abend",
    "gott",
    "wie",
    "dir",
    "es",
    "ihnen",
    "na",
    "ca",
    "va",
    "allez-vous",
    "vas-tu",
    "tu",
    "vas",
    "très",
    "días",
    "dias",
    "tardes",
    "noches",
    "qué",
    "que",
    "como",
    "estás",
    "estas",
    "está",
    "va",
    "come",
    "sta",
    "dia",
    "tarde",
    "noite",
    "bem",
    "день",
    "утро",
    "вечер",
    "как",
    "عليكم",
    "الخير",
    "كيف",
    "xin",
];

/// Words that stand around thanks and farewells, and those by which somebody says that it is clear now or works.
const AROUND_PARTING: &[&str] = &[
    "clear",
    "now",
    "understood",
    "makes",
    "sense",
    "works",
    "worked",
    "jetzt",
    "klar",
    "verstanden",
    "funktioniert",
    "c'est",
    "clair",
    "compris",
    "j'ai",
    "maintenant",
    "ya",
    "entiendo",
    "entendido",
    "adesso",
    "chiaro",
    "capito",
    "agora",
    "entendi",
    "теперь",
    "всё",
    "понятно",
    "работает",
    "later",
    "welcome",
    "much",
    "lot",
    "a",
    "lots",
    "many",
    "for",
    "your",
    "help",
    "the",
    "this",
    "see",
    "vielen",
    "schön",
    "sehr",
    "für",
    "die",
    "hilfe",
    "nacht",
    "auf",
    "bis",
    "dann",
    "beaucoup",
    "au",
    "bonne",
    "nuit",
    "journée",
    "pour",
    "votre",
    "ton",
    "aide",
    "adieu",
    "muchas",
    "mil",
    "hasta",
    "por",
    "tu",
    "ayuda",
    "la",
    "mille",
    "molte",
    "notte",
    "muito",
    "até",
    "logo",
    "большое",
    "до",
    "за",
    "помощь",
    "جزيلا",
    "لك",
];

/// Words that greet or agree: without one of them, or one of [`PARTING`], an ask is no small talk.
const GREETING: &[&str] = &[
    "hi",
    "hii",
    "hello",
    "helo",
    "hallo",
    "hey",
    "heya",
    "hiya",
    "yo",
    "howdy",
    "greetings",
    "morning",
    "afternoon",
    "evening",
    "ok",
    "okay",
    "okey",
    "k",
    "kk",
    "yes",
    "yeah",
    "yep",
    "yup",
    "no",
    "nope",
    "nah",
    "sure",
    "fine",
    "great",
    "cool",
    "nice",
    "perfect",
    "awesome",
    "lol",
    "haha",
    "wow",
    "test",
    "testing",
    "ping",
    "sup",
    "up",
    "doing",
    "alright",
    "how",
    "good",
    "guten",
    "moin",
    "servus",
    "grüß",
    "ja",
    "nein",
    "gut",
    "super",
    "prima",
    "genau",
    "geht's",
    "gehts",
    "geht",
    "bonjour",
    "salut",
    "bonsoir",
    "coucou",
    "oui",
    "non",
    "d'accord",
    "bien",
    "ça",
    "comment",
    "parfait",
    "hola",
    "buenos",
    "buenas",
    "tal",
    "sí",
    "si",
    "vale",
    "bueno",
    "cómo",
    "claro",
    "perfecto",
    "ciao",
    "salve",
    "buongiorno",
    "buonasera",
    "sì",
    "bene",
    "stai",
    "perfetto",
    "certo",
    "olá",
    "ola",
    "oi",
    "bom",
    "boa",
    "sim",
    "não",
    "nao",
    "tudo",
    "привет",
    "здравствуйте",
    "здравствуй",
    "добрый",
    "доброе",
    "да",
    "нет",
    "хорошо",
    "ладно",
    "ок",
    "дела",
    "понял",
    "ясно",
    "مرحبا",
    "أهلا",
    "اهلا",
    "السلام",
    "صباح",
    "مساء",
    "نعم",
    "لا",
    "حالك",
    "حسنا",
    "تمام",
    "hej",
    "hei",
    "cześć",
    "merhaba",
    "namaste",
    "नमस्ते",
    "안녕",
    "안녕하세요",
    "네",
    "chào",
    "ahoj",
];

/// Words that thank or take leave.
const PARTING: &[&str] = &[
    "thanks",
    "thank",
    "thx",
    "ty",
    "tysm",
    "cheers",
    "bye",
    "goodbye",
    "cya",
    "night",
    "appreciated",
    "danke",
    "dankeschön",
    "dank",
    "tschüss",
    "tschüß",
    "wiedersehen",
    "merci",
    "revoir",
    "gracias",
    "adiós",
    "adios",
    "luego",
    "grazie",
    "arrivederci",
    "obrigado",
    "obrigada",
    "tchau",
    "valeu",
    "спасибо",
    "благодарю",
    "пока",
    "свидания",
    "спс",
    "شكرا",
    "teşekkürler",
    "감사합니다",
    "고마워",
    "tack",
    "takk",
    "dziękuję",
];

/// The same in scripts without spaces: the whole text is made of these.
const TALK_PIECES: &[&str] = &[
    "你好",
    "您好",
    "大家好",
    "早上好",
    "下午好",
    "晚上好",
    "嗨",
    "嗯",
    "好的",
    "好",
    "是的",
    "是",
    "不是",
    "不",
    "对",
    "行",
    "可以",
    "明白",
    "懂",
    "知道",
    "在吗",
    "吗",
    "吧",
    "啊",
    "呀",
    "哈",
    "こんにちは",
    "こんばんは",
    "おはようございます",
    "おはよう",
    "はい",
    "いいえ",
    "うん",
    "了解です",
    "了解",
    "お願いします",
    "元気ですか",
    "もしもし",
    "สวัสดี",
];
const FAREWELL_PIECES: &[&str] = &[
    "谢谢你",
    "谢谢您",
    "非常感谢",
    "谢谢",
    "多谢",
    "感谢",
    "再见",
    "拜拜",
    "了",
    "ありがとうございました",
    "ありがとうございます",
    "ありがとう",
    "どうも",
    "さようなら",
    "ขอบคุณ",
];

/// What this whole ask is by its form.
pub(super) fn of(text: &str, code: bool) -> Option<Plain> {
    let text = text.trim();
    if text.len() > PROOF_MAX || text.is_empty() {
        return None;
    }
    if text.len() <= TALK_MAX * 2 {
        if let Some(talk) = talk(text) {
            return Some(talk);
        }
        if is_sum(text) {
            return Some(Plain::Sum);
        }
    }
    (!code && is_proof(text)).then_some(Plain::Proof)
}

fn talk(text: &str) -> Option<Plain> {
    if text.chars().count() > TALK_MAX || text.chars().any(|c| c.is_ascii_digit()) {
        return None;
    }
    if !text.chars().any(char::is_alphanumeric) {
        // Pictures and marks alone; a formula has signs of its own.
        let formula = |c: char| {
            matches!(
                c,
                '∑' | '∫' | '√' | '=' | '∀' | '∃' | '{' | '<' | '$' | '\\' | '/'
            )
        };
        return (!text.contains(formula)).then_some(Plain::Talk);
    }
    let lower = text.to_lowercase().replace('’', "'");
    let (mut count, mut core, mut leaves) = (0, false, false);
    for word in words(&lower) {
        count += 1;
        let greets = GREETING.contains(&word);
        let parts = PARTING.contains(&word);
        core |= greets;
        leaves |= parts;
        let known =
            greets || parts || AROUND_GREETING.contains(&word) || AROUND_PARTING.contains(&word);
        if !known && !made_of_pieces(word, &mut core, &mut leaves) {
            return None;
        }
    }
    match (core || leaves) && count <= TALK_WORDS_MAX {
        true if leaves => Some(Plain::Farewell),
        true => Some(Plain::Talk),
        false => None,
    }
}

fn made_of_pieces(word: &str, core: &mut bool, leaves: &mut bool) -> bool {
    let mut rest = word;
    while !rest.is_empty() {
        let longest = |pieces: &[&'static str]| {
            let fit = pieces.iter().filter(|p| rest.starts_with(**p));
            fit.max_by_key(|p| p.len()).copied()
        };
        let piece = match (longest(FAREWELL_PIECES), longest(TALK_PIECES)) {
            (Some(piece), _) => {
                *leaves = true;
                piece
            }
            (None, Some(piece)) => piece,
            (None, None) => return false,
        };
        *core = true;
        rest = &rest[piece.len()..];
    }
    true
}

/// Words around a sum.
const SUM_WORDS: &[&str] = &[
    "what",
    "what's",
    "whats",
    "is",
    "calculate",
    "compute",
    "equals",
    "was",
    "ist",
    "wie",
    "viel",
    "wieviel",
    "macht",
    "combien",
    "font",
    "fait",
    "ça",
    "cuánto",
    "cuanto",
    "es",
    "son",
    "quanto",
    "fa",
    "é",
    "сколько",
    "будет",
    "كم",
    "请问",
    "等于",
    "等于多少",
    "等于几",
    "は",
    "は何",
    "はいくつ",
];

/// Operators in words.
const SPOKEN: &[&str] = &[
    "x",
    "plus",
    "minus",
    "times",
    "mal",
    "durch",
    "fois",
    "moins",
    "más",
    "menos",
    "por",
    "più",
    "meno",
    "per",
    "mais",
    "vezes",
    "плюс",
    "минус",
];

/// A few small numbers with an operator between them, and nothing else but words that ask for what they make.
fn is_sum(text: &str) -> bool {
    let lower = text.to_lowercase().replace('’', "'");
    let allowed =
        |c: char| c.is_alphanumeric() || c.is_whitespace() || "+-*/×÷·−=?？¿.,'()%".contains(c);
    let (mut numbers, mut longest, mut digits) = (0, 0, 0);
    for c in lower.chars().chain([' ']) {
        if c.is_ascii_digit() {
            digits += 1;
        } else if digits > 0 {
            numbers += 1;
            longest = longest.max(digits);
            digits = 0;
        }
    }
    let operators = lower.chars().filter(|c| "+-*/×÷·−".contains(*c)).count();
    let spoken = words(&lower).filter(|word| SPOKEN.contains(word)).count();
    let no_number = |c: char| !c.is_ascii_digit();
    let mut others = lower.split(|c: char| !(c.is_alphabetic() || c == '\''));
    lower.chars().all(allowed)
        && numbers > 1
        && longest <= DIGITS_MAX
        && (1..=OPERATORS_MAX).contains(&(operators + spoken))
        && others.all(|word| {
            let known = || SUM_WORDS.contains(&word) || SPOKEN.contains(&word);
            word.is_empty() || (word.chars().all(no_number) && known())
        })
}

/// What is looked for in short asks.
static VOCABULARY: Vocabulary = Vocabulary::of(&[SLIPS, WORK, BACK]);

/// Words for slips of the pen and what is done about them.
const SLIPS: WordList = WordList::of(&[
    "typo",
    "typos",
    "spelling",
    "misspell*",
    "grammar",
    "punctuation",
    "proofread",
    "spellcheck",
    "capitalization",
    "tippfehler",
    "rechtschreib*",
    "schreibfehler",
    "grammatik",
    "zeichensetzung",
    "korrekturles*",
    "orthograph*",
    "faute de frappe",
    "fautes",
    "coquille*",
    "grammaire",
    "ortogr*",
    "errata",
    "gramática",
    "gramatical*",
    "grammatica*",
    "refuso",
    "refusi",
    "erros de digitação",
    "опечатк*",
    "орфограф*",
    "грамматик*",
    "пунктуаци*",
    "错别字",
    "语法",
    "拼写",
    "誤字",
    "脱字",
    "文法",
    "إملائي",
    "الإملاء",
])
.at(0);

/// A short text given after a colon, in quotation marks or on lines of its own, whose spelling is to be put right.
fn is_proof(text: &str) -> bool {
    let instruction = text
        .split([':', '：', '"', '“', '„', '«', '「', '\n'])
        .next();
    let instruction = instruction.unwrap_or_default();
    let given = text[instruction.len()..].chars().any(char::is_alphanumeric);
    given && instruction.chars().count() <= 80 && VOCABULARY.matches(instruction).all().has(SLIPS)
}

/// Words that say that an ask is work, however short it is and whatever it resembles.
const WORK: WordList = WordList::of(&[
    "prove",
    "proof",
    "disprove",
    "refute",
    "derive",
    "solve",
    "solution",
    "analytically",
    "rigorous*",
    "formally",
    "formaliz*",
    "formalis*",
    "verify",
    "verified",
    "theorem*",
    "lemma",
    "conjecture",
    "axiom*",
    "optimal",
    "optimiz*",
    "optimis*",
    "np-hard",
    "np-complete",
    "design",
    "architect",
    "implement*",
    "compiler*",
    "kernel",
    "scheduler",
    "simulat*",
    "reverse-engineer",
    "diagnose",
    "quantum",
    "asymptotic*",
    "integrate",
    "differential",
    "eigen*",
    "beweis*",
    "löse",
    "lösen",
    "widerleg*",
    "herleit*",
    "optimier*",
    "entwirf",
    "implementier*",
    "satz von",
    "prouve*",
    "démontr*",
    "résoudre",
    "résous",
    "résolvez",
    "conçois",
    "implément*",
    "théorème",
    "optimis*",
    "demuestr*",
    "demostr*",
    "resuelv*",
    "resolver",
    "diseñ*",
    "teorema",
    "optimiz*",
    "implementa*",
    "dimostr*",
    "risolv*",
    "progett*",
    "ottimizz*",
    "prove que",
    "demonstr*",
    "resolva",
    "projete",
    "otimiz*",
    "докаж*",
    "доказ*",
    "реши*",
    "решить",
    "спроектир*",
    "реализ*",
    "теорем*",
    "оптимиз*",
    "выведи формул*",
    "证明",
    "求解",
    "推导",
    "设计",
    "实现",
    "定理",
    "最优",
    "優化",
    "优化",
    "証明",
    "解け",
    "解いて",
    "導出",
    "設計",
    "実装",
    "أثبت",
    "برهن",
    "صمم",
    "حل معادلة",
])
.at(1);

/// Whether a short ask has such a word.
pub(super) fn is_work(text: &str) -> bool {
    VOCABULARY.matches(text).all().has(WORK)
}

/// Words that point at what was said before, or compare with it.
const BACK: WordList = WordList::of(&[
    "it",
    "its",
    "it's",
    "that",
    "this",
    "these",
    "those",
    "them",
    "they",
    "one",
    "same",
    "above",
    "previous",
    "instead",
    "also",
    "again",
    "another",
    "other",
    "else",
    "still",
    "now",
    "then",
    "so",
    "but",
    "and",
    "or",
    "too",
    "without",
    "next",
    "continue",
    "why",
    "better",
    "faster",
    "simpler",
    "shorter",
    "more",
    "less",
    "step",
    "yours",
    "your",
    "he",
    "she",
    "there",
    "here",
    "what about",
    "how about",
    "what if",
    "das",
    "dies*",
    "es",
    "damit",
    "davon",
    "dafür",
    "dazu",
    "auch",
    "und",
    "aber",
    "oder",
    "jetzt",
    "nochmal",
    "noch",
    "stattdessen",
    "warum",
    "wieso",
    "weiter",
    "ohne",
    "besser",
    "schneller",
    "einfacher",
    "dann",
    "sie",
    "was ist mit",
    "wie wäre",
    "ça",
    "cela",
    "ce",
    "cette",
    "ces",
    "même",
    "aussi",
    "et",
    "mais",
    "ou",
    "maintenant",
    "pourquoi",
    "sans",
    "mieux",
    "plus",
    "encore",
    "autre",
    "alors",
    "qu'en est-il",
    "qu’en est-il",
    "eso",
    "esto",
    "ese",
    "esta",
    "este",
    "lo",
    "mismo",
    "misma",
    "también",
    "y",
    "pero",
    "ahora",
    "sin",
    "mejor",
    "más",
    "otra",
    "otro",
    "entonces",
    "por qué",
    "qué hay de",
    "qué tal",
    "questo",
    "questa",
    "quello",
    "stesso",
    "stessa",
    "anche",
    "e",
    "ma",
    "ora",
    "adesso",
    "perché",
    "senza",
    "meglio",
    "più",
    "altro",
    "ancora",
    "allora",
    "che dire",
    "isso",
    "isto",
    "esse",
    "essa",
    "mesmo",
    "mesma",
    "também",
    "mas",
    "agora",
    "sem",
    "melhor",
    "mais",
    "outro",
    "ainda",
    "então",
    "это",
    "этот",
    "эту",
    "этого",
    "его",
    "её",
    "их",
    "также",
    "тоже",
    "и",
    "а",
    "но",
    "теперь",
    "тогда",
    "почему",
    "без",
    "лучше",
    "быстрее",
    "ещё",
    "еще",
    "другой",
    "иначе",
    "что насчёт",
    "что если",
    "这",
    "那",
    "它",
    "也",
    "同样",
    "再",
    "呢",
    "如果",
    "为什么",
    "为何",
    "还",
    "更",
    "继续",
    "换成",
    "上面",
    "これ",
    "それ",
    "その",
    "この",
    "では",
    "じゃ",
    "なぜ",
    "どうして",
    "同じ",
    "もっと",
    "他の",
    "続け",
    "も",
    "هذا",
    "هذه",
    "ذلك",
    "تلك",
    "نفس",
    "أيضا",
    "لماذا",
    "الآن",
    "لكن",
    "بدون",
    "أفضل",
])
.at(2);

/// Whether a short ask leans on what was said before.
pub(super) fn leans_back(text: &str) -> bool {
    let lower = text.to_lowercase();
    let count = words(&lower).count();
    let chars = lower.chars().count();
    // Two words, or a handful of characters without spaces, ask for nothing by themselves.
    (count <= 2 && chars <= 24) || VOCABULARY.matches(text).all().has(BACK)
}

/// Letters of a word that is about something.
const WORD_MIN: usize = 5;
/// Bytes of an earlier ask in which such a word is looked for.
const EARLIER_MAX: usize = 2_048;

/// Whether an ask has a word of the one before it: then it most likely goes on with it.
pub(super) fn shares_a_word(text: &str, earlier: &str) -> bool {
    let earlier = earlier[..earlier.floor_char_boundary(EARLIER_MAX)].to_lowercase();
    let text = text.to_lowercase();
    let mut telling = words(&text).filter(|w| w.chars().count() >= WORD_MIN && !COMMON.contains(w));
    telling.any(|word| words(&earlier).any(|other| other == word))
}

/// Words of five letters and more that are about nothing.
const COMMON: &[&str] = &[
    "about",
    "please",
    "write",
    "which",
    "where",
    "there",
    "their",
    "would",
    "could",
    "should",
    "explain",
    "every",
    "other",
    "between",
    "bitte",
    "schreibe",
    "welche",
    "könnte",
    "erkläre",
    "écris",
    "quelle",
    "pourrait",
    "escribe",
    "puedes",
    "cuál",
    "quale",
    "scrivi",
    "escreva",
    "какая",
    "какой",
    "напиши",
];
