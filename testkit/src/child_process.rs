//! A process that dies with its test.

use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, kill_process};

/// A child with its output collected; killed and waited for when dropped, also by a panic.
pub struct ChildProcess {
    child: Child,
    output: Arc<Output>,
    streams: Vec<Arc<OwnedFd>>,
    readers: Vec<JoinHandle<()>>,
    status: Option<ExitStatus>,
}

#[derive(Default)]
struct Output {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    /// Streams that have not ended.
    open: usize,
}

impl State {
    fn take(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        self.lines.push(text.trim_end_matches(['\n', '\r']).to_owned());
    }
}

impl Output {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChildProcess {
    /// Starts the command with both outputs collected and nothing to read. Panics when it cannot
    /// be started.
    pub fn start(command: &mut Command) -> Self {
        let program = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
        let output = Arc::new(Output::default());
        let mut readers = Vec::new();
        let streams =
            [child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from)];
        let streams: Vec<_> = streams.into_iter().flatten().map(Arc::new).collect();
        for stream in &streams {
            output.state().open += 1;
            let (stream, output) = (stream.clone(), output.clone());
            readers.push(std::thread::spawn(move || collect(&stream, &output)));
        }
        Self { child, output, streams, readers, status: None }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything printed so far, both streams, a line at a time. What the process wrote before
    /// the call is in it: bytes that still stand in a pipe are waited for.
    pub fn output(&self) -> String {
        loop {
            let state = self.output.state();
            if state.open == 0 || !self.streams.iter().any(|stream| holds_bytes(stream)) {
                let mut text = state.lines.join("\n");
                text.push('\n');
                return text;
            }
            drop(state);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for a line that contains `text` and returns it; the error is all output so far.
    pub fn wait_for_line(&self, text: &str, timeout: Duration) -> Result<String, String> {
        let deadline = Instant::now() + timeout;
        let mut state = self.output.state();
        let mut seen = 0;
        loop {
            if let Some(line) = state.lines[seen..].iter().find(|line| line.contains(text)) {
                return Ok(line.clone());
            }
            seen = state.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.open == 0 {
                let why = if state.open == 0 { "the process ended" } else { "time is up" };
                return Err(format!("no line with '{text}': {why}\n{}", state.lines.join("\n")));
            }
            let waited = self.output.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the end; nothing when the time is up.
    pub fn wait(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.try_wait() {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Has it ended?
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    /// SIGKILL, and waits: nothing of it runs any more when this returns.
    pub fn kill(&mut self) {
        if self.status.is_none() {
            // Only an already ended child answers with an error.
            let _ = self.child.kill();
            self.status = self.child.wait().ok();
        }
    }

    /// SIGTERM: asks it to end.
    pub fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    /// SIGSTOP: it stands still, and its connections stay open.
    pub fn freeze(&mut self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&mut self) {
        self.signal(Signal::CONT);
    }

    fn signal(&mut self, signal: Signal) {
        // A child that was waited for has given its number back.
        if self.try_wait().is_some() {
            return;
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- output of process {}:\n{}---", self.id(), self.output());
        }
        // Readers end with the streams; one that a grandchild holds open is left alone.
        for reader in self.readers.drain(..).filter(JoinHandle::is_finished) {
            let _ = reader.join();
        }
    }
}

/// Are there bytes in the pipe that its reader has not taken?
fn holds_bytes(stream: &OwnedFd) -> bool {
    rustix::io::ioctl_fionread(stream).is_ok_and(|bytes| bytes > 0)
}

/// Takes what a stream prints. Bytes leave the pipe under the lock of the lines, so that who holds
/// it and finds the pipe empty has seen all of it.
fn collect(stream: &OwnedFd, output: &Output) {
    let mut begun = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        // Only waits: an error shows again when the stream is read.
        let _ = poll(&mut [PollFd::new(stream, PollFlags::IN)], None);
        let mut state = output.state();
        let length = match rustix::io::read(stream, &mut buffer) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => 0,
            Ok(length) => length,
        };
        begun.extend_from_slice(&buffer[..length]);
        while let Some(end) = begun.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = begun.drain(..=end).collect();
            state.take(&line);
        }
        if length == 0 {
            if !begun.is_empty() {
                state.take(&begun);
            }
            state.open -= 1;
        }
        drop(state);
        output.changed.notify_all();
        if length == 0 {
            return;
        }
    }
}
