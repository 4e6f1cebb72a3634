//! Whole conversations on simulated prompt caches; see `benches/traces`.

#[path = "../../benches/traces/talk.rs"]
mod talk;
#[path = "../../benches/traces/world.rs"]
#[allow(dead_code, reason = "the bench uses the rest")]
mod world;

use world::{FLEETS, best_single, run};

#[test]
fn a_conversation_costs_a_fifth_less_than_on_any_single_arm_that_is_as_good() {
    // With all four vendors one cheap thinking model is as good as a mixture for nearly as little: docs/routing.md tells.
    for fleet in &FLEETS[..3] {
        let outcome = run(fleet, 60, 7, None);
        let (arm, single) = best_single(&outcome, outcome.flyball.quality());
        let (own, other) = (outcome.flyball.usd(), single.usd());
        assert!(
            own <= 0.8 * other,
            "{}: {own}, {other} on {arm}",
            fleet.name
        );
    }
}

#[test]
fn a_conversation_never_costs_more_than_without_its_caches_in_view_and_keeps_its_arm_inside_a_turn()
{
    for fleet in &FLEETS {
        let outcome = run(fleet, 200, 7, None);
        let (own, blind) = (outcome.flyball.usd(), outcome.blind.usd());
        assert!(own <= blind, "{}: {own}, {blind}", fleet.name);
        assert_eq!(outcome.flyball.loop_changes, 0, "{}", fleet.name);
    }
}

#[test]
fn saved_is_told_as_a_client_that_had_stayed_would_have_paid() {
    for fleet in &FLEETS {
        let outcome = run(fleet, 60, 8, None);
        let (told, truth) = (outcome.told_baseline, outcome.true_baseline);
        assert!(
            (told - truth).abs() * 100 <= truth * 2,
            "{}: {told}, {truth}",
            fleet.name
        );
        assert!(
            told <= truth + truth / 500,
            "{}: never larger: {told}, {truth}",
            fleet.name
        );
    }
}
