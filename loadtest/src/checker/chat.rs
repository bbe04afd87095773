//! What is known of one chat, and what does not fit in it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use panda_protocol::event::{Event, EventBody};
use panda_protocol::session::client::Unexpected;
use panda_protocol::{ChatId, Counter, DeviceId, Seq};

use super::digest;
use super::harm::{Harm, Harmed};
use super::verdict::ChatVerdict;
use super::violation::{Source, Violation};

/// Names a send of a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendId(u32);

/// What became of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody said; it is there at most once.
    Unknown,
    /// It is at this seq.
    Acked(u64),
    /// It did not and will not happen.
    Refused(u16),
}

/// What a delivery says of the send that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// This long after the send was due.
    After(Duration),
    /// Before its submission was recorded; [`ChatCheck::submitted`] tells.
    Early,
    /// Not by a send of this run, or a repetition.
    Other,
}

#[derive(Debug)]
struct Send {
    user: u32,
    device: DeviceId,
    counter: Counter,
    text: u64,
    due: Duration,
    outcome: Outcome,
    /// When it was acked, or else due.
    at: Duration,
}

/// The reference of one seq: what the first source showed.
#[derive(Debug)]
struct Entry {
    event: u64,
    shown_by: Source,
    stored: Stored,
    message: Option<Message>,
}

/// What the store shows under a seq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stored {
    /// It was not read so far.
    Unread,
    /// Nothing.
    Missing,
    /// What was seen first.
    AsSeen,
    /// The same send with other bytes.
    Altered,
    /// Something else.
    Another,
}

#[derive(Debug)]
struct Message {
    device: DeviceId,
    counter: Counter,
    text: u64,
}

impl Message {
    /// `None` of an event that is no message.
    fn of(event: &Event) -> Option<Self> {
        let EventBody::MessageSent { text, .. } = &event.body else { return None };
        Some(Self { device: event.device, counter: event.counter, text: digest(text.as_bytes()) })
    }

    /// As [`Self::of`]; also `None` of bytes that are no event of this seq.
    fn in_bytes(seq: u64, event: &Bytes) -> Option<Self> {
        Event::from_bytes(event).ok().filter(|event| event.seq.0 == seq).and_then(|event| Self::of(&event))
    }

    fn is_of_send(&self, other: &Self) -> bool {
        (self.device, self.counter) == (other.device, other.counter)
    }
}

/// What was told of the send at a place.
type Told = HashSet<(u32, Harm)>;

/// A session's stream. `first` is what came first, `next` what is due.
#[derive(Debug, Default)]
struct Stream {
    said: Option<u64>,
    first: Option<u64>,
    next: Option<u64>,
}

/// The checker of one chat.
#[derive(Debug)]
pub struct ChatCheck {
    chat: ChatId,
    entries: BTreeMap<u64, Entry>,
    streams: HashMap<u32, Stream>,
    devices: HashSet<DeviceId>,
    is_ours: bool,
    /// In the order of submission, which each sender keeps.
    sends: Vec<Send>,
    by_counter: HashMap<(DeviceId, Counter), u32>,
    early: Vec<(DeviceId, Counter, Duration)>,
    history_next: Option<u64>,
    verdict: ChatVerdict,
}

impl ChatCheck {
    /// A chat of which nothing is known.
    pub fn new(chat: ChatId) -> Self {
        Self {
            chat,
            entries: BTreeMap::new(),
            streams: HashMap::new(),
            devices: HashSet::new(),
            is_ours: false,
            sends: Vec::new(),
            by_counter: HashMap::new(),
            early: Vec::new(),
            history_next: None,
            verdict: ChatVerdict::default(),
        }
    }

    /// Nobody but this run sends here, and all that it sends is told: any other message behind its begin is found.
    pub const fn only_ours(&mut self) {
        self.is_ours = true;
    }

    /// Which chat.
    pub const fn chat(&self) -> ChatId {
        self.chat
    }

    /// What an earlier run found in the store, from the first event on: this one must find it, too.
    pub fn expect(&mut self, digests: &[u64]) {
        for (seq, &event) in (1..).zip(digests) {
            self.entries.insert(seq, Entry { event, shown_by: Source::Earlier, stored: Stored::Unread, message: None });
        }
    }

    /// The digests of all events, from the first on, once the store was read to its head; none if it does
    /// not begin there.
    pub fn digests(&self) -> Option<Vec<u64>> {
        let is_there = |entry: &Entry| !matches!(entry.stored, Stored::Unread | Stored::Missing);
        let whole = (1..).zip(&self.entries).all(|(seq, (found, entry))| seq == *found && is_there(entry));
        whole.then(|| self.entries.values().map(|entry| entry.event).collect())
    }

