//! Fills a search index with synthetic savesets, through the updates and merges that a server uses, and measures it:
//! `search_synthetic FOLDER [MILLIONS OF VERSIONS]`. A folder that it filled before is measured again.
//!
//! 200 tasks have 50 savesets each. Two fifths of the versions come with the first saveset of each task, the others
//! with the later ones: of what changes 80 of 100 are other contents, 12 new files, 8 removals. Folders
//! hold 12 files; names are two of 64 words, a number and one of 16 endings. *cold*: the index is
//! dropped from the system's cache before each question. One thread asks.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use simsim_model::{DomainId, SavesetId};
use simsim_search::{EntryKind, Index, Pattern, Query, Snapshot, Version};

type Failure = Box<dyn std::error::Error>;

const TASKS: u64 = 200;
const SAVESETS: u64 = 50;
const FOLDER_FILES: u64 = 12;
const ROUNDS: usize = 300;
const COLD_ROUNDS: usize = 40;

const WORDS: [&str; 64] = [
    "report", "invoice", "draft", "summary", "photo", "backup", "index", "config", "module",
    "test", "server", "client", "kernel", "driver", "network", "socket", "buffer", "string",
    "vector", "matrix", "season", "winter", "summer", "spring", "autumn", "garden", "forest",
    "river", "mountain", "valley", "budget", "account", "payment", "contract", "letter", "minutes",
    "agenda", "project", "design", "review", "release", "version", "package", "archive", "mailbox",
    "calendar", "contact", "message", "picture", "movie", "music", "album", "track", "lyrics",
    "recipe", "travel", "ticket", "hotel", "flight", "museum", "school", "lesson", "student",
    "teacher",
];
const ENDINGS: [&str; 16] = [
    "txt", "pdf", "jpg", "png", "docx", "xlsx", "c", "h", "rs", "py", "html", "css", "js", "json",
    "log", "eml",
];

fn mixed(number: u64) -> u64 {
    let mut x = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn word(random: u64) -> &'static str {
    WORDS[random as usize % WORDS.len()]
}

fn parent(task: u64, file: u64) -> String {
    let folder = mixed((task << 40) | (file / FOLDER_FILES) | (1 << 60));
    format!(
        "/srv/{}-{:02}/{}/{}-{:06x}",
        word(folder),
        folder >> 8 & 31,
        word(folder >> 16),
        word(folder >> 24),
        file / FOLDER_FILES
    )
}

fn name(task: u64, file: u64) -> String {
    let random = mixed(task << 40 | file);
    if file == 4711 && task % 50 == 7 {
        return format!("Quokka-{task}.sql");
    }
    format!(
        "{}-{}_{:05}.{}",
        word(random),
        word(random >> 8),
        random >> 16 & 0xffff,
        ENDINGS[(random >> 40) as usize % ENDINGS.len()]
    )
}

fn saveset_id(task: u64, round: u64) -> SavesetId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&task.to_be_bytes());
    id[8..].copy_from_slice(&round.to_be_bytes());
    SavesetId(id)
}

fn version(task: u64, file: u64, round: u64) -> Version {
    let random = mixed(mixed(task << 40 | file) ^ round);
    Version {
        kind: EntryKind::File,
        size: random >> 44,
        mtime_unix_s: 1_700_000_000 + round as i64 * 86_400 + (random & 0xffff) as i64,
    }
}

fn one_update(
    index: &Index,
    task: u64,
    round: u64,
    first: u64,
    changes: u64,
) -> Result<(), Failure> {
    let domain = DomainId([task as u8; 16]);
    let client = format!("client-{:02}", task / 10);
    let task_name = format!("task-{task}");
    let at = (round * TASKS + task) as i64 * 1_000_000_000;
    let strand = index.snapshot().book().open_strand(domain, &client, &task_name).map(|one| one.id);
    let mut update =
        index.begin(saveset_id(task, round), at, strand, (domain, &client, &task_name));
    if round == 0 {
        for file in 0..first {
            let version = Some(version(task, file, 0));
            update.push(parent(task, file).as_bytes(), name(task, file).as_bytes(), version)?;
        }
    } else {
        // Whole folders change together, here and there.
        let start = mixed(task << 20 | round) % first;
        let new = first + (round - 1) * changes;
        for change in 0..changes {
            let file = match change % 100 {
                0..12 => new + change,
                _ => (start + change / 4 * 97 + change % 4) % first,
            };
            let version = (change % 100 < 92).then(|| version(task, file, round));
            update.push(parent(task, file).as_bytes(), name(task, file).as_bytes(), version)?;
        }
    }
    update.commit()?;
    Ok(())
}

