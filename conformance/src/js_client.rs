//! The unmodified JavaScript client against a server: what the application sees.

use std::{collections::BTreeMap, path::Path, process::Stdio, sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::timeout,
};

use crate::{
    redis::Redis,
    target::Target,
    transcript::{Header, HookAnswer, RecordedFrom, RedisContents, ScenarioConfig},
    world::{Host, Kind, Seen, StartError},
};

/// The program that drives the client.
const DRIVER: &str = include_str!("../js/client.mjs");

/// How long a check may take; a client needs 3 s until it connects again.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the original server fails: the check, and the deviation that names the fault.
pub const KNOWN_FAULTS: &[(&str, &str)] = &[
    ("roster: who joins late sees those who are there", "D-BAREID"),
    ("roster: who joins long after it connected is seen", "D-VISIBLE"),
    ("leave: both are out of each other's rosters", "D-VISIBLE"),
    ("send: once, however many rooms are shared", "D-ONCE"),
    ("send: an unknown type is answered with an error", "D-400"),
    ("presence: who comes later is told, too", "D-BAREID"),
    ("presence: a probe is answered", "D-BAREID"),
    ("shutdown: the application is told by name", "D-SHUTDOWN"),
    ("reconnect: after a restart the rosters are right again", "D-BAREID"),
    ("token: after the wrong one the connection is closed", "D-CLOSE"),
    ("token: nobody else sees it, nor the address", "D-TOKEN"),
    ("locked: to join is refused with a status", "D-LOCKED"),
];

/// What an application with the client saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// Why it is not so, if it is not.
    pub failure: Option<String>,
}

/// What the driver says: the result of a check, or a wish.
#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Check {
        check: String,
        passed: bool,
        #[serde(default)]
        because: String,
    },
    Ask {
        ask: String,
    },
}

/// Drives the client in a folder (a checkout, with the package `ws`) through its API, against
/// servers of the target that are set up for it, and reports each check.
///
/// # Errors
/// A server or `node` does not start, or the driver breaks off: the checks behind it are missing.
pub async fn js_client(
    folder: &Path,
    target: &Target,
    mut report: impl FnMut(&Check),
) -> Result<Vec<Check>, String> {
    let kind = target.kind().map_err(|error| error.to_string())?;
    let mut checks = Vec::new();
    for (group, header) in groups(&kind) {
        let Some((mut host, seen)) = start_server(&kind, &header).await? else { continue };
        let done = drive(folder, group, &mut host, seen, |check| {
            report(&check);
            checks.push(check);
        });
        let done = done.await;
        let _ = host.kill();
        done?;
    }
    Ok(checks)
}

/// Starts a server that is set up so, with a Redis where it needs one, and what is seen of it; none
/// for a server that runs elsewhere and is set up in another way.
pub(crate) async fn start_server(
    kind: &Kind,
    header: &Header,
) -> Result<Option<(Host, UnboundedReceiver<Seen>)>, String> {
    let redis = match header.config.redis {
        true => Some(Arc::new(Redis::start().await?)),
        false => None,
    };
    if let Some(redis) = &redis {
        redis.reset(header.redis.stored()).await?;
    }
    let (tell, seen) = unbounded_channel();
    match Host::start(kind.clone(), header, redis, tell).await {
        Ok(host) => Ok(Some((host, seen))),
        Err(StartError::Unsupported(_)) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// The servers that are needed. A command has no hook: there the token is in Redis.
pub(crate) fn groups(kind: &Kind) -> [(&'static str, Header); 3] {
    let plain = ScenarioConfig {
        authentication: false,
        dynamic_rooms: true,
        session_ttl: -1,
        redis: false,
        auth_hook: None,
        join_hook: None,
        frame_hook: None,
        settings: BTreeMap::new(),
    };
    let locked = ScenarioConfig { dynamic_rooms: false, ..plain.clone() };
    let answer = |object: Value| HookAnswer {
        delay_ms: None,
        throws: None,
        returns: None,
        object: object.as_object().cloned().unwrap_or_default(),
    };
    let hook = [
        ("good".to_owned(), answer(json!({ "allowed": true, "rooms": ["team"] }))),
        ("*".to_owned(), answer(json!({ "allowed": false, "message": "Unknown token" }))),
    ];
    let by_command = matches!(kind, Kind::Command(_));
    let tokens = ScenarioConfig {
        authentication: by_command,
        redis: by_command,
        auth_hook: (!by_command).then(|| hook.into()),
        ..plain.clone()
    };
    let sessions = [("good".to_owned(), json!({ "rooms": ["team"] }))].into();
    let header = |config: ScenarioConfig| Header {
        transcript: 1,
        name: "js-client".into(),
        group: "client".into(),
        title: "the JavaScript client".into(),
        protocol: "symple/4".into(),
        recorded_from: RecordedFrom { server: String::new(), client: "symple-client".into() },
        redis: RedisContents::default(),
        config,
        rules: Vec::new(),
        note: None,
    };
    [
        ("open", header(plain)),
        ("tokens", Header { redis: RedisContents { sessions }, ..header(tokens) }),
        ("locked", header(locked)),
    ]
}

/// The driver, and how to talk to it.
struct Driver {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    answers: ChildStdin,
}

fn start(folder: &Path, group: &str, host: &Host) -> Result<Driver, String> {
    let mut child = Command::new("node")
        .args(["--input-type=module", "-e", DRIVER, "--"])
        .arg(folder)
        .args([&format!("ws://{}", host.address), group])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot start node: {error}"))?;
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("node has no standard input and output".into());
    };
    Ok(Driver { child, said: BufReader::new(stdout).lines(), answers: stdin })
}

async fn drive(
    folder: &Path,
    group: &str,
    host: &mut Host,
    mut seen: UnboundedReceiver<Seen>,
    mut report: impl FnMut(Check),
) -> Result<(), String> {
    let mut driver = start(folder, group, host)?;
    loop {
        let line = timeout(PATIENCE, driver.said.next_line())
            .await
            .map_err(|_| {
                format!("a check of '{group}' takes longer than {} s", PATIENCE.as_secs())
            })?
            .map_err(|error| error.to_string())?;
        let Some(line) = line else { break };
        let said = serde_json::from_str(&line).map_err(|error| format!("{line}: {error}"))?;
        match said {
            Said::Check { check, passed, because } => {
                report(Check { name: check, failure: (!passed).then_some(because) });
            }
            Said::Ask { ask } => {
                let done = match ask.as_str() {
                    "shutdown" => host.shut_down().await,
                    "start" => {
                        // The one before has ended.
                        let _ = timeout(PATIENCE, seen.recv()).await;
                        host.start_again().await
                    }
                    "restart" => match host.kill() {
                        Ok(()) => host.start_again().await,
                        failed => failed,
                    },
                    other => Err(format!("'{other}' is not understood")),
                };
                let answer = done.err().unwrap_or_else(|| "done".into());
                let answer = format!("{}\n", answer.replace('\n', " "));
                driver.answers.write_all(answer.as_bytes()).await.map_err(|e| e.to_string())?;
            }
        }
    }
    let ended = driver.child.wait().await.map_err(|error| error.to_string())?;
    if ended.success() { Ok(()) } else { Err(format!("the driver of the client: {ended}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deviation;

    #[test]
    fn known_faults_are_faults_of_checks() {
        for (check, id) in KNOWN_FAULTS {
            let escaped = check.replace('\'', "\\'");
            assert!(DRIVER.contains(&format!("'{escaped}': async")), "there is no check '{check}'");
            assert!(deviation::find(id).is_some(), "there is no deviation {id}");
        }
    }
}
