//! What `bench` was asked for, and where it works.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{step, workspace};

pub const HELP: &str = "\
cargo xtask bench [OPTIONS]
cargo xtask bench index [MILLIONS] [--place DIR]
cargo xtask bench listing [MILLIONS] [--place DIR]
cargo xtask bench gc [MILLIONS] [--place DIR]
cargo xtask bench search [MILLIONS] [--place DIR]
cargo xtask bench pages

The second one fills the index of a datastore with synthetic names (default: 100 millions, about
4 GB in /var/tmp and twice that while it merges) and measures it. The third one makes a saveset of
so many entries (default: 100 millions, one folder of a million among them) and lists folders of it,
as `simsim ls` does. The fourth one collects garbage among so many small chunks (default: 10
millions), by itself and beside a session that writes. The fifth one fills the search index with so
many versions of files (default: 50 millions, in 10,000 savesets, about 4 GB) and searches. `bench pages` times the
pages of the console with 1,000 clients, 10,000 savesets and 100,000 jobs. The first one:

  --corpus NAMES    of src, vm, mixed, separated by commas; default: all three. They are made on
                    first use (about 12 GB, needs ../shared/bench/make-corpus.py)
  --corpora DIR     where the corpora are kept or made; default: simsim-bench-corpora in /var/tmp.
                    One at a time is copied to the place below
  --quick           a small tree made for it, one run: whether everything works, not how fast
  --folder DIR      measure this folder instead (there is no day two then)
  --peers NAMES     only these of the installed peers; `none` for none; default: all
  --no-simsim       only the peers
  --simsim FILE     the binary to measure; default: the release build, made now
  --interfaces LIST of http, https, drive, ftp, ftpes: how simsim's data goes; each is measured beside the others;
                    default: http
  --runs N          runs of each tool, interleaved; medians are printed; default 3
  --place DIR       where one corpus, one repository and one restored tree lie; default: /dev/shm
                    where there is room, else /var/tmp. SIMSIM_BENCH_PLACE does the same
  --no-compare      do not compare the restored trees
  --json FILE       every figure of every run
";

const MIB: u64 = 1 << 20;
/// Free bytes of a tmpfs for one corpus with its day two (5 GB at most), one repository and one
/// restored tree.
const SHM_ROOM_BYTES: u64 = 12 << 30;

#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    pub corpora: Vec<String>,
    pub folder: Option<PathBuf>,
    pub quick: bool,
    pub store_of_corpora: PathBuf,
    /// Empty: all that are installed.
    pub peers: Vec<String>,
    pub with_simsim: bool,
    pub interfaces: Vec<String>,
    pub runs: usize,
    pub compare: bool,
    pub json: Option<PathBuf>,
    binary: Option<PathBuf>,
    place: Option<PathBuf>,
}

impl Options {
    /// Nothing where help was asked for.
    pub fn parse(arguments: &[String]) -> Result<Option<Self>> {
        let mut options = Self {
            corpora: ["src", "vm", "mixed"].map(str::to_owned).to_vec(),
            folder: None,
            quick: false,
            store_of_corpora: "/var/tmp/simsim-bench-corpora".into(),
            peers: Vec::new(),
            with_simsim: true,
            interfaces: vec!["http".to_owned()],
            runs: 3,
            compare: true,
            json: None,
            binary: None,
            place: std::env::var_os("SIMSIM_BENCH_PLACE").map(PathBuf::from),
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value =
                || arguments.next().with_context(|| format!("{argument} needs a value"));
            let names = |text: &str| text.split(',').map(str::to_owned).collect();
            match argument.as_str() {
                "--corpus" => options.corpora = names(value()?),
                "--corpora" => options.store_of_corpora = value()?.into(),
                "--quick" => (options.quick, options.runs) = (true, 1),
                "--folder" => options.folder = Some(value()?.into()),
                "--peers" => options.peers = names(value()?),
                "--no-simsim" => options.with_simsim = false,
                "--simsim" => options.binary = Some(value()?.into()),
                "--interfaces" => options.interfaces = names(value()?),
                "--runs" => options.runs = value()?.parse().context("--runs needs a number")?,
                "--place" => options.place = Some(value()?.into()),
                "--no-compare" => options.compare = false,
                "--json" => options.json = Some(value()?.into()),
                "--help" | "-h" => return Ok(None),
                other => bail!("no option '{other}'; see `cargo xtask bench --help`"),
            }
        }
        if options.runs == 0 {
            bail!("--runs needs a number above 0");
        }
        let known = ["http", "https", "drive", "ftp", "ftpes"];
        if let Some(name) = options.interfaces.iter().find(|name| !known.contains(&name.as_str())) {
            bail!("no interface '{name}': there are {}", known.join(", "));
        }
        if let Some(name) =
            options.corpora.iter().find(|n| !["src", "vm", "mixed"].contains(&n.as_str()))
        {
            bail!("no corpus '{name}': there are src, vm and mixed");
        }
        Ok(Some(options))
    }

    /// The working folder, made if need be. Never inside the repository.
    pub fn place(&self) -> Result<PathBuf> {
        let base = match &self.place {
            Some(place) => place.clone(),
            None if has_room(Path::new("/dev/shm")) => PathBuf::from("/dev/shm"),
            None => PathBuf::from("/var/tmp"),
        };
        let place = base.join("simsim-bench");
        std::fs::create_dir_all(&place).with_context(|| place.display().to_string())?;
        let place = place.canonicalize()?;
        if place.starts_with(workspace::root().canonicalize()?) {
            bail!("{} is inside the repository: choose another --place", place.display());
        }
        Ok(place)
    }

    /// The binary to measure, built now where none was named.
    pub fn binary(&self) -> Result<PathBuf> {
        if let Some(binary) = &self.binary {
            return binary.canonicalize().with_context(|| binary.display().to_string());
        }
        let root = workspace::root();
        let arguments = ["build", "--release", "--locked", "--package", "simsim"];
        step::run(step::cargo().args(arguments).current_dir(&root))?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        Ok(target.unwrap_or_else(|| root.join("target")).join("release/simsim"))
    }
}

/// Room on the tmpfs, and in memory beside it.
fn has_room(shm: &Path) -> bool {
    let free = rustix::fs::statvfs(shm).map_or(0, |fs| fs.f_bavail * fs.f_frsize);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .unwrap_or(0)
        * 1024;
    free >= SHM_ROOM_BYTES && available >= SHM_ROOM_BYTES + 2048 * MIB
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Options>> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        Options::parse(&words)
    }

    #[test]
    fn options_are_read_or_refused() {
        let options = parse("--corpus vm,src --runs 5 --peers none --no-compare").unwrap().unwrap();
        assert_eq!(options.corpora, ["vm", "src"]);
        assert_eq!((options.runs, options.compare), (5, false));
        assert_eq!(options.peers, ["none"]);
        assert!(parse("--help").unwrap().is_none());
        for wrong in ["--runs", "--runs x", "--runs 0", "--corpus all", "--unknown", "x"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_repository_is_no_place_to_work() {
        let mut options = parse("").unwrap().unwrap();
        options.place = Some(workspace::root().join("target"));
        assert!(options.place().unwrap_err().to_string().contains("inside the repository"));
    }
}
