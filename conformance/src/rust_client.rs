//! Our client against a server: what the application sees. It is held to the checks of
//! [`js_client`](crate::js_client()), as far as they make sense for it, and to what the other one
//! cannot do.

use std::{
    collections::BTreeSet, future::poll_fn, pin::Pin, sync::Arc, task::Poll, time::Duration,
};

use symple_driver::{Client, ClientBuilder, ClientEvents, transport::Connect};
use symple_engine::client::{
    CallConfig, CallEvent, Callee, Event, OfflinePolicy, OperationError, Outgoing, PeerRecord,
    QueueLimits, Signal,
};
use symple_proto::{Address, Fields, RawJson, RoutedType, Status};
use tokio::{
    sync::{Semaphore, SemaphorePermit, mpsc::UnboundedReceiver},
    time::timeout,
};

use crate::{
    js_client::{Check, groups, start_server},
    target::Target,
    world::{Host, Seen},
};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the original server fails an application that has our client: the check, and the
/// deviation that names the fault. They follow from the deviations.
pub const FAULTS_FOR_OUR_CLIENT: &[(&str, &str)] = &[
    ("leave: both are out of each other's rosters", "D-VISIBLE"),
    ("send: once, however many rooms are shared", "D-ONCE"),
    ("token: nobody else sees it, nor the address", "D-TOKEN"),
    ("locked: to join is refused with a status", "D-LOCKED"),
];

type Outcome = Result<(), String>;
type Run<R> = for<'a> fn(&'a mut World<R>) -> Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// Where a check takes place.
struct World<R> {
    host: Host,
    seen: UnboundedReceiver<Seen>,
    count: usize,
    runtime: std::marker::PhantomData<fn() -> R>,
}

/// An application with a client.
struct App<R> {
    client: Client<R>,
    events: ClientEvents,
    address: Address,
}

fn problem(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn holds(what: &str, holds: bool) -> Outcome {
    if holds { Ok(()) } else { Err(format!("not so: {what}")) }
}

/// Within a time that is enough for anything.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Result<T, String> {
    timeout(PATIENCE, future).await.map_err(|_| format!("not in time: {what}"))
}

impl<R: Connect> World<R> {
    /// A name that no other check has.
    fn fresh(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{what}{}", self.count)
    }

    fn builder(&self, user: &str, rooms: &[&str]) -> ClientBuilder<R> {
        let builder = Client::builder(format!("ws://{}", self.host.address)).user(user);
        let builder = builder.configure(|config| {
            config.calls = Some(CallConfig::default());
            config.offline = OfflinePolicy::Queue(QueueLimits::default());
            config.reconnect.start = Duration::from_millis(50);
            config.reconnect.cap = Duration::from_millis(500);
            config.reconnect.after_shutdown = Duration::from_millis(50);
        });
        rooms.iter().fold(builder, |builder, room| builder.room(*room))
    }

    async fn app(&mut self, what: &str, rooms: &[&str]) -> Result<App<R>, String> {
        let user = self.fresh(what);
        App::start(self.builder(&user, rooms)).await
    }

    /// Two who meet in a room: the first is there when the second comes.
    async fn pair(&mut self, room: &str) -> Result<(App<R>, App<R>), String> {
        let mut alice = self.app("alice", &[room]).await?;
        let bob = self.app("bob", &[room]).await?;
        alice.until_sees(&bob.address).await?;
        Ok((alice, bob))
    }

    /// Kills the server, and starts it again.
    async fn restart(&mut self) -> Outcome {
        self.host.kill()?;
        self.host.start_again().await
    }
}

impl<R: Connect> App<R> {
    async fn start(builder: ClientBuilder<R>) -> Result<Self, String> {
        let connecting = soon("the client is online", builder.connect()).await?;
        let (client, events) = connecting.map_err(problem)?;
        let peer = client.peer().await.map_err(problem)?.ok_or("it is nobody")?;
        let mut app = Self { client, events, address: peer.address() };
        app.until("the roster is whole", |event| matches!(event, Event::RosterComplete)).await?;
        Ok(app)
    }

