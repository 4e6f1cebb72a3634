//! Counting tokens exactly. The one door to tiktoken-rs.
//!
//! Slow and not to be trusted with hostile text (a million spaces make it panic, one long run of a letter
//! takes it half a second), so: only when a cheap bound does not settle the matter, off the I/O threads,
//! in pieces, with panics caught.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tiktoken_rs::CoreBPE;

/// Pieces that the encoder is given at a time, in bytes. A cut can only add tokens, never lose any.
const PIECE: usize = 16 * 1024;
/// Longer runs of one byte are counted as one token a byte, an upper bound, without asking the encoder.
const RUN_MAX: usize = 256;

/// Upper bound of the tokens that `bytes` bytes of text can be: byte-level encodings never use more than one a byte.
#[must_use]
pub fn bound(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Bytes of the longest token in o200k_base and in cl100k_base (a test looks): 128 spaces, in both.
const TOKEN_BYTES_MAX: usize = 128;

/// Lower bound of what [`count`], [`count_for`] and [`count_embedded`] say of so many bytes of text: no token is longer than the
/// longest one.
#[must_use]
pub fn least_of(bytes: usize) -> u64 {
    bound(bytes.div_ceil(TOKEN_BYTES_MAX))
}

/// The same, closer, in a hundredth of the time of a count.
///
/// No token reaches over the pieces into which both encodings cut a text first; of these
/// each holds at most three digits, or at most one run of letters that a space goes before: a space can only be the first
/// character of a piece with letters, and of digits a piece has three at most and nothing else.
#[must_use]
pub fn least(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let after = bytes.get(1..).unwrap_or_default();
    let (mut words, mut digits) = (0_usize, 0_usize);
    // So few at a time that their number fits into one byte, and without checks of it: so the compiler looks at many bytes at once.
    for (these, next) in bytes.chunks(255).zip(after.chunks(255)) {
        let (mut begun, mut numbers) = (0_u8, 0_u8);
        for (a, b) in these.iter().zip(next) {
            let letter = (b | 0x20).wrapping_sub(b'a') < 26;
            begun = begun.wrapping_add(u8::from((*a == b' ') & letter));
            numbers = numbers.wrapping_add(u8::from(a.wrapping_sub(b'0') < 10));
        }
        words += usize::from(begun);
        digits += usize::from(numbers);
    }
    bound(words + digits.div_ceil(3)).max(least_of(bytes.len()))
}

/// The tokens of `text` in o200k_base (OpenAI's encoding since 2024; for other vendors an estimate).
/// Blocks for about 50 ms a megabyte, the first time and after a minute's rest 0.3 s longer: call it off the I/O threads.
#[must_use]
pub fn count(text: &str) -> u64 {
    count_in(text, &O200K_BASE)
}

/// Beginnings of the names of OpenAI's models that are known to read o200k_base.
const O200K: [&str; 7] = ["gpt-4o", "chatgpt-4o", "gpt-4.1", "gpt-5", "o1", "o3", "o4"];

/// The most tokens that `text` is for the OpenAI model of this name: in o200k_base where it is known to read that, else in the
/// encoding that makes more of it. As slow as [`count`], or twice.
#[must_use]
pub fn count_for(model: &str, text: &str) -> u64 {
    let model = model.to_ascii_lowercase();
    let counted = count(text);
    match O200K.iter().any(|name| model.starts_with(name)) {
        true => counted,
        false => counted.max(count_embedded(text)),
    }
}

/// The tokens of `text` in cl100k_base, the encoding of OpenAI's embedders. As slow as [`count`].
#[must_use]
pub fn count_embedded(text: &str) -> u64 {
    count_in(text, &CL100K_BASE)
}

static O200K_BASE: Encoding =
    Encoding::new(|| tiktoken_rs::o200k_base().expect("it is built in, and a test reads it"));
static CL100K_BASE: Encoding =
    Encoding::new(|| tiktoken_rs::cl100k_base().expect("it is built in, and a test reads it"));

/// An encoding that is read when it is needed, which takes 0.3 s, and let go when nobody has needed it for a while, since it takes 37 MB.
struct Encoding {
    read: fn() -> CoreBPE,
    kept: Mutex<Option<ReadEncoding>>,
}

/// An encoding that was read, and when it was needed last.
struct ReadEncoding {
    encoding: Arc<CoreBPE>,
    needed: Instant,
}

/// Lets go of the encodings that nobody has needed for so long. Tells whether any is kept on.
pub fn let_go(unneeded: Duration) -> bool {
    let (o200k, cl100k) = (O200K_BASE.let_go(unneeded), CL100K_BASE.let_go(unneeded));
    o200k || cl100k
}

impl Encoding {
    const fn new(read: fn() -> CoreBPE) -> Encoding {
        Encoding {
            read,
            kept: Mutex::new(None),
        }
    }

    /// The encoding; others who need it meanwhile wait until it is read.
    fn get(&self) -> Arc<CoreBPE> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let needed = Instant::now();
        let kept = kept.get_or_insert_with(|| ReadEncoding {
            encoding: Arc::new((self.read)()),
            needed,
        });
        kept.needed = needed;
        Arc::clone(&kept.encoding)
    }

    /// Lets go of it if nobody has needed it for so long. Tells whether it is kept on.
    fn let_go(&self, unneeded: Duration) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = kept.take_if(|kept| kept.needed.elapsed() >= unneeded);
        let is_kept = kept.is_some();
        // Others need not wait while it is taken apart.
        drop(kept);
        drop(gone);
        is_kept
    }
}

