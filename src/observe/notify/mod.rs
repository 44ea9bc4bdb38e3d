//! Hooks, webhooks and the outbox: a run reports what it does, and never waits for a receiver.
//!
//! The engine's events go through a channel to a task of their own. It makes messages of some of them, and
//! hands each to the queues of the hooks, of the outbox and of every receiver of webhooks.

mod body;
mod gate;
mod hooks;
mod notice;
mod outbox;
mod watch;
mod webhook;
mod words;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::config::notify::{NotifySettings, Topic};
use crate::config::webhook::{self as receivers, Receiver};
use crate::engine::event::{Event, Sink};
use crate::engine::permission::Approval;
use crate::engine::progress::Progress;
use crate::error::{Error, Result};
use crate::observe::failure::failure;
use body::Body;
use gate::Gate;
use hooks::Hooks;
use notice::{Notice, Sender};
use outbox::Outbox;
use watch::Watch;
use webhook::{Delivery, Timing};

pub(crate) use body::{Dropped, Kind};
pub(crate) use outbox::Announce;

/// How long a run that has ended waits for webhooks and the outbox.
const LAST_DELIVERIES: Duration = Duration::from_secs(10);

/// How long it waits for its last hooks, in all.
const LAST_HOOKS: Duration = hooks::LIMIT;

/// How often the numbers are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Messages that wait for hooks, or for the outbox.
const MOST_WAITING: usize = 1_000;

/// Tells whoever is to hear of one command.
pub(crate) struct Notifier {
    messages: UnboundedSender<Message>,
    task: AbortOnDropHandle<Queues>,
    approval: Option<Arc<dyn Approval>>,
}

/// Who is to hear.
struct Channels {
    hooks: Option<Hooks>,
    outbox: Option<Outbox>,
    receivers: Vec<Receiver>,
    secrets: Arc<[secrecy::SecretSlice<u8>]>,
    events: Vec<Topic>,
}

impl Channels {
    fn open(settings: &NotifySettings, announce: Announce) -> Result<Self> {
        let hooks = settings.hooks.as_deref().map(Hooks::open).transpose()?;
        let outbox = settings.outbox.as_deref().map(|folder| {
            let (to, line) = (settings.outbox_to.as_deref(), settings.outbox_announce.as_deref());
            Outbox::open(folder, to, line, announce)
        });
        let receivers = settings.webhooks.iter().map(Receiver::parse).collect::<Result<_>>()?;
        let secrets = settings.webhook_secret_file.as_deref().map(receivers::secrets);
        Ok(Self {
            hooks,
            outbox: outbox.transpose()?,
            receivers,
            secrets: secrets.transpose()?.unwrap_or_default().into(),
            events: settings.webhook_events.clone(),
        })
    }

    fn is_empty(&self) -> bool {
        self.hooks.is_none() && self.outbox.is_none() && self.receivers.is_empty()
    }
}

/// Whether the settings can be right, without telling anybody anything.
///
/// # Errors
/// `Usage`.
pub(crate) fn check(settings: &NotifySettings) -> Result<()> {
    Channels::open(settings, Arc::new(|_| {})).map(drop)
}

enum Message {
    Event(Event),
    Body(Body),
    End,
}

impl Notifier {
    /// A notifier for a command of this kind, which was given these clauses; `None`: there is no receiver.
    ///
    /// # Errors
    /// `Usage`, for settings that cannot be right.
    pub(crate) fn start(
        settings: &NotifySettings,
        kind: Kind,
        clauses: &str,
        progress: &Arc<Progress>,
        announce: Announce,
    ) -> Result<Option<Self>> {
        let channels = Channels::open(settings, announce)?;
        if channels.is_empty() {
            return Ok(None);
        }
        let sender = Arc::new(Mutex::new(Sender::new(kind, clauses.to_owned())));
        let approval = channels.hooks.clone().map(|hooks| {
            let gate = Gate::new(hooks, kind, Arc::clone(progress), Arc::clone(&sender));
            Arc::new(gate) as Arc<dyn Approval>
        });
        let (messages, queue) = mpsc::unbounded_channel();
        let teller = Teller {
            watch: Watch::new(kind, settings.backup_note.clone()),
            sender,
            progress: Arc::clone(progress),
            counted: kind != Kind::Cleanup,
            queues: Queues::start(channels),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(teller.work(queue)));
        Ok(Some(Self { messages, task, approval }))
    }

    /// Takes the events of a run, and hands them on to `shown`.
    pub(crate) fn sink(&self, shown: Arc<dyn Sink>) -> Arc<dyn Sink> {
        Arc::new(Beside { shown, messages: self.messages.clone() })
    }

    /// The hook that is asked before the table is changed.
    pub(crate) fn approval(&self) -> Option<Arc<dyn Approval>> {
        self.approval.clone()
    }

    /// Tells that tables were dropped.
    pub(crate) fn cleaned(&self, dropped: Vec<Dropped>) {
        let bytes = dropped.iter().map(|table| table.bytes).sum();
        let _ = self.messages.send(Message::Body(Body::Cleaned { dropped, bytes }));
    }

    /// Tells how the command ended where it failed, and waits a little until all is delivered.
    pub(crate) async fn finish(self, error: Option<&Error>) {
        if let Some(error) = error {
            let body = Body::Failed { resumable: error.is_resumable(), failure: failure(error) };
            let _ = self.messages.send(Message::Body(body));
        }
        let _ = self.messages.send(Message::End);
        if let Ok(queues) = self.task.await {
            queues.finish().await;
        }
    }
}

