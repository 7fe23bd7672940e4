//! What panics is told from what cannot be started.

use std::{
    future::Future,
    io,
    net::{SocketAddr, TcpStream},
    task::{Context, Poll, ready},
};

use symple_driver::{
    ServerBuilder,
    runtime::{self, StdListener, StdSocket},
};

use crate::adapter::{Crashed, Runtime, StartError, THREADS, block_on};

/// The runtime cannot be started.
const NEVER_RUNS: u8 = 0;
/// The server's thread panics before the server has begun.
const PANICS_AT_THE_START: u8 = 1;
/// It panics when there is a connection.
const PANICS_LATER: u8 = 2;

/// A runtime with a fault.
#[derive(Clone)]
struct Broken<const FAULT: u8>(Runtime);

impl<const FAULT: u8> runtime::Runtime for Broken<FAULT> {
    type Listener = Listener;
    type Socket = <Runtime as runtime::Runtime>::Socket;
    type Timer = <Runtime as runtime::Runtime>::Timer;

    fn current() -> io::Result<Self> {
        <Runtime as runtime::Runtime>::current().map(Self)
    }

    fn run(&self, future: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        if FAULT == NEVER_RUNS {
            return Err(io::Error::other("out of descriptors"));
        }
        self.0.run(future)
    }

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(future);
    }

    fn listener(&self, listener: StdListener) -> io::Result<Listener> {
        assert_ne!(FAULT, PANICS_AT_THE_START, "as it should");
        self.0.listener(listener).map(Listener)
    }

    fn socket(&self, socket: StdSocket) -> io::Result<Self::Socket> {
        self.0.socket(socket)
    }

    fn adopt(&self, socket: Self::Socket) -> io::Result<Self::Socket> {
        self.0.adopt(socket)
    }

    fn timer(&self) -> Self::Timer {
        self.0.timer()
    }
}

/// A listener that panics when there is a connection.
struct Listener(<Runtime as runtime::Runtime>::Listener);

impl runtime::Listener for Listener {
    type Socket = <Runtime as runtime::Runtime>::Socket;

    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Self::Socket, Option<SocketAddr>)>> {
        let accepted = ready!(self.0.poll_accept(cx));
        panic!("as it should: {:?}", accepted.map(|(_, address)| address));
    }
}

fn builder<const FAULT: u8>() -> ServerBuilder<Broken<FAULT>> {
    let builder = ServerBuilder::new().bind("127.0.0.1:0");
    builder.configure(|config| config.threads = THREADS.try_into().unwrap())
}

/// A server whose thread panics has crashed, and whoever waits for it learns that.
#[test]
fn a_thread_that_panics() {
    let server = block_on(async { builder::<PANICS_LATER>().start() }).unwrap();
    let _client = TcpStream::connect(server.local_address()).unwrap();
    assert_eq!(block_on(server.wait()), Err(Crashed));
    assert!(block_on(server.handle().stats()).is_err());
}

/// A server that panics before it has begun does not start, and that is not said to be something
/// else.
#[test]
fn a_thread_that_panics_at_once() {
    let started = block_on(async { builder::<PANICS_AT_THE_START>().start() });
    assert!(matches!(started, Err(StartError::Crashed(Crashed))), "{started:?}");
}

/// A runtime that cannot be started is told of with the reason.
#[test]
fn a_runtime_that_cannot_be_started() {
    let started = block_on(async { builder::<NEVER_RUNS>().start() });
    let Err(StartError::Start(error)) = started else { panic!("{started:?}") };
    assert_eq!(error.to_string(), "out of descriptors");
}
