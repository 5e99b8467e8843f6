//! Content of two files, read only where one of them holds data.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{SeekFrom, fstat, seek};
use rustix::io::Errno;

const BUFFER_BYTES: usize = 1 << 17;

/// Where the files differ first; a file that ends earlier differs at its end.
pub(crate) fn first_difference(left: &OwnedFd, right: &OwnedFd) -> io::Result<Option<u64>> {
    let (left_end, right_end) = (fstat(left)?.st_size as u64, fstat(right)?.st_size as u64);
    let end = left_end.min(right_end);
    let (mut one, mut other) = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
    let mut at = 0;
    while let Some(data) = earlier(next_data(left, at)?, next_data(right, at)?) {
        if data >= end {
            break;
        }
        // From here to the end of the data of either; a hole in the other reads as zeros.
        let stop = next_hole(left, data)?.max(next_hole(right, data)?).min(end);
        at = data;
        while at < stop {
            let length = (stop - at).min(BUFFER_BYTES as u64) as usize;
            read_exact_at(left, at, &mut one[..length])?;
            read_exact_at(right, at, &mut other[..length])?;
            if let Some(inside) = (0..length).find(|n| one[*n] != other[*n]) {
                return Ok(Some(at + inside as u64));
            }
            at += length as u64;
        }
    }
    Ok((left_end != right_end).then_some(end))
}

/// Do allocated sizes differ by more than block sizes and bookkeeping explain?
pub(crate) fn allocation_differs(left: u64, right: u64, size: u64) -> bool {
    left.abs_diff(right) > 32 * 1024 + (size / 16).min(left.max(right) / 4)
}

fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Start of the next data at or after `at`; nothing where only a hole follows.
fn next_data(file: &OwnedFd, at: u64) -> io::Result<Option<u64>> {
    match seek(file, SeekFrom::Data(at)) {
        Ok(offset) => Ok(Some(offset)),
        Err(Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// End of the data that begins at or before `at`; `at` itself where there is a hole.
fn next_hole(file: &OwnedFd, at: u64) -> io::Result<u64> {
    match seek(file, SeekFrom::Hole(at)) {
        Ok(offset) => Ok(offset),
        Err(Errno::NXIO) => Ok(at),
        Err(error) => Err(error.into()),
    }
}

fn read_exact_at(file: &OwnedFd, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        let read = rustix::io::pread(file, &mut buffer[done..], offset + done as u64)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        done += read;
    }
    Ok(())
}
