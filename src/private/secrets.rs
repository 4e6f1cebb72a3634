//! Keys and tokens by the forms that their makers document (and that GitHub's and gitleaks' scanners go by), private keys, JSON web
//! tokens, and addresses with a password in them. A password without such a form cannot be told from any other word.

use crate::private::search::Search;
use crate::private::{Class, examples};
use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::sync::OnceLock;

/// How a secret goes on after it has begun.
#[derive(Clone, Copy)]
enum Rest {
    /// So many of these letters, at least and at most.
    Of(Letters, usize, usize),
    /// `-----BEGIN … PRIVATE KEY-----`.
    Pem,
    /// `eyJ….eyJ….…`.
    Jwt,
    /// `//user:password@host`.
    Login,
    /// A key of the name that is before it, in base64.
    Named,
    /// The same of 40 letters, with what stands between a name and its value.
    Given,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Letters {
    /// Capital letters and the digits 2 to 7.
    Base32,
    Hex,
    Alnum,
    /// Letters, digits, `_` and `-`.
    Word,
    /// These and dots.
    Dotted,
    /// Slack's webhooks.
    Path,
}

impl Letters {
    fn has(self, b: u8) -> bool {
        match self {
            Letters::Base32 => matches!(b, b'A'..=b'Z' | b'0'..=b'9'),
            Letters::Hex => b.is_ascii_hexdigit(),
            Letters::Alnum => b.is_ascii_alphanumeric(),
            Letters::Word => b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'),
            Letters::Dotted => b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'),
            Letters::Path => b.is_ascii_alphanumeric() || matches!(b, b'/' | b'+'),
        }
    }
}

use Letters::{Alnum, Base32, Dotted, Hex, Path, Word};

/// How secrets begin, and how they go on. No beginning is that of another.
const FORMS: [(&str, Rest); 83] = [
    // Amazon.
    ("AKIA", Rest::Of(Base32, 16, 16)),
    ("ASIA", Rest::Of(Base32, 16, 16)),
    ("ABIA", Rest::Of(Base32, 16, 16)),
    ("ACCA", Rest::Of(Base32, 16, 16)),
    ("ABSK", Rest::Of(Alnum, 100, 300)),
    // GitHub and GitLab.
    ("ghp_", Rest::Of(Alnum, 36, 255)),
    ("gho_", Rest::Of(Alnum, 36, 255)),
    ("ghu_", Rest::Of(Alnum, 36, 255)),
    ("ghs_", Rest::Of(Alnum, 36, 255)),
    ("ghr_", Rest::Of(Alnum, 36, 255)),
    ("github_pat_", Rest::Of(Word, 60, 255)),
    ("glpat-", Rest::Of(Dotted, 20, 300)),
    ("gldt-", Rest::Of(Word, 20, 64)),
    ("glrt-", Rest::Of(Dotted, 20, 300)),
    ("glptt-", Rest::Of(Hex, 40, 40)),
    ("glcbt-", Rest::Of(Word, 20, 64)),
    // Slack, Discord, Telegram have bots; Slack alone a form.
    ("xoxb-", Rest::Of(Word, 20, 255)),
    ("xoxp-", Rest::Of(Word, 20, 255)),
    ("xoxa-", Rest::Of(Word, 20, 255)),
    ("xoxr-", Rest::Of(Word, 20, 255)),
    ("xoxs-", Rest::Of(Word, 20, 255)),
    ("xoxe.xox", Rest::Of(Word, 40, 255)),
    ("xapp-", Rest::Of(Word, 30, 255)),
    ("hooks.slack.com/services/", Rest::Of(Path, 40, 64)),
    // Models.
    ("sk-proj-", Rest::Of(Word, 40, 300)),
    ("sk-svcacct-", Rest::Of(Word, 40, 300)),
    ("sk-admin-", Rest::Of(Word, 40, 300)),
    ("sk-ant-", Rest::Of(Word, 40, 300)),
    ("sk-or-v1-", Rest::Of(Hex, 64, 64)),
    ("sk-lf-", Rest::Of(Word, 36, 36)),
    ("sk-", Rest::Of(Alnum, 32, 64)),
    ("AIza", Rest::Of(Word, 35, 35)),
    ("xai-", Rest::Of(Alnum, 70, 100)),
    ("gsk_", Rest::Of(Alnum, 48, 64)),
    ("hf_", Rest::Of(Alnum, 34, 40)),
    ("api_org_", Rest::Of(Alnum, 34, 34)),
    ("r8_", Rest::Of(Alnum, 37, 40)),
    ("pplx-", Rest::Of(Alnum, 40, 64)),
    ("nvapi-", Rest::Of(Word, 60, 80)),
    ("tgp_v1_", Rest::Of(Word, 40, 64)),
    ("csk-", Rest::Of(Alnum, 40, 64)),
    ("lsv2_pt_", Rest::Of(Word, 40, 64)),
    ("lsv2_sk_", Rest::Of(Word, 40, 64)),
    // Google.
    ("ya29.", Rest::Of(Word, 30, 1_024)),
    ("GOCSPX-", Rest::Of(Word, 28, 28)),
    // Money.
    ("sk_live_", Rest::Of(Alnum, 16, 255)),
    ("sk_test_", Rest::Of(Alnum, 16, 255)),
    ("rk_live_", Rest::Of(Alnum, 16, 255)),
    ("rk_test_", Rest::Of(Alnum, 16, 255)),
    ("whsec_", Rest::Of(Alnum, 24, 80)),
    ("sq0atp-", Rest::Of(Word, 22, 60)),
    ("sq0csp-", Rest::Of(Word, 43, 60)),
    ("access_token$production$", Rest::Of(Word, 40, 64)),
    ("shpat_", Rest::Of(Hex, 32, 32)),
    ("shpca_", Rest::Of(Hex, 32, 32)),
    ("shppa_", Rest::Of(Hex, 32, 32)),
    ("shpss_", Rest::Of(Hex, 32, 32)),
    // Packages, machines, data.
    ("npm_", Rest::Of(Alnum, 36, 36)),
    ("pypi-AgE", Rest::Of(Word, 50, 1_024)),
    ("rubygems_", Rest::Of(Hex, 48, 48)),
    ("dckr_pat_", Rest::Of(Word, 27, 40)),
    ("dop_v1_", Rest::Of(Hex, 64, 64)),
    ("doo_v1_", Rest::Of(Hex, 64, 64)),
    ("hvs.", Rest::Of(Word, 24, 200)),
    ("dapi", Rest::Of(Hex, 32, 34)),
    ("SG.", Rest::Of(Dotted, 60, 80)),
    ("glsa_", Rest::Of(Word, 38, 60)),
    ("glc_", Rest::Of(Alnum, 32, 400)),
    ("lin_api_", Rest::Of(Alnum, 40, 40)),
    ("ntn_", Rest::Of(Alnum, 40, 60)),
    ("PMAK-", Rest::Of(Word, 59, 59)),
    ("pscale_pw_", Rest::Of(Dotted, 32, 64)),
    ("tskey-", Rest::Of(Word, 30, 80)),
    ("AGE-SECRET-KEY-1", Rest::Of(Base32, 58, 58)),
    // What has a structure of its own.
    ("-----BEGIN ", Rest::Pem),
    ("eyJ", Rest::Jwt),
    ("://", Rest::Login),
    ("AccountKey=", Rest::Named),
    ("SharedAccessKey=", Rest::Named),
    ("aws_secret_access_key", Rest::Given),
    ("AWS_SECRET_ACCESS_KEY", Rest::Given),
    ("SecretAccessKey", Rest::Given),
    ("secretAccessKey", Rest::Given),
];

fn finder() -> &'static AhoCorasick {
    static BUILT: OnceLock<AhoCorasick> = OnceLock::new();
    BUILT.get_or_init(|| {
        AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(FORMS.iter().map(|(begins, _)| *begins))
            .expect("these few words make a small automaton")
    })
}

