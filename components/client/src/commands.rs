//! Commands of the owner's policy, by themselves or around a backup: started without a shell, in a process
//! group of their own, with a limit on their time, and with the end of what they write kept.

use std::io::{self, PipeReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use simsim_control::Job;
use simsim_control::verbs::RunCommand;
use simsim_model::{Problem, ProblemKind};

use crate::{Client, ClientError, PolicyCommand};

/// So long a command may run for which neither the policy nor the server says anything.
const COMMAND_TIMEOUT_S: u32 = 3600;
/// What a command writes: the last bytes are kept for the report.
const SAID_BYTES_MAX: usize = 4096;
/// A running command is looked at this often.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// From the wish to end until nobody asks any more.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// What it left behind may hold its outputs open; the last words are waited for so long.
const WORDS_PATIENCE: Duration = Duration::from_millis(500);

/// One run of a command.
pub(crate) struct Start<'a> {
    pub command: &'a PolicyCommand,
    /// For its environment, beside what this process has.
    pub surroundings: &'a [(&'static str, String)],
    /// What the server lets it, in seconds.
    pub timeout_s: Option<u32>,
    /// Somebody wants it to end.
    pub unwanted: &'a dyn Fn() -> bool,
}

/// How a command did not end well.
pub(crate) enum Failed {
    /// Somebody wanted it to end.
    Unwanted,
    /// What it did, such as `ended with exit status 3`, and what it said.
    Badly { what: String, said: String },
}

impl Start<'_> {
    /// Runs it to its end; what it said.
    pub(crate) fn run(&self) -> Result<String, Failed> {
        let badly = |what: String, said: String| Failed::Badly { what, said };
        let could_not =
            |error: io::Error| badly(format!("could not be run: {error}"), String::new());
        let limit_s = self.limit_s();
        let begun = Instant::now();
        let (mut child, words) = self.spawn().map_err(could_not)?;
        loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(words.last()),
                Ok(Some(status)) => return Err(badly(describe(status), words.last())),
                Ok(None) => {}
                Err(error) => return Err(badly(format!("was lost: {error}"), words.last())),
            }
            if (self.unwanted)() {
                end(&mut child);
                return Err(Failed::Unwanted);
            }
            if begun.elapsed() >= Duration::from_secs(limit_s.into()) {
                end(&mut child);
                let what = format!("was ended because it ran for {limit_s} s, its limit");
                return Err(badly(what, words.last()));
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// The shorter of the limits that policy and server set.
    fn limit_s(&self) -> u32 {
        let set = [self.timeout_s, self.command.timeout_s];
        set.into_iter().flatten().min().unwrap_or(COMMAND_TIMEOUT_S)
    }

    fn spawn(&self) -> io::Result<(Child, Words)> {
        let Some((program, arguments)) = self.command.run.split_first() else {
            return Err(io::Error::other("the policy names no program"));
        };
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(self.surroundings.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0);
        let child = command.spawn()?;
        // With it goes this side's end of the pipe.
        drop(command);
        Ok((child, Words::of(reader)))
    }
}

/// Asks a command and all its children to end, and ends them.
fn end(child: &mut Child) {
    let group = Pid::from_child(child);
    let _ = kill_process_group(group, Signal::TERM);
    let until = Instant::now() + END_PATIENCE;
    while Instant::now() < until {
        if let Ok(Some(_)) | Err(_) = child.try_wait() {
            break;
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    let _ = kill_process_group(group, Signal::KILL);
    let _ = child.wait();
}

/// The last words of a command, read by a thread of their own so that it never waits for a reader.
struct Words {
    kept: Arc<Mutex<Vec<u8>>>,
    reader: std::thread::JoinHandle<()>,
}

impl Words {
    fn of(mut from: PipeReader) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&kept);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                let mut kept = into.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(buffer.get(..read).unwrap_or_default());
                let over = kept.len().saturating_sub(SAID_BYTES_MAX);
                kept.drain(..over);
            }
        });
        Self { kept, reader }
    }

    fn last(&self) -> String {
        let until = Instant::now() + WORDS_PATIENCE;
        while !self.reader.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&kept);
        let plain = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
        text.trim().chars().map(plain).collect()
    }
}

pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (_, Some(signal)) => format!("was killed by signal {signal}"),
        _ => "ended in an unknown way".to_owned(),
    }
}

/// What was said, as one line.
pub(crate) fn in_one_line(said: &str) -> String {
    said.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" / ")
}

/// The job of a command by itself.
pub(crate) fn run(
    client: &Client,
    request: &RunCommand,
    job: &Arc<Job>,
) -> Result<(), ClientError> {
    let name = &request.local_name;
    let policy = client.policy()?;
    let command = policy.command(name)?;
    let progress = job.progress();
    let surroundings = [
        ("SIMSIM_JOB", request.job.to_string()),
        ("SIMSIM_COMMAND", request.name.clone()),
        ("SIMSIM_CLIENT", client.options.host.clone()),
        ("SIMSIM_PHASE", "command".to_owned()),
    ];
    let start = Start {
        command,
        surroundings: &surroundings,
        timeout_s: request.timeout_s,
        unwanted: &|| progress.is_cancelled(),
    };
    let said = start.run().map_err(|failed| match failed {
        Failed::Unwanted => ClientError::Cancelled,
        Failed::Badly { what, said } => {
            ClientError::OwnCommand { name: name.clone(), what, said: in_one_line(&said) }
        }
    })?;
    if !said.is_empty() {
        job.problem(Problem::new(name.as_bytes(), ProblemKind::Note, in_one_line(&said)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(script: &str, timeout_s: Option<u32>) -> PolicyCommand {
        let run = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        PolicyCommand { run, timeout_s }
    }

    fn run(command: &PolicyCommand, timeout_s: Option<u32>) -> Result<String, String> {
        let surroundings = [("SIMSIM_JOB", "7".to_owned())];
        let start = Start { command, surroundings: &surroundings, timeout_s, unwanted: &|| false };
        start.run().map_err(|failed| match failed {
            Failed::Unwanted => "unwanted".to_owned(),
            Failed::Badly { what, said } => format!("{what}: {said}"),
        })
    }

    #[test]
    fn both_outputs_are_heard_and_the_last_of_them_kept() {
        let said = run(&command("echo $SIMSIM_JOB; echo err >&2; printf '\\001a'", None), None);
        assert_eq!(said.unwrap(), "7\nerr\n a");
        let much = run(&command("yes 0123456789 | head -n 100000; echo last", None), None).unwrap();
        assert!(much.len() <= SAID_BYTES_MAX && much.ends_with("last"), "{}", much.len());
    }

    #[test]
    fn a_bad_end_says_which_and_the_shorter_limit_holds() {
        assert_eq!(
            run(&command("echo no; exit 3", None), None),
            Err("ended with exit status 3: no".into())
        );
        assert_eq!(run(&command("kill -9 $$", None), None), Err("was killed by signal 9: ".into()));
        let begun = Instant::now();
        let late = run(&command("echo begun; sleep 60", Some(60)), Some(1)).unwrap_err();
        assert!(late.contains("1 s, its limit") && late.contains("begun"), "{late}");
        run(&command("sleep 60", Some(1)), Some(60)).unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(20));
        let missing = PolicyCommand { run: vec!["/not/there".to_owned()], timeout_s: None };
        assert!(run(&missing, None).unwrap_err().starts_with("could not be run"));
    }

    #[test]
    fn what_a_command_leaves_behind_is_not_waited_for_and_what_is_unwanted_is_ended_with_its_children()
     {
        let begun = Instant::now();
        assert_eq!(run(&command("echo first; sleep 30 & exit 0", None), None).unwrap(), "first");
        assert!(begun.elapsed() < Duration::from_secs(10));

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("alive");
        let script = format!("(while :; do : > {}; sleep 0.05; done) & wait", file.display());
        let stubborn = command(&format!("trap '' TERM; {script}"), None);
        let start = Start {
            command: &stubborn,
            surroundings: &[],
            timeout_s: None,
            unwanted: &|| file.exists(),
        };
        assert!(matches!(start.run(), Err(Failed::Unwanted)));
        std::fs::remove_file(&file).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        assert!(!file.exists(), "a child of it lives on");
    }
}
