//! Rows of the plan as comma-separated values (RFC 4180), for spreadsheets and firewall teams.

use super::super::plan::{EndKind, PlanEnd, PlanRow, PortPlan};
use super::super::rules::Scope;

pub(super) fn render(plan: &PortPlan, scope: Scope<'_>) -> String {
    let mut text = String::from(
        "row,from,from_addresses,to,to_addresses,direction,transport,ports,protocol,default,why\r\n",
    );
    let rows: Vec<&PlanRow> = match scope {
        Scope::Between => plan.rows.iter().filter(|row| !row.local).collect(),
        Scope::Host(name) => plan.rows_of(name).collect(),
    };
    for row in rows {
        let direction = match scope {
            _ if row.local => "local",
            Scope::Between => "through",
            Scope::Host(name) if is_host(&row.to, name) => "in",
            Scope::Host(_) => "out",
        };
        let (from, to) = (addresses(&row.from), addresses(&row.to));
        let (ports, why) = (row.ports(), row.why.join("; "));
        let default = if row.default { "yes" } else { "no" };
        let fields = [
            row.row.as_str(),
            &row.from.name,
            &from,
            &row.to.name,
            &to,
            direction,
            "tcp",
            &ports,
            &row.protocol,
            default,
            &why,
        ];
        let fields: Vec<String> = fields.iter().map(|field| quoted(field)).collect();
        text.push_str(&fields.join(","));
        text.push_str("\r\n");
    }
    text
}

fn is_host(end: &PlanEnd, name: &str) -> bool {
    end.kind == EndKind::Host && end.name == name
}

fn addresses(end: &PlanEnd) -> String {
    if end.anywhere {
        return "any".to_owned();
    }
    end.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Quoted where RFC 4180 asks for it. A spreadsheet takes a field that begins like a formula for
/// one: it gets an apostrophe in front.
fn quoted(field: &str) -> String {
    let field = match field.starts_with(['=', '+', '-', '@', '\t']) {
        true => format!("'{field}"),
        false => field.to_owned(),
    };
    match field.contains([',', '"', '\r', '\n']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field,
    }
}
