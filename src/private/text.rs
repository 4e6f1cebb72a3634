//! What a body says, as one text in which things can be looked for: escapes are undone however deep they are nested, letters of other
//! scripts that stand for digits, spaces and dashes become the plain ones, and what nobody sees is left out. Texts that a request
//! splits into parts are put together again at their seams. Base64 that holds text is read; pictures and sound are not looked at.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::borrow::Cow;

/// What was read.
pub(super) struct ReadText {
    /// The text, with its seams and what was packed behind it.
    pub(super) text: Vec<u8>,
    /// Something in it should be text and cannot be read.
    pub(super) unread: bool,
    /// Letters that were looked at.
    pub(super) work: u64,
}

/// Reads a body of this content type.
pub(super) fn of(body: &[u8], kind: Option<&str>) -> ReadText {
    let mut reader = Reader {
        out: Vec::with_capacity(body.len() + 16),
        ..Reader::default()
    };
    match kind.and_then(boundary) {
        Some(boundary) => reader.parts(body, &boundary),
        None => reader.piece(body),
    }
    reader.work += length(reader.behind.len());
    let mut text = reader.out;
    text.push(b'\n');
    text.extend_from_slice(&reader.behind);
    ReadText {
        text,
        unread: reader.unread,
        work: reader.work,
    }
}

/// The line between the parts of a form.
fn boundary(kind: &str) -> Option<Vec<u8>> {
    let lower = kind.trim_start().to_ascii_lowercase();
    if !lower.starts_with("multipart/") {
        return None;
    }
    let at = lower.find("boundary=")? + "boundary=".len();
    let rest = &kind.trim_start()[at..];
    let line = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => rest.split([';', ' ']).next(),
    }?;
    (!line.is_empty()).then(|| [b"--", line.as_bytes()].concat())
}

/// What a letter needs done outside of strings, within them, and where there are none.
const PLAIN: u8 = 0;
const QUOTE: u8 = 1;
const ESCAPE: u8 = 2;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const WIDE: u8 = 5;
const UNSEEN: u8 = 6;

const fn table(quotes: bool, brackets: bool) -> [u8; 256] {
    let mut table = [PLAIN; 256];
    let mut at = 0x80;
    while at < 256 {
        table[at] = WIDE;
        at += 1;
    }
    table[0] = UNSEEN;
    table[b'\\' as usize] = ESCAPE;
    if quotes {
        table[b'"' as usize] = QUOTE;
    }
    if brackets {
        table[b'{' as usize] = OPEN;
        table[b'[' as usize] = OPEN;
        table[b'}' as usize] = CLOSE;
        table[b']' as usize] = CLOSE;
    }
    table
}

static BETWEEN_STRINGS: [u8; 256] = table(true, true);
static IN_STRING: [u8; 256] = table(true, false);
static NO_JSON: [u8; 256] = table(false, false);

/// As much of a text as is put together with its neighbour.
const SEAM: usize = 256;
/// Deeper nesting is read, but not put together.
const DEEP: usize = 128;
/// Shorter strings are not taken for packed ones.
const PACKED_MIN: usize = 128;
/// Longer packed strings are no key and no word, so that they are looked at only unpacked.
const KEY_MAX: usize = 4_096;

/// A list or an object that is being read.
struct Frame {
    list: bool,
    /// The texts in it so far that are not written yet, as one; of a long one its end.
    joined: Vec<u8>,
    /// How many they are.
    pieces: usize,
}

impl Frame {
    /// Writes what is put together of several texts.
    fn flush(&mut self, behind: &mut Vec<u8>) {
        if self.pieces > 1 {
            behind.extend_from_slice(&self.joined);
            behind.push(b'\n');
        }
        self.pieces = 0;
    }

    /// Goes on with no more than the end of it.
    fn keep_end(&mut self) {
        let cut = self.joined.len().saturating_sub(SEAM);
        self.joined.drain(..cut);
        if cut > 0 {
            self.joined[0] = b'x';
        }
        self.pieces = 1;
    }
}

#[derive(Default)]
struct Reader {
    out: Vec<u8>,
    /// Seams, and what was packed.
    behind: Vec<u8>,
    unread: bool,
    work: u64,
    frames: Vec<Frame>,
    /// Nesting beyond [`DEEP`].
    deeper: usize,
    /// The value that comes next is that of a key under which texts stand.
    names_text: bool,
    /// The value that comes next may be a list of tokens, which are text that only a model reads.
    names_tokens: bool,
    /// What is read now was packed itself.
    unpacked: bool,
}

