//! A server whose hooks do what they should not, for frames and clients that ask for it: they never
//! answer, panic, or take their time. `symple-attack` starts it as it starts `symple serve`.

#![forbid(unsafe_code)]

use std::{
    env,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use symple_tokio::{
    AuthDecision, AuthRequest, FrameDecision, FrameRequest, ServerBuilder, proto::ClientFrame,
};

/// How long a hook may take.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How long one takes that takes its time.
const SLOW: Duration = Duration::from_millis(50);

/// Counts a question as long as it is asked.
struct Asked(Arc<AtomicUsize>);

impl Asked {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who has a token has one that is never looked at.
async fn authenticate(request: AuthRequest, _asked: Asked) -> AuthDecision {
    if request.token().is_some() {
        pending::<()>().await;
    }
    let decision = AuthDecision::allow_claimed();
    let bystands = request.user().starts_with("bystander");
    if bystands { decision.rooms(["bystanders"]) } else { decision }
}

async fn decide(request: FrameRequest, asked: Asked) -> FrameDecision {
    let Ok(ClientFrame::Message(message)) = request.parse() else { return FrameDecision::pass() };
    match message.subtype.as_deref() {
        Some("stuck") => pending().await,
        Some("panic") => panic!("a hook panics, as it is asked to"),
        Some("slow") => tokio::time::sleep(SLOW).await,
        Some("count") => {
            // All but this one.
            let others = asked.0.load(Ordering::Relaxed) - 1;
            let count = format!(r#"{{"type":"event","name":"count","data":{others}}}"#);
            return FrameDecision::answer(count);
        }
        _ => {}
    }
    FrameDecision::pass()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = env::args().skip_while(|argument| argument != "--port").nth(1).ok_or("no --port")?;
    let asked = Arc::new(AtomicUsize::new(0));
    let (of_clients, of_frames) = (Arc::clone(&asked), asked);
    let server = ServerBuilder::new()
        .bind(format!("127.0.0.1:{port}"))
        .configure(|config| {
            config.engine.hooks.timeout = TIMEOUT;
            config.engine.auth_timeout = TIMEOUT;
        })
        .authenticate(move |request| authenticate(request, Asked::new(&of_clients)))
        .on_frame_async(move |request| decide(request, Asked::new(&of_frames)))
        .start()?;
    server.wait().await?;
    Ok(())
}
