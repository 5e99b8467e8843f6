//! A plan in the words of a firewall.
//!
//! Every form drops by default, lets replies of what it opened through, and opens exactly the rows
//! of the plan. A rule that cannot be written because an address is not known is a comment that
//! says so, never a wider rule. Loading a form again replaces what an earlier one had made.

mod csv;
mod firewalld;
mod iptables;
mod nft;
mod ufw;
mod windows;

use super::plan::PortPlan;
use super::rules::{Extra, ExtraDirection, Facing, Rule, Scope};

/// The forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirewallFormat {
    /// For `nft -f`.
    Nft,
    /// For `iptables-restore` and `ip6tables-restore`: both read the same file.
    Iptables,
    /// A shell script of `firewall-cmd --permanent`.
    Firewalld,
    /// A shell script of `ufw`.
    Ufw,
    /// A PowerShell script.
    Windows,
    /// The rows of the plan, RFC 4180.
    Csv,
}

impl FirewallFormat {
    /// Whether the form can stand on a firewall between the hosts.
    pub const fn can_stand_between(self) -> bool {
        matches!(
            self,
            FirewallFormat::Nft
                | FirewallFormat::Iptables
                | FirewallFormat::Ufw
                | FirewallFormat::Csv
        )
    }
}

/// The plan in a form. `extras` are services beside the suite; between hosts they mean nothing.
pub fn render(
    plan: &PortPlan,
    format: FirewallFormat,
    scope: Scope<'_>,
    extras: &[Extra],
) -> String {
    if format == FirewallFormat::Csv {
        return csv::render(plan, scope);
    }
    let page = Page { rules: plan.rules(scope), scope, extras };
    match format {
        FirewallFormat::Nft => nft::render(&page),
        FirewallFormat::Iptables => iptables::render(&page),
        FirewallFormat::Firewalld => firewalld::render(&page),
        FirewallFormat::Ufw => ufw::render(&page),
        FirewallFormat::Windows => windows::render(&page),
        FirewallFormat::Csv => String::new(),
    }
}

struct Page<'a> {
    rules: Vec<Rule>,
    scope: Scope<'a>,
    extras: &'a [Extra],
}

impl Page<'_> {
    /// First lines of every form: whose it is, and what it does to the rest of the host.
    fn head(&self, load: &str) -> String {
        let whose = match self.scope {
            Scope::Host(name) => format!("of host '{}'", printable(name)),
            Scope::Between => "of a firewall between the hosts".to_owned(),
        };
        let mut text = format!("# simsim port plan {whose}. Load it with: {load}\n");
        text.push_str(
            "# Whatever is not named here is dropped; replies of what is named come through.\n",
        );
        if matches!(self.scope, Scope::Host(_)) && self.extras.is_empty() {
            text.push_str(
                "# That includes your own log-in, name service and time: name them with \
                 --also in:22 --also out:53/udp\n",
            );
        }
        text
    }

    fn facing(&self, facing: Facing) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(move |rule| rule.facing == facing)
    }

    fn extras(&self, direction: ExtraDirection) -> impl Iterator<Item = &Extra> {
        self.extras.iter().filter(move |extra| extra.direction == direction)
    }
}

/// The line for a rule that cannot be written.
fn left_out(rule: &Rule, why: &str) -> String {
    format!("# left out: {}, port {}: {}", rule.comment, rule.ports("-"), printable(why))
}

/// A name that cannot end a line or a comment.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '_' } else { c }).collect()
}

const fn protocol(extra: &Extra) -> &'static str {
    if extra.udp { "udp" } else { "tcp" }
}
