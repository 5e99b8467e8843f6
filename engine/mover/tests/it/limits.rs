//! Sizes at the largest limits there are, one below and one above each.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use simsim_model::CutParameters;
use simsim_model::limits::{
    BYTES_TOLD_MAX, CHUNK_BYTES_MAX, FRAME_BYTES_MAX, SEGMENT_PLAIN_BYTES_MAX,
};
use simsim_testkit::{SmallFs, skip};
use tempfile::tempdir;

use crate::changes::{settle, walk};
use crate::memory::Memory;
use crate::round_trip::{assert_same, below, bring_back, noise};

/// Chunks as large as they may be: content without a cut fills one to its last byte.
#[test]
fn fid17_frames_chunks_segments_and_packs_are_filled_to_the_last_byte_and_one_more() {
    let cut = CutParameters { min: 1 << 20, mean: 4 << 20, max: CHUNK_BYTES_MAX as u32 };
    let (store, home) = (Arc::new(Memory::cutting(cut)), tempdir().unwrap());
    let (from, to) = (home.path().join("from"), home.path().join("to"));
    fs::create_dir(&from).unwrap();
    let pack = 32 << 20;
    for limit in [FRAME_BYTES_MAX, cut.min as usize, CHUNK_BYTES_MAX, SEGMENT_PLAIN_BYTES_MAX, pack]
    {
        for size in [limit - 1, limit, limit + 1] {
            fs::write(from.join(format!("zeros{size}")), vec![0; size]).unwrap();
            fs::write(from.join(format!("noise{size}")), noise(size as u64, size)).unwrap();
        }
    }
    settle();
    assert_eq!(walk(&store, &from, 1, None).0.problems_total, 0);
    assert_eq!(bring_back(&store, 1, &to).problems_total, 0);
    assert_same(&from, &below(&to, &from));
    let largest = store.largest_chunk();
    assert_eq!(largest, CHUNK_BYTES_MAX, "a chunk was filled");
}

/// The largest size that a file can have, with a little content at its very end; several of them, so
/// that their sum is more than any number of bytes.
#[test]
fn fid17_files_of_all_the_bytes_that_there_can_be_come_back() {
    let small = match SmallFs::tmpfs(64 << 20, None) {
        Ok(small) => small,
        Err(why) => return skip(&why),
    };
    let (from, to) = (small.path().join("from"), small.path().join("to"));
    fs::create_dir(&from).unwrap();
    let most = i64::MAX as u64;
    let sizes = [most, most - 1, most - 2, most - 4096];
    for (number, size) in sizes.into_iter().enumerate() {
        let file = File::create(from.join(number.to_string())).unwrap();
        file.set_len(size).unwrap();
        file.write_all_at(b"start", 0).unwrap();
        file.write_all_at(b"end", size - 3).unwrap();
    }
    let past = File::create(from.join("past")).unwrap();
    assert!(past.set_len(most + 1).is_err(), "there is no larger size");
    settle();
    let store = Arc::new(Memory::default());
    let (report, read) = walk(&store, &from, 1, None);
    assert_eq!(report.problems_total, 0, "{:?}", report.problems);
    assert!(read < 1 << 20, "{read} bytes were read");
    assert_eq!(report.draft.bytes, BYTES_TOLD_MAX, "a number that a catalog keeps");
    assert_eq!(bring_back(&store, 1, &to).problems_total, 0);
    let looks = |folder: &Path| {
        for (number, size) in sizes.into_iter().enumerate() {
            let file = File::open(folder.join(number.to_string())).unwrap();
            let stat = file.metadata().unwrap();
            assert_eq!(stat.len(), size);
            assert!(stat.blocks() < 100, "{size}: {} blocks", stat.blocks());
            let (mut start, mut end) = ([0; 6], [0; 4]);
            file.read_exact_at(&mut start, 0).unwrap();
            file.read_exact_at(&mut end, size - 4).unwrap();
            assert_eq!((&start, &end), (b"start\0", b"\0end"), "{size}");
        }
    };
    looks(&below(&to, &from));
    // Found unchanged, and restored from what was found so.
    let (again, read) = walk(&store, &from, 2, Some(1));
    assert_eq!((again.problems_total, read), (0, 0));
    let second = small.path().join("second");
    assert_eq!(bring_back(&store, 2, &second).problems_total, 0);
    looks(&below(&second, &from));
}
