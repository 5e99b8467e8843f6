//! Figures for collectors such as Prometheus, at `/metrics` of the console port.
//!
//! ```text
//! catalog: sums, newest rows ─┐
//! nodes, queue, notices ──────┼─► book ─► text
//! tasks, datastores, copies ──┘
//!   looked at anew after 15 s, whoever asks how often
//! ```
//! | room | does |
//! |---|---|
//! | `families` | every metric, by name |
//! | `gather` | where the figures come from |
//! | `book` | the text |

mod book;
mod families;
mod gather;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use self::book::Book;
use self::gather::Looked;
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

/// What needs a look at all savesets, and a question to each device, is this old at most.
const LOOKED_AGE_MAX: Duration = Duration::from_secs(15);

/// What the last look found.
#[derive(Default)]
pub(crate) struct Figures {
    looked: Mutex<Option<(Instant, Arc<Looked>)>>,
}

impl Server {
    /// All figures, as text: of OpenMetrics 1.0, or in the older format of Prometheus.
    pub async fn metrics(
        &self,
        who: &Principal,
        open_metrics: bool,
    ) -> Result<String, ServerError> {
        self.may_see(who, Right::Metrics, "read metrics of", Object::Suite).await?;
        let (age, looked) = self.looked().await?;
        let mut book = Book::default();
        book.add(&families::LOOKED, &[], age.as_secs_f64());
        gather::of_server(self, &mut book).await?;
        looked.write(&mut book);
        Ok(book.text(open_metrics))
    }

    /// Who comes while somebody looks waits for what that one finds.
    async fn looked(&self) -> Result<(Duration, Arc<Looked>), ServerError> {
        let mut kept = self.house.figures.looked.lock().await;
        if let Some((at, looked)) = kept.as_ref()
            && at.elapsed() < LOOKED_AGE_MAX
        {
            return Ok((at.elapsed(), Arc::clone(looked)));
        }
        let looked = Arc::new(Looked::look(self).await?);
        *kept = Some((Instant::now(), Arc::clone(&looked)));
        Ok((Duration::ZERO, looked))
    }
}
