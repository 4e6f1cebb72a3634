//! Ten thousand requests, some confidential and most not, in every dialect, with faults at both ends: the fake cloud's own record holds no
//! byte of a confidential one.

use super::asking::{Asking, WAYS, Way};
use super::recovering::{GOES_ON, second};
use super::{DETECTS, asked, config};
use crate::flyball::Flyball;
use crate::scripted::{Seen, Step, Upstream, answer, chat, chat_stream};
use futures_util::StreamExt;

const REQUESTS: u32 = 10_000;
/// What every confidential request says beside what makes it one, so that it is known in whatever form the rest has.
const MARK: &str = "zzqconfidentialzzq";
const OPEN: &str = "zzqordinaryzzq";

/// A model whose vendor has a flex tier.
const LATE: &str = "[[model]]\nname = \"m-late\"\nprovider = \"up\"\ntier = \"small\"\nefforts = []\ncontext_tokens = 100000\nanswer_tokens_max = 4000\ninput_usd_per_mtok = 2\noutput_usd_per_mtok = 20\n[model.flex]\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 10\n";
/// One that only shadows are asked of.
const SHADOW: &str = "[[model]]\nname = \"m-shadow\"\nprovider = \"up\"\ntier = \"reasoning\"\nefforts = []\ncontext_tokens = 100000\nanswer_tokens_max = 4000\ninput_usd_per_mtok = 5000\noutput_usd_per_mtok = 5000\n";

/// Chance from a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % end
    }

    fn pick<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }

    fn digits(&mut self, count: usize) -> String {
        (0..count)
            .map(|_| char::from(b"0123456789"[self.below(10)]))
            .collect()
    }

    fn letters(&mut self, count: usize) -> String {
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        (0..count)
            .map(|_| char::from(LETTERS[self.below(LETTERS.len())]))
            .collect()
    }

    /// A card that nobody has.
    fn card(&mut self) -> String {
        let body = format!("4{}", self.digits(14));
        let doubled = |(at, c): (usize, char)| {
            let d = c.to_digit(10).expect("a digit") * if at % 2 == 0 { 2 } else { 1 };
            if d > 9 { d - 9 } else { d }
        };
        let sum: u32 = body.chars().rev().enumerate().map(doubled).sum();
        format!("{body}{}", (10 - sum % 10) % 10)
    }

    /// A card in one of the ways in which people, programs and phones write one.
    fn written(&mut self) -> String {
        let card = self.card();
        let fours = |between: &str| {
            let all: Vec<&str> = (0..4).map(|n| &card[n * 4..n * 4 + 4]).collect();
            all.join(between)
        };
        let moved = |zero: u32| {
            card.chars()
                .filter_map(|c| char::from_u32(zero + c.to_digit(10)?))
                .collect()
        };
        match self.below(12) {
            0 => fours(" "),
            1 => fours("-"),
            2 => fours("\u{a0}"),
            3 => fours("\u{2011}"),
            4 => fours(" - "),
            5 => fours("\u{200b}"),
            6 => moved(0xFF10),
            7 => moved(0x660),
            8 => moved(0x966),
            9 => moved(0x1_D7CE),
            10 => card.chars().map(String::from).collect::<Vec<_>>().join(" "),
            _ => card,
        }
    }

    fn confidential(&mut self) -> String {
        match self.below(8) {
            0..=3 => self.written(),
            4 => "DE44 5001 0517 5407 3249 31".into(),
            5 => format!("ghp_{}7", self.letters(35)),
            6 => format!("postgres://app:{}@db:5432/x", self.letters(12)),
            _ => self
                .pick(&[
                    "Projekt Übermut",
                    "PROJEKT ÜBERMUT",
                    "my DNI 93830094F",
                    "BSN 111222333",
                    "KD-778812",
                ])
                .into(),
        }
    }

    fn ordinary(&mut self) -> String {
        let number = self.digits(9);
        match self.below(4) {
            0 => format!("order x{number}"),
            1 => format!("0.{number}{number}"),
            2 => format!("in {} words", self.below(900)),
            _ => "the weather".to_owned(),
        }
    }

    /// What becomes of one attempt.
    fn fate(&mut self) -> Vec<Step> {
        match self.below(10) {
            0 => answer(500, "{\"error\":{\"message\":\"no\"}}"),
            1 => answer(429, "{\"error\":{\"message\":\"slow down\"}}"),
            2 => vec![Step::Reset],
            3 => vec![Step::Close],
            4 => answer(200, "not json"),
            5 => {
                let mut cut = chat_stream(&["hi"], 3, 2);
                cut.truncate(2);
                cut.push(Step::Reset);
                cut
            }
            6 | 7 => chat_stream(&["hi", " there"], 3, 2),
            _ => answer(200, &chat(10, 5)),
        }
    }
}

