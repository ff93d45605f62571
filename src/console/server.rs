//! The server: put together, started, stopped.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use hyper_util::rt::TokioTimer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::api;
use super::app::{App, Shared};
use super::audit::{Audit, Deed, SERVER};
use super::auth::Tokens;
use super::connections::Capped;
use super::held::HeldBytes;
use super::jobs::Jobs;
use super::limits::{Limits, MOST_JOBS};
use super::metrics::Metrics;
use super::refusals::Refusals;
use super::router::{PATIENCE, router};
use super::scheduled::{Watched, told};
use crate::error::{Error, Result, ValidationError};
use crate::fs::{Dir, most_descriptors};
use crate::schedule::{Config, Scheduler, Serve, Tls};
use crate::snapshot::SnapshotConfig;

const MOST_CONNECTIONS: u64 = 4096;
/// So many descriptors are left for jobs.
const FOR_JOBS: u64 = 256;
/// How often it is looked whether there are refusals to be told of that were only counted.
const GLANCE: Duration = Duration::from_secs(10);
/// What runs is given this long to end when the server is stopped.
const GRACE: Duration = Duration::from_secs(8);

/// What the configuration does not say.
#[derive(Debug, Default)]
pub struct Options {
    /// The tokens that are known, instead of those of the configuration.
    pub tokens: Option<Tokens>,
    /// Whether this is a demonstration with sample data.
    pub demo: bool,
}

/// A running server, and the scheduler that belongs to it.
///
/// Dropping it without [`stop`](Self::stop) leaves it running until the process ends.
pub struct Server {
    app: Shared,
    address: SocketAddr,
    handle: Handle<SocketAddr>,
    tls: Option<RustlsConfig>,
    serve: Mutex<Serve>,
    fixed_tokens: bool,
    runtime: Runtime,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
    scheduling: JoinHandle<()>,
}

impl Server {
    /// Begins to listen and to do what is due.
    ///
    /// # Errors
    ///
    /// `Validation` where tokens, `Filesystem` where the certificate or a directory to restore in are not as
    /// they must be, or the address is taken; and those of [`Scheduler::new`].
    pub fn start(config: Config, base: SnapshotConfig, options: Options) -> Result<Server> {
        let serve = config.serve.clone().unwrap_or_default();
        // Not twice from different places: this is the process's only TLS.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("cowlog-http")
            .max_blocking_threads(MOST_JOBS + 64)
            .enable_all()
            .build()
            .map_err(|e| Error::io("start threads for", "the server", e))?;
        let metrics = Arc::new(Metrics::new());
        let watched: Arc<std::sync::OnceLock<Watched>> = Arc::default();
        let scheduler = Scheduler::new(config, base.clone(), told(watched.clone()))?;
        // From here on the state directory is this process's alone.
        let state = Dir::open(&scheduler.config().state)?;
        let counted = metrics.clone();
        let jobs = Jobs::open(state.clone(), base.clock.clone(), move |job| counted.ended(job))?;
        let jobs = Arc::new(jobs);
        let audit = Arc::new(Audit::open(serve.audit.as_deref(), &state, base.clock.clone())?);
        let _ = watched.set(Watched { jobs: jobs.clone(), audit: audit.clone() });
        let fixed_tokens = options.tokens.is_some();
        let tokens = match options.tokens {
            Some(tokens) => tokens,
            None => tokens_of(&serve, serve.listen, &state)?,
        };
        let app = Arc::new(App {
            scheduler: Arc::new(scheduler),
            jobs,
            metrics,
            held: Arc::new(HeldBytes::default()),
            audit,
            refusals: Refusals::default(),
            limits: Limits::new(serve.rate),
            base,
            demo: options.demo,
            tokens: watch::Sender::new(Arc::new(tokens)),
            restore_dirs: RwLock::new(checked_dirs(&serve)?),
            stopping: watch::Sender::new(false),
            scheduling: AtomicBool::new(true),
        });
        api::settle(&app);
        api::sweep(&app);
        let listener = listen(serve.listen)?;
        let address = listener.local_addr().map_err(|e| Error::io("look at", serve.listen.to_string(), e))?;
        let tls = match &serve.tls {
            None => None,
            Some(tls) => Some(RustlsConfig::from_config(certificate(tls)?)),
        };
        let handle = Handle::new();
        let serving = runtime.spawn(run(router(app.clone()), listener, handle.clone(), tls.clone()));
        runtime.spawn(tell_of_refusals(app.clone()));
        let scheduled = app.clone();
        let scheduling = std::thread::Builder::new().name("cowlog-scheduler".into()).spawn(move || {
            let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| scheduled.scheduler.run()));
            if ran.is_err() {
                tracing::error!("the scheduler panicked: this is a fault of cowlog");
            }
            scheduled.scheduling.store(false, Ordering::SeqCst);
        });
        let scheduling = scheduling.map_err(|e| Error::io("start a thread for", "the scheduler", e))?;
        tracing::info!(%address, tls = tls.is_some(), "listening");
        if !address.ip().is_loopback() && tls.is_none() {
            tracing::warn!("tokens and data cross the network in the clear: there is no certificate");
        }
        let serve = Mutex::new(serve);
        Ok(Server { app, address, handle, tls, serve, fixed_tokens, runtime, serving, scheduling })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads another configuration and takes it over, all of it or nothing: sources, tokens, the certificate, directories to restore in.
    /// Another address, rate, audit log or state directory is heeded after a new start.
    ///
    /// # Errors
    ///
    /// Those of `read`, and as [`start`](Self::start), where `tokens` are needed as long as it listens elsewhere than on
    /// this machine; what was before goes on.
    pub fn reload(&self, read: impl FnOnce() -> Result<Config>) -> Result<()> {
        let outcome = read().and_then(|config| self.take_over(config));
        let result = outcome.as_ref().map_or_else(|e| format!("refused: {e}"), |()| "done".to_owned());
        self.app.audit.note(SERVER, None, &Deed { what: "reload", result: &result, ..Deed::default() });
        outcome
    }

    fn take_over(&self, config: Config) -> Result<()> {
        let serve = config.serve.clone().unwrap_or_default();
        let tokens = match self.fixed_tokens {
            true => None,
            false => {
                let state = Dir::open(&self.app.scheduler.config().state)?;
                // Another address is heeded later.
                Some(tokens_of(&serve, self.address, &state)?)
            }
        };
        let dirs = checked_dirs(&serve)?;
        if let (Some(tls), Some(now)) = (&serve.tls, &self.tls) {
            now.reload_from_config(certificate(tls)?);
        }
        let mut before = self.serve.lock().unwrap_or_else(PoisonError::into_inner);
        let later = |s: &Serve| (s.listen, s.rate, s.audit.clone(), s.tls.is_some());
        if later(&before) != later(&serve) {
            tracing::warn!(
                "`listen`, `rate`, `audit` or whether there is `tls` has changed, which is heeded after a new start"
            );
        }
        *before = serve;
        if let Some(tokens) = tokens {
            self.app.tokens.send_replace(Arc::new(tokens));
        }
        *self.app.restore_dirs.write().unwrap_or_else(PoisonError::into_inner) = dirs;
        self.app.scheduler.reload(config);
        Ok(())
    }

    /// Whether it still serves.
    pub fn is_serving(&self) -> bool {
        !self.serving.is_finished()
    }

    /// Ends: what is being done is undone or ends, as it does with [`Scheduler::stop`]; whoever waits for an answer gets one.
    /// What has not ended after ten seconds is left to be swept by whoever comes next. Returns whether all had ended.
    pub fn stop(self) -> bool {
        let until = Instant::now() + GRACE;
        self.app.stopping.send_replace(true);
        self.app.jobs.stop();
        self.app.scheduler.stop();
        self.app.held.stop();
        self.handle.graceful_shutdown(Some(GRACE));
        while Instant::now() < until && !(self.scheduling.is_finished() && self.app.jobs.running() == 0) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let ended = self.scheduling.is_finished() && self.app.jobs.running() == 0;
        while Instant::now() < until && !self.serving.is_finished() {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.app.note_counted(self.app.refusals.over(i64::MAX));
        self.runtime.shutdown_timeout(Duration::from_millis(500));
        ended
    }
}

