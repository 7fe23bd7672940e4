//! A link to Redis that carries so much and no more.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
    time::sleep_until,
};

/// How many bytes travel at once.
const CHUNK: usize = 16 * 1024;
/// How much later than it could have something may travel without having lost its place.
const CREDIT: Duration = Duration::from_millis(10);
/// What the kernel keeps of what has not been read: a link has no megabytes in it.
const BUFFER: u32 = 64 * 1024;

/// A proxy; it ends with this value. All its connections share what it carries, each way.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy to that port for so many bits a second each way.
    pub(crate) fn start(to: u16, bits_per_second: u64) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(BUFFER)?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let listener = socket.listen(64)?;
        let port = listener.local_addr()?.port();
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, to));
        Ok(Self { port, task: tokio::spawn(serve(listener, to, bits_per_second / 8)) })
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, to: SocketAddr, bytes_per_second: u64) {
    let (there, back) = (Pace::new(bytes_per_second), Pace::new(bytes_per_second));
    while let Ok((near, _)) = listener.accept().await {
        let (there, back) = (there.clone(), back.clone());
        tokio::spawn(async move {
            let Ok(far) = connect(to).await else { return };
            let _ = near.set_nodelay(true);
            let (near_read, near_write) = near.into_split();
            let (far_read, far_write) = far.into_split();
            let there = tokio::spawn(carry(near_read, far_write, there));
            carry(far_read, near_write, back).await;
            there.abort();
        });
    }
}

async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(BUFFER)?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, pace: Pace) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        pace.take(count).await;
        if to.write_all(&chunk[..count]).await.is_err() {
            return;
        }
    }
}

/// When the next byte may travel.
#[derive(Clone)]
struct Pace {
    next: Arc<Mutex<Instant>>,
    bytes_per_second: u64,
}

impl Pace {
    fn new(bytes_per_second: u64) -> Self {
        Self { next: Arc::new(Mutex::new(Instant::now())), bytes_per_second }
    }

    async fn take(&self, bytes: usize) {
        let at = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
            // A timer is late by a millisecond, and who has waited for it is not to lose that.
            let credit = Instant::now().checked_sub(CREDIT).unwrap_or(*next);
            *next = (*next).max(credit) + takes;
            *next
        };
        sleep_until(at.into()).await;
    }
}
