//! How long savesets live, and their end: what the rules of `ground/retention` say of what the catalog
//! knows, and what comes of it.
//!
//! ```text
//! catalog, one moment ─► verdicts ─► decisions, in the same transaction
//!                                        │
//!                     device ◄─ told ◄───┘   after a restart: told again
//!                        └► answer ─► done
//! ```
//! | room | does |
//! |---|---|
//! | `clock` | what the server knows of the time, and whether it may be believed |
//! | `judge` | the catalog's rows as the rules want them |
//! | `acts` | acts that may need a second person: what they would do, and doing them |
//! | `run` | one run over everything: what is expired is deleted |
//! | `telling` | devices are told what was decided |
//! | `locks` | devices are told of locks, and say which they hold |

mod acts;
mod clock;
mod judge;
mod let_go;
mod locks;
mod run;
mod telling;

use crate::house::House;

pub(crate) use acts::{Act, Came, keep, perform, read_act};
pub(crate) use clock::{Confirmed, Known, instant};
pub(crate) use judge::{Judged, almanac, label, policies, zone_error};
pub(crate) use let_go::let_go;
pub(crate) use locks::{hear_locks, tell_locks, tell_locks_in};
pub(crate) use run::decide_all;
pub(crate) use telling::{carry_out, carry_out_all};

/// Once in a while: the time is written down, and what could not be deleted is tried again.
pub(crate) async fn look(house: &House) {
    if let Err(error) = clock::keep_known(house).await {
        let error = error.full_message();
        tracing::warn!(%error, "the time could not be written down");
    }
    if let Err(error) = tell_locks(house).await {
        let error = error.full_message();
        tracing::warn!(%error, "the locks that devices are owed could not be looked up");
    }
    match carry_out_all(house).await {
        Ok(carried) => {
            for trouble in carried.trouble {
                tracing::debug!(trouble, "savesets that are to be deleted are still there");
            }
        }
        Err(error) => {
            let error = error.full_message();
            tracing::warn!(%error, "what is to be deleted could not be looked up");
        }
    }
}
