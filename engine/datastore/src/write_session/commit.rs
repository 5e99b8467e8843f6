//! The commit of a session: what was put is held against the draft, or against the manifest of the
//! saveset that is copied; everything is made durable in order, and the manifest comes last.

use std::collections::HashSet;

use bytes::Bytes;
use simsim_format::{Manifest, SegmentKind, SegmentView};
use simsim_model::{CommitReply, ManifestDraft, Name, SavesetId, failpoint};

use super::WriteSession;
use crate::manifests::manifest_key;
use crate::open::unix_ns;
use crate::set_aside::set_aside;
use crate::{DatastoreError, fence, quarantine};

impl WriteSession {
    /// The way to a durable saveset. A commit that was made already is answered as it was then.
    pub(super) fn commit_once(&self, draft: &ManifestDraft) -> Result<CommitReply, DatastoreError> {
        let inner = &self.datastore.inner;
        if let Some(earlier) = self.there(self.saveset, draft.root)? {
            return Ok(earlier);
        }
        inner.check_writable()?;
        if self.saveset.is_zero() {
            return Err(DatastoreError::invalid("this session takes copies and makes no saveset"));
        }
        self.check_arrived(draft.segments, draft.root)?;
        self.publish(self.saveset, draft.root, |sequence, generation| Manifest {
            store: inner.root.store,
            domain: self.domain,
            saveset: self.saveset,
            sequence,
            generation,
            level: draft.level,
            base: draft.base,
            origin: None,
            root: draft.root,
            scan_started_unix_ns: draft.scan_started_unix_ns,
            started_unix_ns: self.started_unix_ns,
            committed_unix_ns: unix_ns(),
            lock_until_unix_s: self.options.lock_until_unix_s,
            files: draft.files,
            dirs: draft.dirs,
            bytes: draft.bytes,
            bytes_new: draft.bytes_new,
            bytes_stored: draft.bytes_stored,
            problems: draft.problems,
            segments: draft.segments,
            sealed_details: draft.sealed_details.clone(),
        })
        .inspect(|_| self.state.lock().committed = true)
    }

    /// The way to a durable copy of a saveset: all of the original's manifest but the datastore, the
    /// sequence number and the generation.
    pub(super) fn commit_copy_once(
        &self,
        original: &[u8],
        segments: u64,
    ) -> Result<CommitReply, DatastoreError> {
        let inner = &self.datastore.inner;
        let original = Manifest::decode(original)
            .map_err(|source| DatastoreError::format("the manifest that was sent", source))?;
        if original.domain != self.domain {
            return Err(DatastoreError::OtherDomain { what: "the manifest that was sent".into() });
        }
        inner.check_writable()?;
        self.check_arrived(segments, original.root)?;
        if let Some(earlier) = self.there(original.saveset, original.root)? {
            // What was lost of it since then may have come now.
            self.seal_all()?;
            self.check_root(original.root)?;
            return Ok(earlier);
        }
        self.publish(original.saveset, original.root, |sequence, generation| Manifest {
            store: inner.root.store,
            sequence,
            generation,
            origin: Some(original.origin.unwrap_or(original.store)),
            ..original.clone()
        })
    }

    /// Makes everything that was put durable, then the manifest that `manifest` gives for the next
    /// sequence number and the generation.
    fn publish(
        &self,
        saveset: SavesetId,
        root: Name,
        manifest: impl FnOnce(u64, u64) -> Manifest,
    ) -> Result<CommitReply, DatastoreError> {
        let inner = &self.datastore.inner;
        let held_here = self.state.lock().holds(&root);
        if !held_here {
            self.check_root(root)?;
        }
        let _commit = inner.commit.lock();
        // Another session may have copied it meanwhile.
        if let Some(earlier) = self.there(saveset, root)? {
            return Ok(earlier);
        }
        let generation = inner.generation()?;
        fence::check(&*inner.storage, generation).inspect_err(|error| {
            inner.turn_read_only(error);
        })?;
        let sequence = {
            let mut savesets = inner.savesets.lock();
            savesets.last_sequence += 1;
            savesets.last_sequence
        };
        let manifest = manifest(sequence, generation);
        let bytes = manifest.encode();
        // Encoding may exceed a limit that decoding holds: refused here, not at restore.
        Manifest::decode(&bytes)
            .map_err(|source| DatastoreError::format("the manifest", source))?;
        self.append_manifest_copy(&bytes)?;
        failpoint::hit("datastore.manifest_copied");
        self.seal_all()?;
        if held_here {
            self.check_root(root)?;
        }
        inner.index.flush().inspect_err(|error| inner.turn_read_only(error))?;
        inner.merger.nudge();
        failpoint::hit("datastore.index_flushed");
        fence::check(&*inner.storage, generation).inspect_err(|error| {
            inner.turn_read_only(error);
        })?;
        failpoint::hit("datastore.fence_checked");
        // One that was deleted here may come again as a copy.
        if inner.tombstones().deleted.contains_key(&saveset) {
            inner.change_tombstones(|tombstones| {
                tombstones.deleted.remove(&saveset);
            })?;
        }
        let in_the_way = inner.savesets.lock().forget(saveset);
        let put = match in_the_way {
            // A manifest that is damaged, and this is its copy.
            true => {
                let key = manifest_key(saveset);
                if let Ok(damaged) = inner.storage.get(&key) {
                    set_aside(&*inner.storage, &key, 0, &damaged)?;
                }
                inner.storage.replace(&key, &bytes)
            }
            false => inner.storage.put(&manifest_key(saveset), &bytes),
        };
        put.map_err(DatastoreError::from).inspect_err(|error| inner.turn_read_only(error))?;
        failpoint::hit("datastore.manifest_written");
        inner.savesets.lock().add(sequence, saveset);
        inner.note_the_time();
        Ok(reply(&manifest))
    }