    /// A session of this run begins to listen; its events may come before [`Self::admitted`].
    pub fn listening(&mut self, session: u32, device: DeviceId) {
        self.devices.insert(device);
        self.streams.insert(session, Stream::default());
        self.verdict.streams += 1;
    }

    /// The answer to a subscription: events begin at `from`.
    pub fn admitted(&mut self, session: u32, from: u64) {
        let Some(stream) = self.streams.get_mut(&session) else { return };
        stream.said = Some(from);
        stream.next.get_or_insert(from);
        if let Some(got) = stream.first.filter(|&first| first != from) {
            self.violated(Violation::WrongStart { session, said: from, got });
        }
    }

    /// The outcome of a resume: events go on at `from`. Anything but the next one is a hole or a repetition.
    pub fn resumed(&mut self, session: u32, from: u64) {
        let source = Source::Session(session);
        let Some(stream) = self.streams.get_mut(&session) else { return };
        let Some(expected) = stream.next else {
            stream.next = Some(from);
            return;
        };
        stream.next = Some(from);
        if from > expected {
            self.violated(Violation::Gap { source, expected, got: from });
        } else if from < expected {
            self.violated(Violation::Reordered { source, expected, got: from });
        }
    }

    /// A session stops listening on purpose; what follows is not its concern.
    pub fn left(&mut self, session: u32) {
        self.streams.remove(&session);
    }

    /// A session got an event `at` so long after the load began.
    pub fn delivered(&mut self, session: u32, seq: u64, event: &Bytes, at: Duration) -> Delivered {
        let source = Source::Session(session);
        let Some(stream) = self.streams.get_mut(&session) else {
            self.violated(Violation::NotListening { session, seq });
            return Delivered::Other;
        };
        stream.first.get_or_insert(seq);
        let wrong = match stream.next {
            Some(next) if seq > next => Some(Violation::Gap { source, expected: next, got: seq }),
            Some(next) if seq + 1 == next => Some(Violation::Repeated { source, seq }),
            Some(next) if seq < next => Some(Violation::Reordered { source, expected: next, got: seq }),
            _ => None,
        };
        // A repetition does not move the stream back: what follows it is judged as if it had not come.
        stream.next = Some(stream.next.map_or(seq + 1, |next| next.max(seq + 1)));
        self.verdict.deliveries += 1;
        self.compare(seq, event, source);
        if let Some(wrong) = wrong {
            self.violated(wrong);
            return Delivered::Other;
        }
        let Some(message) = self.entries.get(&seq).and_then(|entry| entry.message.as_ref()) else {
            return Delivered::Other;
        };
        let key = (message.device, message.counter);
        match self.by_counter.get(&key) {
            Some(&send) => Delivered::After(at.saturating_sub(self.sends[send as usize].due)),
            None if self.devices.contains(&key.0) => {
                self.early.push((key.0, key.1, at));
                Delivered::Early
            }
            None => Delivered::Other,
        }
    }

    /// A session's client dropped an event that may not come. Nothing of it is passed on, and a gap is healed by the
    /// client itself: this word of it is all that there is.
    pub fn unexpected(&mut self, session: u32, seq: Seq, how: Unexpected) {
        self.violated(Violation::unexpected(session, seq, how));
    }

    /// A send left, `due` so long after the load began. Calls of one user come in the order of its sends.
    /// Also gives how long after `due` it was delivered already, where it was.
    pub fn submitted(
        &mut self,
        user: u32,
        device: DeviceId,
        counter: Counter,
        text: &[u8],
        due: Duration,
    ) -> (SendId, Vec<Duration>) {
        let place = u32::try_from(self.sends.len()).expect("fewer than 2^32 sends fit the memory");
        let send = Send { user, device, counter, text: digest(text), due, outcome: Outcome::Unknown, at: due };
        self.sends.push(send);
        self.by_counter.insert((device, counter), place);
        let mut early = Vec::new();
        self.early.retain(|&(early_device, early_counter, at)| {
            let other = (early_device, early_counter) != (device, counter);
            if !other {
                early.push(at.saturating_sub(due));
            }
            other
        });
        (SendId(place), early)
    }

    /// The answer to a send, `at` so long after the load began.
    pub fn answered(&mut self, send: SendId, outcome: Outcome, at: Duration) {
        let send = &mut self.sends[send.0 as usize];
        send.outcome = outcome;
        send.at = if matches!(outcome, Outcome::Acked(_)) { at } else { send.due };
    }

