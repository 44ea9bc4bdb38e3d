//! The throttle as a whole, under a clock that jumps.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// Does what a test says.
struct ScriptedSource {
    name: &'static str,
    verdict: watch::Receiver<Option<Verdict>>,
}

impl Source for ScriptedSource {
    fn name(&self) -> &str {
        self.name
    }

    fn period(&self) -> Duration {
        Duration::from_millis(100)
    }

    async fn check(&mut self, _: &Directives) -> Verdict {
        match self.verdict.borrow().clone() {
            Some(verdict) => verdict,
            None => panic!("the puppet falls"),
        }
    }
}

/// Compares the operator's limit with a lag of one second.
struct OneSecond;

impl Source for OneSecond {
    fn name(&self) -> &str {
        "one second"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(3600)
    }

    async fn check(&mut self, directives: &Directives) -> Verdict {
        match directives.max_lag {
            Some(limit) if limit < Duration::from_secs(1) => Verdict::Pause("1s".into()),
            _ => Verdict::Run,
        }
    }
}

/// Never answers.
struct NeverAnswers;

impl Source for NeverAnswers {
    fn name(&self) -> &str {
        "deaf"
    }

    fn period(&self) -> Duration {
        Duration::from_millis(100)
    }

    async fn check(&mut self, _: &Directives) -> Verdict {
        std::future::pending().await
    }
}

/// A server on which others are at work, and that shows how many statements are under way.
struct Patient(watch::Receiver<u32>);

impl ActivityProbe for Patient {
    async fn sample(&mut self) -> Result<activity::ActivitySample> {
        Ok(activity::ActivitySample { others: true, working: Some(*self.0.borrow()), log: None })
    }
}

struct Stage {
    directives: watch::Sender<Directives>,
    stop: CancellationToken,
}

fn stage(rate: u32) -> (Stage, Throttle) {
    let stage = Stage { directives: watch::Sender::default(), stop: CancellationToken::new() };
    let throttle = Throttle::new(stage.directives.subscribe(), NonZeroU32::new(rate), &stage.stop);
    (stage, throttle)
}

fn puppet(first: Verdict) -> (watch::Sender<Option<Verdict>>, ScriptedSource) {
    let (string, verdict) = watch::channel(Some(first));
    (string, ScriptedSource { name: "puppet", verdict })
}

const MOMENT: Duration = Duration::from_millis(200);

