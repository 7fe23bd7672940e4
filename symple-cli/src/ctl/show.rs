//! Answers of the API as people read them. Names in them are foreign texts.

use std::collections::BTreeMap;

use serde_json::{Value, value::RawValue};

use crate::text::{one_line, one_line_of_json};

/// How many characters a cell of a table has at most.
const CELL: usize = 60;

/// How deep answers are looked into; beyond it they are texts.
const MAX_DEPTH: usize = 16;

/// An answer, whatever clients have put into it. What is no value here, such as a number that is too
/// large, is its text; and so is a record.
pub(super) fn read(answer: &str) -> Value {
    read_at(answer, 0)
}

fn read_at(text: &str, depth: usize) -> Value {
    let as_text = || Value::String(text.into());
    match text.trim_start().as_bytes().first() {
        Some(b'{' | b'[') if depth >= MAX_DEPTH => as_text(),
        Some(b'{') => {
            let members = serde_json::from_str::<BTreeMap<String, &RawValue>>(text);
            let read = |(name, value): (String, &RawValue)| match name.as_str() {
                "record" => (name, Value::String(value.get().into())),
                _ => (name, read_at(value.get(), depth + 1)),
            };
            members.map_or_else(|_| as_text(), |members| members.into_iter().map(read).collect())
        }
        Some(b'[') => {
            let items = serde_json::from_str::<Vec<&RawValue>>(text);
            let read = |item: &RawValue| read_at(item.get(), depth + 1);
            items.map_or_else(|_| as_text(), |items| items.into_iter().map(read).collect())
        }
        _ => serde_json::from_str(text).unwrap_or_else(|_| as_text()),
    }
}

/// A table, with a line above it that names its columns.
fn table<const N: usize>(names: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = std::iter::once(names.map(Into::into))
        .chain(rows.map(|row| row.map(|cell| one_line(&cell, CELL))))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or_default());
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line += &format!("{cell:width$}  ");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// A value as it stands in a cell.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) if text.is_empty() => "''".into(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn entries<'a>(answer: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    answer[list].as_array().into_iter().flatten()
}

fn peer_row(peer: &Value) -> [String; 4] {
    let flags = [("readonly", "read-only"), ("hidden", "hidden")];
    let flags = flags.into_iter().filter(|(name, _)| peer[*name] == true).map(|(_, flag)| flag);
    let flags = flags.collect::<Vec<_>>().join(", ");
    [cell(&peer["address"]), cell(&peer["node"]), cell(&peer["rooms"]), flags]
}

pub(super) fn peers(answer: &Value) -> String {
    table(["PEER", "NODE", "ROOMS", ""], entries(answer, "peers").map(peer_row))
}

pub(super) fn members(answer: &Value) -> String {
    table(["PEER", "NODE", "ROOMS", ""], entries(answer, "members").map(peer_row))
}

pub(super) fn rooms(answer: &Value) -> String {
    let rows = entries(answer, "rooms").map(|room| [cell(&room["name"]), cell(&room["members"])]);
    table(["ROOM", "MEMBERS"], rows)
}

pub(super) fn nodes(answer: &Value) -> String {
    let rows = entries(answer, "nodes").map(|node| {
        let here = if node["here"] == true { "answers" } else { "" };
        let heard = node["silence"].as_f64().map_or("-".into(), |s| format!("{s:.1} s ago"));
        [cell(&node["id"]), cell(&node["peers"]), heard, here.into()]
    });
    table(["NODE", "PEERS", "HEARD", ""], rows)
}

