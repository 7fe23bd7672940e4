//! What the commands share that are clients of a server.

use std::path::Path;

use clap::{Arg, ArgAction, ArgMatches};
use symple_driver::{
    ClientStartError, Compression,
    rustls::pki_types::{CertificateDer, pem::PemObject as _},
    trust,
};
use symple_engine::client::End;

use crate::{Failure, text::one_line};

#[cfg(not(feature = "tokio"))]
pub(crate) use symple_async_std::{Client, ClientBuilder};
#[cfg(feature = "tokio")]
pub(crate) use symple_tokio::{Client, ClientBuilder};

/// How much is shown of what a server or a peer says.
pub(crate) const SHOWN: usize = 2000;

/// The arguments that say which server, and as whom.
pub(crate) fn arguments() -> Vec<Arg> {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    vec![
        Arg::new("url")
            .value_name("URL")
            .required(true)
            .help("The server, such as ws://localhost:4500 or wss://example.org/ws"),
        text("user", "USER", "Who you are").required(true),
        text("name", "NAME", "How you want to be called"),
        text(
            "token",
            "TOKEN",
            "What proves who you are; SYMPLE_TOKEN without it, which others on the machine do not see",
        ),
        text("room", "ROOM", "A room to be in; can be given more than once")
            .action(ArgAction::Append),
        text(
            "header",
            "NAME: VALUE",
            "A header of the request, such as Origin; can be given more than once",
        )
        .action(ArgAction::Append),
        text(
            "ca",
            "FILE",
            "Certificates in PEM to trust, in the place of those that the system trusts",
        ),
        Arg::new("compression")
            .long("compression")
            .action(ArgAction::SetTrue)
            .help("Compresses texts in both directions, if the server does (permessage-deflate)"),
    ]
}

/// The argument of a file in which what is typed is kept.
pub(crate) fn history_argument() -> Arg {
    Arg::new("history")
        .long("history")
        .value_name("FILE")
        .value_parser(clap::value_parser!(std::path::PathBuf))
        .help("Keeps what is typed in a file, for the next time; without it, until the end")
}

/// A client as the arguments say.
pub(crate) fn builder(flags: &ArgMatches) -> Result<ClientBuilder, Failure> {
    let text = |name| flags.get_one::<String>(name).map(String::as_str);
    let mut builder =
        Client::builder(text("url").unwrap_or_default()).user(text("user").unwrap_or_default());
    if let Some(name) = text("name") {
        builder = builder.name(name);
    }
    let variable = std::env::var("SYMPLE_TOKEN").ok().filter(|token| !token.is_empty());
    if let Some(token) = text("token").map(String::from).or(variable) {
        builder = builder.token(token);
    }
    for room in flags.get_many::<String>("room").into_iter().flatten() {
        builder = builder.room(room);
    }
    for header in flags.get_many::<String>("header").into_iter().flatten() {
        let (name, value) = header.split_once(':').ok_or_else(|| {
            Failure::usage(format!("a header is NAME: VALUE, not {}", one_line(header, 100)))
        })?;
        builder = builder.header(name.trim(), value.trim());
    }
    if flags.get_flag("compression") {
        builder = builder.compression(Compression::default());
    }
    if let Some(file) = text("ca") {
        builder = builder.tls(trust(certificates(Path::new(file))?).map_err(Failure::usage)?);
    }
    Ok(builder)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let problem = |error: &dyn std::fmt::Display| {
        Failure::usage(format!("the certificates in {}: {error}", file.display()))
    };
    let found = CertificateDer::pem_file_iter(file).map_err(|error| problem(&error))?;
    found.collect::<Result<_, _>>().map_err(|error| problem(&error))
}

/// What it means that a client could not be started.
pub(crate) fn failure(error: ClientStartError) -> Failure {
    match error {
        ClientStartError::Connect(error) => Failure::crash(one_line(&error.to_string(), SHOWN)),
        other => Failure::usage(one_line(&other.to_string(), SHOWN)),
    }
}

/// Why a connection has ended, in words that are safe to print.
pub(crate) fn why(end: &End) -> String {
    one_line(&end.to_string(), SHOWN)
}