impl Reader {
    /// The parts of a form.
    fn parts(&mut self, body: &[u8], boundary: &[u8]) {
        self.work += length(body.len());
        let mut starts = memchr::memmem::find_iter(body, boundary).peekable();
        if starts.peek().is_none() {
            return self.piece(body);
        }
        while let Some(at) = starts.next() {
            let end = starts.peek().copied().unwrap_or(body.len());
            let part = &body[at + boundary.len()..end.max(at + boundary.len())];
            let split = memchr::memmem::find(part, b"\r\n\r\n").map_or(0, |n| n + 4);
            let (head, content) = part.split_at(split);
            self.piece(head);
            self.piece(content.strip_suffix(b"\r\n").unwrap_or(content));
            self.out.push(b'\n');
        }
    }

    /// One body, or one part of it.
    fn piece(&mut self, bytes: &[u8]) {
        self.work += length(bytes.len());
        match (sniff(bytes), std::str::from_utf8(bytes)) {
            // No picture and no sound is text from end to end: this one only begins like it.
            (Sniffed::Media, Ok(text)) => self.text(text.as_bytes()),
            (Sniffed::Media, Err(_)) => {}
            (Sniffed::Document, text) => {
                self.unread = true;
                self.text(text.unwrap_or_default().as_bytes());
            }
            (Sniffed::Wide(little), _) => {
                let text = wide(&bytes[2..], little);
                self.text(text.as_bytes());
            }
            (Sniffed::Other, Ok(text)) => self.text(text.as_bytes()),
            (Sniffed::Other, Err(_)) if is_latin(bytes) => {
                let text: String = bytes.iter().map(|b| char::from(*b)).collect();
                self.text(text.as_bytes());
            }
            (Sniffed::Other, Err(_)) => self.unread = true,
        }
    }

    fn text(&mut self, bytes: &[u8]) {
        let first = bytes.iter().find(|b| !b.is_ascii_whitespace());
        match first {
            Some(b'{' | b'[') => self.json(bytes),
            _ => self.plain(bytes),
        }
    }

