//! The orders of a run, read from the ledger while it is under way, and what the ledger keeps of the run
//! beside its checkpoints. In a session of its own: neither copying nor locking waits for it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::event::{Event, Sink};
use super::picture::Camera;
use super::progress::{Phase, Progress};
use crate::control::order::{Answer, Verb, Written};
use crate::control::sources::{Desk, Taken};
use crate::error::{Error, Result};
use crate::throttle::Throttle;

/// How often orders are read.
const PERIOD: Duration = Duration::from_millis(500);

/// After so many looks the run's picture is stored.
const LOOKS_A_PICTURE: u32 = 2;

/// How long the end of a run may wait for its last answers.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// How long a picture is written over before the next row begins: the distance of the samples.
const SAMPLE: Duration = Duration::from_secs(10);

/// How long reading, or writing, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// For how long it fails before that is reported: at all, and where only the connection is lost, which the run
/// itself reports.
const REPORTED_AFTER: Duration = Duration::from_secs(2);
const LOST_AFTER: Duration = Duration::from_secs(60);

/// What pauses or permits shows in the throttle by then.
const SETTLES: Duration = Duration::from_millis(50);

/// One attempt's place in the ledger for orders and samples. A call that fails, or is dropped, may be made again.
pub trait Book: Send {
    /// The orders for this run that have no answer, oldest first; not all, if they are many. Those that were
    /// there when this attempt began are answered at the first call.
    fn unanswered(&mut self) -> impl Future<Output = Result<Vec<Written>>> + Send;

    /// Answers an order, unless another attempt has the run.
    fn answer(&mut self, order: i64, answer: &str) -> impl Future<Output = Result<()>> + Send;

    /// Keeps the run's picture and its series, in a row of their own (`new`) or in the last one.
    fn keep(
        &mut self,
        series: &str,
        picture: &str,
        new: bool,
    ) -> impl Future<Output = Result<()>> + Send;
}

/// What a run's orders are about.
pub(crate) struct Scene<'a> {
    /// Where they are handed in.
    pub desk: &'a Desk,
    /// Back-pressure.
    pub throttle: &'a Throttle,
    /// Counters for whoever shows them.
    pub progress: &'a Progress,
    /// Where events go.
    pub sink: &'a dyn Sink,
    /// An earlier attempt of the run was promised `--hold`.
    pub held: bool,
}

/// Does `work` while it reads the run's orders, has them take effect and answers them, and keeps the run's
/// picture. Returns what `work` does; by then what was taken is answered.
pub(crate) async fn beside<B: Book, T>(
    book: B,
    scene: &Scene<'_>,
    work: impl Future<Output = T>,
) -> T {
    let mut follower = Follower::new(book);
    scene.progress.holding.begin(scene.throttle.sources(), scene.held);
    let outcome = tokio::select! {
        outcome = work => outcome,
        never = Box::pin(follower.follow(scene)) => match never {},
    };
    // What let the run come to its end is answered in time, if its session is still of use.
    if follower.works {
        let _ = timeout(LAST_ANSWERS, follower.close(scene)).await;
    }
    scene.progress.holding.end();
    outcome
}

struct Follower<B> {
    book: B,
    /// Orders that took effect, and whose answer is not stored.
    taken: BTreeMap<i64, Pending>,
    camera: Camera,
    /// The last time it had all it asked for.
    works: bool,
}

#[derive(Clone)]
struct Pending {
    order: Written,
    taken: Taken,
    reported: bool,
}

impl Pending {
    fn report(&mut self, sink: &dyn Sink) {
        if !std::mem::replace(&mut self.reported, true) {
            sink.event(event(&self.order, &self.taken.answer));
        }
    }
}

impl<B: Book> Follower<B> {
    fn new(book: B) -> Self {
        Self { book, taken: BTreeMap::new(), camera: Camera::default(), works: false }
    }

