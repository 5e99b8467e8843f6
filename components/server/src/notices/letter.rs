//! A message in words, and as the document that programs get.

use serde_json::json;
use simsim_catalog::Message;
use simsim_notice::Letter;

use super::missing::when;
use crate::ServerError;
use crate::api::{Notice, NoticeKind};
use crate::report::{page, words};

/// A subject names so many characters of the only notice.
const SUBJECT_CHARS_MAX: usize = 120;

/// `server`: its name. The same message is the same letter, however often it is made.
pub(crate) fn letter_of(server: &str, message: &Message) -> Result<Letter, ServerError> {
    let notices = notices(message)?;
    let id = format!("{server}-{}-{}", message.made_unix_ms, message.number);
    let count = |kind| notices.iter().filter(|one| one.notice == kind).count();
    let subject = match notices.as_slice() {
        [only] => only.text.chars().take(SUBJECT_CHARS_MAX).collect(),
        _ => {
            let parts = [
                (count(NoticeKind::Outcome), "jobs ended"),
                (count(NoticeKind::Absence), "missing"),
                (count(NoticeKind::Recovery), "good again"),
                (count(NoticeKind::Report), "report"),
            ];
            let parts = parts.iter().filter(|(count, _)| *count > 0);
            parts.map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
        }
    };
    let mut text = String::new();
    for notice in &notices {
        let mark = match (notice.notice, notice.again) {
            (NoticeKind::Absence, true) => "still missing: ",
            (NoticeKind::Absence, false) => "missing: ",
            (NoticeKind::Recovery, _) => "good again: ",
            (NoticeKind::Report, _) => "report: ",
            (NoticeKind::Outcome | NoticeKind::Test, _) => "",
        };
        text.push_str(&format!("{}  {mark}{}\r\n", when(notice.at_unix_ms), notice.text));
    }
    if message.left_out > 0 {
        text.push_str(&format!("and {} more: 'simsim jobs' has them\r\n", message.left_out));
    }
    let beside: Vec<String> = text.lines().map(str::to_owned).collect();
    let report = notices.iter().rev().find_map(|notice| notice.report.as_deref());
    if let Some(report) = report {
        text.push_str(&format!("\r\n{}", words(report).replace('\n', "\r\n")));
    }
    let html = report.map(|report| page(report, &beside));
    text.push_str(&format!(
        "\r\nThis is notification '{}' of the simsim server '{server}', message {}.\r\n",
        message.notification, message.number
    ));
    let document = json!({
        "version": 1,
        "id": id,
        "server": server,
        "notification": message.notification,
        "message": message.number,
        "made_unix_ms": message.made_unix_ms,
        "notices": notices,
        "left_out": message.left_out,
    });
    Ok(Letter { id, subject: format!("[simsim {server}] {subject}"), text, html, document })
}

/// The notices of a message.
pub(crate) fn notices(message: &Message) -> Result<Vec<Notice>, ServerError> {
    let read = message.notices.iter().cloned().map(serde_json::from_value);
    read.collect::<Result<_, _>>().map_err(|error| {
        ServerError::Lost(format!("message {} cannot be read: {error}", message.number))
    })
}
