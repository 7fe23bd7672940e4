//! `symple-conformance record`

use std::{fs, path::PathBuf};

use clap::{Arg, ArgMatches, Command, value_parser};
use symple_conformance::{Header, RecordedFrom, RedisContents, ScenarioConfig, Transcript, record};
use tokio::net::TcpListener;

use crate::Problem;

/// How a server is set up that nobody has set up.
const PLAIN: &str =
    r#"{"authentication":false,"dynamicRooms":true,"sessionTTL":-1,"redis":false,"authHook":null}"#;

pub(crate) fn command() -> Command {
    let arg = |id: &'static str, value: &'static str, help: &'static str| {
        Arg::new(id).long(id).value_name(value).help(help)
    };
    Command::new("record")
        .about("Stands between clients and a server, and writes a transcript, until Ctrl-C")
        .arg(arg("listen", "ADDR", "Where clients connect, such as 127.0.0.1:4501").required(true))
        .arg(arg("upstream", "URL", "The server, as ws://HOST:PORT").required(true))
        .arg(
            arg("out", "FILE", "The transcript, which is called as the file")
                .required(true)
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(arg("title", "TEXT", "One line about it").default_value("a recorded session"))
        .arg(arg("server", "NAME", "The name and version of the server").default_value("unknown"))
        .arg(arg("client", "NAME", "The name and version of the client").default_value("raw"))
        .arg(
            arg("config", "JSON", "How the server is set up: config of the header")
                .default_value(PLAIN)
                .value_parser(|text: &str| serde_json::from_str::<ScenarioConfig>(text)),
        )
}

pub(crate) async fn run(flags: &ArgMatches) -> Result<bool, Problem> {
    let text = |name| flags.get_one::<String>(name).cloned().unwrap_or_default();
    let out = flags.get_one::<PathBuf>("out").cloned().unwrap_or_default();
    let config = match flags.get_one::<ScenarioConfig>("config") {
        Some(config) => config.clone(),
        None => serde_json::from_str(PLAIN)?,
    };
    let upstream = text("upstream");
    if !upstream.starts_with("ws://") {
        return Err(Problem(format!("'{upstream}' is not of the form ws://HOST:PORT")));
    }
    let listener = TcpListener::bind(text("listen")).await?;
    eprintln!("recording from ws://{} to {upstream}; Ctrl-C ends it", listener.local_addr()?);
    let end = async { drop(tokio::signal::ctrl_c().await) };
    let events = record(listener, &upstream, end).await?;
    let header = Header {
        transcript: 1,
        name: out.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        group: "recorded".into(),
        title: text("title"),
        protocol: "symple/4".into(),
        recorded_from: RecordedFrom { server: text("server"), client: text("client") },
        config,
        redis: RedisContents::default(),
        rules: Vec::new(),
        note: None,
    };
    println!("{} events", events.len());
    fs::write(&out, Transcript { path: out.clone(), header, events }.to_text())?;
    Ok(true)
}
