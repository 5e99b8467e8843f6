//! `simsim pool add | change | show | list | remove`: how long savesets live, and where they go.

use simsim_server::api::{
    AddPoolRequest, ChangePoolRequest, PoolChanged, PoolNameRequest, PoolView,
};

use super::approvals;
use super::context::Context;
use super::lists;
use super::screen::Screen;
use super::table::{Column, Table, facts};
use super::text::{Style, Text};
use super::words::{count, size, when_exactly};
use crate::exit::{self, Failure};

#[derive(clap::Subcommand, Debug)]
pub enum PoolVerb {
    /// Add a media pool; tasks that name it keep their savesets by its policy
    Add {
        /// Its name
        name: String,
        /// How long savesets live, such as 'last 7, daily 14, weekly 8' or 'eol 30 days' or 'forever'
        #[arg(long, value_name = "POLICY")]
        policy: String,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Change a media pool: what is given replaces what there is; see before what it would do with
    /// 'simsim retention simulate'
    Change {
        /// The pool
        name: String,
        /// Another policy
        #[arg(long, value_name = "POLICY", required_unless_present_any = ["datastore", "drive", "drive_group"])]
        policy: Option<String>,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// List media pools
    List(lists::Names),
    /// Show all about a media pool
    Show {
        /// The pool
        name: String,
    },
    /// Remove a media pool that no task and no saveset uses
    Remove {
        /// The pool
        name: String,
    },
}

/// Where the backups of a pool go.
#[derive(clap::Args, Debug)]
pub struct PlaceArguments {
    /// The datastore into which its backups go [default: each task says so]
    #[arg(long)]
    datastore: Option<String>,
    /// Only this drive of it
    #[arg(long, value_name = "NUMBER")]
    drive: Option<u32>,
    /// Any drive of this drive group, in place of a datastore
    #[arg(long, value_name = "GROUP", conflicts_with_all = ["datastore", "drive"])]
    drive_group: Option<String>,
}

pub async fn run(cx: &Context, verb: PoolVerb) -> Result<u8, Failure> {
    match verb {
        PoolVerb::Add { name, policy, place } => {
            let PlaceArguments { datastore, drive, drive_group } = place;
            let request = AddPoolRequest { name, policy, datastore, drive, drive_group };
            let view: PoolView = cx.ask("pool.add", &request).await?;
            cx.show(&view, detail)?;
            if !cx.screen.is_json() {
                let name = &view.name;
                cx.screen.aside(format!("to use it: simsim task add NAME PATH --pool {name}"));
            }
        }
        PoolVerb::Change { name, policy, place } => {
            let PlaceArguments { datastore, drive, drive_group } = place;
            let request = ChangePoolRequest { name, policy, datastore, drive, drive_group };
            let changed: PoolChanged = cx.ask("pool.change", &request).await?;
            cx.show(&changed, |screen, changed| match &changed.approval {
                Some(approval) => approvals::asked(screen, approval),
                None => detail(screen, &changed.pool),
            })?;
        }
        PoolVerb::List(wanted) => {
            let request = wanted.request();
            let views: Vec<PoolView> = cx.ask("pool.list", &request).await?;
            cx.show(&views, |screen, views| {
                if views.is_empty() {
                    lists::nothing(screen, &request, "no media pools");
                    return Ok(());
                }
                screen.table(&table(views))
            })?;
        }
        PoolVerb::Show { name } => {
            let view: PoolView = cx.ask("pool.show", &PoolNameRequest { name }).await?;
            cx.show(&view, detail)?;
        }
        PoolVerb::Remove { name } => {
            let view: PoolView = cx.ask("pool.remove", &PoolNameRequest { name }).await?;
            cx.show(&view, |screen, view| screen.line(format!("removed pool '{}'", view.name)))?;
        }
    }
    Ok(exit::DONE)
}

fn place(view: &PoolView) -> Text {
    match (&view.drive_group, &view.datastore, view.drive) {
        (Some(group), _, _) => format!("drive group {group}").into(),
        (None, Some(datastore), Some(drive)) => format!("{datastore}, drive {drive}").into(),
        (None, Some(datastore), None) => datastore.as_str().into(),
        (None, None, _) => Text::styled(Style::Dim, "as each task says"),
    }
}

fn table(views: &[PoolView]) -> Table {
    let mut table = Table::new([
        Column::new("POOL").cut_to(8),
        Column::new("POLICY").cut_to(16),
        Column::new("INTO").cut_to(8).rank(2),
        Column::new("TASKS").cut_to(10).rank(3),
        Column::new("SAVESETS").right().rank(1),
        Column::new("STORED").right(),
    ]);
    for view in views {
        table.row([
            Text::new().bold(&view.name),
            view.policy.as_str().into(),
            place(view),
            match view.tasks.is_empty() {
                true => Text::styled(Style::Dim, "none"),
                false => view.tasks.join(", ").into(),
            },
            count(view.savesets).into(),
            size(view.bytes).into(),
        ]);
    }
    table
}

fn detail(screen: &Screen, view: &PoolView) -> Result<(), Failure> {
    screen.line(Text::new().bold("Media pool ").bold(&view.name))?;
    let added = match view.created_unix_ms {
        0 => Text::styled(Style::Dim, "always there; what names no pool is in it"),
        at => when_exactly(at).into(),
    };
    screen.lines(facts(&[
        ("policy", view.policy.as_str().into()),
        ("into", place(view)),
        ("tasks", view.tasks.join(", ").into()),
        ("savesets", format!("{}, stored in {}", count(view.savesets), size(view.bytes)).into()),
        ("added", added),
    ]))
}
