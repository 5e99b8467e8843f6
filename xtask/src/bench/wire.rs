//! Bytes on the wire: the loopback's own counter.
//!
//! As root in a network namespace of its own nothing else counts; elsewhere the whole machine's
//! loopback is read, and the figure is only as good as the machine is quiet.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::step;

/// Where simsim's processes run.
pub struct Wire {
    /// Holds the namespace while it lives.
    holder: Option<Child>,
}

impl Wire {
    pub fn new() -> Self {
        Self { holder: own_namespace() }
    }

    /// A command that runs on this wire.
    pub fn command(&self, program: &std::path::Path) -> Command {
        match &self.holder {
            None => Command::new(program),
            Some(holder) => {
                let mut command = Command::new("nsenter");
                command.args(["-t", &holder.id().to_string(), "-n"]).arg(program);
                command
            }
        }
    }

    /// Bytes that went over the loopback so far, headers included.
    pub fn bytes(&self) -> Result<u64> {
        let path = match &self.holder {
            None => "/proc/net/dev".to_owned(),
            Some(holder) => format!("/proc/{}/net/dev", holder.id()),
        };
        let table = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        received_on_loopback(&table).with_context(|| format!("{path} has no loopback"))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some(holder) = &mut self.holder {
            let _ = holder.kill();
            let _ = holder.wait();
        }
    }
}

fn own_namespace() -> Option<Child> {
    let possible = rustix::process::geteuid().is_root()
        && ["unshare", "nsenter", "ip"].iter().all(|program| step::on_path(program));
    if !possible {
        return None;
    }
    let line = "ip link set lo up && echo up && exec sleep infinity";
    let mut holder = Command::new("unshare")
        .args(["-n", "sh", "-c", line])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut said = String::new();
    if let Some(output) = holder.stdout.take() {
        use std::io::BufRead;
        let _ = std::io::BufReader::new(output).read_line(&mut said);
    }
    if said.trim() == "up" {
        return Some(holder);
    }
    let _ = holder.kill();
    let _ = holder.wait();
    None
}

fn received_on_loopback(table: &str) -> Option<u64> {
    let line = table.lines().find_map(|line| line.trim().strip_prefix("lo:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_counted() {
        let table = "Inter-|   Receive\n face |bytes\n    lo: 1234 5 0\n  eth0: 9 9 9\n";
        assert_eq!(received_on_loopback(table), Some(1234));
        assert_eq!(received_on_loopback("eth0: 1 2"), None);
        assert!(Wire { holder: None }.bytes().is_ok());
    }
}
