//! Who may ask for what: bearer tokens, each with a name and a role.

use core::net::IpAddr;
use std::path::{Path, PathBuf};

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use blake3::Hash;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::app::{App, Shared};
use super::audit::{Deed, SCHEDULER, SERVER, UNKNOWN};
use super::jobs::SCHEDULE;
use super::problem::Problem;
use super::refusals::Counted;
use super::router::LONGEST_NOTE;
use crate::error::{Error, Result, ValidationError};
use crate::fs::{Dir, Open, write_new_file};

/// What a token allows; each role allows what those before it do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// To look.
    Read,
    /// To take, verify and restore snapshots, and to cancel jobs.
    Operate,
    /// To delete snapshots.
    Admin,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Role::Read => "read",
            Role::Operate => "operate",
            Role::Admin => "admin",
        })
    }
}

/// Somebody who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) from: Option<IpAddr>,
    token: Hash,
}

/// The tokens that are known. Of each only its BLAKE3 is kept.
#[derive(Debug, Clone, Default)]
pub struct Tokens(Vec<Known>);

#[derive(Debug, Clone)]
struct Known {
    name: String,
    role: Role,
    digest: Hash,
}

const MAX_BYTES: u64 = 1 << 20;
const SHORTEST: usize = 16;
const LONGEST_NAME: usize = 100;
/// The name of the file with the token that is made where none is configured.
const MADE: &str = "token";

impl Tokens {
    /// One token for everything.
    pub fn one(token: &str) -> Tokens {
        Tokens(vec![Known { name: "admin".into(), role: Role::Admin, digest: blake3::hash(token.as_bytes()) }])
    }

    /// Reads a file: a line each of role, name, and the token or `blake3:` and its digest in hex; `#` begins a comment.
    ///
    /// # Errors
    ///
    /// `Validation`, with the line, where it is not understood, where others than its owner and group may read it, and
    /// where it holds no token.
    pub fn read(path: &Path) -> Result<Tokens> {
        let (dir, name) = Dir::open_around(path)?;
        let file = dir.open_file(name, Open::Read).map_err(|e| match e.is_no_file() {
            true => refused(path, "it is no file, or a symbolic link".into(), "name the file itself"),
            false => e,
        })?;
        if file.stat()?.mode & 0o007 != 0 {
            let hint = format!("chmod o= {}", path.display());
            return Err(refused(path, "everybody may read or write it".into(), &hint));
        }
        let text = String::from_utf8_lossy(&file.read_all(MAX_BYTES)?).into_owned();
        Tokens::parse(&text, path)
    }

    /// Reads its text; `path` is what errors call it.
    pub(super) fn parse(text: &str, path: &Path) -> Result<Tokens> {
        let mut known: Vec<Known> = Vec::new();
        for (n, line) in text.lines().enumerate() {
            let wrong = |why: &str| {
                let hint = "a line each: `read|operate|admin NAME TOKEN`, or `blake3:DIGEST` for the token";
                refused(path, format!("line {}: {why}", n + 1), hint)
            };
            let words: Vec<&str> = line.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
            let (role, name, token) = match words.as_slice() {
                [] => continue,
                [role, name, token] => (*role, *name, *token),
                _ => return Err(wrong("it does not have three words")),
            };
            let role = match role {
                "read" => Role::Read,
                "operate" => Role::Operate,
                "admin" => Role::Admin,
                _ => return Err(wrong("the first word is no role")),
            };
            let digest = match token.strip_prefix("blake3:") {
                Some(hex) => Hash::from_hex(hex).map_err(|_| wrong("this is no BLAKE3 digest in hex"))?,
                None if token.len() < SHORTEST => return Err(wrong("a token has at least 16 characters")),
                None => blake3::hash(token.as_bytes()),
            };
            if [SCHEDULE, SCHEDULER, SERVER, UNKNOWN].contains(&name) {
                return Err(wrong("nobody may be called so: it stands for what is done by itself"));
            }
            if name.chars().count() > LONGEST_NAME || name.contains(char::is_control) {
                return Err(wrong("a name has up to 100 characters, none of them a control character"));
            }
            if known.iter().any(|k| k.name == name) {
                return Err(wrong("two tokens have this name: the audit log could not tell them apart"));
            }
            if known.iter().any(|k| k.digest == digest) {
                return Err(wrong("this token stands there twice"));
            }
            known.push(Known { name: name.to_owned(), role, digest });
        }
        match known.is_empty() {
            true => Err(refused(path, "it holds no token".into(), "nobody could ask for anything")),
            false => Ok(Tokens(known)),
        }
    }

    /// The token of a state directory for all purposes, made where it is missing. Its file is its owner's alone.
    pub(super) fn made_in(state: &Dir) -> Result<(Tokens, PathBuf)> {
        let path = state.path_of(MADE);
        if let Some(bytes) = state.try_read(MADE, MAX_BYTES)? {
            if state.stat(MADE)?.mode & 0o077 != 0 {
                let hint = format!("remove it: another is made at the next start ({})", path.display());
                return Err(refused(&path, "others may read or write it".into(), &hint));
            }
            let token = String::from_utf8_lossy(&bytes).trim().to_owned();
            if token.len() >= SHORTEST {
                return Ok((Tokens::one(&token), path));
            }
            return Err(refused(&path, "it holds no token".into(), "remove it: another is made at the next start"));
        }
        let token = new_token()?;
        write_new_file(state, MADE, format!("{token}\n").as_bytes(), 0o600)?;
        state.sync()?;
        Ok((Tokens::one(&token), path))
    }