    /// The answer to an earlier commit of a saveset with this tree.
    fn there(&self, saveset: SavesetId, root: Name) -> Result<Option<CommitReply>, DatastoreError> {
        if !self.datastore.inner.savesets.lock().sequences.contains_key(&saveset) {
            return Ok(None);
        }
        let manifest = match self.datastore.manifest(saveset) {
            // It was, and is made anew.
            Err(error) if error.shows_loss() => return Ok(None),
            read => read?,
        };
        if manifest.domain != self.domain || manifest.root != root {
            return Err(DatastoreError::invalid(format!(
                "saveset {saveset} exists already, with other content"
            )));
        }
        Ok(Some(reply(&manifest)))
    }

    /// Refuses a commit that does not fit what was put.
    fn check_arrived(&self, segments: u64, root: Name) -> Result<(), DatastoreError> {
        let mut state = self.state.lock();
        if let Some(failed) = &state.failed {
            return Err(DatastoreError::SessionFailed {
                kind: failed.kind,
                reason: failed.message.clone(),
            });
        }
        if segments != state.count() || !state.ahead.is_empty() {
            return Err(DatastoreError::invalid(format!(
                "{segments} segments were put, but {} arrived without a gap",
                state.next_number
            )));
        }
        if root.is_zero() {
            return Err(DatastoreError::invalid("a saveset without a tree cannot be committed"));
        }
        // What was missing may have come with another session's packs by now.
        let mut lacking: HashSet<Name> = HashSet::new();
        if !state.waiting.is_empty() {
            let names: HashSet<Name> =
                state.waiting.iter().flat_map(|waiting| waiting.missing.iter().copied()).collect();
            let names: Vec<Name> = names.into_iter().collect();
            let known = self.known(&names)?;
            let found: HashSet<Name> = names
                .into_iter()
                .zip(known)
                .filter(|(_, known)| *known)
                .map(|(name, _)| name)
                .collect();
            for waiting in &mut state.waiting {
                waiting.missing.retain(|name| !found.contains(name));
            }
            let mut ready = Vec::new();
            self.take_ready(&mut state, &mut ready);
            for view in ready {
                if let Err(error) = self.append(&mut state, view) {
                    return Err(self.fail(&mut state, error));
                }
            }
            lacking
                .extend(state.waiting.iter().flat_map(|waiting| waiting.missing.iter().copied()));
        }
        match lacking.iter().min() {
            Some(first) => {
                // Who backs up and sent the node believed that they are here: the next backup is
                // told. Who copies has asked for every name.
                if !self.saveset.is_zero() {
                    quarantine::remember_loss(&self.datastore.inner)?;
                }
                Err(DatastoreError::Missing { count: lacking.len(), first: first.to_string() })
            }
            None => Ok(()),
        }
    }

    /// The root must be a node of the domain.
    fn check_root(&self, root: Name) -> Result<(), DatastoreError> {
        let missing = || DatastoreError::Missing { count: 1, first: root.to_string() };
        if !self.known(&[root])?.contains(&true) {
            return Err(missing());
        }
        let place = self.datastore.locate(self.domain, &[root])?.first().copied().flatten();
        let view = SegmentView::parse(
            self.datastore.read_segment(self.domain, place.ok_or_else(missing)?)?,
        )
        .map_err(|source| DatastoreError::format("the root's segment", source))?;
        if view.kind != SegmentKind::Nodes {
            return Err(DatastoreError::invalid("the root of a saveset must be a node"));
        }
        Ok(())
    }

    fn append_manifest_copy(&self, manifest: &[u8]) -> Result<(), DatastoreError> {
        let name = Name(*blake3::hash(manifest).as_bytes());
        let segment = SegmentView::encode_manifest_copy(self.domain, name, manifest);
        let view = SegmentView::parse(Bytes::from(segment))
            .map_err(|source| DatastoreError::format("the manifest copy", source))?;
        let mut state = self.state.lock();
        self.append(&mut state, view).map_err(|error| self.fail(&mut state, error))
    }
}

fn reply(manifest: &Manifest) -> CommitReply {
    CommitReply {
        saveset: manifest.saveset,
        sequence: manifest.sequence,
        committed_unix_ns: manifest.committed_unix_ns,
    }
}
