//! `simsim datastore`: datastores, their drives, and making their books again.

use std::path::PathBuf;

use simsim_model::{CutParameters, Kind};
use simsim_server::api::{
    AddDriveRequest, AttachDatastoreRequest, CatalogRebuildReply, CatalogRebuildRequest,
    ChangeDriveRequest, CollectGarbageRequest, CreateDatastoreRequest, DamageRequest, DamageView,
    DatastoreRequest, DatastoreView, DetachReply, DriveRequest, DriveView, JobReply,
    RebuildIndexRequest, ScrubOptions, ScrubRequest, TaskListRequest, TaskView,
};

use super::context::Context;
use super::follow;
use super::kit;
use super::lists;
use super::paths;
use super::screen::Screen;
use super::table::{Column, Table, facts};
use super::text::{Style, Text};
use super::words::{count, counted, parse_size, size, when_exactly};
use crate::exit::{self, Failure};

#[derive(clap::Subcommand, Debug)]
pub enum DatastoreVerb {
    /// Make a datastore, with its first drive
    Create {
        /// Its name
        name: String,
        /// An empty or absent folder on the device's host
        folder: PathBuf,
        /// The host with a device that keeps it [default: the server's own]
        #[arg(long, value_name = "CLIENT")]
        node: Option<String>,
        /// Mean size of chunks, fixed for good: a power of two, such as 64KiB. Smaller ones find
        /// more duplicates and cost index [default: 64KiB]
        #[arg(long, value_name = "SIZE", value_parser = parse_cut)]
        chunk_size: Option<CutParameters>,
        #[command(flatten)]
        drive: DriveArguments,
    },
    /// Take a datastore into service that exists: after a loss, a move, or of another server
    Attach {
        /// Its folder on the device's host
        folder: PathBuf,
        /// The host with a device that keeps it [default: the server's own]
        #[arg(long, value_name = "CLIENT")]
        node: Option<String>,
    },
    /// Take a datastore out of service; its savesets stay listed
    Detach {
        /// The datastore
        name: String,
    },
    /// Forget a datastore that is out of service and in which no saveset is listed; its folder stays as it is
    Remove {
        /// The datastore
        name: String,
    },
    /// List datastores, with what their devices say
    List(lists::Datastores),
    /// Add a drive: another numbered path to a datastore
    AddDrive {
        /// The datastore
        name: String,
        #[command(flatten)]
        drive: DriveArguments,
    },
    /// List drives
    Drives,
    /// Show a drive, and what uses it
    ShowDrive {
        /// Its number
        number: u32,
    },
    /// Change how many jobs a drive takes at once
    ChangeDrive {
        /// Its number
        number: u32,
        /// Jobs at once
        #[arg(long, value_name = "NUMBER")]
        jobs: u32,
    },
    /// Remove a drive: its port is closed. Its number stays with its datastore, and may be added there again
    RemoveDrive {
        /// Its number
        number: u32,
    },
    /// Make a datastore's index again from its packs, and manifests that are lost
    RebuildIndex {
        /// The datastore [default: the only one]
        name: Option<String>,
        /// Do not wait for the end
        #[arg(long)]
        detach: bool,
    },
    /// Check what was checked longest ago, without keys: run by run everything comes round. What is damaged is healed from
    /// copies where a replication knows the datastore
    Scrub {
        /// The datastore [default: the only one]
        name: Option<String>,
        /// At most so much of it, such as 200GB [default: all]
        #[arg(long, value_name = "SIZE", value_parser = parse_size)]
        size: Option<u64>,
        /// At most so long
        #[arg(long, value_name = "NUMBER")]
        minutes: Option<u32>,
        /// Do not wait for the end
        #[arg(long)]
        detach: bool,
    },
    /// List savesets that are known to be damaged, and what would put them right
    Damage {
        /// The datastore [default: all]
        name: Option<String>,
    },
    /// Show a datastore: its drives, what its device says, and since when everything in it was checked
    Show {
        /// The datastore
        name: String,
    },
    /// Remove what no saveset needs: what broken backups left, and what only deleted savesets had
    Collect {
        /// The datastore [default: the only one]
        name: Option<String>,
        /// Remove more than half of the datastore, if that much is not needed
        #[arg(long)]
        over_budget: bool,
        /// Do not wait for the end
        #[arg(long)]
        detach: bool,
    },
    /// Make the catalog's list of savesets again from the datastores
    RebuildCatalog {
        /// Only from this datastore
        name: Option<String>,
        /// The recovery kit, for keys that this server does not have; '-' reads standard input
        #[arg(long, value_name = "FILE")]
        kit: Option<PathBuf>,
    },
}

