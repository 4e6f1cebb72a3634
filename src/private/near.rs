//! Words near a number that say what it is: what has no proof of its own, or a weak one, counts only beside such a word.

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use std::sync::OnceLock;

/// What a number may be; each a bit.
pub(super) const CARD: u64 = 1;
pub(super) const US: u64 = 1 << 1;
pub(super) const NL: u64 = 1 << 2;
pub(super) const CA: u64 = 1 << 3;
pub(super) const AU: u64 = 1 << 4;
pub(super) const PT: u64 = 1 << 5;
pub(super) const GB: u64 = 1 << 6;
pub(super) const AT: u64 = 1 << 7;
pub(super) const DK: u64 = 1 << 8;
pub(super) const SE: u64 = 1 << 9;
pub(super) const DE: u64 = 1 << 10;
pub(super) const PL: u64 = 1 << 11;
pub(super) const BR: u64 = 1 << 12;
pub(super) const TR: u64 = 1 << 13;
pub(super) const HR: u64 = 1 << 14;
pub(super) const IN: u64 = 1 << 15;
pub(super) const JP: u64 = 1 << 16;
pub(super) const RU: u64 = 1 << 17;
pub(super) const RO: u64 = 1 << 18;
pub(super) const ZA: u64 = 1 << 19;
pub(super) const IE: u64 = 1 << 20;
pub(super) const TW: u64 = 1 << 21;
pub(super) const ES: u64 = 1 << 22;
pub(super) const CZ: u64 = 1 << 23;
pub(super) const CL: u64 = 1 << 24;
pub(super) const PHONE: u64 = 1 << 25;
/// It has no words: its form and its check digits are proof enough.
pub(super) const NONE: u64 = 0;

/// The words of each, as people write them beside such a number.
const WORDS: [(u64, &[&str]); 26] = [
    (
        CARD,
        &[
            "card",
            "visa",
            "mastercard",
            "maestro",
            "diners",
            "karte",
            "kaart",
            "cartao",
            "carte",
            "tarjeta",
            "carta",
            "cartão",
            "kart",
            "карт",
            "卡",
            "カード",
            "카드",
            "pan",
        ],
    ),
    (US, &["ssn", "social security", "itin", "tax id"]),
    (NL, &["bsn", "burgerservicenummer", "sofinummer"]),
    (CA, &["sin", "social insurance", "assurance sociale", "nas"]),
    (AU, &["tfn", "tax file"]),
    (PT, &["nif", "contribuinte"]),
    (GB, &["nhs", "nino", "national insurance", "ni number"]),
    (
        AT,
        &[
            "svnr",
            "sozialversicherung",
            "versicherungsnummer",
            "sv-nummer",
            "vsnr",
        ],
    ),
    (DK, &["cpr", "personnummer"]),
    (SE, &["personnummer", "samordningsnummer", "pnr"]),
    (
        DE,
        &[
            "steuer-id",
            "steuerid",
            "steueridentifikation",
            "steuerliche identifikation",
            "idnr",
            "tax id",
            "steuernummer",
            "tin",
        ],
    ),
    (PL, &["pesel"]),
    (BR, &["cpf", "cnpj", "cadastro de pessoa"]),
    (TR, &["tckn", "kimlik", "tc no"]),
    (HR, &["oib"]),
    (IN, &["aadhaar", "aadhar", "uidai", "आधार", "uid"]),
    (JP, &["my number", "mynumber", "マイナンバー", "個人番号"]),
    (RU, &["inn", "snils", "ИНН", "инн", "СНИЛС", "снилс"]),
    (RO, &["cnp", "cod numeric"]),
    (
        ZA,
        &["id number", "identity number", "said", "rsa id", "sa id"],
    ),
    (IE, &["pps", "ppsn", "personal public service"]),
    (TW, &["身分證", "身份證", "national id", "id number"]),
    (ES, &["dni", "nie", "nif"]),
    (CZ, &["rodné číslo", "rodne cislo", "rodné čislo", "rč"]),
    (CL, &["rut", "run"]),
    (
        PHONE,
        &[
            "phone", "tel", "mobile", "cell", "telefon", "handy", "móvil", "portable", "电话",
            "手机", "電話", "携帯", "тел", "fax", "whatsapp",
        ],
    ),
];

/// Shorter words must stand alone; what is longer may be a part of a compound.
const ALONE_MAX: usize = 4;
/// So far a word may be before a number.
const BEFORE: usize = 64;
/// And behind it.
const AFTER: usize = 24;
/// Text is looked through so much at a time, once.
const BLOCK: usize = 64;
/// No word is longer.
const WORD_MAX: usize = 32;

struct Words {
    finder: AhoCorasick,
    what: Vec<u64>,
}

fn words() -> &'static Words {
    static BUILT: OnceLock<Words> = OnceLock::new();
    BUILT.get_or_init(|| {
        let each = || {
            let all = WORDS.iter();
            all.flat_map(|(what, words)| words.iter().map(move |word| (*what, *word)))
        };
        let finder = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .kind(Some(AhoCorasickKind::DFA))
            .build(each().map(|(_, word)| word))
            .expect("these few words make a small automaton");
        let what = each().map(|(what, _)| what).collect();
        Words { finder, what }
    })
}

/// What stands in the blocks of a text that were looked at last.
pub(super) struct Near {
    blocks: [(usize, u64); 8],
}

impl Default for Near {
    fn default() -> Near {
        let blocks = [(usize::MAX, 0); 8];
        Near { blocks }
    }
}

impl Near {
    /// Whether one of these words stands near a number.
    pub(super) fn has(
        &mut self,
        text: &[u8],
        what: u64,
        from: usize,
        to: usize,
        work: &mut u64,
    ) -> bool {
        let first = from.saturating_sub(BEFORE) / BLOCK;
        let last = (to + AFTER).min(text.len()) / BLOCK;
        (first..=last).any(|block| self.block(text, block, work) & what != 0)
    }

    /// The words that end in this block.
    fn block(&mut self, text: &[u8], block: usize, work: &mut u64) -> u64 {
        let kept = &mut self.blocks[block % 8];
        if kept.0 != block {
            let begin = block * BLOCK;
            let end = text.len().min(begin + BLOCK);
            let window = begin.saturating_sub(WORD_MAX);
            *work += u64::try_from(end.saturating_sub(window)).unwrap_or(u64::MAX);
            *kept = (block, found(text, window, begin, end));
        }
        kept.1
    }
}

fn found(text: &[u8], window: usize, begin: usize, end: usize) -> u64 {
    let words = words();
    let part = &text[window.min(end)..end];
    let all = words.finder.find_overlapping_iter(part);
    all.filter(|m| window + m.end() > begin)
        .filter(|m| stands(text, window + m.start(), window + m.end()))
        .fold(0, |all, m| all | words.what[m.pattern().as_usize()])
}

/// A short word stands alone, or begins and ends as words in names do (`userSsn`).
fn stands(text: &[u8], from: usize, to: usize) -> bool {
    let long = to - from > ALONE_MAX || !text[from].is_ascii();
    let before = from.checked_sub(1).map_or(b' ', |at| text[at]);
    let after = text.get(to).copied().unwrap_or(b' ');
    let first = text[from];
    let last = text[to - 1];
    let begins = !before.is_ascii_alphanumeric()
        || (before.is_ascii_lowercase() && first.is_ascii_uppercase());
    let ends =
        !after.is_ascii_alphanumeric() || (last.is_ascii_lowercase() && after.is_ascii_uppercase());
    long || (begins && ends)
}
