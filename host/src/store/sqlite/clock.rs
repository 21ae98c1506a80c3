//! Which time retention trusts.
//!
//! Nothing in a machine tells a clock that jumped a month ahead from a month without power. So a time counts as passed only once it
//! was noted and the clock has gone on for [`DELAY`] since: a clock that jumped ahead and is corrected
//! within that has deleted nothing, and a machine that was off for a month keeps what it has for that long. A note that lies ahead of the
//! clock was made by a wrong one, and is dropped. Two jumps ahead without a correction between them are believed: the first looks like a
//! time that was noted long before the second.

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;

use super::Statements;

/// How long a clock has to go on after a time before that counts as passed.
const DELAY: SignedDuration = SignedDuration::from_hours(24);
/// Notes are at least this far apart, so there are few.
const BETWEEN_NOTES: SignedDuration = SignedDuration::from_hours(1);

/// Notes what the clock shows, and returns the newest confirmed time, if there is one.
pub(super) fn passed(connection: &Connection, now: Timestamp) -> rusqlite::Result<Option<Timestamp>> {
    let now = now.as_second();
    connection.run("DELETE FROM clock WHERE seconds > ?1", [now])?;
    connection.run(
        "INSERT INTO clock (seconds) SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM clock WHERE seconds > ?1 - ?2)",
        [now, BETWEEN_NOTES.as_secs()],
    )?;
    let passed = connection.find(
        "SELECT max(seconds) FROM clock WHERE seconds <= ?1 - ?2",
        [now, DELAY.as_secs()],
        |row| row.get::<_, Option<i64>>(0),
    )?;
    let Some(passed) = passed.flatten() else {
        return Ok(None);
    };
    connection.run("DELETE FROM clock WHERE seconds < ?1", [passed])?;
    Ok(Timestamp::from_second(passed).ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HOUR: i64 = 3_600;
    const DAY: i64 = 24 * HOUR;

    /// A database whose clock was noted each hour for `days`, and the time of the last note.
    fn noted(days: i64) -> (Connection, i64) {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("schema/0010.sql")).unwrap();
        let start = 1_800_000_000;
        for hour in 0..=days * 24 {
            at(&connection, start + hour * HOUR);
        }
        (connection, start + days * DAY)
    }

    fn at(connection: &Connection, seconds: i64) -> Option<i64> {
        let now = Timestamp::from_second(seconds).unwrap();
        passed(connection, now).unwrap().map(Timestamp::as_second)
    }

    fn notes(connection: &Connection) -> i64 {
        let count = connection.query_row("SELECT count(*) FROM clock", [], |row| row.get(0));
        count.unwrap()
    }

    #[test]
    fn a_right_clock_lags_a_day_and_leaves_few_notes() {
        let (connection, now) = noted(3);
        assert_eq!(at(&connection, now), Some(now - DAY));
        assert_eq!(
            at(&connection, now + HOUR / 2),
            Some(now - DAY),
            "notes are an hour apart"
        );
        assert_eq!(notes(&connection), 25);
    }

    #[test]
    fn nothing_has_passed_on_the_first_day() {
        let (connection, now) = noted(0);
        assert_eq!(at(&connection, now + DAY - 1), None);
        assert_eq!(at(&connection, now + DAY), Some(now));
    }

    #[test]
    fn a_clock_that_is_ahead_for_less_than_a_day_is_not_believed() {
        let (connection, now) = noted(3);
        let ahead = now + 400 * DAY;
        assert_eq!(at(&connection, ahead), Some(now));
        assert_eq!(at(&connection, ahead + DAY - 1), Some(now));
        // Corrected, and wrong once more: what it showed the first time is forgotten.
        assert_eq!(at(&connection, now + HOUR), None);
        assert_eq!(at(&connection, ahead + 2 * DAY), Some(now + HOUR));
        assert_eq!(
            at(&connection, ahead + 3 * DAY),
            Some(ahead + 2 * DAY),
            "it stayed for a day"
        );
    }

    #[test]
    fn a_clock_that_was_behind_delays() {
        let (connection, now) = noted(3);
        assert_eq!(at(&connection, now - 400 * DAY), None);
        assert_eq!(at(&connection, now), Some(now - 400 * DAY));
        assert_eq!(at(&connection, now + DAY), Some(now));
    }
}