#[derive(clap::Args, Debug)]
pub struct DriveArguments {
    /// The number of the drive [default: the next one never used]
    #[arg(long, value_name = "NUMBER")]
    drive: Option<u32>,
    /// Jobs that the drive takes at once
    #[arg(long, value_name = "NUMBER")]
    jobs: Option<u32>,
}

/// Bounds of chunks from their mean: a quarter of it and four times it.
fn takes(drive: &DriveView) -> String {
    let jobs = counted(drive.jobs_max.into(), "job");
    format!("drive {} takes {jobs} at once", drive.number)
}

fn drive_text(screen: &Screen, drive: &DriveView, tasks: &[TaskView]) -> Result<(), Failure> {
    screen.line(Text::new().bold(format!("Drive {}", drive.number)))?;
    let tasks: Vec<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
    screen.lines(facts(&[
        ("datastore", drive.datastore.as_str().into()),
        ("jobs at once", drive.jobs_max.to_string().into()),
        ("drive group", drive.group.as_deref().unwrap_or_default().into()),
        ("tasks", tasks.join(", ").into()),
    ]))
}

fn drive_table(drives: &[DriveView]) -> Table {
    let mut table = Table::new([
        Column::new("DRIVE").right(),
        Column::new("DATASTORE").cut_to(12),
        Column::new("JOBS AT ONCE").right(),
        Column::new("GROUP").rank(1),
    ]);
    for one in drives {
        table.row([
            Text::new().bold(one.number.to_string()),
            one.datastore.as_str().into(),
            one.jobs_max.to_string().into(),
            one.group.as_deref().unwrap_or_default().into(),
        ]);
    }
    table
}

fn parse_cut(text: &str) -> Result<CutParameters, String> {
    let mean = u32::try_from(parse_size(text)?).map_err(|_| "that is too large".to_owned())?;
    let cut = CutParameters { min: mean / 4, mean, max: mean.saturating_mul(4) };
    if cut.is_valid() {
        Ok(cut)
    } else {
        Err("chunks have a power of two between 256 bytes and 2 MiB, such as 64KiB".to_owned())
    }
}

