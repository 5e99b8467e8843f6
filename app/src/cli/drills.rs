//! `simsim drill`: restores for a test, and the evidence of them.

use std::path::PathBuf;

use simsim_model::Kind;
use simsim_server::api::{
    DrillDocument, DrillEvidence, DrillJobRequest, DrillListRequest, DrillOptions, DrillRequest,
    DrillSaveset, DrillVerified, DrillView, JobReply,
};

use super::context::Context;
use super::follow;
use super::paths;
use super::screen::Screen;
use super::table::{Column, Table, facts};
use super::text::{Style, Text};
use super::words::{count, lasting, parse_size, size, when, when_exactly};
use crate::exit::{self, Failure};

#[derive(clap::Subcommand, Debug)]
pub enum DrillVerb {
    /// Restore a sample of a task into a scratch place now, compare it with the saveset, and remove it
    Run {
        /// The task
        task: String,
        /// This one of its savesets [default: the newest]
        #[arg(long, value_name = "ID", conflicts_with = "random")]
        saveset: Option<String>,
        /// Take the same files as the drill that had this seed
        #[arg(long)]
        seed: Option<u64>,
        #[command(flatten)]
        options: DrillArguments,
        /// Do not wait for the end
        #[arg(long)]
        detach: bool,
    },
    /// List drills, the newest first
    List {
        /// Only of this task
        #[arg(long)]
        task: Option<String>,
        /// Only of data of this client
        #[arg(long)]
        client: Option<String>,
        /// Only those that did not pass
        #[arg(long)]
        failed: bool,
        /// Only drills with a lower number: what came before
        #[arg(long, value_name = "DRILL")]
        before: Option<u64>,
        /// At most so many, the newest
        #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 25)]
        limit: u32,
    },
    /// Show all about a drill
    Show {
        /// Its number, which is that of its job
        drill: u64,
    },
    /// Print the signed evidence of a drill, to be kept elsewhere
    Evidence {
        /// Its number
        drill: u64,
    },
    /// Check evidence: that the server signed it, and that the audit log has it
    VerifyEvidence {
        /// The drill, or a file that 'simsim drill evidence' printed
        #[arg(value_name = "DRILL|FILE")]
        what: String,
    },
}

#[derive(clap::Args, Debug, Default)]
pub struct DrillArguments {
    /// At most so many files, taken by chance; the largest and the newest are always among them [default: 100]
    #[arg(long, value_name = "NUMBER", conflicts_with = "everything")]
    sample_files: Option<u32>,
    /// At most so much, but for these two [default: 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size, conflicts_with = "everything")]
    sample_size: Option<u64>,
    /// Restore the whole saveset in place of a sample
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false", require_equals = true)]
    everything: Option<bool>,
    /// Any saveset of the task in place of the newest
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false", require_equals = true)]
    random: Option<bool>,
    /// Restore on this client in place of the one that was backed up; 'default': on that one
    #[arg(long = "on", value_name = "CLIENT")]
    on: Option<String>,
    /// Make the scratch place in this folder of that client; 'default': in the client's own
    #[arg(long, value_name = "FOLDER")]
    scratch: Option<PathBuf>,
    /// Also read and compare the sources that stand as they were backed up
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false", require_equals = true)]
    compare_source: Option<bool>,
    /// Read the copy in this datastore; 'default': where the saveset was made
    #[arg(long = "read-copy", value_name = "DATASTORE")]
    read_copy: Option<String>,
}

impl DrillArguments {
    /// Whether anything of it was given.
    pub fn is_given(&self) -> bool {
        self.sample_files.is_some()
            || self.sample_size.is_some()
            || self.everything.is_some()
            || self.random.is_some()
            || self.on.is_some()
            || self.scratch.is_some()
            || self.compare_source.is_some()
            || self.read_copy.is_some()
    }

