//! What the owner of this host asks of the server, on the line that the server keeps.
//!
//! A client has no way to its server of its own: the server dials, in every access mode. So the server
//! leaves a `next-ask` open here. It is answered with what the owner wants, as soon as there is
//! something; the server does what this client may have and brings the answer with `answer-ask`.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use simsim_control::verbs::{AnswerAsk, Ask, NextAskReply};
use simsim_model::Kind;
use tokio::sync::{Notify, oneshot};

use crate::ClientError;

/// An open `next-ask` is answered with nothing after this time, so that nobody waits for the dead.
const OPEN_MAX: Duration = Duration::from_secs(30);
/// The server takes a question within this time, or does not reach this host now.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);
/// And answers within this.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);
/// Questions at once; more are refused.
const ASKS_MAX: usize = 16;

/// Questions that wait for the server, and for its answers.
#[derive(Default)]
pub struct Asks {
    inner: Mutex<Inner>,
    wake: Notify,
}

#[derive(Default)]
struct Inner {
    last: u64,
    waiting: VecDeque<Ask>,
    open: HashMap<u64, Open>,
}

struct Open {
    answer: oneshot::Sender<AnswerAsk>,
    taken: Option<oneshot::Sender<()>>,
}

impl Asks {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// `Unreachable` while the server does not reach this host; what the server refused with.
    pub async fn ask(&self, verb: &str, body: String) -> Result<AnswerAsk, ClientError> {
        let (answer, answered) = oneshot::channel();
        let (taken, was_taken) = oneshot::channel();
        let id = {
            let mut inner = self.inner.lock();
            if inner.open.len() >= ASKS_MAX {
                return Err(ClientError::Refused {
                    kind: Kind::Busy,
                    message: "too many questions to the server at once: try again".to_owned(),
                });
            }
            inner.last += 1;
            let id = inner.last;
            inner.open.insert(id, Open { answer, taken: Some(taken) });
            inner.waiting.push_back(Ask { id, verb: verb.to_owned(), body });
            id
        };
        let _forget = Forget { asks: self, id };
        self.wake.notify_one();
        let reached = tokio::time::timeout(TAKEN_WITHIN, was_taken).await;
        if !matches!(reached, Ok(Ok(()))) {
            return Err(ClientError::NotReached);
        }
        match tokio::time::timeout(ANSWERED_WITHIN, answered).await {
            Ok(Ok(AnswerAsk { error: Some(error), .. })) => {
                Err(ClientError::Refused { kind: error.kind, message: error.message })
            }
            Ok(Ok(answer)) => Ok(answer),
            _ => Err(ClientError::NotReached),
        }
    }

    /// The next question, or nothing after a while. One that is taken and whose answer never comes
    /// is not asked again: its owner is told.
    pub async fn next(&self) -> NextAskReply {
        let until = tokio::time::Instant::now() + OPEN_MAX;
        loop {
            {
                let mut inner = self.inner.lock();
                if let Some(ask) = inner.waiting.pop_front() {
                    let taken = inner.open.get_mut(&ask.id).and_then(|open| open.taken.take());
                    if taken.is_some_and(|taken| taken.send(()).is_ok()) {
                        return NextAskReply { ask: Some(ask) };
                    }
                    continue;
                }
            }
            if tokio::time::timeout_at(until, self.wake.notified()).await.is_err() {
                return NextAskReply { ask: None };
            }
        }
    }

    /// The server's answer. One that nobody waits for any more is dropped.
    pub fn answer(&self, answer: AnswerAsk) {
        let open = self.inner.lock().open.remove(&answer.id);
        if let Some(open) = open {
            let _ = open.answer.send(answer);
        }
    }
}

/// Forgets a question whose owner went away.
struct Forget<'a> {
    asks: &'a Asks,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        let mut inner = self.asks.inner.lock();
        inner.open.remove(&self.id);
        inner.waiting.retain(|ask| ask.id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use simsim_control::verbs::JobError;

    use super::*;

    fn answer(id: u64, body: &str, error: Option<Kind>) -> AnswerAsk {
        let error = error.map(|kind| JobError { kind, message: "no".to_owned() });
        AnswerAsk { id, body: body.to_owned(), error, ..AnswerAsk::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn questions_are_taken_in_order_and_each_hears_its_own_answer() {
        let asks = Arc::new(Asks::default());
        let ask = |verb: &'static str| {
            let asks = Arc::clone(&asks);
            tokio::spawn(async move { asks.ask(verb, "{}".to_owned()).await })
        };
        let (one, two) = (ask("one"), ask("two"));
        let first = asks.next().await.ask.unwrap();
        let second = asks.next().await.ask.unwrap();
        assert_eq!((first.verb.as_str(), second.verb.as_str()), ("one", "two"));
        asks.answer(answer(second.id, "2", None));
        asks.answer(answer(99, "nobody's", None));
        asks.answer(answer(first.id, "", Some(Kind::Denied)));
        assert_eq!(two.await.unwrap().unwrap().body, "2");
        assert_eq!(one.await.unwrap().unwrap_err().kind(), Kind::Denied);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_reach_this_host_is_told_of_at_once_and_not_asked_later() {
        let asks = Asks::default();
        let begun = tokio::time::Instant::now();
        let error = asks.ask("any", String::new()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unreachable);
        assert_eq!(begun.elapsed(), TAKEN_WITHIN);
        assert!(asks.next().await.ask.is_none(), "its owner has gone");
        assert!(begun.elapsed() <= TAKEN_WITHIN + OPEN_MAX + Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_questions_is_refused() {
        let asks = Arc::new(Asks::default());
        let all: Vec<_> = (0..=ASKS_MAX)
            .map(|_| {
                let asks = Arc::clone(&asks);
                tokio::spawn(async move { asks.ask("any", String::new()).await })
            })
            .collect();
        let mut kinds = Vec::new();
        for one in all {
            kinds.push(one.await.unwrap().unwrap_err().kind());
        }
        assert_eq!(kinds.iter().filter(|kind| **kind == Kind::Busy).count(), 1);
    }
}
