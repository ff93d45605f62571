//! `config.json`: what holds for all of a place.

use serde::{Deserialize, Serialize};

use super::keys::{Identities, Recipients};
use super::names::CONFIG;
use crate::error::{Error, IntegrityError, Result, ValidationError};

const FORMAT: &str = "cowlog-offsite";
/// Of the layout.
const VERSION: u32 = 1;

/// What holds for all of a place; it is written once, with the first snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteConfig {
    format: String,
    version: u32,
    /// Tells places apart: 32 random hexadecimal digits.
    pub id: String,
    /// Whether blobs that shrink are compressed.
    pub compression: Compression,
    /// To whom everything is encrypted; `None` where nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
}

/// How blobs that shrink are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// By zstd, level 1.
    #[default]
    Zstd,
    /// Not at all.
    None,
}

/// Of a place in which every object but `config.json`, announcements and marks is an age file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encryption {
    /// `age`.
    scheme: String,
    /// `age1…`; each of them can read everything.
    pub recipients: Vec<String>,
    /// An age file, as text, of the 32 bytes that the names of blobs are made with.
    id_key: String,
}

/// The key that names of blobs are made with.
pub(super) type IdKey = [u8; 32];

impl RemoteConfig {
    /// Of a new place.
    pub(super) fn new(compression: Compression, recipients: Option<&Recipients>) -> Result<Self> {
        let mut id = [0; 16];
        random(&mut id)?;
        let encryption = match recipients {
            None => None,
            Some(recipients) => {
                let mut key: IdKey = [0; 32];
                random(&mut key)?;
                let sealed = recipients.seal_as_text(&key);
                let id_key = sealed.map_err(|e| ValidationError::refused(format!("it cannot be encrypted: {e}")))?;
                Some(Encryption { scheme: "age".into(), recipients: recipients.to_texts(), id_key })
            }
        };
        let id = id.iter().map(|b| format!("{b:02x}")).collect();
        Ok(RemoteConfig { format: FORMAT.into(), version: VERSION, id, compression, encryption })
    }

    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut out = serde_json::to_vec_pretty(self).map_err(|e| ValidationError::refused(e.to_string()))?;
        out.push(b'\n');
        Ok(out)
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Envelope {
            format: String,
            version: u32,
        }
        let senseless = |e: serde_json::Error| Error::from(IntegrityError::new(CONFIG, e.to_string()));
        let Envelope { format, version } = serde_json::from_slice(bytes).map_err(senseless)?;
        if format != FORMAT {
            return Err(IntegrityError::new(CONFIG, format!("it is of {format:?}, not of {FORMAT:?}")).into());
        }
        let scheme_of = |config: &RemoteConfig| config.encryption.as_ref().map(|e| e.scheme.clone());
        match serde_json::from_slice::<RemoteConfig>(bytes) {
            Ok(config) if version == VERSION && scheme_of(&config).is_none_or(|scheme| scheme == "age") => Ok(config),
            Err(e) if version == VERSION => Err(senseless(e)),
            _ => Err(ValidationError::Refused {
                what: format!(
                    "this place is of version {version}, or encrypted in a way, that this cowlog does not know"
                ),
                path: None,
                hint: Some("use a newer cowlog".into()),
            }
            .into()),
        }
    }

    /// The recipients, and the key that names of blobs are made with, by whoever can read it.
    pub(super) fn unlock(&self, identities: Option<&Identities>) -> Result<Option<(Recipients, IdKey)>> {
        let Some(encryption) = &self.encryption else { return Ok(None) };
        let refused = |what: &str| -> Error {
            let to = encryption.recipients.join(", ");
            let hint =
                format!("name the file with the secret key of one of {to} by `--identity FILE` or COWLOG_IDENTITY");
            ValidationError::Refused { what: what.into(), path: None, hint: Some(hint) }.into()
        };
        let identities = identities.ok_or_else(|| refused("this place is encrypted, and no secret key was given"))?;
        let opened = identities.open_text(&encryption.id_key);
        let key = opened.map_err(|e| refused(&format!("the secret key does not open this place: {e}")))?;
        let key = key.try_into().map_err(|_| IntegrityError::new(CONFIG, "the key of its names is not of 32 bytes"))?;
        Ok(Some((Recipients::parse(&encryption.recipients)?, key)))
    }
}

/// Bytes that nobody can guess.
pub(super) fn random(out: &mut [u8]) -> Result<()> {
    getrandom::fill(out).map_err(|e| ValidationError::refused(format!("the system has no random bytes: {e}")).into())
}

/// What tells runs apart: 16 hexadecimal digits.
pub(super) fn run() -> Result<String> {
    let mut run = [0; 8];
    random(&mut run)?;
    Ok(run.iter().map(|b| format!("{b:02x}")).collect())
}
