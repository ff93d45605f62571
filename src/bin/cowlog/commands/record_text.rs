//! A record as a line of text.

use std::io::{self, Write};

use cowlog::log::{BatchHeader, RecordView};
use cowlog::store::rfc3339;

/// What stands for no key, no value, no time. What is escaped never gives it.
const NOTHING: &[u8] = b"\\N";

/// Offset, time, key, value, headers, divided by tabs, after the name where there is one.
pub fn line(out: &mut impl Write, name: Option<&str>, header: &BatchHeader, record: &RecordView<'_>) -> io::Result<()> {
    if let Some(name) = name {
        escaped(out, name.as_bytes(), false)?;
        out.write_all(b"\t")?;
    }
    write!(out, "{}\t", record.offset)?;
    match time(record.timestamp) {
        Some(time) => out.write_all(time.as_bytes())?,
        None => out.write_all(NOTHING)?,
    }
    out.write_all(b"\t")?;
    if header.is_control() {
        out.write_all(b"\\control\t")?;
        out.write_all(marker(record.key).as_bytes())?;
    } else {
        field(out, record.key)?;
        out.write_all(b"\t")?;
        field(out, record.value)?;
    }
    for (name, value) in record.headers() {
        out.write_all(b"\t")?;
        escaped(out, name.as_bytes(), true)?;
        out.write_all(b"=")?;
        field(out, value)?;
    }
    out.write_all(b"\n")
}

/// A record's time; -1 is none (`clients: RecordBatch.NO_TIMESTAMP`).
pub fn time(timestamp: i64) -> Option<String> {
    (timestamp != -1).then(|| rfc3339(timestamp))
}

/// What a control record marks: its key is a version and a type, two bytes each (`clients: ControlRecordType.parse`).
pub fn marker(key: Option<&[u8]>) -> String {
    match key {
        Some([_, _, 0, 0, ..]) => "abort".into(),
        Some([_, _, 0, 1, ..]) => "commit".into(),
        Some([_, _, a, b, ..]) => format!("type {}", u16::from_be_bytes([*a, *b])),
        _ => "unknown".into(),
    }
}

fn field(out: &mut impl Write, bytes: Option<&[u8]>) -> io::Result<()> {
    match bytes {
        Some(bytes) => escaped(out, bytes, false),
        None => out.write_all(NOTHING),
    }
}

/// Writes bytes so that they can neither break a line or a column nor drive a terminal, and so that they can be read back. In
/// the name of a header `=` is escaped too.
fn escaped(out: &mut impl Write, bytes: &[u8], name: bool) -> io::Result<()> {
    for chunk in bytes.utf8_chunks() {
        let text = chunk.valid();
        // What needs no escaping goes out as it stands.
        let mut rest = text;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_special(*c) || name && *c == '=') {
            let (plain, after) = rest.split_at(at);
            out.write_all(plain.as_bytes())?;
            match c {
                '\n' => out.write_all(b"\\n")?,
                '\t' => out.write_all(b"\\t")?,
                '\r' => out.write_all(b"\\r")?,
                '\\' => out.write_all(b"\\\\")?,
                '=' => out.write_all(b"\\x3d")?,
                c => {
                    out.write_all(b"\\u{")?;
                    hex(out, u32::from(c), 1)?;
                    out.write_all(b"}")?;
                }
            }
            rest = after.get(c.len_utf8()..).unwrap_or_default();
        }
        out.write_all(rest.as_bytes())?;
        for byte in chunk.invalid() {
            out.write_all(b"\\x")?;
            hex(out, u32::from(*byte), 2)?;
        }
    }
    Ok(())
}

/// At least so many digits. `write!` takes ten times as long, and of binary values nearly every byte goes this way.
fn hex(out: &mut impl Write, number: u32, least: u32) -> io::Result<()> {
    let digits = (u32::BITS - number.leading_zeros()).div_ceil(4).max(least);
    for place in (0..digits).rev() {
        let digit = char::from_digit(number >> (4 * place) & 0xf, 16).unwrap_or('0');
        out.write_all(&[digit as u8])?;
    }
    Ok(())
}

/// Control characters, what makes text look like another, and line ends that are none of ASCII's.
fn is_special(c: char) -> bool {
    c == '\\'
        || c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        escaped(&mut out, bytes, false).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nothing_breaks_a_line_or_drives_a_terminal() {
        assert_eq!(shown("é 日本 = \u{1f980}".as_bytes()), "é 日本 = \u{1f980}");
        assert_eq!(shown(b"a\tb\nc\rd\\N"), "a\\tb\\nc\\rd\\\\N");
        assert_eq!(shown(b"\x1b]0;title\x07\x00\x7f"), "\\u{1b}]0;title\\u{7}\\u{0}\\u{7f}");
        assert_eq!(shown("\u{9b}2J\u{202e}\u{2028}".as_bytes()), "\\u{9b}2J\\u{202e}\\u{2028}");
        assert_eq!(shown(b"\xff\xfe ok \xe6\x97"), "\\xff\\xfe ok \\xe6\\x97");
        for byte in 0..=u8::MAX {
            assert!(shown(&[byte]).chars().all(|c| !c.is_control()), "{byte}");
        }
    }

    #[test]
    fn markers_are_named() {
        assert_eq!(marker(Some(&[0, 0, 0, 1])), "commit");
        assert_eq!(marker(Some(&[0, 0, 0, 0])), "abort");
        assert_eq!(marker(Some(&[0, 0, 0, 7])), "type 7");
        assert_eq!(marker(Some(&[0])), "unknown");
    }
}
