//! The order in which what is kept becomes durable, by the word of the system: which calls the process
//! with the datastore and the catalog made, one after the other, while it did a backup.
//!
//! The simulated storage of the power cuts believes in flushes; this looks whether they are there.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use simsim_testkit::{ChildProcess, has_program, skip};

use crate::hosts::{Daemon, PATIENCE, simsim, until};

/// What is watched.
const CALLS: &str = "trace=write,pwrite64,writev,pwritev,fsync,fdatasync,rename,renameat,renameat2,\
                     linkat,mkdir,mkdirat,ftruncate,fallocate";

/// One call; `begin` and `end` count the lines of the trace, because others come in between.
#[derive(Debug)]
struct Call {
    begin: usize,
    end: usize,
    name: String,
    text: String,
}

impl Call {
    /// The path of the file that the first argument stands for.
    fn file(&self) -> Option<&str> {
        let (_, rest) = self.text.split_once('<')?;
        Some(rest.split_once('>')?.0)
    }

    /// The paths that are named in quotes.
    fn paths(&self) -> Vec<&str> {
        self.text.split('"').skip(1).step_by(2).collect()
    }

    fn writes(&self) -> bool {
        self.name.contains("write") || ["ftruncate", "fallocate"].contains(&self.name.as_str())
    }

    fn flushes(&self, path: &Path) -> bool {
        ["fsync", "fdatasync"].contains(&self.name.as_str())
            && self.file() == path.to_str()
            && self.text.ends_with("= 0")
    }
}

/// The calls of a trace, in the order in which they begin.
fn calls(trace: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut open: HashMap<&str, usize> = HashMap::new();
    for (number, line) in trace.lines().enumerate() {
        let Some((process, text)) = line.split_once(' ') else { continue };
        let text = text.trim_start();
        if text.starts_with("<... ") {
            let (_, rest) = text.split_once("resumed>").unwrap();
            let call = &mut calls[open.remove(process).unwrap()];
            call.text.push_str(rest);
            call.end = number;
            continue;
        }
        let Some((name, _)) = text.split_once('(') else { continue };
        let begun = text.strip_suffix("<unfinished ...>");
        if begun.is_some() {
            open.insert(process, calls.len());
        }
        let (name, text) = (name.to_owned(), begun.unwrap_or(text).to_owned());
        calls.push(Call { begin: number, end: number, name, text });
    }
    // What never came back has not happened.
    let unfinished: Vec<usize> = open.into_values().collect();
    let mut at = 0;
    calls.retain(|_| {
        at += 1;
        !unfinished.contains(&(at - 1))
    });
    calls
}

/// The end of the first flush of `path` that begins after line `after`.
fn flushed(calls: &[Call], path: &Path, after: usize) -> usize {
    let flush = calls.iter().find(|call| call.begin > after && call.flushes(path));
    flush.unwrap_or_else(|| panic!("{} is not flushed after line {after}", path.display())).end
}

