//! Every form of a plan is read by the tool that it is for.

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use simsim_model::port_plan::{
    Access, DataProtocol, DataUse, Extra, FirewallFormat, Interface, Joining, PlannedHost,
    PortConfiguration, PortPlan, Scope, SystemUse, UseKind, render,
};
use simsim_model::port_registry::{DIAL, FTP_DATA, HTTP, Host, PortSet, SMSSH};
use simsim_testkit::{has_program, is_root, skip};

/// A suite with everything in it: two families, several addresses, hosts without any, a range of
/// ports, anyone, another vendor's system, and a name that no form may trip over.
fn plan() -> PortPlan {
    let host = |name: &str, role, addresses: &[&str]| {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        PlannedHost::new(name, role, addresses)
    };
    let mut hosts = vec![
        host("vault", Host::Server, &["192.0.2.1", "2001:db8::1"]),
        host("far", Host::Rds, &["192.0.2.2", "198.51.100.2", "2001:db8::2"]),
        host("web", Host::Client, &["192.0.2.3"]),
        host("six", Host::Client, &["2001:db8::6"]),
        host("lost", Host::Client, &[]),
        host("roaming", Host::Client, &[]),
        host("o'brien\"$(x)`;%", Host::Client, &["192.0.2.9"]),
    ];
    hosts[0].console_is_open = true;
    hosts[5].access = Access::Outbound { relay: None };
    let ftp = Interface::new(DataProtocol::Ftp { passive: true, active: true });
    let data = |client: &str, kind| DataUse {
        client: client.to_owned(),
        device: "far".to_owned(),
        kind,
        why: format!("task of {client}, \"quoted\""),
    };
    let configuration = PortConfiguration {
        uses: vec![
            data("web", UseKind::Interfaces(vec![ftp])),
            data("six", UseKind::Interfaces(Vec::new())),
            data("lost", UseKind::Drives { numbers: vec![3], at: Vec::new() }),
            data(hosts[6].name.clone().as_str(), UseKind::Interfaces(Vec::new())),
        ],
        hosts,
        systems: vec![SystemUse {
            module: DIAL[0].module.to_owned(),
            name: "vcenter".to_owned(),
            addresses: vec!["203.0.113.5".parse().unwrap()],
            hosts: vec!["far".to_owned()],
        }],
        joining: vec![Joining { name: String::new(), outbound: false }],
        ..PortConfiguration::default()
    };
    PortPlan::of(&configuration)
}

