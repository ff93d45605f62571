//! What root does for the owner of a log, and what a service may not do.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::stage::{Ran, Stage, append, cowlog, records, run};

const NOBODY: u32 = 65534;

/// Whose all of it is, links included.
fn owners(path: &Path) -> Vec<(String, u32, u32)> {
    let meta = fs::symlink_metadata(path).unwrap();
    let mut all = vec![(path.display().to_string(), meta.uid(), meta.gid())];
    if meta.is_dir() {
        all.extend(fs::read_dir(path).unwrap().flat_map(|entry| owners(&entry.unwrap().path())));
    }
    all
}

/// An operator tries a configuration as root; the service that runs as the owner of the logs has to go on from there.
#[test]
fn what_root_began_the_owner_of_the_log_goes_on_with() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return;
    }
    let stage = Stage::named("home/orders-0");
    fs::set_permissions(stage.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    let binary = stage.path("cowlog");
    fs::copy(cowlog().get_program(), &binary).unwrap();
    let home = stage.path("home");
    let config = home.join("cowlog.toml");
    let text = format!(
        "state = {:?}\n[[source]]\npath = {:?}\nevery = \"1s\"\nverify = {{ every = \"1s\" }}\n\
         drill = {{ every = \"1s\", into = {home:?} }}\n",
        home.join("state"),
        stage.log
    );
    fs::write(&config, text).unwrap();
    let _ = fs::remove_file(stage.log.join(".segments.lock"));
    let own = Command::new("chown").args(["-R", "65534:65534"]).arg(&home).status();
    assert!(own.unwrap().success());
    let as_owner = |args: &[&str]| -> Ran {
        let mut command = Command::new(&binary);
        run(command.args(args).current_dir(&home).uid(NOBODY).gid(NOBODY))
    };
    let once = ["run", "--once", "--config", config.to_str().unwrap(), "--json"];
    // A umask that lets nobody else in: what it makes is for its owner all the same.
    let mut as_root = Command::new("sh");
    run(as_root.args(["-c", "umask 077 && exec \"$0\" \"$@\""]).arg(&binary).args(once)).expect_code(0);
    for store in [stage.path("aside"), stage.path("home/besides")] {
        run(cowlog().arg("create").arg(&stage.log).arg("--store").arg(&store)).expect_code(0);
        assert!(owners(&store).iter().all(|(_, uid, gid)| (*uid, *gid) == (NOBODY, NOBODY)), "{:?}", owners(&store));
    }
    let rooted: Vec<_> = owners(&home).into_iter().filter(|(_, uid, gid)| (*uid, *gid) != (NOBODY, NOBODY)).collect();
    assert_eq!(rooted, []);

    std::thread::sleep(std::time::Duration::from_millis(1100));
    let done = as_owner(&once).expect_code(0).json();
    assert_eq!(done.as_array().unwrap().len(), 3, "{done}");
    as_owner(&["verify", "orders-0", "--all"]).expect_code(0);
    as_owner(&["delete", "orders-0", "latest"]).expect_code(0);
    as_owner(&["create", "orders-0", "--force"]).expect_code(0);

    // A store that is root's stays root's.
    let own = stage.path("own");
    fs::create_dir(&own).unwrap();
    run(cowlog().arg("create").arg(&stage.log).arg("--store").arg(&own)).expect_code(0);
    assert_eq!(fs::metadata(own.join("snapshots.json")).unwrap().uid(), 0);
}

/// As a service for which systemd's `RestrictSUIDSGID=` is set: the call fails, and with it all that was restored.
#[test]
fn set_id_bits_that_may_not_be_set_are_told_of() {
    let works = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
    if !works.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("COWLOG_NO_SKIP").is_none_or(|v| v != "1"), "strace is not here, or may not trace");
        return eprintln!("skipped, because strace is not here, or may not trace");
    }
    let stage = Stage::new();
    append(&stage.log, 10);
    fs::set_permissions(&stage.log, fs::Permissions::from_mode(0o2750)).unwrap();
    stage.create();
    let back = stage.path("back");
    let restoring = stage.path(".back.restoring");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "inject=fchmod:error=EPERM:when=1", "-o"]).arg(stage.path("trace"));
    command.arg("-P").arg(&restoring).arg(cowlog().get_program());
    let done = run(command.arg("restore").arg(&stage.log).args(["latest", "--json", "--to"]).arg(&back));
    let trace = fs::read_to_string(stage.path("trace")).unwrap();
    assert!(trace.contains("INJECTED"), "nothing was kept from it: {trace}");
    let told = done.expect_code(0).json();
    assert!(
        told["not_restored"].as_array().unwrap().iter().any(|what| what.as_str().unwrap().contains("set-id")),
        "{told}"
    );
    assert_eq!(fs::metadata(&back).unwrap().mode() & 0o7777, 0o750);
    assert_eq!(records(&back), records(&stage.log));
}
