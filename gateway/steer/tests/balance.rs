//! What docs/performance.md says of many workers: they share subscribers evenly, and with NICs that take our keys and tables
//! nothing is handed over.

#[allow(dead_code, reason = "shared with the example, which shows all of it")]
#[path = "../examples/balance/simulation.rs"]
mod simulation;

use simulation::{Spread, simulate};

#[test]
fn with_our_keys_nothing_is_handed_over_and_subscribers_are_even() {
    for workers in [2, 3, 8, 12, 64] {
        let outcome = simulate(workers, 256, Spread::OurKeys);
        assert_eq!(outcome.handed_over, 0.0, "{workers} workers");
        assert!(outcome.subscribers < 1.15, "{workers} workers: {outcome:?}");
        assert!(outcome.flows < 1.25, "{workers} workers: {outcome:?}");
    }
}

#[test]
fn a_nic_that_hashes_ports_hands_nearly_everything_over() {
    for workers in [2, 16] {
        let expected = 1.0 - 1.0 / f64::from(workers);
        let shares =
            [Spread::Ports, Spread::OneQueue].map(|spread| simulate(workers, 256, spread).handed_over);
        assert!(shares.iter().all(|share| (share - expected).abs() < 0.15), "{workers}: {shares:?}");
    }
}