const SCOPES: [Scope<'static>; 4] =
    [Scope::Between, Scope::Host("vault"), Scope::Host("far"), Scope::Host("web")];

fn extras() -> Vec<Extra> {
    vec!["in:22".parse().unwrap(), "out:53/udp".parse().unwrap()]
}

fn forms(format: FirewallFormat) -> Vec<String> {
    SCOPES
        .into_iter()
        .filter(|scope| format.can_stand_between() || *scope != Scope::Between)
        .map(|scope| render(&plan(), format, scope, &extras()))
        .collect()
}

/// Runs a tool in a network namespace of its own, so that no rule of this host is read or changed.
fn apart(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", "--", program]).args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn fed(mut command: Command, text: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn missing(programs: &[&str]) -> Option<String> {
    if !is_root() {
        return Some("reading firewall rules needs root".to_owned());
    }
    let gone: Vec<&str> = programs.iter().copied().filter(|name| !has_program(name)).collect();
    (!gone.is_empty()).then(|| format!("needs {}", gone.join(" and ")))
}

#[test]
fn nft_reads_the_plan_loads_it_twice_and_lists_what_was_meant() {
    if let Some(why) = missing(&["nft", "unshare"]) {
        return skip(&why);
    }
    for text in forms(FirewallFormat::Nft) {
        let checked = fed(apart("nft", &["-c", "-f", "-"]), &text);
        assert!(checked.status.success(), "{checked:?}\n{text}");
        // Loaded twice, it is there once.
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rules");
        std::fs::write(&file, &text).unwrap();
        let twice = format!("nft -f {0} && nft -f {0} && nft list ruleset", file.display());
        let listed = apart("sh", &["-c", &twice]).output().unwrap();
        assert!(listed.status.success(), "{listed:?}\n{text}");
        let listed = String::from_utf8(listed.stdout).unwrap();
        let chains = listed.matches("policy drop").count();
        assert_eq!(chains, text.matches("policy drop").count(), "{listed}");
        let count = |text: &str| text.matches("tcp dport").count();
        assert_eq!(count(&listed), count(&text), "{listed}\n{text}");
    }
}

#[test]
fn iptables_and_ip6tables_read_the_plan() {
    if let Some(why) = missing(&["iptables-restore", "ip6tables-restore", "unshare"]) {
        return skip(&why);
    }
    for text in forms(FirewallFormat::Iptables) {
        for program in ["iptables-restore", "ip6tables-restore"] {
            let tested = fed(apart(program, &["--test"]), &text);
            assert!(tested.status.success(), "{program} {tested:?}\n{text}");
        }
    }
}

#[test]
fn ufw_reads_every_line_of_the_plan() {
    if let Some(why) = missing(&["ufw", "unshare"]) {
        return skip(&why);
    }
    let text = forms(FirewallFormat::Ufw).concat();
    let mut lines: Vec<&str> = text.lines().filter(|line| line.contains(" allow ")).collect();
    assert!(lines.len() > 15, "{text}");
    // One of each kind: every call takes half a second.
    lines.sort_by_key(|line| line.split_whitespace().take(3).collect::<Vec<_>>().join(" "));
    lines.dedup_by_key(|line| {
        let mut words: Vec<&str> = line.split_whitespace().take(5).collect();
        words.push(if line.contains("::") { "v6" } else { "v4" });
        words.push(if line.contains("from any") { "anyone" } else { "someone" });
        words.join(" ")
    });
    for line in lines {
        let call = line.replacen("ufw ", "ufw --dry-run ", 1);
        let read = apart("sh", &["-c", &call]).output().unwrap();
        let said = String::from_utf8_lossy(&read.stdout).into_owned();
        assert!(read.status.success(), "{line}: {read:?}");
        assert!(said.contains("### tuple ###") || said.contains("Skipping"), "{line}: {said}");
    }
}

#[test]
fn firewalld_reads_every_line_of_the_plan_and_finds_the_configuration_sound() {
    if let Some(why) = missing(&["firewall-offline-cmd", "unshare"]) {
        return skip(&why);
    }
    let folder = tempfile::tempdir().unwrap();
    for part in ["zones", "policies", "services", "icmptypes", "ipsets", "helpers"] {
        std::fs::create_dir(folder.path().join(part)).unwrap();
    }
    let text = render(&plan(), FirewallFormat::Firewalld, Scope::Host("far"), &extras());
    let offline = |options: &str| {
        let folder = folder.path().display();
        format!("firewall-offline-cmd --system-config={folder} {options}")
    };
    // The same words, with the daemon's configuration beside the host's own.
    let script: String = text
        .lines()
        .filter(|line| !line.contains("--reload") && !line.contains("--delete-policy"))
        .map(|line| {
            line.replace("firewall-cmd --permanent", offline("").trim_end())
                .replace(" --policy=", " --policy ")
                + "\n"
        })
        .collect();
    let script = format!("set -e\n{script}\n{}\n", offline("--check-config"));
    let read = fed(apart("sh", &[]), &script);
    assert!(read.status.success(), "{read:?}\n{script}");
    let written = std::fs::read_to_string(folder.path().join("policies/simsim-in.xml")).unwrap();
    let ports =
        text.lines().filter(|line| line.contains("simsim-in") && line.contains("port port="));
    assert_eq!(written.matches("<port ").count(), ports.count(), "{written}\n{text}");
    assert!(Path::new(&folder.path().join("policies/simsim-out.xml")).exists());
}

/// The grammar of `New-NetFirewallRule` as documented: parameters with one value each; a value is
/// a word, a list of quoted words, or one quoted text in which a quote is doubled.
#[test]
fn windows_rules_have_the_documented_parameters_and_nothing_else() {
    let allowed = [
        ("-Group", "simsim"),
        ("-Direction", "Inbound|Outbound"),
        ("-Action", "Allow"),
        ("-Protocol", "TCP|UDP"),
        ("-Profile", "Any"),
    ];
    for text in forms(FirewallFormat::Windows) {
        assert!(text.contains("-DefaultInboundAction Block -DefaultOutboundAction Block"));
        let rules: Vec<&str> =
            text.lines().filter(|line| line.starts_with("New-NetFirewallRule ")).collect();
        assert!(rules.len() >= 2, "{text}");
        for rule in rules {
            let body = rule.strip_suffix(" | Out-Null").unwrap();
            assert!(body.matches('\'').count().is_multiple_of(2), "{rule}");
            let (words, texts): (Vec<_>, Vec<_>) =
                body.split('\'').enumerate().partition(|(at, _)| at % 2 == 0);
            assert!(!texts.iter().any(|(_, text)| text.contains(['$', '`', '"'])), "{rule}");
            let outside: String = words.iter().map(|(_, text)| *text).collect::<Vec<_>>().join("'");
            let mut parameters = Vec::new();
            let mut parts = outside.split_whitespace().skip(1).peekable();
            while let Some(parameter) = parts.next() {
                assert!(parameter.starts_with('-'), "{rule}: {parameter}");
                let value = parts.next().unwrap_or_else(|| panic!("{rule}: {parameter}"));
                parameters.push(parameter);
                match allowed.iter().find(|(name, _)| *name == parameter) {
                    Some((_, "simsim")) => assert_eq!(value, "'", "{rule}"),
                    Some((_, values)) => {
                        assert!(values.split('|').any(|one| one == value), "{rule}")
                    }
                    None if parameter == "-DisplayName" => assert_eq!(value, "'", "{rule}"),
                    None if parameter == "-RemoteAddress" => {
                        let list = value.split(',').all(|one| one == "'" || one == "Any");
                        assert!(list, "{rule}: {value}");
                    }
                    None => {
                        assert!(["-LocalPort", "-RemotePort"].contains(&parameter), "{rule}");
                        assert!(value.split('-').all(|port| port.parse::<u16>().is_ok()), "{rule}");
                    }
                }
            }
            let inbound = rule.contains("-Direction Inbound");
            assert_eq!(parameters.contains(&"-LocalPort"), inbound, "{rule}");
        }
    }
}

#[test]
fn a_spreadsheet_has_every_row_once_with_eleven_cells_each() {
    let text = render(&plan(), FirewallFormat::Csv, Scope::Between, &[]);
    let rows = plan().rows.iter().filter(|row| !row.local).count();
    assert_eq!(text.matches("\r\n").count(), rows + 1, "{text}");
    for line in text.lines() {
        let mut cells = 1;
        let mut quoted = false;
        for c in line.chars() {
            match c {
                '"' => quoted = !quoted,
                ',' if !quoted => cells += 1,
                _ => {}
            }
        }
        assert_eq!((cells, quoted), (11, false), "{line}");
    }
    assert!(text.contains("\"task of web, \"\"quoted\"\", passive FTP\""), "{text}");
}

#[test]
fn a_rule_without_an_address_is_left_out_and_said_in_every_form() {
    for format in [
        FirewallFormat::Nft,
        FirewallFormat::Iptables,
        FirewallFormat::Ufw,
        FirewallFormat::Firewalld,
        FirewallFormat::Windows,
    ] {
        let text = render(&plan(), format, Scope::Host("vault"), &[]);
        let line = text.lines().find(|line| line.contains("vault to lost")).unwrap();
        assert!(line.starts_with('#') || line.trim_start().starts_with("# left out"), "{line}");
        assert!(text.contains("--also in:22"), "whoever loads it is warned: {text}");
        let open = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        assert!(!open.clone().any(|line| line.contains("lost")), "{text}");
    }
}

#[test]
fn rules_say_the_port_the_direction_and_both_addresses() {
    let through = render(&plan(), FirewallFormat::Nft, Scope::Between, &[]);
    let PortSet::Range(first, last) = FTP_DATA.ports else { panic!("a range") };
    let smssh = SMSSH.ports.first();
    let line = format!(
        "ip saddr 192.0.2.1 ip daddr 192.0.2.3 tcp dport {smssh} ct state new accept comment \
         \"simsim smssh: vault to web\""
    );
    assert!(through.contains(&line), "{through}");
    assert!(through.contains(&format!("tcp dport {first}-{last} ")), "{through}");
    let web = render(&plan(), FirewallFormat::Nft, Scope::Host("web"), &[]);
    let incoming = web.split("chain output").next().unwrap();
    assert!(incoming.contains(&format!("ip saddr 192.0.2.1 tcp dport {smssh}")), "{web}");
    assert!(!web.contains(&format!("dport {} ", HTTP.ports.first())), "{web}");
    assert!("in:0".parse::<Extra>().is_err() && "22".parse::<Extra>().is_err());
    assert!("in:22/sctp".parse::<Extra>().is_err() && "at:22".parse::<Extra>().is_err());
}
