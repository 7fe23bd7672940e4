//! A board that shows who is there, and what they say of themselves, whenever that changes.
//!
//! `cargo run -p symple-tokio --example presence_board -- ws://127.0.0.1:4500 lobby`

#![allow(clippy::print_stdout, reason = "it is for who runs it in a terminal")]

use std::{collections::BTreeMap, sync::Arc};

use symple_tokio::{
    Client, ClientStartError,
    client::{Event, PeerRecord},
};

/// The users who are there: how they are called, what they are at, and with how many sessions.
pub(crate) fn board(roster: &[Arc<PeerRecord>]) -> Vec<String> {
    let mut users: BTreeMap<&str, (usize, &PeerRecord)> = BTreeMap::new();
    for peer in roster {
        users.entry(peer.user()).or_insert((0, peer)).0 += 1;
    }
    let rows = users.into_values().map(|(sessions, peer)| {
        let status = peer.get("status").and_then(|status| status.as_str().map(String::from));
        // Anyone can say anything of themselves; on a board it is one line, and not long.
        let shown =
            |text: &str| -> String { text.chars().filter(|c| !c.is_control()).take(24).collect() };
        format!(
            "{:24} {:24} {sessions}",
            shown(peer.name()),
            shown(status.as_deref().unwrap_or("-"))
        )
    });
    rows.map(|row| row.trim_end().to_owned()).collect()
}

/// Shows the board whenever it changes, until the client has ended.
pub(crate) async fn run(
    url: &str,
    room: &str,
    show: impl Fn(&[String]),
) -> Result<(), ClientStartError> {
    let (client, mut events) = Client::builder(url).user("board").room(room).connect().await?;
    let (mut complete, mut shown) = (false, None);
    while let Some(event) = events.next().await {
        match event {
            // The roster is whole, again.
            Event::RosterComplete => complete = true,
            // Until it is, those of before stay on the board.
            Event::Online { .. } => complete = false,
            Event::PeerOnline(_) | Event::PeerUpdated(_) | Event::PeerOffline(_) => {}
            _ => continue,
        }
        if complete {
            let now = board(&client.roster().await?);
            if shown.as_ref() != Some(&now) {
                show(&now);
                shown = Some(now);
            }
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), ClientStartError> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "ws://127.0.0.1:4500".into());
    let room = arguments.next().unwrap_or_else(|| "lobby".into());
    run(&url, &room, |board| {
        println!("--- {} here", board.len());
        board.iter().for_each(|row| println!("{row}"));
    })
    .await
}
