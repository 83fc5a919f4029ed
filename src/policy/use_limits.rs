//! How often a credential may be used: copies in one request, uses in a time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::serde_text::serde_as_string;

/// Limits on how often a credential is used. What is not set does not limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UseLimits {
    /// How often a value may be written into one request. Not set is any number: credentials from
    /// before there was this limit keep what they had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<Copies>,
    /// How many requests may use it in a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Rate>,
    /// When its owner is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve: Option<Approve>,
}

/// What is to be different about how often a credential is used. What is not set stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsesChange {
    /// How often one request may carry the value.
    pub copies: Option<Copies>,
    /// How many requests may use it in a time.
    pub budget: Option<Budget>,
    /// When its owner is asked.
    pub approve: Option<Asking>,
}

impl UsesChange {
    /// Whether nothing is to be different.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The limits with what is to be different.
    pub fn apply(&self, before: UseLimits) -> UseLimits {
        UseLimits {
            copies: self.copies.or(before.copies),
            budget: self.budget.map_or(before.budget, |Budget(rate)| rate),
            approve: self.approve.map_or(before.approve, |Asking(mode)| mode),
        }
    }
}

/// A rate, or `unlimited`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget(pub Option<Rate>);

impl FromStr for Budget {
    type Err = InvalidBudget;

    fn from_str(text: &str) -> Result<Self, InvalidBudget> {
        if text == "unlimited" {
            return Ok(Self(None));
        }
        let rate = text.parse().map_err(|InvalidRate| InvalidBudget)?;
        Ok(Self(Some(rate)))
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(rate) => rate.fmt(f),
            None => f.write_str("unlimited"),
        }
    }
}

serde_as_string!(Budget);

/// A text that is no budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a number from 1 on and a time, such as 5/s, 60/m, 100/h or 1000/d, or unlimited")]
pub struct InvalidBudget;

/// When the owner is asked: `first-use`, `always` or `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asking(pub Option<Approve>);

impl FromStr for Asking {
    type Err = InvalidAsking;

    fn from_str(text: &str) -> Result<Self, InvalidAsking> {
        let modes = [Approve::FirstUse, Approve::Always];
        match modes.into_iter().find(|mode| mode.as_str() == text) {
            Some(mode) => Ok(Self(Some(mode))),
            None if text == "never" => Ok(Self(None)),
            None => Err(InvalidAsking),
        }
    }
}

impl fmt::Display for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.map_or("never", Approve::as_str))
    }
}

serde_as_string!(Asking);

/// A text that says no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected first-use, always or never")]
pub struct InvalidAsking;

/// When the owner of a credential is asked about a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Approve {
    /// The first time that a client's action uses it at a destination.
    FirstUse,
    /// Each time, unless the owner said yes for all times.
    Always,
}

impl Approve {
    /// The name used in commands and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FirstUse => "first-use",
            Self::Always => "always",
        }
    }
}

impl UseLimits {
    /// What a new credential gets: one copy in a request, unless it is set.
    pub fn for_new(self) -> Self {
        Self {
            copies: self.copies.or(Some(Copies::ONCE)),
            ..self
        }
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a value may be used more often than before, or with fewer questions.
    pub fn is_wider_than(&self, before: &Self) -> bool {
        let most = |copies: Option<Copies>| match copies {
            None | Some(Copies::Any) => u32::MAX,
            Some(Copies::AtMost(most)) => most,
        };
        let asks = |approve: Option<Approve>| match approve {
            None => 0,
            Some(Approve::FirstUse) => 1,
            Some(Approve::Always) => 2,
        };
        let more_often = match (self.budget, before.budget) {
            (_, None) => false,
            (None, Some(_)) => true,
            // A longer time permits more at once, a shorter interval more in the end.
            (Some(rate), Some(before)) => {
                rate.count > before.count || rate.interval() < before.interval()
            }
        };
        most(self.copies) > most(before.copies)
            || asks(self.approve) < asks(before.approve)
            || more_often
    }
}

/// How often a value may be written into one request. A second copy may ride along in a field that
/// others can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copies {
    /// As often as the request names it.
    Any,
    /// At most so often; never 0.
    AtMost(u32),
}

impl Copies {
    /// What a new credential gets unless its owner says something else.
    pub const ONCE: Self = Self::AtMost(1);