/// Names and values, a line each.
fn pairs<'a>(pairs: impl Iterator<Item = (&'a str, String)>) -> String {
    let pairs: Vec<_> = pairs.map(|(name, value)| (one_line(name, CELL), value)).collect();
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    pairs.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

pub(super) fn peer(answer: &Value) -> String {
    let names = ["address", "node", "here", "rooms", "readonly", "hidden"];
    let value = |name| one_line(&cell(&answer[name]), 2000);
    let mut text = pairs(names.into_iter().map(|name| (name, value(name))));
    text +=
        &format!("record    {}\n", one_line_of_json(answer["record"].as_str().unwrap_or_default()));
    text
}

pub(super) fn node(answer: &Value) -> String {
    let names = [
        "id",
        "version",
        "protocol",
        "uptime",
        "draining",
        "ready",
        "reason",
        "connections",
        "peers",
        "cluster_peers",
        "rooms",
    ];
    let value = |name: &str| one_line(&cell(&answer[name]), CELL);
    let listens = entries(answer, "listen")
        .map(|place| cell(&place["address"]))
        .collect::<Vec<_>>()
        .join(", ");
    let known = names.into_iter().map(|name| (name, value(name)));
    let known = known.chain([("listens on", one_line(&listens, 2000))]);
    let stats =
        ["engine", "transport"].into_iter().filter_map(|part| answer["stats"][part].as_object());
    let stats = stats.flatten().map(|(name, value)| (name.as_str(), one_line(&cell(value), CELL)));
    pairs(known) + "\n" + &pairs(stats)
}

/// The keys of a state, a line each. Values are as they were set.
pub(super) fn state(answer: &Value) -> String {
    let rows = answer.as_object().into_iter().flatten();
    let value = |value: &Value| match value {
        Value::String(text) if !text.is_empty() => text.clone(),
        other => cell(other),
    };
    table(["KEY", "VALUE"], rows.map(|(key, of)| [key.clone(), value(of)]))
}

/// What became of a call.
pub(super) fn done(answer: &Value) -> String {
    if answer["replayed"] == true {
        return "done before, with this key\n".into();
    }
    let count = |name: &str, one: &str, many: &str| {
        let count = answer[name].as_u64()?;
        Some(format!("{count} {}\n", if count == 1 { one } else { many }))
    };
    let counted = count("receivers", "receiver", "receivers")
        .or_else(|| count("closed", "peer closed", "peers closed"))
        .or_else(|| count("removed", "member taken out", "members taken out"));
    if let Some(counted) = counted {
        return counted;
    }
    if answer["draining"] == true {
        return "the node ends\n".into();
    }
    if answer["done"] == false && answer["rooms"].is_null() {
        return "done as soon as the other nodes have told of the state\n".into();
    }
    if answer["rooms"].is_array() {
        let rooms = one_line(&cell(&answer["rooms"]), 2000);
        let asked = if answer["done"] == false { "its node was asked; then " } else { "" };
        return format!("{asked}in {rooms}\n");
    }
    "done\n".into()
}

/// An event in a line.
pub(super) fn event(event: &Value) -> String {
    let mut line = format!("{:<14}", one_line(&cell(&event["type"]), CELL));
    for name in [
        "peer", "room", "rooms", "reason", "address", "status", "message", "dead", "count", "node",
        "missed", "close",
    ] {
        let value = &event[name];
        if value.is_null() {
            continue;
        }
        let shown = one_line(&cell(value), CELL);
        match name {
            "peer" | "room" => line += &format!("  {shown}"),
            _ => line += &format!("  {name} {shown}"),
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn foreign_texts_stay_in_their_cells() {
        let answer = json!({ "peers": [
            { "address": "a\n\u{1b}[2J|0a", "node": null, "rooms": ["r\r\n", "x".repeat(100)], "hidden": true },
            { "address": "bob|0b", "node": "n1", "rooms": [], "readonly": true },
        ] });
        let text = peers(&answer);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("PEER"), "{text}");
        assert!(lines[1].starts_with("a\\n\\u{1b}[2J|0a  -     r\\r\\n, xxx"), "{text}");
        assert!(lines[1].contains('…') && lines[1].ends_with("hidden"), "{text}");
        assert!(lines[2].starts_with("bob|0b ") && lines[2].ends_with("read-only"), "{text}");
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn whatever_clients_write() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let text = format!(
            r#"{{"record":{{"n":1e999,"k":{deep}}},"n":1e999,"deep":{deep},"s":"\ud800","rooms":["a"]}}"#
        );
        let answer = read(&text);
        assert_eq!(answer["n"], "1e999");
        assert_eq!(answer["rooms"], json!(["a"]));
        assert!(answer["record"].as_str().unwrap().starts_with(r#"{"n":1e999"#));
        assert!(peer(&answer).contains(r#"record    {"n":1e999"#));
        assert_eq!(read("nonsense"), "nonsense");
    }

    #[test]
    fn outcomes() {
        for (answer, text) in [
            (json!({ "closed": 1 }), "1 peer closed\n"),
            (json!({ "receivers": 0 }), "0 receivers\n"),
            (json!({ "removed": 2 }), "2 members taken out\n"),
            (json!({ "done": true }), "done\n"),
            (json!({ "done": false }), "done as soon as the other nodes have told of the state\n"),
            (json!({ "replayed": true }), "done before, with this key\n"),
            (json!({ "done": true, "rooms": ["a", "b"] }), "in a, b\n"),
            (json!({ "done": false, "rooms": ["a"] }), "its node was asked; then in a\n"),
        ] {
            assert_eq!(done(&answer), text);
        }
        let left =
            json!({ "type": "left", "peer": "a|0a", "room": "b\nc", "node": "n", "here": true });
        assert_eq!(event(&left), "left            a|0a  b\\nc  node n\n");
    }
}
