//! What is appended can be read by everybody; anything else is refused.

use super::*;

/// Changes a batch of three records, then mends length and CRC as somebody who means it would.
fn forged(codec: Codec, change: impl FnOnce(&mut Vec<u8>)) -> Batch {
    let mut builder = BatchBuilder::new();
    builder.codec(codec);
    for n in 0..3 {
        builder.record(T0 + n, Some(b"key"), Some(b"a value")).header("h", Some(b"1"));
    }
    let mut bytes = builder.build().unwrap().as_bytes().to_vec();
    change(&mut bytes);
    let length = i32::try_from(bytes.len() - 12).unwrap();
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    Batch::from_bytes(bytes).unwrap()
}

fn counts(delta: i32, count: i32) -> impl FnOnce(&mut Vec<u8>) {
    move |b| {
        b[23..27].copy_from_slice(&delta.to_be_bytes());
        b[57..61].copy_from_slice(&count.to_be_bytes());
    }
}

#[test]
fn what_nobody_can_decode_is_not_appended() {
    let (temp, mut log) = filled(3);
    log.flush().unwrap();
    let before = snapshot_of(&path_of(&temp));
    let zeros = vec![0; 65 << 20];
    let bomb = BatchBuilder::new().codec(Codec::Zstd).record(T0, None, Some(&zeros)).build().unwrap();
    let plain = |change: fn(&mut Vec<u8>)| forged(Codec::None, change);
    // From byte 61 on: the first record's size, attributes, timestamp delta, offset delta, ...
    for (what, batch) in [
        ("0 records, but", forged(Codec::None, counts(2, 0))),
        ("-1 records, but", forged(Codec::None, counts(0, -1))),
        ("2 records, but the last one's offset delta is 2", forged(Codec::None, counts(2, 2))),
        ("4 records, but the last one's offset delta is 2", forged(Codec::None, counts(2, 4))),
        ("record 3: it is cut short", forged(Codec::None, counts(3, 4))),
        ("record 2: bytes follow the last record", forged(Codec::None, counts(1, 2))),
        ("unknown compression codec 5", plain(|b| b[22] |= 5)),
        ("unknown compression codec 7", plain(|b| b[22] |= 7)),
        ("record 0: it is longer than its fields", plain(|b| b[61] += 2)),
        ("record 0: its offset is not the next one", plain(|b| b[64] = 2)),
        ("record 0: its offset lies outside the batch", plain(|b| b[64] = 40)),
        ("record 2: it is cut short", plain(|b| b.truncate(b.len() - 1))),
        ("record 3: bytes follow the last record", plain(|b| b.push(0))),
        ("largest timestamp is", plain(|b| b[42] ^= 1)),
        ("cannot decompress gzip", plain(|b| b[22] |= 1)),
        ("cannot decompress zstd", plain(|b| b[22] |= 4)),
        ("cannot decompress gzip", forged(Codec::Gzip, |b| b.truncate(b.len() - 9))),
        ("4 records, but", forged(Codec::Lz4, counts(2, 4))),
        ("record 3: it is cut short", forged(Codec::Snappy, counts(3, 4))),
        ("records take more than 67108864 bytes", bomb),
    ] {
        let error = log.append(batch).unwrap_err();
        assert_eq!((error.kind(), error.path()), (Kind::Validation, Some(path_of(&temp).as_path())), "{error}");
        assert!(error.to_string().contains(what), "{what}: {error}");
        assert!(error.hint().is_some());
        assert_eq!(log.log_end_offset(), 3);
    }
    assert_eq!(snapshot_of(&path_of(&temp)), before);
    fill(&mut log, 3);
    assert_eq!(all(&log), (0..6).collect::<Vec<_>>());
}

#[test]
fn what_a_producer_sent_is_appended_as_it_is() {
    let (_temp, mut log) = filled(0);
    for codec in Codec::ALL {
        let batch = forged(codec, |_| {});
        let end = log.log_end_offset();
        assert_eq!(log.append(batch.clone()).unwrap(), end);
        assert_eq!(log.read(end, 0).unwrap()[0].as_bytes()[16..], batch.as_bytes()[16..]);
    }
    // The broker's time stands for that of every record.
    let stamped = forged(Codec::None, |b| {
        b[22] |= 8;
        b[35..43].copy_from_slice(&(T0 + 77).to_be_bytes());
    });
    log.append(stamped).unwrap();
    assert_eq!(log.offset_for_timestamp(T0 + 50).unwrap(), Some(15));
    let timeless = forged(Codec::None, |b| {
        b.truncate(61);
        b.extend([12, 0, 0, 0, 1, 1, 0]);
        counts(0, 1)(b);
        b[27..43].copy_from_slice(&[0xff; 16]);
    });
    assert!(timeless.records().is_ok_and(|r| r[0].timestamp == -1), "{:?}", timeless.records());
    log.append(timeless).unwrap();
}
