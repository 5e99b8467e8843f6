//! A plain stream: the output of a command of the owner's policy, cut and sealed at the device.
//!
//! The stream is ended only after the command has ended well: a dump that broke off must not look
//! like a complete one. Nothing of a failed or cancelled command becomes a saveset.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use simsim_control::Job;
use simsim_control::verbs::StartBackup;
use simsim_format::Manifest;
use simsim_model::{
    CommitReply, Kind, Problem, ProblemKind, Progress, RestoreSession, SessionError,
};
use simsim_transfer::HttpTransfer;

use crate::addresses::routes_of;
use crate::backup::{end, open};
use crate::commands::describe;
use crate::{Client, ClientError};

const READ_BYTES: usize = 256 * 1024;
/// What a command says on its standard error: the last bytes are kept for the report.
const SAID_BYTES_MAX: usize = 4096;
/// A cancelled command is looked for this often.
const CANCEL_INTERVAL: Duration = Duration::from_millis(100);

pub(crate) fn run(
    client: &Client,
    request: &StartBackup,
    job: &Arc<Job>,
) -> Result<Option<CommitReply>, ClientError> {
    let Some(name) = &request.stream_command else {
        return Err(ClientError::Request(
            "a backup of a stream must name a command of the client's policy",
        ));
    };
    let policy = client.policy()?;
    let command = policy.command(name)?;
    let (urls, keys) = (&request.device_addresses, &request.device_keys);
    let (own, outbound) = (&request.client_keys, request.outbound);
    let routes = routes_of(client, urls, request.ticket.drive, keys, own, outbound)?;
    let Some((program, arguments)) = command.run.split_first() else {
        return Err(ClientError::Request("the command of the policy is empty"));
    };
    let transfer = open(client, routes, request, job)?;
    let child = Command::new(program)
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let done = match child {
        Ok(child) => send(&transfer, child, name, job),
        Err(error) => Err(ClientError::File { action: "run", path: program.into(), source: error }),
    };
    let done = done.and_then(|()| committed(&transfer, request));
    end(&transfer, done.as_ref().err().map(ToString::to_string));
    done.map(Some)
}

/// Sends the command's whole output; ends the stream only when the command ended well.
fn send(
    transfer: &HttpTransfer,
    mut child: Child,
    name: &str,
    job: &Arc<Job>,
) -> Result<(), ClientError> {
    let progress = job.progress();
    let ended = AtomicBool::new(false);
    let group = Pid::from_child(&child);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (copied, said, status, writer) = std::thread::scope(|scope| {
        scope.spawn(|| kill_when_cancelled(group, &progress, &ended));
        let said = scope.spawn(move || stderr.map(tail).unwrap_or_default());
        let mut writer = transfer.stream_put();
        let copied = match stdout {
            Some(mut stdout) => copy(&mut stdout, &mut writer, &progress),
            None => Err(io::Error::other("the command has no output")),
        };
        if copied.is_err() {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let status = child.wait();
        ended.store(true, Ordering::Release);
        (copied, said.join().unwrap_or_default(), status, writer)
    });
    if progress.is_cancelled() {
        return Err(ClientError::Cancelled);
    }
    copied.map_err(|error| match error.downcast::<SessionError>() {
        Ok(error) => ClientError::Session(error),
        Err(error) => ClientError::Command {
            name: name.to_owned(),
            what: format!("gave no more output: {error}"),
            said: said.clone(),
        },
    })?;
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => {
            let (name, what) = (name.to_owned(), describe(status));
            return Err(ClientError::Command { name, what, said });
        }
        Err(error) => {
            let what = format!("was lost: {error}");
            return Err(ClientError::Command { name: name.to_owned(), what, said });
        }
    }
    if !said.is_empty() {
        job.problem(Problem::new(name.as_bytes(), ProblemKind::Note, said));
    }
    writer.finish()?;
    progress.add(|p| &p.files_done, 1);
    Ok(())
}

/// Kills the command with all its children when the job is cancelled.
fn kill_when_cancelled(group: Pid, progress: &Progress, ended: &AtomicBool) {
    while !ended.load(Ordering::Acquire) {
        if progress.is_cancelled() {
            let _ = kill_process_group(group, Signal::KILL);
            return;
        }
        std::thread::sleep(CANCEL_INTERVAL);
    }
}

fn copy(from: &mut impl Read, to: &mut impl Write, progress: &Progress) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(buffer.get(..read).unwrap_or_default())?;
        progress.add(|p| &p.bytes_read, read as u64);
        progress.add(|p| &p.bytes_done, read as u64);
        progress.add(|p| &p.bytes_wire, read as u64);
    }
}

/// Reads to the end and keeps the last bytes, so that the command never waits for a reader.
fn tail(mut stderr: ChildStderr) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stderr.read(&mut buffer) {
        kept.extend_from_slice(buffer.get(..read).unwrap_or_default());
        let over = kept.len().saturating_sub(SAID_BYTES_MAX);
        kept.drain(..over);
    }
    let text = String::from_utf8_lossy(&kept);
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The device wrote the manifest; what it says is the answer.
fn committed(transfer: &HttpTransfer, request: &StartBackup) -> Result<CommitReply, ClientError> {
    let manifest = Manifest::decode(&transfer.manifest(request.ticket.saveset)?)?;
    if manifest.saveset != request.ticket.saveset || manifest.domain != request.ticket.domain {
        let text = "the device answered with the manifest of another saveset";
        return Err(SessionError::new(Kind::Corrupt, text).into());
    }
    Ok(CommitReply {
        saveset: manifest.saveset,
        sequence: manifest.sequence,
        committed_unix_ns: manifest.committed_unix_ns,
    })
}
