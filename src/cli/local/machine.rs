//! How much memory this machine has, and whether a model fits into it.

use super::asking::Listed;
use serde_json::{Value, json};
use std::fmt;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

const GIB: u64 = 1024 * 1024 * 1024;
const MIB: u64 = 1024 * 1024;
/// Beside the model: the server itself, and what it reckons with.
const BESIDE: u64 = 512 * MIB;
/// So long a tool that tells of memory may take.
const TOOL: Duration = Duration::from_secs(2);

/// What a model of this size needs to answer: its weights, a fifth more for the conversations that it holds, and the server itself. A rule of
/// thumb: long contexts need more.
pub(super) fn needs(size: u64) -> u64 {
    size.saturating_add(size / 5).saturating_add(BESIDE)
}

/// Bytes as GiB, with one digit after the point.
pub(super) fn gib(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10).div_ceil(GIB);
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

/// Whether a model fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fits {
    /// Its server has it in memory now.
    Loaded,
    /// Into the memory of one graphics card.
    Card,
    /// Into the machine's memory.
    Yes,
    /// Only if other programs end.
    Tight,
    No,
    /// Its size or the machine's memory is not told.
    Unknown,
}

impl Fits {
    pub(super) fn name(self) -> &'static str {
        match self {
            Fits::Loaded => "loaded",
            Fits::Card => "graphics card",
            Fits::Yes => "yes",
            Fits::Tight => "if others end",
            Fits::No => "no",
            Fits::Unknown => "unknown",
        }
    }
}

/// The memory of a machine, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    total: Option<u64>,
    available: Option<u64>,
    /// Of each graphics card.
    cards: Vec<u64>,
}

impl Memory {
    pub(super) fn of_this_machine() -> Memory {
        let mut memory = match std::env::consts::OS {
            "linux" => std::fs::read_to_string("/proc/meminfo")
                .map(|text| of_meminfo(&text))
                .unwrap_or_default(),
            "macos" => Memory {
                total: told("sysctl", &["-n", "hw.memsize"]).and_then(|t| t.trim().parse().ok()),
                ..Memory::default()
            },
            _ => Memory::default(),
        };
        let cards = told(
            "nvidia-smi",
            &["--query-gpu=memory.total", "--format=csv,noheader,nounits"],
        );
        memory.cards = cards.map(|text| of_cards(&text)).unwrap_or_default();
        memory
    }

    pub(super) fn fits(&self, listed: &Listed) -> Fits {
        if listed.loaded {
            return Fits::Loaded;
        }
        let Some(needed) = listed.size.map(needs) else {
            return Fits::Unknown;
        };
        if self.cards.iter().any(|card| *card >= needed) {
            return Fits::Card;
        }
        match (self.total, self.available) {
            (None, _) => Fits::Unknown,
            (Some(total), _) if needed > total => Fits::No,
            (_, Some(available)) if needed > available => Fits::Tight,
            _ => Fits::Yes,
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "total_bytes": self.total,
            "available_bytes": self.available,
            "graphics_bytes": self.cards,
        })
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.total, self.available) {
            (Some(total), Some(available)) => write!(
                f,
                "This machine has {} of memory, {} of it free",
                gib(total),
                gib(available)
            )?,
            (Some(total), None) => write!(f, "This machine has {} of memory", gib(total))?,
            (None, _) => f.write_str("How much memory this machine has is not known")?,
        }
        let cards: Vec<String> = self.cards.iter().map(|card| gib(*card)).collect();
        match cards.is_empty() {
            true => f.write_str("."),
            false => write!(f, "; graphics cards: {}.", cards.join(", ")),
        }
    }
}

/// Linux's own list, in KiB.
fn of_meminfo(text: &str) -> Memory {
    let value = |name: &str| {
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix(name))?;
        let number = line.trim_start_matches(':').split_ascii_whitespace().next();
        number?.parse::<u64>().ok()?.checked_mul(1024)
    };
    Memory {
        total: value("MemTotal"),
        available: value("MemAvailable"),
        cards: Vec::new(),
    }
}

/// One number a line, in MiB.
fn of_cards(text: &str) -> Vec<u64> {
    let numbers = text
        .lines()
        .filter_map(|line| line.trim().parse::<u64>().ok());
    numbers.filter_map(|mib| mib.checked_mul(MIB)).collect()
}

/// What a tool of the system says; `None` where there is none, it fails, or it takes too long.
fn told(tool: &str, args: &[&str]) -> Option<String> {
    let mut child = Command::new(tool)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut out = child.stdout.take()?.take(4_096);
    let (said, hears) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let whole = out.read_to_string(&mut text).is_ok();
        // Nobody hears it any more where it came too late.
        let _ = said.send(whole.then_some(text));
    });
    let text = hears.recv_timeout(TOOL).ok().flatten();
    // It has said all that it had to say, or is too slow: either way it is not waited for.
    let _ = child.kill();
    let ended = child.wait().is_ok();
    text.filter(|text| ended && !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_linux_and_graphics_tools_tell_it() {
        let memory =
            of_meminfo("MemTotal:       16384 kB\nMemFree: 1 kB\nMemAvailable:    8192 kB\n");
        assert_eq!(memory.total, Some(16 * MIB));
        assert_eq!(memory.available, Some(8 * MIB));
        assert_eq!(of_meminfo("nonsense"), Memory::default());
        assert_eq!(of_cards("24576\n8192\n[N/A]\n"), [24 * GIB, 8 * GIB]);
    }

    #[test]
    fn a_model_fits_a_card_the_memory_or_only_if_others_end() {
        let memory = Memory {
            total: Some(32 * GIB),
            available: Some(16 * GIB),
            cards: vec![8 * GIB],
        };
        let listed = |gib: u64| Listed {
            size: Some(gib * GIB),
            ..Listed::default()
        };
        assert_eq!(memory.fits(&listed(5)), Fits::Card);
        assert_eq!(memory.fits(&listed(10)), Fits::Yes);
        assert_eq!(memory.fits(&listed(20)), Fits::Tight);
        assert_eq!(memory.fits(&listed(30)), Fits::No);
        assert_eq!(memory.fits(&Listed::default()), Fits::Unknown);
        let loaded = Listed {
            loaded: true,
            ..listed(30)
        };
        assert_eq!(memory.fits(&loaded), Fits::Loaded);
        assert_eq!(Memory::default().fits(&listed(1)), Fits::Unknown);
        assert_eq!(gib(needs(5 * GIB)), "6.5 GiB");
    }
}
