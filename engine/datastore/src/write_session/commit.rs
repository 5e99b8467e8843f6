//! The commit of a session: what was put is held against the draft, everything is made durable in
//! order, and the manifest comes last.

use std::collections::HashSet;

use bytes::Bytes;
use simsim_format::{Manifest, SegmentKind, SegmentView};
use simsim_model::{CommitReply, ManifestDraft, Name, failpoint};

use super::WriteSession;
use crate::manifests::manifest_key;
use crate::open::unix_ns;
use crate::{DatastoreError, fence, quarantine};

impl WriteSession {
    /// The way to a durable saveset. A commit that was made already is answered as it was then.
    pub(super) fn commit_once(&self, draft: &ManifestDraft) -> Result<CommitReply, DatastoreError> {
        let inner = &self.datastore.inner;
        if let Some(earlier) = self.earlier_commit(draft)? {
            return Ok(earlier);
        }
        inner.check_writable()?;
        self.check_draft(draft)?;
        let held_here = self.state.lock().holds(&draft.root);
        if !held_here {
            self.check_root(draft.root)?;
        }
        let _commit = inner.commit.lock();
        let generation = inner.generation()?;
        fence::check(&*inner.storage, generation).inspect_err(|error| {
            inner.turn_read_only(error);
        })?;
        let sequence = {
            let mut savesets = inner.savesets.lock();
            savesets.last_sequence += 1;
            savesets.last_sequence
        };
        let manifest = Manifest {
            store: inner.root.store,
            domain: self.domain,
            saveset: self.saveset,
            sequence,
            generation,
            level: draft.level,
            base: draft.base,
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
        };
        let bytes = manifest.encode();
        // Encoding may exceed a limit that decoding holds: refused here, not at restore.
        Manifest::decode(&bytes)
            .map_err(|source| DatastoreError::format("the manifest", source))?;
        self.append_manifest_copy(&bytes)?;
        failpoint::hit("datastore.manifest_copied");
        self.seal_all()?;
        if held_here {
            self.check_root(draft.root)?;
        }
        inner.index.flush().inspect_err(|error| inner.turn_read_only(error))?;
        inner.merger.nudge();
        failpoint::hit("datastore.index_flushed");
        fence::check(&*inner.storage, generation).inspect_err(|error| {
            inner.turn_read_only(error);
        })?;
        failpoint::hit("datastore.fence_checked");
        let put = inner.storage.put(&manifest_key(self.saveset), &bytes);
        put.map_err(DatastoreError::from).inspect_err(|error| inner.turn_read_only(error))?;
        failpoint::hit("datastore.manifest_written");
        inner.savesets.lock().add(sequence, self.saveset);
        self.state.lock().committed = true;
        Ok(reply(&manifest))
    }

    fn earlier_commit(&self, draft: &ManifestDraft) -> Result<Option<CommitReply>, DatastoreError> {
        if !self.datastore.inner.savesets.lock().sequences.contains_key(&self.saveset) {
            return Ok(None);
        }
        let manifest = self.datastore.manifest(self.saveset)?;
        if manifest.domain != self.domain || manifest.root != draft.root {
            return Err(DatastoreError::invalid(format!(
                "saveset {} exists already, with other content",
                self.saveset
            )));
        }
        Ok(Some(reply(&manifest)))
    }

    /// Refuses a draft that does not fit what was put.
    fn check_draft(&self, draft: &ManifestDraft) -> Result<(), DatastoreError> {
        let mut state = self.state.lock();
        if let Some(failed) = &state.failed {
            return Err(DatastoreError::SessionFailed {
                kind: failed.kind,
                reason: failed.message.clone(),
            });
        }
        if draft.segments != state.count() || !state.ahead.is_empty() {
            return Err(DatastoreError::invalid(format!(
                "the backup put {} segments, but {} arrived without a gap",
                draft.segments, state.next_number
            )));
        }
        if draft.root.is_zero() {
            return Err(DatastoreError::invalid("a saveset without a tree cannot be committed"));
        }
        // What was missing may have come with another session's packs by now.
        let mut lacking: HashSet<Name> = HashSet::new();
        if !state.waiting.is_empty() {
            let names: HashSet<Name> =
                state.waiting.iter().flat_map(|waiting| waiting.missing.iter().copied()).collect();
            let names: Vec<Name> = names.into_iter().collect();
            let known = self.datastore.has(self.domain, &names)?;
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
                // Whoever sent the node believed that they are here: the next backup is told.
                quarantine::remember_loss(&self.datastore.inner)?;
                Err(DatastoreError::Missing { count: lacking.len(), first: first.to_string() })
            }
            None => Ok(()),
        }
    }

    /// The root must be a node of the domain.
    fn check_root(&self, root: Name) -> Result<(), DatastoreError> {
        let missing = || DatastoreError::Missing { count: 1, first: root.to_string() };
        if !self.datastore.has(self.domain, &[root])?.contains(&true) {
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
