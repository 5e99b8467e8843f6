//! What has to start now, whatever the clock did meanwhile.
//!
//! The caller keeps, for each event, what was [`Considered`]: the stretches of time whose occurrences
//! were decided on. Each look at the clock adds the time since the stretch that ends last before it. So an
//! occurrence is decided on once: while the clock stands inside a stretch nothing is due, and when it
//! jumps to where nothing was considered yet, time goes on there. A clock that ran ahead by years and
//! comes back finds the stretch that it left, and nothing in between is lost.
//!
//! Of the occurrences since the last look at most the newest can start as usual, inside its start
//! window. The others were missed, and the schedule's policy says what becomes of them; so a jump by
//! ten years starts as much as one over a weekend.

use jiff::{SignedDuration, Timestamp};

use crate::almanac::Almanac;
use crate::error::ScheduleError;
use crate::occurrences::backward;
use crate::schedule::{Missed, Schedule};

/// As long as looks at the clock are no further apart, time counts as steady: nobody was away and
/// nothing jumped.
pub const CLOCK_STEADY_S: i64 = 3600;

/// So much of a stretch is remembered, counted from its end: a clock that goes back by more than this
/// begins a stretch of its own instead of waiting for years.
const REMEMBERED_S: i64 = 32 * 24 * 3600;
/// So many stretches are remembered; beyond that the two that are nearest to each other become one.
const STRETCHES_MAX: usize = 8;
/// Missed occurrences are counted up to this number.
const MISSED_COUNTED_MAX: usize = 1001;

/// The time whose occurrences were decided on. Kept by the caller beside the event, stored with the
/// runs that came of it in one step; in documents a list of pairs of instants in RFC 3339, the newest
/// last.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(into = "Vec<(String, String)>", try_from = "Vec<(String, String)>")]
pub struct Considered(Vec<Stretch>);

/// From its beginning to its end, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    begin: Timestamp,
    end: Timestamp,
}

impl Considered {
    /// For a schedule that counts from now: what lies before is not missed.
    pub fn until(now: Timestamp) -> Self {
        Self(vec![Stretch { begin: now, end: now }])
    }

    /// The instant that was considered last.
    pub fn last(&self) -> Option<Timestamp> {
        self.0.last().map(|stretch| stretch.end)
    }

    /// Where the clock stands inside what was considered: when that ends.
    fn inside(&self, now: Timestamp) -> Option<Timestamp> {
        let inside = self.0.iter().filter(|stretch| stretch.begin <= now && now <= stretch.end);
        inside.map(|stretch| stretch.end).max()
    }

    /// The end of the nearest stretch before now, and its number.
    fn base(&self, now: Timestamp) -> Option<(usize, Timestamp)> {
        let before = self.0.iter().enumerate().filter(|(_, stretch)| stretch.end < now);
        before.max_by_key(|(_, stretch)| stretch.end).map(|(at, stretch)| (at, stretch.end))
    }

    /// Adds the time to now. What was decided on begins with the first run; the time before it, in which
    /// nobody looked, stays open, so that a clock that comes back there finds it.
    fn with(mut self, now: Timestamp, first_run: Option<Timestamp>) -> Self {
        let base = self.base(now);
        let steady = base.filter(|(_, end)| seconds(*end, now) <= CLOCK_STEADY_S);
        let mut stretch = match steady {
            Some((at, _)) => Stretch { end: now, ..self.0.remove(at) },
            None => Stretch { begin: first_run.unwrap_or(now).min(now), end: now },
        };
        let remembered = now.checked_sub(SignedDuration::from_secs(REMEMBERED_S));
        stretch.begin = stretch.begin.max(remembered.unwrap_or(Timestamp::MIN));
        self.0.push(stretch);
        if self.0.len() > STRETCHES_MAX {
            self.join_nearest();
        }
        self
    }

    /// Makes one of the two stretches with the least time between them. That time counts as decided on from
    /// then on; what is far from everything else stays, however often a wrong clock stands still and goes on.
    fn join_nearest(&mut self) {
        let mut by_time: Vec<usize> = (0..self.0.len()).collect();
        by_time.sort_by_key(|at| self.0[*at].begin);
        let gap = |pair: &&[usize]| seconds(self.0[pair[0]].end, self.0[pair[1]].begin);
        let Some(pair) = by_time.windows(2).min_by_key(gap) else { return };
        let (former, latter) = (pair[0].min(pair[1]), pair[0].max(pair[1]));
        let other = self.0[former];
        let joined = &mut self.0[latter];
        joined.begin = joined.begin.min(other.begin);
        joined.end = joined.end.max(other.end);
        self.0.remove(former);
    }
}