fn count_in(text: &str, encoding: &Encoding) -> u64 {
    let mut pieces = pieces(text).peekable();
    if pieces.peek().is_none() {
        return 0;
    }
    let encoding = encoding.get();
    pieces.map(|piece| count_piece(piece, &encoding)).sum()
}

fn count_piece(piece: &str, encoding: &CoreBPE) -> u64 {
    if longest_run(piece.as_bytes()) > RUN_MAX {
        return bound(piece.len());
    }
    let counted = catch_unwind(AssertUnwindSafe(|| encoding.encode_ordinary(piece).len()));
    counted.map_or_else(
        |_| bound(piece.len()),
        |n| u64::try_from(n).unwrap_or(u64::MAX),
    )
}

fn longest_run(bytes: &[u8]) -> usize {
    let (mut longest, mut run, mut last) = (0, 0, None);
    for &b in bytes {
        run = if last == Some(b) { run + 1 } else { 1 };
        last = Some(b);
        longest = longest.max(run);
    }
    longest
}

fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut cut = rest.len().min(PIECE);
        while !rest.is_char_boundary(cut) {
            cut -= 1;
        }
        let (piece, next) = rest.split_at(cut);
        rest = next;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_text_is_counted_exactly() {
        assert_eq!(count(""), 0);
        assert_eq!(count("Hello world"), 2);
        assert_eq!(count_embedded("Hello world"), 2);
    }

    #[test]
    fn an_encoding_is_read_once_and_anew_after_nobody_has_needed_it_for_a_while() {
        use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
        static READ: AtomicUsize = AtomicUsize::new(0);
        static ENCODING: Encoding = Encoding::new(|| {
            READ.fetch_add(1, Relaxed);
            tiktoken_rs::r50k_base().expect("it is built in")
        });
        let long = Duration::from_secs(3_600);
        assert!(!ENCODING.let_go(Duration::ZERO), "nothing is there yet");
        assert_eq!(count_in("", &ENCODING), 0);
        assert_eq!(READ.load(Relaxed), 0, "nothing needs it");
        let counted = count_in("Hello world", &ENCODING);
        assert_eq!(count_in("Hello world", &ENCODING), counted);
        assert!(ENCODING.let_go(long), "it was needed a moment ago");
        assert_eq!(READ.load(Relaxed), 1);
        let used = ENCODING.get();
        assert!(!ENCODING.let_go(Duration::ZERO));
        assert_eq!(used.encode_ordinary("Hello world").len(), 2);
        assert_eq!(count_in("Hello world", &ENCODING), counted);
        assert_eq!(READ.load(Relaxed), 2);
    }

    #[test]
    fn no_token_is_longer_than_the_longest() {
        for encoding in [
            tiktoken_rs::o200k_base_singleton(),
            tiktoken_rs::cl100k_base_singleton(),
        ] {
            let all = (0..210_000).filter_map(|token| encoding.decode_bytes(&[token]).ok());
            assert_eq!(all.map(|bytes| bytes.len()).max(), Some(TOKEN_BYTES_MAX));
        }
    }

    #[test]
    fn a_lower_bound_is_never_above_a_count() {
        let words = "the quick brown fox it's 12345 I'LL go  to\n\tX1y2 3.14159 é a b c日本 d_e -f";
        let mut texts: Vec<String> = [
            "",
            " ",
            "a",
            " a",
            "1",
            "1234",
            " 1 2 3",
            " a a a a",
            "It's 's 'S don't",
            "ABCdef GHI jkl",
            " the the the",
            " antidisestablishmentarianism",
            "{\"a\": [1, 22, 333]}",
            " é a é b",
            "\u{a0}a \u{3000}b",
            "\r\n a\r\n b",
            " \u{301}a \u{301}b",
            " a\u{301} b",
        ]
        .iter()
        .map(ToString::to_string)
        .collect();
        texts.push(" ".repeat(5_000));
        texts.push(words.repeat(700));
        // Random texts of what matters: spaces, letters, digits, marks, a line end, a letter outside ASCII.
        let alphabet: Vec<char> = " aaAbZ019'.-_\n\té日\u{301}\\\"{".chars().collect();
        let mut state = 7_u64;
        for length in 0..2_000 {
            let mut next = || {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                usize::try_from(state >> 40).expect("24 bits")
            };
            texts.push(
                (0..length % 97)
                    .map(|_| alphabet[next() % alphabet.len()])
                    .collect(),
            );
        }
        for text in &texts {
            let least = least(text);
            assert!(least <= count(text), "{text:?}");
            assert!(least <= count_embedded(text), "{text:?}");
        }
        let text = words.repeat(700);
        assert!(
            least(&text) * 4 > count(&text),
            "it is near enough to be of use"
        );
    }

    #[test]
    fn hostile_text_is_bounded_and_quick() {
        for text in [
            " ".repeat(1_000_000),
            "a".repeat(300_000),
            "é".repeat(50_000),
        ] {
            let counted = count(&text);
            assert!(counted > 0 && counted <= bound(text.len()));
        }
    }
}
