//! The data that is backed up.
//!
//! Three corpora are made by `make-corpus.py` beside the repository: many small files, one disk image,
//! a mix; each with a day two that is switched on and off by renames, so that files that do not
//! change keep inode and times. A small one is made here, for a look at whether everything works.
//! Any folder can be measured instead.

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
    maker: Maker,
}

enum Maker {
    /// A folder of somebody.
    Nobody,
    /// The script and the folder that it works in.
    Script(PathBuf, PathBuf),
    /// What differs on day two, and lies here in the meantime.
    Quick(PathBuf),
}

/// Files of the quick corpus that are others on day two.
const QUICK_CHANGED: [&str; 3] = ["text/0.txt", "text/77.txt", "numbers.bin"];

/// The corpora that were asked for, made where they are missing.
pub fn find(options: &Options, place: &Path) -> Result<Vec<Corpus>> {
    if options.quick {
        return Ok(vec![make_quick(&place.join("quick"))?]);
    }
    if let Some(folder) = &options.folder {
        let path = folder.canonicalize().with_context(|| folder.display().to_string())?;
        let name = path.file_name().map_or("root".into(), |name| name.to_string_lossy());
        let name = name.into_owned();
        return Ok(vec![Corpus { name, path, has_day_two: false, maker: Maker::Nobody }]);
    }
    let script = workspace::root().join("../shared/bench/make-corpus.py");
    if !script.exists() {
        bail!("there is no {}: use --folder DIR or --quick", script.display());
    }
    let root = &options.store_of_corpora;
    let made = |name: &String| root.join(format!("alt/{name}.plan.json")).exists();
    if !options.corpora.iter().all(made) {
        make(&script, root)?;
    }
    let corpora = options.corpora.iter().map(|name| Corpus {
        name: name.clone(),
        path: root.join("live").join(name),
        has_day_two: true,
        maker: Maker::Script(script.clone(), root.clone()),
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

/// Makes the small corpus in `root`: 400 texts that resemble one another, 8 MB that do not
/// compress, twice.
pub fn make_quick(root: &Path) -> Result<Corpus> {
    simsim_testkit::remove_tree(root)?;
    let (live, other) = (root.join("live"), root.join("other"));
    let mut state = 1u64;
    let mut noise = |bytes: usize| -> Vec<u8> {
        let words = (0..bytes.div_ceil(8)).flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        words.take(bytes).collect()
    };
    std::fs::create_dir_all(live.join("text"))?;
    for number in 0..400usize {
        let lines = (0..number * 7 % 900 + 40).map(|line| {
            format!(
                "{line}: measured {} of {number}, then {}\n",
                line * 31 % 97,
                line * number % 53
            )
        });
        std::fs::write(live.join(format!("text/{number}.txt")), lines.collect::<String>())?;
    }
    let numbers = noise(8 << 20);
    std::fs::write(live.join("numbers.bin"), &numbers)?;
    std::fs::write(live.join("again.bin"), &numbers)?;
    for name in QUICK_CHANGED {
        let mut content = std::fs::read(live.join(name))?;
        let middle = content.len() / 2;
        content.splice(middle..middle, noise(100_000));
        std::fs::create_dir_all(other.join(name).parent().unwrap_or(&other))?;
        std::fs::write(other.join(name), content)?;
    }
    Ok(Corpus {
        name: "quick".into(),
        path: live,
        has_day_two: true,
        maker: Maker::Quick(root.to_path_buf()),
    })
}

impl Corpus {
    /// The same corpus at `place`, where it is not there yet: day one, with all its times. What
    /// was brought must be taken away again.
    pub fn bring_to(&self, place: &Path) -> Result<Self> {
        let copy = |maker, path| Self {
            name: self.name.clone(),
            path,
            has_day_two: self.has_day_two,
            maker,
        };
        let (script, root) = match &self.maker {
            Maker::Script(script, root) => (script.clone(), root),
            Maker::Nobody => return Ok(copy(Maker::Nobody, self.path.clone())),
            Maker::Quick(root) => return Ok(copy(Maker::Quick(root.clone()), self.path.clone())),
        };
        self.to_day(1)?;
        let here = place.join("corpora");
        simsim_testkit::remove_tree(&here)?;
        for folder in ["live", "alt"] {
            std::fs::create_dir_all(here.join(folder))?;
            let mut copy = Command::new("cp");
            copy.args(["-a", "--sparse=always"]).arg(root.join(folder).join(&self.name));
            step::run(copy.arg(here.join(folder)))?;
        }
        let plan = format!("alt/{}.plan.json", self.name);
        std::fs::copy(root.join(&plan), here.join(&plan))?;
        let path = here.join("live").join(&self.name);
        Ok(copy(Maker::Script(script, here), path))
    }

    /// Removes what [`Corpus::bring_to`] or [`make_quick`] made.
    pub fn take_away(&self) -> Result<()> {
        match &self.maker {
            Maker::Nobody => Ok(()),
            Maker::Script(_, root) | Maker::Quick(root) => Ok(simsim_testkit::remove_tree(root)?),
        }
    }

    /// Switches to day 1 or 2; a corpus without a day two stays as it is.
    pub fn to_day(&self, day: u32) -> Result<()> {
        match &self.maker {
            Maker::Nobody => Ok(()),
            Maker::Script(script, root) => {
                let flag = format!("--to-day{day}");
                step::run(Command::new("python3").arg(script).arg(root).arg(flag).arg(&self.name))
            }
            Maker::Quick(root) => {
                let flag = root.join("day2");
                if flag.exists() == (day == 2) {
                    return Ok(());
                }
                for name in QUICK_CHANGED {
                    let (live, other) =
                        (root.join("live").join(name), root.join("other").join(name));
                    let aside = root.join("aside");
                    std::fs::rename(&live, &aside)?;
                    std::fs::rename(&other, &live)?;
                    std::fs::rename(&aside, &other)?;
                }
                if day == 2 {
                    std::fs::write(&flag, "")?;
                } else {
                    std::fs::remove_file(&flag)?;
                }
                Ok(())
            }
        }
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
