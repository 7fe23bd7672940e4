//! Eight bytes at a time, as a word whose lowest byte is the first one.

pub(super) const QUOTE: u8 = b'"';
pub(super) const BACKSLASH: u8 = b'\\';

/// The top bit of each byte.
pub(super) const TOPS: u64 = splat(0x80);

/// A word of this byte.
pub(super) const fn splat(byte: u8) -> u64 {
    0x0101_0101_0101_0101 * byte as u64
}

/// The top bit of each byte that is the same in both words, and no other bit.
#[inline]
pub(super) const fn equal(word: u64, other: u64) -> u64 {
    let difference = word ^ other;
    // No carry leaves a byte: 0x7f + 0x7f is 0xfe.
    !(((difference & !TOPS) + !TOPS) | difference) & TOPS
}

/// The same with some bits above the lowest one that are not right.
#[inline]
pub(super) const fn first_equal(word: u64, other: u64) -> u64 {
    let difference = word ^ other;
    difference.wrapping_sub(splat(1)) & !difference & TOPS
}

/// How many bits there are among the top bits of bytes.
#[inline]
pub(super) const fn count(tops: u64) -> usize {
    ((tops >> 7).wrapping_mul(splat(1)) >> 56) as usize
}

/// All bits of so many bytes, the first ones; at most seven.
#[inline]
pub(super) const fn low_bytes(count: usize) -> u64 {
    (1 << (8 * count)) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equal_bytes(bytes in any::<[u8; 8]>(), byte in any::<u8>(), at in 0..8_usize) {
            for byte in [byte, bytes[at], bytes[at] ^ 1, bytes[at] ^ 0x80] {
                let expected = bytes.map(|other| if other == byte { 0x80 } else { 0 });
                let found = equal(u64::from_le_bytes(bytes), splat(byte));
                prop_assert_eq!(found, u64::from_le_bytes(expected));
                prop_assert_eq!(count(found), found.count_ones() as usize);
                let first = first_equal(u64::from_le_bytes(bytes), splat(byte));
                prop_assert_eq!(first.trailing_zeros(), found.trailing_zeros());
            }
        }
    }
}
