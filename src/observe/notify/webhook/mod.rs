//! A receiver of webhooks: a bounded queue, delivered in order, each message at least once.

mod sign;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::body::Bytes;
use secrecy::SecretSlice;
use tokio::sync::mpsc::{self, Receiver as Queue, Sender};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::notice::Notice;
use super::words::for_chat;
use crate::config::webhook::Receiver;
use crate::engine::backoff::Backoff;
use crate::http;

/// Messages that wait for one receiver; a run has a few dozen.
const MOST_WAITING: usize = 1_000;

/// How often a message is sent that the receiver refuses, before it is given up.
const REFUSED_MOST: u32 = 3;

/// How long osc waits where a receiver says when to come again, at most.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How patient delivery is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    /// For one answer.
    pub answer: Duration,
    /// The first pause after a failure; each is twice as long as the one before.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(10),
            first: Duration::from_secs(1),
            longest: Duration::from_secs(300),
        }
    }
}

/// Delivers to one receiver.
#[derive(Debug)]
pub(super) struct Delivery {
    queue: Sender<Arc<Notice>>,
    task: AbortOnDropHandle<()>,
    state: Arc<State>,
}

/// What is left to deliver, and why.
#[derive(Debug)]
struct State {
    receiver: Receiver,
    left: AtomicUsize,
    problem: Mutex<Option<String>>,
    /// The run has ended: what failed is tried again at once.
    ending: CancellationToken,
}

impl State {
    fn note(&self, problem: Option<String>) -> Option<String> {
        std::mem::replace(
            &mut *self.problem.lock().unwrap_or_else(PoisonError::into_inner),
            problem,
        )
    }
}

impl Delivery {
    /// Starts to deliver to `receiver`, signed by `secrets`.
    pub(super) fn start(
        receiver: Receiver,
        secrets: Arc<[SecretSlice<u8>]>,
        timing: Timing,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(MOST_WAITING);
        let state = Arc::new(State {
            receiver,
            left: AtomicUsize::new(0),
            problem: Mutex::default(),
            ending: CancellationToken::new(),
        });
        let task = deliver_all(waiting, Arc::clone(&state), secrets, timing);
        Self { queue, task: AbortOnDropHandle::new(tokio::spawn(task)), state }
    }

    /// Puts a message at the end of the queue. Never waits.
    pub(super) fn send(&self, notice: Arc<Notice>) {
        self.state.left.fetch_add(1, Ordering::SeqCst);
        // A full queue has failed for long: what does not fit counts as undelivered.
        let _ = self.queue.try_send(notice);
    }

    /// Waits until all is delivered, at most `patience`; says what was not.
    pub(super) async fn finish(self, patience: Duration) -> Option<String> {
        let Self { queue, task, state } = self;
        drop(queue);
        state.ending.cancel();
        let _ = timeout(patience, task).await;
        let left = state.left.load(Ordering::SeqCst);
        (left > 0).then(|| {
            let messages = if left == 1 { "message was" } else { "messages were" };
            let problem = state.note(None).unwrap_or_else(|| "no answer in time".into());
            format!("{left} {messages} not delivered to {}: {problem}", state.receiver)
        })
    }
}

async fn deliver_all(
    mut waiting: Queue<Arc<Notice>>,
    state: Arc<State>,
    secrets: Arc<[SecretSlice<u8>]>,
    timing: Timing,
) {
    while let Some(notice) = waiting.recv().await {
        let gone = !deliver(&notice, &state, &secrets, timing).await;
        state.left.fetch_sub(1, Ordering::SeqCst);
        if gone {
            tracing::warn!("{} wants no more messages", state.receiver);
            state.left.store(0, Ordering::SeqCst);
            return;
        }
    }
}

/// How one attempt ended.
#[derive(Debug)]
enum Outcome {
    Delivered,
    /// Perhaps it is taken later, and not before this.
    Failed(String, Option<Duration>),
    /// The receiver takes it for wrong.
    Refused(u16),
    /// The receiver is none any more.
    Gone,
}

/// Delivers one message, however long that takes; false: there is no receiver any more.
async fn deliver(
    notice: &Notice,
    state: &State,
    secrets: &[SecretSlice<u8>],
    timing: Timing,
) -> bool {
    let mut backoff = Backoff::new(timing.first, timing.longest);
    let mut refusals = 0;
    loop {
        let attempt = attempt(notice, &state.receiver, secrets);
        let outcome = timeout(timing.answer, attempt).await.unwrap_or_else(|_| {
            Outcome::Failed(format!("no answer within {:?}", timing.answer), None)
        });
        let (problem, wait) = match outcome {
            Outcome::Delivered => {
                if state.note(None).is_some() {
                    tracing::warn!("{} takes messages again", state.receiver);
                }
                return true;
            }
            Outcome::Gone => return false,
            Outcome::Refused(status) => {
                refusals += 1;
                if refusals == REFUSED_MOST {
                    tracing::warn!(
                        "{} refuses the message {}: {status}",
                        state.receiver,
                        notice.event
                    );
                    return true;
                }
                (format!("it answers {status}"), None)
            }
            Outcome::Failed(problem, wait) => (problem, wait),
        };
        if state.note(Some(problem.clone())).is_none() {
            tracing::warn!("{}: {problem}; osc tries again", state.receiver);
        }
        let pause = backoff.pause().max(wait.unwrap_or_default().min(LONGEST_WAIT));
        if state.ending.is_cancelled() {
            sleep(pause.min(timing.first)).await;
        } else {
            tokio::select! {
                () = sleep(pause) => {}
                () = state.ending.cancelled() => {}
            }
        }
    }
}

async fn attempt(notice: &Notice, receiver: &Receiver, secrets: &[SecretSlice<u8>]) -> Outcome {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut headers = Vec::new();
    let body = if receiver.slack {
        serde_json::json!({ "text": for_chat(&notice.text) }).to_string()
    } else {
        headers.push(("webhook-id", notice.id.clone()));
        headers.push(("webhook-timestamp", now.to_string()));
        if !secrets.is_empty() {
            let signature = sign::signature(secrets, &notice.id, now, &notice.json);
            headers.push(("webhook-signature", signature));
        }
        notice.json.clone()
    };
    match http::post_json(&receiver.url, &headers, Bytes::from(body)).await {
        Err(error) => Outcome::Failed(error.to_string(), None),
        Ok(answer) => match answer.status {
            200..300 => Outcome::Delivered,
            410 => Outcome::Gone,
            408 | 425 | 429 | 500.. => {
                Outcome::Failed(format!("it answers {}", answer.status), answer.retry_after)
            }
            300..400 => {
                let redirects =
                    format!("it answers {}, and osc follows no redirect", answer.status);
                Outcome::Failed(redirects, None)
            }
            status => Outcome::Refused(status),
        },
    }
}
