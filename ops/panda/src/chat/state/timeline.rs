//! What is kept of a chat's events: one piece without holes, and what the person is saying.

use std::collections::BTreeMap;

use panda_protocol::event::{Event, EventBody};
use panda_protocol::{DeviceId, Seq, Text};

/// Events that are kept of the open chat; scrolling up loads no more.
pub(in crate::chat) const OPEN_EVENTS_MAX: usize = 10_000;
/// Events that are kept of each other chat.
const OTHER_EVENTS_MAX: usize = 64;
/// Messages of a chat that were not stored yet, or refused; beyond, the oldest refused one goes.
const DRAFTS_MAX: usize = 256;

/// Something that the person said and that is not known to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::chat) struct Draft {
    pub(in crate::chat) number: u64,
    pub(in crate::chat) text: Text,
    /// The event that it became, which did not come yet.
    stored: Option<Seq>,
    /// Why it was refused.
    pub(in crate::chat) refused: Option<String>,
}

/// A chat's events, as far as they were loaded.
#[derive(Debug, Default)]
pub(in crate::chat) struct Timeline {
    /// What can be read of the events from `oldest` to `newest`.
    events: BTreeMap<Seq, Event>,
    /// The ends of what is loaded; `None` if nothing is.
    ends: Option<(Seq, Seq)>,
    drafts: Vec<Draft>,
    /// A page of older events is on its way.
    pub(super) is_loading: bool,
}

impl Timeline {
    /// A live event. One behind a hole begins anew: what is missing is loaded again by scrolling up.
    pub(super) fn append(&mut self, event: Event, device: DeviceId, is_open: bool) {
        let seq = event.seq;
        self.ends = match self.ends {
            Some((_, newest)) if seq <= newest => return,
            Some((oldest, newest)) if seq.0 == newest.0 + 1 => Some((oldest, seq)),
            _ => {
                self.events.clear();
                Some((seq, seq))
            }
        };
        if let EventBody::MessageSent { text, .. } = &event.body
            && event.device == device
            && let Some(at) = self.drafts.iter().position(|draft| draft.refused.is_none() && draft.text == *text)
        {
            // A sender's own order is kept, so the first of this text is the one.
            self.drafts.remove(at);
        }
        self.events.insert(seq, event);
        self.drop_stored();
        self.trim(if is_open { OPEN_EVENTS_MAX } else { OTHER_EVENTS_MAX });
    }

    /// A page of events from `from` down to `oldest`; those that cannot be read are left out.
    pub(super) fn prepend(&mut self, oldest: Seq, from: Seq, events: Vec<Event>) {
        let newest = match self.ends {
            // A hole would be between the page and what is kept.
            Some((kept, _)) if from.0 + 1 < kept.0 => return,
            Some((kept, _)) if kept <= oldest => return,
            Some((_, newest)) => newest.max(from),
            None => from,
        };
        self.ends = Some((oldest, newest));
        for event in events {
            self.events.entry(event.seq).or_insert(event);
        }
        self.drop_stored();
    }

    /// Drops the oldest down to what is kept of a chat that nobody looks at.
    pub(super) fn shrink(&mut self) {
        self.trim(OTHER_EVENTS_MAX);
    }

    fn trim(&mut self, most: usize) {
        let mut is_trimmed = false;
        while self.events.len() > most {
            self.events.pop_first();
            is_trimmed = true;
        }
        if is_trimmed && let (Some((first, _)), Some((oldest, _))) = (self.events.first_key_value(), &mut self.ends) {
            *oldest = *first;
        }
    }

    fn drop_stored(&mut self) {
        if let Some((_, newest)) = self.ends {
            self.drafts.retain(|draft| draft.stored.is_none_or(|seq| seq > newest));
        }
    }

    /// Drops all events, because they are of another store.
    pub(super) fn clear(&mut self) {
        self.events.clear();
        self.ends = None;
        self.is_loading = false;
    }

    pub(in crate::chat) const fn ends(&self) -> Option<(Seq, Seq)> {
        self.ends
    }

    /// Whether as much is loaded as is kept.
    pub(in crate::chat) fn is_full(&self) -> bool {
        self.events.len() >= OPEN_EVENTS_MAX
    }

