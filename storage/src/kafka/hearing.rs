//! Clients that read and hear nothing are replaced.
//!
//! A client can lose a broker in ways that it does not get over and that its statistics do not show: it names the
//! broker, and never connects to it again. Seen with librdkafka 2.12 on a machine so busy that brokers were taken
//! away and came back many times: a router owned its shards and read none of them, and everything that it said of
//! itself was well. Whoever reads asks a broker several times a second, though, and is answered each time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::statistics::Statistics;
use tokio::time::Instant;

use super::bootstrap::look_every;

/// A client that reads is given up if a broker that it asks says nothing for so long. A broker that hangs is no reason
/// to lose what was read ahead.
const DEAF_AFTER_MIN: Duration = Duration::from_secs(10);
/// The client says only now and then what it heard.
const DEAF_AFTER_LOOKS: u32 = 3;
/// One in the place of another that never heard the broker has twice as long, up to this: it is the broker that is
/// away, and a new client costs something and is told of.
const DEAF_AFTER_MAX: Duration = Duration::from_secs(120);
/// Whoever leads what no broker is known to lead; nobody has this number.
const NO_LEADER: i32 = -1;

/// What brokers have answered to a client, once it has said so; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers(Arc<Mutex<Option<Counted>>>);

#[derive(Debug, Default)]
struct Counted {
    /// Answers of all.
    sum: u64,
    brokers: HashMap<i32, u64>,
    leaders: HashMap<i32, i32>,
}

impl Answers {
    /// Notes what the statistics say of a client that reads partitions of one topic.
    pub(super) fn look(&self, statistics: &Statistics) {
        let mut counted = Counted { sum: statistics.rx.unsigned_abs(), ..Counted::default() };
        // The client's own helpers have no number.
        for broker in statistics.brokers.values().filter(|broker| broker.nodeid >= 0) {
            counted.brokers.insert(broker.nodeid, broker.rx);
            counted.leaders.extend(broker.toppars.values().map(|led| (led.partition, broker.nodeid)));
        }
        *self.0.lock() = Some(counted);
    }

    /// Who leads a partition, and how many answers of it have come; where nobody is known to, of all brokers. None of a
    /// client that has said nothing yet.
    fn of_leader(&self, partition: i32) -> Option<(i32, u64)> {
        let counted = self.0.lock();
        let Counted { sum, brokers, leaders } = counted.as_ref()?;
        let known = leaders.get(&partition).and_then(|leader| Some((*leader, *brokers.get(leader)?)));
        Some(known.unwrap_or((NO_LEADER, *sum)))
    }
}

/// Since when a client that reads hears nothing of the brokers that it asks.
#[derive(Clone, Debug)]
pub(super) struct Hearing {
    deaf_after_min: Duration,
    deaf_after: Duration,
    /// How many answers of a broker have come, and when the last did.
    heard: HashMap<i32, (u64, Instant)>,
    /// Whether whoever it became deaf to had ever answered it.
    was_heard: bool,
}

impl Hearing {
    /// Of a client that begins now and knows so many partitions.
    pub(super) fn new(partitions: u16) -> Self {
        let deaf_after_min = DEAF_AFTER_MIN.max(look_every(partitions) * DEAF_AFTER_LOOKS);
        Self { deaf_after_min, deaf_after: deaf_after_min, heard: HashMap::new(), was_heard: false }
    }

    /// Of the client that takes the place of this one's.
    pub(super) fn next(&self) -> Self {
        let longer = (self.deaf_after * 2).min(DEAF_AFTER_MAX.max(self.deaf_after_min));
        let deaf_after = if self.was_heard { self.deaf_after_min } else { longer };
        Self { deaf_after, heard: HashMap::new(), was_heard: false, ..*self }
    }

