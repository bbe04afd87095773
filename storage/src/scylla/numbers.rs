//! Panda's numbers have no sign and those of the tables do.

use panda_protocol::Time;

use super::failure;
use crate::error::StoreError;

/// The highest number that the tables hold.
pub(super) const NUMBER_MAX: u64 = i64::MAX.unsigned_abs();

/// A number on its way into the tables.
pub(super) fn to_table(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::Limit(format!("the number {number} has more than 63 bits")))
}

/// A number that the tables hold.
pub(super) fn from_table<T: TryFrom<i64>>(number: impl Into<i64>) -> Result<T, StoreError> {
    let number = number.into();
    T::try_from(number).map_err(|_| failure::value(format!("the number {number} cannot be")))
}

/// A write timestamp, which is the time of the event that caused the write.
pub(super) fn time_from_table(micros: i64) -> Result<Time, StoreError> {
    from_table(micros).map(Time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_an_error_in_both_directions() {
        assert_eq!(to_table(1 << 62).unwrap(), 1 << 62);
        assert!(matches!(to_table(1 << 63), Err(StoreError::Limit(_))));
        assert_eq!(from_table::<u8>(255_i16).unwrap(), 255);
        assert!(matches!(from_table::<u8>(256_i64), Err(StoreError::Corrupt(_))));
        assert!(matches!(time_from_table(-1), Err(StoreError::Corrupt(_))));
    }
}