    async fn until(
        &mut self,
        what: &str,
        mut is_it: impl FnMut(&Event) -> bool,
    ) -> Result<Event, String> {
        let search = async {
            loop {
                let event = self.events.next().await.ok_or("the client has ended")?;
                if is_it(&event) {
                    return Ok(event);
                }
            }
        };
        soon(what, search).await?
    }

    async fn peers(&self) -> Result<Vec<Arc<PeerRecord>>, String> {
        self.client.roster().await.map_err(problem)
    }

    async fn peer(&self, id: &str) -> Result<Option<Arc<PeerRecord>>, String> {
        Ok(self.peers().await?.into_iter().find(|peer| **peer.id() == *id))
    }

    async fn sees(&self, other: &Address) -> Result<bool, String> {
        Ok(self.peer(&other.id).await?.is_some())
    }

    /// Waits until what is known of somebody is so.
    async fn until_peer(
        &mut self,
        what: &str,
        other: &Address,
        is_so: impl Fn(Option<&PeerRecord>) -> bool,
    ) -> Outcome {
        let wait = async {
            while !is_so(self.peer(&other.id).await?.as_deref()) {
                self.events.next().await.ok_or("the client has ended")?;
            }
            Ok(())
        };
        soon(what, wait).await?
    }

    async fn until_sees(&mut self, other: &Address) -> Outcome {
        self.until_peer("the other one is seen", other, |peer| peer.is_some()).await
    }

    async fn send(&self, frame: Outgoing) -> Outcome {
        self.client.send(frame).await.map_err(problem)
    }

    /// Everything that `from` sent before has arrived.
    async fn texts_until_mark(&mut self, from: &Self, mark: &str) -> Result<Vec<String>, String> {
        from.send(Outgoing::message(mark).to(&self.address)).await?;
        let mut texts = Vec::new();
        loop {
            let event = self.until("what was sent last arrives", is_text).await?;
            let text = text_of(&event).unwrap_or_default();
            if text == mark {
                return Ok(texts);
            }
            texts.push(text);
        }
    }

    async fn next_call(&mut self) -> Result<CallEvent, String> {
        match self.until("something of a call", |event| matches!(event, Event::Call(_))).await? {
            Event::Call(event) => Ok(event),
            _ => Err("no call".into()),
        }
    }
}

fn text_of(event: &Event) -> Option<String> {
    let Event::Frame(frame) = event else { return None };
    if frame.kind() != RoutedType::Message {
        return None;
    }
    Some(frame.data()?.as_str()?.into_owned())
}

fn is_text(event: &Event) -> bool {
    text_of(event).is_some()
}

/// Drives our client on a runtime against servers of the target that are set up for it, and
/// reports each check.
///
/// # Errors
/// A server does not start: the checks behind it are missing.
pub async fn rust_client<R: Connect>(
    target: &Target,
    mut report: impl FnMut(&Check),
) -> Result<Vec<Check>, String> {
    let kind = target.kind().map_err(problem)?;
    let mut checks = Vec::new();
    for (group, header) in groups(&kind) {
        let Some((host, seen)) = start_server(&kind, &header).await? else { continue };
        let mut world = World { host, seen, count: 0, runtime: std::marker::PhantomData };
        let elsewhere = matches!(target, Target::Url(_));
        for (name, restarts, run) in checks_of::<R>(group) {
            if *restarts && elsewhere {
                continue;
            }
            let run = timeout(3 * PATIENCE, run(&mut world)).await;
            let failure = run.unwrap_or_else(|_| Err("it takes too long".into())).err();
            let check = Check { name: (*name).into(), failure };
            report(&check);
            checks.push(check);
        }
        let _ = world.host.kill();
    }
    Ok(checks)
}

