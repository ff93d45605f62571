//! SIGKILL at random moments of the real binary. `COWLOG_KILLS` says how often on each filesystem, 60 times if not set.

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
    let mut usual: BTreeMap<&str, Duration> = BTreeMap::new();
    let (mut within, mut traces) = (0, 0);
    let kills = env_number("COWLOG_KILLS", 60);
    for round in 0..kills {
        stage.refill();
        let before = stage.ids();
        let verb = VERBS[random.below(VERBS.len() as u64) as usize];
        let told = format!("{filesystem}, round {round}, {verb}");
        let begun = Instant::now();
        let mut running = Running::start(&mut stage.command(verb));
        let status = match usual.get(verb) {
            Some(usual) => {
                let all = usual.as_micros() as u64;
                std::thread::sleep(Duration::from_micros(random.below(all + all / 10)));
                running.kill()
            }
            None => running.wait(),
        };
        usual.entry(verb).or_insert(begun.elapsed());
        match status.code() {
            Some(code) => assert_eq!(code, 0, "{told}: {status}"),
            None => {
                assert_eq!(status.signal(), Some(9), "{told}");
                within += 1;
            }
        }
        traces += u64::from(!stage.leftovers().is_empty());
        check(&stage, verb, &before, status.success(), &told);
    }
    eprintln!("{filesystem}: {within} of {kills} were killed before their end, {traces} left something to sweep");
    assert!(within * 3 > kills && traces * 10 > kills, "the kills missed");
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