    /// Puts what was given in the place of what there is.
    pub fn apply(self, options: &mut DrillOptions) -> Result<(), Failure> {
        let named = |given: String| Some(given).filter(|name| name != "default");
        if let Some(files) = self.sample_files {
            (options.files, options.all) = (Some(files), false);
        }
        if let Some(bytes) = self.sample_size {
            (options.bytes, options.all) = (Some(bytes), false);
        }
        if let Some(all) = self.everything {
            options.all = all;
            if all {
                (options.files, options.bytes) = (None, None);
            }
        }
        if let Some(random) = self.random {
            options.saveset = if random { DrillSaveset::Random } else { DrillSaveset::Newest };
        }
        if let Some(client) = self.on {
            options.client = named(client);
        }
        if let Some(folder) = self.scratch {
            options.folder = match folder.as_os_str() == "default" {
                true => None,
                false => Some(paths::of_other_host(&folder, "that client")?),
            };
        }
        if let Some(compare) = self.compare_source {
            options.compare_source = compare;
        }
        if let Some(copy) = self.read_copy {
            options.copy = named(copy);
        }
        Ok(())
    }
}

pub async fn run(cx: &Context, verb: DrillVerb) -> Result<u8, Failure> {
    match verb {
        DrillVerb::Run { task, saveset, seed, options: arguments, detach } => {
            let mut options = DrillOptions::default();
            arguments.apply(&mut options)?;
            let request = DrillRequest { task, saveset, seed, options };
            let reply: JobReply = cx.ask("drill.run", &request).await?;
            return follow::run_to_end(cx, reply, detach).await;
        }
        DrillVerb::List { task, client, failed, before, limit } => {
            let passed = failed.then_some(false);
            let request = DrillListRequest { task, client, passed, before, limit };
            let views: Vec<DrillView> = cx.ask("drill.list", &request).await?;
            cx.show(&views, |screen, views| {
                if views.is_empty() {
                    screen.aside("no restore drill yet; run one: simsim drill run TASK");
                    return Ok(());
                }
                screen.table(&table(views))
            })?;
        }
        DrillVerb::Show { drill } => {
            let view: DrillView = cx.ask("drill.show", &DrillJobRequest { drill }).await?;
            cx.show(&view, |screen, view| {
                let document = &view.document;
                detail(screen, document)?;
                let row = format!("row {} of the audit log", view.audit_position);
                screen.lines(facts(&[("evidence in", row.into())]))
            })?;
        }
        DrillVerb::Evidence { drill } => {
            let evidence: DrillEvidence =
                cx.ask("drill.evidence", &DrillJobRequest { drill }).await?;
            // A document either way: it is kept, and checked later.
            cx.show(&evidence, |screen, evidence| {
                let text = serde_json::to_string_pretty(evidence)
                    .map_err(|error| Failure::new(Kind::Internal, error.to_string()))?;
                screen.bytes(format!("{text}\n").as_bytes())
            })?;
        }
        DrillVerb::VerifyEvidence { what } => {
            let evidence: DrillEvidence = match what.parse::<u64>() {
                Ok(drill) => cx.ask("drill.evidence", &DrillJobRequest { drill }).await?,
                Err(_) => read(&what)?,
            };
            let verified: DrillVerified = cx.ask("drill.verify", &evidence).await?;
            cx.show(&verified, verdict)?;
            if !verified.holds {
                return Ok(Failure::new(Kind::Corrupt, "").status());
            }
        }
    }
    Ok(exit::DONE)
}

fn read(file: &str) -> Result<DrillEvidence, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::new(Kind::of_io(&error), format!("the file {file}: {error}")))?;
    serde_json::from_str(&text).map_err(|error| {
        Failure::new(
            Kind::Invalid,
            format!("the file {file} holds no evidence of a drill: {error}"),
        )
        .next("print it with: simsim drill evidence DRILL > FILE")
    })
}

fn verdict(screen: &Screen, verified: &DrillVerified) -> Result<(), Failure> {
    if verified.holds {
        screen.line(Text::styled(Style::Good, "the evidence holds").plain(format!(
            ": this server signed it, and its hash stands in the audit log, drill {}",
            verified.drill
        )))?;
    } else {
        screen.line(Text::styled(Style::Bad, "the evidence does not hold"))?;
        for finding in &verified.findings {
            screen.line(Text::from("  • ").plain(finding))?;
        }
    }
    match &verified.document {
        Some(document) if verified.holds => detail(screen, document),
        _ => Ok(()),
    }
}

