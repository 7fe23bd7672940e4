//! All attacks there are.

use std::{future::Future, pin::Pin};

use crate::{
    control, deflate, drop, forgery, garbage, gone, hooks, http, log, newcomers, parse,
    report::Outcome, routing, run::Fault, scene::Stage, slow, stall, stopped, total, units,
    webhook,
};

type Outcomes = Pin<Box<dyn Future<Output = Result<Outcome, Fault>> + Send>>;

/// Something that is done to a server.
#[derive(Clone, Copy)]
pub struct Attack {
    /// What it is called.
    pub name: &'static str,
    /// What is tried, in a line.
    pub about: &'static str,
    pub(crate) run: fn(Stage) -> Outcomes,
}

macro_rules! attack {
    ($name:literal, $run:path, $about:literal) => {
        Attack { name: $name, about: $about, run: |stage| Box::pin($run(stage)) }
    };
}

/// All attacks, in the order in which they are carried out.
pub const ATTACKS: &[Attack] = &[
    attack!("pings-stranger", control::pings_of_a_stranger, "pings before auth, pongs unread"),
    attack!("pings-peer", control::pings_of_a_peer, "pings of a peer, pongs unread"),
    attack!("control-flood", control::flood_of_many, "20 connections of pings, pongs and scraps"),
    attack!("fragments", control::fragments, "messages in more than 1 024 fragments"),
    attack!("units-join-leave", units::join_and_leave, "joins and leaves of a large room"),
    attack!("units-presence", units::presence, "records of 16 KiB into a large room"),
    attack!("units-messages", units::messages, "large messages into a large room"),
    attack!("parse-cpu", parse::cpu, "input that is expensive to read, by its CPU time"),
    attack!("parse-stall", parse::stall, "input that is expensive to read, as others feel it"),
    attack!("to-repeated", routing::repeated, "one room named 256 times"),
    attack!("to-closed", routing::closed, "closed rooms, told from none by time"),
    attack!("drop-records", drop::records, "500 peers with 16 KiB records drop together"),
    attack!("drop-plain", drop::plain, "half of a large room drops together"),
    attack!("stopped-readers", stopped::readers, "members of a busy room stop reading"),
    attack!("stopped-newcomers", stopped::newcomers, "newcomers do not read a large roster"),
    attack!("dribble", stopped::dribble, "messages that never end"),
    attack!("slow-victim", slow::victim, "a stranger's large messages to a slow reader"),
    attack!("slow-victims", slow::variants, "by id, by arrays, by three, while it pauses"),
    attack!("silent-sockets", newcomers::silent, "silent connections from one address"),
    attack!("silent-addresses", newcomers::addresses, "silent connections from many addresses"),
    attack!("storm", newcomers::storm, "2 000 honest clients come at once"),
    attack!("gone", gone::gone, "more than the rate, then away"),
    attack!("stall", stall::stall, "the process stands still over all time limits"),
    attack!("log-pipe", log::pipe, "the log is a full pipe that nobody reads"),
    attack!("log-full", log::full, "the log cannot be written"),
    attack!("descriptors", log::descriptors, "no descriptor is left"),
    attack!("http-heads", http::heads, "heads over 16 KiB with frames in them"),
    attack!("http-requests", http::requests, "requests that must be refused"),
    attack!("http-kept", http::kept, "connections that idle after a health check"),
    attack!("http-slow", http::slow, "heads that never end"),
    attack!("forgery", forgery::forgery, "other spellings of from, to, type and data"),
    attack!("garbage", garbage::garbage, "random bytes, half frames, lies about lengths"),
    attack!("resets", garbage::resets, "connections that are reset in the middle"),
    attack!("deflate-bombs", deflate::bombs, "1 GiB in 1 MiB, and many of them"),
    attack!("deflate-limits", deflate::limits, "compressed texts at the limit and a byte over it"),
    attack!("deflate-storm", deflate::storm, "small compressed messages without end"),
    attack!("deflate-garbage", deflate::garbage, "what is no compressed message"),
    attack!("hooks-stuck", hooks::stuck, "a hook that never answers, asked without end"),
    attack!("hooks-panic", hooks::panics, "a hook that panics, asked without end"),
    attack!("hooks-slow", hooks::slow, "a hook that is slow, asked without end"),
    attack!("outbound-total", total::total, "many slow readers at once"),
    attack!(
        "webhook-away",
        webhook::away,
        "the receiver of webhooks is away while clients come and go"
    ),
];