fn fill(index: &Index, versions: u64) -> Result<(), Failure> {
    let first = versions * 2 / 5 / TASKS;
    let changes = versions * 3 / 5 / (TASKS * (SAVESETS - 1)) * 100 / 92;
    let start = Instant::now();
    let (mut merging, mut slowest) = (Duration::ZERO, Duration::ZERO);
    let mut late = Vec::new();
    for round in 0..SAVESETS {
        for task in 0..TASKS {
            let begun = Instant::now();
            one_update(index, task, round, first, changes)?;
            if round > 0 {
                late.push(begun.elapsed());
            }
            let begun = Instant::now();
            while index.tidy()? {}
            merging += begun.elapsed();
            slowest = slowest.max(begun.elapsed());
        }
    }
    println!(
        "filled in {:.0} s, {:.0} s of them merging (the longest merges after one saveset: {:.1} s)",
        start.elapsed().as_secs_f64(),
        merging.as_secs_f64(),
        slowest.as_secs_f64()
    );
    late.sort_unstable();
    println!(
        "bringing in a saveset with {changes} changes: p50 {:.1} ms, p99 {:.1} ms, without merges",
        percentile(&late, 50),
        percentile(&late, 99)
    );
    Ok(())
}

fn percentile(sorted: &[Duration], of_100: usize) -> f64 {
    let at = (sorted.len() * of_100).div_ceil(100).saturating_sub(1);
    sorted.get(at).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

fn drop_cache(folder: &Path) -> Result<(), Failure> {
    for entry in std::fs::read_dir(folder)? {
        let file = std::fs::File::open(entry?.path())?;
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}

/// Processor time of this thread, in ms.
fn cpu_ms() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

/// Asks again and again; `cold`: each time with nothing of the index in the system's cache.
fn measure(
    what: &str,
    (folder, cold): (&Path, bool),
    mut ask: impl FnMut(u64) -> Result<usize, Failure>,
) -> Result<(), Failure> {
    let rounds = if cold { COLD_ROUNDS } else { ROUNDS };
    let mut answers = 0;
    let (mut times, mut cpu) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        if cold {
            drop_cache(folder)?;
        }
        let (begun, cpu_begun) = (Instant::now(), cpu_ms());
        answers += ask(round as u64)?;
        times.push(begun.elapsed());
        cpu.push(cpu_ms() - cpu_begun);
    }
    times.sort_unstable();
    cpu.sort_unstable_by(f64::total_cmp);
    let cpu_99 = cpu.get((rounds * 99).div_ceil(100) - 1).copied().unwrap_or_default();
    println!(
        "| {what} | {:.1} | {:.1} | {:.1} | {cpu_99:.1} |",
        answers as f64 / rounds as f64,
        percentile(&times, 50),
        percentile(&times, 99),
    );
    Ok(())
}

fn status_mib(what: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    let kib = line.and_then(|text| text.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("say in which folder")?;
    let folder = Path::new(&folder);
    let millions: u64 = arguments.next().map_or(Ok(50), |text| text.parse())?;
    let versions = millions * 1_000_000;
    let first = versions * 2 / 5 / TASKS;
    let begun = Instant::now();
    let index = Index::open(folder)?;
    if index.snapshot().figures().savesets == 0 {
        fill(&index, versions)?;
    } else {
        println!("opened in {:.0} ms", begun.elapsed().as_secs_f64() * 1000.0);
    }
    let snapshot = index.snapshot();
    let figures = snapshot.figures();
    println!("{figures:?}; {:.1} bytes a version", figures.bytes as f64 / figures.versions as f64);
    println!("memory: {:.0} MiB now, {:.0} MiB at most", status_mib("VmRSS"), status_mib("VmHWM"));
    for cold in [false, true] {
        if !cold {
            for entry in std::fs::read_dir(folder)? {
                std::io::copy(&mut std::fs::File::open(entry?.path())?, &mut std::io::sink())?;
            }
        }
        println!("\n{}", if cold { "cold" } else { "the index in the system's cache" });
        questions(&snapshot, first, (folder, cold))?;
    }
    println!("memory: {:.0} MiB now, {:.0} MiB at most", status_mib("VmRSS"), status_mib("VmHWM"));
    Ok(())
}

fn questions(snapshot: &Snapshot, first: u64, folder: (&Path, bool)) -> Result<(), Failure> {
    let all: BTreeSet<u32> = snapshot.book().strands().map(|strand| strand.id).collect();
    let search = |text: &str, ignore_case: bool, strands: &BTreeSet<u32>| {
        let pattern = Pattern::new(text, ignore_case)?;
        let query = Query {
            pattern: &pattern,
            strands,
            since_unix_ns: None,
            until_unix_ns: None,
            kind: None,
            limit: 100,
            after: None,
        };
        Ok::<_, Failure>(snapshot.search(&query)?.hits.len())
    };
    println!("| question | answers | p50 ms | p99 ms | p99 ms of processor time |");
    println!("|---|---:|---:|---:|---:|");
    let sample = |round: u64| (mixed(round) % TASKS, mixed(round + 99) % first);
    measure("a whole name", folder, |round| {
        let (task, file) = sample(round);
        search(&name(task, file), false, &all)
    })?;
    measure("beginning of a name, `report-winter_1*`", folder, |round| {
        let random = mixed(round);
        search(
            &format!("{}-{}_{}*", word(random), word(random >> 8), random >> 16 & 7),
            false,
            &all,
        )
    })?;
    measure("part of a name, `inter_123`", folder, |round| {
        let random = mixed(round);
        let start = &word(random)[1..];
        search(&format!("{start}_{:03}", random >> 16 & 511), false, &all)
    })?;
    measure("rare, any case, `quokka`", folder, |_| search("quokka", true, &all))?;
    measure("in none, `zzyzx`", folder, |round| search(&format!("zzyzx{round}"), false, &all))?;
    measure("common, a word", folder, |round| search(word(mixed(round)), false, &all))?;
    measure("common, `*.txt` and others", folder, |round| {
        search(&format!("*.{}", ENDINGS[round as usize % ENDINGS.len()]), false, &all)
    })?;
    measure("one letter", folder, |_| search("e", false, &all))?;
    measure("two letters that no name has, `qj`, one page", folder, |_| search("qj", false, &all))?;
    measure("`*_?7?1?.rs`", folder, |_| search("*_?7?1?.rs", false, &all))?;
    measure("path, `**/winter/**/budget*`", folder, |round| {
        search(&format!("**/{}/**/{}*", word(mixed(round)), word(mixed(round) >> 8)), false, &all)
    })?;
    let one: Vec<BTreeSet<u32>> = all.iter().map(|id| BTreeSet::from([*id])).collect();
    measure("common, of one task", folder, |round| {
        search("*.pdf", false, &one[(mixed(round) % TASKS) as usize])
    })?;
    let strand_of = |task: u64| {
        let domain = DomainId([task as u8; 16]);
        let (client, name) = (format!("client-{:02}", task / 10), format!("task-{task}"));
        snapshot.book().open_strand(domain, &client, &name).map_or(0, |one| one.id)
    };
    measure("history of a file", folder, |round| {
        let (task, file) = sample(round);
        let (parent, name) = (parent(task, file), name(task, file));
        Ok(snapshot.history(strand_of(task), parent.as_bytes(), name.as_bytes())?.len())
    })?;
    measure("a folder of a saveset", folder, |round| {
        let (task, file) = sample(round);
        let saveset = saveset_id(task, mixed(round) % SAVESETS);
        let page = snapshot.folder(&saveset, parent(task, file).as_bytes(), None, 1000)?;
        Ok(page.map_or(0, |page| page.entries.len()))
    })?;
    Ok(())
}