    /// Whose a token is. How long it takes does not depend on how much of it is right: what is compared is a digest of it,
    /// with every known one, each in constant time.
    fn whose(&self, digest: Hash) -> Option<&Known> {
        self.0.iter().fold(None, |found, known| if known.digest == digest { Some(known) } else { found })
    }

    /// Whether somebody who was let in would still be, with as much as then.
    pub(super) fn allow(&self, caller: &Caller) -> bool {
        self.whose(caller.token).is_some_and(|known| known.role >= caller.role)
    }
}

/// 256 bits that nobody can guess, in hex.
pub fn new_token() -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|e| Error::io("read random bytes for", "a token", e.into()))?;
    Ok(Hash::from_bytes(bytes).to_hex().to_string())
}

fn refused(path: &Path, why: String, hint: &str) -> Error {
    let what = format!("{}: {why}", path.display());
    ValidationError::Refused { what, path: Some(path.to_owned()), hint: Some(hint.to_owned()) }.into()
}

/// Lets in whom a token names.
pub(super) async fn known_only(State(app): State<Shared>, mut request: Request, next: Next) -> Response {
    let from = peer_of(&request);
    match app.admit(bearer(request.headers()), from) {
        Ok(caller) => {
            request.extensions_mut().insert(caller.clone());
            let mut response = next.run(request).await;
            response.extensions_mut().insert(caller);
            response
        }
        Err(Refused { problem, is_known }) => {
            if !is_known {
                let what = format!("{} {}", request.method(), request.uri().path());
                app.note_refusal(from, what, &problem).await;
            }
            problem.into_response()
        }
    }
}

/// Somebody who was not let in.
struct Refused {
    problem: Problem,
    is_known: bool,
}

/// Lets in whom nobody needs to know, as often as that is reasonable.
pub(super) async fn paced(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let limit = match request.uri().path() {
        "/healthz" | "/readyz" => &app.limits.health,
        _ => &app.limits.open,
    };
    match limit.admits(peer_of(&request)) {
        true => next.run(request).await,
        false => Problem::too_many().into_response(),
    }
}

fn peer_of(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<ConnectInfo<std::net::SocketAddr>>().map(|info| info.0.ip())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl App {
    /// Who this is, if that is known and has not asked too often.
    fn admit(&self, token: Option<&str>, from: Option<IpAddr>) -> std::result::Result<Caller, Refused> {
        let tokens = self.tokens();
        let known = token.and_then(|token| tokens.whose(blake3::hash(token.as_bytes())));
        let limited = match known {
            Some(known) => self.limits.known.check_key(&known.name).is_err(),
            None => self.limits.unknown.check().is_err(),
        };
        match known {
            _ if limited => Err(Refused { problem: Problem::too_many(), is_known: known.is_some() }),
            Some(known) => Ok(Caller { name: known.name.clone(), role: known.role, from, token: known.digest }),
            None => {
                let detail = match token {
                    Some(_) => "this token is not known",
                    None => "a token is needed",
                };
                let problem = Problem::request(StatusCode::UNAUTHORIZED, "unauthorized", detail);
                Err(Refused { problem: problem.hint("send `Authorization: Bearer TOKEN`"), is_known: false })
            }
        }
    }

    async fn note_refusal(self: &Shared, from: Option<IpAddr>, what: String, problem: &Problem) {
        let (line, counted) = self.refusals.count(from, self.base.clock.now());
        if !line && counted.is_empty() {
            return;
        }
        let result = format!("{}: {}", problem.status, problem.detail);
        let note = move |app: &App| {
            app.note_counted(counted);
            if line {
                let what: String = what.chars().take(LONGEST_NOTE).collect();
                app.audit.note(UNKNOWN, from, &Deed { what: &what, result: &result, ..Deed::default() });
            }
            Ok(())
        };
        let _ = self.read(note).await;
    }

    /// Refusals that got no line of their own.
    pub(super) fn note_counted(&self, counted: Counted) {
        for (from, count) in counted {
            let whose = if from.is_some() { "" } else { ", of other peers" };
            let result = format!("401: {count} more without a known token within a minute{whose}");
            self.audit.note(UNKNOWN, from, &Deed { what: "requests", result: &result, ..Deed::default() });
        }
    }
}

/// Somebody with a role, or a refusal.
macro_rules! somebody {
    ($name:ident, $role:expr) => {
        #[derive(Debug)]
        pub(super) struct $name(pub(super) Caller);

        impl<S: Send + Sync> FromRequestParts<S> for $name {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> std::result::Result<Self, Problem> {
                let caller = parts.extensions.get::<Caller>().cloned();
                let caller = caller.ok_or_else(|| Problem::fault("this route lets in everybody"))?;
                if caller.role >= $role {
                    return Ok($name(caller));
                }
                let detail = format!("{} has the role {}, and this needs {}", caller.name, caller.role, $role);
                Err(Problem::request(StatusCode::FORBIDDEN, "forbidden", detail))
            }
        }
    };
}

somebody!(Reader, Role::Read);
somebody!(Operator, Role::Operate);
somebody!(Administrator, Role::Admin);
