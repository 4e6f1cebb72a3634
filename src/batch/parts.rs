//! Which lines go into which batch of a vendor's.

use crate::dialect::batch::PartLimits;

/// So many bytes of lines are held in memory at a time, whatever a vendor takes: a longer batch is split.
const BYTES_HELD_MAX: usize = 16 * 1024 * 1024;
/// What a vendor's batch puts around a line, at most.
const AROUND: usize = 256;

/// Puts lines into parts in the order in which they come. Those of one part go to the same model, and fit what its vendor takes.
#[derive(Debug, Default)]
pub struct Parts {
    /// Whom a part is for, which it is, how many lines and bytes it has.
    open: Vec<(String, i64, usize, usize)>,
    next: i64,
}

impl Parts {
    /// The part for a line of so many bytes, and whether it begins with it.
    pub fn place(&mut self, whom: &str, bytes: usize, limits: PartLimits) -> (i64, bool) {
        let bytes = bytes + AROUND;
        let bytes_max = limits.bytes.min(BYTES_HELD_MAX);
        let known = self.open.iter().position(|(name, ..)| name == whom);
        if let Some(place) = known {
            let (_, part, lines, held) = &mut self.open[place];
            if *lines < limits.lines && *held + bytes <= bytes_max {
                *lines += 1;
                *held += bytes;
                return (*part, false);
            }
            self.open.swap_remove(place);
        }
        let part = self.next;
        self.next += 1;
        self.open.push((whom.to_owned(), part, 1, bytes));
        (part, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_model_share_a_part_until_it_is_full() {
        let limits = PartLimits {
            lines: 3,
            bytes: 2_000,
        };
        let mut parts = Parts::default();
        let mut placed = Vec::new();
        for (whom, bytes) in [
            ("a", 10),
            ("b", 500),
            ("a", 10),
            ("a", 10),
            // The fourth of a.
            ("a", 10),
            // Too many bytes for what is there.
            ("b", 1_200),
            ("b", 10),
        ] {
            placed.push(parts.place(whom, bytes, limits));
        }
        let expected = [
            (0, true),
            (1, true),
            (0, false),
            (0, false),
            (2, true),
            (3, true),
            (3, false),
        ];
        assert_eq!(placed, expected);
    }
}
