//! The way from a held directory to one file's bytes and attributes.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use crate::held::HeldDir;
use crate::xattr::{self, Subject};
use crate::{Content, Details, Place, Stat, StatKind};

impl Place for HeldDir {
    fn open(&self, name: &[u8]) -> io::Result<Box<dyn Content>> {
        let file = open_for_reading(&*self.fd()?, name)?;
        // Between the listing and now anything may have taken the name; reading from a device
        // or a FIFO could block for ever or rewind a tape.
        let opened = Stat::of(&file)?;
        if opened.kind != StatKind::File {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is no regular file any more",
            ));
        }
        Ok(Box::new(FileContent { file, opened }))
    }

    fn details(&self, name: &[u8], stat: &Stat) -> io::Result<Details> {
        let dir = self.fd()?;
        let mut details = Details::default();
        let problems = &mut details.problems;
        match stat.kind {
            StatKind::Directory if name.is_empty() => {
                details.flags = flags_or_problem(&*dir, problems);
                details.xattrs = xattr::read_all(&Subject::Open(dir.as_fd()), problems);
            }
            StatKind::File | StatKind::Directory => match open_for_reading(&*dir, name) {
                Ok(file) => {
                    details.flags = flags_or_problem(&file, problems);
                    details.xattrs = xattr::read_all(&Subject::Open(file.as_fd()), problems);
                }
                // Listing attributes needs no permission to read the file.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    details.xattrs = xattr::read_all(&Subject::named(&*dir, name), problems);
                }
                Err(error) => return Err(error),
            },
            StatKind::Symlink => {
                let target = rustix::fs::readlinkat(&*dir, name, Vec::new())?;
                details.symlink_target = Some(target.into_bytes());
                details.xattrs = xattr::read_all(&Subject::named(&*dir, name), problems);
            }
            StatKind::Fifo | StatKind::Socket | StatKind::CharDevice | StatKind::BlockDevice => {
                details.xattrs = xattr::read_all(&Subject::named(&*dir, name), problems);
            }
        }
        Ok(details)
    }

    fn path(&self, name: &[u8]) -> Vec<u8> {
        HeldDir::path(self, name)
    }
}

fn flags_or_problem(fd: impl AsFd, problems: &mut Vec<String>) -> u32 {
    xattr::read_flags(fd).unwrap_or_else(|error| {
        problems.push(format!("the inode flags cannot be read: {error}"));
        0
    })
}

fn open_for_reading(dir: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match rustix::fs::openat(&dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => Ok(rustix::fs::openat(&dir, name, flags, Mode::empty())?),
        other => Ok(other?),
    }
}

struct FileContent {
    file: OwnedFd,
    opened: Stat,
}

impl Content for FileContent {
    fn opened(&self) -> Stat {
        self.opened
    }

    fn stat(&self) -> io::Result<Stat> {
        Stat::of(&self.file)
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match rustix::io::pread(&self.file, rest, offset.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(filled)
    }

    fn read_onto(&mut self, offset: u64, wanted: usize, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let start = buffer.len();
        // Room for one byte more, so that one call tells of a file that goes on.
        let more = wanted.saturating_add(1);
        buffer.reserve(more);
        let room = (buffer.capacity() - start) as u64;
        if offset.saturating_add(room) > i64::MAX as u64 {
            // The kernel refuses a call that could go past the largest offset.
            buffer.resize(start + wanted, 0);
            let read = self.read_at(offset, buffer.get_mut(start..).unwrap_or_default());
            buffer.truncate(start + read.as_ref().map_or(0, |read| *read));
            return read;
        }
        let read = loop {
            let filled = buffer.len() - start;
            if filled >= wanted && (wanted > 0 || filled > 0) {
                break Ok(filled.min(more));
            }
            // Into memory that nobody has filled with zeros before; what comes beyond the wanted
            // is cut off again.
            let room = rustix::buffer::spare_capacity(buffer);
            match rustix::io::pread(&self.file, room, offset.saturating_add(filled as u64)) {
                Ok(0) => break Ok(filled),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => break Err(error.into()),
            }
        };
        buffer.truncate(start + read.as_ref().map_or(0, |read| wanted.min(*read)));
        read
    }

    fn next_data(&mut self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let start = match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            Err(error) if xattr::unsupported(error) => {
                let size = self.stat()?.size;
                return Ok((offset < size).then_some(offset..size));
            }
            Err(error) => return Err(error.into()),
        };
        match rustix::fs::seek(&self.file, SeekFrom::Hole(start)) {
            Ok(end) => Ok((start < end).then_some(start..end)),
            // Truncated since the first call.
            Err(Errno::NXIO) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn details(&self) -> Details {
        let mut details = Details::default();
        details.flags = flags_or_problem(&self.file, &mut details.problems);
        let open = Subject::Open(self.file.as_fd());
        details.xattrs = xattr::read_all(&open, &mut details.problems);
        details
    }
}
