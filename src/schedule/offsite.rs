//! Copies elsewhere: what a configuration says of them, and bringing them up to date.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::config::SourceConfig;
use super::raw_config::{Checked, Text, Wrong, absolute, parsed, when};
use super::times::When;
use crate::error::{Error, Result, ValidationError};
use crate::fs::{Dir, host_name};
use crate::offsite::{
    Compression, Identities, PlaceOptions, PushOptions, Recipients, Remote, RemoteOptions, SourceName, check_address,
    refuse_within,
};
use crate::snapshot::SnapshotManager;
use crate::units::{parse_duration, parse_rate};

/// Where snapshots of a source are carried to.
#[derive(Debug, Clone)]
pub struct Offsite {
    /// `s3://…`, `az://…`, `gs://…` or a directory.
    pub to: String,
    /// When; without it after every snapshot that is taken by the clock.
    pub when: Option<When>,
    /// What the machine is called there; its host name otherwise.
    pub host: Option<String>,
    /// What the source is called there; its own name otherwise.
    pub name: Option<String>,
    /// The file with the secret key of an encrypted place.
    pub identity: Option<PathBuf>,
    /// Of a place that is made: to whom it is encrypted.
    pub recipients: Vec<String>,
    /// Another server than the cloud's.
    pub endpoint: Option<String>,
    /// Of an S3 bucket.
    pub region: Option<String>,
    /// Address a bucket as a host name.
    pub virtual_hosted: bool,
    /// Bytes per second at most.
    pub rate: Option<u64>,
    /// How long requests are tried again.
    pub retry: Option<Duration>,
}

/// What came of a push that went well: everything was there then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushReport {
    /// The newest snapshot that is there.
    pub id: String,
    /// When it was taken, in milliseconds since 1970 UTC.
    pub timestamp: i64,
    /// When this was, in milliseconds since 1970 UTC.
    pub at: i64,
    /// How many snapshots this push brought.
    pub pushed: u64,
    /// Bytes that it sent.
    pub bytes_sent: u64,
    /// Where they are; `None` of what an older cowlog remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOffsite {
    to: Text,
    every: Option<Text>,
    cron: Option<Text>,
    host: Option<Text>,
    name: Option<Text>,
    identity: Option<Text>,
    #[serde(default)]
    recipients: Vec<Text>,
    endpoint: Option<Text>,
    region: Option<Text>,
    #[serde(default)]
    virtual_hosted: bool,
    rate: Option<Text>,
    retry: Option<Text>,
}

impl RawOffsite {
    /// Of a source whose snapshots are taken by the clock, or not.
    pub(super) fn check(&self, is_created: bool) -> Checked<Offsite> {
        let at = self.to.span();
        let when = when(self.every.as_ref(), self.cron.as_ref(), &at)?;
        if when.is_none() && !is_created {
            let why = "`offsite` needs `every` or `cron` where no snapshots are taken by the clock".into();
            return Err(Wrong { at, why });
        }
        let is_name = |text: &Text| {
            parsed(text, |name| SourceName::new(name, name).map(|_| name.to_owned()).map_err(|e| e.to_string()))
        };
        for recipient in &self.recipients {
            parsed(recipient, |text| Recipients::parse(&[text]).map(drop).map_err(|e| e.to_string()))?;
        }
        let place = parsed(&self.to, |to| match to.contains("://") || to.starts_with('/') {
            true => check_address(to).map(|()| to.to_owned()).map_err(|e| e.to_string()),
            false => Err(format!("{to:?} is neither a URL nor an absolute path")),
        })?;
        Ok(Offsite {
            to: place,
            when,
            host: self.host.as_ref().map(is_name).transpose()?,
            name: self.name.as_ref().map(is_name).transpose()?,
            identity: self.identity.as_ref().map(absolute).transpose()?,
            recipients: self.recipients.iter().map(|text| text.get_ref().clone()).collect(),
            endpoint: self.endpoint.as_ref().map(|text| text.get_ref().clone()),
            region: self.region.as_ref().map(|text| text.get_ref().clone()),
            virtual_hosted: self.virtual_hosted,
            rate: self.rate.as_ref().map(|text| parsed(text, parse_rate)).transpose()?,
            retry: self.retry.as_ref().map(|text| parsed(text, parse_duration)).transpose()?,
        })
    }
}

