//! The peers and their parameters: zstd level 3 and encryption, caches inside the working place.
//!
//! Commands are shell lines. `{store}`, `{work}`, `{source}` and `{target}` are folders; a step
//! that is empty cannot be done by that peer and shows as a dash.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use simsim_testkit::Aspects;

use super::Tool;
use super::measure::{self, Cost};
use crate::step;

struct Parameters {
    name: &'static str,
    /// Programs that must be there; the first one tells the version.
    programs: &'static [&'static str],
    version: &'static str,
    environment: &'static [(&'static str, &'static str)],
    init: &'static str,
    backup: &'static str,
    restore: &'static str,
    /// The restored folder, as seen from `{target}`.
    restored: Restored,
    verify: &'static str,
}

#[derive(Clone, Copy)]
enum Restored {
    /// `{target}` corresponds to `{source}`.
    Here,
    /// The whole path of `{source}` lies below `{target}`.
    WholePath,
}

const PEERS: [Parameters; 6] = [
    Parameters {
        name: "restic",
        programs: &["restic"],
        version: "restic version",
        environment: &[
            ("RESTIC_REPOSITORY", "{store}"),
            ("RESTIC_PASSWORD", "measured"),
            ("RESTIC_CACHE_DIR", "{work}/cache"),
        ],
        init: "restic init --repository-version 2",
        // Its `auto` is zstd level 3.
        backup: "exec restic backup --compression auto {source}",
        restore: "exec restic restore latest --target {target}",
        restored: Restored::WholePath,
        verify: "exec restic check --read-data",
    },
    Parameters {
        name: "borg",
        programs: &["borg"],
        version: "borg --version",
        environment: &[
            ("BORG_REPO", "{store}"),
            ("BORG_PASSPHRASE", "measured"),
            ("BORG_BASE_DIR", "{work}/base"),
        ],
        init: "mkdir -p {work}/base && borg init --encryption repokey-blake2",
        backup: "cd {source} && exec borg create --compression zstd,3 '::{now:%Y-%m-%dT%H:%M:%S.%f}' .",
        restore: "cd {target} && exec borg extract --sparse ::$(borg list --last 1 --format '{archive}')",
        restored: Restored::Here,
        verify: "exec borg check --verify-data",
    },
    Parameters {
        name: "bupstash",
        programs: &["bupstash"],
        version: "bupstash --version",
        environment: &[
            ("BUPSTASH_REPOSITORY", "{store}"),
            ("BUPSTASH_KEY", "{work}/key"),
            ("BUPSTASH_SEND_LOG", "{work}/send-log"),
            ("BUPSTASH_QUERY_CACHE", "{work}/query-cache"),
        ],
        init: "bupstash new-key -o {work}/key && bupstash init",
        backup: "exec bupstash put -q --compression zstd:3 name=measured {source} > {work}/id",
        restore: "exec bupstash restore -q --into {target} id=$(cat {work}/id)",
        restored: Restored::Here,
        verify: "",
    },
    Parameters {
        name: "rustic",
        programs: &["rustic"],
        version: "rustic --version",
        environment: &[
            ("RUSTIC_REPOSITORY", "{store}"),
            ("RUSTIC_PASSWORD", "measured"),
            ("RUSTIC_CACHE_DIR", "{work}/cache"),
            ("RUSTIC_NO_PROGRESS", "true"),
        ],
        init: "rustic init --set-compression 3",
        backup: "exec rustic backup {source}",
        restore: "exec rustic restore --sparse by-content latest:{source} {target}",
        restored: Restored::Here,
        verify: "exec rustic check --read-data",
    },
    Parameters {
        name: "kopia",
        programs: &["kopia"],
        version: "kopia --version",
        environment: &[
            ("KOPIA_PASSWORD", "measured"),
            ("KOPIA_CONFIG_PATH", "{work}/kopia.config"),
            ("KOPIA_CACHE_DIRECTORY", "{work}/cache"),
            ("KOPIA_LOG_DIR", "{work}/log"),
            ("KOPIA_CHECK_FOR_UPDATES", "false"),
        ],
        init: "kopia repository create filesystem --path {store} && \
               kopia policy set --global --compression zstd",
        backup: "exec kopia snapshot create {source}",
        restore: "exec kopia restore $(kopia snapshot list {source} --json --max-results 1 | \
                  grep -o '\"id\":\"[^\"]*\"' | tail -n 1 | cut -d'\"' -f4) {target}",
        restored: Restored::Here,
        verify: "exec kopia snapshot verify --verify-files-percent=100",
    },
    // No encryption, no dedup, no day two worth the name: what the machine can do at the least.
    Parameters {
        name: "tar+zstd",
        programs: &["tar", "zstd"],
        version: "zstd --version",
        environment: &[],
        init: "mkdir -p {store}",
        backup: "tar -C {source} --sparse -cf - . | zstd -q -f -3 -T0 -o {store}/archive.tar.zst",
        restore: "zstd -q -dc {store}/archive.tar.zst | tar -C {target} -xpf -",
        restored: Restored::Here,
        verify: "exec zstd -q -t {store}/archive.tar.zst",
    },
];

/// Shown beside the peers, but no measure for them: it does less.
pub const REFERENCE: &str = "tar+zstd";

