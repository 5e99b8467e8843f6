//! What a command costs: wall time, CPU time, peak resident memory; and how large a folder is.
//!
//! CPU times are read from the ended but not yet collected process, children that it waited for
//! included. Memory is each process' own high-water mark, sampled while it lives, summed over the
//! processes of a pipeline.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use serde::Serialize;

use crate::step;

const SAMPLE_EVERY: Duration = Duration::from_millis(5);

/// The unit of `/proc/*/stat`: USER_HZ, 100 on every Linux that runs here.
const TICKS_PER_SECOND: f64 = 100.0;

/// The cost of one step. What was not measured is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cost {
    pub wall_s: f64,
    /// Of the side that reads or writes files; of everything where there is one side only.
    pub client_cpu_s: f64,
    pub device_cpu_s: Option<f64>,
    pub client_mib: f64,
    pub device_mib: Option<f64>,
    pub wire_mb: Option<f64>,
}

/// Runs a command to its end and measures it. Its output is shown only when it fails.
pub fn command(command: &mut Command) -> Result<Cost> {
    let text = step::describe(command);
    let log = tempfile::NamedTempFile::new()?;
    command.stdin(Stdio::null()).stdout(log.reopen()?).stderr(log.reopen()?);
    let started = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start `{text}`"))?;
    let cost = watch(&child, started)?;
    let status = child.wait()?;
    if !status.success() {
        let output = std::fs::read(log.path())?;
        let output = String::from_utf8_lossy(&output);
        let tail: Vec<&str> = output.lines().rev().take(20).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        bail!("`{text}` ended with {status}\n{}", tail.join("\n"));
    }
    Ok(cost)
}

/// Waits until the child has ended, without collecting it.
fn watch(child: &Child, started: Instant) -> Result<Cost> {
    let pid = Pid::from_child(child);
    let mut peak_sum = 0;
    loop {
        let ended = waitid(
            WaitId::Pid(pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG,
        )?;
        if ended.is_some() {
            return Ok(Cost {
                wall_s: started.elapsed().as_secs_f64(),
                client_cpu_s: cpu_s(pid.as_raw_pid(), true)?,
                client_mib: peak_sum as f64 / 1024.0,
                ..Cost::default()
            });
        }
        let mut alive = vec![pid.as_raw_pid()];
        let mut sum = 0;
        while let Some(one) = alive.pop() {
            alive.extend(children(one));
            sum += high_water_kib(one).unwrap_or(0);
        }
        peak_sum = peak_sum.max(sum);
        std::thread::sleep(SAMPLE_EVERY);
    }
}

/// CPU seconds of a process; with those of its collected children where asked.
pub fn cpu_s(pid: i32, with_children: bool) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    // The name stands in parentheses and may hold anything; utime is the twelfth field after it.
    let (_, fields) = stat.rsplit_once(") ").with_context(|| path.clone())?;
    let fields: Vec<u64> = fields.split(' ').map(|field| field.parse().unwrap_or(0)).collect();
    let of = |range: std::ops::Range<usize>| -> u64 {
        fields.get(range).unwrap_or_default().iter().sum()
    };
    let ticks = of(11..13) + if with_children { of(13..15) } else { 0 };
    Ok(ticks as f64 / TICKS_PER_SECOND)
}

/// The most that the process has had resident since it began, or since the mark was reset.
pub fn high_water_kib(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// Sets the high-water mark to what is resident now.
pub fn reset_high_water(pid: i32) -> Result<()> {
    let path = format!("/proc/{pid}/clear_refs");
    std::fs::write(&path, "5").with_context(|| path.clone())
}

fn children(pid: i32) -> Vec<i32> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().flat_map(str::parse).collect::<Vec<i32>>())
        .collect()
}

/// Bytes of all files in a folder. A repository that is not there yet has none.
pub fn size_of(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    let mut stack = vec![folder.to_path_buf()];
    while let Some(folder) = stack.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries {
            let entry = entry?;
            // A tool may remove its temporary files meanwhile.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                stack.push(entry.path());
            } else {
                bytes += metadata.len();
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_cpu_and_memory_are_those_of_the_command() {
        let mut slow = Command::new("sleep");
        let cost = command(slow.arg("0.2")).unwrap();
        assert!(cost.wall_s >= 0.2 && cost.wall_s < 5.0, "{cost:?}");
        assert!(cost.client_cpu_s < 0.15, "{cost:?}");
        // A shell and a child of it that works and holds memory.
        let mut busy = Command::new("sh");
        busy.args(["-c", "head -c 30000000 /dev/zero | tail -c 30000000 | cksum; true"]);
        let cost = command(&mut busy).unwrap();
        assert!(cost.client_cpu_s > 0.0, "{cost:?}");
        assert!(cost.client_mib > 25.0, "{cost:?}");
    }

    #[test]
    fn a_failed_command_is_an_error_with_its_last_words() {
        let mut bad = Command::new("sh");
        let error = command(bad.args(["-c", "echo why; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("why") && error.contains('3'), "{error}");
    }

    #[test]
    fn sizes_are_summed_over_folders() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("a")).unwrap();
        std::fs::write(place.path().join("a/b"), [0; 1000]).unwrap();
        std::fs::write(place.path().join("c"), [0; 24]).unwrap();
        assert_eq!(size_of(place.path()).unwrap(), 1024);
        assert_eq!(size_of(&place.path().join("missing")).unwrap(), 0);
    }
}
