//! Calendar dates, for the expiry of claims.

use std::{fmt, ops::Range, str::FromStr};

use crate::{Error, Result};

const SECONDS_PER_DAY: i64 = 86_400;

/// A day of the proleptic Gregorian calendar: `YYYY-MM-DD` from year 0 to 9999, or [`Date::NEVER`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    year: i32,
    month: u8,
    day: u8,
}

impl Date {
    /// When superseded claims expire: Java's last day, `+999999999-12-31`.
    pub const NEVER: Self = Self { year: 999_999_999, month: 12, day: 31 };

    const LAST_YEAR: i32 = 9999;
    const LAST: Self = Self { year: Self::LAST_YEAR, month: 12, day: 31 };

    /// The day in UTC, from seconds since the Unix epoch; the year is kept within 0 to 9999.
    pub fn from_unix_seconds(seconds: i64) -> Self {
        // days since 0000-03-01, so that the leap day is the last of its year, in eras of 400 years
        let days = seconds.div_euclid(SECONDS_PER_DAY) + 719_468;
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let year = (400 * era + year + carry).clamp(0, Self::LAST_YEAR.into());
        Self { year: year as i32, month: month as u8, day: day as u8 }
    }

    /// The same day `months` later, or the last of that month if it is shorter; the latest is the end of year 9999.
    pub fn plus_months(self, months: u32) -> Self {
        let total = i64::from(self.year) * 12 + i64::from(self.month) - 1 + i64::from(months);
        let year = total / 12;
        if year > i64::from(Self::LAST_YEAR) {
            return if self > Self::LAST { self } else { Self::LAST };
        }
        let (year, month) = (year as i32, (total % 12) as u8 + 1);
        Self { year, month, day: self.day.min(days_in_month(year, month)) }
    }
}

fn days_in_month(year: i32, month: u8) -> u8 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.year > Self::LAST_YEAR { "+" } else { "" };
        write!(f, "{sign}{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl FromStr for Date {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "+999999999-12-31" {
            return Ok(Self::NEVER);
        }
        let number = |range: Range<usize>| text.get(range).filter(|part| part.bytes().all(|b| b.is_ascii_digit()));
        let parsed = (|| {
            let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
            let date = Self { year: year.parse().ok()?, month: month.parse().ok()?, day: day.parse().ok()? };
            let real = (1..=12).contains(&date.month) && (1..=days_in_month(date.year, date.month)).contains(&date.day);
            // what it prints is what was read: the separators are right, and nothing follows
            (real && date.to_string() == text).then_some(date)
        })();
        parsed.ok_or(Error::Invalid("expiry date"))
    }
}
