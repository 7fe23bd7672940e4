//! Everything that there is, against everything that is at hand.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::{collections::BTreeSet, env, io::Write as _, path::PathBuf};

use symple_conformance::{
    FAULTS_FOR_OUR_CLIENT, KNOWN_FAULTS, Redis, RunOptions, Target, Transcript, Verdict,
    deviation::{DEVIATIONS, Declarations},
    js_client, run_all, rust_client,
};
use tokio::sync::Mutex;

/// One at a time: they keep the machine busy enough alone.
static TURN: Mutex<()> = Mutex::const_new(());

/// Says something that is seen although the test passes.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "\n{text}");
}

/// True if there is a Redis server; without one, scenarios that need it are not replayed.
fn has_redis() -> bool {
    let has = Redis::is_installed();
    assert!(has || env::var_os("CI").is_none(), "redis-server is not installed");
    if !has {
        say("NOT RUN: scenarios that need Redis; redis-server is not installed");
    }
    has
}

async fn replay(target: &str, transcripts: Vec<Transcript>) {
    let _turn = TURN.lock().await;
    let target: Target = target.parse().unwrap();
    let declarations = Declarations::of_the_specification().unwrap();
    let count = transcripts.len();
    let options = RunOptions::default();
    let results = run_all(&target, transcripts, declarations.into(), options, |_, _| {}).await;
    let failed: Vec<_> = results
        .iter()
        .filter_map(|(transcript, verdict)| match verdict {
            Verdict::Passed { .. } => None,
            Verdict::Failed(failures) => {
                Some(format!("{} {}", transcript.header.name, failures[0]))
            }
            Verdict::Skipped(why) => Some(format!("{}: {why}", transcript.header.name)),
        })
        .collect();
    assert_eq!(results.len(), count);
    assert!(failed.is_empty(), "{target}: {} failed\n{}", failed.len(), failed.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn against_the_engine() {
    replay("engine", Transcript::built_in().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn against_our_servers() {
    let mut transcripts = Transcript::built_in().unwrap();
    if !has_redis() {
        transcripts.retain(|transcript| !transcript.header.config.redis);
    }
    replay("tokio", transcripts.clone()).await;
    replay("async-std", transcripts).await;
}

/// The original server does what was recorded, and we do what is declared: see `parity`.
#[tokio::test(flavor = "multi_thread")]
async fn against_the_original_server() {
    let Some(folder) = env::var_os("SYMPLE_NODE_SERVER").map(PathBuf::from) else {
        return say("NOT RUN: live parity; set SYMPLE_NODE_SERVER to the original server's folder");
    };
    let mut transcripts = Transcript::built_in().unwrap();
    transcripts.retain(Transcript::is_recorded);
    assert_eq!(transcripts.len(), 190);
    replay(&format!("node:{}", folder.display()), transcripts).await;
}

/// What applications with the JavaScript client see, of our server and of the original one.
#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_client() {
    let Some(folder) = env::var_os("SYMPLE_JS_CLIENT").map(PathBuf::from) else {
        return say("NOT RUN: the JavaScript client; set SYMPLE_JS_CLIENT to its folder");
    };
    let _turn = TURN.lock().await;
    let checks = js_client(&folder, &Target::Tokio, |_| {}).await.unwrap();
    let failed: Vec<_> = checks.iter().filter(|check| check.failure.is_some()).collect();
    assert!(failed.is_empty() && checks.len() > KNOWN_FAULTS.len(), "{failed:#?}");
    if let Some(server) = env::var_os("SYMPLE_NODE_SERVER").map(PathBuf::from) {
        let checks = js_client(&folder, &Target::Node(server), |_| {}).await.unwrap();
        let failed = checks.iter().filter(|check| check.failure.is_some());
        let failed: BTreeSet<_> = failed.map(|check| &*check.name).collect();
        let known: BTreeSet<_> = KNOWN_FAULTS.iter().map(|(check, _)| *check).collect();
        assert_eq!(failed, known);
    }
}

/// What applications with our client see, of our servers and, where its folder is given, of the
/// original one.
#[tokio::test(flavor = "multi_thread")]
async fn our_client() {
    let _turn = TURN.lock().await;
    for target in [Target::Tokio, Target::AsyncStd] {
        for checks in [
            rust_client::<symple_tokio::Tokio>(&target, |_| {}).await.unwrap(),
            rust_client::<symple_async_std::AsyncStd>(&target, |_| {}).await.unwrap(),
        ] {
            let failed: Vec<_> = checks.iter().filter(|check| check.failure.is_some()).collect();
            assert!(failed.is_empty(), "{target}: {failed:#?}");
            // In all of its groups.
            assert_eq!(checks.len(), 25, "{target}");
        }
    }
    let Some(folder) = env::var_os("SYMPLE_NODE_SERVER").map(PathBuf::from) else {
        return say(
            "NOT RUN: our client with the original server; set SYMPLE_NODE_SERVER to its folder",
        );
    };
    let target = Target::Node(folder);
    let checks = rust_client::<symple_tokio::Tokio>(&target, |_| {}).await.unwrap();
    let failed: Vec<_> = checks.iter().filter(|check| check.failure.is_some()).collect();
    let names: BTreeSet<_> = failed.iter().map(|check| &*check.name).collect();
    let known: BTreeSet<_> = FAULTS_FOR_OUR_CLIENT.iter().map(|(check, _)| *check).collect();
    assert_eq!(names, known, "{failed:#?}");
}

/// Every declaration belongs to a transcript of the original server, every name is unique, and
/// every deviation is shown by some transcript, except the one that is not about frames.
#[test]
fn transcripts_and_deviations_belong_together() {
    let transcripts = Transcript::built_in().unwrap();
    let declarations = Declarations::of_the_specification().unwrap();
    let names: BTreeSet<_> = transcripts.iter().map(|t| &*t.header.name).collect();
    assert_eq!(names.len(), transcripts.len());
    for transcript in &transcripts {
        let file = transcript.path.file_stem().unwrap().to_str();
        assert_eq!(file, Some(&*transcript.header.name));
        assert!(transcript.is_recorded() || !transcript.header.rules.is_empty(), "{file:?}");
    }
    for name in declarations.names() {
        let of = transcripts.iter().find(|transcript| transcript.header.name == name);
        assert!(of.is_some_and(Transcript::is_recorded), "{name}");
    }
    for deviation in DEVIATIONS {
        let shown = !declarations.shown_by(deviation.id, &transcripts).is_empty();
        assert_eq!(shown, deviation.id != "D-TLS", "{}", deviation.id);
    }
}
