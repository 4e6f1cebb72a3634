//! Cues: words and pieces of words that speak for a class. Near either end of an ask they weigh more.

use super::Scanner;
use crate::classify::lexicon::Class;

/// Words from either end in which a cue weighs in full.
const NEAR: u32 = 16;
/// Words from either end in which a cue weighs a third.
const LOOK: u32 = 48;
/// Cues remembered from the end of the text.
const TAIL_HITS: usize = 64;

/// A cue: how many words stood before it, and in which quotation it was (0: in none).
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    pub(super) at: u32,
    pub(super) class: Class,
    pub(super) weight: f32,
    pub(super) quotation: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Hits {
    pub(super) ring: [Hit; TAIL_HITS],
    pub(super) at: usize,
}

impl Default for Hits {
    fn default() -> Hits {
        Hits {
            ring: [Hit {
                at: 0,
                class: Class::Summarise,
                weight: 0.0,
                quotation: 0,
            }; TAIL_HITS],
            at: 0,
        }
    }
}

impl Scanner<'_> {
    #[inline]
    pub(super) fn found(&mut self, cues: &'static [(Class, f32)]) {
        if !cues.is_empty() {
            self.add_cues(cues);
        }
    }

    #[inline(never)]
    fn add_cues(&mut self, cues: &'static [(Class, f32)]) {
        let at = self.words;
        for (class, weight) in cues {
            let index = class.index();
            self.class[index] += 1;
            let quotation = self.pass.quotes.number();
            if quotation == 0 {
                self.near[index] += weight * nearness(at);
            } else {
                self.pass.quotes.hold(*class, weight * nearness(at));
            }
            self.first[index] |= at == 0;
            if at >= NEAR {
                let hits = &mut self.pass.hits;
                hits.ring[hits.at % TAIL_HITS] = Hit {
                    at,
                    class: *class,
                    weight: *weight,
                    quotation,
                };
                hits.at += 1;
            }
        }
    }

    /// What stands near the end weighs as if it stood near the beginning.
    pub(super) fn weigh_tail(&mut self) {
        let hits = self.pass.hits;
        for hit in hits.ring.iter().take(hits.at).filter(|h| h.quotation == 0) {
            let back = self.words.saturating_sub(hit.at + 1);
            let more = nearness(back) - nearness(hit.at);
            if more > 0.0 {
                self.near[hit.class.index()] += hit.weight * more;
            }
        }
    }
}

fn nearness(words: u32) -> f32 {
    if words < NEAR {
        1.0
    } else if words < LOOK {
        0.33
    } else {
        0.0
    }
}
