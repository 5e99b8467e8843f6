//! Measures the way of a byte in one process: client, loopback HTTP, device, datastore.
//!
//! `cargo run --release -p simsim-device --example way_of_a_byte -- SOURCE [BETWEEN] [RUNS]`
//! backs SOURCE up, again unchanged, once more after the shell command BETWEEN (a "day two"),
//! restores, and verifies every byte, all in the temporary folder (`TMPDIR`). Prints wall and CPU seconds per step. Not
//! a substitute for `cargo xtask bench`, which measures the real daemons beside the peers.

use std::path::Path;
use std::time::Instant;

use simsim_control::verbs::*;

#[path = "../tests/it/bench.rs"]
#[allow(dead_code)]
mod bench;

use bench::*;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [source, rest @ ..] = &arguments[..] else {
        eprintln!("way_of_a_byte SOURCE [BETWEEN] [RUNS]");
        std::process::exit(2);
    };
    let between = rest.first().filter(|text| !text.is_empty());
    let runs = rest.get(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    run(async {
        for _ in 0..runs {
            round(Path::new(source), between.map(String::as_str)).await;
        }
    });
}

async fn round(source: &Path, between: Option<&str>) {
    let bench = Bench::new().await;
    let (first, _) = step("first", &bench, bench.backup(source, None)).await;
    let (second, _) = step("unchanged", &bench, bench.backup(source, Some(first))).await;
    let mut last = second;
    if let Some(command) = between {
        let done = std::process::Command::new("sh").args(["-c", command]).status();
        assert!(done.is_ok_and(|status| status.success()), "{command}");
        last = step("day two", &bench, bench.backup(source, Some(second))).await.0;
    }
    let target = bench.path("restored");
    step("restore", &bench, bench.restore(last, &target)).await;
    let domain_keys = vec![DomainKey { domain: DOMAIN, key: key() }];
    let verify = VerifyDatastore {
        store: STORE,
        job: bench.number(),
        mode: VerifyMode::Bytes,
        domain_keys,
        saveset: None,
        mend: false,
    };
    let reply = step("verify", &bench, bench.device(verify)).await;
    println!("  {:?}", reply.map(|reply| (reply.result.outcome, reply.segments, reply.bytes)));
}

async fn step<T: std::fmt::Debug>(
    name: &str,
    bench: &Bench,
    work: impl std::future::Future<Output = T>,
) -> T {
    let (begun, before) = (Instant::now(), cpu());
    let done = work.await;
    let (wall, after) = (begun.elapsed().as_secs_f64(), cpu());
    println!(
        "{name:10} wall {wall:7.3} s  user {:7.3}  system {:7.3}  store {:9.3} MB  peak {:.0} MiB",
        after.0 - before.0,
        after.1 - before.1,
        size(&bench.path("store")) as f64 / 1e6,
        status_kib("VmHWM:") as f64 / 1024.0,
    );
    let text = format!("{done:?}");
    if !text.contains("outcome: Finished,") && !text.contains("Finished") {
        println!("  {text:.2000}");
    }
    done
}

/// User and system seconds of this process.
fn cpu() -> (f64, f64) {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> =
        text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks =
        |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0) / 100.0;
    (ticks(11), ticks(12))
}

fn status_kib(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

fn size(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => size(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}