/// What is due, and what the caller keeps from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// What starts now, the oldest first.
    pub runs: Vec<Run>,
    /// How many occurrences do not run because they were missed; at most 1,000 are counted.
    pub skipped: usize,
    /// There were more skipped ones than were counted.
    pub skipped_more: bool,
    /// The clock stands where everything was considered before: nothing is due until this instant.
    pub waits_until: Option<Timestamp>,
    /// To be stored with the runs, in one step.
    pub considered: Considered,
}

/// One run that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Its occurrence; with the event's name its identity. A server that stores a second run of the
    /// same identity refuses it.
    pub occurrence: Timestamp,
    /// The run must have started by then.
    pub start_by: Timestamp,
    /// It makes up for missed ones.
    pub late: bool,
}

/// The runs that are due at `now`, given what was considered before. Deciding costs as much as the
/// policy allows runs, not as much as time went by.
///
/// # Errors
/// The schedule's zone or a calendar that it names is unknown; nothing was considered then.
pub fn due(
    schedule: &Schedule,
    almanac: &Almanac,
    considered: &Considered,
    now: Timestamp,
) -> Result<Due, ScheduleError> {
    let mut due = Due {
        runs: Vec::new(),
        skipped: 0,
        skipped_more: false,
        waits_until: considered.inside(now).filter(|end| *end > now),
        considered: considered.clone(),
    };
    if considered.inside(now).is_some() {
        return Ok(due);
    }
    let Some((_, base)) = considered.base(now) else {
        // Before all that is known: a clock that went far back. Time begins here.
        due.considered = due.considered.with(now, None);
        return Ok(due);
    };
    let mut since = backward(schedule, almanac, base, now, MISSED_COUNTED_MAX)?;
    due.skipped_more = since.len() >= MISSED_COUNTED_MAX;
    since.truncate(MISSED_COUNTED_MAX - 1);
    let window = SignedDuration::from_secs(schedule.start_window_s());
    let starts_by = |at: Timestamp| at.checked_add(window).unwrap_or(Timestamp::MAX);
    let on_time = since.first().filter(|newest| starts_by(**newest) >= now).copied();
    let missed = &since[usize::from(on_time.is_some())..];
    let made_up = match schedule.missed() {
        Missed::Skip => 0,
        Missed::Once => usize::from(on_time.is_none()),
        Missed::All(most) => usize::from(most),
    };
    let made_up = &missed[..made_up.min(missed.len())];
    let late = |at: &Timestamp| Run { occurrence: *at, start_by: starts_by(now), late: true };
    due.runs.extend(made_up.iter().rev().map(late));
    due.runs.extend(on_time.map(|at| Run { occurrence: at, start_by: starts_by(at), late: false }));
    due.skipped = missed.len() - made_up.len();
    due.considered = due.considered.with(now, due.runs.first().map(|run| run.occurrence));
    Ok(due)
}

fn seconds(from: Timestamp, to: Timestamp) -> i64 {
    to.duration_since(from).as_secs()
}

impl From<Considered> for Vec<(String, String)> {
    fn from(considered: Considered) -> Self {
        considered
            .0
            .iter()
            .map(|stretch| (stretch.begin.to_string(), stretch.end.to_string()))
            .collect()
    }
}

impl TryFrom<Vec<(String, String)>> for Considered {
    type Error = String;

    fn try_from(pairs: Vec<(String, String)>) -> Result<Self, String> {
        let instant =
            |text: &str| text.parse::<Timestamp>().map_err(|_| format!("'{text}' is no instant"));
        let mut stretches = Vec::new();
        for (begin, end) in pairs {
            let stretch = Stretch { begin: instant(&begin)?, end: instant(&end)? };
            if stretch.begin > stretch.end {
                return Err(format!("a stretch ends at {end}, before it begins"));
            }
            stretches.push(stretch);
        }
        match stretches.len() {
            0..=STRETCHES_MAX => Ok(Self(stretches)),
            many => Err(format!("{many} stretches: at most {STRETCHES_MAX}")),
        }
    }
}
