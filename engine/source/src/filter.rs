//! What a walk leaves out: patterns, cache directories, other file systems, large files, and the
//! kernel's own file systems.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::{Mode, OFlags};

use crate::held::HeldDir;
use crate::{SourceError, WalkOptions};

/// The name and first bytes of the mark of a cache directory (bford.info/cachedir).
pub(crate) const CACHE_TAG: &[u8] = b"CACHEDIR.TAG";
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// `statfs` types of file systems that hold no files of anybody (linux/magic.h).
const KERNEL_FILE_SYSTEMS: [u64; 19] = [
    0x0000_9fa0, // proc
    0x6265_6572, // sysfs
    0x0000_1cd1, // devpts
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0xcafe_4a11, // bpf
    0x6165_676c, // pstore
    0x6265_6570, // configfs
    0xde5e_81e4, // efivarfs
    0xf97c_ff8c, // selinuxfs
    0x1980_0202, // mqueue
    0x4249_4e4d, // binfmt_misc
    0x9584_58f6, // hugetlbfs
    0x6573_5543, // fusectl
    0x6e73_6673, // nsfs
    0x6759_6969, // rpc_pipefs
];
const TMPFS: u64 = 0x0102_1994;

/// The rules of one walk.
pub(crate) struct Filter {
    excludes: Gitignore,
    pub(crate) caches: bool,
    pub(crate) one_file_system: bool,
    pub(crate) file_bytes_max: u64,
}

impl Filter {
    pub(crate) fn new(options: &WalkOptions) -> Result<Self, SourceError> {
        let mut builder = GitignoreBuilder::new("/");
        let bad = |pattern: &str, error: ignore::Error| SourceError::BadExclude {
            pattern: pattern.to_owned(),
            reason: error.to_string(),
        };
        for pattern in &options.excludes {
            builder.add_line(None, pattern).map_err(|error| bad(pattern, error))?;
        }
        let excludes = builder.build().map_err(|error| bad("(all together)", error))?;
        Ok(Self {
            excludes,
            caches: options.exclude_caches,
            one_file_system: options.one_file_system,
            file_bytes_max: options.file_bytes_max.unwrap_or(u64::MAX),
        })
    }

    /// Are there patterns at all? Without them no path is ever built.
    pub(crate) fn has_patterns(&self) -> bool {
        !self.excludes.is_empty()
    }

    /// Is this absolute path excluded? Its parents were asked before.
    pub(crate) fn excludes(&self, path: &[u8], is_dir: bool) -> bool {
        let relative = path.strip_prefix(b"/").unwrap_or(path);
        self.excludes.matched(OsStr::from_bytes(relative), is_dir).is_ignore()
    }
}

/// Does the file of that name begin with the signature? A file of the name alone is no mark.
pub(crate) fn is_cache_tag(dir: impl AsFd) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut head = [0; CACHE_SIGNATURE.len()];
    rustix::fs::openat(dir, CACHE_TAG, flags, Mode::empty())
        .and_then(|file| rustix::io::pread(file, &mut head, 0))
        .is_ok_and(|read| read == head.len() && head == CACHE_SIGNATURE)
}

/// Is the root of a mount one of the kernel's file systems? The tmpfs at `/dev` counts as one:
/// it is made anew at every start.
pub(crate) fn is_kernel_file_system(held: &HeldDir, fd: impl AsFd) -> bool {
    let Ok(statfs) = rustix::fs::fstatfs(fd) else { return false };
    // The magic numbers have 32 bits; the field is signed and of the machine's width.
    #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast)]
    let magic = (statfs.f_type as u64) & 0xffff_ffff;
    KERNEL_FILE_SYSTEMS.contains(&magic)
        || (magic == TMPFS && held.depth() == 1 && held.name() == b"dev")
}
