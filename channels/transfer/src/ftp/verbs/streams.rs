//! What other people's tools may say once they have logged in with a token or a one-time ticket: names,
//! facts and lists of raw streams. `store` and `retrieve` carry the streams themselves.
//!
//! A task is a file, and a folder of its savesets: `TASK` is what is stored next or was stored last,
//! `TASK/SAVESET` an older one, for reading. Nothing else has a name here.

use std::sync::Arc;

use simsim_model::Kind;
use tokio::io::AsyncWriteExt;

use crate::ftp::line::{LineError, parse_command};
use crate::ftp::session::{DataWay, Next, Session, User};
use crate::ftp::stall::StallKey;
use crate::gate::{
    SecretText, StreamCaller, StreamFacts, StreamGuest, StreamRefusal, Why, is_saveset_id,
    is_task_name,
};

/// Of a user's name this much is kept for logs.
const USER_CHARS_MAX: usize = 64;

/// The reply of a refusal.
fn code_of(why: Why) -> u16 {
    match why {
        Why::NotProved => 550,
        Why::TooOften => 421,
        Why::Failed(kind) => match kind {
            Kind::Invalid => 553,
            Kind::Denied | Kind::NotFound => 550,
            Kind::Busy | Kind::Unreachable => 450,
            Kind::Full => 452,
            Kind::Cancelled => 426,
            Kind::Corrupt | Kind::Internal => 451,
        },
    }
}

/// What is said while data is on its way.
pub(super) enum Word {
    /// ABOR.
    Given,
    /// QUIT: after the transfer.
    Quits,
    /// Something that has an answer and changes nothing.
    Answer(u16, &'static str),
    Ended(LineError),
}

/// What a name stands for.
pub(super) struct Named {
    pub(super) guest: Arc<dyn StreamGuest>,
    pub(super) key: StallKey,
    pub(super) task: String,
    /// Its id, or the beginning of it; none: the newest.
    pub(super) saveset: Option<String>,
}

impl Session {
    /// PASS of a tool.
    pub(super) async fn admit(&mut self, user: &str, secret: &str) -> Result<User, StreamRefusal> {
        let Some(gate) = self.door.doors.gate() else {
            let text = "this host is starting and takes no streams yet";
            return Err(StreamRefusal::busy(text, 5));
        };
        let secret = SecretText::new(secret);
        let key = StallKey::of(&secret);
        let user = user.chars().filter(|c| !c.is_control()).take(USER_CHARS_MAX).collect();
        let address = self.peer_ip();
        let caller = StreamCaller { user, secret, address, door: "ftp", follows: false };
        let guest: Arc<dyn StreamGuest> = gate.admit(caller).await?.into();
        Ok(User::Guest { guest, folder: String::new(), key })
    }

    /// Verbs of files, said by a tool.
    pub(in crate::ftp) async fn obey_guest(
        &mut self,
        verb: &str,
        argument: &str,
    ) -> Result<Next, LineError> {
        match verb {
            "STOR" | "APPE" => self.store(verb, argument).await,
            "RETR" => self.retrieve(argument).await,
            "REST" => self.rest(argument).await,
            "SIZE" => self.size(argument).await,
            "MDTM" => self.facts(argument, |facts| stamp(facts.stored_unix_s)).await,
            "MLST" => self.mlst(argument).await,
            "LIST" | "NLST" | "MLSD" => self.list(verb).await,
            "ABOR" => {
                self.way = DataWay::None;
                self.go(226, "nothing is under way").await
            }
            "PWD" | "XPWD" => {
                let text = format!("\"/{}\" is where you are", self.folder());
                self.go(257, &text).await
            }
            "CWD" | "CDUP" | "XCWD" | "XCUP" => self.cwd_of_guest(verb, argument).await,
            verb => self.not_here(verb).await,
        }
    }

    fn folder(&self) -> &str {
        match &self.user {
            User::Guest { folder, .. } => folder,
            _ => "",
        }
    }

    async fn cwd_of_guest(&mut self, verb: &str, argument: &str) -> Result<Next, LineError> {
        let User::Guest { guest, folder, .. } = &mut self.user else {
            return self.not_here(verb).await;
        };
        let path = argument.trim_matches('/');
        if verb.ends_with("UP") || matches!(path, "" | "..") {
            folder.clear();
        } else if path == guest.task() {
            path.clone_into(folder);
        } else if path != "." {
            return self.go(550, "there is no such folder").await;
        }
        self.go(250, "here").await
    }

    /// Task and saveset of a name, from where the client stands. What cannot be a name of either, such
    /// as a way upwards, is none.
    pub(super) fn named(&self, argument: &str) -> Option<Named> {
        let User::Guest { guest, folder, key } = &self.user else { return None };
        let (task, saveset) = parse_name(folder, argument)?;
        Some(Named { guest: Arc::clone(guest), key: *key, task, saveset })
    }

