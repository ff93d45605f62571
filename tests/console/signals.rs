//! Starting, reloading, stopping.

use std::process::Command;
use std::time::{Duration, Instant};

use cowlog::LogConfig;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::served::{ADMIN, OPERATE, Place, READ, Served};

fn refused(place: &Place, listen: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cowlog"));
    let ran = command.args(["serve", "--config"]).arg(place.path("cowlog.toml")).args(listen).output().unwrap();
    assert!(!ran.status.success());
    String::from_utf8_lossy(&ran.stderr).into_owned()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn it_does_not_start_as_it_must_not() {
    let place = Place::new();
    place.append("orders-0", 5);
    place.configure("listen = \"0.0.0.0:0\"\ntokens = \"\"", &[("orders-0", "")]);
    let text = std::fs::read_to_string(place.path("cowlog.toml")).unwrap();
    std::fs::write(place.path("cowlog.toml"), text.replace("tokens = \"\"\n", "")).unwrap();
    assert!(refused(&place, &[]).contains("needs a file of `tokens`"), "{}", refused(&place, &[]));
    std::fs::write(
        place.path("cowlog.toml"),
        text.replace("tokens = \"\"\n", "").replace("listen = \"0.0.0.0:0\"\n", ""),
    )
    .unwrap();
    let told = refused(&place, &["--listen", "0.0.0.0:0"]);
    assert!(told.contains("needs `tokens`"), "{told}");

    place.configure("", &[("orders-0", "")]);
    for (tokens, why) in [
        ("", "no token"),
        ("reed x token-of-sixteen-letters", "line 1"),
        ("# x\nread x short", "line 2"),
        ("read x blake3:00", "no BLAKE3"),
        ("read x token-of-sixteen-letters\nadmin y token-of-sixteen-letters", "twice"),
        ("read x token-of-sixteen-letters\nadmin x token-of-sixteen-numbers", "line 2: two tokens have this name"),
        ("read scheduler token-of-sixteen-letters", "done by itself"),
        (&format!("read {} token-of-sixteen-letters", "x".repeat(101)), "up to 100 characters"),
    ] {
        std::fs::write(place.path("tokens"), tokens).unwrap();
        assert!(refused(&place, &[]).contains(why), "{tokens}: {}", refused(&place, &[]));
    }
    std::fs::set_permissions(place.path("tokens"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    assert!(refused(&place, &[]).contains("chmod o="));
    std::os::unix::fs::symlink(place.path("tokens"), place.path("linked")).unwrap();
    place.configure(&format!("tokens = {:?}", place.path("linked")), &[("orders-0", "")]);
    let told = refused(&place, &[]);
    assert!(told.contains("symbolic link") && told.contains("name the file itself"), "{told}");
    place.configure("restore_dirs = [\"/nowhere/at/all\"]\ntokens = \"/x\"", &[("orders-0", "")]);
    refused(&place, &[]);
    // No token of anybody is printed anywhere.
    assert!(!refused(&place, &[]).contains("token-of"));
}

#[test]
fn on_loopback_a_token_is_made_where_none_is_named() {
    let place = Place::new();
    place.append("orders-0", 5);
    place.configure("", &[("orders-0", "")]);
    let text = std::fs::read_to_string(place.path("cowlog.toml")).unwrap();
    let without: String =
        text.lines().filter(|line| !line.starts_with("tokens")).map(|line| format!("{line}\n")).collect();
    std::fs::write(place.path("cowlog.toml"), without).unwrap();
    let served = place.serve();
    let file = place.path("state/token");
    let token = std::fs::read_to_string(&file).unwrap();
    let mode = std::os::unix::fs::MetadataExt::mode(&file.metadata().unwrap()) & 0o777;
    assert_eq!((token.trim().len(), mode), (64, 0o600));
    assert_eq!(served.ask("GET", "/api/whoami", token.trim(), &[], None).expect(200)["role"], "admin");
    assert!(!served.log().contains(token.trim()) && served.log().contains("state/token"), "{}", served.log());
    // It is the same at the next start, and nobody else's file is taken for it.
    drop(served);
    let served = place.serve();
    served.ask("GET", "/api/whoami", token.trim(), &[], None).expect(200);
    drop(served);
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    assert!(refused(&place, &["--listen", "127.0.0.1:0"]).contains("others may read"));
}

#[test]
fn a_good_configuration_is_taken_over_and_a_bad_one_is_not() {
    let place = Place::new();
    place.append("orders-0", 5);
    place.append("events-0", 5);
    place.configure("", &[("orders-0", "")]);
    let served = place.serve();
    place.configure("", &[("orders-0", ""), ("events-0", "")]);
    let tokens = std::fs::read_to_string(place.path("tokens")).unwrap();
    std::fs::write(place.path("tokens"), tokens.replace(READ, "another-token-for-the-reader")).unwrap();
    served.signal(Signal::SIGHUP);
    until("the reload", || served.log().contains("was read again"));
    assert_eq!(served.ask("GET", "/api/whoami", READ, &[], None).status, 401, "a token that was withdrawn");
    let sources = served.ask("GET", "/api/sources", OPERATE, &[], None).expect(200);
    assert_eq!(sources["sources"].as_array().unwrap().len(), 2);

    std::fs::write(place.path("cowlog.toml"), "state = 1\n").unwrap();
    served.signal(Signal::SIGHUP);
    until("the refusal", || served.log().contains("the configuration before goes on"));
    assert!(served.log().contains("line 1"), "{}", served.log());
    // Also where only the tokens are bad.
    place.configure("", &[("orders-0", "")]);
    std::fs::write(place.path("tokens"), "").unwrap();
    served.signal(Signal::SIGHUP);
    until("the refusal", || served.log().matches("the configuration before goes on").count() == 2);
    let sources = served.ask("GET", "/api/sources", OPERATE, &[], None).expect(200);
    assert_eq!(sources["sources"].as_array().unwrap().len(), 2);
}

/// Where others can reach it, it goes on to ask for the tokens that it was given.
#[test]
fn tokens_are_not_withdrawn_from_under_an_address_of_others() {
    let place = Place::new();
    place.append("orders-0", 5);
    let mut command = Command::new(env!("CARGO_BIN_EXE_cowlog"));
    place.configure("listen = \"0.0.0.0:0\"", &[("orders-0", "")]);
    let served = Served::start_as_configured(command.args(["serve", "--config"]).arg(place.path("cowlog.toml")));
    let text = std::fs::read_to_string(place.path("cowlog.toml")).unwrap();
    let without = text.lines().filter(|line| !line.starts_with("tokens") && !line.starts_with("listen"));
    std::fs::write(place.path("cowlog.toml"), without.collect::<Vec<_>>().join("\n")).unwrap();
    served.signal(Signal::SIGHUP);
    until("the refusal", || served.log().contains("the configuration before goes on"));
    assert!(served.log().contains("needs `tokens`"), "{}", served.log());
    assert_eq!(served.get("/api/whoami")["name"], "reader");
    assert!(!place.path("state/token").exists());
}

/// Whoever listens to a stream when its token is withdrawn hears no more.
#[test]
fn a_stream_ends_with_its_token() {
    let place = Place::new();
    place.append("orders-0", 5);
    place.configure("", &[("orders-0", "")]);
    let served = place.serve();
    let mut withdrawn = crate::streams::watch(&served, "/api/events");
    let mut kept = crate::streams::watch_as(&served, "/api/events", OPERATE);
    served.create("orders-0");
    assert!(withdrawn.next().is_some() && kept.next().is_some());
    let tokens = std::fs::read_to_string(place.path("tokens")).unwrap();
    std::fs::write(place.path("tokens"), tokens.replace(READ, "another-token-for-the-reader")).unwrap();
    served.signal(Signal::SIGHUP);
    until("the reload", || served.log().contains("was read again"));
    // What was on its way may still come; then the stream is over, long before a client's patience is.
    let began = Instant::now();
    assert!(withdrawn.count() < 5);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let made = served.post("/api/snapshots", json!({ "source": "orders-0", "force": true })).expect(201);
    assert!(kept.any(|job| job["snapshot"] == made["id"]));
}

#[test]
fn it_ends_in_time_whatever_is_under_way() {
    let place = Place::new();
    place.fill("orders-0", LogConfig::default().segment_bytes, 200, 1 << 20);
    place.configure("", &[("orders-0", "")]);
    let mut served = place.serve();
    let id = served.create("orders-0");
    let watching = crate::streams::watch(&served, "/api/events");
    let _idle = std::net::TcpStream::connect(served.address()).unwrap();
    let body = json!({ "to": "back", "method": "copy" });
    let job = served.post(&format!("/api/snapshots/{id}/restore"), body).expect(202);
    served.signal(Signal::SIGTERM);
    let began = Instant::now();
    assert_eq!(served.wait(Duration::from_secs(12)), Some(0), "{}", served.log());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(watching);
    let back = place.path("restored/back").exists();
    let served = place.serve();
    let ended = served.ended(&job);
    let expected = if back { "done" } else { "interrupted" };
    assert_eq!(ended["state"], expected, "{ended}");
    assert_eq!(
        std::fs::read_dir(place.path("restored")).unwrap().count(),
        usize::from(back),
        "something is left behind"
    );
    served.ask("DELETE", &format!("/api/snapshots/{id}"), ADMIN, &[], None).expect(200);
}

/// A second one on the same state directory, or at the same address, does not start.
#[test]
fn one_at_a_time() {
    let place = Place::new();
    place.append("orders-0", 5);
    place.configure("", &[("orders-0", "")]);
    let served = place.serve();
    let told = refused(&place, &["--listen", "127.0.0.1:0"]);
    assert!(told.contains("another scheduler"), "{told}");
    let other = Place::new();
    other.append("orders-0", 5);
    other.configure("", &[("orders-0", "")]);
    let told = refused(&other, &["--listen", served.address()]);
    assert!(told.contains("cannot listen on"), "{told}");
}

#[test]
fn it_is_served_over_tls() {
    let place = Place::new();
    place.append("orders-0", 5);
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    std::fs::write(place.path("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(place.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let tls = format!("tls = {{ cert = {:?}, key = {:?} }}", place.path("cert.pem"), place.path("key.pem"));
    place.configure(&tls, &[("orders-0", "")]);
    let served = place.serve();
    assert!(served.url.starts_with("https://"));
    let root = ureq::tls::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap().to_owned();
    let trusting = ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::from(vec![root])).build();
    let agent: ureq::Agent = ureq::Agent::config_builder().tls_config(trusting).build().into();
    let answer =
        agent.get(format!("{}/api/whoami", served.url)).header("Authorization", format!("Bearer {READ}")).call();
    assert_eq!(answer.unwrap().status(), 200);
    // A client that would rather speak HTTP/2 is told what is spoken.
    let mut curl = Command::new("curl");
    let ran = curl
        .args(["-fsS", "--http2", "--cacert"])
        .arg(place.path("cert.pem"))
        .arg(format!("{}/healthz", served.url))
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let distrusting: ureq::Agent = ureq::Agent::config_builder().build().into();
    assert!(distrusting.get(format!("{}/healthz", served.url)).call().is_err());
    std::fs::write(place.path("cert.pem"), "x").unwrap();
    served.signal(Signal::SIGHUP);
    until("the refusal", || served.log().contains("the configuration before goes on"));
}

#[test]
fn the_demonstration_needs_nothing_and_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cowlog"));
    command.args(["serve", "--demo"]).env("TMPDIR", temp.path());
    let mut served = Served::start(&mut command);
    assert_eq!(served.ask("GET", "/", "", &[], None).status, 200);
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);
    served.signal(Signal::SIGINT);
    assert_eq!(served.wait(Duration::from_secs(12)), Some(0), "{}", served.log());
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0, "something is left behind");
}

#[test]
fn its_log_can_be_objects() {
    use std::io::BufRead;

    let place = Place::new();
    place.append("orders-0", 5);
    place.configure("", &[("orders-0", "every = \"1h\"")]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_cowlog"));
    command.args(["serve", "--log-format", "json", "--listen", "127.0.0.1:0", "--config"]);
    let mut child = command
        .arg(place.path("cowlog.toml"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufReader::new(child.stderr.take().unwrap()).lines();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    let mut said = Vec::new();
    for line in lines {
        let line = line.unwrap();
        let told: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
        for field in ["timestamp", "level", "target"] {
            assert!(told[field].is_string(), "{line} has no {field}");
        }
        if told["message"] == "done" && told["task"] == "create" {
            assert_eq!((&told["source"], told["ms"].is_u64()), (&json!("orders-0"), true), "{line}");
            nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
        }
        // A line of the audit log has none.
        said.extend(told["message"].as_str().map(str::to_owned));
    }
    assert!(child.wait().unwrap().success());
    assert!(said.iter().any(|message| message == "listening") && said.iter().any(|m| m == "done"), "{said:?}");
}
