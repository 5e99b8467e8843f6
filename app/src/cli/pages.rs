//! Pages that are made from the declarations of the command line: completions, manual pages, and
//! the reference in `docs/reference/cli.md`.

use std::any::TypeId;
use std::path::{Path, PathBuf};

use clap::{Arg, Command};
use simsim_model::Kind;

use super::screen::Screen;
use crate::exit::{self, Failure};

/// Verbs by what people want, for the first help page.
const GROUPS: [(&str, &[&str]); 6] = [
    ("Everyday", &["status", "backup", "restore", "verify", "quickstart"]),
    (
        "Look",
        &[
            "savesets", "saveset", "ls", "find", "search", "history", "diff", "jobs", "job",
            "logs", "queue", "report",
        ],
    ),
    (
        "Set up",
        &[
            "task",
            "task-group",
            "event",
            "command",
            "drill",
            "notification",
            "schedule",
            "calendar",
            "token",
            "client",
            "location",
            "datastore",
            "catalog",
            "drive-group",
            "pool",
            "retention",
            "approval",
            "interface",
            "rate",
            "replication",
            "migration",
            "config",
            "key",
            "user",
            "identity-provider",
            "api-token",
            "audit",
            "ports",
        ],
    ),
    ("When all else is lost", &["recover", "rescue"]),
    ("Run", &["server", "rds"]),
    ("Help", &["help", "man", "completions"]),
];

/// The command with its verbs grouped on the first help page.
pub fn grouped(command: Command) -> Command {
    let command = with_negative_numbers(command);
    let mut text = String::from("{about}\n\n{usage-heading} {usage}\n");
    for (title, names) in GROUPS {
        text.push_str(&format!("\n{title}:\n"));
        for name in names {
            let about = match command.find_subcommand(name).and_then(Command::get_about) {
                Some(about) => about.to_string(),
                None => "Print this page, or that of a verb".to_owned(),
            };
            text.push_str(&format!("  {name:<12} {about}\n"));
        }
    }
    text.push_str("\n{options}");
    command.help_template(text)
}

/// Where a number stands, one below zero is a wrong number and no option: the error says what there may be.
fn with_negative_numbers(command: Command) -> Command {
    let numbers =
        [TypeId::of::<u8>(), TypeId::of::<u16>(), TypeId::of::<u32>(), TypeId::of::<u64>()];
    let command = command.mut_args(|option| {
        let kind = option.get_value_parser().type_id();
        let is_number =
            option.get_action().takes_values() && numbers.iter().any(|number| kind == *number);
        if is_number { option.allow_negative_numbers(true) } else { option }
    });
    command.mut_subcommands(with_negative_numbers)
}

#[derive(clap::Args, Debug)]
pub struct ManArguments {
    /// The verb whose page is wanted, such as 'task add'
    #[arg(value_name = "VERB", conflicts_with = "folder")]
    verb: Vec<String>,
    /// Write all pages into this folder
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

/// Prints a completion script.
pub fn completions(
    mut command: Command,
    shell: clap_complete::Shell,
    screen: &Screen,
) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "simsim", &mut script);
    screen.bytes(&script)?;
    screen.flush()?;
    Ok(exit::DONE)
}

/// Prints one manual page, or writes them all.
pub fn man(mut command: Command, arguments: &ManArguments, screen: &Screen) -> Result<u8, Failure> {
    command.build();
    if let Some(folder) = &arguments.folder {
        std::fs::create_dir_all(folder).map_err(|error| {
            Failure::new(Kind::of_io(&error), format!("the folder {}: {error}", folder.display()))
        })?;
        let mut names = Vec::new();
        write_pages(&command, &mut vec!["simsim".to_owned()], folder, &mut names)?;
        names.into_iter().try_for_each(|name| screen.line(name))?;
        screen.flush()?;
        return Ok(exit::DONE);
    }
    let mut wanted = &command;
    let mut names = vec!["simsim".to_owned()];
    for verb in arguments.verb.iter().flat_map(|word| word.split_whitespace()) {
        wanted = wanted.find_subcommand(verb).ok_or_else(|| {
            Failure::new(Kind::NotFound, format!("there is no verb '{} {verb}'", names.join(" ")))
                .next("all verbs: simsim help")
        })?;
        names.push(verb.to_owned());
    }
    screen.bytes(&page(wanted, &names)?)?;
    screen.flush()?;
    Ok(exit::DONE)
}

fn page(command: &Command, names: &[String]) -> Result<Vec<u8>, Failure> {
    let command = command.clone().name(names.join("-")).bin_name(names.join(" "));
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(page)
}

