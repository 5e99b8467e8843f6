//! Extended attributes and inode flags, read so that a missing feature is not an error.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::IFlags;
use rustix::io::Errno;
use simsim_model::escape_path;
use simsim_model::limits::XATTRS_BYTES_MAX;

/// The kernel's own limit for a list of names and for one value.
const KERNEL_BYTES_MAX: usize = 64 * 1024;

/// Flags that a person or program sets, and that a restore sets again. The others describe how
/// a file system stores the file (extents, indexed directory, inline data).
pub(crate) const FLAGS_KEPT: u32 = IFlags::SECURE_REMOVAL.bits()
    | IFlags::UNRM.bits()
    | IFlags::COMPRESSED.bits()
    | IFlags::SYNC.bits()
    | IFlags::IMMUTABLE.bits()
    | IFlags::APPEND.bits()
    | IFlags::NODUMP.bits()
    | IFlags::NOATIME.bits()
    | IFlags::JOURNALING.bits()
    | IFlags::NOTAIL.bits()
    | IFlags::DIRSYNC.bits()
    | IFlags::TOPDIR.bits()
    | IFlags::NOCOW.bits()
    | IFlags::PROJECT_INHERIT.bits();

/// The flags of an open file or directory; 0 where the file system has none.
pub(crate) fn read_flags(fd: impl AsFd) -> io::Result<u32> {
    match rustix::fs::ioctl_getflags(fd) {
        Ok(flags) => Ok(flags.bits() & FLAGS_KEPT),
        Err(error) if unsupported(error) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// "This file system does not have that", in the words of various file systems.
pub(crate) fn unsupported(error: Errno) -> bool {
    [Errno::NOTTY, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL, Errno::NODATA].contains(&error)
}

/// What attributes are read from: a descriptor, or a name that must not be opened (a FIFO, a
/// device, a symlink, a file without read permission).
pub(crate) enum Subject<'a> {
    Open(BorrowedFd<'a>),
    /// A child of an open directory, through `/proc/self/fd`; the last component is not followed.
    Named(String, &'a [u8]),
}

impl<'a> Subject<'a> {
    pub(crate) fn named(dir: &impl AsRawFd, name: &'a [u8]) -> Self {
        Subject::Named(format!("/proc/self/fd/{}/", dir.as_raw_fd()), name)
    }

    fn path(base: &str, name: &[u8]) -> Vec<u8> {
        [base.as_bytes(), name].concat()
    }

    fn list(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Subject::Open(fd) => rustix::fs::flistxattr(fd, buffer),
            Subject::Named(base, name) => rustix::fs::llistxattr(Self::path(base, name), buffer),
        }
    }

    fn get(&self, attribute: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Subject::Open(fd) => rustix::fs::fgetxattr(fd, attribute, buffer),
            Subject::Named(base, name) => {
                rustix::fs::lgetxattr(Self::path(base, name), attribute, buffer)
            }
        }
    }
}

/// All attributes, sorted by name. What cannot be read is said in `problems` and left out.
pub(crate) fn read_all(
    subject: &Subject<'_>,
    problems: &mut Vec<String>,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut xattrs = Vec::new();
    let names = match fill(|buffer| subject.list(buffer)) {
        Ok(names) => names,
        Err(error) if unsupported(error) => return xattrs,
        Err(error) => {
            problems.push(format!(
                "the extended attributes cannot be listed: {}",
                io::Error::from(error)
            ));
            return xattrs;
        }
    };
    let mut total = 0;
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        match fill(|buffer| subject.get(name, buffer)) {
            Ok(value) => {
                total += name.len() + value.len();
                if total > XATTRS_BYTES_MAX {
                    problems.push(format!(
                        "the extended attributes from '{}' on are left out: together they have \
                         more than {XATTRS_BYTES_MAX} bytes",
                        escape_path(name)
                    ));
                    break;
                }
                xattrs.push((name.to_vec(), value));
            }
            Err(error) if unsupported(error) => {}
            Err(error) => problems.push(format!(
                "the extended attribute '{}' cannot be read: {}",
                escape_path(name),
                io::Error::from(error)
            )),
        }
    }
    xattrs.sort_unstable();
    xattrs
}

/// Nearly always a kilobyte is enough; else all that the kernel ever gives.
fn fill(mut read: impl FnMut(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut small = [0; 1024];
    match read(&mut small) {
        Ok(length) => Ok(small.get(..length).unwrap_or_default().to_vec()),
        Err(Errno::RANGE) => {
            let mut large = vec![0; KERNEL_BYTES_MAX];
            let length = read(&mut large)?;
            large.truncate(length);
            Ok(large)
        }
        Err(error) => Err(error),
    }
}
