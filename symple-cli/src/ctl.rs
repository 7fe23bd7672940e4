//! `symple ctl`: what an operator sees and does, over the HTTP API of a server (R-I1).

mod events;
mod http;
mod show;

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command};
use serde_json::{Value, json, value::RawValue};

use crate::{
    Failure,
    emit::{frame, frame_arguments, to_argument},
    input::print,
    settings::{flags::setting, read_admin_key},
    source,
    text::one_line_of_json,
    warn,
};

use self::http::{Api, Method, escaped};

/// Where the API is, unless it is said.
const URL: &str = "http://127.0.0.1:4501";
/// The variable that says where the API is.
const URL_VARIABLE: &str = "SYMPLE_ADMIN_URL";
/// How many entries a page has.
const PAGE: &str = "1000";

/// The command line of `symple ctl`.
pub(crate) fn command() -> Command {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let place = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).value_name(value).help(help)
    };
    let url = text(
        "url",
        "URL",
        "Where the API is [env SYMPLE_ADMIN_URL; default http://127.0.0.1:4501]",
    );
    let json =
        Arg::new("json").long("json").action(ArgAction::SetTrue).help("Prints JSON, for programs");
    let key =
        text("idempotency-key", "KEY", "Does it once, however often it is asked for with this key");
    Command::new("ctl")
        .about("Shows who is on a server, and does what an operator may do (needs symple serve --admin)")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(url.global(true))
        .args(setting("admin-key").map(|arg| arg.global(true)))
        .arg(json.global(true))
        .after_help("Ends with 0 when it was done, 1 when it was refused or is not there, 2 when it makes no sense or nobody answers.")
        .subcommand(
            Command::new("peers")
                .about("Lists the peers of all nodes")
                .arg(text("user", "USER", "The sessions of this user"))
                .arg(text("room", "ROOM", "The members of this room"))
                .arg(text("node", "NODE", "The peers of this node"))
                .arg(text("search", "TEXT", "Those whose user, id or name contains this")),
        )
        .subcommand(
            Command::new("peer")
                .about("Shows a peer: its rooms and what others know of it")
                .arg(place("peer", "PEER", "Its id, or user|id").required(true)),
        )
        .subcommand(
            Command::new("rooms")
                .about("Lists the rooms that have members")
                .arg(text("search", "TEXT", "Those whose name contains this")),
        )
        .subcommand(
            Command::new("room")
                .about("Lists the members of a room")
                .arg(place("room", "ROOM", "Its name").required(true)),
        )
        .subcommand(
            Command::new("state")
                .about("Shows the state of a room, or changes it")
                .arg(place("room", "ROOM", "Its name").required(true))
                .arg(text("set", "JSON", "Keys with their values, an object; null deletes a key"))
                .arg(Arg::new("clear").long("clear").action(ArgAction::SetTrue).help("Deletes all keys"))
                .arg(Arg::new("pin").long("pin").action(ArgAction::SetTrue).help("The node that answers keeps it without members"))
                .arg(Arg::new("unpin").long("unpin").action(ArgAction::SetTrue).help("It does not any more"))
                .group(ArgGroup::new("change").args(["set", "clear", "pin", "unpin"]))
                .arg(key.clone().requires("change")),
        )
        .subcommand(
            Command::new("kick")
                .about("Closes a peer, or all sessions of a user")
                .arg(place("peer", "PEER", "Its id, or user|id").required_unless_present("user"))
                .arg(text("user", "USER", "All sessions of this user").conflicts_with("peer"))
                .arg(text("reason", "TEXT", "What they are told")),
        )
        .subcommand(
            Command::new("close-room")
                .about("Takes all members out of a room")
                .arg(place("room", "ROOM", "Its name").required(true)),
        )
        .subcommand(
            Command::new("change-rooms")
                .about("Puts a peer in rooms, and takes it out of others")
                .arg(place("peer", "PEER", "Its id, or user|id").required(true))
                .arg(text("join", "ROOM", "A room to be in; can be given more than once").action(ArgAction::Append))
                .arg(text("leave", "ROOM", "A room to leave; can be given more than once").action(ArgAction::Append))
                .arg(key.clone()),
        )
        .subcommand(
            Command::new("emit")
                .about("Sends a frame to whom it is for")
                .arg(to_argument())
                .args(frame_arguments(&["to", "from", "name"]))
                .arg(key.clone()),
        )
        .subcommand(
            Command::new("broadcast")
                .about("Sends a frame to every peer of all nodes")
                .args(frame_arguments(&["from", "name"]))
                .arg(key.clone()),
        )
        .subcommand(Command::new("nodes").about("Lists the nodes of the cluster"))
        .subcommand(Command::new("node").about("Shows the node that answers, and what it has counted"))
        .subcommand(
            Command::new("drain")
                .about("Ends the node that answers")
                .arg(
                    text("seconds", "SECONDS", "Over how long the closing of connections is spread")
                        .value_parser(clap::value_parser!(u64))
                        .default_value("0"),
                )
                .arg(text("node", "NODE", "The node that is meant; another one refuses"))
                .arg(key),
        )
        .subcommand(
            Command::new("events")
                .about("Prints what happens in the cluster from now on, until the server ends")
                .arg(text("types", "TYPE,…", "Only these: online, offline, joined, left, refused, upgrade_failed, node_joined, node_left, state_not_set"))
                .arg(
                    text("count", "COUNT", "Ends after so many events")
                        .value_parser(clap::value_parser!(u64).range(1..)),
                )
                .arg(
                    Arg::new("follow")
                        .long("follow")
                        .action(ArgAction::SetTrue)
                        .help("Goes on when the server has ended, as soon as it is there again"),
                ),
        )
}

