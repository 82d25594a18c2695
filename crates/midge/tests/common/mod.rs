//! What several tests write to a connection.

/// A QoS 0 PUBLISH to `t` with this many bytes of payload, all of them `fill`.
pub(crate) fn publish(fill: u8, size: usize) -> Vec<u8> {
    let mut packet = vec![0x30];
    let mut length = size + 3;
    loop {
        let byte = (length % 128) as u8;
        length /= 128;
        packet.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            break;
        }
    }
    packet.extend_from_slice(b"\0\x01t");
    packet.resize(packet.len() + size, fill);
    packet
}
