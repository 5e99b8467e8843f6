//! A program of the server's settings: it reads the letter's document, and its exit status says whether it took it.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::{DELIVERY_MAX, Letter, NoticeError};

/// Of what it says so much is read.
const SAID_BYTES_MAX: u64 = 4096;
/// After its end its last words may take so long.
const SAID_PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

/// Runs a program, an absolute path with its arguments; no shell reads them. It runs in `/`, in a process group of its own,
/// with nothing of the server's environment but its `PATH`, and is killed with its group when its time is up.
pub async fn run_program(line: &[String], letter: &Letter) -> Result<(), NoticeError> {
    let Some((program, arguments)) = line.split_first() else {
        return Err(NoticeError::Invalid("the settings name no program".to_owned()));
    };
    let at = format!("the program {program}");
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir("/")
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("SIMSIM_MESSAGE", &letter.id)
        .env("SIMSIM_SUBJECT", crate::error::one_line(&letter.subject))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| NoticeError::unreachable(&at, error))?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let (input, said) = (child.stdin.take(), child.stderr.take());
    let document = letter.document.to_string();
    let work = async {
        let write = async {
            if let Some(mut input) = input {
                // One that reads nothing is no error: its status counts.
                let _ = input.write_all(document.as_bytes()).await;
            }
        };
        let ((), status) = tokio::join!(write, child.wait());
        status
    };
    let reader = tokio::spawn(async move {
        let mut text = Vec::new();
        if let Some(mut said) = said {
            let _ = (&mut said).take(SAID_BYTES_MAX).read_to_end(&mut text).await;
            let _ = tokio::io::copy(&mut said, &mut tokio::io::sink()).await;
        }
        text
    });
    let ended = tokio::time::timeout(DELIVERY_MAX, work).await;
    // What it leaves running may hold its output open.
    let said = tokio::time::timeout(SAID_PATIENCE, reader).await;
    let said = said.ok().and_then(Result::ok).unwrap_or_default();
    match ended {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => {
            let said = format!("{status} {}", String::from_utf8_lossy(&said));
            Err(NoticeError::refused(&at, &said))
        }
        Ok(Err(error)) => Err(NoticeError::unreachable(&at, error)),
        Err(_) => {
            if let Some(group) = group {
                let _ = kill_process_group(group, Signal::KILL);
            }
            Err(NoticeError::Late { at, seconds: DELIVERY_MAX.as_secs() })
        }
    }
}
