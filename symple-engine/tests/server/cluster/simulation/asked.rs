//! What hosts are asked, and what they answer: in time, too late, wrongly or never (R-H1, R-H2, R-H5,
//! R-K6).

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;
use symple_engine::{
    Timestamp,
    server::{FrameVerdict, HookConfig, Input, JoinVerdict, Question, QuestionAbout, RequestId},
};
use symple_proto::Status;

use super::{Client, Dice, World};

/// How long a host has for an answer.
const TIMEOUT: Duration = Duration::from_millis(500);
/// A host that answers in time has answered after so many milliseconds.
const IN_TIME: u64 = 300;

/// A question that a host will answer.
pub(super) struct Asked {
    request: RequestId,
    question: Question,
    due: Timestamp,
    /// The time is over by then.
    late: bool,
}

/// What has come of all questions.
pub(super) struct Answers {
    /// What decides about answers: apart from what decides about everything else, so that a seed with
    /// hooks goes as it would without them.
    dice: Dice,
    /// The frames that hosts have let through, by number.
    passed: BTreeSet<u64>,
    pub(super) asked: u64,
    pub(super) denied: u64,
    pub(super) late: u64,
}

impl Answers {
    pub(super) fn new(seed: u64) -> Self {
        let dice = Dice(seed ^ 0x5851_f42d_4c95_7f2d);
        Self { dice, passed: BTreeSet::new(), asked: 0, denied: 0, late: 0 }
    }

    /// The hooks of a seed: in one of three there are some.
    pub(super) fn hooks(&mut self) -> HookConfig {
        let mut hooks = HookConfig::default();
        (hooks.changes, hooks.timeout) = (true, TIMEOUT);
        if self.dice.one_in(3) {
            let wanted = 1 + self.dice.below(7);
            (hooks.join, hooks.frame, hooks.state) =
                (wanted & 1 != 0, wanted & 2 != 0, wanted & 4 != 0);
        }
        hooks
    }
}

impl World {
    fn has_hooks(&self) -> bool {
        let HookConfig { join, frame, state, .. } = self.config.hooks;
        join || frame || state
    }

    /// The time in which everything that was sent at rest has come to something.
    pub(super) fn patience(&self, without_hooks: u64) -> Duration {
        let hooks = if self.has_hooks() { TIMEOUT } else { Duration::ZERO };
        Duration::from_millis(without_hooks) + hooks
    }

    /// The host of a node is asked.
    pub(super) fn ask(&mut self, at: usize, request: RequestId, question: Question) {
        let answers = &mut self.answers;
        answers.asked += 1;
        let late = match answers.dice.below(10) {
            // Never.
            0 => return,
            1 => true,
            _ => false,
        };
        let millis = answers.dice.roll() % IN_TIME;
        let after = Duration::from_millis(millis) + if late { TIMEOUT } else { Duration::ZERO };
        // What is due at the end of the time itself may be either.
        let due = self.now + after + Duration::from_millis(u64::from(late));
        self.nodes[at].asked.push(Asked { request, question, due, late });
    }

    /// The host of a node answers what it is time for.
    pub(super) fn answer_hooks(&mut self, at: usize) {
        let now = self.now;
        while let Some(place) = self.nodes[at].asked.iter().position(|asked| asked.due <= now) {
            let Asked { request, question, late, .. } = self.nodes[at].asked.remove(place);
            if late {
                self.answer_late(at, request, &question);
                continue;
            }
            match &question.about {
                QuestionAbout::Join { room, .. } => self.answer_join(at, request, &question, room),
                QuestionAbout::Frame { .. } => self.answer_frame(at, request, &question),
                QuestionAbout::State { .. } => self.answer_state(at, request),
            }
        }
    }

    fn asker(&self, at: usize, question: &Question) -> Option<&Client> {
        let id = question.peer.id.as_str();
        self.nodes[at].clients.values().find(|client| client.id == id)
    }