    /// Says why not. Who tries too often is sent away.
    pub(super) async fn refuse(&mut self, refusal: &StreamRefusal) -> Result<Next, LineError> {
        tracing::warn!(
            peer = %self.peer, why = refusal.word(), text = refusal.text, "raw stream refused"
        );
        self.say(code_of(refusal.why), &refusal.text).await?;
        Ok(if refusal.why == Why::TooOften { Next::Quit } else { Next::Go })
    }

    /// SIZE: of what waits to be gone on with, else of what is stored. Clients take this for the part of
    /// their file that is there already: who may store is never told the size of something else.
    async fn size(&mut self, argument: &str) -> Result<Next, LineError> {
        let Some(named) = self.named(argument) else { return self.no_name().await };
        if named.saveset.is_none() && named.guest.stores() {
            return match self.door.stalls.offset(named.key, &named.task) {
                Some(bytes) => self.go(213, &bytes.to_string()).await,
                // Not 550: to clients this is a file that cannot be read either.
                None => {
                    let text = "no stream waits to be gone on with; for what is stored say \
                                TASK/SAVESET";
                    self.go(504, text).await
                }
            };
        }
        self.facts(argument, |facts| facts.bytes.to_string()).await
    }

    /// MDTM, and SIZE of what is stored.
    async fn facts(
        &mut self,
        argument: &str,
        text: impl Fn(&StreamFacts) -> String,
    ) -> Result<Next, LineError> {
        let Some(Named { guest, task, saveset, .. }) = self.named(argument) else {
            return self.no_name().await;
        };
        match guest.look(&task, saveset.as_deref()).await {
            Ok(facts) => self.go(213, &text(&facts)).await,
            // A data connection that is there already stays: clients ask for the size beside it.
            Err(refusal) => self.refuse(&refusal).await,
        }
    }

    async fn mlst(&mut self, argument: &str) -> Result<Next, LineError> {
        if matches!(argument, "" | "." | "/") && self.folder().is_empty() {
            return self.go(250, "Listing\ntype=dir; /\nEnd").await;
        }
        let path = if matches!(argument, "" | ".") { "/" } else { argument };
        let named = match path {
            "/" => self.named(&format!("/{}", self.folder())),
            path => self.named(path),
        };
        let Some(Named { guest, task, saveset, .. }) = named else { return self.no_name().await };
        match guest.look(&task, saveset.as_deref()).await {
            Ok(facts) => {
                let name = match &saveset {
                    Some(saveset) => format!("{task}/{saveset}"),
                    None => task,
                };
                self.go(250, &format!("Listing\n{} /{name}\nEnd", fact_line(&facts))).await
            }
            Err(refusal) => self.refuse(&refusal).await,
        }
    }

    async fn no_name(&mut self) -> Result<Next, LineError> {
        self.go(553, "a name is TASK or TASK/SAVESET").await
    }

    async fn rest(&mut self, argument: &str) -> Result<Next, LineError> {
        match argument.parse() {
            Ok(offset) => {
                self.rest = offset;
                self.go(350, "from there on").await
            }
            Err(_) => self.go(501, "a number of bytes").await,
        }
    }

    /// ALLO: how long what comes will be. The first number is the one of bytes.
    pub(in crate::ftp) async fn allo(&mut self, argument: &str) -> Result<Next, LineError> {
        self.announced = argument.split_whitespace().next().and_then(|bytes| bytes.parse().ok());
        self.go(202, "nothing needs to be set aside").await
    }

    /// LIST, NLST, MLSD: above the tasks the one that the secret is for, in it its newest saveset; where
    /// there is nothing to read, nothing.
    async fn list(&mut self, verb: &str) -> Result<Next, LineError> {
        let User::Guest { guest, folder, .. } = &self.user else {
            return self.not_here(verb).await;
        };
        let (guest, inside) = (Arc::clone(guest), !folder.is_empty());
        if let Err(text) = self.is_private() {
            return self.go(521, text).await;
        }
        let facts = guest.look(guest.task(), None).await.ok();
        let line = facts.map_or_else(String::new, |facts| {
            let name = if inside { facts.saveset.to_string() } else { facts.task.clone() };
            match verb {
                "NLST" => format!("{name}\r\n"),
                "MLSD" => format!("{} {name}\r\n", fact_line(&facts)),
                _ => {
                    let (bytes, time) = (facts.bytes, Moment::of(facts.stored_unix_s).in_list());
                    format!("-rw------- 1 simsim simsim {bytes:>12} {time} {name}\r\n")
                }
            }
        });
        let (mut wire, _ports) = match self.data(None).await? {
            Ok(come) => come,
            Err(text) => return self.go(425, &text).await,
        };
        let sent = async {
            wire.write_all(line.as_bytes()).await?;
            wire.shutdown().await
        };
        match sent.await {
            Ok(()) => self.go(226, "that is all").await,
            Err(_) => self.go(426, "the data connection broke off").await,
        }
    }