    /// Whether it is to be given up, which waits for records of these partitions. Who asks for nothing hears nothing,
    /// and is not deaf.
    pub(super) fn is_deaf(&mut self, answers: &Answers, asked: impl Iterator<Item = i32>, now: Instant) -> bool {
        let mut of_asked = HashMap::new();
        for (leader, count) in asked.filter_map(|partition| answers.of_leader(partition)) {
            let before = self.heard.get(&leader).filter(|(answers, _)| *answers == count);
            of_asked.insert(leader, *before.unwrap_or(&(count, now)));
        }
        self.heard = of_asked;
        let mut deaf = self.heard.values().filter(|(_, heard)| now.duration_since(*heard) > self.deaf_after).peekable();
        let is_deaf = deaf.peek().is_some();
        // What another broker says does not make one that is away come back sooner.
        self.was_heard = deaf.all(|(answers, _)| *answers > 0);
        is_deaf
    }
}

/// Since when questions to brokers are not answered. Somebody who asks only now and then waits for each answer, and knows.
#[derive(Debug)]
pub(super) struct Silence {
    deaf_after: Duration,
    /// When the first and the last of such a row of questions was not answered.
    since: HashMap<i32, (Instant, Instant)>,
}

impl Silence {
    pub(super) fn new() -> Self {
        Self { deaf_after: DEAF_AFTER_MIN, since: HashMap::new() }
    }

    /// A broker answered.
    pub(super) fn answered(&mut self, broker: i32) {
        self.since.remove(&broker);
        if self.since.is_empty() {
            *self = Self::new();
        }
    }

