//! What is posted, reserved and left on every node and window. Pure and synchronous: no IO, no clock.
//!
//! The rule that everything rests on: posted + reserved never passes a limit, because admission
//! looks and reserves in one step.

use super::window::Window;
use crate::money::PicoUsd;
use std::collections::HashMap;

/// Whose money: everybody's, or one key's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Node {
    /// All traffic through this flyball.
    Global,
    /// One virtual key, by its row in the ledger.
    Key(i64),
}

/// What an attempt needs: a fixed part (its input at the bound) and so much per answer token.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Upper bound of what the input costs.
    pub fixed: PicoUsd,
    /// Upper bound of one answer token, times the number of answers.
    pub per_token: PicoUsd,
    /// Answer tokens wanted.
    pub tokens: u64,
    /// The least number of answer tokens that is still worth an answer; equal to `tokens` where the limit must not be lowered.
    pub tokens_min: u64,
}

/// What was reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The bound of the attempt.
    pub amount: PicoUsd,
    /// Answer tokens that the bound covers.
    pub tokens: u64,
    /// The windows it counts in, fixed at admission.
    pub places: Vec<Place>,
}

/// One window of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Whose.
    pub node: Node,
    /// Which kind of window.
    pub window: Window,
    /// Which one (days, months since the epoch; see `Window::id`).
    pub id: i64,
}

/// Why there is no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Full {
    /// The cap that has no room.
    pub place: Place,
    /// Its limit.
    pub limit: PicoUsd,
    /// What is spent for good.
    pub posted: PicoUsd,
    /// What open reservations hold.
    pub reserved: PicoUsd,
    /// The least that this attempt would have needed.
    pub needed: PicoUsd,
}

impl Full {
    /// There would be room if no reservation were open: trying again soon can help.
    #[must_use]
    pub fn only_reserved(&self) -> bool {
        self.limit > PicoUsd::ZERO && self.posted + self.needed <= self.limit
    }

    /// What is neither spent nor reserved.
    #[must_use]
    pub fn left(&self) -> PicoUsd {
        (self.limit - self.posted - self.reserved).max(PicoUsd::ZERO)
    }
}

/// One node's standing in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Which window the figures are of.
    pub id: i64,
    /// The cap, if there is one.
    pub limit: Option<PicoUsd>,
    /// Spent for good.
    pub posted: PicoUsd,
    /// Held by open reservations.
    pub reserved: PicoUsd,
}

/// Every node's standing.
#[derive(Debug, Default)]
pub struct Balances {
    slots: HashMap<(Node, Window), Standing>,
}

impl Balances {
    /// Sets or removes a cap. A cap lowered below what is posted and reserved blocks new reservations and changes nothing else.
    pub fn limit(&mut self, node: Node, window: Window, limit: Option<PicoUsd>) {
        self.slots.entry((node, window)).or_default().limit = limit;
    }

    /// Takes over what the store says was posted, at start.
    pub fn restore(&mut self, place: Place, posted: PicoUsd) {
        let slot = self.slots.entry((place.node, place.window)).or_default();
        slot.id = place.id;
        slot.posted = posted;
    }

    /// Whether any of these nodes has a cap.
    #[must_use]
    pub fn capped(&self, nodes: &[Node]) -> bool {
        self.slots
            .iter()
            .any(|((node, _), slot)| slot.limit.is_some() && nodes.contains(node))
    }

