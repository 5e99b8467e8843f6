//! Entries that are not in a run yet.

use std::collections::BTreeSet;

use simsim_format::SegmentKind;
use simsim_model::{DomainId, Name, SegmentPlace};

use super::page::SegmentRecord;

/// One segment of a pack, as the index takes it.
#[derive(Debug, Clone)]
pub struct IndexSegment {
    pub domain: DomainId,
    pub offset: u64,
    pub length: u32,
    /// Data or nodes.
    pub kind: SegmentKind,
    pub names: Vec<Name>,
}

/// A sorted table in memory, in the same terms as a run.
#[derive(Debug, Default)]
pub(crate) struct MemoryTable {
    pub(crate) packs: Vec<(Name, u64)>,
    pub(crate) domains: Vec<DomainId>,
    pub(crate) segments: Vec<SegmentRecord>,
    pub(crate) entries: BTreeSet<(Name, u32)>,
}

impl MemoryTable {
    pub(crate) fn add_pack(&mut self, pack: Name, bytes: u64, segments: &[IndexSegment]) {
        let number = self.packs.len() as u32;
        self.packs.push((pack, bytes));
        for segment in segments {
            let domain = self.domain(segment.domain);
            let place = self.segments.len() as u32;
            self.segments.push(SegmentRecord {
                pack: number,
                length: segment.length,
                offset: segment.offset,
                domain,
                kind: segment.kind,
            });
            self.entries.extend(segment.names.iter().map(|name| (*name, place)));
        }
    }

    fn domain(&mut self, domain: DomainId) -> u32 {
        let found = self.domains.iter().position(|known| *known == domain);
        found.unwrap_or_else(|| {
            self.domains.push(domain);
            self.domains.len() - 1
        }) as u32
    }

    /// Takes over what another table holds.
    pub(crate) fn absorb(&mut self, other: &MemoryTable) {
        let (packs, segments) = (self.packs.len() as u32, self.segments.len() as u32);
        self.packs.extend_from_slice(&other.packs);
        for record in &other.segments {
            let domain = other.domains.get(record.domain as usize).copied();
            let domain = self.domain(domain.unwrap_or(DomainId::ZERO));
            self.segments.push(SegmentRecord { pack: record.pack + packs, domain, ..*record });
        }
        self.entries.extend(other.entries.iter().map(|(name, at)| (*name, at + segments)));
    }

    pub(crate) fn places(
        &self,
        domain: DomainId,
        name: Name,
    ) -> impl Iterator<Item = (SegmentPlace, SegmentKind)> + '_ {
        self.entries.range((name, 0)..=(name, u32::MAX)).filter_map(move |(_, at)| {
            let record = self.segments.get(*at as usize)?;
            if self.domains.get(record.domain as usize) != Some(&domain) {
                return None;
            }
            let pack = self.packs.get(record.pack as usize)?.0;
            let place = SegmentPlace { pack, offset: record.offset, length: record.length };
            Some((place, record.kind))
        })
    }
}