/// A check: its name, whether it stops the server, and what it does.
type Entry<R> = (&'static str, bool, Run<R>);

fn checks_of<R: Connect>(group: &str) -> &'static [Entry<R>] {
    match group {
        "open" => {
            const {
                &[
                    ("connect: the client is online, with an id", false, |w| Box::pin(online(w))),
                    ("roster: those who are there see who joins", false, |w| {
                        Box::pin(who_joins(w))
                    }),
                    ("roster: who joins late sees those who are there", false, |w| {
                        Box::pin(late(w))
                    }),
                    ("roster: who joins long after it connected is seen", false, |w| {
                        Box::pin(long_after(w))
                    }),
                    ("leave: both are out of each other's rosters", false, |w| Box::pin(leave(w))),
                    ("disconnect: the others are told once", false, |w| Box::pin(disconnect(w))),
                    ("send: to a room", false, |w| Box::pin(to_a_room(w))),
                    ("send: to a peer, a user and an address", false, |w| Box::pin(to_a_peer(w))),
                    ("send: once, however many rooms are shared", false, |w| Box::pin(once(w))),
                    ("send: nested data and all scripts of the world survive", false, |w| {
                        Box::pin(nested(w))
                    }),
                    ("send: commands and events", false, |w| Box::pin(commands(w))),
                    ("respond: an answer finds its way", false, |w| Box::pin(respond(w))),
                    ("request: ends when the other side is gone", false, |w| Box::pin(gone(w))),
                    ("presence: what a peer tells of itself is in the rosters", false, |w| {
                        Box::pin(record(w))
                    }),
                    ("presence: who comes later is told, too", false, |w| Box::pin(told_later(w))),
                    ("capabilities: are known to the others, and can be taken back", false, |w| {
                        Box::pin(capabilities(w))
                    }),
                    ("call: from init to hangup", false, |w| Box::pin(call(w))),
                    ("shutdown: the application is told", true, |w| Box::pin(shutdown(w))),
                    ("reconnect: after a restart the client is online again", true, |w| {
                        Box::pin(again(w))
                    }),
                    ("reconnect: after a restart the rosters are right again", true, |w| {
                        Box::pin(rosters_again(w))
                    }),
                    ("queue: what is said while the server is away is said later", true, |w| {
                        Box::pin(queue(w))
                    }),
                ]
            }
        }
        "tokens" => {
            const {
                &[
                    ("token: the right one gives the rooms behind it", false, |w| {
                        Box::pin(good(w))
                    }),
                    ("token: the wrong one gives an error, and ends it", false, |w| {
                        Box::pin(wrong(w))
                    }),
                    ("token: nobody else sees it, nor the address", false, |w| Box::pin(secret(w))),
                ]
            }
        }
        _ => {
            const { &[("locked: to join is refused with a status", false, |w| Box::pin(locked(w)))] }
        }
    }
}

async fn online<R: Connect>(world: &mut World<R>) -> Outcome {
    let alice = world.app("alice", &[]).await?;
    holds("there is an id", alice.address.id.len() >= 10)?;
    holds("it is not in its own roster", !alice.sees(&alice.address).await?)
}

async fn who_joins<R: Connect>(world: &mut World<R>) -> Outcome {
    let room = world.fresh("room");
    let (alice, bob) = world.pair(&room).await?;
    let known = alice.peer(&bob.address.id).await?;
    holds("with its name", known.is_some_and(|peer| peer.name() == &*bob.address.user))
}

async fn late<R: Connect>(world: &mut World<R>) -> Outcome {
    let room = world.fresh("room");
    let (alice, mut bob) = world.pair(&room).await?;
    bob.until_sees(&alice.address).await
}

async fn long_after<R: Connect>(world: &mut World<R>) -> Outcome {
    let room = world.fresh("room");
    let mut alice = world.app("alice", &[&room]).await?;
    let mut bob = world.app("bob", &[]).await?;
    bob.client.join(&room).await.map_err(problem)?;
    alice.until_sees(&bob.address).await?;
    bob.until_sees(&alice.address).await
}

async fn leave<R: Connect>(world: &mut World<R>) -> Outcome {
    let room = world.fresh("room");
    let (mut alice, mut bob) = world.pair(&room).await?;
    bob.client.leave(&room).await.map_err(problem)?;
    alice.until_peer("it is gone", &bob.address, |peer| peer.is_none()).await?;
    bob.until_peer("it is gone", &alice.address, |peer| peer.is_none()).await
}

