//! A proxy between the binary and the server, which does what a bad network or a bad server does.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What is done to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    No,
    /// It is answered at once: 500, 503 with `SlowDown`, or another status. The server never sees it.
    Status(u16),
    /// The connection is reset before the server sees it.
    Reset,
    /// The server does it, and the connection is reset instead of an answer.
    NoAnswer,
    /// The connection ends in the middle of the answer's body.
    HalfAnswer,
    /// The server gets half of the body, then the connection ends.
    HalfRequest,
    /// A bit of the body is another one when it arrives at the server.
    ChangedRequest,
    /// A bit of the answer's body is another one.
    ChangedAnswer,
    /// What would change something is acknowledged, and the server never sees it.
    Forgotten,
    /// The answer has another ETag.
    WrongETag,
    /// It takes so many milliseconds longer.
    Late(u64),
    /// Of the answer's body only a piece comes, and its end only after a while: so many bytes, so many milliseconds.
    Piece(usize, u64),
}

/// What the proxy saw.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// With the query.
    pub target: String,
    /// How many of this method and target came before, whatever upload they were of.
    pub before: usize,
}

type Plan = dyn Fn(&Request) -> Fault + Send + Sync;

pub struct Proxy {
    pub endpoint: String,
    seen: Arc<Mutex<Vec<(Request, Fault)>>>,
}

impl Proxy {
    /// In front of a server; it stays until the program ends.
    pub fn start(upstream: &str, plan: impl Fn(&Request) -> Fault + Send + Sync + 'static) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let upstream = upstream.strip_prefix("http://").unwrap().to_owned();
        let (plan, seen): (Arc<Plan>, _) = (Arc::new(plan), Arc::<Mutex<Vec<_>>>::default());
        let proxy = Proxy { endpoint, seen: seen.clone() };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (upstream, plan, seen) = (upstream.clone(), plan.clone(), seen.clone());
                std::thread::spawn(move || {
                    let _ = serve(client, &upstream, &*plan, &seen);
                });
            }
        });
        proxy
    }

    /// All requests so far, and what was done to them.
    pub fn seen(&self) -> Vec<(Request, Fault)> {
        self.seen.lock().unwrap().clone()
    }
}

/// A head up to the empty line, and how many bytes follow.
fn read_head(from: &mut impl BufRead) -> io::Result<Option<(Vec<String>, usize)>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let length = |line: &String| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    };
    let length = lines.iter().find_map(length).unwrap_or(0);
    Ok(Some((lines, length)))
}

fn of_any_upload(target: &str) -> &str {
    target.split("uploadId=").next().unwrap_or_default()
}

/// One request of one connection: whoever has more has to connect again.
fn serve(client: TcpStream, upstream: &str, plan: &Plan, seen: &Mutex<Vec<(Request, Fault)>>) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let Some((lines, length)) = read_head(&mut reader)? else { return Ok(()) };
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut words = lines[0].split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let fault = {
        let mut seen = seen.lock().unwrap();
        let is_like = |r: &Request| (&r.method, of_any_upload(&r.target)) == (&method, of_any_upload(&target));
        let before = seen.iter().filter(|(r, _)| is_like(r)).count();
        let request = Request { method: method.clone(), target, before };
        let fault = plan(&request);
        seen.push((request, fault));
        fault
    };
    let mut client = client;
    match fault {
        Fault::Reset => return reset(client),
        Fault::Status(status) => {
            let code = if status == 503 { "SlowDown" } else { "InternalError" };
            let body = format!("<Error><Code>{code}</Code><Message>Please try again.</Message></Error>");
            let body = if method == "HEAD" { String::new() } else { body };
            let length = body.len();
            return write!(
                client,
                "HTTP/1.1 {status} Bad\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
        }
        Fault::Forgotten if !["GET", "HEAD"].contains(&method.as_str()) => {
            let answer = "HTTP/1.1 200 OK\r\nETag: \"0123456789abcdef0123456789abcdef\"\r\nContent-Length: 0\r\n";
            return write!(client, "{answer}Connection: close\r\n\r\n");
        }
        Fault::Late(ms) => std::thread::sleep(Duration::from_millis(ms)),
        Fault::ChangedRequest => {
            if let Some(byte) = body.get_mut(length / 2) {
                *byte ^= 1;
            }
        }
        _ => {}
    }
    let mut server = TcpStream::connect(upstream)?;
    let mut head = format!("{}\r\n", lines[0]);
    for line in &lines[1..] {
        if !line.to_ascii_lowercase().starts_with("connection:") {
            head += &format!("{line}\r\n");
        }
    }
    server.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
    if fault == Fault::HalfRequest {
        server.write_all(&body[..length / 2])?;
        server.shutdown(Shutdown::Both)?;
        return reset(client);
    }
    server.write_all(&body)?;
    let mut answer = BufReader::new(server);
    let Some((mut lines, _)) = read_head(&mut answer)? else { return reset(client) };
    let mut body = Vec::new();
    answer.read_to_end(&mut body)?;
    match fault {
        Fault::NoAnswer => return reset(client),
        Fault::HalfAnswer => body.truncate(body.len() / 2),
        Fault::ChangedAnswer => {
            let middle = body.len() / 2;
            if let Some(byte) = body.get_mut(middle) {
                *byte ^= 1;
            }
        }
        Fault::WrongETag => {
            for line in lines.iter_mut().filter(|line| line.to_ascii_lowercase().starts_with("etag:")) {
                *line = "ETag: \"00000000000000000000000000000000\"".into();
            }
        }
        _ => {}
    }
    client.write_all(format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes())?;
    if let Fault::Piece(bytes, ms) = fault {
        client.write_all(&body[..bytes.min(body.len())])?;
        std::thread::sleep(Duration::from_millis(ms));
        return client.shutdown(Shutdown::Write);
    }
    client.write_all(&body)?;
    client.shutdown(Shutdown::Write)
}

/// Ends a connection so that the other side sees more than an end: what it sent was not all read.
fn reset(client: TcpStream) -> io::Result<()> {
    client.shutdown(Shutdown::Both)
}
