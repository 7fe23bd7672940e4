//! A hash table that grows a little at a time.
//!
//! A table that is full moves all it has to one of twice the size, and asks for the hash of
//! each, which is text somewhere else in memory: at a million peers that was a second in which
//! nothing else happened. Here a part of it grows at a time.

use alloc::boxed::Box;

use hashbrown::{
    HashTable,
    hash_table::{AbsentEntry, Entry, OccupiedEntry},
};

/// How many parts there are: with a million entries each has a thousand.
const PARTS: usize = 1024;

/// A hash table in parts. Which one an entry is in is decided by bits of its hash that a part does
/// not look at: it takes the lowest to find a place, and the highest to tell places apart.
#[derive(Debug)]
pub(super) struct SplitTable<T>(Box<[HashTable<T>]>);

impl<T> SplitTable<T> {
    pub(super) fn new() -> Self {
        Self((0..PARTS).map(|_| HashTable::new()).collect())
    }

    /// How many entries there are; not for those in a hurry.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(HashTable::len).sum()
    }

    fn part(hash: u64) -> usize {
        (hash >> 32) as usize % PARTS
    }

    pub(super) fn find(&self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&T> {
        self.0[Self::part(hash)].find(hash, is_it)
    }

    /// All entries that may have that hash.
    pub(super) fn iter_hash(&self, hash: u64) -> impl Iterator<Item = &T> {
        self.0[Self::part(hash)].iter_hash(hash)
    }

    pub(super) fn find_entry(
        &mut self,
        hash: u64,
        is_it: impl FnMut(&T) -> bool,
    ) -> Result<OccupiedEntry<'_, T>, AbsentEntry<'_, T>> {
        self.0[Self::part(hash)].find_entry(hash, is_it)
    }

    pub(super) fn entry(
        &mut self,
        hash: u64,
        is_it: impl FnMut(&T) -> bool,
        hasher: impl Fn(&T) -> u64,
    ) -> Entry<'_, T> {
        self.0[Self::part(hash)].entry(hash, is_it, hasher)
    }

    /// Adds what is known not to be there.
    pub(super) fn insert_unique(&mut self, hash: u64, value: T, hasher: impl Fn(&T) -> u64) {
        self.0[Self::part(hash)].insert_unique(hash, value, hasher);
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    /// Mixed as well as the hashes of names are.
    fn hash(n: u64) -> u64 {
        let n = (n ^ (n >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (n ^ (n >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    /// R-C6: no single insertion costs as much as there are entries.
    #[test]
    fn it_grows_a_little_at_a_time() {
        let mut table = SplitTable::new();
        for n in 0..200_000 {
            let moved = Cell::new(0);
            table.insert_unique(hash(n), n, |n| {
                moved.set(moved.get() + 1);
                hash(*n)
            });
            assert!(moved.get() < 1000, "{n}: {} were moved", moved.get());
        }
        assert_eq!(table.len(), 200_000);
        for n in (0..200_000).step_by(2) {
            assert_eq!(table.find(hash(n), |it| *it == n), Some(&n));
            table.find_entry(hash(n), |it| *it == n).unwrap().remove();
        }
        assert_eq!(table.len(), 100_000);
        assert!(table.find(hash(4), |it| *it == 4).is_none());
        let entry = table.entry(hash(5), |it| *it == 5, |it| hash(*it));
        assert!(matches!(entry, Entry::Occupied(_)));
    }
}