    /// A question to a broker was not answered: whether the client is to be given up. The next one has longer.
    pub(super) fn is_deaf(&mut self, broker: i32, now: Instant) -> bool {
        // Of one that was not asked for long, nothing is known.
        self.since.retain(|_, (_, last)| now.duration_since(*last) <= DEAF_AFTER_MAX);
        let (since, last) = self.since.entry(broker).or_insert((now, now));
        *last = now;
        if now.duration_since(*since) <= self.deaf_after {
            return false;
        }
        *self = Self { deaf_after: (self.deaf_after * 2).min(DEAF_AFTER_MAX), since: HashMap::new() };
        true
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::statistics::{Broker, TopicPartition};

    use super::*;

    /// Brokers with their answers and what they lead.
    fn statistics(brokers: &[(i32, u64, &[i32])]) -> Statistics {
        let of = |(nodeid, rx, led): &(i32, u64, &[i32])| {
            let toppar = |partition: &i32| TopicPartition { topic: "t".to_owned(), partition: *partition };
            let toppars = led.iter().map(|partition| (format!("t-{partition}"), toppar(partition))).collect();
            (nodeid.to_string(), Broker { nodeid: *nodeid, rx: *rx, toppars, ..Broker::default() })
        };
        let rx = brokers.iter().map(|(_, rx, _)| i64::try_from(*rx).unwrap()).sum();
        Statistics { rx, brokers: brokers.iter().map(of).collect(), ..Statistics::default() }
    }

    fn after(began: Instant, ms: u64) -> Instant {
        began + Duration::from_millis(ms)
    }

    #[test]
    fn answers_are_counted_of_whoever_leads() {
        let answers = Answers::default();
        assert_eq!(answers.of_leader(3), None);
        answers.look(&statistics(&[(1, 3, &[0, 1]), (2, 4, &[2]), (-1, 5, &[3])]));
        assert_eq!([0, 1, 2].map(|partition| answers.of_leader(partition)), [(1, 3), (1, 3), (2, 4)].map(Some));
        assert_eq!(answers.of_leader(3), Some((NO_LEADER, 12)), "the client's own helper leads nothing");
    }

    #[test]
    fn a_client_is_deaf_once_it_asked_for_long_and_heard_nothing() {
        let (began, answers) = (Instant::now(), Answers::default());
        let mut hearing = Hearing::new(64);
        let mut is_deaf = |rx, asked: &[i32], ms| {
            answers.look(&statistics(&[(1, rx, &[0])]));
            hearing.is_deaf(&answers, asked.iter().copied(), after(began, ms))
        };
        assert!(!is_deaf(1, &[0], 1_000));
        assert!(!is_deaf(1, &[0], 11_000));
        assert!(is_deaf(1, &[0], 11_001));
        assert!(!is_deaf(2, &[0], 11_002), "an answer came");
        assert!(!is_deaf(2, &[], 60_000), "it asked for nothing");
        assert!(!is_deaf(2, &[0], 70_000), "it asks since then");
        assert!(is_deaf(2, &[0], 80_001));
    }

    #[test]
    fn a_client_that_hears_only_brokers_that_it_does_not_ask_is_deaf() {
        let (began, answers) = (Instant::now(), Answers::default());
        let mut hearing = Hearing::new(64);
        for (rx, ms) in [(1, 0), (2, 5_000), (3, 10_000)] {
            answers.look(&statistics(&[(1, 7, &[0]), (2, rx, &[1])]));
            assert!(!hearing.is_deaf(&answers, [0].into_iter(), after(began, ms)));
        }
        assert!(hearing.is_deaf(&answers, [0].into_iter(), after(began, 10_001)));
        answers.look(&statistics(&[(1, 7, &[]), (2, 4, &[0, 1])]));
        assert!(!hearing.is_deaf(&answers, [0].into_iter(), after(began, 10_002)), "another one leads now");
    }

    #[test]
    fn a_client_that_seldom_says_what_it_heard_has_more_time() {
        let (began, answers) = (Instant::now(), Answers::default());
        let mut hearing = Hearing::new(u16::MAX);
        assert!(
            !hearing.is_deaf(&answers, [0].into_iter(), after(began, 500_000)),
            "it has said nothing of itself yet"
        );
        answers.look(&statistics(&[]));
        assert!(!hearing.is_deaf(&answers, [0].into_iter(), began));
        assert!(!hearing.is_deaf(&answers, [0].into_iter(), after(began, 90_000)));
        assert!(hearing.is_deaf(&answers, [0].into_iter(), after(began, 90_001)));
    }

    #[test]
    fn a_client_whose_questions_are_not_answered_for_long_is_deaf() {
        let (began, mut silence) = (Instant::now(), Silence::new());
        assert!(!silence.is_deaf(1, began));
        assert!(!silence.is_deaf(1, after(began, 10_000)));
        silence.answered(2);
        assert!(silence.is_deaf(1, after(began, 10_001)), "another broker answers");
        assert!(!silence.is_deaf(1, after(began, 10_002)));
        silence.answered(2);
        assert!(!silence.is_deaf(1, after(began, 30_002)), "the next client has longer");
        silence.answered(1);
        assert!(!silence.is_deaf(1, after(began, 30_003)));
        assert!(silence.is_deaf(1, after(began, 40_004)), "it was answered since");
        assert!(!silence.is_deaf(1, after(began, 40_005)));
        assert!(!silence.is_deaf(1, after(began, 400_000)), "it was not asked for long");
    }

    #[test]
    fn while_brokers_are_away_clients_are_replaced_less_and_less_often() {
        let (began, answers) = (Instant::now(), Answers::default());
        let mut hearing = Hearing::new(64);
        // Another broker answers all the time.
        answers.look(&statistics(&[(1, 0, &[0]), (2, 9, &[1])]));
        for seconds in [10, 20, 40, 80, 120, 120] {
            assert!(!hearing.is_deaf(&answers, [0, 1].into_iter(), began));
            assert!(!hearing.is_deaf(&answers, [0].into_iter(), after(began, seconds * 1_000)));
            assert!(hearing.is_deaf(&answers, [0].into_iter(), after(began, seconds * 1_000 + 1)));
            hearing = hearing.next();
        }
        answers.look(&statistics(&[(1, 1, &[0])]));
        assert!(!hearing.is_deaf(&answers, [0].into_iter(), began));
        assert!(hearing.is_deaf(&answers, [0].into_iter(), after(began, 120_001)));
        let mut hearing = hearing.next();
        assert!(!hearing.is_deaf(&answers, [0].into_iter(), began));
        assert!(hearing.is_deaf(&answers, [0].into_iter(), after(began, 10_001)), "it had heard something");
    }
}