    async fn follow(&mut self, scene: &Scene<'_>) -> Infallible {
        if let Some(table) = scene.progress.subject().about().table {
            scene.desk.set_table(&table);
        }
        let mut orders =
            Trouble::new("orders cannot be read: only the control file and signals steer the run");
        let mut samples =
            Trouble::new("`osc status` shows no figures of the run: they cannot be stored");
        let mut row_begun: Option<Instant> = None;
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            for looks in 0..LOOKS_A_PICTURE {
                ticks.tick().await;
                let outcome = within(self.answer_all(scene)).await;
                self.works = outcome.is_ok();
                orders.see(outcome, scene.sink);
                if looks == 0 {
                    let new = row_begun.is_none_or(|begun| begun.elapsed() >= SAMPLE);
                    let outcome = within(self.keep(scene, new)).await;
                    if new && outcome.is_ok() {
                        row_begun = Some(Instant::now());
                    }
                    samples.see(outcome, scene.sink);
                }
            }
        }
    }

    /// The run has come to its end.
    async fn close(&mut self, scene: &Scene<'_>) -> Result<()> {
        for (number, mut pending) in std::mem::take(&mut self.taken) {
            pending.report(scene.sink);
            self.book.answer(number, &pending.taken.answer.to_string()).await?;
        }
        for order in self.book.unanswered().await? {
            let late = Answer::Refused("the run has come to its end".into());
            self.book.answer(order.author.order, &late.to_string()).await?;
        }
        self.keep(scene, false).await
    }

    async fn keep(&mut self, scene: &Scene<'_>, new: bool) -> Result<()> {
        let directives = scene.desk.directives().borrow().clone();
        let picture = self.camera.take(scene.progress, &directives);
        let failed = |error| Error::Internal(format!("no picture of the run: {error}"));
        let series = serde_json::to_string(&picture.series()).map_err(failed)?;
        let picture = serde_json::to_string(&picture).map_err(failed)?;
        self.book.keep(&series, &picture, new).await
    }

    async fn answer_all(&mut self, scene: &Scene<'_>) -> Result<()> {
        for order in self.book.unanswered().await? {
            let number = order.author.order;
            if scene.progress.phase() >= Phase::Finish {
                let late =
                    Answer::Refused("the tables are swapped: nothing is left to steer".into());
                self.book.answer(number, &late.to_string()).await?;
                continue;
            }
            // Where it is known, its answer was lost on the way.
            if !self.taken.contains_key(&number) {
                let taken = scene.desk.take(&order);
                let mut pending = Pending { order, taken, reported: false };
                // Before anything is awaited: what it lets go may end the run.
                self.taken.insert(number, pending.clone());
                let Taken { answer, verb } = pending.taken;
                pending.taken = Taken { answer: in_full(answer, verb, scene).await, verb };
                pending.report(scene.sink);
                self.taken.insert(number, pending);
            }
            let Some(pending) = self.taken.get(&number).cloned() else { continue };
            let stored = self.book.answer(number, &pending.taken.answer.to_string()).await;
            if pending.taken.verb == Some(Verb::Abort) {
                scene.desk.abort();
            }
            stored?;
            self.taken.remove(&number);
        }
        Ok(())
    }
}

async fn within(step: impl Future<Output = Result<()>>) -> Result<()> {
    let silent = |_| Err(Error::silence("reading orders", PATIENCE));
    timeout(PATIENCE, step).await.unwrap_or_else(silent)
}

/// The answer with what else there is to know: an order that lets the run go on does not alone decide it.
async fn in_full(answer: Answer, verb: Option<Verb>, scene: &Scene<'_>) -> Answer {
    let (Answer::Accepted(text), Some(Verb::Resume | Verb::CutOver)) = (&answer, verb) else {
        return answer;
    };
    sleep(SETTLES).await;
    let directives = scene.desk.directives().borrow().clone();
    let table = scene.progress.subject().about().table.unwrap_or_else(|| "TABLE".into());
    let mut holders = scene.progress.holding.holders(&directives, &table);
    if verb == Some(Verb::Resume) && scene.progress.phase() < Phase::Hold {
        // What waits for the cut-over holds nothing up yet.
        holders.retain(|holder| !holder.what.starts_with("on hold"));
    }
    let still: Vec<String> =
        holders.iter().map(|holder| format!("{} [{}]", holder.what, holder.lift)).collect();
    Answer::Accepted(match (still.as_slice(), verb) {
        ([], Some(Verb::CutOver)) if scene.progress.phase() < Phase::Hold => {
            format!("{text}: it follows as soon as the copy is complete and verified")
        }
        ([], _) => format!("{text}; nothing holds the run now"),
        (still, _) => format!("{text}; still held by: {}", still.join("; ")),
    })
}

fn event(order: &Written, answer: &Answer) -> Event {
    Event::Order {
        order: order.author.order,
        verb: order.verb.clone(),
        arguments: order.arguments.clone(),
        who: order.author.who.clone(),
        host: order.author.host.clone(),
        why: order.why.clone(),
        outcome: answer.word(),
        answer: answer.text().to_owned(),
    }
}

/// Something that fails again and again: reported once, and once when it works again.
struct Trouble {
    what: &'static str,
    since: Option<Instant>,
    reported: bool,
}

impl Trouble {
    fn new(what: &'static str) -> Self {
        Self { what, since: None, reported: false }
    }

    fn see(&mut self, outcome: Result<()>, sink: &dyn Sink) {
        let Err(error) = outcome else {
            if std::mem::take(&mut self.reported) {
                let text = format!("no longer so: {}", self.what);
                sink.event(Event::Note { text });
            }
            self.since = None;
            return;
        };
        let since = *self.since.get_or_insert_with(Instant::now);
        let patience = if error.is_connection() { LOST_AFTER } else { REPORTED_AFTER };
        if !self.reported && since.elapsed() >= patience {
            self.reported = true;
            let text = format!("{} ({})", self.what, error.problem());
            sink.event(Event::Warning { text });
        }
    }
}
