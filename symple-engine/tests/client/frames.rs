//! Every kind of frame that the machine sends, as it goes over the wire.

use std::fmt::Write as _;

use symple_engine::{Timestamp, client::*, server::Text};
use symple_proto::{CloseCode, Fields, RawJson, Token};

/// A client with a connection, and what it has sent so far.
struct Wire {
    client: Client,
    conn: Option<ConnectionId>,
    operations: u64,
    calls: Vec<CallId>,
    log: String,
}

impl Wire {
    fn new(config: Config) -> Self {
        let mut counter = 0_u8;
        let client = Client::new(config, move |bytes: &mut [u8]| {
            counter = counter.wrapping_add(1);
            bytes.fill(counter);
        });
        Self { client, conn: None, operations: 0, calls: Vec::new(), log: String::new() }
    }

    /// Tells the client something, under a heading, and writes down what it sends.
    fn tell(&mut self, heading: &str, input: Input) {
        writeln!(self.log, "# {heading}").unwrap();
        self.client.handle(Timestamp::ZERO, input);
        while let Some(action) = self.client.poll_action() {
            match action {
                Action::Connect { conn } => self.conn = Some(conn),
                Action::Send { text } => writeln!(self.log, "{}", &*text).unwrap(),
                Action::Ping => writeln!(self.log, "(ping)").unwrap(),
                Action::Close { code, reason, .. } => {
                    writeln!(self.log, "(close {code:?} {reason:?})").unwrap();
                }
                // What the server has not answered fails when the client closes.
                Action::Finish { id, result: Err(error) } => {
                    writeln!(self.log, "(operation {}: {error})", id.0).unwrap();
                }
                Action::Finish { result: Ok(Reply::Call(call)), .. } => self.calls.push(call),
                Action::Event(Event::Call(CallEvent::Incoming { call, .. })) => {
                    self.calls.push(call);
                }
                Action::Finish { .. } | Action::Event(_) => {}
                Action::AskToken { .. } => panic!("{heading}: the token is fixed"),
            }
        }
    }

    fn operate(&mut self, heading: &str, operation: Operation) {
        self.operations += 1;
        self.tell(heading, Input::Operation { id: OperationId(self.operations), operation });
    }

    fn receive(&mut self, heading: &str, text: &str) {
        let conn = self.conn.unwrap();
        self.tell(heading, Input::Text { conn, text: Text::from(text.to_owned()) });
    }
}

