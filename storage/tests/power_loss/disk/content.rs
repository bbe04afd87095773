//! A file's bytes: what was written, what is synced, and every version of a sector in between.

use std::collections::{BTreeMap, BTreeSet};

use super::survival::Survival;

/// What a device writes whole or not at all.
pub(crate) const SECTOR: usize = 512;
/// What a system writes back at a time.
const PAGE_SECTORS: usize = 8;

#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors since the sync: when each was written, and as what, the oldest first.
    written: BTreeMap<usize, Vec<(u64, Vec<u8>)>>,
    /// Lengths since the sync, likewise.
    lengths: Vec<Length>,
    /// Sectors that a sync that failed dropped, and that are still shown: nothing makes them durable but
    /// writing them again.
    dropped: BTreeSet<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Length {
    time: u64,
    len: usize,
    /// New bytes are zeros; otherwise they are whatever the blocks held before, until they are written.
    is_zeroed: bool,
}

impl Content {
    pub(crate) fn now(&self) -> &[u8] {
        &self.now
    }

    pub(crate) fn flip_bit(&mut self, offset: usize) {
        self.now[offset] ^= 1;
    }

    pub(crate) fn write(&mut self, time: u64, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if end > self.now.len() {
            self.now.resize(end, 0);
            self.lengths.push(Length { time, len: end, is_zeroed: false });
        }
        self.now[offset..end].copy_from_slice(data);
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            let image = self.now[sector * SECTOR..].iter().copied().take(SECTOR).collect();
            self.written.entry(sector).or_default().push((time, image));
            self.dropped.remove(&sector);
        }
    }

    pub(crate) fn set_len(&mut self, time: u64, len: usize) {
        self.now.resize(len, 0);
        self.lengths.push(Length { time, len, is_zeroed: true });
        // What stood behind it is gone for good, also if the file grows again.
        let keep = len.div_ceil(SECTOR);
        self.written.retain(|sector, _| *sector < keep);
        self.dropped.retain(|sector| *sector < keep);
    }

    pub(crate) fn sync(&mut self) {
        let (now, dropped) = (self.now.clone(), std::mem::take(&mut self.dropped));
        self.survive(&mut Survival::all(), &[]);
        (self.now, self.dropped) = (now, dropped);
    }

    /// A sync that fails: of what was written some is durable, the rest counts as written from now on and
    /// is not. `shows`: it is read all the same, as long as the system keeps it in memory.
    pub(crate) fn drop_unsynced(&mut self, survival: &mut Survival, stale: &[u8], shows: bool) {
        let now = self.now.clone();
        let mut dropped = std::mem::take(&mut self.dropped);
        dropped.extend(self.written.keys().copied());
        self.survive(survival, stale);
        // The system keeps a journal of lengths.
        self.durable.resize(now.len(), 0);
        self.now = self.durable.clone();
        if shows {
            (self.now, self.dropped) = (now, dropped);
        }
    }

    /// What was dropped is shown no longer.
    pub(crate) fn forget(&mut self) {
        for sector in std::mem::take(&mut self.dropped) {
            let start = sector * SECTOR;
            let end = (start + SECTOR).min(self.durable.len()).min(self.now.len());
            if start < end {
                self.now[start..end].copy_from_slice(&self.durable[start..end]);
            }
        }
    }

    /// What is left once the power went. `stale`: what another file left behind in the same blocks.
    pub(crate) fn survive(&mut self, survival: &mut Survival, stale: &[u8]) {
        for length in std::mem::take(&mut self.lengths) {
            if !survival.keeps(length.time) {
                continue;
            }
            let old = self.durable.len();
            self.durable.resize(length.len, 0);
            if !length.is_zeroed && length.len > old {
                let from = old.min(stale.len());
                let to = length.len.min(stale.len());
                self.durable[from..to].copy_from_slice(&stale[from..to]);
            }
        }
        let mut page = None;
        for (sector, versions) in std::mem::take(&mut self.written) {
            if page != Some(sector / PAGE_SECTORS) {
                page = Some(sector / PAGE_SECTORS);
                survival.next_page();
            }
            let Some(image) = survival.version(&versions) else { continue };
            let start = (sector * SECTOR).min(self.durable.len());
            let end = (start + image.len()).min(self.durable.len());
            self.durable[start..end].copy_from_slice(&image[..end - start]);
        }
        self.now = self.durable.clone();
        self.dropped.clear();
    }
}
