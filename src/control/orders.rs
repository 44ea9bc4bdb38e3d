//! The orders that are in effect: what pauses, and what settings they made, each until its time is over.
//!
//! They end with the attempt that took them. Whoever reads the ledger hands them over (`engine/orders.rs`).

use tokio::time::Instant;

use super::order::{Change, Effect, MOST_TEXT, Written, shortened};
use super::wishes::Side;
use super::{Author, Holder, Key, Origin, Wishes};

/// As many orders may be in effect at a time.
const MOST_IN_EFFECT: usize = 100;

/// The orders of this attempt that have an effect.
#[derive(Debug, Default)]
pub(super) struct Orders(Vec<InEffect>);

#[derive(Debug)]
struct InEffect {
    author: Author,
    why: String,
    since: Instant,
    until: Option<Instant>,
    what: What,
}

#[derive(Debug)]
enum What {
    Pause,
    Setting(Key, Wishes),
}

impl Orders {
    /// Another order takes effect at `now`; what there is to say about it.
    ///
    /// # Errors
    /// Why it does not.
    pub(super) fn take(
        &mut self,
        order: &Written,
        effect: Effect,
        now: Instant,
    ) -> Result<String, String> {
        let until = order.lasts.and_then(|lasts| now.checked_add(lasts));
        if self.0.len() >= MOST_IN_EFFECT && !matches!(effect, Effect::Resume | Effect::Abort) {
            return Err(format!("{MOST_IN_EFFECT} orders are in effect already"));
        }
        let in_effect = |what| InEffect {
            author: order.author.clone(),
            why: shortened(&order.why, MOST_TEXT),
            since: now,
            until,
            what,
        };
        match effect {
            Effect::Abort => {}
            Effect::Pause => self.0.push(in_effect(What::Pause)),
            Effect::Resume => {
                let paused = |order: &mut InEffect| matches!(order.what, What::Pause);
                let lifted = self.0.extract_if(.., paused).map(|order| order.author.to_string());
                let lifted: Vec<String> = lifted.collect();
                return Ok(match lifted.as_slice() {
                    [] => "no order had paused the run".into(),
                    lifted => format!("lifted {}", lifted.join(", ")),
                });
            }
            Effect::Set(changes) => {
                for (key, change) in changes {
                    self.0.retain(|order| !order.sets(key) || change.leaves(order.until, until));
                    if let Change::To(wishes) = change {
                        self.0.push(in_effect(What::Setting(key, wishes)));
                    }
                }
            }
        }
        Ok(String::new())
    }

    /// Forgets what is over by `now`; whether there was anything.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let before = self.0.len();
        self.0.retain(|order| order.until.is_none_or(|until| now < until));
        self.0.len() < before
    }

    /// What they say of the settings.
    pub(super) fn sides(&self) -> impl Iterator<Item = Side<'_>> {
        self.0.iter().filter_map(|order| match &order.what {
            What::Pause => None,
            What::Setting(_, wishes) => Some(Side {
                wishes,
                origin: Origin::Order(order.author.clone()),
                since: order.since,
                fresh: true,
            }),
        })
    }

    /// What pauses the run by them.
    pub(super) fn pauses(&self, table: &str) -> impl Iterator<Item = Holder> {
        let lift = format!("osc resume {}", crate::shell::word(table));
        let pauses = self.0.iter().filter(|order| matches!(order.what, What::Pause));
        pauses.map(move |order| {
            let mut what = format!("paused by {}", order.author);
            if !order.why.is_empty() {
                what = format!("{what}: {}", order.why);
            }
            Holder { what, lift: lift.clone() }
        })
    }
}

impl InEffect {
    fn sets(&self, key: Key) -> bool {
        matches!(&self.what, What::Setting(of, _) if *of == key)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::control::Directives;
    use crate::control::order::parse;
    use crate::control::wishes::combine;

    fn written(verb: &str, arguments: &str) -> Written {
        Written { verb: verb.into(), arguments: arguments.into(), ..Written::default() }
    }

    fn take(orders: &mut Orders, verb: &str, arguments: &str, lasts: Option<u64>, now: Instant) {
        let lasts = lasts.map(Duration::from_secs);
        let order = Written { lasts, ..written(verb, arguments) };
        let effect = parse(&order).unwrap();
        orders.take(&order, effect, now).unwrap();
    }

    fn threads(orders: &Orders) -> Option<usize> {
        let sides: Vec<_> = orders.sides().collect();
        combine(&Directives::default(), &sides, Vec::new()).threads.map(Into::into)
    }

    #[test]
    fn what_expires_leaves_what_held_before() {
        let (mut orders, begun) = (Orders::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        take(&mut orders, "set", "threads=2", None, at(0));
        take(&mut orders, "set", "threads=3", Some(100), at(1));
        take(&mut orders, "set", "threads=4", Some(10), at(2));
        take(&mut orders, "pause", "", Some(10), at(2));
        assert_eq!((threads(&orders), orders.pauses("t").count()), (Some(4), 1));
        assert!(!orders.expire(at(11)));
        assert!(orders.expire(at(12)));
        assert_eq!((threads(&orders), orders.pauses("t").count()), (Some(3), 0));
        assert!(orders.expire(at(101)));
        assert_eq!(threads(&orders), Some(2));
        take(&mut orders, "set", "threads=default", None, at(102));
        assert_eq!(threads(&orders), None);
        // One that lasts is behind none.
        take(&mut orders, "set", "threads=3", Some(100), at(103));
        take(&mut orders, "set", "threads=4", None, at(104));
        assert!(!orders.expire(at(500)));
        assert_eq!(threads(&orders), Some(4));
    }

    #[test]
    fn resume_lifts_what_all_orders_paused() {
        let (mut orders, now) = (Orders::default(), Instant::now());
        let of = |order, who: &str| Author { order, who: who.into(), ..Author::default() };
        for (number, who) in [(3, "ann"), (5, "bob")] {
            let pause = Written {
                author: of(number, who),
                why: "peak\nhours".into(),
                ..written("pause", "")
            };
            orders.take(&pause, Effect::Pause, now).unwrap();
        }
        let whats: Vec<_> = orders.pauses("t").map(|holder| holder.what).collect();
        assert_eq!(
            whats,
            ["paused by order 3 of ann: peak hours", "paused by order 5 of bob: peak hours"]
        );
        let lifted = orders.take(&written("resume", ""), Effect::Resume, now).unwrap();
        assert_eq!(lifted, "lifted order 3 of ann, order 5 of bob");
        assert_eq!(orders.pauses("t").count(), 0);
        let lifted = orders.take(&written("resume", ""), Effect::Resume, now).unwrap();
        assert_eq!(lifted, "no order had paused the run");
    }

    #[test]
    fn so_many_orders_are_in_effect_and_no_more() {
        let (mut orders, now) = (Orders::default(), Instant::now());
        for _ in 0..MOST_IN_EFFECT {
            take(&mut orders, "pause", "", None, now);
        }
        assert!(orders.take(&written("pause", ""), Effect::Pause, now).is_err());
        take(&mut orders, "resume", "", None, now);
        take(&mut orders, "pause", "", None, now);
    }
}
