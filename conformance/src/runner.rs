//! Many transcripts, several at a time.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::mpsc::unbounded_channel;

use crate::{
    deviation::Declarations,
    target::{Target, Verdict},
    transcript::Transcript,
};

/// How transcripts are replayed.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// How many at a time.
    pub jobs: usize,
    /// How much longer something may take than it took when it was recorded.
    pub patience: Duration,
    /// Whether silences on sockets are watched for as long as was recorded; otherwise see
    /// [`Target::watched_silence`].
    pub whole_silences: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { jobs: 8, patience: Duration::from_secs(10), whole_silences: false }
    }
}

/// Replays transcripts against a target, several at a time, and reports each as soon as those
/// before it have been reported.
///
/// A server of one's own is started for each transcript; one that runs somewhere sees one after
/// the other.
pub async fn run_all(
    target: &Target,
    transcripts: Vec<Transcript>,
    declarations: Arc<Declarations>,
    options: RunOptions,
    mut report: impl FnMut(&Transcript, &Verdict),
) -> Vec<(Transcript, Verdict)> {
    let jobs = if matches!(target, Target::Url(_)) { 1 } else { options.jobs.max(1) };
    let transcripts = Arc::new(transcripts);
    let next = Arc::new(AtomicUsize::new(0));
    let (done, mut results) = unbounded_channel();
    for _ in 0..jobs.min(transcripts.len()) {
        let (target, transcripts, next) =
            (target.clone(), Arc::clone(&transcripts), Arc::clone(&next));
        let (declarations, done) = (Arc::clone(&declarations), done.clone());
        tokio::spawn(async move {
            let mut redis = None;
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(transcript) = transcripts.get(index) else { break };
                let verdict = target.run(transcript, &declarations, &mut redis, options).await;
                if done.send((index, verdict)).is_err() {
                    break;
                }
            }
        });
    }
    drop(done);
    let verdicts = Mutex::new(vec![None; transcripts.len()]);
    let mut reported = 0;
    while let Some((index, verdict)) = results.recv().await {
        let mut verdicts = verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        verdicts[index] = Some(verdict);
        while let Some(Some(verdict)) = verdicts.get(reported) {
            report(&transcripts[reported], verdict);
            reported += 1;
        }
    }
    let verdicts = verdicts.into_inner().unwrap_or_else(PoisonError::into_inner);
    let transcripts = Arc::try_unwrap(transcripts).unwrap_or_else(|shared| (*shared).clone());
    transcripts
        .into_iter()
        .zip(verdicts)
        .filter_map(|(transcript, verdict)| Some((transcript, verdict?)))
        .collect()
}
