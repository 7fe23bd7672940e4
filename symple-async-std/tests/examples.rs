//! The examples, run: what they say that they do, they do.

#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(dead_code, reason = "the examples have a main")]

#[path = "../examples/helpdesk.rs"]
mod helpdesk;

use symple_async_std::{
    Client,
    client::{Event, Outgoing},
};

/// R-H2: guests talk to the desk, which answers, and to nobody else.
#[test]
fn a_help_desk() {
    async_std::task::block_on(async {
        let (server, desk) = helpdesk::serve("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", server.local_address());
        let false_desk = Client::builder(url.as_str()).user("desk").connect().await;
        assert!(false_desk.unwrap_err().to_string().contains("The desk has a token"));
        let (guest, mut events) = Client::builder(url).user("guest").connect().await.unwrap();
        let mut answers = Vec::new();
        for _ in 0..2 {
            let answer = guest.request(Outgoing::message("help!").to("desk")).await.unwrap();
            answers.push(answer.data().unwrap().as_str().unwrap().into_owned());
        }
        let ticket = |n| format!("Thank you. Your ticket is number {n}.");
        assert_eq!(answers, [ticket(1), ticket(2)]);
        guest.send(Outgoing::message("hello, all").to("help")).await.unwrap();
        loop {
            if let Event::Error { message, .. } = events.next().await.unwrap() {
                assert_eq!(&*message, "Talk to the desk");
                break;
            }
        }
        desk.close().await.unwrap();
    });
}
