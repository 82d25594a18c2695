//! What the unit tests of every packet need.

use crate::{
    DecodeError, EncodeError, MAX_PACKET_BYTES, Packet, ReasonCode, Side, Version, decode, encode,
    encoded_len, split,
};

pub(crate) const ALL_VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];
pub(crate) const V3: [Version; 2] = [Version::V31, Version::V311];

/// Decodes bytes that are exactly one packet.
pub(crate) fn read(
    bytes: &[u8],
    version: Version,
    sender: Side,
) -> Result<Packet<'_>, DecodeError> {
    let raw = split(bytes, MAX_PACKET_BYTES as u32)?.expect("a whole packet");
    assert_eq!(raw.len, bytes.len());
    decode(raw, version, sender)
}

/// What the sender of these bytes is told.
#[track_caller]
pub(crate) fn refused(bytes: &[u8], version: Version, sender: Side) -> ReasonCode {
    match read(bytes, version, sender) {
        Ok(packet) => panic!("accepted: {packet:?}"),
        Err(error) => {
            assert!(error.offset <= bytes.len(), "{error:?}");
            error.reason
        }
    }
}

/// Encodes a packet.
pub(crate) fn write(packet: &Packet<'_>, version: Version) -> Result<Vec<u8>, EncodeError> {
    let mut out = vec![0xEE];
    let result = encode(packet, version, &mut out);
    let written = out.split_off(1);
    assert_eq!(out, [0xEE]);
    match result {
        Ok(()) => assert_eq!(encoded_len(packet, version), Ok(written.len())),
        Err(error) => {
            assert_eq!(encoded_len(packet, version), Err(error));
            assert!(written.is_empty(), "nothing is written on error");
        }
    }
    result.map(|()| written)
}

/// A packet with a one-byte length around this body.
pub(crate) fn packet(header: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 0x80);
    let mut bytes = vec![header, body.len() as u8];
    bytes.extend(body);
    bytes
}