async fn disconnect<R: Connect>(world: &mut World<R>) -> Outcome {
    let room = world.fresh("room");
    let (mut alice, bob) = world.pair(&room).await?;
    bob.client.close().await.map_err(problem)?;
    alice.until("it is gone", |event| matches!(event, Event::PeerOffline(_))).await?;
    holds("nobody is left", alice.peers().await?.is_empty())
}

async fn to_a_room<R: Connect>(world: &mut World<R>) -> Outcome {
    let room = world.fresh("room");
    let (mut alice, mut bob) = world.pair(&room).await?;
    alice.send(Outgoing::message("hello").to(&*room)).await?;
    holds("it arrives", bob.texts_until_mark(&alice, "mark").await? == ["hello"])?;
    holds("nothing comes back", alice.texts_until_mark(&bob, "mark").await?.is_empty())
}

async fn to_a_peer<R: Connect>(world: &mut World<R>) -> Outcome {
    let room = world.fresh("room");
    let (alice, mut bob) = world.pair(&room).await?;
    let peer = alice.peer(&bob.address.id).await?.ok_or("the other one is not known")?;
    alice.send(Outgoing::message("peer").to(peer.address())).await?;
    alice.send(Outgoing::message("user").to(bob.address.user.as_str())).await?;
    alice.send(Outgoing::message("address").to(&*bob.address.to_string())).await?;
    let texts = bob.texts_until_mark(&alice, "mark").await?;
    holds("in order", texts == ["peer", "user", "address"])
}

async fn once<R: Connect>(world: &mut World<R>) -> Outcome {
    let (one, two) = (world.fresh("room"), world.fresh("room"));
    let (alice, mut bob) = world.pair(&one).await?;
    for app in [&alice, &bob] {
        app.client.join(&two).await.map_err(problem)?;
    }
    alice.send(Outgoing::message("once")).await?;
    alice.client.flush().await.map_err(problem)?;
    holds("it arrives once", bob.texts_until_mark(&alice, "mark").await? == ["once"])
}

async fn nested<R: Connect>(world: &mut World<R>) -> Outcome {
    let room = world.fresh("room");
    let (alice, mut bob) = world.pair(&room).await?;
    let text = r#"{"list":[1,-0.5,null,true,{"deep":["ÿ","日本語","🦀","\u0000"]}],"":""}"#;
    let data = RawJson::parse(text).map_err(problem)?;
    let frame = Outgoing::message(data.clone()).with("extra", data);
    alice.send(frame.to(&bob.address)).await?;
    let is_it =
        |event: &Event| matches!(event, Event::Frame(frame) if frame.get("extra").is_some());
    let Event::Frame(frame) = bob.until("it arrives", is_it).await? else {
        return Err("no frame".into());
    };
    let same = |member| {
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
        frame.get(member).is_some_and(|found| value(found.text()) == value(text))
    };
    holds("unchanged", same("data") && same("extra"))
}

async fn commands<R: Connect>(world: &mut World<R>) -> Outcome {
    let room = world.fresh("room");
    let (alice, mut bob) = world.pair(&room).await?;
    alice.send(Outgoing::command("camera:on", "start").to(&bob.address)).await?;
    alice.send(Outgoing::event("moved").to(&bob.address)).await?;
    let command = |event: &Event| matches!(event, Event::Frame(f) if f.is_command("camera:*"));
    bob.until("the command", command).await?;
    let moved = |event: &Event| matches!(event, Event::Frame(f) if f.get_str("name").as_deref() == Some("moved"));
    bob.until("the event", moved).await.map(drop)
}

async fn respond<R: Connect>(world: &mut World<R>) -> Outcome {
    let room = world.fresh("room");
    let (alice, mut bob) = world.pair(&room).await?;
    let question = Outgoing::message("ping").to(&bob.address);
    let answering = async {
        let event = bob.until("the question", is_text).await?;
        let Event::Frame(frame) = event else { return Err("no frame".to_owned()) };
        holds("from a peer of the roster", frame.peer().is_some())?;
        bob.client.respond(&frame, "pong").await.map_err(problem)
    };
    let asking = alice.client.request(question);
    let (answered, answer) = tokio::join!(answering, asking);
    answered?;
    let answer = answer.map_err(problem)?;
    holds("the answer", answer.data().is_some_and(|data| data.as_str().as_deref() == Some("pong")))
}