/// Hands on events, and takes a copy of those that could be worth a message.
struct Beside {
    shown: Arc<dyn Sink>,
    messages: UnboundedSender<Message>,
}

impl Sink for Beside {
    fn event(&self, event: Event) {
        if Watch::concerns(&event) {
            let _ = self.messages.send(Message::Event(event.clone()));
        }
        self.shown.event(event);
    }
}

/// Makes messages.
struct Teller {
    watch: Watch,
    sender: Arc<Mutex<Sender>>,
    progress: Arc<Progress>,
    /// The command has numbers.
    counted: bool,
    queues: Queues,
}

impl Teller {
    async fn work(mut self, mut messages: UnboundedReceiver<Message>) -> Queues {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            let message = tokio::select! {
                message = messages.recv() => message,
                _ = ticks.tick() => {
                    let now = self.progress.snapshot();
                    self.sender().look(&now);
                    if let Some(body) = self.watch.tick(now.throttled.as_deref(), Instant::now()) {
                        self.tell(&body);
                    }
                    continue;
                }
            };
            match message {
                Some(Message::Event(event)) => {
                    if matches!(event, Event::Resumed { .. }) {
                        self.sender().reset();
                    }
                    let throttled = self.progress.snapshot().throttled;
                    let body = self.watch.event(event, throttled.as_deref(), Instant::now());
                    if let Some(body) = body {
                        self.tell(&body);
                    }
                }
                Some(Message::Body(body)) => self.tell(&body),
                Some(Message::End) | None => return self.queues,
            }
        }
    }

    fn sender(&self) -> MutexGuard<'_, Sender> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, body: &Body) {
        let now = self.progress.snapshot();
        let numbers = self.counted.then_some(&now);
        let notice = self.sender().notice(body, &now.about, numbers);
        self.queues.send(&Arc::new(notice));
    }
}

/// The queues of all who are told.
struct Queues {
    hooks: Option<Queue>,
    outbox: Option<Queue>,
    deliveries: Vec<Delivery>,
    events: Vec<Topic>,
}

/// One that is worked through by a task, in order.
struct Queue {
    waiting: mpsc::Sender<Arc<Notice>>,
    task: AbortOnDropHandle<()>,
}

impl Queue {
    fn start<F>(handle: impl Fn(Arc<Notice>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (waiting, mut queue) = mpsc::channel(MOST_WAITING);
        let task = tokio::spawn(async move {
            while let Some(notice) = queue.recv().await {
                handle(notice).await;
            }
        });
        Self { waiting, task: AbortOnDropHandle::new(task) }
    }

    fn send(&self, notice: &Arc<Notice>, what: &str) {
        if self.waiting.try_send(Arc::clone(notice)).is_err() {
            tracing::warn!("{what}: too many messages wait; {} is left out", notice.event);
        }
    }

    /// Whether it was worked through in time.
    async fn finish(self, patience: Duration) -> bool {
        drop(self.waiting);
        timeout(patience, self.task).await.is_ok()
    }
}

impl Queues {
    fn start(channels: Channels) -> Self {
        let Channels { hooks, outbox, receivers, secrets, events } = channels;
        let hooks = hooks.map(|hooks| {
            Queue::start(move |notice: Arc<Notice>| {
                let hooks = hooks.clone();
                async move { hooks.on(&notice).await }
            })
        });
        let outbox = outbox.map(|outbox| {
            Queue::start(move |notice: Arc<Notice>| {
                let outbox = outbox.clone();
                async move {
                    // A file system that hangs must hang this task only.
                    let _ = tokio::task::spawn_blocking(move || outbox.put(&notice)).await;
                }
            })
        });
        let start = |receiver| Delivery::start(receiver, Arc::clone(&secrets), Timing::default());
        Self { hooks, outbox, deliveries: receivers.into_iter().map(start).collect(), events }
    }

    fn send(&self, notice: &Arc<Notice>) {
        if let Some(hooks) = &self.hooks {
            hooks.send(notice, "hooks");
        }
        if let Some(outbox) = &self.outbox {
            outbox.send(notice, "outbox");
        }
        if notice.topic.is_some_and(|topic| self.events.is_empty() || self.events.contains(&topic))
        {
            for delivery in &self.deliveries {
                delivery.send(Arc::clone(notice));
            }
        }
    }

    /// Waits for what is left, and reports what was not done.
    async fn finish(self) {
        let Self { hooks, outbox, deliveries, .. } = self;
        let hooks = async {
            if let Some(hooks) = hooks
                && !hooks.finish(LAST_HOOKS).await
            {
                tracing::warn!(
                    "the last hooks did not end within {} s and were ended",
                    LAST_HOOKS.as_secs()
                );
            }
        };
        let outbox = async {
            if let Some(outbox) = outbox
                && !outbox.finish(LAST_DELIVERIES).await
            {
                tracing::warn!("the last messages could not be written into the outbox in time");
            }
        };
        let deliveries = deliveries.into_iter().map(|delivery| async {
            if let Some(problem) = delivery.finish(LAST_DELIVERIES).await {
                tracing::warn!("{problem}");
            }
        });
        tokio::join!(hooks, outbox, futures_util::future::join_all(deliveries));
    }
}
