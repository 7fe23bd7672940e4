//! The keys of a state, as registers that the last writer wins (R-K5).

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use symple_proto::cluster::next_sum;

/// How many deleted keys are remembered: those that were deleted first are forgotten past it.
const MAX_DELETED: usize = 1024;

/// What a register takes in memory beside its key and its value, about.
const OVERHEAD: usize = 128;

/// The latest logical time that is believed: a lie about it must not make it stand still.
pub(in crate::server) const MAX_CLOCK: u64 = 1 << 52;

/// When a key was set: a logical time, and the node, which decides between equal ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::server) struct Stamp {
    pub(in crate::server) clock: u64,
    pub(in crate::server) node: Arc<str>,
}

/// A key's value; none if it was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct Register {
    pub(in crate::server) value: Option<Box<str>>,
    pub(in crate::server) stamp: Stamp,
}

impl Register {
    /// What the register adds to the checksum; what is deleted adds nothing.
    fn sum(&self, key: &str) -> u64 {
        let Some(value) = &self.value else { return 0 };
        let stamp = next_sum(self.stamp.clock, &self.stamp.node);
        next_sum(next_sum(stamp, key), value)
    }
}

/// All keys of a state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::server) struct Registers {
    all: BTreeMap<Box<str>, Register>,
    /// How many have a value.
    live: usize,
    /// The bytes of their keys and values.
    bytes: usize,
    /// The keys that were deleted, the first ones first.
    deleted: BTreeSet<(Stamp, Box<str>)>,
    /// The bytes of their names.
    deleted_bytes: usize,
    clock: u64,
    sum: u64,
}

impl Registers {
    /// Nothing is known, not even of keys that were deleted.
    pub(in crate::server) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many keys have a value.
    pub(in crate::server) fn len(&self) -> usize {
        self.live
    }

    /// The bytes of the keys that have a value, and of the values.
    pub(in crate::server) fn bytes(&self) -> usize {
        self.bytes
    }

    /// About how many bytes it takes in memory, deleted keys included.
    pub(in crate::server) fn memory(&self) -> usize {
        self.bytes + 2 * self.deleted_bytes + OVERHEAD * (self.all.len() + self.deleted.len())
    }

    /// About how many bytes a key takes in memory that has so many with its value.
    pub(in crate::server) fn size_of(bytes: usize) -> usize {
        bytes + OVERHEAD
    }

    /// A checksum of the keys that have a value: two nodes with the same state have the same.
    pub(in crate::server) fn sum(&self) -> u64 {
        self.sum
    }

    /// The logical time of the next change.
    pub(in crate::server) fn next_clock(&self) -> u64 {
        self.clock + 1
    }

    /// The logical time of the latest change.
    pub(in crate::server) fn clock(&self) -> u64 {
        self.clock
    }

    /// Another node has come to this logical time. Keys that it has deleted, and that are not known here,
    /// must not win over what is set here from now on.
    pub(in crate::server) fn hear(&mut self, clock: u64) {
        if clock <= MAX_CLOCK {
            self.clock = self.clock.max(clock);
        }
    }

    /// The keys that have a value.
    pub(in crate::server) fn live(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all.iter().filter_map(|(key, register)| Some((&**key, register.value.as_deref()?)))
    }

    /// All keys, those included that were deleted.
    pub(in crate::server) fn iter(&self) -> impl Iterator<Item = (&str, &Register)> {
        self.all.iter().map(|(key, register)| (&**key, register))
    }

    /// How many keys would have a value after these changes, and how many bytes that would be.
    pub(in crate::server) fn sizes_with(
        &self,
        set: &[(Box<str>, Option<Box<str>>)],
    ) -> (usize, usize) {
        let (mut live, mut bytes) = (self.live, self.bytes);
        for (key, value) in set {
            if let Some(before) = self.all.get(key).and_then(|register| register.value.as_ref()) {
                live -= 1;
                bytes -= key.len() + before.len();
            }
            if let Some(value) = value {
                live += 1;
                bytes += key.len() + value.len();
            }
        }
        (live, bytes)
    }

    /// True if this value, set then, wins over what is here. Between equal stamps the value decides: a
    /// node may have forgotten what it has set once at that time.
    fn is_older(&self, key: &str, stamp: &Stamp, value: Option<&str>) -> bool {
        let here = self.all.get(key);
        here.is_none_or(|here| (&here.stamp, here.value.as_deref()) < (stamp, value))
    }

    /// Sets a key, if that was done later than what is here. Returns whether its value is another one
    /// now. Keys that are deleted are remembered with `keep_deleted`.
    pub(in crate::server) fn set(
        &mut self,
        key: &str,
        value: Option<Box<str>>,
        stamp: &Stamp,
        keep_deleted: bool,
    ) -> bool {
        if stamp.clock > MAX_CLOCK || !self.is_older(key, stamp, value.as_deref()) {
            return false;
        }
        self.clock = self.clock.max(stamp.clock);
        let before = self.all.remove(key);
        if let Some(before) = &before {
            self.sum = self.sum.wrapping_sub(before.sum(key));
            if let Some(value) = &before.value {
                self.live -= 1;
                self.bytes -= key.len() + value.len();
            } else {
                self.deleted.remove(&(before.stamp.clone(), key.into()));
                self.deleted_bytes -= key.len();
            }
        }
        let before = before.and_then(|before| before.value);
        let changed = before != value;
        if let Some(value) = &value {
            self.live += 1;
            self.bytes += key.len() + value.len();
        } else if !keep_deleted {
            return changed;
        } else {
            self.deleted.insert((stamp.clone(), key.into()));
            self.deleted_bytes += key.len();
        }
        let register = Register { value, stamp: stamp.clone() };
        self.sum = self.sum.wrapping_add(register.sum(key));
        self.all.insert(key.into(), register);
        self.forget_deleted();
        changed
    }

