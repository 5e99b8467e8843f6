//! Where a verb's answer goes: text for people, or documents for programs.
//!
//! Answers go to standard output, progress and complaints to standard error. A reader that goes
//! away ([`crate::exit::READER_GONE`]) ends the verb quietly.

use std::io::{BufWriter, IsTerminal, Stdout, Write};
use std::os::fd::AsFd;

use parking_lot::Mutex;
use serde::Serialize;

use super::table::Table;
use super::text::Text;
use crate::exit::Failure;

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    Always,
    Never,
}

/// How this run shows things.
pub struct Screen {
    json: bool,
    /// Colours on standard output.
    color: bool,
    /// Colours on standard error.
    color_aside: bool,
    /// Columns of the terminal that standard output is, if it is one.
    width: Option<usize>,
    /// Columns of the terminal that standard error is.
    width_aside: Option<usize>,
    out: Mutex<BufWriter<Stdout>>,
}

impl Screen {
    pub fn new(json: bool, choice: ColorChoice) -> Self {
        let width = width_of(&std::io::stdout());
        let width_aside = width_of(&std::io::stderr());
        Self {
            json,
            color: colored(choice, width.is_some()),
            color_aside: colored(choice, width_aside.is_some()),
            width,
            width_aside,
            out: Mutex::new(BufWriter::new(std::io::stdout())),
        }
    }

    /// Whether answers are documents.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Columns of standard output, if that is a terminal.
    pub fn width(&self) -> Option<usize> {
        self.width
    }

    /// Columns of standard error, if that is a terminal: whether progress can be drawn.
    pub fn width_aside(&self) -> Option<usize> {
        self.width_aside
    }

    pub fn color_aside(&self) -> bool {
        self.color_aside
    }

    /// Whether a question can be asked.
    pub fn can_ask(&self) -> bool {
        !self.json && std::io::stdin().is_terminal() && self.width_aside.is_some()
    }

    /// A line of the answer.
    pub fn line(&self, text: impl Into<Text>) -> Result<(), Failure> {
        let text = text.into().render(self.color);
        Ok(writeln!(self.out.lock(), "{text}")?)
    }

    pub fn lines(&self, lines: impl IntoIterator<Item = Text>) -> Result<(), Failure> {
        lines.into_iter().try_for_each(|line| self.line(line))
    }

    pub fn table(&self, table: &Table) -> Result<(), Failure> {
        self.lines(table.lines(self.width))
    }

    /// A whole document, for `--json`.
    pub fn document(&self, value: &impl Serialize) -> Result<(), Failure> {
        let mut out = self.out.lock();
        serde_json::to_writer_pretty(&mut *out, value).map_err(std::io::Error::from)?;
        Ok(out.write_all(b"\n")?)
    }

    /// One document of several, on a line of its own and shown at once.
    pub fn document_line(&self, value: &impl Serialize) -> Result<(), Failure> {
        let mut out = self.out.lock();
        serde_json::to_writer(&mut *out, value).map_err(std::io::Error::from)?;
        out.write_all(b"\n")?;
        Ok(out.flush()?)
    }

    /// Bytes as they are: a page, a script.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.out.lock().write_all(bytes)?)
    }

    pub fn flush(&self) -> Result<(), Failure> {
        Ok(self.out.lock().flush()?)
    }

    /// A line beside the answer, after what was said before. Nobody reading it is no reason to stop.
    pub fn aside(&self, text: impl Into<Text>) {
        // An answer that cannot be written is found out by whoever writes on.
        let _ = self.out.lock().flush();
        let text = text.into().render(self.color_aside);
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

/// Columns of the terminal that a stream is now, if it is one.
pub fn width_of(stream: &(impl IsTerminal + AsFd)) -> Option<usize> {
    if !stream.is_terminal() {
        return None;
    }
    let columns = rustix::termios::tcgetwinsize(stream).map_or(0, |size| size.ws_col);
    Some(if columns == 0 { 80 } else { usize::from(columns) })
}

fn colored(choice: ColorChoice, terminal: bool) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
            let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
            terminal && !set("NO_COLOR") && !dumb
        }
    }
}