    pub(in crate::chat) fn events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.events.values()
    }

    pub(in crate::chat) fn drafts(&self) -> &[Draft] {
        &self.drafts
    }

    pub(super) fn say(&mut self, number: u64, text: Text) {
        if self.drafts.len() >= DRAFTS_MAX
            && let Some(at) = self.drafts.iter().position(|draft| draft.refused.is_some())
        {
            self.drafts.remove(at);
        }
        self.drafts.push(Draft { number, text, stored: None, refused: None });
    }

    /// It is stored; its event is here or will come.
    pub(super) fn stored(&mut self, number: u64, seq: Seq) {
        if let Some(draft) = self.draft(number) {
            draft.stored = Some(seq);
        }
        self.drop_stored();
    }

    fn draft(&mut self, number: u64) -> Option<&mut Draft> {
        self.drafts.iter_mut().find(|draft| draft.number == number)
    }

    pub(super) fn refused(&mut self, number: u64, why: String) {
        if let Some(draft) = self.draft(number) {
            draft.refused = Some(why);
        }
    }

    /// Drops what was refused. Returns whether there was something.
    pub(in crate::chat) fn dismiss(&mut self) -> bool {
        let before = self.drafts.len();
        self.drafts.retain(|draft| draft.refused.is_none());
        self.drafts.len() < before
    }
}

#[cfg(test)]
mod tests {
    use panda_protocol::event::{Digest, MessageFormat};
    use panda_protocol::{Counter, Time, UserId};

    use super::*;

    const MINE: DeviceId = DeviceId::NONE;

    fn message(seq: u64, text: &str) -> Event {
        Event {
            seq: Seq(seq),
            time: Time(seq),
            actor: UserId::from_random([1; 16]),
            device: MINE,
            counter: Counter(seq),
            digest: Digest::default(),
            target: None,
            body: EventBody::MessageSent { format: MessageFormat::Text, text: text.into() },
        }
    }

    fn messages(seqs: std::ops::RangeInclusive<u64>) -> Vec<Event> {
        seqs.map(|seq| message(seq, "x")).collect()
    }

    fn seqs(timeline: &Timeline) -> Vec<u64> {
        timeline.events().map(|event| event.seq.0).collect()
    }

    #[test]
    fn pages_and_live_events_make_one_piece_without_holes() {
        let mut timeline = Timeline::default();
        timeline.append(message(8, "x"), MINE, true);
        timeline.prepend(Seq(5), Seq(7), messages(5..=7));
        timeline.append(message(8, "again"), MINE, true);
        timeline.append(message(9, "x"), MINE, true);
        assert_eq!((seqs(&timeline), timeline.ends()), (vec![5, 6, 7, 8, 9], Some((Seq(5), Seq(9)))));
        timeline.prepend(Seq(1), Seq(3), messages(1..=3));
        assert_eq!(timeline.ends(), Some((Seq(5), Seq(9))), "4 would be a hole");
        timeline.append(message(12, "x"), MINE, true);
        assert_eq!((seqs(&timeline), timeline.ends()), (vec![12], Some((Seq(12), Seq(12)))));
    }

    #[test]
    fn no_more_is_kept_than_the_limits() {
        let mut timeline = Timeline::default();
        for seq in 1..=OPEN_EVENTS_MAX as u64 + 1 {
            timeline.append(message(seq, "x"), MINE, true);
        }
        assert!(timeline.is_full());
        assert_eq!(timeline.ends().unwrap().0, Seq(2));
        timeline.shrink();
        assert_eq!((timeline.events().count(), timeline.is_full()), (OTHER_EVENTS_MAX, false));
        for number in 0..DRAFTS_MAX as u64 + 5 {
            timeline.say(number, "x".into());
            timeline.refused(number, "no".into());
        }
        assert_eq!((timeline.drafts().len(), timeline.drafts()[0].number), (DRAFTS_MAX, 5));
    }

    #[test]
    fn a_draft_goes_when_its_event_came_whichever_of_answer_and_event_is_first() {
        let mut timeline = Timeline::default();
        timeline.say(1, "same".into());
        timeline.say(2, "same".into());
        timeline.append(message(1, "same"), MINE, true);
        assert_eq!(timeline.drafts().iter().map(|draft| draft.number).collect::<Vec<_>>(), [2]);
        timeline.stored(1, Seq(1));
        timeline.stored(2, Seq(2));
        assert_eq!(timeline.drafts().len(), 1, "its event did not come yet");
        timeline.append(message(2, "same"), MINE, true);
        assert!(timeline.drafts().is_empty());
    }

    #[test]
    fn what_was_refused_stays_until_it_is_dismissed() {
        let mut timeline = Timeline::default();
        timeline.say(1, "a".into());
        timeline.say(2, "b".into());
        timeline.refused(1, "too large".into());
        timeline.append(message(1, "a"), MINE, true);
        assert_eq!(timeline.drafts()[0].refused.as_deref(), Some("too large"));
        assert!(timeline.dismiss());
        assert!(!timeline.dismiss());
        assert_eq!(timeline.drafts().len(), 1);
    }
}
