//! `simsim location add | change | list | show | remove`: places in which hosts stand.

use simsim_server::api::{LocationRequest, LocationView, NameRequest};

use super::context::Context;
use super::lists;
use super::screen::Screen;
use super::table::{Column, Table, facts};
use super::text::Text;
use super::words::when_exactly;
use crate::exit::{self, Failure};

#[derive(clap::Subcommand, Debug)]
pub enum LocationVerb {
    /// Add a location; hosts are put there with 'client place'
    Add {
        /// Its name
        name: String,
        /// The location that it is in
        #[arg(long = "in", value_name = "LOCATION")]
        parent: Option<String>,
        /// A note for people, such as an address
        #[arg(long)]
        note: Option<String>,
    },
    /// Change a location: what is given replaces what there is, the rest stays
    Change {
        /// The location
        name: String,
        /// The location that it is in; 'none': in none
        #[arg(long = "in", value_name = "LOCATION")]
        parent: Option<String>,
        /// A note for people
        #[arg(long)]
        note: Option<String>,
    },
    /// List locations as a tree
    List(lists::Locations),
    /// Show all about a location
    Show {
        /// The location
        name: String,
    },
    /// Remove a location in which nothing is
    Remove {
        /// The location
        name: String,
    },
}

pub async fn run(cx: &Context, verb: LocationVerb) -> Result<u8, Failure> {
    match verb {
        LocationVerb::Add { name, parent, note } => {
            let request = LocationRequest { name, parent, note: note.unwrap_or_default() };
            let view: LocationView = cx.ask("location.add", &request).await?;
            cx.show(&view, detail)?;
        }
        LocationVerb::Change { name, parent, note } => {
            let there: LocationView =
                cx.ask("location.show", &NameRequest { name: name.clone() }).await?;
            let request = LocationRequest {
                name,
                parent: match parent {
                    Some(parent) => Some(parent).filter(|name| name != "none"),
                    None => there.parent,
                },
                note: note.unwrap_or(there.note),
            };
            let view: LocationView = cx.ask("location.change", &request).await?;
            cx.show(&view, detail)?;
        }
        LocationVerb::List(wanted) => {
            let request = wanted.request();
            let views: Vec<LocationView> = cx.ask("location.list", &request).await?;
            cx.show(&views, |screen, views| {
                if views.is_empty() {
                    let add = "no locations; add one: simsim location add NAME";
                    lists::nothing(screen, &request, add);
                    return Ok(());
                }
                let mut table = Table::new([
                    Column::new("LOCATION").cut_to(12),
                    Column::new("CLIENTS").cut_to(12),
                    Column::new("NOTE").cut_to(12).rank(1),
                ]);
                rows(&mut table, views, None, 0);
                screen.table(&table)
            })?;
        }
        LocationVerb::Show { name } => {
            let view: LocationView = cx.ask("location.show", &NameRequest { name }).await?;
            cx.show(&view, detail)?;
        }
        LocationVerb::Remove { name } => {
            let _: () = cx.ask("location.remove", &NameRequest { name: name.clone() }).await?;
            cx.show(&serde_json::json!({ "removed": name }), |screen, _| {
                screen.line(format!("location '{name}' is removed"))
            })?;
        }
    }
    Ok(exit::DONE)
}

/// Each location with those within it beneath; at the top those that are in none of these. The server lets no circle
/// be.
fn rows(table: &mut Table, views: &[LocationView], parent: Option<&str>, depth: usize) {
    let is_here = |view: &&LocationView| match (parent, view.parent.as_deref()) {
        (None, Some(parent)) => views.iter().all(|other| other.name != parent),
        (wanted, parent) => wanted == parent,
    };
    for view in views.iter().filter(is_here) {
        table.row([
            Text::from("  ".repeat(depth)).bold(&view.name),
            view.clients.join(", ").into(),
            view.note.as_str().into(),
        ]);
        if depth < views.len() {
            rows(table, views, Some(&view.name), depth + 1);
        }
    }
}

fn detail(screen: &Screen, view: &LocationView) -> Result<(), Failure> {
    screen.line(Text::new().bold("Location ").bold(&view.name))?;
    screen.lines(facts(&[
        ("in", view.parent.as_deref().unwrap_or_default().into()),
        ("note", view.note.as_str().into()),
        ("clients", view.clients.join(", ").into()),
        ("with those within", view.clients_in_all.to_string().into()),
        ("added", when_exactly(view.created_unix_ms).into()),
    ]))
}
