//! Where the entries of a run and its filter lie, as a function of the number of entries.
//!
//! Entry pages come in groups; behind the pages of a group stand the filter pages of its names.
//! So a run is written in one pass, and what is held in memory for the filter is one group's.

use super::filter::{BLOCKS_PER_PAGE, NAMES_PER_BLOCK};
use super::page::{Record, pages_of};

type Entry = (simsim_model::Name, u32);

/// Entry pages of a group: as many as fill 64 filter pages.
pub(crate) const GROUP_PAGES: u64 = 1427;
/// Names of a full group.
pub(crate) const GROUP_NAMES: u64 = GROUP_PAGES * Entry::PER_PAGE as u64;
const GROUP_FILTER_PAGES: u64 = filter_pages(GROUP_NAMES);

/// Filter pages for so many names.
pub(crate) const fn filter_pages(names: u64) -> u64 {
    names.div_ceil(NAMES_PER_BLOCK * BLOCKS_PER_PAGE)
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    entries: u64,
    pub(crate) entry_pages: u64,
    pub(crate) groups: u64,
}

impl Layout {
    pub(crate) fn of(entries: u64) -> Self {
        let entry_pages = pages_of::<Entry>(entries);
        Self { entries, entry_pages, groups: entry_pages.div_ceil(GROUP_PAGES) }
    }

    /// The page of the file that is entry page `number`.
    pub(crate) fn entry_page(&self, number: u64) -> u64 {
        number.saturating_add(number / GROUP_PAGES * GROUP_FILTER_PAGES)
    }

    /// Entries on entry page `number`.
    pub(crate) fn entries_on(&self, number: u64) -> usize {
        let skipped = number.saturating_mul(Entry::PER_PAGE as u64);
        self.entries.saturating_sub(skipped).min(Entry::PER_PAGE as u64) as usize
    }

    /// Entries of a group.
    pub(crate) fn entries_of(&self, group: u64) -> u64 {
        self.entries.saturating_sub(group.saturating_mul(GROUP_NAMES)).min(GROUP_NAMES)
    }

    /// Blocks of a group's filter.
    pub(crate) fn blocks(&self, group: u64) -> u64 {
        filter_pages(self.entries_of(group)) * BLOCKS_PER_PAGE
    }

    /// The number of a group's first block in the run.
    pub(crate) fn first_block(&self, group: u64) -> u64 {
        group.saturating_mul(GROUP_FILTER_PAGES * BLOCKS_PER_PAGE)
    }

    /// The first page of the file that holds the filter of a group.
    pub(crate) fn filter_page(&self, group: u64) -> u64 {
        let pages_before =
            group.saturating_add(1).saturating_mul(GROUP_PAGES).min(self.entry_pages);
        pages_before.saturating_add(group.saturating_mul(GROUP_FILTER_PAGES))
    }

    /// Blocks of all groups together.
    pub(crate) fn all_blocks(&self) -> u64 {
        let last = self.groups.saturating_sub(1);
        self.first_block(last).saturating_add(self.blocks(last))
    }

    /// Pages of the file for entries and filters.
    pub(crate) fn pages(&self) -> u64 {
        self.entry_pages.saturating_add(self.all_blocks() / BLOCKS_PER_PAGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_one_another_without_gaps() {
        assert_eq!((GROUP_NAMES, GROUP_FILTER_PAGES), (161_251, 64));
        for entries in [0, 1, 113, 114, 2520, 2521, GROUP_NAMES, GROUP_NAMES + 1, 1_000_000] {
            let layout = Layout::of(entries);
            let mut next = 0;
            let mut names = 0;
            for group in 0..layout.groups {
                for page in group * GROUP_PAGES..((group + 1) * GROUP_PAGES).min(layout.entry_pages)
                {
                    assert_eq!(layout.entry_page(page), next, "{entries}");
                    next += 1;
                    names += layout.entries_on(page) as u64;
                }
                assert_eq!(layout.filter_page(group), next, "{entries}");
                assert!(layout.blocks(group) * NAMES_PER_BLOCK >= layout.entries_of(group));
                next += layout.blocks(group) / BLOCKS_PER_PAGE;
            }
            assert_eq!((layout.pages(), names), (next, entries));
        }
    }
}
