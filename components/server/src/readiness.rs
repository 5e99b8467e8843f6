//! Whether the server does what it is there for, for who watches over it: a load balancer, a supervisor. What it says
//! names a part and no more; it is told to everybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::Server;
use crate::house::House;

/// The database answers.
const CATALOG: &str = "catalog";
/// Events were looked at lately.
const SCHEDULER: &str = "scheduler";
/// The client and the device of the server's own host are reached.
const OWN_HOST: &str = "own_host";
/// It does not end.
const RUNNING: &str = "running";

/// What may be not ready.
pub const PARTS: [&str; 4] = [CATALOG, SCHEDULER, OWN_HOST, RUNNING];

/// A database that does not answer for so long is not there.
const PATIENCE: Duration = Duration::from_secs(2);
/// Who asks more often gets what was found before.
const AGE_MAX: Duration = Duration::from_secs(1);
/// The events are looked at every 20 s; a round may take its time.
const ROUND_AGE_MAX: Duration = Duration::from_secs(120);

/// What was found last.
#[derive(Default)]
pub(crate) struct Readiness {
    last: Mutex<Option<(Instant, Vec<&'static str>)>>,
    /// A question to the database that was not answered yet: no second one is asked.
    asking: Arc<AtomicBool>,
}

impl Server {
    /// The parts that are not ready; empty: all is well.
    pub async fn not_ready(&self) -> Vec<&'static str> {
        let house = &self.house;
        let mut last = house.readiness.last.lock().await;
        if let Some((at, found)) = last.as_ref()
            && at.elapsed() < AGE_MAX
        {
            return found.clone();
        }
        let line = house.nodes.status(house.nodes.own()).and_then(|status| status.line);
        let parts = [
            (CATALOG, answers(house).await),
            (SCHEDULER, house.scheduler.looked_within(ROUND_AGE_MAX)),
            (OWN_HOST, line.is_some_and(|line| !line.is_lost())),
            (RUNNING, !house.stop.is_cancelled()),
        ];
        let found: Vec<_> =
            parts.into_iter().filter(|(_, holds)| !holds).map(|(part, _)| part).collect();
        *last = Some((Instant::now(), found.clone()));
        found
    }
}

async fn answers(house: &House) -> bool {
    let asking = Arc::clone(&house.readiness.asking);
    if asking.swap(true, Ordering::Relaxed) {
        return false;
    }
    let asked = house.books.run(move |catalog| {
        let answer = catalog.audit_head();
        asking.store(false, Ordering::Relaxed);
        answer
    });
    matches!(tokio::time::timeout(PATIENCE, asked).await, Ok(Ok(_)))
}
