//! A record: its number, a filling that follows from the number, and a checksum. A row carries the same filling.

use std::ops::Range;

/// The size of every record, so that a cut one is known by the length of its file.
pub(super) const SIZE: usize = 128;
const NUMBER: Range<usize> = 0..8;
const FILLING: Range<usize> = 8..SIZE - 4;
const SUM: Range<usize> = SIZE - 4..SIZE;

/// The filling of number `number`.
pub(super) fn filling(number: u64) -> Vec<u8> {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes().into_iter().cycle().take(FILLING.len()).collect()
}

/// The record of number `number`.
pub(super) fn record(number: u64) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    bytes[NUMBER].copy_from_slice(&number.to_le_bytes());
    bytes[FILLING].copy_from_slice(&filling(number));
    let sum = crc32fast::hash(&bytes[..SUM.start]);
    bytes[SUM].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// The number of an undamaged record.
pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    let (number, _) = bytes.split_first_chunk::<8>()?;
    let number = u64::from_le_bytes(*number);
    (bytes == record(number)).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back() {
        assert_eq!(number(&record(77)), Some(77));
    }

    #[test]
    fn a_record_with_one_bit_changed_is_damaged() {
        for at in 0..SIZE {
            let mut bytes = record(77);
            bytes[at] ^= 1;
            assert_eq!(number(&bytes), None, "byte {at}");
        }
    }

    #[test]
    fn a_record_that_was_cut_is_damaged() {
        assert_eq!(number(&record(77)[..SIZE - 1]), None);
    }
}
