//! Dates from seconds, without a dependency. A real module takes a crate for this.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds of a day.
const DAY: u64 = 24 * 60 * 60;
/// The first second that RFC 3339 cannot write: the year 10000.
const TOO_LATE: u64 = 253_402_300_800;

/// A second of the calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Utc {
    seconds: u64,
}

impl Utc {
    /// The second in which this moment lies; `None` where it has no form of four digits for the year.
    pub(crate) fn of(moment: SystemTime) -> Option<Self> {
        let seconds = moment.duration_since(UNIX_EPOCH).ok()?.as_secs();
        (seconds < TOO_LATE).then_some(Self { seconds })
    }

    /// Year, month and day: <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>, whose years
    /// begin in March, so that the day that may be missing is the last.
    fn date(self) -> (u64, u64, u64) {
        let days = self.seconds / DAY + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        (era * 400 + year + u64::from(month <= 2), month, day)
    }
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        let (hour, minute, second) = (self.seconds / 3600 % 24, self.seconds / 60 % 60, self.seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> Option<String> {
        Utc::of(UNIX_EPOCH + Duration::from_secs(seconds)).map(|time| time.to_string())
    }

    #[test]
    fn known_moments() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_795_503_600, "2026-11-24T07:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (TOO_LATE - 1, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(at(seconds).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_has_no_form_is_refused() {
        assert_eq!(at(TOO_LATE), None);
        assert_eq!(Utc::of(UNIX_EPOCH - Duration::from_secs(1)), None);
    }
}
