//! The client machine against the server machine, with connections that are cut at every step.

use std::{collections::VecDeque, time::Duration};

use proptest::prelude::*;
use symple_engine::{
    client::{CallConfig, Callee, Config, OfflinePolicy, Operation, QueueLimits, TokenSource},
    server,
};
use symple_proto::{Fields, RawJson, RoomName};

use crate::world::{Choices, Cut, World};

const USERS: [&str; 4] = ["alice", "bob", "bob", "carol"];

fn calls(config: &mut Config) {
    config.calls = Some(CallConfig::default());
}

/// A run by choices: so many steps of deliveries, deeds, cuts and time, and then rest.
fn run(choices: Choices, steps: usize) {
    let mut choices = choices;
    let mut config = server::Config::default();
    config.dynamic_rooms = choices.below(4) > 0;
    config.authentication = choices.below(4) == 0;
    config.roster_burst = [1, 300, 64 * 1024][choices.below(3)];
    config.auth_timeout = Duration::from_secs(10);
    let (dynamic, authentication) = (config.dynamic_rooms, config.authentication);
    let clients = 2 + choices.below(3);
    let mut world = World::new(choices, config);
    for (at, user) in USERS.iter().take(clients).enumerate() {
        let queue = world.choices.below(2) == 0;
        let room = world.choices.below(2) == 0 && !authentication;
        world.add_client(user, |config| {
            calls(config);
            if queue {
                config.offline = OfflinePolicy::Queue(QueueLimits::default());
            }
            if authentication {
                config.token = TokenSource::Ask;
            }
            if room {
                config.rooms = vec![RoomName::new("r0").unwrap()];
            }
        });
        world.operate(at, "connect", Operation::Connect);
    }
    for _ in 0..steps {
        match world.choices.below(100) {
            0..55 => drop(world.deliver()),
            55..80 => {
                let at = world.choices.below(clients);
                world.act(at);
            }
            80..92 => {
                let until = world.now + Duration::from_secs(1);
                world.pass(until);
            }
            92..98 if world.links() > 0 => {
                let (at, bits) = (world.choices.below(world.links()), world.choices.below(8));
                world.cut(at, Cut::of(bits));
            }
            98 => world.kill_server(),
            _ => world.start_server(),
        }
    }
    world.quiet();
    world.check(dynamic);
    world.roll_call();
}

/// R-P1, R-R2, R-M1, R-M6, R-A9, R-P3, R-P4: whatever is cut, at rest everything is as the naive
/// model says. `SEEDS=` says how many runs, `FROM=` where to begin.
#[test]
fn seeds() {
    let number = |name, default| {
        std::env::var(name).ok().map_or(default, |value: String| value.parse().unwrap())
    };
    let (from, count): (u64, u64) = (number("FROM", 0), number("SEEDS", 300));
    for seed in from..from + count {
        let result = std::panic::catch_unwind(|| run(Choices::Seed(seed), 150));
        assert!(result.is_ok(), "seed {seed}");
    }
}

proptest! {
    /// R-P1, R-R2, R-M6: as the seeds, and what fails is made small.
    #[test]
    fn choices(list in prop::collection::vec(any::<u16>(), 1..600)) {
        let steps = list.len() / 3;
        run(Choices::List(VecDeque::from(list)), steps);
    }
}

/// One of everything that two clients can have to do with each other.
fn exchange(cut: Option<(usize, Cut)>) -> usize {
    let mut config = server::Config::default();
    config.roster_burst = 1;
    let mut world = World::new(Choices::Seed(5), config);
    world.cut_at = cut;
    for (at, user) in USERS.iter().take(3).enumerate() {
        world.add_client(user, |config| {
            calls(config);
            config.offline = OfflinePolicy::Queue(QueueLimits::default());
        });
        world.operate(at, "connect", Operation::Connect);
        world.operate(at, "join", Operation::Join(RoomName::new("r0").unwrap()));
    }
    let rest = |world: &mut World| while world.deliver() {};
    rest(&mut world);
    for at in 0..3 {
        world.say(at, Some("r0"), false);
        let peer = world.sims[at].client.roster().iter().next().map(|peer| peer.address().clone());
        if let Some(peer) = &peer {
            world.say(at, Some(&peer.to_string()), true);
        }
        world.operate(at, "flush", Operation::Flush);
    }
    rest(&mut world);
    let patch = Fields::new().with("mood", RawJson::from("fine"));
    world.operate(0, "record", Operation::UpdateRecord(patch));
    let callee = Callee::User("bob".parse().unwrap());
    world.operate(0, "call", Operation::Call { callee, data: None });
    rest(&mut world);
    world.operate(1, "leave", Operation::Leave(RoomName::new("r0").unwrap()));
    rest(&mut world);
    world.operate(1, "join", Operation::Join(RoomName::new("r1").unwrap()));
    world.operate(2, "close", Operation::Close);
    rest(&mut world);
    let steps = world.steps;
    world.quiet();
    world.check(true);
    world.roll_call();
    steps
}

/// R-P1, R-P2, R-R2, R-M6: a connection is cut at every step of every exchange, in every way.
#[test]
fn a_cut_at_every_step() {
    let steps = exchange(None);
    assert!(steps > 60, "{steps}");
    for step in 1..=steps {
        for bits in 0..8 {
            let result = std::panic::catch_unwind(|| exchange(Some((step, Cut::of(bits)))));
            assert!(result.is_ok(), "cut at step {step}: {:?}", Cut::of(bits));
        }
    }
}
