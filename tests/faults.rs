//! Random plans of operations in which changes fail, processes die and the power goes, in memory. `COWLOG_PLANS` says
//! how many, 800 if not set; `COWLOG_SEED` repeats them.

#[path = "../fuzz/model/mod.rs"]
mod model;
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};

use model::{Plan, Tally};
use support::{Random, env_number};

#[test]
fn plans_with_faults() {
    let mut random = Random::new("plans");
    let mut all = Tally::default();
    for number in 0..env_number("COWLOG_PLANS", 800) {
        let bytes: Vec<u8> = (0..60).flat_map(|_| random.next().to_le_bytes()).collect();
        let plan = Plan::of(&bytes);
        match catch_unwind(AssertUnwindSafe(|| model::run(&plan))) {
            Ok(tally) => {
                all.steps += tally.steps;
                all.failed += tally.failed;
                all.deaths += tally.deaths;
                all.cuts += tally.cuts;
            }
            Err(e) => {
                eprintln!("plan {number}: {plan:?}");
                std::panic::resume_unwind(e);
            }
        }
    }
    eprintln!("{all:?}");
    assert!(all.cuts > 100 && all.deaths > 100 && all.failed > 100, "{all:?}");
}
