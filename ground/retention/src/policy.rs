//! A policy, and its text form.
//!
//! ```text
//! forever
//! eol 30 days
//! last 7, daily 14, weekly 8, monthly 12, yearly 5
//! eol 10 days, daily 30, only verified, zone Europe/Berlin
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use simsim_schedule::ParseError;

/// The largest EOL in days: 1,000 years.
pub const DAYS_MAX: u32 = 365_250;
/// The largest number of a keep rule.
pub const KEEP_MAX: u32 = 100_000;

/// What a keep rule counts. All but the first are *buckets*: of each hour, day, week (Monday first), month or
/// year of the policy's zone the newest backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    Last,
    Hourly,
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

impl Rule {
    pub const ALL: [Rule; 6] =
        [Rule::Last, Rule::Hourly, Rule::Daily, Rule::Weekly, Rule::Monthly, Rule::Yearly];

    pub const fn as_str(self) -> &'static str {
        match self {
            Rule::Last => "last",
            Rule::Hourly => "hourly",
            Rule::Daily => "daily",
            Rule::Weekly => "weekly",
            Rule::Monthly => "monthly",
            Rule::Yearly => "yearly",
        }
    }
}

/// Which savesets count for keep rules. Failed, cancelled, interrupted and damaged ones never do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Counting {
    /// *Finished* and *finished with errors*.
    #[default]
    Restorable,
    /// *Finished* only.
    Finished,
    /// *Finished* and *finished with errors* whose last check found them whole.
    Verified,
}

/// How long savesets of a media pool live. Without EOL and keep rules: forever.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Days of 24 hours from the server's stamp, 1 to [`DAYS_MAX`].
    eol_days: Option<u32>,
    /// How many each rule keeps, 1 to [`KEEP_MAX`].
    keep: BTreeMap<Rule, u32>,
    counting: Counting,
    zone: Option<String>,
}

impl Policy {
    /// The policy by which nothing expires.
    pub fn forever() -> Self {
        Self::default()
    }

    pub fn eol_days(&self) -> Option<u32> {
        self.eol_days
    }

    /// How many a rule keeps; 0 where it is not there.
    pub fn keeps(&self, rule: Rule) -> u32 {
        self.keep.get(&rule).copied().unwrap_or(0)
    }

    /// The same with another number for a rule; 0 takes it out.
    pub fn keeping(mut self, rule: Rule, number: u32) -> Self {
        match number.min(KEEP_MAX) {
            0 => self.keep.remove(&rule),
            number => self.keep.insert(rule, number),
        };
        self
    }

    pub fn has_rules(&self) -> bool {
        !self.keep.is_empty()
    }

    pub fn counting(&self) -> Counting {
        self.counting
    }

    /// Whether this could let something expire earlier than `before`: a smaller number, fewer days, another count, or
    /// anything in place of *forever*. What else may go, such as by an EOL beside rules, a simulation tells. The zone is
    /// not looked at.
    pub fn is_weaker_than(&self, before: &Policy) -> bool {
        let forever = |policy: &Policy| policy.eol_days.is_none() && !policy.has_rules();
        if forever(self) || forever(before) {
            return forever(before) && !forever(self);
        }
        self.eol_days.unwrap_or(0) < before.eol_days.unwrap_or(0)
            || Rule::ALL.into_iter().any(|rule| self.keeps(rule) < before.keeps(rule))
            || (before.has_rules() && self.counting != before.counting)
    }

    /// The IANA name of the zone whose days it counts, where it has one of its own.
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }
}

/// The policies of all pools, and EOLs of tasks.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policies {
    /// By the name of the pool. Savesets of a pool that is not here are kept.
    pub pools: BTreeMap<String, Policy>,
    /// Days by the name of the task, in place of the pool's EOL.
    pub task_eol_days: BTreeMap<String, u32>,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.eol_days.map(|days| match days {
            1 => "eol 1 day".to_owned(),
            days => format!("eol {days} days"),
        }));
        parts.extend(self.keep.iter().map(|(rule, number)| format!("{} {number}", rule.as_str())));
        if parts.is_empty() {
            parts.push("forever".to_owned());
        }
        match self.counting {
            Counting::Restorable => {}
            Counting::Finished => parts.push("only finished".to_owned()),
            Counting::Verified => parts.push("only verified".to_owned()),
        }
        parts.extend(self.zone.as_ref().map(|zone| format!("zone {zone}")));
        f.write_str(&parts.join(", "))
    }
}