    /// A text that is no JSON: all of it.
    fn plain(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            at = match NO_JSON[usize::from(bytes[at])] {
                PLAIN => self.run(bytes, at, &NO_JSON),
                ESCAPE => self.escape(bytes, at),
                WIDE => self.letter(bytes, at),
                _ => at + 1,
            };
        }
    }

    /// JSON, of which nothing is left out, whether or not it is well formed.
    fn json(&mut self, bytes: &[u8]) {
        let (mut at, mut begun) = (0, None);
        while at < bytes.len() {
            let table = match begun {
                Some(_) => &IN_STRING,
                None => &BETWEEN_STRINGS,
            };
            at = match table[usize::from(bytes[at])] {
                PLAIN => self.run(bytes, at, table),
                ESCAPE => self.escape(bytes, at),
                WIDE => self.letter(bytes, at),
                QUOTE => {
                    match begun.take() {
                        Some(start) => self.string(start, &bytes[at + 1..]),
                        None => begun = Some(self.out.len() + 1),
                    }
                    self.out.push(b'"');
                    at + 1
                }
                OPEN => {
                    self.unread |=
                        self.names_tokens && self.frames.len() <= 2 && is_tokens(&bytes[at..]);
                    self.names_tokens = false;
                    self.open(bytes[at] == b'[');
                    self.out.push(bytes[at]);
                    at + 1
                }
                CLOSE => {
                    self.close();
                    self.out.push(bytes[at]);
                    at + 1
                }
                _ => at + 1,
            };
        }
        for mut frame in std::mem::take(&mut self.frames) {
            frame.flush(&mut self.behind);
        }
        self.deeper = 0;
    }

    /// As many letters as need nothing done.
    fn run(&mut self, bytes: &[u8], at: usize, table: &[u8; 256]) -> usize {
        let rest = &bytes[at..];
        let end = rest.iter().position(|b| table[usize::from(*b)] != PLAIN);
        let end = at + end.unwrap_or(rest.len());
        self.out.extend_from_slice(&bytes[at..end]);
        end
    }

    fn open(&mut self, list: bool) {
        self.names_text = false;
        if self.frames.len() >= DEEP {
            self.deeper += 1;
            return;
        }
        self.frames.push(Frame {
            list,
            joined: Vec::new(),
            pieces: 0,
        });
    }

    fn close(&mut self) {
        if self.deeper > 0 {
            self.deeper -= 1;
        } else if let Some(mut frame) = self.frames.pop() {
            frame.flush(&mut self.behind);
        }
    }

    /// A string has ended that began here in what was read; `rest` follows it.
    fn string(&mut self, start: usize, rest: &[u8]) {
        let start = start.min(self.out.len());
        let mut next = rest.iter().take(16).filter(|b| !b.is_ascii_whitespace());
        if next.next() == Some(&b':') {
            let key = &self.out[start..];
            self.names_text = matches!(key, b"text" | b"content" | b"input");
            self.names_tokens = matches!(key, b"input" | b"prompt");
            return;
        }
        let whole = self.out.len() - start;
        if whole >= PACKED_MIN && self.unpack(start) {
            self.out.truncate(start);
        }
        self.sew(start);
        self.names_text = false;
        self.names_tokens = false;
    }

    /// Puts a text together with the one before it in the same list, be they there themselves or as the texts of parts.
    fn sew(&mut self, start: usize) {
        let depth = self.frames.len();
        let owner = match self.frames.last() {
            Some(frame) if frame.list => depth.checked_sub(1),
            Some(_) if self.names_text => depth.checked_sub(2),
            _ => None,
        };
        let Some(frame) = owner.and_then(|at| self.frames.get_mut(at)) else {
            return;
        };
        let text = &self.out[start.min(self.out.len())..];
        if !frame.list || self.deeper > 0 || text.is_empty() {
            return;
        }
        let head = &text[..text.len().min(SEAM)];
        if frame.pieces > 0 {
            frame.joined.extend_from_slice(head);
            frame.pieces += 1;
        }
        if head.len() < text.len() {
            // Nothing that is cut off here may pass for whole.
            frame.joined.push(b'x');
            frame.flush(&mut self.behind);
        } else if frame.joined.len() > 4 * SEAM {
            frame.flush(&mut self.behind);
            frame.keep_end();
        }
        if frame.pieces == 0 {
            frame.joined.clear();
            frame.joined.extend_from_slice(text);
            frame.keep_end();
        }
    }

    /// Reads a string that is packed as base64, perhaps as an address of its own. Gives whether it need not be looked at as it stands.
    fn unpack(&mut self, start: usize) -> bool {
        let string = &self.out[start..];
        let packed = match memchr::memmem::find(&string[..PACKED_MIN], b";base64,") {
            Some(at) if string.starts_with(b"data:") => &string[at + ";base64,".len()..],
            _ => string,
        };
        let is_packed = |b: &u8| b.is_ascii_alphanumeric() || b"+/-_=".contains(b);
        let head = packed.len().min(64);
        if head < 64 || !packed[..head].iter().all(is_packed) {
            return false;
        }
        self.work += length(packed.len());
        if !packed
            .iter()
            .all(|b| is_packed(b) || b.is_ascii_whitespace())
        {
            return false;
        }
        let long = packed.len() > KEY_MAX;
        let begins = unpacked(&packed[..head]);
        match sniff(&begins) {
            Sniffed::Document => self.unread = true,
            _ if is_text(&begins) && !self.unpacked => {
                let inner = unpacked(packed);
                self.packed(&inner);
            }
            _ => {}
        }
        long
    }

    /// What was packed is read like a body of its own, once.
    fn packed(&mut self, bytes: &[u8]) {
        let mut inner = Reader {
            unpacked: true,
            ..Reader::default()
        };
        inner.piece(bytes);
        self.behind.push(b'\n');
        self.behind.extend_from_slice(&inner.out);
        self.behind.push(b'\n');
        self.behind.extend_from_slice(&inner.behind);
        self.work += inner.work;
        self.unread |= inner.unread;
    }

    /// An escape, however often it was escaped itself. Gives the place behind it.
    fn escape(&mut self, bytes: &[u8], at: usize) -> usize {
        let rest = &bytes[at..];
        let slashes = rest.iter().take_while(|b| **b == b'\\').count();
        let after = at + slashes;
        match bytes.get(after) {
            Some(b'u') => match self.code(bytes, after) {
                Some(end) => end,
                None => self.slash(after),
            },
            Some(b'n' | b'r') => {
                self.out.push(b'\n');
                after + 1
            }
            Some(b't' | b'b' | b'f') => {
                self.out.push(b' ');
                after + 1
            }
            Some(b'"') if slashes % 2 == 1 => {
                self.out.push(b'"');
                after + 1
            }
            Some(b'/') => {
                self.out.push(b'/');
                after + 1
            }
            _ => self.slash(after),
        }
    }

    fn slash(&mut self, after: usize) -> usize {
        self.out.push(b'\\');
        after
    }

    /// `u0034`, or two of them that make one letter.
    fn code(&mut self, bytes: &[u8], at: usize) -> Option<usize> {
        let high = unit(bytes, at)?;
        let mut end = at + 5;
        let mut letter = char::from_u32(high);
        if (0xD800..0xDC00).contains(&high) {
            let slashes = bytes[end..].iter().take_while(|b| **b == b'\\').count();
            let low = unit(bytes, end + slashes).filter(|low| (0xDC00..0xE000).contains(low));
            if let (Some(low), true) = (low, slashes > 0) {
                letter = char::from_u32(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00));
                end += slashes + 5;
            }
        }
        self.put(letter.unwrap_or(char::REPLACEMENT_CHARACTER));
        Some(end)
    }

    /// A letter of more than one byte.
    fn letter(&mut self, bytes: &[u8], at: usize) -> usize {
        let size = match bytes[at] {
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            _ => 4,
        };
        let end = bytes.len().min(at + size);
        let piece = &bytes[at..end];
        // What are most letters of most scripts needs nothing done: Latin to Hebrew, and Chinese, Japanese and Korean.
        let usual = matches!(piece, [0xC3..=0xCC | 0xCE..=0xD7, ..] | [0xE3, 0x81..=0xBF, ..] | [0xE4..=0xE9 | 0xEB..=0xED, ..]);
        if usual {
            self.out.extend_from_slice(piece);
        } else if let Some(letter) = std::str::from_utf8(piece)
            .ok()
            .and_then(|s| s.chars().next())
        {
            self.put(letter);
        }
        end
    }

    /// Writes a letter as what it stands for.
    fn put(&mut self, letter: char) {
        match plain(letter) {
            Seen::As(byte) => self.out.push(byte),
            Seen::Itself => {
                let mut buffer = [0; 4];
                self.out
                    .extend_from_slice(letter.encode_utf8(&mut buffer).as_bytes());
            }
            Seen::Not => {}
        }
    }
}

