//! What `statx` says about one inode, without the access time.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Statx, StatxAttributes, StatxFlags};
use simsim_model::Timestamp;

/// The metadata of one inode at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    pub kind: StatKind,
    /// 0 ..= 0o7777.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// As the kernel gives it: of a symlink, the length of its target.
    pub size: u64,
    /// Units of 512 bytes.
    pub blocks: u64,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    pub ino: u64,
    pub dev: u64,
    pub nlink: u64,
    pub rdev_major: u32,
    pub rdev_minor: u32,
}

/// The type of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatKind {
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
    CharDevice,
    BlockDevice,
}

impl StatKind {
    /// A word for messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            StatKind::File => "regular file",
            StatKind::Directory => "directory",
            StatKind::Symlink => "symbolic link",
            StatKind::Fifo => "FIFO",
            StatKind::Socket => "socket",
            StatKind::CharDevice => "character device",
            StatKind::BlockDevice => "block device",
        }
    }
}

const MASK: StatxFlags = StatxFlags::TYPE
    .union(StatxFlags::MODE)
    .union(StatxFlags::NLINK)
    .union(StatxFlags::UID)
    .union(StatxFlags::GID)
    .union(StatxFlags::MTIME)
    .union(StatxFlags::CTIME)
    .union(StatxFlags::INO)
    .union(StatxFlags::SIZE)
    .union(StatxFlags::BLOCKS);

impl Stat {
    /// Of `name` in the directory `dir`, never following a symlink or triggering an automount.
    pub(crate) fn at(dir: impl AsFd, name: &[u8]) -> io::Result<Stat> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        Stat::from_statx(&rustix::fs::statx(dir, name, flags, MASK)?)
    }

    pub(crate) fn of(fd: impl AsFd) -> io::Result<Stat> {
        Stat::from_statx(&rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, MASK)?)
    }

    /// Of an open directory, and whether a file system is mounted right there.
    pub(crate) fn of_mount(fd: impl AsFd) -> io::Result<(Stat, bool)> {
        let statx = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, MASK)?;
        let mounted = statx.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
        Ok((Stat::from_statx(&statx)?, mounted))
    }

    /// The pair that names an inode on this machine.
    pub(crate) fn identity(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }

    fn from_statx(statx: &Statx) -> io::Result<Stat> {
        let kind = match FileType::from_raw_mode(statx.stx_mode.into()) {
            FileType::RegularFile => StatKind::File,
            FileType::Directory => StatKind::Directory,
            FileType::Symlink => StatKind::Symlink,
            FileType::Fifo => StatKind::Fifo,
            FileType::Socket => StatKind::Socket,
            FileType::CharacterDevice => StatKind::CharDevice,
            FileType::BlockDevice => StatKind::BlockDevice,
            FileType::Unknown => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("the file system gives the unknown file type {:#o}", statx.stx_mode),
                ));
            }
        };
        let time = |time: rustix::fs::StatxTimestamp| {
            Timestamp::new(time.tv_sec, time.tv_nsec.min(Timestamp::NANOS_MAX))
        };
        Ok(Stat {
            kind,
            mode: u32::from(statx.stx_mode) & 0o7777,
            uid: statx.stx_uid,
            gid: statx.stx_gid,
            size: statx.stx_size,
            blocks: statx.stx_blocks,
            mtime: time(statx.stx_mtime),
            ctime: time(statx.stx_ctime),
            ino: statx.stx_ino,
            dev: rustix::fs::makedev(statx.stx_dev_major, statx.stx_dev_minor),
            nlink: statx.stx_nlink.into(),
            rdev_major: statx.stx_rdev_major,
            rdev_minor: statx.stx_rdev_minor,
        })
    }
}