    /// Looks and reserves in one step, root first, on all windows of all nodes or on none.
    ///
    /// # Errors
    /// The first cap that has no room for even the least that is asked.
    pub fn reserve(&mut self, nodes: &[Node], ask: Ask, now: i64) -> Result<Grant, Full> {
        let mut tokens = ask.tokens;
        let mut places = Vec::with_capacity(nodes.len() * Window::ALL.len());
        let least = ask.fixed + ask.per_token.times(ask.tokens_min.min(ask.tokens));
        for &node in nodes {
            for window in Window::ALL {
                let slot = self.roll(node, window, now);
                let place = Place {
                    node,
                    window,
                    id: slot.id,
                };
                places.push(place);
                let Some(limit) = slot.limit else { continue };
                let left = limit - slot.posted - slot.reserved;
                if limit <= PicoUsd::ZERO || least > left.max(PicoUsd::ZERO) {
                    let Standing {
                        posted, reserved, ..
                    } = *slot;
                    return Err(Full {
                        place,
                        limit,
                        posted,
                        reserved,
                        needed: least,
                    });
                }
                tokens = tokens.min(tokens_for(left - ask.fixed, ask.per_token));
            }
        }
        let amount = ask.fixed + ask.per_token.times(tokens);
        for place in &places {
            let slot = self
                .slots
                .get_mut(&(place.node, place.window))
                .expect("rolled above");
            slot.reserved += amount;
        }
        Ok(Grant {
            amount,
            tokens,
            places,
        })
    }

    /// Ends a reservation: its amount is free again and `cost` is spent. The cost is booked as it is, also above the bound.
    pub fn close(&mut self, grant: &Grant, cost: PicoUsd) {
        for place in &grant.places {
            let slot = self.slots.entry((place.node, place.window)).or_default();
            // A window that has passed since is closed in the store only: its room is nobody's any more.
            if slot.id == place.id {
                slot.reserved = slot.reserved - grant.amount;
                slot.posted += cost;
            }
        }
    }

    /// Every slot, with windows rolled to `now`.
    pub fn standings(&mut self, now: i64) -> Vec<(Node, Window, Standing)> {
        let mut all: Vec<_> = self.slots.keys().copied().collect();
        all.sort_unstable();
        all.into_iter()
            .map(|(node, window)| (node, window, *self.roll(node, window, now)))
            .collect()
    }

    /// The slot of the current window. Ids never fall, so a clock that jumps back reopens nothing.
    fn roll(&mut self, node: Node, window: Window, now: i64) -> &mut Standing {
        let id = window.id(now);
        let slot = self.slots.entry((node, window)).or_default();
        if id > slot.id {
            *slot = Standing {
                id,
                limit: slot.limit,
                ..Standing::default()
            };
        }
        slot
    }
}