fn write_pages(
    command: &Command,
    names: &mut Vec<String>,
    folder: &Path,
    written: &mut Vec<String>,
) -> Result<(), Failure> {
    let name = format!("{}.1", names.join("-"));
    std::fs::write(folder.join(&name), page(command, names)?).map_err(|error| {
        Failure::new(Kind::of_io(&error), format!("the page {}/{name}: {error}", folder.display()))
    })?;
    written.push(name);
    for verb in verbs(command) {
        names.push(verb.get_name().to_owned());
        write_pages(verb, names, folder, written)?;
        names.pop();
    }
    Ok(())
}

/// Prints `docs/reference/cli.md`.
pub fn reference(mut command: Command, screen: &Screen) -> Result<u8, Failure> {
    command.build();
    let mut text = String::from(
        "# Command line\n\nGenerated from the declarations of the command line by `cargo xtask docs`; not edited by hand.\n\n\
         [Exit statuses](exit-status.md) · [JSON documents](json.md)\n\n## Verbs\n\n| verb | does |\n|---|---|\n",
    );
    let mut sections = String::new();
    for verb in verbs(&command) {
        entry(verb, "simsim", &mut text, &mut sections);
    }
    text.push_str("\n## Options of every verb\n\n| option | meaning |\n|---|---|\n");
    for option in command.get_arguments().filter(|option| option.is_global_set()) {
        text.push_str(&row(option));
    }
    text.push_str(
        "\nEnvironment variables: [settings and environment](settings.md#environment).\n",
    );
    text.push_str(&sections);
    screen.bytes(text.as_bytes())?;
    screen.flush()?;
    Ok(exit::DONE)
}

fn entry(command: &Command, above: &str, list: &mut String, sections: &mut String) {
    let name = format!("{above} {}", command.get_name());
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let anchor = name.replace(' ', "-");
    list.push_str(&format!("| [`{name}`](#{anchor}) | {about} |\n"));
    let usage = command.clone().bin_name(&name).render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").trim();
    sections.push_str(&format!("\n## {name}\n\n{about}\n\n```text\n{usage}\n```\n"));
    if let Some(long) = command.get_long_about().map(ToString::to_string)
        && let Some(more) = long.strip_prefix(&about).map(str::trim).filter(|more| !more.is_empty())
    {
        sections.push_str(&format!("\n{more}\n"));
    }
    let own: Vec<&Arg> = command
        .get_arguments()
        .filter(|option| !option.is_global_set() && !option.is_hide_set())
        .filter(|option| !matches!(option.get_id().as_str(), "help" | "version"))
        .collect();
    if !own.is_empty() {
        sections.push_str("\n| | |\n|---|---|\n");
        own.iter().for_each(|option| sections.push_str(&row(option)));
    }
    for verb in verbs(command) {
        entry(verb, &name, list, sections);
    }
}

fn row(option: &Arg) -> String {
    let value = option
        .get_value_names()
        .map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        .unwrap_or_default();
    let takes_value = option.get_action().takes_values();
    let mut name = match (option.get_short(), option.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}"),
        (None, Some(long)) => format!("--{long}"),
        (Some(short), None) => format!("-{short}"),
        (None, None) => String::new(),
    };
    let is_joined = option.is_require_equals_set()
        && option.get_num_args().is_some_and(|number| number.min_values() == 0);
    if takes_value && is_joined {
        name.push_str(&format!("[=<{value}>]"));
    } else if takes_value {
        name.push_str(&if name.is_empty() { format!("<{value}>") } else { format!(" <{value}>") });
    }
    let mut meaning = option.get_help().map(ToString::to_string).unwrap_or_default();
    let choices: Vec<String> = option
        .get_possible_values()
        .iter()
        .filter(|_| takes_value)
        .map(|choice| match choice.get_help() {
            Some(help) => format!("`{}` ({help})", choice.get_name()),
            None => format!("`{}`", choice.get_name()),
        })
        .collect();
    if !choices.is_empty() {
        meaning.push_str(&format!(": {}", choices.join(", ")));
    }
    let default: Vec<_> = option
        .get_default_values()
        .iter()
        .filter(|_| takes_value && !option.is_hide_default_value_set())
        .map(|value| value.to_string_lossy().into_owned())
        .collect();
    if !default.is_empty() {
        meaning.push_str(&format!(" [default: {}]", default.join(" ")));
    }
    format!(
        "| `{}` | {} |\n",
        name.replace('|', "\\|"),
        meaning.replace('|', "\\|").replace('\n', " ")
    )
}

/// The verbs below a command that people see.
fn verbs(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_verb_stands_in_one_group() {
        let command = crate::CommandLine::command();
        command.clone().debug_assert();
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        grouped.retain(|name| *name != "help");
        grouped.sort_unstable();
        let mut there: Vec<&str> = verbs(&command).map(Command::get_name).collect();
        there.sort_unstable();
        assert_eq!(grouped, there);
    }
}
