//! SIGKILL at random moments of what two machines do in one place at the same time. `COWLOG_OFFSITE_KILLS` says how many must
//! hit, 12 if not set.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cowlog::offsite::{
    Compression, GcOptions, PlaceOptions, PushOptions, Remote, RemoteLevel, RemoteOptions, SourceName, Timing,
};
use cowlog::snapshot::{SnapshotConfig, SnapshotManager};

use crate::server::Place;
use crate::stage::{Source, assert_same, names, run};
use crate::support::process::{Running, in_role, role, strays};
use crate::support::{Random, env_number};

const MACHINES: [&str; 2] = ["web-1", "web-2"];

/// With spans that a test can wait for.
fn options() -> RemoteOptions {
    let place = PlaceOptions { endpoint: std::env::var("COWLOG_ENDPOINT").ok(), ..PlaceOptions::default() };
    let timing =
        Timing { window: Duration::from_millis(700), margin: Duration::from_millis(1500), ..Timing::default() };
    RemoteOptions { place, timing, ..RemoteOptions::default() }
}

/// This program again, as the machine that pushes or collects.
pub fn play() {
    let Some((role, args)) = role() else { return };
    let made = Remote::open_or_make(&args[0], Compression::Zstd, None, options()).unwrap();
    match role.as_str() {
        "gc" => drop(made.gc(&GcOptions { grace: Duration::ZERO, dry_run: false }).unwrap()),
        "push" => {
            let manager = SnapshotManager::open_with(&args[1], SnapshotConfig::default()).unwrap();
            let name = SourceName::new(&args[2], "orders-0").unwrap();
            for id in made.missing(&manager, &name).unwrap() {
                made.push(&manager, &id, &PushOptions { name: name.clone(), again: false, moved: false }).unwrap();
            }
        }
        role => panic!("there is no role {role}"),
    }
}

struct Machine {
    host: &'static str,
    source: Source,
    pulled: PathBuf,
}

impl Machine {
    fn of(&self) -> String {
        format!("{}/orders-0", self.host)
    }