    /// A host lets through what has been denied already.
    fn answer_late(&mut self, at: usize, request: RequestId, question: &Question) {
        self.answers.late += 1;
        if self.nodes[at].server.poll_timeout().is_some_and(|due| due <= self.now) {
            self.input(at, Input::Timeout);
        }
        let rooms = |world: &Self| world.asker(at, question).map(|client| client.rooms.clone());
        let before = rooms(self);
        self.input(
            at,
            match question.about {
                QuestionAbout::Join { .. } => {
                    Input::JoinDecided { request, verdict: JoinVerdict::Allow }
                }
                _ => Input::FrameDecided { request, verdict: FrameVerdict::Pass },
            },
        );
        if rooms(self) != before {
            self.fail("R-H5: a late answer lets somebody in");
        }
    }

    fn answer_join(&mut self, at: usize, request: RequestId, question: &Question, room: &str) {
        let verdict = JoinVerdict::Deny { message: Some("No".into()) };
        let input = match self.answers.dice.below(8) {
            0..2 => Input::JoinDecided { request, verdict },
            // The answer to another question lets nothing through.
            2 => Input::FrameDecided { request, verdict: FrameVerdict::Pass },
            _ => {
                return self.input(at, Input::JoinDecided { request, verdict: JoinVerdict::Allow });
            }
        };
        self.answers.denied += 1;
        self.input(at, input);
        if self.asker(at, question).is_some_and(|client| !client.refused.contains(room)) {
            self.fail(&format!("R-H1: {} is not told that it may not join {room}", question.peer));
        }
    }

    fn answer_frame(&mut self, at: usize, request: RequestId, question: &Question) {
        let frame: Value = serde_json::from_str(&question.frame).unwrap();
        let number = frame["n"].as_u64().unwrap();
        let verdict = match self.answers.dice.below(12) {
            0..2 => FrameVerdict::Drop,
            2 => FrameVerdict::Refuse { status: Status::FORBIDDEN, message: None },
            3 => FrameVerdict::Answer(r#"{"type":"event"}"#.into()),
            // What cannot be relayed, and the answer to another question.
            4 => FrameVerdict::Replace(r#"{"type":"join","room":"r0"}"#.into()),
            5 => {
                self.answers.denied += 1;
                return self.input(at, Input::JoinDecided { request, verdict: JoinVerdict::Allow });
            }
            6 => {
                self.answers.passed.insert(number);
                let mut other = frame;
                other["from"] = "somebody|else".into();
                other["replaced"] = true.into();
                FrameVerdict::Replace(other.to_string().into())
            }
            _ => {
                self.answers.passed.insert(number);
                FrameVerdict::Pass
            }
        };
        if !self.answers.passed.contains(&number) {
            self.answers.denied += 1;
        }
        self.input(at, Input::FrameDecided { request, verdict });
    }

    fn answer_state(&mut self, at: usize, request: RequestId) {
        let verdict = match self.answers.dice.below(10) {
            0 => FrameVerdict::Drop,
            1 => FrameVerdict::Refuse { status: Status::FORBIDDEN, message: None },
            2 => FrameVerdict::Answer(r#"{"type":"event"}"#.into()),
            3 => FrameVerdict::Replace("{".into()),
            _ => FrameVerdict::Pass,
        };
        self.input(at, Input::FrameDecided { request, verdict });
    }

    /// True for a frame that may be relayed: a host has let it through, or was not to be asked.
    pub(super) fn is_let_through(&self, number: u64) -> bool {
        let sent = &self.sent[usize::try_from(number).unwrap()];
        !sent.asked || self.answers.passed.contains(&number)
    }

    /// A client is in a room now: what it has sent behind its `join`, and what waits, is relayed from
    /// there, too.
    pub(super) fn note_join(&mut self, address: &str, room: &str) {
        /// Longer than anything waits.
        const WAITS: Duration = Duration::from_secs(10);
        if self.has_hooks() {
            let now = self.now;
            let recent = self.sent.iter_mut().rev().take_while(|sent| sent.at + WAITS >= now);
            for sent in recent.filter(|sent| sent.sender == address) {
                sent.rooms.insert(room.to_owned());
            }
        }
    }
}
