//! Where snapshots are carried to: versitygw, which is an S3 server over a directory; Azurite, which is one like Azure's; or
//! a plain directory. One server of a kind serves the whole program, each test has a bucket of its own.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use base64::Engine;
use cowlog::offsite::{Compression, Remote, RemoteOptions};
use object_store::aws::{AmazonS3Builder, AwsAuthorizer, AwsCredential};
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential};
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::prefix::PrefixStore;
use sha2::{Digest, Sha256};

use crate::support::mounts::skip;

const ACCESS: &str = "an-access-key";
pub const SECRET: &str = "the-secret-of-the-access-key";
/// Where in its bucket a place is.
const PREFIX: &str = "deep/cowlog";
/// That of every Azurite.
pub const AZURE_SECRET: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A place elsewhere, empty.
pub struct Place {
    /// As the command line has it.
    pub url: String,
    /// The directory in which its objects are files; none of Azure's.
    files: Option<PathBuf>,
    /// The server and how it is spoken to.
    pub endpoint: Option<String>,
    env: Vec<(&'static str, String)>,
    _temp: Option<tempfile::TempDir>,
}

impl Place {
    pub fn directory() -> Place {
        let temp = tempfile::tempdir().unwrap();
        let files = temp.path().join("elsewhere");
        let url = files.to_str().unwrap().to_owned();
        Place { url, files: Some(files), endpoint: None, env: Vec::new(), _temp: Some(temp) }
    }

    /// A bucket, from the second directory on; `None` where there is no server, after saying why.
    pub fn s3(bucket: &str) -> Option<Place> {
        let server = versitygw()?;
        std::fs::create_dir(server.dir.join(bucket)).unwrap();
        Some(Place::in_bucket(server, bucket))
    }

    /// One whose objects nobody can remove for a day.
    pub fn locked(bucket: &str) -> Option<Place> {
        let server = versitygw()?;
        let url = format!("{}/{bucket}", server.endpoint);
        put_s3(&url, &[("x-amz-bucket-object-lock-enabled", "true")], "");
        let rule = "<Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule>";
        let lock = "ObjectLockConfiguration";
        let xml = format!("<{lock}><ObjectLockEnabled>Enabled</ObjectLockEnabled>{rule}</{lock}>");
        put_s3(&format!("{url}?object-lock="), &[], &xml);
        Some(Place::in_bucket(server, bucket))
    }

    fn in_bucket(server: &Server, bucket: &str) -> Place {
        Place {
            url: format!("s3://{bucket}/{PREFIX}"),
            files: Some(server.dir.join(bucket).join(PREFIX)),
            endpoint: Some(server.endpoint.clone()),
            env: [("AWS_ACCESS_KEY_ID", ACCESS), ("AWS_SECRET_ACCESS_KEY", SECRET), ("AWS_REGION", "us-east-1")]
                .map(|(name, value)| (name, value.to_owned()))
                .into(),
            _temp: None,
        }
    }

    /// A container; `None` where there is no server, after saying why.
    pub fn azure(container: &str) -> Option<Place> {
        let server = azurite()?;
        let endpoint = format!("{}/devstoreaccount1", server.endpoint);
        let mut request = put(&format!("{endpoint}/{container}?restype=container"), &[("content-length", "0")], "");
        let key = AzureCredential::AccessKey(AzureAccessKey::try_new(AZURE_SECRET).unwrap());
        AzureAuthorizer::new(&key, "devstoreaccount1").try_authorize(&mut request).unwrap();
        assert_eq!(send(&request), 201, "{container}");
        Some(Place {
            url: format!("az://{container}/cowlog"),
            files: None,
            endpoint: Some(endpoint),
            env: [("AZURE_STORAGE_ACCOUNT_NAME", "devstoreaccount1"), ("AZURE_STORAGE_ACCOUNT_KEY", AZURE_SECRET)]
                .map(|(name, value)| (name, value.to_owned()))
                .into(),
            _temp: None,
        })
    }

    /// A directory always, and a bucket where there is a server.
    pub fn each(name: &str) -> Vec<Place> {
        [Some(Place::directory()), Place::s3(name)].into_iter().flatten().collect()
    }

    /// The binary, led nowhere.
    pub fn nowhere() -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cowlog"));
        clear(&mut command);
        command
    }

    /// The binary, with the credentials of this place and nothing else of this environment that it would heed.
    pub fn cowlog(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cowlog"));
        self.lead(&mut command);
        command
    }

    /// Leads any program there by its environment.
    pub fn lead(&self, command: &mut Command) {
        clear(command);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.envs(self.endpoint.iter().map(|endpoint| ("COWLOG_ENDPOINT", endpoint)));
    }

    /// By the library, in this process.
    pub fn remote(&self) -> Remote {
        let options = RemoteOptions::default();
        let Some(endpoint) = &self.endpoint else { return Remote::open(&self.url, options).unwrap() };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let bucket = AmazonS3Builder::new().with_url(&self.url).with_endpoint(endpoint).with_allow_http(true);
        let bucket = bucket.with_access_key_id(ACCESS).with_secret_access_key(SECRET).with_region("us-east-1");
        let store = Arc::new(PrefixStore::new(bucket.build().unwrap(), PREFIX));
        Remote::over(store, &self.url, Compression::Zstd, None, options).unwrap()
    }

    pub fn files(&self) -> &Path {
        self.files.as_deref().expect("its objects are files")
    }

