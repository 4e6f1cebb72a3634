//! The protocol of reservations and leases: a model that is looked at in every state, and mutants of it that must fail.

mod model;

use model::{MUTANTS, Mutant, State};
use std::collections::{HashSet, VecDeque};

/// Looks at every state that can be reached. Gives how many there are, and whether the whole cap can be spent; or what is wrong, and the way there.
fn check<const N: usize>(first: State<N>, mutant: Option<Mutant>) -> Result<(usize, bool), String> {
    let mut seen = HashSet::from([first]);
    let mut queue = VecDeque::from([first]);
    let mut full = false;
    while let Some(state) = queue.pop_front() {
        if let Some(wrong) = state.broken() {
            return Err(format!("{wrong}: {state:?}"));
        }
        full |= state.full();
        let next: Vec<_> = state
            .next(mutant)
            .into_iter()
            .map(State::sorted)
            .filter(|s| *s != state)
            .collect();
        if let (true, Some(wrong)) = (next.is_empty(), state.unfinished()) {
            return Err(format!("{wrong} in the end: {state:?}"));
        }
        for s in next {
            if seen.insert(s) {
                queue.push_back(s);
            }
        }
    }
    Ok((seen.len(), full))
}

#[test]
fn in_every_reachable_state_the_cap_holds_and_the_books_cover_the_bill() {
    let (states, _) = check::<1>(State::first(), None).expect("the protocol holds");
    println!("one request: {states} states");
    // Seven million states: half a minute and 2 GB.
    if std::env::var_os("FLYBALL_MONEY").is_some() {
        let (states, full) = check::<2>(State::first(), None).expect("the protocol holds");
        assert!(full, "the whole cap can be spent");
        println!("two requests: {states} states");
        let (states, full) = check::<3>(State::in_one_window(), None).expect("the protocol holds");
        assert!(full, "the whole cap can be spent");
        println!("three requests in one window: {states} states");
        let (states, _) = check::<4>(State::in_one_window(), None).expect("the protocol holds");
        println!("four requests in one window: {states} states");
    }
}

#[test]
fn each_rule_is_needed() {
    for mutant in MUTANTS {
        let found = check::<2>(State::first(), Some(mutant))
            .err()
            .or_else(|| check::<3>(State::first(), Some(mutant)).err());
        let wrong = found.unwrap_or_else(|| panic!("{mutant:?} was not caught"));
        println!(
            "{mutant:?}: {}",
            wrong.split(':').next().unwrap_or_default()
        );
    }
}
