//! A terminal of a chosen size.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A process on a terminal.
pub struct OnTerminal {
    pub child: Child,
    reader: std::thread::JoinHandle<Vec<u8>>,
}

/// Starts a command with a terminal of so many columns as its standard output and standard error,
/// and nothing to read.
pub fn start(command: &mut Command, columns: u16) -> OnTerminal {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&master, size).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let flags = (rustix::fs::OFlags::NOCTTY.bits()) as i32;
    let slave: File = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(name.to_str().unwrap())
        .unwrap();
    let child = command
        .stdin(Stdio::null())
        .stdout(slave.try_clone().unwrap())
        .stderr(slave)
        .spawn()
        .unwrap();
    // The command keeps copies of the terminal; without them the reader sees the end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut master = File::from(master);
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        // The end of a terminal is an error.
        while let Ok(read) = master.read(&mut buffer) {
            if read == 0 {
                break;
            }
            all.extend_from_slice(&buffer[..read]);
        }
        all
    });
    OnTerminal { child, reader }
}

impl OnTerminal {
    /// Waits for the end: its status and all that was shown.
    pub fn end(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap().code();
        let shown = self.reader.join().unwrap();
        (status, String::from_utf8_lossy(&shown).into_owned())
    }
}

/// All that a command shows on a terminal of so many columns.
pub fn shown(command: &mut Command, columns: u16) -> (Option<i32>, String) {
    start(command, columns).end()
}