async fn admits(throttle: &Throttle) -> bool {
    timeout(MOMENT, throttle.admit(1)).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn without_sources_the_copy_runs() {
    let (_stage, throttle) = stage(0);
    assert!(admits(&throttle).await);
    assert_eq!(throttle.paused(), None);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_was_not_looked_at_yet_holds_the_copy_back() {
    let (_stage, throttle) = stage(0);
    let throttle = throttle.with(NeverAnswers);
    assert_eq!(throttle.paused().unwrap(), "deaf: waiting for the first check");
    assert!(!admits(&throttle).await);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(throttle.paused().unwrap(), "deaf: no answer within 2s");
    assert!(!admits(&throttle).await);
}

#[tokio::test(start_paused = true)]
async fn a_pause_lasts_until_the_source_takes_it_back() {
    let (_stage, throttle) = stage(0);
    let (string, puppet) = puppet(Verdict::Pause("busy".into()));
    let throttle = throttle.with(puppet);
    assert!(!admits(&throttle).await);
    assert_eq!(throttle.paused().unwrap(), "busy");
    let mut changed = throttle.changed();
    string.send_replace(Some(Verdict::Run));
    changed.changed().await.unwrap();
    assert_eq!(*changed.borrow(), None);
    assert!(admits(&throttle).await);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_pauses_the_copy() {
    let (_stage, throttle) = stage(0);
    let (string, puppet) = puppet(Verdict::Run);
    let throttle = throttle.with(puppet);
    assert!(admits(&throttle).await);
    string.send_replace(None);
    tokio::time::sleep(MOMENT).await;
    assert!(!admits(&throttle).await);
}

#[tokio::test(start_paused = true)]
async fn critical_load_ends_the_run_resumably_and_for_all_who_wait() {
    let (_stage, throttle) = stage(1);
    let (string, puppet) = puppet(Verdict::Run);
    let throttle = throttle.with(puppet);
    let end = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        string.send_replace(Some(Verdict::End("too hot".into())));
    };
    let (one, two, ()) = tokio::join!(throttle.admit(1000), throttle.admit(1000), end);
    for result in [one, two, throttle.admit(1).await] {
        let error = result.unwrap_err();
        assert_eq!((error.to_string().as_str(), error.is_resumable()), ("stopped: too hot", true));
    }
}

#[tokio::test(start_paused = true)]
async fn the_operator_pauses_resumes_and_aborts_quickly() {
    let (stage, throttle) = stage(0);
    stage.directives.send_modify(|directives| directives.pause = Some("paused by hand".into()));
    tokio::task::yield_now().await;
    assert!(!admits(&throttle).await);
    assert_eq!(throttle.paused().unwrap(), "paused by hand");
    stage.directives.send_modify(|directives| directives.pause = None);
    assert!(admits(&throttle).await);
    stage.directives.send_modify(|directives| directives.pause = Some("again".into()));
    tokio::task::yield_now().await;
    let abort = async { stage.directives.send_modify(|directives| directives.abort = true) };
    let (result, ()) = tokio::join!(timeout(MOMENT, throttle.admit(1)), abort);
    assert!(matches!(result, Ok(Err(Error::Stopped { .. }))));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_limit_reaches_a_source_at_once() {
    let (stage, throttle) = stage(0);
    let throttle = throttle.with(OneSecond);
    assert!(admits(&throttle).await);
    stage.directives.send_modify(|directives| directives.max_lag = Some(MOMENT));
    tokio::time::sleep(MOMENT).await;
    assert!(!admits(&throttle).await);
    stage.directives.send_modify(|directives| directives.max_lag = None);
    assert!(admits(&throttle).await);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_rate_reaches_a_copy_that_waits() {
    let (stage, throttle) = stage(10);
    let start = Instant::now();
    let raise = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        stage
            .directives
            .send_modify(|directives| directives.max_rows_per_second = NonZeroU32::new(100_000));
    };
    let (result, ()) = tokio::join!(throttle.admit(10_000), raise);
    drop(result.unwrap());
    let took = start.elapsed().as_secs_f64();
    assert!((1.0..1.2).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn several_callers_share_one_rate() {
    let (_stage, throttle) = stage(1000);
    let start = Instant::now();
    let copy = async || {
        for _ in 0..10 {
            drop(throttle.admit(250).await.unwrap());
        }
    };
    tokio::join!(copy(), copy(), copy(), copy());
    let took = start.elapsed().as_secs_f64();
    assert!((9.8..10.1).contains(&took), "{took}");
}

/// As many chunks as are in flight at most, when each takes 100 ms; and how many passed in 5 s.
async fn chunks(throttle: &Throttle) -> (u32, u32) {
    let (now, most, passed) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    let worker = async || {
        loop {
            let _turn = throttle.admit(1).await.unwrap();
            most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            tokio::time::sleep(MOMENT / 2).await;
            now.fetch_sub(1, Ordering::Relaxed);
            passed.fetch_add(1, Ordering::Relaxed);
        }
    };
    let all = async { tokio::join!(worker(), worker(), worker(), worker()) };
    let _ = timeout(Duration::from_secs(5), all).await;
    (most.into_inner(), passed.into_inner())
}

#[tokio::test(start_paused = true)]
async fn feedback_narrows_the_copy_and_lets_it_go() {
    let (_stage, throttle) = stage(0);
    let working = watch::Sender::new(1);
    let throttle = throttle.with_feedback(Patient(working.subscribe()), 4);
    let (most, passed) = chunks(&throttle).await;
    assert!(most == 4 && passed > 180, "{most} {passed}");
    assert!((throttle.share() - 1.0).abs() < 1e-9);
    working.send_replace(100);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let pacing = throttle.pacing().borrow().clone().unwrap();
    assert!(pacing.width < 0.3, "{pacing:?}");
    assert!(pacing.reason.unwrap().contains("100 statements under way"));
    let (most, passed) = chunks(&throttle).await;
    assert!(most == 1 && (10..20).contains(&passed), "{most} {passed}");
    assert!(throttle.share() < 0.6);
    working.send_replace(1);
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(throttle.pacing().borrow().as_ref().unwrap().reason, None);
    let (most, passed) = chunks(&throttle).await;
    assert!(most == 4 && passed > 180, "{most} {passed}");
}

#[tokio::test(start_paused = true)]
async fn a_wish_for_fewer_threads_bounds_the_width() {
    let (stage, throttle) = stage(0);
    let throttle = throttle.with_feedback(Patient(watch::Sender::new(1).subscribe()), 4);
    stage.directives.send_modify(|directives| directives.threads = NonZeroUsize::new(2));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(chunks(&throttle).await.0, 2);
}

#[tokio::test(start_paused = true)]
async fn cancelling_the_run_ends_every_wait_and_every_task() {
    let (stage, throttle) = stage(0);
    let throttle = throttle.with(NeverAnswers);
    stage.stop.cancel();
    assert!(matches!(throttle.admit(1).await, Err(Error::Stopped { .. })));
    throttle.close().await;
}
