//! Colour and bars on a terminal, and nowhere else.

use std::process::Command;

use crate::stage::{Stage, cowlog, run};

#[test]
fn no_escape_codes_where_there_is_no_terminal() {
    let stage = Stage::new();
    stage.create();
    let target = stage.path("r");
    let target = target.to_str().unwrap();
    for (verb, args) in [
        ("create", &["--force", "-v"][..]),
        ("list", &["-v"]),
        ("show", &["-v"]),
        ("verify", &["-v", "--all"]),
        ("restore", &["latest", "-v", "--to", target]),
        ("restore", &["latest", "--to", target]),
        ("prune", &["-n"]),
        ("repair", &[]),
        ("delete", &["latest"]),
        ("nonsense", &[]),
    ] {
        let ran = run(cowlog().arg(verb).arg(&stage.log).args(args).env("TERM", "xterm-256color"));
        assert!(
            !ran.stdout.contains('\u{1b}') && !ran.stderr.contains('\u{1b}'),
            "{verb}: {}{}",
            ran.stdout,
            ran.stderr
        );
    }
}

#[test]
fn a_terminal_gets_colour_unless_it_does_not_want_it() {
    let stage = Stage::new();
    stage.create();
    let on_terminal = |environment: &[(&str, &str)]| {
        let line = format!("'{}' list '{}'", cowlog().get_program().display(), stage.log.display());
        let mut script = Command::new("script");
        script.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").env_remove("NO_COLOR");
        let output = script.envs(environment.iter().copied()).output().expect("script(1) of util-linux");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let coloured = on_terminal(&[]);
    assert!(coloured.contains("\u{1b}[") && coloured.contains("snapshot-"), "{coloured}");
    assert!(!on_terminal(&[("NO_COLOR", "1")]).contains("\u{1b}["));
    assert!(!on_terminal(&[("TERM", "dumb")]).contains("\u{1b}["));
    assert!(on_terminal(&[("NO_COLOR", "")]).contains("\u{1b}["), "an empty NO_COLOR counts as unset");
}
