//! `simsim migration add | change | list | show | remove | run`: savesets that move to another pool or datastore.

use simsim_server::api::{JobReply, MigrationRequest, MigrationView, NameRequest};

use super::backup::LevelChoice;
use super::context::Context;
use super::follow;
use super::screen::Screen;
use super::table::{Column, Table, facts};
use super::text::{Style, Text};
use super::words::{count, when_exactly};
use crate::exit::{self, Failure};

#[derive(clap::Subcommand, Debug)]
pub enum MigrationVerb {
    /// Move savesets to another datastore or pool, each time that the migration is run: copy them, check the
    /// copies, and let each original go whose copy is proven
    Add {
        /// Its name
        name: String,
        #[command(flatten)]
        arguments: MigrationArguments,
    },
    /// Change a migration: what is given replaces what there is, the rest stays
    Change {
        /// The migration
        name: String,
        #[command(flatten)]
        arguments: MigrationArguments,
    },
    /// List migrations
    List,
    /// Show all about a migration
    Show {
        /// The migration
        name: String,
    },
    /// Remove a migration; what it moved stays where it is
    Remove {
        /// The migration
        name: String,
    },
    /// Move what it is about now, and follow it to the end
    Run {
        /// The migration
        name: String,
        /// Do not wait for the end
        #[arg(long)]
        detach: bool,
    },
}

#[derive(clap::Args, Debug, Default)]
pub struct MigrationArguments {
    /// The replication by whose way it copies: from which datastore into which
    #[arg(long, value_name = "REPLICATION")]
    by: Option<String>,
    /// Only savesets of this client; 'none': of any
    #[arg(long)]
    client: Option<String>,
    /// Only savesets of this task; 'none': of any
    #[arg(long)]
    task: Option<String>,
    /// Only what is in this pool; 'none': in any
    #[arg(long, value_name = "POOL")]
    from_pool: Option<String>,
    /// Only savesets of this level; may be repeated
    #[arg(long = "level", value_name = "LEVEL")]
    levels: Vec<LevelChoice>,
    /// Only backups that are so many days old; 0: of any age
    #[arg(long, value_name = "DAYS")]
    older_than: Option<u32>,
    /// The originals stay [default: each goes when its copy is proven]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false", require_equals = true)]
    keep_originals: Option<bool>,
    /// The pool of the copies; 'none': that of their backup
    #[arg(long)]
    pool: Option<String>,
    /// Days from the stamp of the backup that the copies live at least; 0: as the pool says
    #[arg(long, value_name = "DAYS")]
    eol: Option<u32>,
}

impl MigrationArguments {
    /// What is given, over what there is.
    fn over(self, there: MigrationRequest) -> MigrationRequest {
        let named = |given: Option<String>, there: Option<String>| match given.as_deref() {
            None => there,
            Some("none") => None,
            Some(_) => given,
        };
        let levels: Vec<_> = self.levels.iter().map(|choice| choice.level()).collect();
        MigrationRequest {
            name: there.name,
            replication: self.by.unwrap_or(there.replication),
            client: named(self.client, there.client),
            task: named(self.task, there.task),
            from_pool: named(self.from_pool, there.from_pool),
            levels: if levels.is_empty() { there.levels } else { levels },
            older_than_days: self.older_than.unwrap_or(there.older_than_days),
            keep_originals: self.keep_originals.unwrap_or(there.keep_originals),
            pool: named(self.pool, there.pool),
            eol_days: self.eol.unwrap_or(there.eol_days),
        }
    }
}

/// As it is asked of a server.
pub fn request_of(view: MigrationView) -> MigrationRequest {
    MigrationRequest {
        name: view.name,
        replication: view.replication,
        client: view.client,
        task: view.task,
        from_pool: view.from_pool,
        levels: view.levels,
        older_than_days: view.older_than_days,
        keep_originals: view.keep_originals,
        pool: view.pool,
        eol_days: view.eol_days,
    }
}