pub async fn run(cx: &Context, verb: DatastoreVerb) -> Result<u8, Failure> {
    match verb {
        DatastoreVerb::Create { name, folder, node, chunk_size, drive } => {
            let path = folder_on(&folder, node.as_deref())?;
            let request = CreateDatastoreRequest {
                name,
                node,
                path,
                drive: drive.drive,
                jobs_max: drive.jobs,
                cut: chunk_size,
            };
            one(cx, cx.ask("datastore.create", &request).await?)
        }
        DatastoreVerb::Attach { folder, node } => {
            let path = folder_on(&folder, node.as_deref())?;
            let request = AttachDatastoreRequest { node, path };
            let datastore: DatastoreView = cx.ask("datastore.attach", &request).await?;
            if !cx.screen.is_json() && datastore.savesets == 0 {
                cx.screen.aside(format!(
                    "to list the savesets in it: simsim datastore rebuild-catalog {}",
                    datastore.name
                ));
            }
            one(cx, datastore)
        }
        DatastoreVerb::Detach { name } => {
            let reply: DetachReply = cx.ask("datastore.detach", &DatastoreRequest { name }).await?;
            cx.show(&reply, |screen, reply| {
                list_text(screen, std::slice::from_ref(&reply.datastore))?;
                if !reply.used_by.is_empty() {
                    screen.aside(format!(
                        "{} cannot use it before it is attached again",
                        reply.used_by.join(", ")
                    ));
                }
                Ok(())
            })?;
            Ok(exit::DONE)
        }
        DatastoreVerb::List(wanted) => {
            let request = wanted.request();
            let datastores: Vec<DatastoreView> = cx.ask("datastore.list", &request).await?;
            cx.show(&datastores, |screen, datastores| {
                if datastores.is_empty() {
                    let make = "no datastores; make one: simsim datastore create NAME FOLDER";
                    lists::nothing(screen, &request, make);
                    return Ok(());
                }
                list_text(screen, datastores)
            })?;
            Ok(exit::DONE)
        }
        DatastoreVerb::Damage { name } => {
            let request = DamageRequest { datastore: name };
            let damaged: Vec<DamageView> = cx.ask("datastore.damage", &request).await?;
            cx.show(&damaged, |screen, damaged| damage_text(screen, damaged))?;
            Ok(if damaged.is_empty() { exit::DONE } else { exit::WITH_ERRORS })
        }
        DatastoreVerb::Remove { name } => {
            let _: () =
                cx.ask("datastore.remove", &DatastoreRequest { name: name.clone() }).await?;
            cx.show(&serde_json::json!({ "removed": name }), |screen, _| {
                screen.line(format!(
                    "datastore '{name}' is gone from the lists; its folder stays as it is"
                ))
            })?;
            Ok(exit::DONE)
        }
        DatastoreVerb::Drives => {
            let drives: Vec<DriveView> = cx.ask_plain("drive.list").await?;
            cx.show(&drives, |screen, drives| screen.table(&drive_table(drives)))?;
            Ok(exit::DONE)
        }
        DatastoreVerb::ShowDrive { number } => {
            let drive: DriveView = cx.ask("drive.show", &DriveRequest { number }).await?;
            let request = TaskListRequest::default();
            let mut tasks: Vec<TaskView> = cx.beside("task.list", &request).await?;
            tasks.retain(|task| task.drive == Some(drive.number));
            cx.show(&drive, |screen, drive| drive_text(screen, drive, &tasks))?;
            Ok(exit::DONE)
        }
        DatastoreVerb::ChangeDrive { number, jobs } => {
            let request = ChangeDriveRequest { number, jobs_max: jobs };
            let drive: DriveView = cx.ask("drive.change", &request).await?;
            cx.show(&drive, |screen, drive| screen.line(takes(drive)))?;
            Ok(exit::DONE)
        }
        DatastoreVerb::RemoveDrive { number } => {
            let drive: DriveView = cx.ask("drive.remove", &DriveRequest { number }).await?;
            cx.show(&drive, |screen, drive| {
                screen.line(format!("drive {} of '{}' is gone", drive.number, drive.datastore))
            })?;
            Ok(exit::DONE)
        }
        DatastoreVerb::AddDrive { name, drive } => {
            let request =
                AddDriveRequest { datastore: name, number: drive.drive, jobs_max: drive.jobs };
            let drive: DriveView = cx.ask("drive.add", &request).await?;
            cx.show(&drive, |screen, drive| screen.line(takes(drive)))?;
            Ok(exit::DONE)
        }
        DatastoreVerb::RebuildIndex { name, detach } => {
            let request = RebuildIndexRequest { datastore: name };
            let reply: JobReply = cx.ask("datastore.rebuild-index", &request).await?;
            follow::run_to_end(cx, reply, detach).await
        }
        DatastoreVerb::Scrub { name, size, minutes, detach } => {
            let budget = ScrubOptions { bytes_max: size, minutes_max: minutes };
            let request = ScrubRequest { datastore: name, budget };
            let reply: JobReply = cx.ask("datastore.scrub", &request).await?;
            follow::run_to_end(cx, reply, detach).await
        }
        DatastoreVerb::Show { name } => {
            let datastores: Vec<DatastoreView> = cx.ask_plain("datastore.list").await?;
            let Some(found) = datastores.into_iter().find(|one| one.name == name) else {
                return Err(Failure::new(
                    Kind::NotFound,
                    format!(
                        "there is no datastore '{name}': 'simsim datastore list' shows those that are there"
                    ),
                ));
            };
            cx.show(&found, detail)?;
            Ok(exit::DONE)
        }
        DatastoreVerb::Collect { name, over_budget, detach } => {
            let request = CollectGarbageRequest { datastore: name, over_budget };
            let reply: JobReply = cx.ask("datastore.collect", &request).await?;
            follow::run_to_end(cx, reply, detach).await
        }
        DatastoreVerb::RebuildCatalog { name, kit } => {
            let kit = kit.as_deref().map(kit::read_text).transpose()?;
            let request =
                CatalogRebuildRequest { datastore: name, kit: kit.map(|kit| kit.to_string()) };
            let reply: CatalogRebuildReply = cx.ask("catalog.rebuild", &request).await?;
            cx.show(&reply, rebuilt_text)?;
            let damaged = reply.datastores.iter().any(|one| !one.damaged.is_empty());
            Ok(if damaged { exit::WITH_ERRORS } else { exit::DONE })
        }
    }
}

fn folder_on(folder: &std::path::Path, node: Option<&str>) -> Result<String, Failure> {
    match node {
        Some(node) => paths::of_other_host(folder, node),
        None => paths::of_this_host(folder),
    }
}

fn one(cx: &Context, datastore: DatastoreView) -> Result<u8, Failure> {
    cx.show(&datastore, |screen, datastore| list_text(screen, std::slice::from_ref(datastore)))?;
    Ok(exit::DONE)
}

fn detail(screen: &Screen, datastore: &DatastoreView) -> Result<(), Failure> {
    list_text(screen, std::slice::from_ref(datastore))?;
    let Some(device) = &datastore.device else { return Ok(()) };
    let checked = match (device.packs, device.packs_never_checked, device.checked_since_unix_ms) {
        (0, _, _) => "there is nothing to check yet".to_owned(),
        (_, 0, Some(since)) => format!("everything since {}", when_exactly(since)),
        (packs, never, Some(since)) => format!(
            "{} of {} since {}; the others never",
            count(packs - never.min(packs)),
            counted(packs, "pack"),
            when_exactly(since)
        ),
        (packs, ..) => format!("none of {}: 'simsim datastore scrub' does", counted(packs, "pack")),
    };
    screen.lines(facts(&[("checked", checked.into())]))
}

