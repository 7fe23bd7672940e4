//! Drafts of declarations: what the engine does where something else was recorded.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    compare::Bindings,
    deviation::Difference,
    transcript::{Event, Frame, Transcript},
    world::{EngineWorld, Seen, StartError, World},
};

/// By connection: what was recorded, and what was seen behind which event.
type Segments = BTreeMap<String, (Vec<(usize, Event)>, Vec<(usize, Seen)>)>;

/// What an expected and a seen event cost side by side, and what one of them costs alone.
const ALONE: u32 = 3;

/// Acts a transcript against the engine and lists the differences; the reasons are for people to
/// fill in.
///
/// # Errors
/// The engine cannot be set up like this.
pub async fn draft(transcript: &Transcript) -> Result<Vec<Difference>, String> {
    let mut differences = Vec::new();
    let mut world = match EngineWorld::new(&transcript.header) {
        Ok(world) => World::Engine(Box::new(world)),
        Err(StartError::Refused(_)) => {
            differences.push(Difference { no_start: true, ..Difference::default() });
            return Ok(differences);
        }
        Err(error) => return Err(error.to_string()),
    };
    let mut bindings = Bindings::of(transcript);
    // By connection, since the last barrier: what was recorded, what was seen, and the event
    // behind which it was seen.
    let mut segments: Segments = BTreeMap::new();
    let last = transcript.events.len();
    let end = [Event::Quiet(2000)];
    for (index, event) in transcript.events.iter().chain(&end).enumerate() {
        let seq = (index + 1).min(last);
        if event.is_of_server() {
            let conn = event.conn().unwrap_or_default();
            segments.entry(conn.into()).or_default().0.push((seq, event.clone()));
            // What it was in answer to has been seen already: ids are known from it.
            learn(&mut bindings, event, &segments);
            continue;
        }
        let done = match event {
            Event::Connect(conn, headers) => world.connect(conn, headers).await,
            Event::Send(conn, Frame::Text(text)) => {
                world.send(conn, Frame::Text(bindings.resolve(text))).await
            }
            Event::Send(conn, frame) => world.send(conn, frame.clone()).await,
            Event::Ping(conn, data) => world.ping(conn, data.clone()).await,
            Event::ClientClose(conn, code) => world.close(conn, *code).await,
            Event::RedisPublish(channel, text) => {
                world.publish(channel, &bindings.resolve(text)).await
            }
            Event::ServerShutdown => world.shut_down().await,
            Event::ServerKill => world.kill().await,
            Event::ServerStart => world.start().await,
            Event::Quiet(ms) | Event::Wait(ms) => {
                world.settle(Duration::from_millis(*ms)).await;
                Ok(())
            }
            _ => Ok(()),
        };
        if done.is_err() {
            differences.push(Difference { seq: Some(seq), absent: true, ..Difference::default() });
        }
        while let Some(seen) = world.next(Duration::ZERO).await {
            let conn = seen.conn().unwrap_or_default().to_owned();
            // What comes while nothing else happens is awaited before that is over.
            let after = if matches!(event, Event::Quiet(_)) { seq - 1 } else { seq };
            segments.entry(conn).or_default().1.push((after, seen));
        }
        if let Event::Quiet(_) = event {
            for (conn, (recorded, seen)) in std::mem::take(&mut segments) {
                align(&conn, &recorded, &seen, &mut bindings, &mut differences);
            }
        }
    }
    differences.sort_by_key(|difference| difference.seq.or(difference.after));
    Ok(differences)
}

/// Binds the ids of a recorded welcome to those of the welcome that was seen.
fn learn(bindings: &mut Bindings, event: &Event, segments: &Segments) {
    let Event::Recv(conn, recorded) = event else { return };
    let id = |text: &str| -> Option<String> {
        let frame: serde_json::Value = serde_json::from_str(text).ok()?;
        frame["peer"]["id"].as_str().map(Into::into)
    };
    let mut seen = segments.get(conn).into_iter().flat_map(|(_, seen)| seen.iter().rev());
    let seen = seen.find_map(|(_, seen)| match seen {
        Seen::Text(_, text) => id(text),
        _ => None,
    });
    if let (Some(recorded), Some(seen)) = (id(recorded), seen) {
        bindings.bind(&recorded, &seen);
    }
}

