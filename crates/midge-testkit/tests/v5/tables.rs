//! The tables of the specification against the testkit's reader, the test packets and the broker's
//! reason codes.

use midge::ReasonCode;
use midge_testkit::{PropsBuf, Wire, parse};

use crate::common::{Holder, props};

const REASONS: &str = include_str!("../../../../tests/conformance/spec/reason_codes.tsv");
const PROPERTIES: &str = include_str!("../../../../tests/conformance/spec/properties.tsv");

/// Rows of a table, each cell under the name of its column.
fn rows(table: &'static str) -> impl Iterator<Item = impl Fn(&str) -> &'static str> {
    let mut lines = table.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    lines.map(move |line| {
        let header = header.clone();
        let cells: Vec<&'static str> = line.split('\t').collect();
        move |name: &str| {
            let index = header.iter().position(|column| *column == name);
            cells[index.unwrap_or_else(|| panic!("no column {name}"))]
        }
    })
}

/// A packet of a broker with this reason code and these properties.
fn packet(column: &str, code: u8, block: &PropsBuf) -> Vec<u8> {
    let wire = Wire::new();
    match column {
        "CONNACK" => wire.u8(0).u8(code).props(block).packet(0x20),
        "PUBLISH_S2C" => wire.text("t").props(block).packet(0x30),
        "PUBACK" => wire.u16(1).u8(code).props(block).packet(0x40),
        "PUBREC" => wire.u16(1).u8(code).props(block).packet(0x50),
        "PUBREL" => wire.u16(1).u8(code).props(block).packet(0x62),
        "PUBCOMP" => wire.u16(1).u8(code).props(block).packet(0x70),
        "SUBACK" => wire.u16(1).props(block).u8(code).packet(0x90),
        "UNSUBACK" => wire.u16(1).props(block).u8(code).packet(0xb0),
        "DISCONNECT" | "DISCONNECT_S2C" => wire.u8(code).props(block).packet(0xe0),
        "AUTH" => wire.u8(code).props(block).packet(0xf0),
        other => panic!("no packet {other}"),
    }
}

/// Covers: v5:MQTT-3.2.2-8, v5:MQTT-3.4.2-1, v5:MQTT-3.5.2-1, v5:MQTT-3.6.2-1, v5:MQTT-3.7.2-1, v5:MQTT-3.9.3-2, v5:MQTT-3.11.3-2, v5:MQTT-3.14.2-1, v5:MQTT-3.15.2-1
#[test]
fn mqtt_3_9_3_2_each_packet_of_the_broker_has_the_reason_codes_of_its_table() {
    // What the client of these tests lets pass is exactly what the tables allow.
    let columns = [
        "CONNACK",
        "PUBACK",
        "PUBREC",
        "PUBREL",
        "PUBCOMP",
        "SUBACK",
        "UNSUBACK",
        "DISCONNECT",
        "AUTH",
    ];
    let method = props().text(0x15, "m");
    let mut known = 0;
    for code in 0..=255u8 {
        let row = rows(REASONS)
            .filter(|cell| cell("version") == "v5")
            .find(|cell| cell("code_dec") == code.to_string());

        for column in columns {
            let allowed = row
                .as_ref()
                .is_some_and(|cell| matches!(cell(column), "S" | "CS"));
            let block = if column == "AUTH" {
                method.clone()
            } else {
                props()
            };
            let accepted = parse(&packet(column, code, &block), 5).is_ok();
            assert_eq!(accepted, allowed, "{code:#04x} in {column}");
        }
        // The broker knows the same codes and no others.
        assert_eq!(
            ReasonCode::from_u8(code).is_some(),
            row.is_some(),
            "{code:#04x}"
        );
        known += usize::from(row.is_some());
    }

    assert_eq!(known, 43);
}

/// A legal value of the type that the table names.
fn value(id: u8, kind: &str) -> PropsBuf {
    match kind {
        "Byte" => props().u8(id, 1),
        "Two Byte Integer" => props().u16(id, 1),
        "Four Byte Integer" => props().u32(id, 1),
        "Variable Byte Integer" => props().var(id, 1),
        "UTF-8 Encoded String" | "Binary Data" => props().text(id, "x"),
        "UTF-8 String Pair" => props().user("n", "v"),
        other => panic!("no type {other}"),
    }
}

/// Covers: NN5-007, NN5-009
#[test]
fn nn5_007_the_tests_know_the_properties_of_the_table() {
    let columns = [
        "CONNACK",
        "PUBLISH_S2C",
        "PUBACK",
        "PUBREC",
        "PUBREL",
        "PUBCOMP",
        "SUBACK",
        "UNSUBACK",
        "DISCONNECT_S2C",
        "AUTH",
    ];
    let mut count = 0;
    for cell in rows(PROPERTIES) {
        let id: u8 = cell("id_dec").parse().expect("a number");
        let one = value(id, cell("type"));
        count += 1;
        for column in columns {
            // Server Reference and AUTH want something beside them.
            let code = if id == 0x1c { 0x9c } else { 0 };
            let beside = if column == "AUTH" && id != 0x15 {
                props().text(0x15, "m")
            } else {
                props()
            };

            let accepts = |times: usize| {
                let block = (0..times).fold(beside.clone(), |block, _| block.raw(&one.0));
                parse(&packet(column, code, &block), 5).is_ok()
            };
            let expected = match cell(column) {
                "-" => (false, false),
                "1" => (true, false),
                "N" => (true, true),
                other => panic!("{other} in {column}"),
            };
            assert_eq!((accepts(1), accepts(2)), expected, "{id:#04x} in {column}");
        }
        for (holder, column) in [
            (Holder::Connect, "CONNECT"),
            (Holder::Will, "WILL"),
            (Holder::Publish, "PUBLISH_C2S"),
            (Holder::Puback, "PUBACK"),
            (Holder::Pubrec, "PUBREC"),
            (Holder::Pubrel, "PUBREL"),
            (Holder::Pubcomp, "PUBCOMP"),
            (Holder::Subscribe, "SUBSCRIBE"),
            (Holder::Unsubscribe, "UNSUBSCRIBE"),
            (Holder::Disconnect, "DISCONNECT_C2S"),
            (Holder::Auth, "AUTH"),
        ] {
            let known = holder.allowed().contains(&id);
            assert_eq!(known, cell(column) != "-", "{id:#04x} in {column}");
        }
    }

    assert_eq!(count, midge_testkit::id::ALL.len());
}