fn damage_text(screen: &Screen, damaged: &[DamageView]) -> Result<(), Failure> {
    if damaged.is_empty() {
        screen.line("no saveset is known to be damaged")?;
        screen.aside("what a check of a whole datastore found: simsim jobs");
        return Ok(());
    }
    let mut table = Table::new([
        Column::new("SAVESET"),
        Column::new("DATASTORE").cut_to(20),
        Column::new("CLIENT").cut_to(20),
        Column::new("TASK").cut_to(20),
        Column::new("FOUND"),
        Column::new("SOUND IN").cut_to(20),
    ]);
    for one in damaged {
        table.row([
            Text::styled(Style::Bad, one.saveset.short()),
            one.datastore.as_str().into(),
            one.client.as_str().into(),
            one.task.as_str().into(),
            when_exactly(one.found_unix_ms).into(),
            one.sound_in.join(", ").as_str().into(),
        ]);
    }
    screen.table(&table)?;
    let mut told: Vec<String> = damaged
        .iter()
        .flat_map(|one| {
            let store = &one.datastore;
            one.healed_by.iter().map(move |by| format!("simsim replication heal {by} {store}"))
        })
        .collect();
    told.sort_unstable();
    told.dedup();
    for line in told {
        screen.aside(Text::new().dim("  → ").plain(format!("put it right: {line}")));
    }
    if damaged.iter().any(|one| one.healed_by.is_empty()) {
        screen.aside(
            "  the next backup of a task brings again what its files still hold; the rest is lost",
        );
    }
    Ok(())
}

fn list_text(screen: &Screen, datastores: &[DatastoreView]) -> Result<(), Failure> {
    let mut table = Table::new([
        Column::new("DATASTORE").cut_to(10),
        Column::new("STATE").cut_to(12),
        Column::new("HOST").cut_to(6).rank(3),
        Column::new("SAVESETS").right().rank(5),
        Column::new("STORED").right(),
        Column::new("FREE").right().rank(1),
        Column::new("DRIVES").rank(6),
        Column::new("FOLDER").cut_to(12).rank(4),
    ]);
    for datastore in datastores {
        let drives: Vec<String> = datastore
            .drives
            .iter()
            .map(|drive| format!("{} ({} jobs)", drive.number, drive.jobs_max))
            .collect();
        let device = datastore.device.as_ref();
        table.row([
            Text::new().bold(&datastore.name),
            state_of(datastore),
            datastore.node.as_str().into(),
            count(datastore.savesets).into(),
            device.map_or_else(Text::new, |device| size(device.packs_bytes).into()),
            device.map_or_else(Text::new, |device| {
                let free =
                    format!("{} of {}", size(device.free_bytes), size(device.capacity_bytes));
                Text::from(free)
            }),
            drives.join(", ").into(),
            datastore.path.as_str().into(),
        ]);
    }
    screen.table(&table)?;
    for datastore in datastores {
        if let Some(trouble) = &datastore.trouble
            && datastore.state == "active"
        {
            screen.line(Text::styled(Style::Warn, format!("{}: {trouble}", datastore.name)))?;
        }
    }
    Ok(())
}

fn state_of(datastore: &DatastoreView) -> Text {
    match (datastore.state.as_str(), &datastore.device) {
        ("active", Some(device)) => {
            let style = if device.condition == "ready" { Style::Good } else { Style::Warn };
            Text::styled(style, &device.condition)
        }
        ("active", None) => Text::styled(Style::Warn, "not reached"),
        (other, _) => Text::styled(Style::Dim, other),
    }
}

fn rebuilt_text(screen: &Screen, reply: &CatalogRebuildReply) -> Result<(), Failure> {
    let mut table = Table::new([
        Column::new("DATASTORE").cut_to(10),
        Column::new("ADDED").right(),
        Column::new("CORRECTED").right(),
        Column::new("UNCHANGED").right(),
        Column::new("MISSING").right(),
        Column::new("NEW DOMAINS").right().rank(1),
        Column::new("DAMAGED").right(),
    ]);
    for one in &reply.datastores {
        table.row([
            Text::new().bold(&one.datastore),
            count(one.rows.added).into(),
            count(one.rows.corrected).into(),
            count(one.rows.unchanged).into(),
            count(one.rows.missing).into(),
            count(one.domains_found).into(),
            count(one.damaged.len() as u64).into(),
        ]);
    }
    screen.table(&table)?;
    for one in &reply.datastores {
        for damaged in &one.damaged {
            screen.line(Text::styled(Style::Bad, format!("{}: {damaged}", one.datastore)))?;
        }
    }
    Ok(())
}
