//! `bench`: simsim beside the installed peers, in the same run, on the same data.
//!
//! For each corpus and each tool, in turn: first backup, unchanged backup, backup of day two, restore
//! (compared with the source), verify of every byte. All tools compress at zstd level 3 and encrypt;
//! peers write a local repository, simsim goes over loopback through its real ports. Then simsim copies its
//! datastore into another one, twice, beside the limits of disk and TLS. Runs are
//! interleaved, medians are printed, and every row says how simsim stands to the best peer.

mod bounds;
mod corpus;
mod example;
mod limits;
mod measure;
mod options;
mod pages;
mod peers;
mod report;
mod simsim;
mod wire;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use corpus::Corpus;
use measure::Cost;
use options::Options;
use report::{Figures, Report};

/// A program under measurement. One repository at a time, made by `prepare`.
pub trait Tool {
    fn name(&self) -> &str;

    /// The tool's own words for its version.
    fn version(&self) -> String;

    /// Makes a new repository below `place`, and starts what must run.
    fn prepare(&mut self, place: &Path) -> Result<()>;

    /// Backs `source` up into the repository.
    fn backup(&mut self, source: &Path) -> Result<Cost>;

    /// Restores the newest backup of `source` into `target`, an empty folder. Answers with the
    /// folder that then corresponds to `source`.
    fn restore(&mut self, source: &Path, target: &Path) -> Result<(Cost, PathBuf)>;

    /// Reads and checks every byte; nothing where the tool cannot.
    fn verify(&mut self) -> Result<Option<Cost>>;

    /// Copies the repository into another one: at first, and again with nothing new; nothing where the
    /// tool has no such thing. `ready` is called before the first copy.
    fn replicate(&mut self, ready: &dyn Fn() -> Result<()>) -> Result<Option<[Cost; 2]>> {
        let _ = ready;
        Ok(None)
    }

    /// The folder that holds the repository.
    fn store(&self) -> PathBuf;

    /// What of a restored tree must be equal.
    fn promises(&self) -> simsim_testkit::Aspects;

    /// What the last backup sent towards its store, where that is another process.
    fn sent_mb(&mut self) -> Result<Option<f64>> {
        Ok(None)
    }
    /// Stops what runs.
    fn finish(&mut self) -> Result<()>;
}

pub fn run(arguments: &[String]) -> Result<()> {
    if arguments.first().is_some_and(|verb| verb == "pages") {
        return pages::run();
    }
    if let Some(done) = example::run(arguments) {
        return done;
    }
    let Some(options) = Options::parse(arguments)? else {
        print!("{}", options::HELP);
        return Ok(());
    };
    let place = options.place()?;
    let corpora = corpus::find(&options, &place)?;
    let mut tools: Vec<Box<dyn Tool>> = Vec::new();
    if options.with_simsim {
        let binary = options.binary()?;
        for interface in &options.interfaces {
            tools.push(Box::new(simsim::Simsim::new(binary.clone(), interface)));
        }
    }
    for peer in peers::installed(&options.peers)? {
        tools.push(Box::new(peer));
    }
    if tools.is_empty() {
        bail!("nothing to measure: no peer is installed and --no-simsim was given");
    }
    let mut report = Report::new(&place);
    for tool in &tools {
        report.version(tool.name(), &tool.version());
    }
    for corpus in &corpora {
        let corpus = &corpus.bring_to(&place)?;
        for run in 1..=options.runs {
            for tool in &mut tools {
                eprintln!("== {} {}, run {run} of {}", corpus.name, tool.name(), options.runs);
                let work = place.join("work");
                let figures = one_run(corpus, tool.as_mut(), &work, options.compare)
                    .with_context(|| format!("{} with {}", corpus.name, tool.name()));
                // Whatever happened, the next tool begins on day one in an empty place.
                let stopped = tool.finish();
                corpus.to_day(1)?;
                simsim_testkit::remove_tree(&work)?;
                stopped?;
                report.add(&corpus.name, tool.name(), figures?);
            }
        }
        corpus.take_away()?;
    }
    print!("{}", report.tables());
    print!("{}", report.summary());
    print!("{}", report.interfaces());
    if let Some(path) = &options.json {
        std::fs::write(path, report.json()?).with_context(|| path.display().to_string())?;
    }
    match report.verdict() {
        // So little data says nothing about who is ahead.
        Err(behind) if options.quick => {
            eprintln!("{behind}");
            Ok(())
        }
        verdict => verdict,
    }
}

