//! Text for people, made safe: whatever a name, a path or a message from elsewhere holds, no control
//! character of it reaches the terminal.
//!
//! A [`Text`] is a line of pieces with styles. Every piece is escaped when it is added, so that there
//! is no second way to the screen; its width is known without the colours.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How a piece looks. Colours carry no meaning that the words do not carry too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Plain,
    Bold,
    Dim,
    /// It went well.
    Good,
    /// Somebody should look.
    Warn,
    /// It went wrong.
    Bad,
    /// It goes on.
    Busy,
}

impl Style {
    const fn code(self) -> &'static str {
        match self {
            Style::Plain => "",
            Style::Bold => "\x1b[1m",
            Style::Dim => "\x1b[2m",
            Style::Good => "\x1b[32m",
            Style::Warn => "\x1b[33m",
            Style::Bad => "\x1b[31m",
            Style::Busy => "\x1b[36m",
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Text {
    pieces: Vec<(Style, String)>,
}

impl Text {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn styled(style: Style, text: impl AsRef<str>) -> Self {
        Self::new().add(style, text)
    }

    /// Adds a piece, escaped.
    pub fn add(mut self, style: Style, text: impl AsRef<str>) -> Self {
        let text = plain(text.as_ref());
        if !text.is_empty() {
            self.pieces.push((style, text.into_owned()));
        }
        self
    }

    pub fn plain(self, text: impl AsRef<str>) -> Self {
        self.add(Style::Plain, text)
    }

    pub fn bold(self, text: impl AsRef<str>) -> Self {
        self.add(Style::Bold, text)
    }

    pub fn dim(self, text: impl AsRef<str>) -> Self {
        self.add(Style::Dim, text)
    }

    pub fn then(mut self, other: Text) -> Self {
        self.pieces.extend(other.pieces);
        self
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Columns on a terminal.
    pub fn width(&self) -> usize {
        self.pieces.iter().map(|(_, text)| text.width()).sum()
    }

    /// Cut to `width` columns, with `…` where something is missing.
    pub fn cut(self, width: usize) -> Self {
        if self.width() <= width {
            return self;
        }
        let mut left = width.saturating_sub(1);
        let mut pieces = Vec::new();
        for (style, text) in self.pieces {
            let mut kept = String::new();
            for c in text.chars() {
                let wide = c.width().unwrap_or(0);
                if wide > left {
                    left = 0;
                    break;
                }
                left -= wide;
                kept.push(c);
            }
            pieces.push((style, kept));
            if left == 0 {
                break;
            }
        }
        if width > 0 {
            pieces.push((Style::Dim, "…".to_owned()));
        }
        Self { pieces }
    }

    /// With spaces up to `width` columns, before or after.
    pub fn pad(mut self, width: usize, to_the_right: bool) -> Self {
        let missing = " ".repeat(width.saturating_sub(self.width()));
        if missing.is_empty() {
            return self;
        }
        let place = if to_the_right { 0 } else { self.pieces.len() };
        self.pieces.insert(place, (Style::Plain, missing));
        self
    }

    /// The bytes for the screen; nothing but the words where `color` is off.
    pub fn render(&self, color: bool) -> String {
        let mut out = String::new();
        for (style, text) in &self.pieces {
            if color && *style != Style::Plain {
                out.push_str(style.code());
                out.push_str(text);
                out.push_str("\x1b[0m");
            } else {
                out.push_str(text);
            }
        }
        let end = out.trim_end_matches(' ').len();
        out.truncate(end);
        out
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Text::new().plain(text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Text::new().plain(text)
    }
}

/// The text with everything escaped that could steer a terminal or reorder a line: control
/// characters, and the marks that change the direction of writing.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if steers(c) {
            let mut buffer = [0; 4];
            for byte in c.encode_utf8(&mut buffer).bytes() {
                safe.push_str(&format!("\\x{byte:02x}"));
            }
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The end of a path that fits into `width` columns.
pub fn tail(path: &str, width: usize) -> String {
    let path = plain(path);
    if path.width() <= width {
        return path.into_owned();
    }
    let mut kept: Vec<char> = Vec::new();
    let mut used = 1;
    for c in path.chars().rev() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        kept.push(c);
    }
    if width == 0 {
        return String::new();
    }
    std::iter::once('…').chain(kept.into_iter().rev()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_gets_through() {
        let nasty = "a\x1b[31m\r\n\u{7f}\u{9b}\u{202e}\u{2066}b\u{0}";
        let line = Text::new().plain(nasty).bold(nasty).render(false);
        assert!(!line.chars().any(steers), "{line:?}");
        assert_eq!(plain("a\u{1b}b"), "a\\x1bb");
        assert_eq!(plain("grün/日本"), "grün/日本");
        for c in ('\0'..=char::MAX).filter(|c| c.is_control()) {
            assert!(!plain(&c.to_string()).contains(c), "{c:?}");
        }
    }

    #[test]
    fn lines_are_cut_and_padded_by_columns() {
        assert_eq!(Text::from("日本語").width(), 6);
        assert_eq!(Text::from("日本語").cut(4).render(false), "日…");
        assert_eq!(Text::from("abc").cut(3).render(false), "abc");
        assert_eq!(Text::from("abcd").cut(3).render(false), "ab…");
        assert_eq!(Text::from("ab").pad(4, true).render(false), "  ab");
        assert_eq!(Text::from("ab").pad(4, false).plain("|").render(false), "ab  |");
        assert_eq!(Text::styled(Style::Bad, "no").render(true), "\x1b[31mno\x1b[0m");
        assert_eq!(tail("/usr/share/doc/README", 10), "…oc/README");
        assert_eq!(tail("/short", 10), "/short");
    }
}