    fn command(&self, place: &Place, verb: &str) -> Command {
        let (of, url) = (self.of(), place.url.as_str());
        let mut command = match verb {
            "push" => in_role("push", &[url, self.source.dir.to_str().unwrap(), self.host]),
            "gc" => in_role("gc", &[url]),
            _ => Command::new(env!("CARGO_BIN_EXE_cowlog")),
        };
        match verb {
            "pull" => command.args(["pull", &of, "latest", "--from", url, "--store"]).arg(&self.pulled),
            "prune" => command.args(["prune", &of, "--from", url, "--max-snapshots", "2"]),
            "restore" => command.args(["restore", &of, "latest", "--from", url, "--to"]).arg(self.source.path("back")),
            _ => &mut command,
        };
        // Roles are told by the environment too.
        let told: Vec<_> = command.get_envs().map(|(n, v)| (n.to_owned(), v.map(ToOwned::to_owned))).collect();
        place.lead(&mut command);
        command.envs(told.into_iter().filter_map(|(name, value)| Some((name, value?))));
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Nothing half-made is in what it keeps, once somebody has opened that again.
    fn check(&self, told: &str) {
        if self.pulled.exists() {
            run(Place::nowhere().arg("repair").arg(&self.source.dir).arg("--store").arg(&self.pulled));
            run(Place::nowhere().arg("verify").arg(&self.source.dir).args(["--all", "--store"]).arg(&self.pulled))
                .expect(0);
            assert_eq!(strays(&self.pulled), [""; 0], "{told}: in the store");
        }
        self.source.run("repair", &[]).expect(0);
        assert_eq!(strays(&self.source.dir.join(".snapshots")), [""; 0], "{told}: in the source's store");
    }
}

fn kill_often(place: &Place, told: &str) {
    let machines = MACHINES.map(|host| {
        let source = Source::native(150);
        source.create();
        Machine { host, pulled: source.path("pulled.snapshots"), source }
    });
    let mut random = Random::new(told);
    let mut usual: BTreeMap<&str, Duration> = BTreeMap::new();
    for machine in &machines {
        let begun = Instant::now();
        assert!(machine.command(place, "push").status().unwrap().success(), "the place is made");
        usual.insert("push", begun.elapsed());
    }
    let (kills, mut hit, mut rounds) = (env_number("COWLOG_OFFSITE_KILLS", 12), 0, 0);
    let mut ended: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    while hit < kills {
        rounds += 1;
        assert!(rounds < 20 + 5 * kills, "the kills missed: {hit} of {rounds}");
        let verbs: Vec<&str> = machines
            .iter()
            .map(|_| ["push", "push", "gc", "gc", "prune", "pull", "restore"][random.below(7) as usize])
            .collect();
        let told = format!("{told}, round {rounds}, {verbs:?}");
        let begun = Instant::now();
        let mut running: Vec<(Duration, &str, Running)> = Vec::new();
        for (machine, verb) in machines.iter().zip(&verbs) {
            if *verb == "push" {
                machine.source.append(10);
                machine.source.create();
            }
            let until = usual.get(verb).copied().unwrap_or(Duration::from_millis(400)).as_micros() as u64;
            let moment = Duration::from_micros(random.below(until * 5 / 4));
            running.push((moment, verb, Running::start(&mut machine.command(place, verb))));
        }
        running.sort_by_key(|(moment, ..)| *moment);
        for (moment, verb, mut process) in running {
            std::thread::sleep(moment.saturating_sub(begun.elapsed()));
            let was_running = process.is_running();
            let status = process.kill();
            let until = usual.entry(verb).or_insert(Duration::from_millis(400));
            if was_running {
                hit += 1;
                *until = *until * 21 / 20;
                *ended.entry((verb, "killed")).or_default() += 1;
            } else {
                *until = (*until * 9 / 10).max(Duration::from_millis(20));
                // A pull of what another machine's prune takes away may find nothing.
                assert!([Some(0), Some(10), Some(4)].contains(&status.code()), "{told}: {verb} ended with {status}");
                *ended.entry((verb, "done")).or_default() += 1;
            }
        }
        let remote = place.remote();
        let listed = remote.list().unwrap();
        for snapshot in &listed {
            let report = remote.verify(&snapshot.of.to_string(), &snapshot.info.id, RemoteLevel::Full).unwrap();
            assert!(report.ok, "{told}: {report:?}");
        }
        for machine in &machines {
            machine.check(&told);
            let back = machine.source.path("back");
            if back.exists() {
                std::fs::remove_dir_all(back).unwrap();
            }
        }
    }
    eprintln!("{told}: {hit} kills in {rounds} rounds: {ended:?}");
    // Whatever was interrupted is completed by doing it again.
    for machine in &machines {
        for verb in ["push", "gc", "gc", "pull", "restore"] {
            let ran = run(&mut machine.command(place, verb));
            assert_eq!(ran.code, 0, "{told}: {verb} at the end: {ran:?}");
        }
        let here = machine.source.path("here");
        machine.source.run("restore", &["latest", "--to", here.to_str().unwrap()]).expect(0);
        assert_same(&here, &machine.source.path("back"), told);
        machine.check(told);
        let around = names(machine.source.dir.parent().unwrap());
        assert_eq!(around, ["back", "here", "orders-0", "pulled.snapshots"], "{told}: something is left");
        place.from(&["verify", &machine.of(), "--all"]).expect(0);
    }
}

#[test]
fn killed_at_any_moment_in_a_directory() {
    kill_often(&Place::directory(), "killed in a directory");
}

#[test]
fn killed_at_any_moment_in_a_bucket() {
    let Some(place) = Place::s3("killed") else { return };
    kill_often(&place, "killed in a bucket");
}
