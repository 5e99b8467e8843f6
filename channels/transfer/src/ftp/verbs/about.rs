//! FEAT and OPTS (RFC 2389), HELP, STAT (RFC 959).

use crate::ftp::line::LineError;
use crate::ftp::session::{KNOWN, Next, Session, User};

impl Session {
    pub(in crate::ftp) async fn feat(&mut self) -> Result<Next, LineError> {
        let tls = match self.door.tls {
            Some(_) => "AUTH TLS\nPBSZ\nPROT\n",
            None => "",
        };
        let files = match self.door.doors.gate() {
            Some(_) => "MDTM\nMLST type*;size*;modify*;\nREST STREAM\nSIZE\n",
            None => "",
        };
        self.go(211, &format!("Features\n{tls}EPRT\nEPSV\n{files}UTF8\nEnd")).await
    }

    pub(in crate::ftp) async fn help(&mut self) -> Result<Next, LineError> {
        self.go(214, &format!("Verbs\n{}\nEnd", KNOWN.join(" "))).await
    }

    pub(in crate::ftp) async fn opts(&mut self, argument: &str) -> Result<Next, LineError> {
        match argument.to_ascii_uppercase().as_str() {
            "UTF8 ON" | "UTF8" => self.go(200, "always").await,
            _ => self.go(501, "there is no such option").await,
        }
    }

    /// From a client of the suite: it is still there, and waits for a port of its own host.
    pub(in crate::ftp) async fn noop(&mut self) -> Result<Next, LineError> {
        if let User::Transfer { pipe, .. } = &self.user {
            self.door.wanted(pipe).await;
        }
        self.go(200, "here").await
    }

    pub(in crate::ftp) async fn stat(&mut self) -> Result<Next, LineError> {
        let who = match &self.user {
            User::Guest { guest, .. } => format!("logged in for task '{}'", guest.task()),
            User::Transfer { half, .. } => format!("logged in for data going {}", half.as_str()),
            User::Named { .. } | User::Nobody => "not logged in".to_owned(),
        };
        let ports = match self.has_logged_in() {
            true => {
                let ports = &self.door.ports;
                let (first, last) = ports.range();
                format!("\ndata ports {first}-{last}, {} transfers wait", ports.waiting())
            }
            false => String::new(),
        };
        self.go(211, &format!("simsim data port\n{who}{ports}\nEnd")).await
    }
}