pub struct Peer {
    parameters: &'static Parameters,
    work: PathBuf,
}

/// Those of the wanted peers that are installed; all where none is named.
pub fn installed(wanted: &[String]) -> Result<Vec<Peer>> {
    for name in wanted.iter().filter(|name| *name != "none") {
        if !PEERS.iter().any(|peer| peer.name == name) {
            let known: Vec<&str> = PEERS.iter().map(|peer| peer.name).collect();
            bail!("no peer '{name}': there are {}", known.join(", "));
        }
    }
    let mut found = Vec::new();
    for parameters in &PEERS {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == parameters.name) {
            continue;
        }
        match parameters.programs.iter().find(|program| !step::on_path(program)) {
            None => found.push(Peer { parameters, work: PathBuf::new() }),
            Some(program) => eprintln!("not measured: {} ({program} is not here)", parameters.name),
        }
    }
    Ok(found)
}

impl Peer {
    fn command(&self, line: &str, source: &Path, target: &Path) -> Command {
        let fill = |text: &str| {
            text.replace("{store}", &self.store().to_string_lossy())
                .replace("{work}", &self.work.to_string_lossy())
                .replace("{source}", &source.to_string_lossy())
                .replace("{target}", &target.to_string_lossy())
        };
        let mut command = Command::new("sh");
        command.args(["-c", &fill(line)]).current_dir(&self.work);
        for (name, value) in self.parameters.environment {
            command.env(name, fill(value));
        }
        command
    }
}

impl Tool for Peer {
    fn name(&self) -> &str {
        self.parameters.name
    }

    fn version(&self) -> String {
        let asked = Command::new("sh").args(["-c", self.parameters.version]).output();
        let text = asked.map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown").trim().to_owned()
    }

    fn prepare(&mut self, place: &Path) -> Result<()> {
        self.work = place.to_path_buf();
        let nowhere = Path::new("");
        measure::command(&mut self.command(self.parameters.init, nowhere, nowhere))?;
        Ok(())
    }

    fn backup(&mut self, source: &Path) -> Result<Cost> {
        measure::command(&mut self.command(self.parameters.backup, source, Path::new("")))
    }

    fn restore(&mut self, source: &Path, target: &Path) -> Result<(Cost, PathBuf)> {
        let cost = measure::command(&mut self.command(self.parameters.restore, source, target))?;
        let place = match self.parameters.restored {
            Restored::Here => target.to_path_buf(),
            Restored::WholePath => target.join(source.strip_prefix("/").unwrap_or(source)),
        };
        Ok((cost, place))
    }

    fn verify(&mut self) -> Result<Option<Cost>> {
        if self.parameters.verify.is_empty() {
            return Ok(None);
        }
        let nowhere = Path::new("");
        measure::command(&mut self.command(self.parameters.verify, nowhere, nowhere)).map(Some)
    }

    fn store(&self) -> PathBuf {
        self.work.join("store")
    }

    /// Content, types, names and links; what else a peer restores is its own affair.
    fn promises(&self) -> Aspects {
        Aspects {
            root: false,
            holes: false,
            modes: false,
            owners: false,
            times: false,
            xattrs: false,
            flags: false,
            links: false,
            ..Aspects::ALL
        }
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_filled_in() {
        for parameters in &PEERS {
            let peer = Peer { parameters, work: PathBuf::from("/w") };
            for line in [parameters.init, parameters.backup, parameters.restore, parameters.verify]
            {
                let command = peer.command(line, Path::new("/s"), Path::new("/t"));
                let text = step::describe(&command);
                for word in ["{store}", "{work}", "{source}", "{target}"] {
                    assert!(!text.contains(word), "{}: {text}", parameters.name);
                }
            }
        }
        assert!(installed(&["gone".to_owned()]).is_err());
        assert!(installed(&["none".to_owned()]).unwrap().is_empty());
    }

    #[test]
    fn the_reference_is_a_peer() {
        assert!(PEERS.iter().any(|peer| peer.name == REFERENCE));
    }

    /// One small round with each peer that is here, so that parameters cannot rot unseen.
    #[test]
    fn installed_peers_back_up_and_restore() {
        let place = tempfile::tempdir().unwrap();
        let source = place.path().join("source");
        std::fs::create_dir(&source).unwrap();
        std::fs::write(source.join("file"), vec![7; 100_000]).unwrap();
        let peers = installed(&[]).unwrap();
        if peers.is_empty() {
            println!("skipped: no peer is installed");
        }
        for mut peer in peers {
            let work = place.path().join(peer.name());
            let target = work.join("target");
            std::fs::create_dir_all(&target).unwrap();
            peer.prepare(&work).unwrap();
            let cost = peer.backup(&source).unwrap();
            assert!(cost.wall_s > 0.0);
            std::fs::write(source.join("second"), peer.name()).unwrap();
            peer.backup(&source).unwrap();
            let (_, restored) = peer.restore(&source, &target).unwrap();
            let found = simsim_testkit::compare_trees_in(&source, &restored, &peer.promises());
            assert_eq!(found, [], "{}", peer.name());
            peer.verify().unwrap();
            assert!(measure::size_of(&peer.store()).unwrap() > 0);
        }
    }
}
