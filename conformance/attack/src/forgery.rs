//! Other spellings of what the server enforces: no receiver may read a sender that is not the
//! sender, however its JSON library reads (R-F2).

use std::time::Duration;

use crate::{
    Fault,
    client::{Client, Got, How, PATIENCE},
    report::Outcome,
    scene::Stage,
};

/// Who is in the room with the forger.
const ROOM: &str = "court";

/// Spellings that a reader could take for this key: of other case, cut at a NUL, or both.
fn spellings(key: &str) -> Vec<String> {
    let upper = key.to_uppercase();
    let first = format!("{}{}", &upper[..1], &key[1..]);
    let last = format!("{}{}", &key[..key.len() - 1], &upper[key.len() - 1..]);
    let escaped = format!("\\u{:04x}{}", upper.as_bytes()[0], &key[1..]);
    let mut all = vec![
        upper.clone(),
        first,
        last,
        escaped,
        format!("{key}\\u0000"),
        format!("{key}\\u0000more"),
        format!("{upper}\\u0000"),
    ];
    if key.contains('s') {
        // Simple case folding makes an s of it, as Go's library does.
        all.push(key.replacen('s', "ſ", 1));
        all.push(key.replacen('s', "\\u017f", 1));
    }
    all
}

/// Frames that must be refused, and what each is.
fn forged(receiver: &str) -> Vec<(String, String)> {
    let mut frames = Vec::new();
    for kind in ["message", "presence", "command", "event"] {
        for key in ["from", "type", "to", "data"] {
            for spelling in spellings(key) {
                let value = if key == "type" { "command" } else { "king|0" };
                let to = format!("\"to\":\"{receiver}\"");
                frames.push((
                    format!("{kind}: {spelling}"),
                    format!("{{\"type\":\"{kind}\",{to},\"{spelling}\":\"{value}\"}}"),
                ));
            }
        }
    }
    for key in ["id", "user", "online"] {
        for spelling in spellings(key) {
            frames.push((
                format!("presence data: {spelling}"),
                format!("{{\"type\":\"presence\",\"data\":{{\"{spelling}\":\"king\",\"x\":1}}}}"),
            ));
        }
    }
    frames
}

/// Frames that are relayed, with one `from` that is right.
fn relayed(receiver: &str) -> Vec<String> {
    [
        "\"from\":\"king|0\"",
        "\"from\":\"king|0\",\"from\":\"king|1\"",
        "\"\\u0066rom\":\"king|0\"",
        "\"\\u0066\\u0072\\u006f\\u006d\":\"king|0\",\"from\":\"king|1\"",
        "\"from\":{\"id\":\"king\"}",
        "\"from\":[],\"\\u0066rom\":null",
        "\"fromage\":1,\"\\u0000from\":2,\"data\":{\"FROM\":3,\"from\":4}",
    ]
    .iter()
    .map(|more| format!("{{\"type\":\"message\",\"to\":\"{receiver}\",{more}}}"))
    .collect()
}

/// The keys of an object at its top level, as a reader sees them who undoes escapes.
fn keys(text: &str) -> Option<Vec<String>> {
    struct Keys;
    impl<'de> serde::de::Visitor<'de> for Keys {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(
            self,
            mut map: A,
        ) -> Result<Self::Value, A::Error> {
            let mut keys = Vec::new();
            while let Some((key, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                keys.push(key);
            }
            Ok(keys)
        }
    }
    serde::de::Deserializer::deserialize_map(&mut serde_json::Deserializer::from_str(text), Keys)
        .ok()
}

/// All spellings, in all frames.
pub(crate) async fn forgery(stage: Stage) -> Result<Outcome, Fault> {
    let mut scene = stage.scene(&[]).await?;
    let mut outcome = Outcome::new();
    let address = scene.server.address;
    let room = [ROOM.to_owned()];
    let mut receiver = Client::peer(address, How::default(), "receiver", &room).await?;
    let mut forger = Client::peer(address, How::default(), "forger", &room).await?;
    let frames = forged("receiver");
    outcome
        .done(format!("{} spellings of from, type, to, data, id, user and online", frames.len()));
    let (mut refused, mut first) = (0, None);
    for (n, (name, frame)) in frames.iter().enumerate() {
        forger.send(frame).await?;
        // Whether it was refused is known when its successor has been handled.
        forger.send(&format!("{{\"type\":\"join\",\"room\":\"barrier{}\"}}", n % 2)).await?;
        let mut was_refused = false;
        let mut answer = |text: &str| {
            was_refused |= text.contains("\"error\"") && text.contains("\"status\":400");
            text.contains("\"join:ok\"")
        };
        let got = forger.text_where(PATIENCE, &mut answer).await;
        if !matches!(got, Got::Text(_)) {
            return Err(Fault(format!("{name}: {got:?}")));
        }
        if was_refused {
            refused += 1;
        } else {
            first.get_or_insert(name);
        }
    }
    let seen = match first {
        None => "all".into(),
        Some(first) => format!("{refused} of {}; not {first}", frames.len()),
    };
    outcome.check("each is refused by error 400", seen, first.is_none());
    forger.send("{\"type\":\"message\",\"to\":\"receiver\",\"data\":\"the end\"}").await?;
    let (mut delivered, mut last) = (0, String::new());
    let got = receiver.text_where(PATIENCE, |text| {
        let from = text.contains("\"from\":\"forger|");
        let end = text.contains("the end");
        // What the server says itself of the forger, who came, is no forgery.
        let presence = text.contains("\"type\":\"presence\"") && !text.contains("king");
        if from && !end && !presence {
            delivered += 1;
            last = text.to_owned();
        }
        end
    });
    let ended = matches!(got.await, Got::Text(_));
    let seen =
        if delivered == 0 { "nothing".into() } else { format!("{delivered}, such as {last}") };
    outcome.check("nothing of it reaches anyone", seen, delivered == 0 && ended);
    let address_of_forger = format!("forger|{}", forger.id);
    let (mut right, mut wrong) = (0, String::new());
    let relayed = relayed("receiver");
    for frame in &relayed {
        forger.send(frame).await?;
        let got = receiver.text_where(Duration::from_secs(2), |t| t.contains("\"message\"")).await;
        let Got::Text(text) = got else {
            wrong = format!("{frame} does not arrive");
            continue;
        };
        let froms = keys(&text).unwrap_or_default().iter().filter(|key| *key == "from").count();
        let value: serde_json::Value = serde_json::from_str(&text)?;
        if froms == 1 && value["from"] == *address_of_forger {
            right += 1;
        } else {
            wrong = text;
        }
    }
    outcome.check(
        format!("{} others are relayed with one `from`, the sender", relayed.len()),
        format!("{right} {wrong}"),
        right == relayed.len(),
    );
    scene.judge(&mut outcome, 0, "").await;
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_others_read_them() {
        assert_eq!(keys("{\"a\":1,\"\\u0061\":{\"b\":2}}").unwrap(), ["a", "a"]);
        assert_eq!(keys("[]"), None);
    }

    /// Everything that is sent is JSON: it must not be refused for another reason.
    #[test]
    fn forged_frames_are_json() {
        for (name, frame) in forged("r") {
            assert!(keys(&frame).is_some(), "{name}: {frame}");
        }
    }
}
