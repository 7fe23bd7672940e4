//! The fuzz targets of `fuzz/`, on their seeds and on mutations of those: R-F2, R-F5, R-P1, R-C5, R-T7, R-T10.
//!
//! `UPDATE_SEEDS=1 cargo test -p symple-conformance --test fuzz` makes the seeds anew, from the
//! transcripts and the tables in `fuzz/seeds.rs`. What was found by fuzzing is kept: its names begin
//! with `found-`.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "fuzz/seeds.rs"]
mod seeds;
#[allow(dead_code, unreachable_pub, reason = "modules here, a crate of their own elsewhere")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target)
}

/// The seeds of a target with their names, in the order of those.
fn read(target: &str) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(folder(target)).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.collect();
    files.sort();
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    files.iter().map(|path| (name(path), fs::read(path).unwrap())).collect()
}

fn update(target: &str, seeds: &[(String, Vec<u8>)]) {
    let folder = folder(target);
    fs::create_dir_all(&folder).unwrap();
    for (name, _) in read(target).iter().filter(|(name, _)| !name.starts_with("found-")) {
        fs::remove_file(folder.join(name)).unwrap();
    }
    for (name, seed) in seeds {
        fs::write(folder.join(name), seed).unwrap();
    }
}

/// `SplitMix64`: all that a seed decides.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit.max(1) as u64).unwrap()
    }

    /// A part of some bytes.
    fn part<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let start = self.below(bytes.len() + 1);
        let length = self.below((bytes.len() - start).min(40) + 1);
        &bytes[start..start + length]
    }

    /// Something like one seed, with something of another.
    fn mutate(&mut self, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = other.get(at).copied().unwrap_or(b'0'),
                2 => drop(bytes.splice(at..(at + self.below(20)).min(bytes.len()), [])),
                3 => {
                    let part = self.part(&bytes).to_vec();
                    drop(bytes.splice(at..at, part));
                }
                _ => {
                    let part = self.part(other).to_vec();
                    drop(bytes.splice(at..at, part));
                }
            }
        }
        bytes
    }
}

/// Runs a target on all its seeds, and on so many mutations of them.
fn replay(target: &str, mutations: usize, make: fn() -> Vec<(String, Vec<u8>)>, run: fn(&[u8])) {
    if std::env::var_os("UPDATE_SEEDS").is_some() {
        update(target, &make());
    }
    let seeds = read(target);
    assert!(seeds.len() >= 20, "{} seeds of {target}", seeds.len());
    let attempt = |name: &str, data: &[u8]| {
        let held = catch_unwind(AssertUnwindSafe(|| run(data)));
        assert!(held.is_ok(), "{target}: {name}: {:?}", String::from_utf8_lossy(data));
    };
    for (name, seed) in &seeds {
        attempt(name, seed);
    }
    let mut dice = Dice(1);
    for _ in 0..mutations {
        let (name, seed) = &seeds[dice.below(seeds.len())];
        let (_, other) = &seeds[dice.below(seeds.len())];
        attempt(name, &dice.mutate(seed, other));
    }
}

/// R-F1, R-F2, R-P4, R-L6: what a full parser reads in what is relayed, in every reading.
#[test]
fn view() {
    replay("view", 5000, seeds::view, targets::view::run);
}

/// R-P1, R-P2, R-P5, R-R4, R-M2, R-A4, R-C3, R-F5: whatever comes in whatever order.
#[test]
fn engine() {
    replay("engine", 2000, seeds::engine, targets::engine::run);
}

/// R-C4, R-C5, R-F5: whatever is published.
#[test]
fn envelope() {
    replay("envelope", 1000, seeds::envelope, targets::envelope::run);
}

/// R-T6, R-T7: whatever a connection begins with, however it is cut.
#[test]
fn http_head() {
    replay("http_head", 1000, seeds::http_head, targets::http_head::run);
}

/// R-L1, R-T10: whatever a compressed message is, in one frame or in fragments.
#[test]
fn inflate() {
    replay("inflate", 1000, seeds::inflate, targets::inflate::run);
}

/// SPEC §11: `.env` files are read as dotenv reads them.
#[test]
fn dot_env() {
    replay("dot_env", 2000, seeds::dot_env, targets::dot_env::run);
}
