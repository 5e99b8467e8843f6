//! What a child printed before an act of ours is in its output after the act.

use std::process::Command;
use std::time::{Duration, Instant};

use simsim_testkit::{ChildProcess, Scratch};

#[test]
fn what_was_printed_before_a_file_appeared_is_in_the_output() {
    for turn in 0..50 {
        let scratch = Scratch::new();
        let done = scratch.path().join("done");
        let script =
            "for i in 1 2 3 4 5 6 7 8; do echo line $i; done; echo last >&2; : > \"$0\"; sleep 60";
        let mut child = ChildProcess::start(Command::new("sh").args(["-c", script]).arg(&done));
        let deadline = Instant::now() + Duration::from_secs(30);
        while !done.exists() {
            assert!(Instant::now() < deadline, "turn {turn}: the script does not run");
        }
        let output = child.output();
        assert_eq!(output.lines().count(), 9, "turn {turn}: {output}");
        assert!(output.contains("line 8\n") && output.contains("last\n"), "turn {turn}: {output}");
        child.kill();
    }
}

#[test]
fn a_last_line_without_an_end_and_a_line_that_is_waited_for_are_seen() {
    let script = "sleep 0.1; echo ready; printf 'no end'";
    let mut child = ChildProcess::start(Command::new("sh").args(["-c", script]));
    assert_eq!(child.wait_for_line("ready", Duration::from_secs(30)), Ok("ready".to_owned()));
    assert!(child.wait(Duration::from_secs(30)).is_some());
    assert_eq!(child.wait_for_line("no end", Duration::from_secs(30)), Ok("no end".to_owned()));
    let missing = child.wait_for_line("never", Duration::from_secs(30)).unwrap_err();
    assert!(missing.contains("the process ended") && missing.contains("ready"), "{missing}");
}
