//! What is recorded can be replayed.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use symple_conformance::{
    Event, Frame, RunOptions, Transcript, Verdict, deviation::Declarations, record, run_all,
};
use symple_tokio::ServerBuilder;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, protocol::CloseFrame},
};

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn receive(client: &mut Client, what: &str) {
    loop {
        let next = timeout(Duration::from_secs(10), client.next()).await;
        match next {
            Ok(Some(Ok(message))) if message.to_string().contains(what) => return,
            Ok(Some(Ok(_))) => {}
            other => panic!("{what}: {other:?}"),
        }
    }
}

async fn join(url: &str, user: &str) -> Client {
    let (mut client, _) = connect_async(url).await.unwrap();
    let auth = format!(r#"{{"type":"auth","user":"{user}","rooms":["r"]}}"#);
    client.send(Message::text(auth)).await.unwrap();
    receive(&mut client, "welcome").await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_session_is_replayed() {
    let server = ServerBuilder::new().bind("127.0.0.1:0").start().unwrap();
    let upstream = format!("ws://{}", server.local_address());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("ws://{}", listener.local_addr().unwrap());
    let (end, ended) = oneshot::channel();
    let recording = tokio::spawn(async move {
        record(listener, &upstream, async { drop(ended.await) }).await.unwrap()
    });

    let mut alice = join(&proxy, "alice").await;
    let mut bob = join(&proxy, "bob").await;
    receive(&mut alice, r#""online":true"#).await;
    for n in 0..3 {
        let text = format!(r#"{{"type":"message","to":"bob","data":{n}}}"#);
        alice.send(Message::text(text)).await.unwrap();
    }
    receive(&mut bob, r#""data":2"#).await;
    bob.send(Message::Ping("are you there".into())).await.unwrap();
    bob.send(Message::binary(r#"{"type":"join","room":"s"}"#)).await.unwrap();
    receive(&mut bob, "join:ok").await;
    // Bob again, who then says goodbye, and one who is sent away.
    let mut again = join(&proxy, "bob").await;
    again.close(Some(CloseFrame { code: 1000.into(), reason: "".into() })).await.unwrap();
    receive(&mut alice, r#""online":false"#).await;
    let (mut nobody, _) = connect_async(&proxy).await.unwrap();
    nobody.send(Message::text("{}")).await.unwrap();
    receive(&mut nobody, "401").await;
    while let Some(Ok(_)) = nobody.next().await {}
    drop(bob);
    receive(&mut alice, r#""online":false"#).await;
    end.send(()).unwrap();
    let events = recording.await.unwrap();

    let count = |is: fn(&Event) -> bool| events.iter().filter(|event| is(event)).count();
    assert_eq!(count(|event| matches!(event, Event::Connect(..))), 4);
    assert_eq!(count(|event| matches!(event, Event::Pong(..))), 1);
    assert!(events.contains(&Event::ClientClose("bob-2".into(), 1000)));
    assert!(events.contains(&Event::ClientClose("bob".into(), 1006)));
    assert!(events.contains(&Event::ServerClose("client-3".into(), 4401)));
    let sent = Frame::Text(r#"{"type":"message","to":"bob","data":2}"#.into());
    assert!(events.contains(&Event::Send("alice".into(), sent)));

    let mut transcript = Transcript::built_in().unwrap().remove(0);
    transcript.header.name = "recorded".into();
    transcript.events = events;
    let text = transcript.to_text();
    let again = Transcript::parse(&transcript.path, &text).unwrap();
    for target in ["engine", "tokio"] {
        let target = target.parse().unwrap();
        let declarations = Declarations::default().into();
        let results =
            run_all(&target, vec![again.clone()], declarations, RunOptions::default(), |_, _| {})
                .await;
        let shortened = match &results[0].1 {
            Verdict::Passed { shortened, .. } => *shortened,
            _ => 0,
        };
        assert_eq!(
            results[0].1,
            Verdict::Passed { because: vec![], shortened },
            "{target}\n{text}"
        );
    }
}
