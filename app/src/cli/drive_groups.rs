//! `simsim drive-group add | change | list | show | remove`: drives of which jobs use whichever is free.

use simsim_server::api::{
    DriveGroupNameRequest, DriveGroupRequest, DriveGroupView, GroupDriveView,
};

use super::context::Context;
use super::screen::Screen;
use super::table::{Column, Table, facts};
use super::text::{Style, Text};
use super::words::{counted, when_exactly};
use crate::exit::{self, Failure};

#[derive(clap::Subcommand, Debug)]
pub enum DriveGroupVerb {
    /// Make a group of drives; tasks that are given it use whichever is free
    Add {
        /// Its name
        name: String,
        /// Numbers of drives, of one datastore or of several; a drive is in one group at most
        #[arg(required = true, value_name = "DRIVE")]
        drives: Vec<u32>,
    },
    /// Give a group these drives and no others; jobs that run go on where they are
    Change {
        /// The group
        name: String,
        /// Numbers of drives
        #[arg(required = true, value_name = "DRIVE")]
        drives: Vec<u32>,
    },
    /// List drive groups
    List,
    /// Show all about a drive group
    Show {
        /// The group
        name: String,
    },
    /// Remove a group that no task uses; its drives stay
    Remove {
        /// The group
        name: String,
    },
}

pub async fn run(cx: &Context, verb: DriveGroupVerb) -> Result<u8, Failure> {
    match verb {
        DriveGroupVerb::Add { name, drives } => {
            let request = DriveGroupRequest { name, drives };
            let view: DriveGroupView = cx.ask("drive-group.add", &request).await?;
            cx.show(&view, detail)?;
            if !cx.screen.is_json() {
                let name = &view.name;
                cx.screen
                    .aside(format!("to use it: simsim task add NAME PATH --drive-group {name}"));
            }
        }
        DriveGroupVerb::Change { name, drives } => {
            let request = DriveGroupRequest { name, drives };
            let view: DriveGroupView = cx.ask("drive-group.change", &request).await?;
            cx.show(&view, detail)?;
        }
        DriveGroupVerb::List => {
            let views: Vec<DriveGroupView> = cx.ask_plain("drive-group.list").await?;
            cx.show(&views, |screen, views| {
                if views.is_empty() {
                    screen.aside("no drive groups; add one: simsim drive-group add NAME DRIVE...");
                    return Ok(());
                }
                screen.table(&table(views))
            })?;
        }
        DriveGroupVerb::Show { name } => {
            let view: DriveGroupView =
                cx.ask("drive-group.show", &DriveGroupNameRequest { name }).await?;
            cx.show(&view, detail)?;
        }
        DriveGroupVerb::Remove { name } => {
            let view: DriveGroupView =
                cx.ask("drive-group.remove", &DriveGroupNameRequest { name }).await?;
            cx.show(&view, |screen, view| {
                screen.line(format!("removed '{}'; its drives stay", view.name))
            })?;
        }
    }
    Ok(exit::DONE)
}

fn table(views: &[DriveGroupView]) -> Table {
    let mut table = Table::new([
        Column::new("DRIVE GROUP").cut_to(8),
        Column::new("DRIVES").cut_to(16),
        Column::new("TASKS").cut_to(10).rank(1),
    ]);
    for view in views {
        let drives: Vec<String> =
            view.drives.iter().map(|one| format!("{} ({})", one.number, one.datastore)).collect();
        table.row([
            Text::new().bold(&view.name),
            drives.join(", ").into(),
            match view.tasks.is_empty() {
                true => Text::styled(Style::Dim, "none"),
                false => view.tasks.join(", ").into(),
            },
        ]);
    }
    table
}

fn detail(screen: &Screen, view: &DriveGroupView) -> Result<(), Failure> {
    screen.line(Text::new().bold("Drive group ").bold(&view.name))?;
    let drive = |one: &GroupDriveView| {
        let jobs = counted(one.jobs_max.into(), "job");
        format!("{} to '{}' on '{}', {jobs} at once", one.number, one.datastore, one.node)
    };
    let drives: Vec<String> = view.drives.iter().map(drive).collect();
    screen.lines(facts(&[
        ("drives", drives.join("; ").into()),
        ("tasks", view.tasks.join(", ").into()),
        ("added", when_exactly(view.created_unix_ms).into()),
    ]))
}