    /// Whether so many are permitted.
    pub fn permits(self, count: usize) -> bool {
        match self {
            Self::Any => true,
            Self::AtMost(most) => u32::try_from(count).is_ok_and(|count| count <= most),
        }
    }
}

impl fmt::Display for Copies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::AtMost(most) => write!(f, "{most}"),
        }
    }
}

/// A text that is no number of copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a number from 1 on, or `any`")]
pub struct InvalidCopies;

impl FromStr for Copies {
    type Err = InvalidCopies;

    fn from_str(text: &str) -> Result<Self, InvalidCopies> {
        match text.parse() {
            _ if text == "any" => Ok(Self::Any),
            Ok(0) | Err(_) => Err(InvalidCopies),
            Ok(most) => Ok(Self::AtMost(most)),
        }
    }
}

serde_as_string!(Copies);

/// So many in a time: `100/h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Second,
    Minute,
    Hour,
    Day,
}

impl Unit {
    const ALL: [Self; 4] = [Self::Second, Self::Minute, Self::Hour, Self::Day];

    fn letter(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "m",
            Self::Hour => "h",
            Self::Day => "d",
        }
    }

    fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 60 * 60,
            Self::Day => 24 * 60 * 60,
        }
    }
}

impl Rate {
    /// The time in which there may be as many as the rate says.
    pub fn period(self) -> Duration {
        Duration::from_secs(self.unit.seconds())
    }

    /// The time after which there may be one more.
    pub fn interval(self) -> Duration {
        self.period() / self.count
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.unit.letter())
    }
}

/// A text that is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a number from 1 on and a time, such as 5/s, 60/m, 100/h or 1000/d")]
pub struct InvalidRate;

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let (count, letter) = text.split_once('/').ok_or(InvalidRate)?;
        let unit = Unit::ALL.into_iter().find(|unit| unit.letter() == letter);
        match count.parse() {
            Ok(0) | Err(_) => Err(InvalidRate),
            Ok(count) => Ok(Self {
                count,
                unit: unit.ok_or(InvalidRate)?,
            }),
        }
    }
}

serde_as_string!(Rate);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_a_number_or_any() {
        for text in ["any", "1", "12"] {
            assert_eq!(text.parse::<Copies>().unwrap().to_string(), text);
        }
        for text in ["", "0", "-1", "Any", "1.5"] {
            assert!(text.parse::<Copies>().is_err(), "{text}");
        }
        assert!(Copies::ONCE.permits(1) && !Copies::ONCE.permits(2));
        assert!(Copies::Any.permits(usize::MAX) && !Copies::ONCE.permits(usize::MAX));
    }

    #[test]
    fn what_is_used_more_often_or_with_fewer_questions_is_wider() {
        let limits = |copies: &str, budget: &str, approve: &str| {
            let change = UsesChange {
                copies: copies.parse().ok(),
                budget: budget.parse().ok(),
                approve: approve.parse().ok(),
            };
            change.apply(UseLimits::default())
        };
        let before = limits("2", "60/m", "first-use");
        for (copies, budget, approve, is_wider) in [
            ("2", "60/m", "first-use", false),
            ("1", "30/m", "always", false),
            ("2", "60/h", "first-use", false),
            ("3", "60/m", "first-use", true),
            ("any", "60/m", "first-use", true),
            ("2", "61/m", "first-use", true),
            ("2", "3600/h", "first-use", true),
            ("2", "unlimited", "first-use", true),
            ("2", "60/m", "never", true),
        ] {
            let after = limits(copies, budget, approve);
            assert_eq!(
                after.is_wider_than(&before),
                is_wider,
                "{copies} {budget} {approve}"
            );
        }
        assert!(UsesChange::default().apply(before) == before);
        assert!("sometimes".parse::<Asking>().is_err() && "5/w".parse::<Budget>().is_err());
    }

    #[test]
    fn a_rate_is_a_number_in_a_time() {
        for text in ["5/s", "60/m", "100/h", "1000/d"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for text in ["", "5", "0/s", "5/", "5/w", "/h", "-1/h", "5/hour"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        let rate: Rate = "120/m".parse().unwrap();
        assert_eq!(rate.period(), Duration::from_secs(60));
        assert_eq!(rate.interval(), Duration::from_millis(500));
    }
}