    /// Keys of all objects below a directory of the place, sorted.
    pub fn keys(&self, below: &str) -> Vec<String> {
        let dir = self.files().join(below);
        if !dir.is_dir() {
            return Vec::new();
        }
        let files = crate::support::process::contents(&dir).into_keys();
        files.map(|name| if below.is_empty() { name } else { format!("{below}/{name}") }).collect()
    }

    pub fn read(&self, key: &str) -> Vec<u8> {
        std::fs::read(self.files().join(key)).unwrap_or_else(|e| panic!("{key}: {e}"))
    }

    /// Behind the server's back; what it has noted beside the bytes stays.
    pub fn write(&self, key: &str, bytes: &[u8]) {
        let path = self.files().join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub fn remove(&self, key: &str) {
        std::fs::remove_file(self.files().join(key)).unwrap_or_else(|e| panic!("{key}: {e}"));
    }
}

/// Takes from its environment what it would heed of it.
fn clear(command: &mut Command) {
    let heeded = ["COWLOG_", "AWS_", "AZURE_", "GOOGLE_"];
    for (name, _) in std::env::vars_os() {
        if heeded.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
}

struct Server {
    endpoint: String,
    /// What it serves.
    dir: PathBuf,
    /// When this program ends, however it does, so does the pipe to the shell above the server, and that ends it.
    _child: Child,
}

/// Starts a server below a shell that ends it and removes its directory when this program has ended.
fn start(program: &Path, dir: PathBuf, args: &[&str], port: u16) -> Server {
    const BELOW: &str =
        r#"dir=$1; shift; "$@" </dev/null >"$dir/log" 2>&1 & read -r _; kill $! && wait $!; rm -rf "$dir""#;
    let home = dir.parent().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", BELOW, "sh"]).arg(home).arg(program).args(args);
    let child = shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let said = || std::fs::read_to_string(home.join("log")).unwrap_or_default();
        assert!(Instant::now() < deadline, "{} does not listen: {}", program.display(), said());
        std::thread::sleep(Duration::from_millis(20));
    }
    Server { endpoint: format!("http://127.0.0.1:{port}"), dir, _child: child }
}

fn versitygw() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let begin = || {
        let Some(program) = found("versitygw") else {
            skip("versitygw is not here; tests/run installs it");
            return None;
        };
        let dir = tempfile::tempdir().unwrap().keep().join("buckets");
        let beside = dir.with_file_name("beside");
        for dir in [&dir, &beside] {
            std::fs::create_dir(dir).unwrap();
        }
        let port = free_port();
        let listen = format!("127.0.0.1:{port}");
        let args = ["--access", ACCESS, "--secret", SECRET, "--port", &listen, "--keep-alive", "--quiet", "posix"];
        let args: Vec<&str> =
            args.into_iter().chain(["--sidecar", beside.to_str().unwrap(), dir.to_str().unwrap()]).collect();
        Some(start(&program, dir.clone(), &args, port))
    };
    SERVER.get_or_init(begin).as_ref()
}

fn azurite() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let begin = || {
        let Some(program) = found("azurite-blob") else {
            skip("azurite-blob is not here; tests/run installs it");
            return None;
        };
        let dir = tempfile::tempdir().unwrap().keep().join("unused");
        let port = free_port();
        let port_text = port.to_string();
        let args = ["--blobHost", "127.0.0.1", "--blobPort", &port_text, "--silent", "--disableTelemetry"];
        let args: Vec<&str> =
            args.into_iter().chain(["--skipApiVersionCheck", "--inMemoryPersistence", "--loose"]).collect();
        Some(start(&program, dir, &args, port))
    };
    SERVER.get_or_init(begin).as_ref()
}

/// A program that `tests/run` has installed, or that is here anyway.
fn found(program: &str) -> Option<PathBuf> {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
    let cache = cache.join("cowlog-tests");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = [cache.join("bin"), cache.join("node_modules/.bin"), home.join("go/bin")];
    places.into_iter().chain(std::env::split_paths(&path)).map(|dir| dir.join(program)).find(|path| path.is_file())
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Sends a request that was signed, for what no command of ours does. Gives the status of the answer.
pub fn send(request: &HttpRequest) -> u16 {
    let host = request.uri().authority().unwrap().as_str();
    let mut stream = TcpStream::connect(host).unwrap();
    let target = request.uri().path_and_query().unwrap();
    let mut text = format!("{} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n", request.method());
    for (name, value) in request.headers().iter().filter(|(name, _)| *name != "content-length") {
        text += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    let body = request.body().as_bytes().unwrap();
    text += &format!("Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(text.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut status = String::new();
    BufReader::new(stream).read_line(&mut status).unwrap();
    status.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{status:?}"))
}

fn put(url: &str, headers: &[(&'static str, &'static str)], body: &str) -> HttpRequest {
    let mut request = HttpRequest::new(HttpRequestBody::from(body.to_owned()));
    *request.method_mut() = "PUT".parse().unwrap();
    *request.uri_mut() = url.parse().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    request
}

pub fn put_s3(url: &str, headers: &[(&'static str, &'static str)], body: &str) {
    let credential = AwsCredential { key_id: ACCESS.into(), secret_key: SECRET.into(), token: None };
    let mut request = put(url, headers, body);
    let sum = base64::prelude::BASE64_STANDARD.encode(Sha256::digest(body));
    request.headers_mut().insert("x-amz-checksum-sha256", sum.parse().unwrap());
    AwsAuthorizer::new(&credential, "s3", "us-east-1").try_authorize(&mut request, None).unwrap();
    assert_eq!(send(&request), 200, "{url}");
}
