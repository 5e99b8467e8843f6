//! The data that is backed up.
//!
//! Three corpora are made by `make-corpus.py` beside the repository: many small files, one disk image,
//! a mix; each with a day two that is switched on and off by renames, so that files that do not
//! change keep inode and times. Any folder can be measured instead.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::options::Options;
use crate::{step, workspace};

pub struct Corpus {
    pub name: String,
    pub path: PathBuf,
    pub has_day_two: bool,
    /// The script and the folder that it works in.
    maker: Option<(PathBuf, PathBuf)>,
}

/// The corpora that were asked for, made where they are missing.
pub fn find(options: &Options, place: &Path) -> Result<Vec<Corpus>> {
    if let Some(folder) = &options.folder {
        let path = folder.canonicalize().with_context(|| folder.display().to_string())?;
        let name = path.file_name().map_or("root".into(), |name| name.to_string_lossy());
        let name = name.into_owned();
        return Ok(vec![Corpus { name, path, has_day_two: false, maker: None }]);
    }
    let script = workspace::root().join("../shared/bench/make-corpus.py");
    if !script.exists() {
        bail!("there is no {}: use --folder DIR", script.display());
    }
    let root = place.join("corpora");
    let made = |name: &String| root.join(format!("alt/{name}.plan.json")).exists();
    if !options.corpora.iter().all(made) {
        make(&script, &root)?;
    }
    let corpora = options.corpora.iter().map(|name| Corpus {
        name: name.clone(),
        path: root.join("live").join(name),
        has_day_two: true,
        maker: Some((script.clone(), root.clone())),
    });
    Ok(corpora.collect())
}

fn make(script: &Path, root: &Path) -> Result<()> {
    eprintln!("== making the corpora in {} (about 12 GB, some minutes)", root.display());
    if rustix::process::geteuid().is_root() && step::on_path("apt-get") {
        let packages = ["linux-source-6.1", "openssl", "e2fsprogs", "xz-utils", "python3"];
        let mut install = Command::new("apt-get");
        install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages);
        // Where this cannot be done the script says what it misses.
        let _ = step::run(install.env("DEBIAN_FRONTEND", "noninteractive"));
    }
    std::fs::create_dir_all(root)?;
    step::run(Command::new("python3").arg(script).arg(root))
}

impl Corpus {
    /// Switches to day 1 or 2; a corpus without a day two stays as it is.
    pub fn to_day(&self, day: u32) -> Result<()> {
        let Some((script, root)) = &self.maker else { return Ok(()) };
        let flag = format!("--to-day{day}");
        step::run(Command::new("python3").arg(script).arg(root).arg(flag).arg(&self.name))
    }

    /// Reads everything once, so that no tool pays for the disk of the one before it, and flushes
    /// what others have written.
    pub fn warm(&self) -> Result<()> {
        let mut buffer = vec![0; 1 << 20];
        let mut stack = vec![self.path.clone()];
        while let Some(folder) = stack.pop() {
            for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
                let entry = entry?;
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    stack.push(entry.path());
                } else if kind.is_file() {
                    // Unreadable here is unreadable for every tool: they will say so.
                    let Ok(mut file) = std::fs::File::open(entry.path()) else { continue };
                    while file.read(&mut buffer).is_ok_and(|length| length > 0) {}
                }
            }
        }
        rustix::fs::sync();
        Ok(())
    }
}