/// A list of numbers, or of lists of them.
fn is_tokens(list: &[u8]) -> bool {
    let mut rest = list.iter().take(16);
    let first = rest.find(|b| !b.is_ascii_whitespace() && **b != b'[');
    list[0] == b'[' && first.is_some_and(u8::is_ascii_digit)
}

/// Four hexadecimal digits after a `u`.
fn unit(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 5)?.strip_prefix(b"u")?;
    let hex = |value: u32, b: &u8| Some(value * 16 + char::from(*b).to_digit(16)?);
    digits.iter().try_fold(0, hex)
}

/// How a letter is seen.
enum Seen {
    As(u8),
    Itself,
    Not,
}

/// Where the digits of other scripts begin.
const ZEROS: [u32; 36] = [
    0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6,
    0xE50, 0xED0, 0xF20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50,
    0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0x104A0,
];

fn plain(letter: char) -> Seen {
    let code = u32::from(letter);
    match code {
        0 | 0xAD | 0x34F | 0x180E | 0x200B..=0x200F | 0x202A..=0x202E => Seen::Not,
        0x2060..=0x206F | 0xFE00..=0xFE0F | 0xFEFF => Seen::Not,
        0x01..=0x7F => u8::try_from(code).map_or(Seen::Not, Seen::As),
        0xA0 | 0x1680 | 0x2000..=0x200A | 0x202F | 0x205F | 0x3000 => Seen::As(b' '),
        0x85 | 0x2028 | 0x2029 => Seen::As(b'\n'),
        0x2010..=0x2015 | 0x2043 | 0x2212 | 0xFE58 | 0xFE63 => Seen::As(b'-'),
        0xB7 | 0x2022 | 0x2024 | 0x2027 => Seen::As(b'.'),
        0xFF01..=0xFF5E => u8::try_from(code - 0xFEE0).map_or(Seen::Not, Seen::As),
        0xB2 | 0xB3 => digit(code - 0xB0),
        0xB9 => digit(1),
        0x2070 | 0x2074..=0x2079 => digit(code - 0x2070),
        0x2080..=0x2089 => digit(code - 0x2080),
        0x2460..=0x2468 => digit(code - 0x245F),
        0x1_D7CE..=0x1_D7FF => digit((code - 0x1_D7CE) % 10),
        0x660.. => {
            let zeros = ZEROS.partition_point(|zero| *zero <= code);
            let zero = zeros.checked_sub(1).map(|at| ZEROS[at]);
            match zero.map(|zero| code - zero) {
                Some(value @ 0..=9) => digit(value),
                _ => Seen::Itself,
            }
        }
        _ => Seen::Itself,
    }
}

