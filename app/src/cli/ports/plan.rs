//! `simsim ports plan`: the plan as a table, or as the rules of a firewall.

use serde::Serialize;
use simsim_model::Kind;
use simsim_model::port_plan::{Extra, FirewallFormat, PlanRow, PortPlan, Scope, render};

use crate::cli::context::Context;
use crate::cli::screen::Screen;
use crate::cli::table::{Column, Table};
use crate::cli::text::{Style, Text};
use crate::exit::{self, Failure};

#[derive(clap::Args, Debug)]
pub struct PlanArguments {
    /// How it is written
    #[arg(long, value_name = "FORM", default_value = "table")]
    format: Form,
    /// Only this host: the rules of its own firewall
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Keep a service open that is not the suite's, such as in:22 or out:53/udp; may be repeated
    #[arg(long, value_name = "SERVICE", requires = "host")]
    also: Vec<Extra>,
}

/// Forms of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// For people
    Table,
    /// For `nft -f`
    Nft,
    /// For `iptables-restore` and `ip6tables-restore`
    Iptables,
    /// A shell script of `firewall-cmd`
    Firewalld,
    /// A shell script of `ufw`
    Ufw,
    /// A PowerShell script of `New-NetFirewallRule`
    Windows,
    /// Comma-separated values
    Csv,
}

impl Form {
    const fn of_firewall(self) -> Option<FirewallFormat> {
        match self {
            Form::Table => None,
            Form::Nft => Some(FirewallFormat::Nft),
            Form::Iptables => Some(FirewallFormat::Iptables),
            Form::Firewalld => Some(FirewallFormat::Firewalld),
            Form::Ufw => Some(FirewallFormat::Ufw),
            Form::Windows => Some(FirewallFormat::Windows),
            Form::Csv => Some(FirewallFormat::Csv),
        }
    }

    fn word(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// Rules as a document.
#[derive(Serialize)]
struct Rules<'a> {
    format: String,
    host: Option<&'a str>,
    text: String,
    left_out: usize,
}

pub async fn run(cx: &Context, arguments: PlanArguments) -> Result<u8, Failure> {
    let mut plan: PortPlan = cx.ask_plain("ports.plan").await?;
    let host = arguments.host.as_deref();
    if let Some(name) = host {
        known(&plan, name)?;
    }
    let Some(format) = arguments.format.of_firewall() else {
        if let Some(name) = host {
            plan.rows = plan.rows_of(name).cloned().collect();
        }
        cx.show(&plan, |screen, plan| table(screen, plan, host))?;
        return Ok(exit::DONE);
    };
    let scope = match host {
        Some(name) => Scope::Host(name),
        None if format.can_stand_between() => Scope::Between,
        None => {
            let text = format!("the form '{}' is for one host: say which", arguments.format.word());
            return Err(hosts(&plan, Failure::new(Kind::Invalid, text)));
        }
    };
    let text = render(&plan, format, scope, &arguments.also);
    let left_out = match format {
        FirewallFormat::Csv => 0,
        _ => plan.rules(scope).iter().filter(|rule| rule.missing.is_some()).count(),
    };
    if cx.screen.is_json() {
        cx.screen.document(&Rules { format: arguments.format.word(), host, text, left_out })?;
    } else {
        cx.screen.bytes(text.as_bytes())?;
        warn(&cx.screen, &plan);
        if left_out > 0 {
            let text = format!("{left_out} rules are left out; they are comments that say why");
            cx.screen.aside(Text::styled(Style::Bad, text));
        }
    }
    Ok(if left_out > 0 { exit::WITH_ERRORS } else { exit::DONE })
}

fn known(plan: &PortPlan, name: &str) -> Result<(), Failure> {
    if plan.hosts.iter().any(|host| host.name == name) {
        return Ok(());
    }
    Err(hosts(plan, Failure::new(Kind::NotFound, format!("the plan has no host '{name}'"))))
}

fn hosts(plan: &PortPlan, failure: Failure) -> Failure {
    let names: Vec<&str> = plan.hosts.iter().map(|host| host.name.as_str()).collect();
    failure.next(format!("the hosts: {}", names.join(", ")))
}

fn warn(screen: &Screen, plan: &PortPlan) {
    for warning in &plan.warnings {
        screen.aside(Text::styled(Style::Warn, "• ").plain(warning));
    }
}

fn table(screen: &Screen, plan: &PortPlan, host: Option<&str>) -> Result<(), Failure> {
    let mut table = Table::new([
        Column::new("ROW"),
        Column::new("FROM").cut_to(12),
        Column::new("TO").cut_to(12),
        Column::new("PORT").right(),
        Column::new("WAY"),
        Column::new("USED").rank(2),
        Column::new("WHY").cut_to(20).rank(1),
    ]);
    for row in &plan.rows {
        table.row([
            Text::new().bold(&row.row),
            row.from.name.as_str().into(),
            row.to.name.as_str().into(),
            row.ports().into(),
            way(row, host).into(),
            if row.default { "by default" } else { "as configured" }.into(),
            row.why.join("; ").into(),
        ]);
    }
    screen.table(&table)?;
    warn(screen, plan);
    Ok(())
}

const fn way_of(is_in: bool) -> &'static str {
    if is_in { "in" } else { "out" }
}

fn way(row: &PlanRow, host: Option<&str>) -> &'static str {
    match host {
        _ if row.local => "local",
        None => "between",
        Some(name) => way_of(row.to.name == name),
    }
}
