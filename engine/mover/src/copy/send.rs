//! Segments on their way to the target: several at once, numbered without gaps.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use simsim_format::SegmentKind;
use simsim_model::limits::NAMES_PER_REQUEST_MAX;
use simsim_model::{Name, SegmentPlace};

use super::{CopyJob, segment_at};
use crate::MoverError;

/// Places that wait for a sender.
const AHEAD: usize = 64;

pub(super) struct Sender<'j> {
    job: &'j CopyJob,
    /// Numbers given out.
    next: AtomicU64,
    bytes: AtomicU64,
    /// The target has refused a segment: what comes after it has no place in its order.
    failed: AtomicBool,
}

impl<'j> Sender<'j> {
    pub(super) fn new(job: &'j CopyJob) -> Self {
        Self {
            job,
            next: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            failed: AtomicBool::new(false),
        }
    }

    pub(super) fn segments(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Puts one segment and waits for the answer.
    pub(super) fn put(&self, segment: Bytes) -> Result<(), MoverError> {
        let progress = &self.job.progress;
        let bytes = segment.len() as u64;
        if let Some(pace) = &self.job.pace {
            pace.wait(bytes, progress);
        }
        if progress.is_cancelled() {
            return Err(MoverError::Cancelled);
        }
        let number = self.next.fetch_add(1, Ordering::AcqRel);
        if let Err(error) = self.job.target.put(number, segment) {
            self.failed.store(true, Ordering::Release);
            return Err(error.into());
        }
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        progress.add(|p| &p.bytes_wire, bytes);
        Ok(())
    }

    /// Sends the data segments that `lacking` answers for some names, and returns when all of them
    /// have arrived.
    pub(super) fn data(
        &self,
        names: &[Name],
        lacking: impl Fn(&[Name]) -> Result<BTreeSet<SegmentPlace>, MoverError>,
    ) -> Result<(), MoverError> {
        if names.is_empty() {
            return Ok(());
        }
        let failed: Mutex<Option<MoverError>> = Mutex::new(None);
        let (give, places) = crossbeam_channel::bounded::<SegmentPlace>(AHEAD);
        std::thread::scope(|scope| {
            for number in 0..self.job.senders.max(1) {
                let (places, failed) = (places.clone(), &failed);
                let work = move || {
                    // After an error the rest is taken and dropped, so that nobody waits.
                    for place in places {
                        let all_well = failed.lock().is_none();
                        if all_well && let Err(error) = self.one(place) {
                            failed.lock().get_or_insert(error);
                        }
                    }
                };
                let named = std::thread::Builder::new().name(format!("copy-{number}"));
                if named.spawn_scoped(scope, work).is_err() && number == 0 {
                    failed.lock().get_or_insert(MoverError::Lost);
                }
            }
            drop(places);
            let mut given = HashSet::new();
            for names in names.chunks(NAMES_PER_REQUEST_MAX) {
                if failed.lock().is_some() {
                    break;
                }
                match lacking(names) {
                    Ok(found) => {
                        for place in found.into_iter().filter(|place| given.insert(*place)) {
                            if give.send(place).is_err() {
                                break;
                            }
                        }
                    }
                    Err(error) => {
                        failed.lock().get_or_insert(error);
                    }
                }
            }
            drop(give);
        });
        failed.into_inner().map_or(Ok(()), Err)
    }

    fn one(&self, place: SegmentPlace) -> Result<(), MoverError> {
        let view = segment_at(self.job, place, SegmentKind::Data)?;
        self.put(view.bytes().clone())?;
        let plain = u64::from(view.plain_bytes);
        self.job.progress.add(|p| &p.bytes_new, plain);
        self.job.progress.add(|p| &p.bytes_read, plain);
        Ok(())
    }
}