/// The type of a frame, and of whom it tells.
fn kind(text: &str) -> String {
    let frame: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let (user, _) = author(&frame).unwrap_or_default();
    format!("{} {} {user} {}", frame["type"], frame["id"], frame["data"]["online"])
}

/// The user and the id in `from`.
fn author(frame: &serde_json::Value) -> Option<(&str, &str)> {
    frame["from"].as_str()?.split_once('|')
}

/// Binds the author of a recorded frame to that of the frame that takes its place.
fn learn_author(bindings: &mut Bindings, recorded: &str, seen: &str) {
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap_or_default();
    let (recorded, seen) = (parse(recorded), parse(seen));
    if let (Some((_, recorded)), Some((_, seen))) = (author(&recorded), author(&seen)) {
        bindings.bind(recorded, seen);
    }
}

/// Puts what was recorded and what was seen side by side, as cheaply as possible.
fn align(
    conn: &str,
    recorded: &[(usize, Event)],
    seen: &[(usize, Seen)],
    bindings: &mut Bindings,
    differences: &mut Vec<Difference>,
) {
    let cost = |event: &Event, seen: &Seen, bindings: &Bindings| match (event, seen) {
        (Event::Recv(_, expected), Seen::Text(_, text)) => {
            if bindings.clone().accept(expected, text) {
                0
            } else if kind(expected) == kind(text) {
                1
            } else {
                2 * ALONE + 1
            }
        }
        (Event::ServerClose(_, one), Seen::Close(_, other)) => u32::from(one != other),
        (Event::Pong(_, one), Seen::Pong(_, other)) if one == other => 0,
        (Event::ServerExit(one), Seen::Exit(other)) if one == other => 0,
        _ => 2 * ALONE + 1,
    };
    let (rows, columns) = (recorded.len(), seen.len());
    let mut best = vec![vec![0; columns + 1]; rows + 1];
    for row in (0..=rows).rev() {
        for column in (0..=columns).rev() {
            let mut options = Vec::new();
            if row < rows {
                options.push(best[row + 1][column] + ALONE);
            }
            if column < columns {
                options.push(best[row][column + 1] + ALONE);
            }
            if row < rows && column < columns {
                let both = cost(&recorded[row].1, &seen[column].1, bindings);
                options.push(best[row + 1][column + 1] + both);
            }
            best[row][column] = options.into_iter().min().unwrap_or(0);
        }
    }
    let (mut row, mut column) = (0, 0);
    // What comes before all that was recorded stands before it.
    let mut behind = recorded.first().map(|(seq, _)| *seq - 1);
    while row < rows || column < columns {
        let here = best[row][column];
        let both = (row < rows && column < columns)
            .then(|| cost(&recorded[row].1, &seen[column].1, bindings));
        if both.is_some_and(|both| here == best[row + 1][column + 1] + both) {
            let (seq, expected) = &recorded[row];
            let (_, found) = &seen[column];
            if let (Event::Recv(_, expected), Seen::Text(_, text)) = (expected, found)
                && !bindings.accept(expected, text)
            {
                learn_author(bindings, expected, text);
            }
            if both != Some(0) {
                let difference = Difference { seq: Some(*seq), ..as_difference(found, bindings) };
                differences.push(difference);
            }
            behind = Some(*seq);
            row += 1;
            column += 1;
        } else if column < columns && here == best[row][column + 1] + ALONE {
            let (after, found) = &seen[column];
            let conn = Some(conn.to_owned());
            let after = Some(behind.map_or(*after, |behind| behind.max(*after)));
            differences.push(Difference { after, conn, ..as_difference(found, bindings) });
            column += 1;
        } else {
            let seq = Some(recorded[row].0);
            differences.push(Difference { seq, absent: true, ..Difference::default() });
            behind = seq;
            row += 1;
        }
    }
}

fn as_difference(seen: &Seen, bindings: &Bindings) -> Difference {
    match seen {
        Seen::Text(_, text) => {
            Difference { recv: Some(bindings.as_recorded(text)), ..Difference::default() }
        }
        Seen::Close(_, code) => Difference { close: Some(*code), ..Difference::default() },
        _ => Difference { absent: true, ..Difference::default() },
    }
}