/// Notes every secret of a known form.
pub(super) fn search(search: &mut Search<'_>) {
    if !search.wants(Class::Secrets) {
        return;
    }
    let text = search.text;
    search.worked(text.len());
    for begun in finder().find_iter(text) {
        if !search.wants(Class::Secrets) {
            return;
        }
        let (from, at) = (begun.start(), begun.end());
        let rest = FORMS[begun.pattern().as_usize()].1;
        let end = match rest {
            Rest::Of(letters, least, most) => token(search, (from, at), letters, (least, most)),
            Rest::Pem => pem(search, at),
            Rest::Jwt => jwt(search, from),
            Rest::Login => login(search, at),
            Rest::Named => token(search, (at, at), Letters::Path, (40, 100)),
            Rest::Given => {
                let between = run(search, at, 6, |b| b" =:\"'>".contains(&b));
                let at = at + between;
                token(search, (at, at), Letters::Path, (40, 40))
            }
        };
        if let Some(end) = end {
            let value = &text[from..end];
            search.note(Class::Secrets, value, examples::is_secret(value));
        }
    }
}

/// How many of these letters follow, as far as that matters.
fn run(search: &mut Search<'_>, at: usize, most: usize, has: impl Fn(u8) -> bool) -> usize {
    let rest = &search.text[at.min(search.text.len())..];
    let count = rest.iter().take(most + 1).take_while(|b| has(**b)).count();
    search.worked(count + 1);
    count
}