/// How many answer tokens `money` pays for.
fn tokens_for(money: PicoUsd, per_token: PicoUsd) -> u64 {
    if per_token <= PicoUsd::ZERO {
        return u64::MAX;
    }
    u64::try_from(money.0.max(0) / per_token.0).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NODES: [Node; 2] = [Node::Global, Node::Key(1)];

    fn ask(fixed: i128, per_token: i128, tokens: u64, tokens_min: u64) -> Ask {
        Ask {
            fixed: PicoUsd(fixed),
            per_token: PicoUsd(per_token),
            tokens,
            tokens_min,
        }
    }

    fn with_cap(limit: i128) -> Balances {
        let mut balances = Balances::default();
        balances.limit(Node::Key(1), Window::Day, Some(PicoUsd(limit)));
        balances
    }

    #[test]
    fn a_cap_admits_to_its_last_pico_and_no_further() {
        for (limit, granted) in [(99, false), (100, true), (101, true)] {
            let got = with_cap(limit).reserve(&NODES, ask(40, 6, 10, 10), 0);
            assert_eq!(got.is_ok(), granted, "limit {limit}");
        }
    }

    #[test]
    fn a_limit_is_lowered_to_what_is_left_but_not_below_its_minimum() {
        let mut balances = with_cap(100);
        let grant = balances
            .reserve(&NODES, ask(40, 6, 1_000, 5), 0)
            .expect("room for 10 tokens");
        assert_eq!((grant.tokens, grant.amount), (10, PicoUsd(100)));
        let full = balances
            .reserve(&NODES, ask(0, 6, 1_000, 5), 0)
            .expect_err("nothing is left");
        assert!(full.only_reserved());
        balances.close(&grant, PicoUsd(71));
        let full = balances
            .reserve(&NODES, ask(0, 6, 1_000, 5), 0)
            .expect_err("29 < 30");
        assert!(!full.only_reserved());
        assert_eq!(
            balances
                .reserve(&NODES, ask(0, 6, 1_000, 4), 0)
                .expect("29 >= 24")
                .tokens,
            4
        );
    }

    #[test]
    fn a_cap_of_zero_blocks_everything_and_a_full_one_lets_free_work_through() {
        assert!(with_cap(0).reserve(&NODES, ask(0, 0, 10, 10), 0).is_err());
        let mut full = with_cap(10);
        full.restore(
            Place {
                node: Node::Key(1),
                window: Window::Day,
                id: 0,
            },
            PicoUsd(10),
        );
        assert!(full.reserve(&NODES, ask(0, 0, 10, 10), 0).is_ok());
        assert!(full.reserve(&NODES, ask(1, 0, 10, 10), 0).is_err());
    }

    #[test]
    fn a_new_window_has_its_whole_room_and_an_old_reservation_takes_none_of_it() {
        let mut balances = with_cap(100);
        let old = balances
            .reserve(&NODES, ask(100, 0, 1, 1), 0)
            .expect("room");
        let day = 86_400;
        let new = balances
            .reserve(&NODES, ask(100, 0, 1, 1), day)
            .expect("a new day");
        balances.close(&old, PicoUsd(100));
        assert!(balances.reserve(&NODES, ask(1, 0, 1, 1), day).is_err());
        balances.close(&new, PicoUsd(0));
        assert!(
            balances.reserve(&NODES, ask(100, 0, 1, 1), 0).is_ok(),
            "a clock that jumps back stays in the new window"
        );
        assert!(balances.reserve(&NODES, ask(1, 0, 1, 1), 0).is_err());
    }

    #[test]
    fn a_refusal_reserves_nothing_anywhere() {
        let mut balances = with_cap(10);
        balances.limit(Node::Global, Window::Total, Some(PicoUsd(1_000)));
        assert!(balances.reserve(&NODES, ask(11, 0, 1, 1), 0).is_err());
        assert!(
            balances
                .standings(0)
                .iter()
                .all(|(_, _, s)| s.reserved == PicoUsd::ZERO)
        );
    }

    proptest! {
        /// Against the plainest possible book-keeping: a list of open and closed attempts, summed afresh each time.
        #[test]
        fn balances_agree_with_a_naive_book(limits in [0_i128..400, 0..400], steps in prop::collection::vec((any::<bool>(), 0_i128..60, 0_i128..4, 0_u64..30, any::<u8>()), 1..120)) {
            let mut balances = Balances::default();
            balances.limit(Node::Global, Window::Total, Some(PicoUsd(limits[0])));
            balances.limit(Node::Key(1), Window::Total, Some(PicoUsd(limits[1])));
            let (mut open, mut spent): (Vec<Grant>, i128) = (Vec::new(), 0);
            for (reserve, fixed, per, tokens, pick) in steps {
                if reserve {
                    let held: i128 = open.iter().map(|g| g.amount.0).sum();
                    let room = limits.iter().min().copied().unwrap_or(0) - held - spent;
                    let fits = fixed + per * i128::from(tokens) <= room.max(0) && limits.iter().all(|l| *l > 0);
                    let got = balances.reserve(&NODES, ask(fixed, per, tokens, tokens), 0);
                    prop_assert_eq!(got.is_ok(), fits);
                    open.extend(got.ok());
                } else if !open.is_empty() {
                    let grant = open.swap_remove(usize::from(pick) % open.len());
                    let cost = grant.amount.0 * i128::from(pick) / 255;
                    spent += cost;
                    balances.close(&grant, PicoUsd(cost));
                }
                let held: i128 = open.iter().map(|g| g.amount.0).sum();
                for (_, window, s) in balances.standings(0) {
                    if window == Window::Total && s.limit.is_some() {
                        prop_assert_eq!((s.posted.0, s.reserved.0), (spent, held));
                    }
                }
            }
        }
    }
}
