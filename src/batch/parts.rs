//! Which lines go into which batch of a vendor's.

use crate::dialect::batch::PartLimits;

/// So many bytes of lines are held in memory at a time, whatever a vendor takes: a longer batch is split.
const BYTES_HELD_MAX: usize = 16 * 1024 * 1024;
/// What a vendor's batch puts around a line, at most.
const AROUND: usize = 256;

/// Puts lines into parts in the order in which they come. Those of one part go to the same model, and fit what its vendor takes.
#[derive(Debug, Default)]
pub struct Parts {
    open: Vec<Open>,
    next: i64,
}

/// A part that is not full yet.
#[derive(Debug)]
struct Open {
    whom: String,
    part: i64,
    lines: usize,
    bytes: usize,
    results: usize,
}

impl Parts {
    /// The part for a line of so many bytes whose result has so many at most, and whether it begins with it.
    pub fn place(
        &mut self,
        whom: &str,
        (bytes, results): (usize, usize),
        limits: PartLimits,
    ) -> (i64, bool) {
        let (bytes, results) = (bytes + AROUND, results.saturating_add(AROUND));
        let bytes_max = limits.bytes.min(BYTES_HELD_MAX);
        let known = self.open.iter().position(|open| open.whom == whom);
        if let Some(place) = known {
            let open = &mut self.open[place];
            let all = open.results.saturating_add(results);
            if open.lines < limits.lines && open.bytes + bytes <= bytes_max && all <= limits.results
            {
                open.lines += 1;
                open.bytes += bytes;
                open.results = all;
                return (open.part, false);
            }
            self.open.swap_remove(place);
        }
        let part = self.next;
        self.next += 1;
        self.open.push(Open {
            whom: whom.to_owned(),
            part,
            lines: 1,
            bytes,
            results,
        });
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
            results: 9_000,
        };
        let mut parts = Parts::default();
        let mut placed = Vec::new();
        for (whom, bytes, results) in [
            ("a", 10, 10),
            ("b", 500, 10),
            ("a", 10, 10),
            ("a", 10, 10),
            // The fourth of a.
            ("a", 10, 10),
            // Too many bytes for what is there.
            ("b", 1_200, 10),
            ("b", 10, 5_000),
            // Too many bytes of results.
            ("b", 10, 5_000),
        ] {
            placed.push(parts.place(whom, (bytes, results), limits));
        }
        let expected = [
            (0, true),
            (1, true),
            (0, false),
            (0, false),
            (2, true),
            (3, true),
            (3, false),
            (4, true),
        ];
        assert_eq!(placed, expected);
    }
}
