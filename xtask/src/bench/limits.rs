//! What no copy between two datastores can be faster than: reading the source from its disk, and TLS
//! over the loopback. And what a measured step needs of the machine beforehand.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::{Advice, fadvise};

use crate::step;

/// Uses as much memory as `bytes`, at most a third of what is available, and frees it at once.
///
/// The host of a virtual machine takes free memory away after some seconds, and giving it back costs
/// more than writing it: without this, a step is slow or fast by how long the machine was idle before
/// it (measured on tmpfs: 0.8 GB/s against 1.6).
pub fn take_memory_back(bytes: u64) -> Result<()> {
    let available = std::fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    let kib = available.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = kib.and_then(|rest| rest.split_whitespace().next()).and_then(|kib| kib.parse().ok());
    let most: u64 = kib.map_or(0, |kib: u64| kib * 1024 / 3);
    let pages = vec![1_u8; usize::try_from(bytes.min(most))?];
    std::hint::black_box(&pages);
    Ok(())
}

/// Zeros that go over TLS: seconds of work.
const TLS_BYTES: u64 = 2 << 30;

/// Takes the files below a folder out of the system's memory, as far as it follows.
pub fn forget(folder: &Path) -> Result<()> {
    for path in files(folder)? {
        let file = File::open(&path)?;
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

/// MB/s at which the files below a folder are read, one after the other.
pub fn read_mb_s(folder: &Path) -> Result<f64> {
    let files = files(folder)?;
    let mut buffer = vec![0; 1 << 20];
    let (begun, mut bytes) = (Instant::now(), 0);
    for path in files {
        let mut file = File::open(&path)?;
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => bytes += read,
            }
        }
    }
    Ok(bytes as f64 / 1e6 / begun.elapsed().as_secs_f64())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            match entry.file_type()? {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

/// MB/s of OpenSSL's TLS 1.3 over the loopback, from one process to another; nothing where there is no
/// `openssl`.
pub fn tls_mb_s(scratch: &Path) -> Result<Option<f64>> {
    if !step::on_path("openssl") {
        return Ok(None);
    }
    let (key, certificate) = (scratch.join("limit.key"), scratch.join("limit.crt"));
    let mut make = Command::new("openssl");
    make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
    make.args(["-days", "2", "-subj", "/CN=limit", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate);
    step::output(&mut make)?;
    let address = format!("127.0.0.1:{}", simsim_testkit::free_ports(1)[0]);
    let mut server = Command::new("openssl");
    server.args(["s_server", "-quiet", "-tls1_3", "-naccept", "1", "-accept", &address, "-key"]);
    server.arg(&key).arg("-cert").arg(&certificate);
    // It hangs up where its own input ends, so it is given one that does not.
    let text = step::describe(&server);
    server.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let server = server.spawn().with_context(|| format!("cannot start `{text}`"))?;
    let mut server = Ended(server);
    let _open = server.0.stdin.take();
    let deadline = Instant::now() + Duration::from_secs(10);
    // Its one connection must not be used up by a look: the listening socket is enough.
    while !is_listening(&address)? {
        if Instant::now() > deadline || server.0.try_wait()?.is_some() {
            bail!("openssl does not listen at {address}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let feed = format!(
        "head -c {TLS_BYTES} /dev/zero | openssl s_client -quiet -no_ign_eof -tls1_3 -connect {address}"
    );
    let begun = Instant::now();
    // Also where openssl leaves before it has taken all.
    let mut client = Command::new("bash");
    let mut client = Ended(silent(client.args(["-o", "pipefail", "-c", &feed]))?);
    let sent = client.0.wait()?;
    let taken = server.0.wait()?;
    if !sent.success() || !taken.success() {
        bail!("openssl did not send {TLS_BYTES} bytes to itself");
    }
    Ok(Some(TLS_BYTES as f64 / 1e6 / begun.elapsed().as_secs_f64()))
}

/// Whether somebody listens, without connecting.
fn is_listening(address: &str) -> Result<bool> {
    let port: u16 = address.rsplit(':').next().unwrap_or_default().parse()?;
    let wanted = format!(":{port:04X} 00000000:0000 0A");
    Ok(std::fs::read_to_string("/proc/net/tcp")?.contains(&wanted))
}

fn silent(command: &mut Command) -> Result<Child> {
    let text = step::describe(command);
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().with_context(|| format!("cannot start `{text}`"))
}

/// Ends with the measurement, whatever happened.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_are_measured() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("below")).unwrap();
        std::fs::write(place.path().join("below/file"), vec![7; 3 << 20]).unwrap();
        forget(place.path()).unwrap();
        assert!(read_mb_s(place.path()).unwrap() > 1.0);
        if let Some(rate) = tls_mb_s(place.path()).unwrap() {
            assert!(rate > 1.0, "{rate}");
        }
    }
}
