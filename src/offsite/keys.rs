//! Encryption, all of it by the age format (<https://age-encryption.org/v1>): this only says to whom.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;
use std::sync::Arc;

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::secrecy::ExposeSecret;
use age::x25519;

use crate::error::{Result, ValidationError};

/// To whom something is encrypted: age recipients, `age1…`.
#[derive(Clone)]
pub struct Recipients(Vec<x25519::Recipient>);

/// Who may read it: the secret keys of an identity file, as `age-keygen` writes one.
#[derive(Clone)]
pub struct Identities(Arc<Vec<Box<dyn age::Identity + Send + Sync>>>);

/// A new secret key and its recipient, as an identity file.
pub fn new_identity() -> (String, String) {
    let identity = x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    (format!("# public key: {recipient}\n{}\n", identity.to_string().expose_secret()), recipient)
}

impl Recipients {
    /// Of recipients as text, at least one.
    ///
    /// # Errors
    ///
    /// `Validation` for what is no recipient of the kind `age1…`.
    pub fn parse<T: AsRef<str>>(given: &[T]) -> Result<Self> {
        let parse = |text: &T| {
            x25519::Recipient::from_str(text.as_ref()).map_err(|why| {
                // A secret key in a recipient's place is not repeated.
                let given = Some(text.as_ref()).filter(|text| text.starts_with("age1")).unwrap_or("what was given");
                let what = format!("{given} is no age recipient: {why}");
                let hint = "a recipient begins with age1; `cowlog keygen FILE` or `age-keygen` makes one";
                ValidationError::Refused { what, path: None, hint: Some(hint.into()) }.into()
            })
        };
        let all: Vec<_> = given.iter().map(parse).collect::<Result<_>>()?;
        if all.is_empty() {
            return Err(ValidationError::refused("encryption needs at least one recipient").into());
        }
        Ok(Recipients(all))
    }

    /// As text, in order.
    pub fn to_texts(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// What is written to the result arrives at `out` encrypted; `finish` has to be called.
    pub(super) fn wrap<W: Write>(&self, out: W) -> io::Result<age::stream::StreamWriter<W>> {
        let recipients = self.0.iter().map(|r| r as &dyn age::Recipient);
        age::Encryptor::with_recipients(recipients).map_err(io::Error::other)?.wrap_output(out)
    }

    pub(super) fn seal(&self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 4096 + 1024);
        let mut writer = self.wrap(&mut out)?;
        writer.write_all(bytes)?;
        writer.finish()?;
        Ok(out)
    }

    /// As text.
    pub(super) fn seal_as_text(&self, bytes: &[u8]) -> io::Result<String> {
        let mut out = Vec::new();
        let mut writer = self.wrap(ArmoredWriter::wrap_output(&mut out, Format::AsciiArmor)?)?;
        writer.write_all(bytes)?;
        writer.finish()?.finish()?;
        String::from_utf8(out).map_err(io::Error::other)
    }
}

impl Identities {
    /// Of the text of an identity file.
    ///
    /// # Errors
    ///
    /// `Validation` where it holds no secret key. The message never shows one.
    pub fn parse(text: &str) -> Result<Self> {
        let refused = || {
            let what = "the identity file holds no age secret key".to_owned();
            let hint = "it has lines that begin with AGE-SECRET-KEY-1; `cowlog keygen FILE` or `age-keygen` makes one";
            ValidationError::Refused { what, path: None, hint: Some(hint.into()) }
        };
        let file = age::IdentityFile::from_buffer(text.as_bytes()).map_err(|_| refused())?;
        let all = file.into_identities().map_err(|_| refused())?;
        if all.is_empty() {
            return Err(refused().into());
        }
        Ok(Identities(Arc::new(all)))
    }

    /// What is read from the result has been decrypted and authenticated.
    pub(super) fn unwrap<R: Read>(&self, input: R) -> io::Result<age::stream::StreamReader<R>> {
        let identities = self.0.iter().map(|i| i.as_ref() as &dyn age::Identity);
        let readable = |e: age::DecryptError| match e {
            age::DecryptError::Io(e) => e,
            e => io::Error::new(io::ErrorKind::InvalidData, e.to_string()),
        };
        age::Decryptor::new(input).map_err(readable)?.decrypt(identities).map_err(readable)
    }

    pub(super) fn open(&self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(bytes.len());
        self.unwrap(bytes)?.read_to_end(&mut out)?;
        Ok(out)
    }

    pub(super) fn open_text(&self, text: &str) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        self.unwrap(ArmoredReader::new(text.as_bytes()))?.read_to_end(&mut out)?;
        Ok(out)
    }
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.to_texts()).finish()
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identities({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_several_recipients_can_read_it_and_nobody_else() {
        let keys: Vec<_> = (0..3).map(|_| new_identity()).collect();
        let to = Recipients::parse(&[&keys[0].1, &keys[1].1]).unwrap();
        let (sealed, text) = (to.seal(b"orders").unwrap(), to.seal_as_text(b"orders").unwrap());
        for (file, _) in &keys[..2] {
            let identities = Identities::parse(file).unwrap();
            assert_eq!(identities.open(&sealed).unwrap(), b"orders");
            assert_eq!(identities.open_text(&text).unwrap(), b"orders");
        }
        assert!(Identities::parse(&keys[2].0).unwrap().open(&sealed).is_err());
    }

    #[test]
    fn a_secret_key_is_never_shown() {
        let (file, recipient) = new_identity();
        let secret = file.lines().last().unwrap();
        assert!(secret.starts_with("AGE-SECRET-KEY-1"));
        let wrong = format!("{}x", secret);
        let mistaken = Recipients::parse(&[secret]).unwrap_err();
        let wrong = Identities::parse(&wrong).unwrap_err();
        let shown = format!("{:?} {wrong} {mistaken}", Identities::parse(&file).unwrap());
        assert!(!shown.contains("SECRET-KEY-1Q") && !shown.contains(&secret[16..]), "{shown}");
        assert!(Recipients::parse(&[recipient]).is_ok());
    }
}