    /// The violations that were found so far; they are in no later verdict.
    pub fn take_found(&mut self) -> ChatVerdict {
        let violations = std::mem::take(&mut self.verdict.violations);
        ChatVerdict { violations, kept: std::mem::take(&mut self.verdict.kept), ..ChatVerdict::default() }
    }

    /// Where the first session was told to begin; 0 if none was told.
    pub fn begins(&self) -> u64 {
        self.streams.values().filter_map(|stream| stream.said).min().unwrap_or(0)
    }

    /// A message of the transcript was refused for good.
    pub fn not_taken(&mut self, user: u32, code: u16, text: &[u8]) {
        self.violated(Violation::NotTaken { user, code, text_digest: digest(text) });
    }

    /// The highest seq that anybody saw or was acked.
    pub fn head(&self) -> u64 {
        let acked = self.sends.iter().filter_map(|send| match send.outcome {
            Outcome::Acked(seq) => Some(seq),
            _ => None,
        });
        acked.chain(self.entries.last_key_value().map(|(seq, _)| *seq)).max().unwrap_or(0)
    }

    /// How many sessions still miss events up to [`Self::head`].
    pub fn behind(&self) -> usize {
        let head = self.head();
        self.streams.values().filter(|stream| stream.next.is_some_and(|next| next <= head)).count()
    }

    /// An event of the store, read back in rising order.
    pub fn stored(&mut self, seq: u64, event: &Bytes) {
        let source = Source::Store;
        if let Some(expected) = self.history_next.filter(|&expected| expected != seq) {
            if seq > expected {
                self.violated(Violation::Gap { source, expected, got: seq });
            } else {
                self.violated(Violation::Reordered { source, expected, got: seq });
            }
        }
        self.history_next = Some(self.history_next.map_or(seq + 1, |next| next.max(seq + 1)));
        let as_seen = self.compare(seq, event, source);
        if let Some(entry) = self.entries.get_mut(&seq) {
            entry.stored = match &entry.message {
                _ if as_seen => Stored::AsSeen,
                Some(seen) if Message::in_bytes(seq, event).is_some_and(|there| there.is_of_send(seen)) => {
                    Stored::Altered
                }
                _ => Stored::Another,
            };
        }
    }

    /// The store was read to its head. Everything that was seen live must have been in it.
    pub fn history_read(&mut self, begins_at: u64, head: u64) {
        self.verdict.is_read_back = true;
        if let Some(next) = self.history_next.filter(|&next| next <= head) {
            self.violated(Violation::Gap { source: Source::Store, expected: next, got: head + 1 });
        }
        let mut missing = Vec::new();
        for (&seq, entry) in self.entries.iter_mut().filter(|(_, entry)| entry.stored == Stored::Unread) {
            entry.stored = Stored::Missing;
            missing.push(seq);
        }
        for seq in missing {
            self.violated(Violation::NotStored { seq, begins_at, head });
        }
    }

    /// Judges what can be judged only when nothing follows any more.
    pub fn finish(mut self) -> ChatVerdict {
        let head = self.head();
        let behind = |(&session, stream): (&u32, &Stream)| {
            stream.next.filter(|&next| next <= head).map(|next| Violation::Behind { session, next, head })
        };
        let behind: Vec<Violation> = self.streams.iter().filter_map(behind).collect();
        behind.into_iter().for_each(|violation| self.violated(violation));
        let mut told = Told::new();
        self.judge_messages(&mut told);
        self.judge_sends(&mut told);
        self.judge_store(&mut told);
        self.verdict.events = self.entries.len() as u64;
        self.verdict.sends = self.sends.len() as u64;
        self.verdict
    }

