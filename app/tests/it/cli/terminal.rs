//! What people see: colours, widths, names that would steer a terminal.

use std::io::Read;
use std::process::Stdio;

use super::house::{EVIL, EVIL_SHOWN, House};
use super::pty;

/// Colours taken away; panics where anything else steers the terminal.
fn calm(shown: &str) -> String {
    let mut text = String::new();
    let mut rest = shown;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        text.push_str(before);
        let end = after.find('m').unwrap_or_else(|| panic!("an escape without end in {shown:?}"));
        let code = &after[1..end];
        assert!(
            after.starts_with('[') && code.chars().all(|c| c.is_ascii_digit()),
            "no colour: {code:?} in {shown:?}"
        );
        rest = &after[end + 1..];
    }
    text.push_str(rest);
    let text = text.replace("\r\n", "\n");
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    text
}

#[test]
fn tables_fit_the_terminal_and_colours_can_be_turned_off() {
    let house = House::with_saveset();
    let wide = house.good(&["savesets"]);
    assert!(wide.contains("DATASTORE") && !wide.contains('\u{1b}'), "{wide}");
    for verb in [
        vec!["savesets"],
        vec!["jobs"],
        vec!["status"],
        vec!["audit", "list"],
        vec!["client", "list"],
        vec!["datastore", "list"],
        vec!["task", "list"],
        vec!["key", "domain", "list"],
    ] {
        for columns in [32, 60, 80, 120] {
            let (status, shown) = pty::shown(&mut house.command(&verb), columns);
            assert_eq!(status, Some(0), "{shown}");
            if verb != ["status"] {
                assert!(shown.contains("\u{1b}["), "no colours: {shown}");
                let longest = calm(&shown).lines().map(|line| line.chars().count()).max();
                assert!(longest <= Some(usize::from(columns)), "{columns}: {shown}");
            }
            let (_, plain) = pty::shown(house.command(&verb).env("NO_COLOR", "1"), columns);
            assert!(!plain.contains('\u{1b}'), "{plain}");
            let (_, plain) = pty::shown(house.command(&verb).args(["--color", "never"]), columns);
            assert!(!plain.contains('\u{1b}'), "{plain}");
        }
    }
    let (_, narrow) = pty::shown(&mut house.command(&["savesets"]), 40);
    let narrow = calm(&narrow);
    assert!(narrow.contains("SAVED") && !narrow.contains("DATASTORE"), "{narrow}");
    let colored = house.good(&["savesets", "--color", "always"]);
    assert!(colored.contains("\u{1b}[2mSAVESET\u{1b}[0m"), "{colored:?}");
}

#[test]
fn fid01_a_name_with_control_characters_never_reaches_the_terminal_and_can_be_restored() {
    let house = House::with_saveset();
    let tree = house.path("tree");
    std::fs::write(house.scratch.path().join("tree/\u{202e}gpj.exe"), "x").unwrap();
    house.good(&["backup", "home"]);
    for verb in [
        vec!["ls", "home", &tree],
        vec!["ls", "-l", "home", &tree],
        vec!["find", "*", "home"],
        vec!["diff", "latest", "home"],
    ] {
        let (status, shown) = pty::shown(&mut house.command(&verb), 200);
        assert_eq!(status, Some(0), "{shown}");
        let shown = calm(&shown);
        assert!(!shown.contains('\u{202e}'), "{shown}");
        assert!(verb[0] == "diff" || shown.contains(EVIL_SHOWN), "{shown}");
    }
    // Typed as it was printed, it is restored.
    let inside = format!("{tree}/{EVIL_SHOWN}");
    house.good(&["restore", "home", &inside, "--to", "back"]);
    let back = std::path::Path::new(&house.path("back")).join(&tree[1..]);
    assert_eq!(std::fs::read(back.join(EVIL)).unwrap(), b"evil");
    assert_eq!(std::fs::read_dir(&back).unwrap().count(), 1, "nothing else");
    // Errors are calm too.
    let (status, shown) =
        pty::shown(&mut house.command(&["ls", "home", "/no\u{1b}[2J\u{7}thing"]), 80);
    assert_eq!(status, Some(5));
    assert!(calm(&shown).contains("\\x1b[2J\\x07"), "{shown}");
}

#[test]
fn a_reader_that_goes_away_ends_a_verb_quietly() {
    let house = House::with_saveset();
    let many = house.scratch.path().join("tree/many");
    std::fs::create_dir(&many).unwrap();
    for number in 0..3000 {
        std::fs::write(many.join(format!("a-rather-long-name-of-a-file-{number:05}")), "").unwrap();
    }
    house.good(&["backup", "home"]);
    let many = many.to_str().unwrap();
    for verb in [vec!["ls", "home", many], vec!["ls", "home", many, "--json"]] {
        let mut child =
            house.command(&verb).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = [0; 16];
        child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(141));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
    // All of it, without a limit and in pages.
    assert_eq!(house.good(&["ls", "home", many]).lines().count(), 3000);
    let page = house.json(&["ls", "home", many, "-n", "2"]);
    assert_eq!((page["entries"].as_array().unwrap().len(), &page["more"]), (2, &true.into()));
    let name = "a-rather-long-name-of-a-file-02998";
    let page = house.json(&["ls", "home", many, "--after", name]);
    assert_eq!((page["entries"].as_array().unwrap().len(), &page["more"]), (1, &false.into()));
}

#[test]
fn progress_is_drawn_on_a_terminal_and_told_in_plain_lines_elsewhere() {
    let house = House::with_saveset();
    let (status, shown) =
        pty::shown(&mut house.command(&["backup", "home", "--level", "full"]), 80);
    assert_eq!(status, Some(0));
    assert!(shown.contains("job 2") && shown.contains("finished"), "{shown}");
    let output = house.run(&["backup", "home", "--level", "full"]);
    assert_eq!(output.status.code(), Some(0));
    let (out, err) = (super::house::text(&output.stdout), super::house::text(&output.stderr));
    assert!(!out.contains('\u{1b}') && !out.contains('\r') && err.is_empty(), "{out}{err}");
    assert!(out.starts_with("Job 3  finished in "), "{out}");
}
