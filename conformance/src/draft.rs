//! Drafts of declarations: what a target does where something else was recorded.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;

use crate::{
    align::{Pair, align},
    compare::Bindings,
    deviation::{Declarations, Difference},
    redis::Redis,
    runner::RunOptions,
    target::{Target, Verdict},
    transcript::{Event, Frame, Transcript},
    world::{Seen, StartError},
};

/// By connection: what was recorded, and what was seen behind which event.
type Segments = BTreeMap<String, (Vec<(usize, Event)>, Vec<(usize, Seen)>)>;

/// Acts a transcript against a target and lists the differences, each due to `because`, so that they
/// can be declared as they are: the target is held to them before they are returned. A Redis is
/// started when one is needed.
///
/// # Errors
/// The target cannot be set up like this, does something that cannot be declared, or does something
/// else the second time.
pub async fn draft(
    transcript: &Transcript,
    target: &Target,
    because: &[String],
    redis: &mut Option<Arc<Redis>>,
) -> Result<Vec<Difference>, String> {
    let mut differences = observe(transcript, target, redis).await?;
    for difference in &mut differences {
        difference.because = because.to_vec();
    }
    let declarations = Declarations::of_one(&transcript.header.name, differences.clone())?;
    // What was recorded of the original server is all that is expected of it: nothing to hold it to.
    if matches!(target, Target::Node(_)) {
        return Ok(differences);
    }
    match target.run(transcript, &declarations, redis, RunOptions::default()).await {
        Verdict::Failed(failures) => {
            let first = failures.first().map(ToString::to_string).unwrap_or_default();
            Err(format!("{target} does not do the same twice: {first}"))
        }
        _ => Ok(differences),
    }
}

/// The ids that each connection is welcome with, in order.
fn welcomes(transcript: &Transcript) -> BTreeMap<String, VecDeque<String>> {
    let mut welcomes: BTreeMap<_, VecDeque<_>> = BTreeMap::new();
    for event in &transcript.events {
        if let Event::Recv(conn, text) = event
            && let Some(id) = welcome(text)
        {
            welcomes.entry(conn.clone()).or_default().push_back(id);
        }
    }
    welcomes
}

/// The id in a welcome.
fn welcome(text: &str) -> Option<String> {
    let frame: Value = serde_json::from_str(text).ok()?;
    frame["peer"]["id"].as_str().map(Into::into)
}

async fn observe(
    transcript: &Transcript,
    target: &Target,
    redis: &mut Option<Arc<Redis>>,
) -> Result<Vec<Difference>, String> {
    let mut differences = Vec::new();
    let mut world = match target.world(transcript, redis, true).await {
        Ok(world) => world,
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
    let mut welcomes = welcomes(transcript);
    let mut answered = false;
    let last = transcript.events.len();
    let end = [Event::Quiet(2000)];
    for (index, event) in transcript.events.iter().chain(&end).enumerate() {
        let seq = (index + 1).min(last.max(1));
        if event.is_of_server() {
            let conn = event.conn().unwrap_or_default();
            segments.entry(conn.into()).or_default().0.push((seq, event.clone()));
            answered = true;
            continue;
        }
        // A client acts when it has seen what came before.
        if std::mem::take(&mut answered) {
            world.settle(Duration::ZERO).await;
            while let Some(seen) = world.next(Duration::ZERO).await {
                note(&mut segments, &mut bindings, &mut welcomes, seq - 1, seen);
            }
        }
        let done = match event {
            Event::ConnectFailed(conn) => match world.connect(conn, &[]).await {
                Ok(()) => {
                    world.finish().await;
                    return Err(format!(
                        "event {seq}: {conn} can connect, which cannot be declared"
                    ));
                }
                Err(_) => Ok(()),
            },
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
            // What comes while nothing else happens is awaited before that is over.
            let after = if matches!(event, Event::Quiet(_)) { seq - 1 } else { seq };
            note(&mut segments, &mut bindings, &mut welcomes, after, seen);
        }
        if let Event::Quiet(_) = event {
            for (conn, (recorded, seen)) in std::mem::take(&mut segments) {
                compare(&conn, recorded, seen, &mut bindings, &mut differences)?;
            }
        }
    }
    world.finish().await;
    // An id may have been learned on another connection than the one that was compared first.
    for text in differences.iter_mut().filter_map(|difference| difference.recv.as_mut()) {
        *text = bindings.as_recorded(text);
    }
    differences.sort_by_key(|difference| difference.seq.or(difference.after));
    Ok(differences)
}

/// Notes what was seen behind an event. Whoever is welcome is known by then, whether or not others
/// were told of it before.
fn note(
    segments: &mut Segments,
    bindings: &mut Bindings,
    welcomes: &mut BTreeMap<String, VecDeque<String>>,
    after: usize,
    seen: Seen,
) {
    let conn = seen.conn().unwrap_or_default().to_owned();
    if let Seen::Text(_, text) = &seen
        && let Some(id) = welcome(text)
        && let Some(recorded) = welcomes.get_mut(&conn).and_then(VecDeque::pop_front)
    {
        bindings.bind(&recorded, &id);
    }
    segments.entry(conn).or_default().1.push((after, seen));
}

/// Lists the differences of a connection since the last barrier.
fn compare(
    conn: &str,
    recorded: Vec<(usize, Event)>,
    seen: Vec<(usize, Seen)>,
    bindings: &mut Bindings,
    differences: &mut Vec<Difference>,
) -> Result<(), String> {
    // What comes before all that was recorded stands before it.
    let mut behind = recorded.first().map(|(seq, _)| *seq - 1);
    let (places, recorded): (Vec<_>, Vec<_>) = recorded.into_iter().unzip();
    let (afters, seen): (Vec<_>, Vec<_>) = seen.into_iter().unzip();
    for pair in align(&recorded, &seen, bindings) {
        match pair {
            Pair::Same(row, _) => behind = Some(places[row]),
            Pair::Changed(row, column) => {
                behind = Some(places[row]);
                let found = as_difference(&seen[column], bindings)?;
                differences.push(Difference { seq: behind, ..found });
            }
            Pair::Missing(row) => {
                behind = Some(places[row]);
                let absent = Difference { seq: behind, absent: true, ..Difference::default() };
                differences.push(absent);
            }
            Pair::More(column) => {
                let found = as_difference(&seen[column], bindings)?;
                let conn = found.exit.is_none().then(|| conn.to_owned());
                let after = Some(behind.map_or(afters[column], |seq| seq.max(afters[column])));
                differences.push(Difference { after, conn, ..found });
            }
        }
    }
    Ok(())
}

fn as_difference(seen: &Seen, bindings: &Bindings) -> Result<Difference, String> {
    let nothing = Difference::default();
    Ok(match seen {
        Seen::Text(_, text) => Difference { recv: Some(bindings.as_recorded(text)), ..nothing },
        Seen::Close(_, code) => Difference { close: Some(*code), ..nothing },
        Seen::Exit(code) => Difference { exit: Some(*code), ..nothing },
        Seen::Binary(conn, _) => {
            return Err(format!("{conn} receives a binary frame, which cannot be declared"));
        }
        Seen::Pong(conn, _) => {
            return Err(format!("{conn} receives another pong, which cannot be declared"));
        }
    })
}
