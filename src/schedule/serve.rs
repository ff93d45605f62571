//! `[serve]` of a configuration: how the snapshots are served to other programs and to people.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::raw_config::{Checked, Text, Wrong, absolute, parsed};

/// Where a server listens, and whom it obeys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serve {
    /// Where. The loopback interface, port 7462.
    pub listen: SocketAddr,
    /// The file with the tokens of those who may ask. Without it a token is made, and only this machine is listened to.
    pub tokens: Option<PathBuf>,
    /// The certificate, where it is served over TLS.
    pub tls: Option<Tls>,
    /// The directories in which others may have snapshots restored. None.
    pub restore_dirs: Vec<PathBuf>,
    /// Where every change is written down. `audit.jsonl` of the state directory.
    pub audit: Option<PathBuf>,
    /// How many requests a second each token may make in the long run. 100.
    pub rate: u32,
}

/// PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate, and those that vouch for it.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Default for Serve {
    fn default() -> Self {
        Serve {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7462),
            tokens: None,
            tls: None,
            restore_dirs: Vec::new(),
            audit: None,
            rate: 100,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawServe {
    listen: Option<Text>,
    tokens: Option<Text>,
    tls: Option<RawTls>,
    #[serde(default)]
    restore_dirs: Vec<Text>,
    audit: Option<Text>,
    rate: Option<Spanned<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTls {
    cert: Text,
    key: Text,
}

impl RawServe {
    pub(super) fn check(self) -> Checked<Serve> {
        let defaults = Serve::default();
        let listen = self.listen.as_ref().map_or(Ok(defaults.listen), |listen| parsed(listen, address))?;
        let tokens = self.tokens.as_ref().map(absolute).transpose()?;
        if let (Some(at), false, None) = (&self.listen, listen.ip().is_loopback(), &tokens) {
            let why = format!("{listen} is for other machines too: that needs a file of `tokens`");
            return Err(Wrong { at: at.span(), why });
        }
        Ok(Serve {
            listen,
            tokens,
            tls: self.tls.map(|tls| Ok(Tls { cert: absolute(&tls.cert)?, key: absolute(&tls.key)? })).transpose()?,
            restore_dirs: self.restore_dirs.iter().map(absolute).collect::<Checked<_>>()?,
            audit: self.audit.as_ref().map(absolute).transpose()?,
            rate: match self.rate {
                None => defaults.rate,
                Some(rate) if (1..=1_000_000).contains(rate.get_ref()) => *rate.get_ref(),
                Some(rate) => return Err(Wrong { at: rate.span(), why: "rate must lie between 1 and 1000000".into() }),
            },
        })
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is no address: write for instance 127.0.0.1:7462 or [::1]:7462"))
}
