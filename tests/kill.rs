//! SIGKILL at random moments of the real binary. `COWLOG_KILLS` says how many must hit on each filesystem, 8 if not set.

mod support;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, Instant};

use support::attacked::{Stage, VERBS, check};
use support::mounts::each_filesystem;
use support::process::Running;
use support::{Random, env_number};

const SEGMENTS: usize = 150;

fn kill_often(filesystem: &str, dir: &Path) {
    let stage = Stage::new(dir, SEGMENTS);
    let mut random = Random::new(filesystem);
    // Until when a verb is worth killing: less after each kill that came too late, more after each that did not.
    let mut usual: BTreeMap<&str, Duration> = BTreeMap::new();
    let (mut rounds, mut within, mut traces) = (0, 0, 0);
    let kills = env_number("COWLOG_KILLS", 8);
    while within < kills {
        rounds += 1;
        assert!(rounds < 20 + 5 * kills, "{filesystem}: the kills missed: {within} of {rounds}");
        stage.refill();
        let before = stage.ids();
        let verb = VERBS[random.below(VERBS.len() as u64) as usize];
        let told = format!("{filesystem}, round {rounds}, {verb}");
        let begun = Instant::now();
        let mut running = Running::start(&mut stage.command(verb));
        let status = match usual.get(verb) {
            Some(usual) => {
                std::thread::sleep(Duration::from_micros(random.below(usual.as_micros() as u64 + 1)));
                running.kill()
            }
            None => running.wait(),
        };
        let until = usual.entry(verb).or_insert(begun.elapsed());
        match status.code() {
            Some(code) => {
                assert_eq!(code, 0, "{told}: {status}");
                *until = *until * 9 / 10;
            }
            None => {
                assert_eq!(status.signal(), Some(9), "{told}");
                *until = *until * 21 / 20;
                within += 1;
            }
        }
        traces += u64::from(!stage.leftovers().is_empty());
        check(&stage, verb, &before, status.success(), &told);
    }
    eprintln!("{filesystem}: {within} of {rounds} were killed before their end, {traces} left something to sweep");
    assert!(traces * 10 > kills, "the kills came too early");
}

#[test]
fn killed_at_any_moment() {
    each_filesystem(kill_often);
}

/// Every verb in several processes at once on one store: each ends well, finds nothing, or gives up waiting.
#[test]
fn many_processes_at_once() {
    each_filesystem(|filesystem, dir| {
        let stage = Stage::new(dir, SEGMENTS);
        let mut random = Random::new(filesystem);
        let mut ended: BTreeMap<(&str, i32), u64> = BTreeMap::new();
        for _ in 0..env_number("COWLOG_CROWDS", 8) {
            let verbs: Vec<&str> = (0..8)
                .map(|_| ["create", "create", "copy", "delete", "prune", "verify"][random.below(6) as usize])
                .collect();
            let running: Vec<(&str, Running)> =
                verbs.into_iter().map(|verb| (verb, Running::start(&mut stage.command(verb)))).collect();
            for (verb, mut process) in running {
                let code = process.wait().code().expect("an exit code");
                *ended.entry((verb, code)).or_default() += 1;
                // Another one may have deleted it first, or hold it for longer than the deadline.
                let allowed = match verb {
                    "create" | "copy" => [0, 11, 11],
                    _ => [0, 10, 11],
                };
                assert!(allowed.contains(&code), "{filesystem}: {verb} ended with {code}");
            }
            stage.refill();
        }
        eprintln!("{filesystem}: {ended:?}");
        assert!(ended.get(&("create", 0)).is_some_and(|n| *n > 0), "no create worked: {ended:?}");
        check(&stage, "verify", &stage.ids(), true, filesystem);
    });
}