    /// Every message of our devices is one of our sends, once, in its sender's order.
    fn judge_messages(&mut self, told: &mut Told) {
        let (mut found, mut never_sent) = (Vec::new(), Vec::new());
        let mut first_seq: HashMap<u32, u64> = HashMap::new();
        let mut last_of_device: HashMap<DeviceId, u32> = HashMap::new();
        let mut last_of_user: HashMap<u32, u32> = HashMap::new();
        for (&seq, entry) in &self.entries {
            let Some(&Message { device, counter, text }) = entry.message.as_ref() else { continue };
            let Some(&place) = self.by_counter.get(&(device, counter)) else {
                if self.devices.contains(&device) || self.is_ours && (1..=seq).contains(&self.begins()) {
                    never_sent.push(Violation::NeverSent { device, counter, seq });
                }
                continue;
            };
            let send = &self.sends[place as usize];
            if let Some(&first) = first_seq.get(&place) {
                found.push((Violation::Duplicate { device, counter, first, second: seq }, place));
                continue;
            }
            first_seq.insert(place, seq);
            if send.text != text {
                let (sent_digest, got_digest) = (send.text, text);
                found.push((Violation::Altered { device, counter, seq, sent_digest, got_digest }, place));
            }
            if let Outcome::Refused(code) = send.outcome {
                found.push((Violation::RefusedButThere { device, counter, code, seq }, place));
            }
            let mut last = last_of_device.insert(device, place).unwrap_or(0);
            // Over a user's devices only acked sends have an order: what is unknown may happen late.
            if matches!(send.outcome, Outcome::Acked(_)) {
                last = last.max(last_of_user.insert(send.user, place).unwrap_or(0));
            }
            if last > place {
                let later = &self.sends[last as usize];
                let (later_device, later_counter) = (later.device, later.counter);
                found.push((Violation::SenderOrder { device, counter, seq, later_device, later_counter }, place));
            }
        }
        never_sent.into_iter().for_each(|violation| self.violated(violation));
        found.into_iter().for_each(|(violation, place)| self.harmed(violation, place, told));
    }

    /// Every acked send is at the seq of its ack.
    fn judge_sends(&mut self, told: &mut Told) {
        let mut found = Vec::new();
        for (place, &Send { device, counter, outcome, .. }) in (0..).zip(&self.sends) {
            match outcome {
                Outcome::Acked(acked) => {
                    self.verdict.acked += 1;
                    let entry = self.entries.get(&acked);
                    let message = entry.and_then(|entry| entry.message.as_ref());
                    if message.is_some_and(|message| (message.device, message.counter) == (device, counter)) {
                        continue;
                    }
                    let there = match (entry, message) {
                        (None, _) => "nothing".to_owned(),
                        (_, None) => "an event that is no message".to_owned(),
                        (_, Some(other)) => format!("send {} of device {}", other.counter, other.device),
                    };
                    found.push((Violation::LostAck { device, counter, acked, there }, place));
                }
                Outcome::Refused(_) => self.verdict.refused += 1,
                Outcome::Unknown => self.verdict.unknown += 1,
            }
        }
        found.into_iter().for_each(|(violation, place)| self.harmed(violation, place, told));
    }

    /// What sessions got and the store, read back, does not have, or has otherwise, happened to a send. That the two differ
    /// was found by seq, and is counted there.
    fn judge_store(&mut self, told: &mut Told) {
        for entry in self.entries.values() {
            let how = match entry.stored {
                // What came behind the reading may be there.
                Stored::Unread | Stored::AsSeen => continue,
                Stored::Altered => Harm::Altered,
                Stored::Missing | Stored::Another => Harm::Lost,
            };
            let Some(&Message { device, counter, .. }) = entry.message.as_ref() else { continue };
            let Some(&place) = self.by_counter.get(&(device, counter)) else { continue };
            let send = &self.sends[place as usize];
            // One that was refused had no right to be there, which is told already.
            let is_refused = matches!(send.outcome, Outcome::Refused(_));
            if !is_refused && told.insert((place, how)) {
                self.verdict.harmed.push(Harmed { how, at: send.at });
            }
        }
    }

    /// A violation that concerns the send at this place.
    fn harmed(&mut self, violation: Violation, place: u32, told: &mut Told) {
        let at = self.sends[place as usize].at;
        if let Some(how) = Harm::of(&violation) {
            told.insert((place, how));
            self.verdict.harmed.push(Harmed { how, at });
        }
        self.violated(violation);
    }

    /// Compares with the reference, or makes it. Whether the bytes are the reference's.
    fn compare(&mut self, seq: u64, event: &Bytes, source: Source) -> bool {
        let other_digest = digest(event);
        if let Some(entry) = self.entries.get(&seq) {
            let (one, one_digest) = (entry.shown_by, entry.event);
            if one_digest != other_digest {
                self.violated(Violation::Divergence { seq, one, one_digest, other: source, other_digest });
            }
            return one_digest == other_digest;
        }
        let message = match Event::from_bytes(event) {
            Ok(event) if event.seq.0 != seq => {
                let problem = format!("its bytes say seq {}", event.seq);
                self.violated(Violation::Unreadable { source, seq, problem });
                None
            }
            Ok(event) => Message::of(&event),
            Err(error) => {
                self.violated(Violation::Unreadable { source, seq, problem: error.to_string() });
                None
            }
        };
        let stored = Stored::Unread;
        self.entries.insert(seq, Entry { event: other_digest, shown_by: source, stored, message });
        true
    }

    pub(super) fn violated(&mut self, violation: Violation) {
        self.verdict.violated(violation);
    }
}
