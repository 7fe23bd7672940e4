//! Many peers that drop at the same moment: what others are told of it is made in slices.

use std::time::{Duration, Instant};

use crate::{
    Fault,
    client::{Client, How, PATIENCE, Reader, crowd, quiet, total},
    report::Outcome,
    scene::{Scene, Stage},
    wire,
};

/// Resets all these connections at once.
fn reset(crowd: Vec<Client>) -> Result<(), Fault> {
    for one in crowd {
        one.stream.set_zero_linger()?;
    }
    Ok(())
}

/// Clients that come one after the other, and whose frames wait in the kernel until they go.
async fn unread(scene: &Scene, auths: impl Iterator<Item = String>) -> Result<Vec<Client>, Fault> {
    let mut clients = Vec::new();
    for auth in auths {
        clients.push(Client::peer_as(scene.server.address, How::default(), &auth).await?);
    }
    Ok(clients)
}

/// Waits until the survivors have been told of so many that are gone, and checks that they have.
async fn told(outcome: &mut Outcome, survivors: &[Reader], gone: usize, before: u64) {
    let expected = (gone * survivors.len()) as u64;
    let deadline = Instant::now() + PATIENCE;
    // However large they are: one that says offline is one more presence frame.
    let heard = || total(survivors, |c| &c.offline) + total(survivors, |c| &c.presence) - before;
    while heard() < expected && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    outcome.check(
        format!("each of {} survivors is told of each of {gone} once", survivors.len()),
        heard(),
        heard() == expected,
    );
    let small = total(survivors, |c| &c.offline);
    outcome.check(
        "offline presence of large records is small (R-P2)",
        format!("{small} under 2 KiB"),
        small >= expected,
    );
    let closed = survivors.iter().filter(|one| one.closed().is_some()).count();
    outcome.check("no survivor is closed", closed, closed == 0);
}

/// 500 peers with records of 16 KiB, whom 150 see. They are in 250 rooms, two in each, so that they
/// need not see each other, and those who see them are in all of these.
pub(crate) async fn records(stage: Stage) -> Result<Outcome, Fault> {
    const ROOMS: usize = 250;
    let mut scene = stage.scene(&[]).await?;
    let mut outcome = Outcome::new();
    let (gone, seeing) = (stage.many(500), stage.many(120));
    let room = |n: usize| format!("r{n}");
    let record = "r".repeat(16 * 1024 - 300);
    let auths = (0..gone).map(|n| {
        let room = room(n % ROOMS);
        format!(
            "{{\"type\":\"auth\",\"user\":\"dropper{n}\",\"rooms\":[\"{room}\"],\"data\":\"{record}\"}}"
        )
    });
    let droppers = unread(&scene, auths).await?;
    let rooms: Vec<_> = (0..ROOMS).map(room).collect();
    // They see each other, too; and each reads a roster of 8 MB.
    let mut survivors = Vec::new();
    for n in 0..seeing {
        let auth = wire::auth(&format!("survivor{n}"), &rooms);
        survivors.extend(crowd(scene.server.address, [auth]).await?);
    }
    quiet(&survivors).await;
    scene.begin().await;
    outcome.done(format!("{gone} peers with records of 16 KiB drop, whom {seeing} see"));
    let before = total(&survivors, |c| &c.offline) + total(&survivors, |c| &c.presence);
    reset(droppers)?;
    told(&mut outcome, &survivors, gone, before).await;
    scene.judge(&mut outcome, 0, "").await;
    drop(survivors);
    scene.judge_return(&mut outcome).await;
    Ok(outcome)
}

/// Half of one large room.
pub(crate) async fn plain(stage: Stage) -> Result<Outcome, Fault> {
    let mut scene = stage.scene(&[]).await?;
    let mut outcome = Outcome::new();
    let size = stage.many(1200);
    let auth = |n: usize| wire::auth(&format!("member{n}"), &["hall".into()]);
    let survivors = crowd(scene.server.address, (0..size / 2).map(auth)).await?;
    let droppers = crowd(scene.server.address, (size / 2..size).map(auth)).await?;
    quiet(&survivors).await;
    scene.begin().await;
    outcome.done(format!("{} of {size} members of a room drop", size / 2));
    let before = total(&survivors, |c| &c.offline) + total(&survivors, |c| &c.presence);
    drop(droppers);
    told(&mut outcome, &survivors, size / 2, before).await;
    scene.judge(&mut outcome, 0, "").await;
    drop(survivors);
    scene.judge_return(&mut outcome).await;
    Ok(outcome)
}