/// How drills of an event go.
pub fn in_words(options: &DrillOptions) -> String {
    let mut words = vec![match options.all {
        true => "everything".to_owned(),
        false => {
            let files = options.files.unwrap_or(100);
            let bytes = options.bytes.unwrap_or(1 << 30);
            format!("a sample of {} files and {}", count(files.into()), size(bytes))
        }
    }];
    if options.saveset == DrillSaveset::Random {
        words.push("of any saveset".to_owned());
    }
    let named = [("on", &options.client), ("in", &options.folder), ("from", &options.copy)];
    words
        .extend(named.iter().filter_map(|(word, name)| Some(format!("{word} {}", name.as_ref()?))));
    if options.compare_source {
        words.push("and the sources".to_owned());
    }
    words.join(", ")
}

fn passed(passed: bool) -> Text {
    match passed {
        true => Text::styled(Style::Good, "passed"),
        false => Text::styled(Style::Bad, "did not pass"),
    }
}

fn duration(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        _ => lasting(std::time::Duration::from_millis(ms)),
    }
}

fn table(views: &[DrillView]) -> Table {
    let mut table = Table::new([
        Column::new("DRILL").right(),
        Column::new("ENDED"),
        Column::new("TASK").cut_to(10),
        Column::new("SAVESET").rank(2),
        Column::new("FROM").cut_to(8).rank(3),
        Column::new("FILES").right().rank(1),
        Column::new("SIZE").right().rank(1),
        Column::new("ALL WOULD TAKE").right().rank(4),
        Column::new("RESULT"),
    ]);
    for view in views {
        let document = &view.document;
        let result = document.result.as_ref();
        table.row([
            view.drill.to_string().into(),
            when(view.ended_unix_ms).into(),
            Text::new().bold(&document.task),
            document.saveset.get(..8).unwrap_or_default().into(),
            document.datastore.as_str().into(),
            result.map_or_else(Text::new, |it| count(it.files).into()),
            result.map_or_else(Text::new, |it| size(it.bytes).into()),
            document.restore_all_ms.map_or_else(Text::new, |ms| duration(ms).into()),
            passed(view.passed),
        ]);
    }
    table
}

fn detail(screen: &Screen, document: &DrillDocument) -> Result<(), Failure> {
    screen.line(Text::new().bold(format!("Restore drill {}", document.drill)))?;
    let copy = if document.is_copy { ", a copy" } else { "" };
    let what = match document.all {
        true => "everything".to_owned(),
        false => format!("a sample by seed {}", document.seed),
    };
    let mut lines: Vec<(&str, Text)> = vec![
        ("result", passed(document.passed)),
        ("task", format!("{} of {}", document.task, document.client).into()),
        ("saveset", document.saveset.as_str().into()),
        ("read from", format!("datastore {}{copy}", document.datastore).into()),
        ("restored on", document.restored_on.as_str().into()),
        ("restored", what.into()),
    ];
    if let Some(result) = &document.result {
        let (files, of) = (count(result.files), count(result.files_of));
        let (bytes, bytes_of) = (size(result.bytes), size(result.bytes_of));
        lines.push(("files", format!("{files} of {of}").into()));
        lines.push(("size", format!("{bytes} of {bytes_of}").into()));
        lines.push(("restored in", duration(result.restore_ms).into()));
        lines.push(("compared in", duration(result.compare_ms).into()));
        if document.compared_source {
            let (same, changed) = (count(result.sources_same), count(result.sources_changed));
            let text = format!("{same} the same, {changed} changed since or not to be read");
            lines.push(("sources", text.into()));
        }
        lines.push(("differences", count(result.differences_total).into()));
    }
    if let Some(ms) = document.restore_all_ms {
        lines.push(("all would take", duration(ms).into()));
    }
    if let Some(error) = &document.error {
        lines.push(("why", error.as_str().into()));
    }
    lines.push(("ended", when_exactly(document.ended_unix_ms).into()));
    lines.push(("asked for by", document.requested_by.as_str().into()));
    screen.lines(facts(&lines))?;
    for line in document.result.iter().flat_map(|result| &result.differences) {
        screen.line(Text::from("  • ").plain(line))?;
    }
    Ok(())
}