    /// Forgets the keys that were deleted first, if there are too many.
    fn forget_deleted(&mut self) {
        while self.deleted.len() > MAX_DELETED {
            let Some((_, key)) = self.deleted.pop_first() else { return };
            self.deleted_bytes -= key.len();
            self.all.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, vec::Vec};

    use proptest::prelude::*;

    use super::*;

    fn any_write() -> impl Strategy<Value = (u8, Option<u8>, u64, u8)> {
        (0..4_u8, proptest::option::of(any::<u8>()), 1..6_u64, 0..3_u8)
    }

    /// A write of one clock and node always writes the same.
    fn write(
        registers: &mut Registers,
        (key, value, clock, node): (u8, Option<u8>, u64, u8),
    ) -> bool {
        let stamp = Stamp { clock, node: format!("{node}").into() };
        let value = value.map(|value| format!("{value}").into());
        registers.set(&format!("k{key}"), value, &stamp, true)
    }

    proptest! {
        /// R-K5: in whatever order and however often writes arrive, the outcome is that of the latest of
        /// each key; and the counts and the checksum are those of what is there.
        #[test]
        fn the_last_writer_wins(
            writes in prop::collection::vec(any_write(), 0..40),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..80),
        ) {
            // One node writes a key once at a time.
            let mut first = BTreeMap::new();
            for write in &writes {
                first.entry((write.0, write.2, write.3)).or_insert(*write);
            }
            let writes: Vec<_> = first.into_values().collect();
            let mut expected: BTreeMap<u8, (u64, u8, Option<u8>)> = BTreeMap::new();
            for (key, value, clock, node) in &writes {
                let found = expected.entry(*key).or_insert((0, 0, None));
                *found = (*found).max((*clock, *node, *value));
            }
            let (mut one, mut other) = (Registers::default(), Registers::default());
            for at in order.iter().filter(|_| !writes.is_empty()) {
                write(&mut one, *at.get(&writes));
            }
            for at in writes.iter().rev() {
                write(&mut one, *at);
            }
            for at in &writes {
                write(&mut other, *at);
                prop_assert!(!write(&mut other, *at), "a repeat changes nothing");
            }
            prop_assert_eq!(&one, &other);
            let live: Vec<_> = one.live().map(|(key, value)| (key.into(), value.into())).collect();
            let expected: Vec<(alloc::string::String, alloc::string::String)> = expected
                .iter()
                .filter_map(|(key, (_, _, value))| Some((format!("k{key}"), format!("{}", (*value)?))))
                .collect();
            prop_assert_eq!(&live, &expected);
            prop_assert_eq!(one.len(), live.len());
            let bytes: usize = live.iter().map(|(key, value)| key.len() + value.len()).sum();
            prop_assert_eq!(one.bytes(), bytes);
            let sum = one.iter().fold(0_u64, |sum, (key, it)| sum.wrapping_add(it.sum(key)));
            prop_assert_eq!(one.sum(), sum);
        }
    }

    /// R-K5: a node that has forgotten a state may use a stamp again: where both are known, one of them
    /// wins everywhere.
    #[test]
    fn a_stamp_that_is_used_again() {
        let stamp = Stamp { clock: 1, node: "a".into() };
        let values = [Some("1"), Some("2"), None];
        for (one, other) in values.iter().flat_map(|one| values.map(|other| (*one, other))) {
            let (mut here, mut there) = (Registers::default(), Registers::default());
            here.set("k", one.map(Into::into), &stamp, true);
            there.set("k", other.map(Into::into), &stamp, true);
            here.set("k", other.map(Into::into), &stamp, true);
            there.set("k", one.map(Into::into), &stamp, true);
            assert_eq!(here, there, "{one:?} {other:?}");
        }
    }

    /// R-K5: deleted keys do not grow without bound, and a lie about the time does not stop it.
    #[test]
    fn what_is_remembered_is_bounded() {
        let mut registers = Registers::default();
        let stamp = |clock| Stamp { clock, node: "a".into() };
        for clock in 1..3000 {
            let key = format!("k{clock}");
            registers.set(&key, Some("1".into()), &stamp(clock), true);
            registers.set(&key, None, &stamp(clock + 1), true);
        }
        assert_eq!(registers.iter().count(), MAX_DELETED);
        assert!(registers.memory() > MAX_DELETED * OVERHEAD, "they count");
        for key in registers.iter().map(|(key, _)| Box::from(key)).collect::<Vec<Box<str>>>() {
            registers.set(&key, Some("1".into()), &stamp(4000), true);
        }
        let expected = registers.bytes() + MAX_DELETED * OVERHEAD;
        assert_eq!(registers.memory(), expected, "nothing is deleted any more");
        for key in registers.iter().map(|(key, _)| Box::from(key)).collect::<Vec<Box<str>>>() {
            registers.set(&key, None, &stamp(4001), false);
        }
        assert_eq!(registers.memory(), 0);
        assert_eq!((registers.len(), registers.bytes(), registers.sum()), (0, 0, 0));
        assert!(!registers.set("x", Some("1".into()), &stamp(u64::MAX), true));
        assert!(registers.next_clock() < 5000);
    }
}