fn one_run(corpus: &Corpus, tool: &mut dyn Tool, work: &Path, compare: bool) -> Result<Figures> {
    simsim_testkit::remove_tree(work)?;
    std::fs::create_dir_all(work)?;
    corpus.to_day(1)?;
    corpus.warm()?;
    tool.prepare(work)?;
    let mut figures = Figures::default();
    let empty = measure::size_of(&tool.store())?;
    // A restored tree, or a repository and what the tool itself takes.
    let memory = measure::size_of(&corpus.path)?;
    let ready = || limits::take_memory_back(memory);

    ready()?;
    let cost = tool.backup(&corpus.path)?;
    let first = measure::size_of(&tool.store())?;
    let stored_mb = (first - empty.min(first)) as f64 / 1e6;
    figures.value("store MB", stored_mb);
    if let Some(wire_mb) = cost.wire_mb {
        figures.value("wire ÷ stored", wire_mb / stored_mb);
    }
    figures.cost("first", cost);
    ready()?;
    let unchanged = tool.backup(&corpus.path)?;
    if let Some(sent_mb) = tool.sent_mb()? {
        let data_mb = measure::size_of(&corpus.path)? as f64 / 1e6;
        figures.value("unchanged sent ÷ data", sent_mb / data_mb);
    }
    figures.cost("unchanged", unchanged);
    if corpus.has_day_two {
        let before = measure::size_of(&tool.store())?;
        corpus.to_day(2)?;
        corpus.warm()?;
        ready()?;
        figures.cost("day two", tool.backup(&corpus.path)?);
        let after = measure::size_of(&tool.store())?;
        figures.value("growth MB", (after as f64 - before as f64) / 1e6);
    }

    let target = work.join("restored");
    std::fs::create_dir_all(&target)?;
    ready()?;
    let (cost, place) = tool.restore(&corpus.path, &target)?;
    figures.cost("restore", cost);
    if compare {
        let differences = simsim_testkit::compare_trees_in(&corpus.path, &place, &tool.promises());
        if let Some(first) = differences.first() {
            bail!("{} differences after the restore, the first: {first}", differences.len());
        }
    }
    simsim_testkit::remove_tree(&target)?;
    ready()?;
    if let Some(cost) = tool.verify()? {
        figures.cost("verify", cost);
    }
    replicate(tool, work, &mut figures)?;
    figures.most("client MiB", "MiB");
    figures.most("device MiB", "device MiB");
    Ok(figures)
}

/// The first copy and a repeat, and how the first stands to the slower of the two limits.
fn replicate(tool: &mut dyn Tool, work: &Path, figures: &mut Figures) -> Result<()> {
    let store = tool.store();
    let Some([first, again]) = tool.replicate(&|| limits::forget(&store))? else { return Ok(()) };
    let copied_mb = measure::size_of(&store)? as f64 / 1e6;
    let rate = copied_mb / first.wall_s;
    figures.cost("replicate", first);
    figures.cost("replicate again", again);
    figures.value("replicate MB/s", rate);
    limits::forget(&store)?;
    let mut slower = limits::read_mb_s(&store)?;
    figures.value("limit: disk read MB/s", slower);
    if let Some(tls) = limits::tls_mb_s(work)? {
        figures.value("limit: loopback TLS MB/s", tls);
        slower = slower.min(tls);
    }
    figures.value("replicate ÷ slower limit", rate / slower);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Copies with `cp`, and spoils one byte of what it restores where that is asked for.
    struct Copier {
        work: PathBuf,
        spoils: bool,
    }

    impl Copier {
        fn copy(from: &Path, to: &Path) -> Result<Cost> {
            simsim_testkit::remove_tree(to)?;
            measure::command(std::process::Command::new("cp").arg("-a").arg(from).arg(to))
        }
    }

    impl Tool for Copier {
        fn name(&self) -> &str {
            "copier"
        }
        fn version(&self) -> String {
            "copier".into()
        }
        fn prepare(&mut self, place: &Path) -> Result<()> {
            self.work = place.to_path_buf();
            Ok(())
        }
        fn backup(&mut self, source: &Path) -> Result<Cost> {
            Self::copy(source, &self.store())
        }
        fn restore(&mut self, _: &Path, target: &Path) -> Result<(Cost, PathBuf)> {
            let place = target.join("copy");
            let cost = Self::copy(&self.store(), &place)?;
            if self.spoils {
                let file = place.join("text/3.txt");
                let times = std::fs::metadata(&file)?.modified()?;
                let mut content = std::fs::read(&file)?;
                content[100] ^= 1;
                std::fs::write(&file, content)?;
                std::fs::File::options().write(true).open(&file)?.set_modified(times)?;
            }
            Ok((cost, place))
        }
        fn verify(&mut self) -> Result<Option<Cost>> {
            Ok(None)
        }
        fn store(&self) -> PathBuf {
            self.work.join("store")
        }
        fn promises(&self) -> simsim_testkit::Aspects {
            simsim_testkit::Aspects { root: false, ..simsim_testkit::Aspects::ALL }
        }
        fn finish(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_run_has_all_steps_and_fails_when_one_byte_differs() {
        let place = tempfile::tempdir().unwrap();
        let corpus = corpus::make_quick(&place.path().join("corpora")).unwrap();
        let work = place.path().join("work");
        let mut tool = Copier { work: PathBuf::new(), spoils: false };
        let figures = one_run(&corpus, &mut tool, &work, true).unwrap();
        for row in ["first wall s", "unchanged wall s", "day two wall s", "restore wall s"] {
            assert!(figures.get(row).is_some_and(|value| value > 0.0), "{row}: {figures:?}");
        }
        assert!(figures.get("store MB").is_some_and(|mb| mb > 10.0), "{figures:?}");
        assert!(figures.get("growth MB").is_some_and(|mb| mb > 0.1), "{figures:?}");
        corpus.to_day(1).unwrap();
        tool.spoils = true;
        let error = one_run(&corpus, &mut tool, &work, true).unwrap_err().to_string();
        assert!(error.contains("text/3.txt") && error.contains("differences after"), "{error}");
        let day_two = std::fs::read(corpus.path.join("text/0.txt")).unwrap();
        corpus.to_day(1).unwrap();
        assert_ne!(day_two, std::fs::read(corpus.path.join("text/0.txt")).unwrap());
    }
}