/// Does what was asked for.
pub(crate) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let Some((name, flags)) = matches.subcommand() else {
        return Err(Failure::usage("there is no such command"));
    };
    let source = source(flags)?;
    warn(&source);
    let key = read_admin_key(&source).map_err(Failure::usage)?;
    let variable = std::env::var(URL_VARIABLE).ok().filter(|url| !url.is_empty());
    let url = flags.get_one::<String>("url").cloned().or(variable);
    let api = Api::new(url.as_deref().unwrap_or(URL), key)?;
    let command = Ctl { api, flags, json: flags.get_flag("json") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Failure::crash)?.block_on(command.run(name))
}

/// The members of an object, as they are: numbers of clients' may be larger than any number here.
type Members = BTreeMap<String, Box<RawValue>>;

struct Ctl<'a> {
    api: Api,
    flags: &'a ArgMatches,
    json: bool,
}

impl Ctl<'_> {
    async fn run(self, name: &str) -> Result<(), Failure> {
        match name {
            "peers" => {
                let query = self.query(&["user", "room", "node", "search"]);
                let list = self.all("/v1/peers", query, "peers").await?;
                self.show(&list, show::peers)
            }
            "rooms" => {
                let query = self.query(&["search"]);
                let list = self.all("/v1/rooms", query, "rooms").await?;
                self.show(&list, show::rooms)
            }
            "room" => {
                let path = format!("/v1/rooms/{}", escaped(self.text("room")));
                let list = self.all(&path, Vec::new(), "members").await?;
                self.show(&list, show::members)
            }
            "state" => match self.state_change()? {
                Some(body) => self.call(Method::POST, "/v1/state", &body).await,
                None => {
                    let path = format!("/v1/rooms/{}?limit=1", escaped(self.text("room")));
                    let room: Members = serde_json::from_str(self.api.get(&path).await?.get())
                        .map_err(|_| Failure::crash("the server does not answer with a room"))?;
                    self.show(room.get("state").map_or("{}", |state| state.get()), show::state)
                }
            },
            "peer" => self.get(&self.peer_path(""), show::peer).await,
            "nodes" => self.get("/v1/nodes", show::nodes).await,
            "node" => self.get("/v1/node", show::node).await,
            "kick" => {
                let path = match self.flags.get_one::<String>("user") {
                    Some(user) => format!("/v1/users/{}", escaped(user)),
                    None => self.peer_path(""),
                };
                let reason = self.flags.get_one::<String>("reason");
                let body = reason.map_or(json!({}), |reason| json!({ "reason": reason }));
                self.call(Method::DELETE, &path, &body.to_string()).await
            }
            "close-room" => {
                let path = format!("/v1/rooms/{}", escaped(self.text("room")));
                self.call(Method::DELETE, &path, "").await
            }
            "change-rooms" => {
                let rooms = |name| {
                    let rooms = self.flags.get_many::<String>(name);
                    rooms.into_iter().flatten().cloned().collect::<Vec<_>>()
                };
                let body = json!({ "join": rooms("join"), "leave": rooms("leave") });
                self.call(Method::POST, &self.peer_path("/rooms"), &body.to_string()).await
            }
            "emit" => self.call(Method::POST, "/v1/emit", &frame(self.flags)?).await,
            "broadcast" => self.call(Method::POST, "/v1/broadcast", &frame(self.flags)?).await,
            "drain" => {
                let seconds = self.flags.get_one::<u64>("seconds").copied().unwrap_or_default();
                let mut body = json!({ "seconds": seconds });
                if let Some(node) = self.flags.get_one::<String>("node") {
                    body["node"] = node.as_str().into();
                }
                self.call(Method::POST, "/v1/drain", &body.to_string()).await
            }
            "events" => events::follow(&self.api, self.flags, self.json).await,
            _ => Err(Failure::usage("there is no such command")),
        }
    }

    fn text(&self, name: &str) -> &str {
        self.flags.get_one::<String>(name).map_or("", String::as_str)
    }

    /// The body of a request that changes a state; none if it is only looked at.
    fn state_change(&self) -> Result<Option<String>, Failure> {
        let change = if let Some(set) = self.flags.get_one::<String>("set") {
            let fault = |error| Failure::usage(format!("--set must be a JSON object: {error}"));
            let set: Members = serde_json::from_str(set).map_err(fault)?;
            let set = serde_json::value::to_raw_value(&set).map_err(Failure::crash)?;
            format!("\"set\":{set}")
        } else if self.flags.get_flag("clear") {
            "\"clear\":true".into()
        } else if self.flags.get_flag("pin") || self.flags.get_flag("unpin") {
            format!("\"pin\":{}", self.flags.get_flag("pin"))
        } else {
            return Ok(None);
        };
        Ok(Some(format!("{{\"room\":{},{change}}}", json!(self.text("room")))))
    }

    fn peer_path(&self, behind: &str) -> String {
        format!("/v1/peers/{}{behind}", escaped(self.text("peer")))
    }

    /// The parameters that are given.
    fn query(&self, names: &[&'static str]) -> Vec<(&'static str, String)> {
        let value =
            |name: &&'static str| Some((*name, self.flags.get_one::<String>(name)?.clone()));
        names.iter().filter_map(value).collect()
    }

    /// All pages of a list, as one: JSON.
    async fn all(
        &self,
        path: &str,
        mut query: Vec<(&'static str, String)>,
        list: &str,
    ) -> Result<String, Failure> {
        let no_list = || Failure::crash("the server does not answer with a list");
        query.push(("limit", PAGE.into()));
        let (mut first, mut entries): (Option<Members>, Vec<Box<RawValue>>) = (None, Vec::new());
        loop {
            let pairs = query.iter().map(|(name, value)| format!("{name}={}", escaped(value)));
            let pairs: Vec<_> = pairs.collect();
            let page = self.api.get(&format!("{path}?{}", pairs.join("&"))).await?;
            let page: Members = serde_json::from_str(page.get()).map_err(|_| no_list())?;
            let found = page.get(list).ok_or_else(no_list)?;
            let found: Vec<Box<RawValue>> =
                serde_json::from_str(found.get()).map_err(|_| no_list())?;
            entries.extend(found);
            let next = page.get("next").and_then(|next| serde_json::from_str(next.get()).ok());
            first.get_or_insert(page);
            let Some(next) = next else { break };
            query.retain(|(name, _)| *name != "cursor");
            query.push(("cursor", next));
        }
        let members = first.unwrap_or_default().into_iter().map(|(name, value)| {
            let entries = || entries.iter().map(|entry| entry.get()).collect::<Vec<_>>().join(",");
            let value = match name.as_str() {
                "next" => "null".into(),
                name if name == list => format!("[{}]", entries()),
                _ => value.get().to_owned(),
            };
            format!("{}:{value}", json!(name))
        });
        Ok(format!("{{{}}}", members.collect::<Vec<_>>().join(",")))
    }

    /// The answer to a request, as a table or as it is.
    async fn get(&self, path: &str, table: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
        let answer = self.api.get(path).await?;
        self.show(answer.get(), table)
    }

    /// Does something, and prints what became of it.
    async fn call(&self, method: Method, path: &str, body: &str) -> Result<(), Failure> {
        let key = self.flags.try_get_one::<String>("idempotency-key").ok().flatten();
        let answer = self.api.call(method, path, body, key.map(String::as_str)).await?;
        self.show(answer.get(), show::done)
    }

    /// Prints an answer, which is JSON, as it is or as people read it.
    fn show(&self, answer: &str, table: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
        if self.json {
            print(&format!("{}\n", one_line_of_json(answer)))
        } else {
            print(&table(&show::read(answer)))
        }
    }
}