#[test]
fn pwr04_the_real_process_flushes_pack_index_manifest_and_row_in_this_order() {
    if !has_program("strace") {
        return skip("no strace");
    }
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().canonicalize().unwrap();
    let (state, trace) = (root.join("server"), root.join("trace"));
    std::fs::create_dir_all(&state).unwrap();
    let ports = simsim_testkit::free_ports(2);
    let mut server = simsim();
    server.arg("--state").arg(&state).arg("server");
    server.args(["--listen", &format!("127.0.0.1:{}", ports[0])]);
    server.args(["--http", &format!("127.0.0.1:{}", ports[1]), "--console", "127.0.0.1:0"]);
    let mut strace = Command::new("strace");
    // With -D the process that was started is the server, and its tracer is another one.
    strace.args(["-D", "-f", "-y", "-s", "0", "-qq", "-e", CALLS, "-o"]).arg(&trace);
    strace.arg(server.get_program()).args(server.get_args());
    strace.envs(server.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let process = ChildProcess::start(&mut strace);
    let ready = process.wait_for_line("is ready", PATIENCE);
    // The tracer says so; the server may run on without it.
    if process.output().contains("ptrace(") {
        return skip("processes may not be traced here");
    }
    ready.unwrap_or_else(|error| panic!("{error}"));
    let mut server = Daemon::of(process, "server", &state, ports[0]);
    let (store, source) = (root.join("store"), root.join("source"));
    server.must("datastore.create", json!({ "name": "main", "path": store }));
    std::fs::create_dir_all(&source).unwrap();
    server.add_task("home", &server.own_name(), &source);
    for round in 0..2 {
        let noise = simsim_testkit::Rng::new(round).bytes(3 << 20);
        std::fs::write(source.join(format!("noise-{round}")), noise).unwrap();
        let job = server.backup("home");
        assert_eq!(job["state"], "finished", "{job:#}");
    }
    assert_eq!(server.stop(), 0, "{}", server.process.output());
    // The tracer writes what is left when the server has gone.
    let whole = || std::fs::read_to_string(&trace).unwrap();
    let manifests = store.join("manifests");
    let named = |text: &str| text.matches(&*manifests.join("").to_string_lossy()).count();
    until("the trace is whole", || named(&whole()) >= 2);
    let calls = calls(&whole());

    let mut kept: Vec<(&Call, &Path, usize)> = Vec::new();
    for call in calls.iter().filter(|call| call.name.starts_with("rename") || call.name == "linkat")
    {
        let paths = call.paths();
        let (from, to) = (Path::new(paths[0]), Path::new(paths[1]));
        if !to.starts_with(&store) || !call.text.ends_with("= 0") {
            continue;
        }
        // Content, then the flush of it, then the name, then the flush of the name.
        let of_file = |call: &&Call| call.writes() && call.file() == from.to_str();
        let written = calls.iter().filter(of_file).map(|call| call.end).max();
        let written = written.unwrap_or_else(|| panic!("nothing is written to {call:?}"));
        let content = flushed(&calls, from, written);
        assert!(content < call.begin, "named before it is flushed: {call:?}");
        let folder = to.parent().unwrap();
        kept.push((call, to, flushed(&calls, folder, call.end)));
        // Folders that were made for it stay as well.
        for folder in folder.ancestors().take_while(|one| **one != *store) {
            let made = |call: &&Call| {
                call.name.starts_with("mkdir") && call.paths().first().copied() == folder.to_str()
            };
            let made =
                calls.iter().find(made).unwrap_or_else(|| panic!("{} is there", folder.display()));
            assert!(flushed(&calls, folder.parent().unwrap(), made.end) < call.begin, "{call:?}");
        }
    }
    let of = |kind: &str| {
        let folder = store.join(kind);
        kept.iter().filter(move |(_, to, _)| to.starts_with(&folder)).collect::<Vec<_>>()
    };
    let (packs, runs, manifests) = (of("packs"), of("index"), of("manifests"));
    assert_eq!((packs.len() >= 2, runs.len() >= 2, manifests.len()), (true, true, 2), "{kept:#?}");
    let before = |kind: &[&(&Call, &Path, usize)], line: usize| {
        kind.iter().filter(|(call, ..)| call.begin < line).map(|(.., end)| *end).max().unwrap()
    };
    for (round, (manifest, _, end)) in manifests.iter().enumerate() {
        let run = runs.iter().rfind(|(call, ..)| call.begin < manifest.begin).unwrap();
        assert!(before(&packs, run.0.begin) < run.0.begin, "round {round}: packs before the index");
        assert!(before(&runs, manifest.begin) < manifest.begin, "round {round}: the index before");
        let row = calls.iter().find(|call| {
            call.begin > *end && call.file().is_some_and(|file| file.ends_with("catalog.db-wal"))
        });
        let wal = row.and_then(Call::file).expect("the catalog is written after the manifest");
        flushed(&calls, Path::new(wal), *end);
    }
}
