//! `symple ctl events`: server-sent events, a line each.

use std::time::Duration;

use clap::ArgMatches;
use http_body_util::BodyExt as _;
use hyper::{Request, body::Incoming};
use serde_json::Value;

use super::{
    http::{Api, escaped},
    show,
};
use crate::{Failure, input::print, text::one_line_of_json};

/// How long is waited before it is asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// The server says something every 15 seconds; after so long without it, it is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// How large a line of the server's may be, in bytes.
const MAX_LINE: usize = 4 * 1024 * 1024;

/// Prints events as they come.
pub(super) async fn follow(api: &Api, flags: &ArgMatches, json: bool) -> Result<(), Failure> {
    let path = match flags.get_one::<String>("types") {
        Some(types) => format!("/v1/events?types={}", escaped(types)),
        None => "/v1/events".into(),
    };
    let mut left = flags.get_one::<u64>("count").copied();
    let mut connected = false;
    loop {
        let answer = match api.send(Request::builder().method("GET"), &path, "").await {
            Ok(answer) => answer,
            // Only what was there once can come back; and what is refused will be refused again.
            Err(failure) if !connected || failure.code != crate::USAGE => return Err(failure),
            Err(_) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        connected = true;
        if read(answer.into_body(), &mut left, json).await? || !flags.get_flag("follow") {
            return Ok(());
        }
        crate::warn_of("the server has ended: events are missing until it is there again");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Prints the events of an answer. True when it has printed as many as are wanted.
async fn read(mut body: Incoming, left: &mut Option<u64>, json: bool) -> Result<bool, Failure> {
    let mut line = Vec::new();
    // A connection that breaks is one that has ended.
    while let Ok(Some(Ok(frame))) = tokio::time::timeout(SILENCE, body.frame()).await {
        let Ok(data) = frame.into_data() else { continue };
        for byte in data {
            if byte != b'\n' {
                line.push(byte);
                if line.len() > MAX_LINE {
                    return Err(Failure::crash("the server sends no events"));
                }
                continue;
            }
            if event(&line, json)?
                && let Some(left) = left
            {
                *left -= 1;
                if *left == 0 {
                    return Ok(true);
                }
            }
            line.clear();
        }
    }
    Ok(false)
}

/// Prints what a line says. False if it says nothing.
fn event(line: &[u8], json: bool) -> Result<bool, Failure> {
    let Some(data) = line.strip_prefix(b"data:") else { return Ok(false) };
    let Ok(event) = serde_json::from_slice::<Value>(data) else {
        return Err(Failure::crash("the server sends no events"));
    };
    let shown = if json {
        format!("{}\n", one_line_of_json(&event.to_string()))
    } else {
        show::event(&event)
    };
    print(&shown)?;
    Ok(true)
}