async fn gone<R: Connect>(world: &mut World<R>) -> Outcome {
    let room = world.fresh("room");
    let (alice, mut bob) = world.pair(&room).await?;
    let question = Outgoing::message("ping").to(&bob.address);
    let leaving = async {
        bob.until("the question", is_text).await?;
        bob.client.close().await.map_err(problem)
    };
    let asking = alice.client.request(question);
    let (left, answer) = tokio::join!(leaving, asking);
    left?;
    let offline = symple_driver::ClientError::Operation(OperationError::PeerOffline);
    holds("it is told why", answer.err() == Some(offline))
}

async fn record<R: Connect>(world: &mut World<R>) -> Outcome {
    let room = world.fresh("room");
    let (mut alice, bob) = world.pair(&room).await?;
    away(&bob).await?;
    alice.until_peer("it is there", &bob.address, is_away).await
}

async fn away<R: Connect>(app: &App<R>) -> Outcome {
    let record = Fields::new().with("status", "away");
    app.client.set_record(record).await.map_err(problem)
}

fn is_away(peer: Option<&PeerRecord>) -> bool {
    let status = peer.and_then(|peer| peer.get("status"));
    status.is_some_and(|status| status.as_str().as_deref() == Some("away"))
}

async fn told_later<R: Connect>(world: &mut World<R>) -> Outcome {
    let room = world.fresh("room");
    let (mut alice, bob) = world.pair(&room).await?;
    away(&bob).await?;
    alice.until_peer("it is there", &bob.address, is_away).await?;
    let mut carol = world.app("carol", &[&room]).await?;
    carol.until_peer("it is known", &bob.address, is_away).await
}