pub async fn run(cx: &Context, verb: MigrationVerb) -> Result<u8, Failure> {
    match verb {
        MigrationVerb::Add { name, arguments } => {
            let request = arguments.over(MigrationRequest { name, ..MigrationRequest::default() });
            let view: MigrationView = cx.ask("migration.add", &request).await?;
            cx.show(&view, detail)?;
            if !cx.screen.is_json() {
                cx.screen.aside(format!("to run it: simsim migration run {}", view.name));
            }
        }
        MigrationVerb::Change { name, arguments } => {
            let there: MigrationView = cx.ask("migration.show", &NameRequest { name }).await?;
            let request = arguments.over(request_of(there));
            let view: MigrationView = cx.ask("migration.change", &request).await?;
            cx.show(&view, detail)?;
        }
        MigrationVerb::List => {
            let views: Vec<MigrationView> = cx.ask_plain("migration.list").await?;
            cx.show(&views, |screen, views| {
                if views.is_empty() {
                    screen.aside("no migrations; add one: simsim migration add --help");
                    return Ok(());
                }
                screen.table(&table(views))
            })?;
        }
        MigrationVerb::Show { name } => {
            let view: MigrationView = cx.ask("migration.show", &NameRequest { name }).await?;
            cx.show(&view, detail)?;
        }
        MigrationVerb::Remove { name } => {
            let _: () = cx.ask("migration.remove", &NameRequest { name: name.clone() }).await?;
            cx.show(&serde_json::json!({ "removed": name }), |screen, _| {
                screen.line(format!("removed '{name}'; what it moved stays where it is"))
            })?;
        }
        MigrationVerb::Run { name, detach } => {
            let reply: JobReply = cx.ask("migration.run", &NameRequest { name }).await?;
            return follow::run_to_end(cx, reply, detach).await;
        }
    }
    Ok(exit::DONE)
}

fn table(views: &[MigrationView]) -> Table {
    let mut table = Table::new([
        Column::new("MIGRATION").cut_to(8),
        Column::new("FROM").cut_to(8),
        Column::new("TO").cut_to(8),
        Column::new("POOL").cut_to(8).rank(2),
        Column::new("ORIGINALS").rank(1),
        Column::new("SAVESETS").right().rank(1),
        Column::new("MISSING").right(),
    ]);
    for view in views {
        table.row([
            Text::new().bold(&view.name),
            view.source.as_str().into(),
            view.target.as_str().into(),
            view.pool.as_deref().unwrap_or_default().into(),
            originals(view).into(),
            count(view.savesets).into(),
            left(view.missing),
        ]);
    }
    table
}

fn originals(view: &MigrationView) -> &'static str {
    if view.keep_originals { "stay" } else { "go" }
}

fn left(number: u64) -> Text {
    match number {
        0 => Text::styled(Style::Dim, "none"),
        some => Text::from(count(some)),
    }
}

fn detail(screen: &Screen, view: &MigrationView) -> Result<(), Failure> {
    screen.line(Text::new().bold("Migration ").bold(&view.name))?;
    let optional = |text: &Option<String>| text.as_deref().map_or_else(Text::new, Text::from);
    let levels: Vec<&str> = view.levels.iter().map(|level| level.as_str()).collect();
    let days = |days: u32| match days {
        0 => Text::new(),
        days => format!("{days} days").into(),
    };
    screen.lines(facts(&[
        ("by", format!("replication '{}'", view.replication).into()),
        ("from", view.source.as_str().into()),
        ("to", view.target.as_str().into()),
        ("client", optional(&view.client)),
        ("task", optional(&view.task)),
        ("pool", optional(&view.from_pool)),
        ("levels", levels.join(", ").into()),
        ("older than", days(view.older_than_days)),
        ("originals", originals(view).into()),
        ("pool of the copies", optional(&view.pool)),
        ("EOL of the copies", days(view.eol_days)),
        ("added", when_exactly(view.created_unix_ms).into()),
        ("savesets", count(view.savesets).into()),
        ("without a copy", left(view.missing)),
        ("copies not proven", left(view.unproven)),
    ]))
}
