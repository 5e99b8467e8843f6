//! Named points where a test makes the process die or an operation fail.
//!
//! Debug builds look at a registry that the binary fills at start (from the one environment
//! variable declared in the app); release builds compile every point to nothing.

#[cfg(debug_assertions)]
use std::sync::Mutex;

/// What happens at an armed point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The process ends at once, as by SIGKILL: no destructor, no flush.
    Kill,
    /// The process stops making progress at this point for ever.
    Hang,
}

#[cfg(debug_assertions)]
struct Armed {
    name: String,
    action: Action,
    /// Passes left before it acts.
    skip: u32,
}

#[cfg(debug_assertions)]
static ARMED: Mutex<Vec<Armed>> = Mutex::new(Vec::new());

#[cfg(debug_assertions)]
static CLOCK: Mutex<Option<fn() -> i64>> = Mutex::new(None);

/// Lets this host's clock go otherwise by as many milliseconds as `shift` says at each look. Release builds ignore
/// it.
pub fn set_clock(shift: fn() -> i64) {
    #[cfg(debug_assertions)]
    if let Ok(mut clock) = CLOCK.lock() {
        *clock = Some(shift);
    }
    #[cfg(not(debug_assertions))]
    let _ = shift;
}

/// By how many milliseconds a test sets this host's clock; 0 without one, and in release builds.
pub fn clock_shift_ms() -> i64 {
    #[cfg(debug_assertions)]
    {
        let shift = CLOCK.lock().ok().and_then(|clock| *clock);
        shift.map_or(0, |shift| shift())
    }
    #[cfg(not(debug_assertions))]
    0
}

/// The time that a test wants in place of this one; the same without one, and in release builds.
pub fn shifted(now: std::time::SystemTime) -> std::time::SystemTime {
    let ms = clock_shift_ms();
    let by = std::time::Duration::from_millis(ms.unsigned_abs());
    let then = if ms < 0 { now.checked_sub(by) } else { now.checked_add(by) };
    then.unwrap_or(now)
}

/// Arms points from a text: `name=kill`, `name=hang`, `name=kill:3` (pass three times first),
/// several separated by commas. Returns what was not understood. Release builds ignore it.
pub fn arm(text: &str) -> Result<(), String> {
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let bad = || format!("'{part}' is not NAME=kill|hang[:SKIP]");
        let (name, action) = part.split_once('=').ok_or_else(bad)?;
        let (action, skip) = action.split_once(':').unwrap_or((action, "0"));
        let action = match action {
            "kill" => Action::Kill,
            "hang" => Action::Hang,
            _ => return Err(bad()),
        };
        let skip: u32 = skip.parse().map_err(|_| bad())?;
        #[cfg(debug_assertions)]
        if let Ok(mut armed) = ARMED.lock() {
            armed.push(Armed { name: name.to_owned(), action, skip });
        }
        #[cfg(not(debug_assertions))]
        let _ = (name, action, skip);
    }
    Ok(())
}

/// A named point. Names are `room.step`, such as `datastore.pack_renamed`.
#[inline(always)]
pub fn hit(name: &str) {
    #[cfg(debug_assertions)]
    hit_debug(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
fn hit_debug(name: &str) {
    let action = {
        let Ok(mut armed) = ARMED.lock() else { return };
        let Some(point) = armed.iter_mut().find(|point| point.name == name) else { return };
        if point.skip > 0 {
            point.skip -= 1;
            return;
        }
        point.action
    };
    match action {
        // abort() ends the process without unwinding; nothing is flushed or dropped.
        Action::Kill => std::process::abort(),
        Action::Hang => loop {
            std::thread::park();
        },
    }
}