async fn tell_of_refusals(app: Shared) {
    let mut stopping = app.stopping.subscribe();
    while tokio::time::timeout(GLANCE, stopping.wait_for(|stopping| *stopping)).await.is_err() {
        let counted = app.refusals.over(app.base.clock.now());
        if !counted.is_empty() {
            let note = move |app: &App| {
                app.note_counted(counted);
                Ok(())
            };
            let _ = app.read(note).await;
        }
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listening = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listening.map_err(|e| Error::io("listen on", address.to_string(), e))
}

/// HTTP/1.1 alone is offered: it is what is spoken.
fn certificate(tls: &Tls) -> Result<Arc<rustls::ServerConfig>> {
    let unreadable = |path: &Path, e: pem::Error| Error::io("read the PEM file", path, std::io::Error::other(e));
    let chain: std::result::Result<Vec<_>, _> = CertificateDer::pem_file_iter(&tls.cert).and_then(Iterator::collect);
    let chain = chain.map_err(|e| unreadable(&tls.cert, e))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|e| unreadable(&tls.key, e))?;
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
    let refused = |e| Error::io("use the certificate and key of", &tls.cert, std::io::Error::other(e));
    let mut config = config.map_err(refused)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn tokens_of(serve: &Serve, listen: SocketAddr, state: &Dir) -> Result<Tokens> {
    match &serve.tokens {
        Some(path) => Tokens::read(path),
        None if listen.ip().is_loopback() => {
            let (tokens, path) = Tokens::made_in(state)?;
            tracing::info!(file = %path.display(), "the token is in this file");
            Ok(tokens)
        }
        None => {
            Err(ValidationError::refused(format!("{listen} is for other machines too: that needs `tokens`")).into())
        }
    }
}

/// They must be there, and be what their paths say: no symbolic link on the way is taken for granted later.
fn checked_dirs(serve: &Serve) -> Result<Arc<[std::path::PathBuf]>> {
    serve.restore_dirs.iter().map(|path| Dir::open(path).map(|dir| dir.fs().canonical(path))).collect()
}

async fn run(
    router: Router,
    listener: TcpListener,
    handle: Handle<SocketAddr>,
    tls: Option<RustlsConfig>,
) -> std::io::Result<()> {
    let mut server = axum_server::from_tcp(listener)?.handle(handle).http1_only();
    server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let most = most_descriptors().saturating_sub(FOR_JOBS).clamp(16, MOST_CONNECTIONS);
    let capped = Capped::at(usize::try_from(most).unwrap_or(16));
    match tls {
        None => server.acceptor(capped).serve(service).await,
        Some(tls) => server.acceptor(RustlsAcceptor::new(tls).acceptor(capped)).serve(service).await,
    }
}