/// One request, and whether it is confidential. Some write the value's letters as escapes, once or twice over.
fn request(chance: &mut Chance) -> (Asking, bool) {
    let way = WAYS[chance.below(WAYS.len())];
    let model = chance.pick(&[
        "auto",
        "auto",
        "auto:best",
        "auto:cheap",
        "m-small",
        "m-big",
        "own",
        "own-2",
        "m-late",
        "quick",
        "mine",
        "claude-x",
    ]);
    let model = if matches!(way, Way::Embeddings | Way::Count) {
        way.away()
    } else {
        model
    };
    let waits = chance.below(3) == 0;
    let of = |text: &str| match (Asking::of(way, model, text), waits) {
        (asking, true) => asking.late(),
        (asking, false) => asking,
    };
    if chance.below(10) >= 4 {
        let text = chance.ordinary();
        return (of(&format!("{OPEN} {text} {OPEN}")), false);
    }
    let value = chance.confidential();
    let split = way == Way::Parts;
    let text = match split {
        // The value itself lies at the seam.
        true => format!("{MARK} a {value} b {MARK}"),
        false => format!("{MARK} {value} please"),
    };
    let asking = of(&text);
    let plain = matches!(way, Way::PassedText | Way::Parts) || !value.is_ascii();
    let escaped: String = value
        .chars()
        .map(|c| format!("\\u{:04x}", u32::from(c)))
        .collect();
    match (plain, chance.below(4)) {
        (false, 0) => (asking.with(&value, &escaped), true),
        _ => (asking, true),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_byte_of_a_confidential_request_reaches_the_cloud_in_ten_thousand() {
    let cloud = Upstream::start(answer(200, &chat(10, 5))).await;
    let local = Upstream::start(answer(200, &chat(10, 5))).await;
    // Retries, other arms after failures, aliases and intercepted names: every way on that there is.
    // What can wait goes out in a flex tier, and a share of everything is asked of another model besides.
    let more = GOES_ON.to_owned()
        + "[shadow]\nshare = 0.3\narm = \"m-shadow\"\ncap_usd = 1000\n"
        + DETECTS;
    let toml = config(&cloud, &local, &more) + &second(&local.url()) + LATE + SHADOW;
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
    let flyball = Flyball::start_in(dir, &toml).await;
    let mut chance = Chance(0x9E37_79B9_7F4A_7C15);
    for _ in 0..REQUESTS {
        cloud.next(chance.fate());
        local.next(chance.fate());
    }
    let asked_for: Vec<_> = (0..REQUESTS).map(|_| request(&mut chance)).collect();
    let one = async |(asking, confidential): &(Asking, bool)| {
        let got = asked(&flyball, asking).await;
        let marked = got.header("x-flyball-private").is_some();
        assert_eq!(
            marked, *confidential,
            "{} {} {}",
            asking.body, got.status, got.body
        );
    };
    let all = futures_util::stream::iter(&asked_for).map(one);
    all.buffer_unordered(16).collect::<Vec<()>>().await;
    let confidential = asked_for.iter().filter(|(_, c)| *c).count();
    let has = |mark: &str, upstream: &Upstream| {
        let seen = upstream.seen();
        seen.iter()
            .filter(|s| s.body.contains(mark) || s.head.contains(mark))
            .count()
    };
    assert_eq!(has(MARK, &cloud), 0);
    // Every way there was taken by what is ordinary: a flex tier, shadows, checks of a cheaper model's answer, embeddings, what is passed on.
    let ways = |what: &str| {
        let seen = cloud.seen();
        let by = |s: &&Seen| s.body.contains(what) || s.head.contains(what);
        seen.iter().filter(by).count()
    };
    for (what, least) in [
        ("\"service_tier\":\"flex\"", 5),
        ("\"m-shadow\"", 5),
        ("\"logprobs\":true", 1),
        ("/v1/embeddings", 5),
        ("/v1/notes", 5),
        ("/v1/files", 5),
        ("/v1/batches", 5),
        (":streamGenerateContent", 5),
    ] {
        assert!(ways(what) >= least, "{what}: {}", ways(what));
    }
    // Whatever went there was ordinary, and there was much of it; what was confidential was answered at home.
    assert!(has(OPEN, &cloud) > 3_000, "{}", has(OPEN, &cloud));
    assert!(
        confidential > 3_500 && has(MARK, &local) > 1_200,
        "{confidential} {}",
        has(MARK, &local)
    );
}
