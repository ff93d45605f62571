//! Small JSON files that carry their own checksum.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::{IntegrityError, Result, ValidationError};

/// `{"checksum": "<BLAKE3 of the body's bytes>", "body": {…}}`
#[derive(Serialize, Deserialize)]
struct Sealed<'a> {
    checksum: &'a str,
    #[serde(borrow)]
    body: &'a RawValue,
}

pub(crate) fn seal(what: &'static str, body: &impl Serialize) -> Result<Vec<u8>> {
    let refused = |e: serde_json::Error| ValidationError::refused(format!("{what}: {e}"));
    let body = serde_json::value::to_raw_value(body).map_err(refused)?;
    let checksum = blake3::hash(body.get().as_bytes()).to_hex();
    let mut out = serde_json::to_vec(&Sealed { checksum: checksum.as_str(), body: &body }).map_err(refused)?;
    out.push(b'\n');
    Ok(out)
}

pub(crate) fn open<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T> {
    let bad = |why: String| IntegrityError::new(what, why);
    let sealed: Sealed<'_> = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
    if blake3::hash(sealed.body.get().as_bytes()).to_hex().as_str() != sealed.checksum {
        return Err(bad("its checksum does not hold".into()).into());
    }
    Ok(serde_json::from_str(sealed.body.get()).map_err(|e| bad(e.to_string()))?)
}