fn digit(value: u32) -> Seen {
    u8::try_from(value).map_or(Seen::Itself, |value| Seen::As(b'0' + value))
}

/// What bytes look like.
enum Sniffed {
    /// A picture, sound, or film.
    Media,
    /// A document that holds text in a form of its own, or a package of such.
    Document,
    /// Text of two bytes a letter, the lower one first or not.
    Wide(bool),
    /// Perhaps text.
    Other,
}

/// By how files of each kind begin.
fn sniff(bytes: &[u8]) -> Sniffed {
    let begins = |start: &[u8]| bytes.starts_with(start);
    let media: [&[u8]; 14] = [
        b"\x89PNG",
        b"\xFF\xD8\xFF",
        b"GIF8",
        b"RIFF",
        b"BM6",
        b"II*\0",
        b"MM\0*",
        b"ID3",
        b"OggS",
        b"fLaC",
        b"\xFF\xFB",
        b"\xFF\xF3",
        b"\xFF\xF1",
        b"\x1A\x45\xDF\xA3",
    ];
    let documents: [&[u8]; 8] = [
        b"%PDF-",
        b"PK\x03\x04",
        b"\xD0\xCF\x11\xE0",
        b"\x1F\x8B",
        b"\x28\xB5\x2F\xFD",
        b"7z\xBC\xAF",
        b"BZh9",
        b"PAR1",
    ];
    let film = bytes.get(4..8) == Some(b"ftyp");
    if film || media.iter().any(|start| begins(start)) {
        Sniffed::Media
    } else if documents.iter().any(|start| begins(start)) {
        Sniffed::Document
    } else if begins(b"\xFF\xFE") || begins(b"\xFE\xFF") {
        Sniffed::Wide(begins(b"\xFF\xFE"))
    } else {
        Sniffed::Other
    }
}

fn wide(bytes: &[u8], little: bool) -> Cow<'static, str> {
    let unit = |pair: &[u8]| match little {
        true => u16::from_le_bytes([pair[0], pair[1]]),
        false => u16::from_be_bytes([pair[0], pair[1]]),
    };
    let units: Vec<u16> = bytes.chunks_exact(2).map(unit).collect();
    String::from_utf16_lossy(&units).into()
}

/// Text of one byte a letter: it has hardly any control letters.
fn is_latin(bytes: &[u8]) -> bool {
    let control = |b: &&u8| matches!(**b, 0..=8 | 14..=31 | 127);
    bytes.iter().filter(control).count() * 64 <= bytes.len()
}

/// What was unpacked begins like text. It may end within a letter.
fn is_text(bytes: &[u8]) -> bool {
    let valid = match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(flaw) => flaw.error_len().is_none(),
    };
    let control = |b: &u8| matches!(*b, 0..=8 | 14..=31 | 127);
    bytes.starts_with(b"\xFF\xFE") || (valid && !bytes.is_empty() && !bytes.iter().any(control))
}

/// Base64 of either alphabet, with or without spaces and padding, as far as it can be read.
fn unpacked(packed: &[u8]) -> Vec<u8> {
    let letters = packed.iter().filter(|b| !b.is_ascii_whitespace());
    let letters = letters.take_while(|b| **b != b'=').map(|b| match b {
        b'-' => b'+',
        b'_' => b'/',
        b => *b,
    });
    let mut letters: Vec<u8> = letters.collect();
    // A single letter at the end says nothing.
    if letters.len() % 4 == 1 {
        letters.pop();
    }
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(&STANDARD, config)
        .decode(&letters)
        .unwrap_or_default()
}

/// A length as work.
fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
