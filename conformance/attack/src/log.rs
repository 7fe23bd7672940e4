//! Logs that cannot be written, and descriptors that run out: the server goes on.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::fd::OwnedFd,
    thread,
    time::Duration,
};

use tokio::net::TcpStream;

use crate::{
    Fault,
    client::{Client, How, silent},
    report::Outcome,
    scene::{Scene, Stage},
    server::Log,
};

/// Everything is logged that can be.
const VERBOSE: &[(&str, &str)] = &[("RUST_LOG", "debug")];
const NORMAL: &[(&str, &str)] = &[];

/// Takes all descriptors of the server, so that it has to warn of it, and gives them back.
async fn exhaust(scene: &mut Scene, long: Duration) -> Result<usize, Fault> {
    let server = &scene.server;
    let open = server.descriptors() as u64;
    let limit = server.limit_descriptors(open + 10)?;
    let mut taken: Vec<TcpStream> = Vec::new();
    for _ in 0..60 {
        taken.push(silent(server.address, How::default()).await?);
    }
    tokio::time::sleep(long).await;
    let count = taken.len();
    drop(taken);
    scene.server.limit_descriptors(limit)?;
    Ok(count)
}

/// Judges whether a newcomer gets in, and what the bystanders say.
async fn judge(scene: &mut Scene, outcome: &mut Outcome) {
    let address = scene.server.address;
    let mut welcome = Err(Fault(String::new()));
    for n in 0..5 {
        let user = format!("newcomer{n}");
        let peer = Client::peer(address, How::default(), &user, &[]);
        welcome = tokio::time::timeout(Duration::from_secs(1), peer)
            .await
            .unwrap_or_else(|late| Err(late.into()));
        if welcome.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let seen = match &welcome {
        Ok(_) => "welcome".to_owned(),
        Err(Fault(fault)) => fault.clone(),
    };
    outcome.check("afterwards a newcomer gets in", seen, welcome.is_ok());
    scene.judge(outcome, 0, "").await;
}

/// Comes and goes, which verbose logs tell of.
async fn come_and_go(scene: &Scene, count: usize) {
    for n in 0..count {
        let user = format!("guest{n}");
        let peer = Client::peer(scene.server.address, How::default(), &user, &[]);
        let _ = tokio::time::timeout(Duration::from_millis(500), peer).await;
    }
}

/// The log is a pipe that nobody reads, and it is full.
pub(crate) async fn pipe(stage: Stage) -> Result<Outcome, Fault> {
    let mut outcome = Outcome::new();
    let (reader, writer) = io::pipe()?;
    let mut filler = writer.try_clone()?;
    let log = Log::To(OwnedFd::from(writer));
    let server = stage.server_with(&[], VERBOSE, log).await?;
    let mut scene = stage.scene_on(server).await?;
    // It fills the pipe and waits then, until the reader is dropped.
    thread::spawn(move || while filler.write_all(b"x").is_ok() {});
    tokio::time::sleep(Duration::from_millis(200)).await;
    scene.begin().await;
    come_and_go(&scene, 10).await;
    let count = exhaust(&mut scene, stage.long(1.5)).await?;
    outcome.done(format!("10 clients and {count} connections beyond the descriptors are logged"));
    judge(&mut scene, &mut outcome).await;
    drop(reader);
    Ok(outcome)
}

/// The log is a full disk, and a pipe whose reader has gone.
pub(crate) async fn full(stage: Stage) -> Result<Outcome, Fault> {
    let mut outcome = Outcome::new();
    let full = OpenOptions::new().write(true).open("/dev/full")?;
    let writer = io::pipe()?.1;
    let mut count = 0;
    for (name, variables, log) in [
        ("/dev/full", NORMAL, full.try_clone()?.into()),
        ("/dev/full, verbose", VERBOSE, full.into()),
        ("a pipe without a reader", NORMAL, OwnedFd::from(writer)),
    ] {
        let started = stage.server_with(&[], variables, Log::To(log)).await;
        let server = match started {
            Ok(server) => server,
            Err(Fault(fault)) => {
                outcome.check(format!("{name}: the server starts"), fault, false);
                continue;
            }
        };
        let mut scene = match stage.scene_on(server).await {
            Ok(scene) => scene,
            Err(Fault(fault)) => {
                outcome.check(format!("{name}: the server serves"), fault, false);
                continue;
            }
        };
        come_and_go(&scene, 3).await;
        match exhaust(&mut scene, stage.long(0.6)).await {
            Ok(more) => count += more,
            Err(Fault(fault)) => {
                outcome.check(format!("{name}: the server serves"), fault, false);
                continue;
            }
        }
        let mut part = Outcome::new();
        judge(&mut scene, &mut part).await;
        for mut check in part.checks {
            check.bound = format!("{name}: {}", check.bound);
            outcome.checks.push(check);
        }
    }
    outcome.done(format!("{count} connections beyond the descriptors are to be logged"));
    Ok(outcome)
}

/// No descriptor is left for a while: others are served, and it is said once, not for ever.
pub(crate) async fn descriptors(stage: Stage) -> Result<Outcome, Fault> {
    let mut outcome = Outcome::new();
    let mut scene = stage.scene(&[]).await?;
    let before = scene.server.log().lines().count();
    let count = exhaust(&mut scene, stage.long(3.0)).await?;
    let lines = scene.server.log().lines().count() - before;
    outcome.done(format!("{count} connections, and descriptors for ten, for 3 s"));
    outcome.check("it is logged in 1 to 5 lines", lines, (1..=5).contains(&lines));
    judge(&mut scene, &mut outcome).await;
    Ok(outcome)
}