impl Offsite {
    /// As which place it is remembered.
    fn place(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("{} at {endpoint}", self.to),
            None => self.to.clone(),
        }
    }

    /// Whatever is not there is made, unless snapshots have been there.
    fn open(&self, manager: &SnapshotManager, is_made: bool) -> Result<Remote> {
        const LIMIT: u64 = 1 << 20;
        let identities = self.identity.as_deref().map(|file| -> Result<Identities> {
            let (dir, name) = Dir::open_around(file)?;
            Identities::parse(&String::from_utf8_lossy(&dir.read(name, LIMIT)?))
        });
        let defaults = PlaceOptions::default();
        let place = PlaceOptions {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            virtual_hosted: self.virtual_hosted,
            retry: self.retry.unwrap_or(defaults.retry),
            ..defaults
        };
        let options = RemoteOptions {
            place,
            identities: identities.transpose()?,
            limit: self.rate,
            clock: manager.config().clock.clone(),
            observer: manager.config().observer.clone(),
            ..RemoteOptions::default()
        };
        let recipients = match self.recipients.as_slice() {
            [] => None,
            given => Some(Recipients::parse(given)?),
        };
        refuse_within(&self.to, manager)?;
        if !is_made {
            return Remote::open_or_make(&self.to, Compression::Zstd, recipients.as_ref(), options);
        }
        Remote::open_as_made(&self.to, recipients.as_ref(), options).map_err(|e| match e {
            Error::Validation(ValidationError::NoSuchCopy { path, .. }) => {
                let what = format!("{} is gone or empty, and snapshots were pushed there", path.display());
                let hint = "mount it, or look who removed it; where it is to be made anew, run `cowlog push --all-new --to` \
                            once by hand";
                ValidationError::Refused { what, path: Some(path), hint: Some(hint.into()) }.into()
            }
            e => e,
        })
    }

    fn source_name(&self, source: &SourceConfig) -> Result<SourceName> {
        let host = self.host.clone().or_else(host_name).ok_or_else(|| -> Error {
            let what = "it is not known what this machine is called".to_owned();
            ValidationError::Refused { what, path: None, hint: Some("say it by `host` under `offsite`".into()) }.into()
        })?;
        SourceName::new(&host, self.name.as_deref().unwrap_or(&source.name))
    }
}

/// Brings what is missing there, oldest first. `None` where there is no snapshot. Where the last push that went well went to
/// the same place, that must still be there.
pub(super) fn push(
    source: &SourceConfig,
    offsite: &Offsite,
    manager: &SnapshotManager,
    last: Option<&PushReport>,
) -> Result<Option<PushReport>> {
    let good = |part: &crate::snapshot::SnapshotInfo| part.damaged.is_none();
    let Some(newest) = manager.list()?.into_iter().rfind(good) else { return Ok(None) };
    let place = Some(offsite.place());
    let remote = offsite.open(manager, last.is_some_and(|last| last.place == place))?;
    let name = offsite.source_name(source)?;
    let options = PushOptions { name, again: false, moved: false };
    let mut report =
        PushReport { id: newest.id, timestamp: newest.timestamp_ms, at: 0, pushed: 0, bytes_sent: 0, place };
    for id in remote.missing(manager, &options.name)? {
        match remote.push(manager, &id, &options) {
            Ok(pushed) => {
                report.pushed += u64::from(!pushed.was_there);
                report.bytes_sent += pushed.bytes_sent;
            }
            // It was pruned since it was listed.
            Err(e) if e.is_not_found() && manager.get(&id).is_err() => {}
            Err(e) => return Err(e),
        }
    }
    report.at = manager.config().clock.now();
    Ok(Some(report))
}