/// R-A1, R-A8, R-A9, R-M1, R-P4: what a client sends, of each kind once.
#[test]
fn every_frame_that_is_sent() {
    let mut config = Config::new("alice".parse().unwrap());
    config.name = Some("Alice".into());
    config.token = TokenSource::Fixed(Token::new("secret").unwrap());
    config.auth_data = Some(RawJson::parse(r#"{"device":"phone"}"#).unwrap());
    config.extensions = vec!["state".into()];
    config.rooms = vec!["lobby".parse().unwrap()];
    config.record = Fields::new().with("status", "here");
    config.calls = Some(CallConfig::default());

    let mut wire = Wire::new(config);
    wire.operate("connect", Operation::Connect);
    let conn = wire.conn.unwrap();
    wire.tell("opened", Input::Opened { conn });
    wire.receive(
        "welcome",
        r#"{"type":"welcome","protocol":"symple/4","status":200,"peer":{"user":"alice","id":"7gf","name":"Alice","online":true},"rooms":["alice","lobby"]}"#,
    );
    wire.receive(
        "a peer asks who is there",
        r#"{"type":"presence","from":"bob|1","probe":true,"data":{"user":"bob","id":"1","name":"bob","online":true}}"#,
    );

    let message = Outgoing::message("hello");
    wire.operate("message to everyone", Operation::Send(message.clone()));
    wire.operate("message to a room", Operation::Send(message.clone().to("lobby")));
    wire.operate("message with an id", Operation::Send(message.clone().id("mine")));
    let command = Outgoing::command("camera:front", "start").to("bob|1");
    wire.operate("command to a peer", Operation::Send(command));
    let event = Outgoing::event("rain").subtype("heavy").data(true);
    wire.operate("event", Operation::Send(event));
    let frame = message.to("bob|1").id("question");
    wire.operate("request", Operation::Request { frame, timeout: None });
    wire.operate("flush", Operation::Flush);
    wire.operate("join", Operation::Join("den".parse().unwrap()));
    wire.operate("leave", Operation::Leave("lobby".parse().unwrap()));
    wire.operate("set record", Operation::SetRecord(Fields::new().with("mood", "fine")));
    wire.operate("update record", Operation::UpdateRecord(Fields::new().with("busy", true)));
    wire.operate("refresh", Operation::Refresh(Token::new("newer").unwrap()));

    let callee = Callee::Peer("bob|1".parse().unwrap());
    wire.operate("call", Operation::Call { callee, data: None });
    wire.receive(
        "the call is taken",
        r#"{"type":"message","subtype":"call:accept","from":"bob|1","to":"alice|7gf","data":{}}"#,
    );
    let call = wire.calls[0];
    let signals = [
        ("offer", Signal::offer("v=0\r\n")),
        ("answer", Signal::answer("v=0\r\n")),
        ("candidate", Signal::candidate("candidate:1", Some("0"), Some(0))),
        ("candidate without a place", Signal::candidate("candidate:2", None, None)),
    ];
    for (heading, signal) in signals {
        wire.operate(heading, Operation::Signal { call, signal });
    }
    wire.operate("hang up", Operation::HangUp { call, reason: None });

    let ring =
        r#"{"type":"message","subtype":"call:init","from":"bob|1","to":"alice|7gf","data":{}}"#;
    wire.receive("a call comes in", ring);
    let call = wire.calls[1];
    wire.operate("accept", Operation::Accept { call, data: None });
    wire.operate("hang up with a reason", Operation::HangUp { call, reason: Some("tea".into()) });
    wire.receive("another call comes in", ring);
    let call = wire.calls[2];
    wire.operate("reject", Operation::Reject { call, reason: None });

    let callee = Callee::User("bob".parse().unwrap());
    wire.receive(
        "a user has another session",
        r#"{"type":"presence","from":"bob|2","data":{"user":"bob","id":"2","name":"bob","online":true}}"#,
    );
    wire.operate("call a user", Operation::Call { callee, data: None });
    wire.receive(
        "one session takes the call, the other is told",
        r#"{"type":"message","subtype":"call:accept","from":"bob|1","to":"alice|7gf","data":{}}"#,
    );
    wire.receive("it calls while there is a call", ring);

    wire.operate("close", Operation::Close);
    let closed = Input::Closed { conn, code: CloseCode::NORMAL, reason: "".into() };
    wire.tell("closed", closed);
    insta::assert_snapshot!(wire.log);
}

/// However many questions the server has left open, there is room for a goodbye.
#[test]
fn a_client_can_always_close() {
    let mut wire = Wire::new(Config::new("alice".parse().unwrap()));
    wire.operate("connect", Operation::Connect);
    let conn = wire.conn.unwrap();
    wire.tell("opened", Input::Opened { conn });
    wire.receive(
        "welcome",
        r#"{"type":"welcome","protocol":"symple/4","status":200,"peer":{"user":"alice","id":"7gf","name":"Alice","online":true},"rooms":["alice"]}"#,
    );
    for _ in 0..1100 {
        wire.operate("flush", Operation::Flush);
        // Nobody waits for it any more; the server may still answer.
        wire.tell("cancel", Input::Cancel { id: OperationId(wire.operations) });
    }
    assert!(wire.log.contains("operation 1100: "), "the limit is reached");
    wire.log.clear();
    wire.operate("close", Operation::Close);
    assert!(wire.log.contains("(close CloseCode(1000)"), "{}", wire.log);
}