    fn is_private(&self) -> Result<(), &'static str> {
        match self.private {
            true => Ok(()),
            false => Err("the data would be readable: say PBSZ 0 and PROT P first"),
        }
    }

    /// Raw data goes as it is, and only where nobody reads it.
    pub(super) fn may_carry(&self) -> Result<(), (u16, &'static str)> {
        self.is_private().map_err(|text| (521, text))?;
        match self.image {
            true => Ok(()),
            false => Err((503, "say TYPE I first: bytes are kept as they come")),
        }
    }

    pub(super) async fn ended(
        &mut self,
        code: u16,
        text: &str,
        quits: bool,
    ) -> Result<Next, LineError> {
        self.say(code, text).await?;
        if quits {
            self.say(221, "good bye").await?;
            return Ok(Next::Quit);
        }
        Ok(Next::Go)
    }

    /// What is said beside the data. Nothing is lost when it is given up.
    pub(super) async fn word(&mut self) -> Word {
        match self.line.next().await {
            Err(error) => Word::Ended(error),
            Ok(line) => match parse_command(&line).0.as_str() {
                "ABOR" => Word::Given,
                "QUIT" => Word::Quits,
                "STAT" => Word::Answer(211, "a transfer is under way"),
                "NOOP" => Word::Answer(200, "here"),
                _ => Word::Answer(503, "a transfer is under way: ABOR ends it"),
            },
        }
    }
}

/// Reads a name, from where somebody stands: task, and saveset where one is named.
pub(in crate::ftp) fn parse_name(folder: &str, name: &str) -> Option<(String, Option<String>)> {
    let path = match name.strip_prefix('/') {
        Some(absolute) => absolute.to_owned(),
        None => format!("{folder}/{name}"),
    };
    let mut parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
    let task = parts.next().filter(|task| is_task_name(task) && *task != "..")?.to_owned();
    let saveset = match parts.next() {
        None => None,
        Some(id) if is_saveset_id(id) => Some(id.to_ascii_lowercase()),
        Some(_) => return None,
    };
    parts.next().is_none().then_some((task, saveset))
}

/// The facts of a stream as MLST and MLSD have them (RFC 3659, section 7.2).
fn fact_line(facts: &StreamFacts) -> String {
    format!("type=file;size={};modify={};", facts.bytes, stamp(facts.stored_unix_s))
}

/// A time as MDTM and MLSD write it: `YYYYMMDDhhmmss`, UTC (RFC 3659, section 2.3).
fn stamp(unix_s: u64) -> String {
    let Moment { year, month, day, second } = Moment::of(unix_s);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}")
}

/// A day of the calendar, and a second of it; UTC.
struct Moment {
    year: u64,
    month: u64,
    day: u64,
    second: u64,
}

impl Moment {
    fn of(unix_s: u64) -> Self {
        let (days, second) = (unix_s / 86_400, unix_s % 86_400);
        // Days since 0000-03-01, in eras of 400 years.
        let shifted = days + 719_468;
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let shifted_month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year + era * 400 + u64::from(month <= 2);
        Self { year, month, day, second }
    }

    /// As `ls -l` writes it, the year in place of the hour.
    fn in_list(&self) -> String {
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let month = usize::try_from(self.month.saturating_sub(1)).unwrap_or(0);
        let month = MONTHS.get(month).copied().unwrap_or("Jan");
        format!("{month} {:>2}  {}", self.day, self.year)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_rfc_has_them() {
        for (unix_s, text, listed) in [
            (0, "19700101000000", "Jan  1  1970"),
            (951_782_400, "20000229000000", "Feb 29  2000"),
            (951_868_799, "20000229235959", "Feb 29  2000"),
            (1_709_251_199, "20240229235959", "Feb 29  2024"),
            (1_735_689_600, "20250101000000", "Jan  1  2025"),
            (4_102_444_799, "20991231235959", "Dec 31  2099"),
        ] {
            assert_eq!(stamp(unix_s), text);
            assert_eq!(Moment::of(unix_s).in_list(), listed);
        }
    }

    #[test]
    fn every_refusal_has_a_reply_that_is_no_success() {
        for why in Kind::ALL.map(Why::Failed).into_iter().chain([Why::NotProved, Why::TooOften]) {
            assert!((400..600).contains(&code_of(why)), "{why:?}");
        }
        assert_eq!(code_of(Why::Failed(Kind::Busy)), 450, "worth another try");
        assert_eq!(code_of(Why::NotProved), code_of(Why::Failed(Kind::NotFound)));
    }
}