async fn capabilities<R: Connect>(world: &mut World<R>) -> Outcome {
    let room = world.fresh("room");
    let (mut alice, bob) = world.pair(&room).await?;
    let tell = async |capabilities: &str| {
        let capabilities = RawJson::parse(capabilities).map_err(problem)?;
        let record = Fields::new().with("capabilities", capabilities);
        bob.client.update_record(record).await.map_err(problem)
    };
    tell(r#"{"video":true,"resolution":"1080p"}"#).await?;
    let known = |peer: Option<&PeerRecord>| peer.is_some_and(|peer| peer.has_capability("video"));
    alice.until_peer("they are known", &bob.address, known).await?;
    let peer = alice.peer(&bob.address.id).await?.ok_or("it is gone")?;
    let resolution = peer.capability("resolution");
    holds("with values", resolution.is_some_and(|value| value.text() == r#""1080p""#))?;
    tell(r#"{"resolution":"1080p"}"#).await?;
    let gone = |peer: Option<&PeerRecord>| peer.is_some_and(|peer| !peer.has_capability("video"));
    alice.until_peer("it is taken back", &bob.address, gone).await
}

async fn call<R: Connect>(world: &mut World<R>) -> Outcome {
    let room = world.fresh("room");
    let (mut alice, mut bob) = world.pair(&room).await?;
    let callee = Callee::User(bob.address.user.clone());
    let mine = alice.client.call(callee, None).await.map_err(problem)?;
    let CallEvent::Incoming { call: theirs, .. } = bob.next_call().await? else {
        return Err("it does not ring".into());
    };
    bob.client.accept(theirs, None).await.map_err(problem)?;
    holds("taken", matches!(bob.next_call().await?, CallEvent::Accepted { offers: false, .. }))?;
    holds("taken", matches!(alice.next_call().await?, CallEvent::Accepted { offers: true, .. }))?;
    alice.client.signal(mine, Signal::offer("v=0\r\n")).await.map_err(problem)?;
    let offer = bob.next_call().await?;
    holds("an offer", matches!(offer, CallEvent::Signal { signal: Signal::Offer(_), .. }))?;
    bob.client.signal(theirs, Signal::answer("v=0\r\n")).await.map_err(problem)?;
    let answer = alice.next_call().await?;
    holds("an answer", matches!(answer, CallEvent::Signal { signal: Signal::Answer(_), .. }))?;
    bob.client.hang_up(theirs, None).await.map_err(problem)?;
    holds("it is over", matches!(alice.next_call().await?, CallEvent::Ended { .. }))
}

/// Waits until the server has ended, as far as that can be seen.
async fn ended<R>(world: &mut World<R>) {
    let _ = timeout(PATIENCE, world.seen.recv()).await;
}

async fn shutdown<R: Connect>(world: &mut World<R>) -> Outcome {
    let mut alice = world.app("alice", &[]).await?;
    world.host.shut_down().await?;
    let told = alice.until("it is told", |event| matches!(event, Event::Shutdown)).await;
    ended(world).await;
    world.host.start_again().await?;
    told?;
    alice.until("online again", |event| matches!(event, Event::Online { .. })).await.map(drop)
}

async fn again<R: Connect>(world: &mut World<R>) -> Outcome {
    let room = world.fresh("room");
    let mut alice = world.app("alice", &[&room]).await?;
    let extra = world.fresh("room");
    alice.client.join(&extra).await.map_err(problem)?;
    world.restart().await?;
    let online = alice.until("online again", |e| matches!(e, Event::Online { .. })).await?;
    let Event::Online { peer, .. } = online else { return Err("not online".into()) };
    holds("with another id", peer.id != alice.address.id)?;
    alice.until("it knows who is there", |e| matches!(e, Event::RosterComplete)).await?;
    alice.client.flush().await.map_err(problem)?;
    let bob = world.app("bob", &[&room, &extra]).await?;
    bob.send(Outgoing::message("in the first").to(&*room)).await?;
    bob.send(Outgoing::message("in the second").to(&*extra)).await?;
    let mut heard = BTreeSet::new();
    while heard.len() < 2 {
        let event = alice.until("in its rooms again", is_text).await?;
        heard.extend(text_of(&event));
    }
    Ok(())
}

async fn rosters_again<R: Connect>(world: &mut World<R>) -> Outcome {
    let room = world.fresh("room");
    let (mut alice, mut bob) = world.pair(&room).await?;
    let carol = world.app("carol", &[&room]).await?;
    alice.until_sees(&carol.address).await?;
    world.host.kill()?;
    // One does not come back.
    let _ = carol.client.close().await;
    world.host.start_again().await?;
    for app in [&mut alice, &mut bob] {
        let online = app.until("online again", |e| matches!(e, Event::Online { .. })).await?;
        let Event::Online { peer, .. } = online else { return Err("not online".into()) };
        app.address = peer.address();
    }
    let (first, second) = (alice.address.clone(), bob.address.clone());
    alice.until_sees(&second).await?;
    bob.until_sees(&first).await?;
    for (app, other) in [(&mut alice, second), (&mut bob, first)] {
        let wait = async {
            loop {
                let peers = app.peers().await?;
                if peers.len() == 1 && *peers[0].address() == other {
                    return Ok::<_, String>(());
                }
                app.events.next().await.ok_or("the client has ended")?;
            }
        };
        soon("there is nobody else", wait).await??;
    }
    Ok(())
}

async fn queue<R: Connect>(world: &mut World<R>) -> Outcome {
    let room = world.fresh("room");
    let mut bob = world.app("bob", &[&room]).await?;
    // Alice comes back when she is let, so that somebody is there who hears her.
    let gate = Arc::new(Semaphore::new(1));
    let waits = Arc::clone(&gate);
    let user = world.fresh("alice");
    let alice = world.builder(&user, &[&room]).token_with(move |_| {
        let waits = Arc::clone(&waits);
        async move { waits.acquire().await.map(SemaphorePermit::forget).map(|()| None) }
    });
    let mut alice = App::start(alice).await?;
    world.host.kill()?;
    for app in [&mut alice, &mut bob] {
        app.until("it is told", |event| matches!(event, Event::Disconnected { .. })).await?;
    }
    holds("it is told that it cannot be known", alice.client.flush().await.is_err())?;
    let mut sends: Vec<_> = (0..10)
        .map(|n| Box::pin(alice.client.send(Outgoing::message(format!("{n}").as_str()).to(&*room))))
        .collect();
    // All of them wait, in this order, before there is a server.
    poll_fn(|cx| {
        let done = sends.iter_mut().any(|send| send.as_mut().poll(cx).is_ready());
        Poll::Ready(if done { Err("one is done at once") } else { Ok(()) })
    })
    .await?;
    world.host.start_again().await?;
    bob.until("bob is back", |event| matches!(event, Event::Online { .. })).await?;
    gate.add_permits(1);
    for n in 0..10 {
        let heard = bob.until("it is heard", is_text).await?;
        holds("in order, and once", text_of(&heard) == Some(n.to_string()))?;
    }
    let sent = async {
        for send in &mut sends {
            send.await.map_err(problem)?;
        }
        Ok::<_, String>(())
    };
    soon("all are sent", sent).await??;
    alice.client.flush().await.map_err(problem)
}

async fn good<R: Connect>(world: &mut World<R>) -> Outcome {
    let (alice, bob) = (world.fresh("alice"), world.fresh("bob"));
    let alice = App::start(world.builder(&alice, &[]).token("good")).await?;
    let mut bob = App::start(world.builder(&bob, &[]).token("good")).await?;
    alice.send(Outgoing::message("team").to("team")).await?;
    bob.until("it arrives", |event| text_of(event).as_deref() == Some("team")).await.map(drop)
}

async fn wrong<R: Connect>(world: &mut World<R>) -> Outcome {
    let user = world.fresh("mallory");
    let refused = soon("refused", world.builder(&user, &[]).token("wrong").connect()).await?;
    let message = refused.err().map(problem).unwrap_or_default();
    holds("it is refused", message.contains("refused") || message.contains("4401"))
}

async fn secret<R: Connect>(world: &mut World<R>) -> Outcome {
    let (alice, bob) = (world.fresh("alice"), world.fresh("bob"));
    let mut alice = App::start(world.builder(&alice, &[]).token("good")).await?;
    let bob = App::start(world.builder(&bob, &[]).token("good")).await?;
    // What a server tells first is soon replaced by what the client tells of itself, so all of it is
    // looked at, up to what bob says last.
    bob.send(Outgoing::message("mark").to(&alice.address)).await?;
    let mut told = Vec::new();
    alice
        .until("what was sent last arrives", |event| {
            if let Event::PeerOnline(peer) | Event::PeerUpdated(peer) = event {
                told.push(peer.clone());
            }
            is_text(event)
        })
        .await?;
    let told: Vec<_> = told.iter().filter(|peer| *peer.id() == *bob.address.id).collect();
    holds("it is seen", !told.is_empty())?;
    for peer in told {
        let known = peer.data().text();
        holds("no token", !known.contains("\"token\""))?;
        holds("no address", !known.contains("127.0.0.1"))?;
    }
    Ok(())
}

async fn locked<R: Connect>(world: &mut World<R>) -> Outcome {
    let alice = world.app("alice", &[]).await?;
    match soon("an answer", alice.client.join("room")).await? {
        Err(symple_driver::ClientError::Operation(OperationError::Refused { status, .. })) => {
            holds("with its status", status == Some(Status(403)))
        }
        other => Err(format!("not refused: {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use symple_tokio::Tokio;

    use super::*;
    use crate::deviation;

    #[test]
    fn faults_are_faults_of_checks() {
        let groups = ["open", "tokens", "locked"];
        let names: Vec<_> =
            groups.iter().flat_map(|group| checks_of::<Tokio>(group)).map(|c| c.0).collect();
        for (check, id) in FAULTS_FOR_OUR_CLIENT {
            assert!(names.contains(check), "there is no check '{check}'");
            assert!(deviation::find(id).is_some(), "there is no deviation {id}");
        }
    }
}
