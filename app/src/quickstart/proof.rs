//! The recovery kit on the first walk: made, written down, and shown to be kept.

use std::io::{BufRead, IsTerminal};

use simsim_format::{KitOwner, KitPage};
use simsim_model::Kind;
use simsim_server::Principal;
use simsim_server::api::{KitProofRequest, KitState};

use super::names::{program, shell_word};
use super::tour::Tour;
use crate::exit::Failure;
use crate::kit::KitFiles;

/// Wrong answers until the proof is put off.
const TRIES: usize = 3;

impl Tour<'_> {
    /// Makes the kit on the first run and asks for proof that it was kept. Answers why there is no
    /// proof.
    pub async fn recovery_kit(&self, who: &Principal) -> Result<Option<String>, Failure> {
        let say = self.say;
        let status = self.server.status(who).await?;
        let files = KitFiles::in_folder(self.state.folder());
        match status.kit {
            KitState::Proven { .. } => return Ok(None),
            KitState::Unproven => {
                let why = format!("proof that {} was kept elsewhere", files.text.display());
                say.line(format!(
                    "\nRecovery kit: there is no {why} yet (while the server runs: {} --state {} key kit prove)",
                    program(),
                    shell_word(self.state.folder())
                ))?;
                return Ok(Some(why));
            }
            KitState::None => {}
        }
        let kit = self.server.create_kit(who).await?;
        let owner = KitOwner::Server { name: status.name, fingerprint: status.fingerprint };
        files.write(&KitPage { owner: &owner, groups: &kit.groups })?;
        say.line(
            "\nRecovery kit: with it and a copy of the datastore, everything can be restored.",
        )?;
        // A log of this output should not hold the key to everything.
        if std::io::stdout().is_terminal() {
            say.line(format!("  {}", kit.groups.join("-")))?;
        }
        say.line(format!("  text {}", files.text.display()))?;
        say.line(format!("  page {}, to be printed", files.page.display()))?;
        let skipped = match (self.arguments.yes, say.json, std::io::stdin().is_terminal()) {
            (true, ..) => "--yes",
            (_, true, _) => "--json",
            (_, _, false) => "no terminal to ask at",
            _ => return self.prove(who, kit.asked).await,
        };
        let why = format!("proof that the kit was kept elsewhere ({skipped})");
        say.line(format!("  skipped: {why}"))?;
        Ok(Some(why))
    }

    async fn prove(
        &self,
        who: &Principal,
        mut asked: Vec<usize>,
    ) -> Result<Option<String>, Failure> {
        self.say
            .line("Print it or write it down, and show that you have it (Enter alone: later).")?;
        for _ in 0..TRIES {
            let mut groups = Vec::new();
            for group in &asked {
                self.say.line(format!("Type group {group}:"))?;
                let typed = tokio::task::spawn_blocking(read_line).await;
                let typed = typed.unwrap_or_else(|_| Ok(String::new()))?;
                if typed.is_empty() {
                    let why = "proof that the kit was kept elsewhere (put off)".to_owned();
                    self.say.line(format!("  skipped: {why}"))?;
                    return Ok(Some(why));
                }
                groups.push(typed);
            }
            let reply = self.server.prove_kit(who, KitProofRequest { groups }).await?;
            if reply.proven {
                self.say.line("  proven: the kit was kept")?;
                return Ok(None);
            }
            self.say.line("That is not what stands on the kit.")?;
            asked = reply.asked;
        }
        Err(Failure::new(Kind::Denied, "the recovery kit was not shown to be kept"))
    }
}

fn read_line() -> std::io::Result<String> {
    let mut typed = String::new();
    std::io::stdin().lock().read_line(&mut typed)?;
    Ok(typed.trim().to_owned())
}