impl FromStr for Policy {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut policy = Policy::default();
        let (mut forever, mut only) = (false, false);
        let mut column = 1;
        for part in text.split(',') {
            let words = words_of(part, column);
            column += part.chars().count() + 1;
            let end = Word { text: "end", column: (column - 1).max(1) };
            let [first, rest @ ..] = words.as_slice() else {
                return Err(end.wrong("a rule is missing here, such as 'last 7', 'daily 14' or 'eol 30 days'; 'forever' keeps everything"));
            };
            let value = rest.first().copied();
            let needed = |what: &str| {
                value.ok_or_else(|| end.wrong(format!("something is missing here: {what}")))
            };
            let lower = first.text.to_ascii_lowercase();
            let (twice, read) = match lower.as_str() {
                "forever" => (std::mem::replace(&mut forever, true), 1),
                "eol" => {
                    let days = needed("a number of days, such as 30")?;
                    let short = days.text.strip_suffix(['d', 'D']);
                    let number = Word { text: short.unwrap_or(days.text), ..days };
                    let number = number.number(DAYS_MAX, "an EOL in days")?;
                    let unit = rest.get(1).filter(|_| short.is_none());
                    let named = unit.is_some_and(|unit| ["day", "days"].contains(&unit.text));
                    (policy.eol_days.replace(number).is_some(), if named { 3 } else { 2 })
                }
                "only" => {
                    let what = needed("'finished' or 'verified'")?;
                    policy.counting = match what.text.to_ascii_lowercase().as_str() {
                        "finished" => Counting::Finished,
                        "verified" => Counting::Verified,
                        _ => {
                            return Err(what.wrong("behind 'only' stands 'finished' or 'verified'"));
                        }
                    };
                    (std::mem::replace(&mut only, true), 2)
                }
                "zone" => {
                    let name = needed("a time zone, such as Europe/Berlin")?;
                    let good =
                        |letter: char| letter.is_ascii_alphanumeric() || "/_+-".contains(letter);
                    if !name.text.chars().all(good) || name.text.len() > 64 {
                        return Err(
                            name.wrong("a time zone is a name such as Europe/Berlin or UTC")
                        );
                    }
                    (policy.zone.replace(name.text.to_owned()).is_some(), 2)
                }
                _ => {
                    let rule = Rule::ALL.into_iter().find(|rule| rule.as_str() == lower);
                    let rule = rule.ok_or_else(|| {
                        first.wrong("it is last, hourly, daily, weekly, monthly or yearly with a number, 'eol' with days, 'only', 'zone', or 'forever'")
                    })?;
                    let number = needed("how many to keep, such as 7")?
                        .number(KEEP_MAX, "how many to keep")?;
                    (policy.keep.insert(rule, number).is_some(), 2)
                }
            };
            if twice {
                return Err(first.wrong("it is said twice: leave one out"));
            }
            if let Some(more) = words.get(read) {
                return Err(more.wrong("rules are separated by commas"));
            }
        }
        let limited = policy.eol_days.is_some() || policy.has_rules();
        match (forever, limited) {
            (true, true) => Err(Word { text: "forever", column: 1 + at_of(text, "forever") }
                .wrong("what is kept forever needs no rules: leave one or the other out")),
            (false, false) => Err(Word {
                text: "end",
                column: text.trim_end().chars().count() + 1,
            }
            .wrong(
                "nothing says how long: add a rule such as 'last 7' or 'eol 30 days', or 'forever'",
            )),
            _ => Ok(policy),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Word<'a> {
    text: &'a str,
    column: usize,
}

impl Word<'_> {
    fn wrong(&self, why: impl Into<String>) -> ParseError {
        ParseError { word: self.text.to_owned(), column: self.column, why: why.into() }
    }

    fn number(&self, most: u32, what: &str) -> Result<u32, ParseError> {
        let digits = !self.text.is_empty() && self.text.bytes().all(|byte| byte.is_ascii_digit());
        match self.text.parse::<u32>() {
            Ok(number) if digits && (1..=most).contains(&number) => Ok(number),
            _ => Err(self.wrong(format!("{what} is a number from 1 to {most}"))),
        }
    }
}

/// The words of a part, each with its place in the whole text.
fn words_of(part: &str, column: usize) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut begin: Option<(usize, usize)> = None;
    let ends = part
        .char_indices()
        .map(|(at, letter)| (at, letter.is_whitespace()))
        .chain([(part.len(), true)]);
    for (number, (at, blank)) in ends.enumerate() {
        match begin {
            Some((byte, place)) if blank => {
                words.push(Word { text: &part[byte..at], column: column + place });
                begin = None;
            }
            None if !blank => begin = Some((at, number)),
            _ => {}
        }
    }
    words
}

fn at_of(text: &str, word: &str) -> usize {
    let lower = text.to_ascii_lowercase();
    lower.find(word).and_then(|at| text.get(..at)).map_or(0, |before| before.chars().count())
}

impl serde::Serialize for Policy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Policy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