/// A word that begins so and is long enough, stands alone and is like chance.
fn token(
    search: &mut Search<'_>,
    (from, at): (usize, usize),
    letters: Letters,
    (least, most): (usize, usize),
) -> Option<usize> {
    let before = search.before(from);
    let joined = from < at && (before.is_ascii_alphanumeric() || matches!(before, b'_' | b'-'));
    if joined {
        return None;
    }
    let count = run(search, at, most, |b| letters.has(b));
    let token = &search.text[at..at + count];
    let fits = (least..=most).contains(&count);
    let digits = token.iter().any(u8::is_ascii_digit);
    // Only words of letters and digits alone may be letters alone by chance.
    (fits && (digits || count >= 34) && is_like_chance(token)).then_some(at + count)
}

/// It has many different letters: `xxxx…` and `YOUR_KEY_HERE` are places for a key.
fn is_like_chance(token: &[u8]) -> bool {
    let mut seen = [false; 128];
    for b in token.iter().take(64) {
        seen[usize::from(*b) % 128] = true;
    }
    let different = seen.iter().filter(|seen| **seen).count();
    let hidden = [
        &b"xxxx"[..],
        b"XXXX",
        b"your",
        b"YOUR",
        b"0000000",
        b"placeholder",
    ];
    let hidden = hidden
        .iter()
        .any(|word| memchr::memmem::find(token, word).is_some());
    different >= token.len().min(32) / 4 + 2 && !hidden
}

fn pem(search: &mut Search<'_>, at: usize) -> Option<usize> {
    let count = run(search, at, 48, |b| {
        b.is_ascii_uppercase() || b == b' ' || b.is_ascii_digit()
    });
    let label = &search.text[at..at + count];
    let private = label.ends_with(b"PRIVATE KEY") || label.ends_with(b"PRIVATE KEY BLOCK");
    let closed = search.text[at + count..].starts_with(b"-----");
    if !private || !closed {
        return None;
    }
    // A header alone is words about keys; some of the key has to follow.
    let body = at + count + 5;
    let after = run(search, body, 200, |b| b != b'-' || b == b'\n');
    let key = &search.text[body..body + after];
    let letters = key.iter().filter(|b| b.is_ascii_alphanumeric()).count();
    (letters >= 40 && memchr::memmem::find(key, b"...").is_none_or(|at| at >= 8))
        .then_some(body + after)
}

/// A header and claims that are JSON, and a signature.
fn jwt(search: &mut Search<'_>, from: usize) -> Option<usize> {
    let before = search.before(from);
    if before.is_ascii_alphanumeric() || matches!(before, b'_' | b'-' | b'.') {
        return None;
    }
    let part = |search: &mut Search<'_>, at| run(search, at, 4_096, |b| Word.has(b));
    let head = part(search, from);
    let claims_at = from + head + 1;
    if search.at(from + head) != b'.' || !search.text[claims_at..].starts_with(b"eyJ") {
        return None;
    }
    let claims = part(search, claims_at);
    let sign_at = claims_at + claims + 1;
    if search.at(claims_at + claims) != b'.' {
        return None;
    }
    let sign = part(search, sign_at);
    let header = URL_SAFE_NO_PAD
        .decode(&search.text[from..from + head])
        .ok()?;
    let is_header = memchr::memmem::find(&header, b"\"alg\"").is_some();
    (is_header && sign >= 20).then_some(sign_at + sign)
}

/// `scheme://user:password@host`.
fn login(search: &mut Search<'_>, at: usize) -> Option<usize> {
    if !search.before(at - 3).is_ascii_alphanumeric() {
        return None;
    }
    let ends =
        |b: u8| b.is_ascii_whitespace() || matches!(b, b'/' | b'"' | b'\'' | b'<' | b'>' | b'`');
    let count = run(search, at, 300, |b| !ends(b));
    let place = &search.text[at..at + count];
    let (login, _) = place.split_at(place.iter().rposition(|b| *b == b'@')?);
    let colon = login.iter().position(|b| *b == b':')?;
    let password = &login[colon + 1..];
    let open = password.first().is_some_and(|b| b"${<[*%".contains(b));
    let named = [
        &b"password"[..],
        b"pass",
        b"pwd",
        b"secret",
        b"PASSWORD",
        b"xxx",
        b"***",
    ];
    let named = named.contains(&password) || password.iter().all(|b| *b == b'*');
    (password.len() >= 3 && !open && !named).then_some(at + login.len())
}
