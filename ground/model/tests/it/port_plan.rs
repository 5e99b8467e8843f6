//! A row stands in the plan exactly when something that is configured needs it.

use std::net::IpAddr;

use proptest::prelude::*;
use simsim_model::port_plan::{
    Access, DataProtocol, DataUse, DrivePlace, EndKind, Interface, Joining, PlanRow, PlannedHost,
    PortConfiguration, PortPlan, Replication, SystemUse, UseKind,
};
use simsim_model::port_registry::{
    CONSOLE, CTRL, DIAL, DRIVE, FTP, FTP_DATA, HTTP, HTTPS, Host, LISTEN, Listen, SMSSH,
};

fn address(last: usize) -> IpAddr {
    IpAddr::from([192, 0, 2, u8::try_from(last + 1).unwrap()])
}

/// The server `h0`, the RDS `h1` and `h2`, the clients `h3` and `h4`.
const HOSTS: usize = 5;
const DEVICES: usize = 3;

fn name(at: usize) -> String {
    format!("h{at}")
}

fn interface() -> impl Strategy<Value = Interface> {
    let ftp = |passive, active| DataProtocol::Ftp { passive, active };
    prop_oneof![
        Just(Interface::new(DataProtocol::Http)),
        Just(Interface::new(DataProtocol::Https)),
        Just(Interface::new(ftp(true, false))),
        Just(Interface::new(ftp(false, true))),
        Just(Interface::new(ftp(true, true))),
    ]
}

fn kind() -> impl Strategy<Value = UseKind> {
    let interfaces = || prop::collection::vec(interface(), 0..3);
    prop_oneof![
        interfaces().prop_map(UseKind::Interfaces),
        prop::collection::vec(0u32..9, 1..3)
            .prop_map(|numbers| UseKind::Drives { numbers, at: Vec::new() }),
        (interfaces(), any::<bool>()).prop_map(|(interfaces, server_relays)| UseKind::External {
            interfaces,
            server_relays
        }),
    ]
}

fn access() -> impl Strategy<Value = Access> {
    prop_oneof![
        Just(Access::Smssh),
        Just(Access::Ctrl),
        Just(Access::Outbound { relay: None }),
        (1..DEVICES).prop_map(|at| Access::Outbound { relay: Some(name(at)) }),
    ]
}

prop_compose! {
    fn configuration()(
        accesses in prop::collection::vec(access(), HOSTS),
        console_is_open in any::<bool>(),
        uses in prop::collection::vec((0..HOSTS, 0..DEVICES, kind()), 0..6),
        replications in prop::collection::vec((0..DEVICES, 0..DEVICES, 0u32..9, any::<bool>()), 0..3),
        systems in prop::collection::vec((0..DIAL.len(), 0..HOSTS), 0..3),
        joining in prop::collection::vec(("[a-z]{0,3}", any::<bool>()), 0..3),
        relays in prop::collection::vec(any::<bool>(), DEVICES),
    ) -> PortConfiguration {
        let hosts = accesses.into_iter().enumerate().map(|(at, access)| {
            let role = match at {
                0 => Host::Server,
                1..DEVICES => Host::Rds,
                _ => Host::Client,
            };
            let mut host = PlannedHost::new(name(at), role, vec![address(at)]);
            // The server and the relays are reached by the server itself.
            host.access = if at < DEVICES { Access::Smssh } else { access };
            host.console_is_open = at == 0 && console_is_open;
            host.relays = role == Host::Rds && relays[at];
            host
        });
        PortConfiguration {
            hosts: hosts.collect(),
            uses: uses.into_iter().enumerate().map(|(at, (client, device, kind))| DataUse {
                client: name(client),
                device: name(device),
                kind,
                why: format!("use {at}"),
            }).collect(),
            replications: replications.into_iter().map(|(source, target, drive, pull)| Replication {
                source: name(source),
                target: name(target),
                drive,
                at: Vec::new(),
                pull,
                why: "replication".to_owned(),
            }).collect(),
            systems: systems.into_iter().map(|(dial, host)| SystemUse {
                module: DIAL[dial].module.to_owned(),
                name: format!("system {dial}"),
                addresses: vec![address(100 + dial)],
                hosts: vec![name(host)],
            }).collect(),
            joining: joining.into_iter().map(|(name, outbound)| Joining { name, outbound }).collect(),
            ..PortConfiguration::default()
        }
    }
}

/// What a use means for who dials whom: `(from, to, kind)`.
fn ways(configuration: &PortConfiguration, data: &DataUse) -> Vec<(String, String, UseKind)> {
    let server = name(0);
    let client = configuration.hosts.iter().find(|host| host.name == data.client).unwrap();
    let external = matches!(data.kind, UseKind::External { .. });
    let (from, is_inside) = match &client.access {
        Access::Outbound { relay } if !external => {
            let is_inside = server == data.device || relay.as_ref() == Some(&data.device);
            (server.clone(), is_inside)
        }
        _ => (data.client.clone(), false),
    };
    match &data.kind {
        _ if is_inside => Vec::new(),
        UseKind::External { interfaces, server_relays } => {
            let kind = UseKind::Interfaces(interfaces.clone());
            let mut ways = vec![(from.clone(), server.clone(), kind.clone())];
            if data.device != server {
                let from = if *server_relays { server } else { from };
                ways.push((from, data.device.clone(), kind));
            }
            ways
        }
        kind => vec![(from, data.device.clone(), kind.clone())],
    }
}

/// Whether one way needs `row` from `from` to `to`, where the way itself leads from `a` to `b`.
fn way_needs(kind: &UseKind, row: &Listen, forward: bool, backward: bool) -> bool {
    match kind {
        UseKind::Drives { .. } => forward && row.id == DRIVE.id,
        UseKind::Interfaces(interfaces) => {
            let named = if interfaces.is_empty() { &[Interface::DEFAULT][..] } else { interfaces };
            named.iter().any(|one| match one.protocol {
                DataProtocol::Http => forward && row.id == HTTP.id,
                DataProtocol::Https => forward && row.id == HTTPS.id,
                DataProtocol::Ftp { passive, active } => {
                    forward && row.id == FTP.id
                        || row.id == FTP_DATA.id && (forward && passive || backward && active)
                }
            })
        }
        UseKind::External { .. } => unreachable!("taken apart before"),
    }
}

/// The whole truth about one row between two hosts, told row by row and not need by need.
fn is_needed(configuration: &PortConfiguration, row: &Listen, from: &str, to: &str) -> bool {
    let server = name(0);
    let access =
        |name: &str| &configuration.hosts.iter().find(|host| host.name == name).unwrap().access;
    let by_control = match row.id {
        id if id == SMSSH.id => from == server && *access(to) == Access::Smssh,
        id if id == CTRL.id => from == server && *access(to) == Access::Ctrl,
        id if id == HTTPS.id => match access(from) {
            Access::Outbound { relay } => relay.as_deref().unwrap_or(&server) == to,
            // A relay passes calls on, of those that are known to call and of those who will join.
            _ => {
                to == server
                    && configuration.hosts.iter().any(|host| {
                        let passes = matches!(&host.access, Access::Outbound { relay: Some(relay) } if relay == from);
                        passes || host.relays && host.name == from
                    })
            }
        },
        id if id == CONSOLE.id => {
            from == server && to == server && !configuration.hosts[0].console_is_open
        }
        _ => false,
    };
    let by_data = configuration.uses.iter().any(|data| {
        ways(configuration, data)
            .iter()
            .any(|(a, b, kind)| way_needs(kind, row, a == from && b == to, a == to && b == from))
    });
    let by_replication = row.id == DRIVE.id
        && configuration.replications.iter().any(|one| {
            let (a, b) =
                if one.pull { (&one.target, &one.source) } else { (&one.source, &one.target) };
            a == from && b == to
        });
    by_control || by_data || by_replication
}

fn between<'a>(plan: &'a PortPlan, row: &'a str, from: &'a str, to: &'a str) -> Vec<&'a PlanRow> {
    let found = plan.rows.iter().filter(move |one| {
        let hosts = one.from.kind == EndKind::Host && one.to.kind == EndKind::Host;
        hosts && one.row == row && one.from.name == from && one.to.name == to
    });
    found.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_listen_row_is_planned_exactly_when_something_needs_it(configuration in configuration()) {
        let plan = PortPlan::of(&configuration);
        for row in &LISTEN {
            for from in (0..HOSTS).map(name) {
                for to in (0..HOSTS).map(name) {
                    let found = between(&plan, row.id, &from, &to);
                    let needed = is_needed(&configuration, row, &from, &to);
                    prop_assert_eq!(!found.is_empty(), needed, "{} {} {}", row.id, from, to);
                    for one in found {
                        prop_assert_eq!(one.local, from == to);
                        prop_assert!(!one.why.is_empty());
                    }
                }
            }
        }
        let anyone_to = |id: &str, to: &str| plan.rows.iter().any(|row| {
            row.row == id && row.from.kind == EndKind::Anyone && row.to.name == to
        });
        let from_anyone = |id: &str| anyone_to(id, &name(0));
        prop_assert_eq!(from_anyone(CONSOLE.id), configuration.hosts[0].console_is_open);
        let joins = |outbound| configuration.joining.iter().any(|one| one.outbound == outbound);
        prop_assert_eq!(from_anyone(SMSSH.id), joins(false));
        prop_assert_eq!(from_anyone(HTTPS.id), joins(true));
        // Whoever joins to be one that calls may do so by way of an RDS.
        for host in &configuration.hosts[1..] {
            prop_assert_eq!(anyone_to(HTTPS.id, &host.name), joins(true) && host.relays);
            prop_assert!(!anyone_to(SMSSH.id, &host.name));
        }
    }

    #[test]
    fn systems_are_dialled_by_their_data_movers_and_nobody_else(configuration in configuration()) {
        let plan = PortPlan::of(&configuration);
        let planned: Vec<(&str, &str, &str, u16)> = plan.rows.iter()
            .filter(|row| row.to.kind == EndKind::System)
            .map(|row| (row.row.as_str(), row.from.name.as_str(), row.to.name.as_str(), row.first_port))
            .collect();
        let server = name(0);
        for (module, from, to, port) in &planned {
            let row = DIAL.iter().find(|row| row.module == *module && row.port == *port).unwrap();
            let used = configuration.systems.iter().any(|system| {
                let looks = row.from.contains(&"server") && !row.from.contains(&"rds");
                let by = system.hosts.iter().any(|host| host == from) || looks && *from == server;
                system.name == *to && system.module == *module && by
            });
            prop_assert!(used, "{} {} {} {}", module, from, to, port);
        }
        for system in &configuration.systems {
            for row in DIAL.iter().filter(|row| row.module == system.module) {
                let one = (row.module, system.hosts[0].as_str(), system.name.as_str(), row.port);
                prop_assert!(planned.contains(&one), "{:?}", one);
            }
        }
    }

    #[test]
    fn no_connection_stands_twice_and_every_port_is_the_registrys(configuration in configuration()) {
        let plan = PortPlan::of(&configuration);
        let titles: Vec<String> = plan.rows.iter().map(PlanRow::title).collect();
        let mut once = titles.clone();
        once.sort();
        once.dedup();
        prop_assert_eq!(once.len(), titles.len(), "{:?}", titles);
        for row in plan.rows.iter().filter(|row| row.to.kind != EndKind::System) {
            let listen = LISTEN.iter().find(|listen| listen.id == row.row).unwrap();
            let base = listen.ports.first();
            let within = match listen.id {
                id if id == DRIVE.id => row.first_port >= base && row.first_port < base + 9,
                _ => row.first_port == base,
            };
            prop_assert!(within, "{}", row.title());
            let to = configuration.hosts.iter().find(|host| host.name == row.to.name).unwrap();
            prop_assert!(listen.on.contains(&to.role), "{}", row.title());
        }
        // A plan travels as JSON and comes back the same.
        let text = serde_json::to_string(&plan).unwrap();
        prop_assert_eq!(serde_json::from_str::<PortPlan>(&text).unwrap(), plan);
    }
}

fn three() -> PortConfiguration {
    let host = |at: usize, role| PlannedHost::new(name(at), role, vec![address(at)]);
    PortConfiguration {
        hosts: vec![host(0, Host::Server), host(1, Host::Rds), host(2, Host::Client)],
        uses: vec![DataUse {
            client: name(2),
            device: name(1),
            kind: UseKind::Interfaces(Vec::new()),
            why: "task 'home'".to_owned(),
        }],
        ..PortConfiguration::default()
    }
}

fn titles(configuration: &PortConfiguration) -> Vec<String> {
    let plan = PortPlan::of(configuration);
    plan.rows.iter().filter(|row| !row.local).map(PlanRow::title).collect()
}

#[test]
fn where_nothing_is_configured_smssh_to_the_hosts_and_http_to_the_device_are_all() {
    let expected = [
        "smssh: h0 to h1, port 11322",
        "smssh: h0 to h2, port 11322",
        "http: h2 to h1, port 11000",
    ];
    assert_eq!(titles(&three()), expected);
    assert!(PortPlan::of(&three()).rows.iter().all(|row| row.default));
}

#[test]
fn a_backup_that_starts_at_the_client_reaches_the_server_and_the_rds_or_the_server_alone() {
    let mut configuration = three();
    let external = |server_relays| UseKind::External {
        interfaces: vec![Interface::new(DataProtocol::Https)],
        server_relays,
    };
    configuration.uses[0].kind = external(false);
    let all = titles(&configuration);
    assert!(all.contains(&"https: h2 to h0, port 11443".to_owned()), "{all:?}");
    assert!(all.contains(&"https: h2 to h1, port 11443".to_owned()), "{all:?}");
    configuration.uses[0].kind = external(true);
    let all = titles(&configuration);
    assert!(all.contains(&"https: h2 to h0, port 11443".to_owned()), "{all:?}");
    assert!(all.contains(&"https: h0 to h1, port 11443".to_owned()), "{all:?}");
    assert!(!all.contains(&"https: h2 to h1, port 11443".to_owned()), "{all:?}");
}

#[test]
fn a_client_without_any_inbound_port_has_one_row_and_its_relay_the_rest() {
    let mut configuration = three();
    configuration.hosts[2].access = Access::Outbound { relay: None };
    configuration.hosts[2].addresses.clear();
    let expected = [
        "smssh: h0 to h1, port 11322",
        "http: h0 to h1, port 11000",
        "https: h2 to h0, port 11443",
    ];
    assert_eq!(titles(&configuration), expected);
    let plan = PortPlan::of(&configuration);
    assert_eq!(plan.warnings, Vec::<String>::new(), "no address is needed of it");
    assert!(plan.rows.iter().any(|row| row.from.anywhere));
}

#[test]
fn an_interface_in_a_network_of_its_own_is_one_row_with_all_its_addresses() {
    let mut configuration = three();
    let storage: IpAddr = "198.51.100.7".parse().unwrap();
    let own = Interface { addresses: vec![storage], ..Interface::DEFAULT };
    configuration.uses[0].kind = UseKind::Interfaces(vec![own]);
    let to = |configuration: &PortConfiguration| {
        let plan = PortPlan::of(configuration);
        let rows: Vec<_> = plan.rows.iter().filter(|row| row.row == HTTP.id).cloned().collect();
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows[0].to.addresses.clone()
    };
    assert_eq!(to(&configuration), [storage]);
    let mut both = configuration.uses[0].clone();
    both.kind = UseKind::Interfaces(Vec::new());
    configuration.uses.push(both);
    assert_eq!(to(&configuration), [storage, address(1)]);

    // A name that nobody can look up opens nothing else in its place.
    let named = |host: &str, addresses| Interface {
        host: host.to_owned(),
        addresses,
        ..Interface::DEFAULT
    };
    configuration.uses.truncate(1);
    configuration.uses[0].kind = UseKind::Interfaces(vec![named("storage", Vec::new())]);
    assert_eq!(to(&configuration), [] as [IpAddr; 0]);
    let warnings = PortPlan::of(&configuration).warnings.join("\n");
    assert!(warnings.contains("the interface 'storage' of 'h1' has no address"), "{warnings}");
    assert!(!warnings.contains("host 'h1'"), "{warnings}");
    // One that leads to loopback is the host itself.
    let loopback = vec!["127.0.1.1".parse().unwrap()];
    configuration.uses[0].kind = UseKind::Interfaces(vec![named("own", loopback)]);
    assert_eq!(to(&configuration), [address(1)]);
}

#[test]
fn a_host_that_calls_keeps_the_data_of_its_own_datastores_to_itself() {
    let mut configuration = three();
    configuration.hosts[1].access = Access::Outbound { relay: None };
    configuration.uses[0].client = name(1);
    let rows = PortPlan::of(&configuration).rows;
    let http: Vec<&PlanRow> = rows.iter().filter(|row| row.row == HTTP.id).collect();
    assert_eq!((http.len(), http[0].local, &http[0].from.name), (1, true, &name(1)));
}

#[test]
fn ports_that_were_changed_and_ranges_that_are_odd_are_said() {
    let mut configuration = three();
    let free = 40_000;
    configuration.hosts[1].ports.changed = vec![(HTTP.id.to_owned(), free)];
    assert!(titles(&configuration).contains(&format!("http: h2 to h1, port {free}")));
    configuration.uses[0].kind = UseKind::Interfaces(vec![Interface::new(DataProtocol::Ftp {
        passive: true,
        active: false,
    })]);
    configuration.hosts[1].ports.ftp_range = Some((free, free + 2));
    let plan = PortPlan::of(&configuration);
    assert!(
        plan.warnings.iter().any(|text| text.contains("gives 1 transfers")),
        "{:?}",
        plan.warnings
    );
    assert!(plan.rows.iter().any(|row| row.ports() == format!("{free}-{}", free + 2)));
}

#[test]
fn a_drive_is_dialled_where_it_really_listens_and_at_its_own_network() {
    let mut configuration = three();
    let by_drives = |at: Vec<DrivePlace>| UseKind::Drives { numbers: vec![1, 7], at };
    let of_drives = |configuration: &PortConfiguration| {
        let plan = PortPlan::of(configuration);
        let rows: Vec<PlanRow> =
            plan.rows.iter().filter(|row| row.row == DRIVE.id).cloned().collect();
        (rows, plan.warnings.join("\n"))
    };
    let ports = |rows: &[PlanRow]| -> Vec<(Option<u32>, u16)> {
        rows.iter().map(|row| (row.drive, row.first_port)).collect()
    };
    configuration.uses[0].kind = by_drives(Vec::new());
    let base = DRIVE.ports.first();
    assert_eq!(ports(&of_drives(&configuration).0), [(Some(1), base + 1), (Some(7), base + 7)]);
    configuration.hosts[1].ports.changed = vec![(DRIVE.id.to_owned(), 40_000)];
    assert_eq!(ports(&of_drives(&configuration).0), [(Some(1), 40_001), (Some(7), 40_007)]);

    let storage: IpAddr = "198.51.100.7".parse().unwrap();
    let at =
        |host: &str, port| DrivePlace { port, addresses: vec![storage], host: host.to_owned() };
    configuration.uses[0].kind = by_drives(vec![at("storage", None), DrivePlace::default()]);
    let (rows, _) = of_drives(&configuration);
    assert_eq!(ports(&rows), [(Some(1), 40_001), (Some(7), 40_007)]);
    assert_eq!(rows[0].to.addresses, [storage, address(1)]);
    let places: Vec<_> =
        rows[0].places.iter().map(|one| (one.host.as_str(), one.addresses.clone())).collect();
    assert_eq!(places, [("storage", vec![storage]), ("", vec![address(1)])]);
    configuration.uses[0].kind = by_drives(vec![at("storage", Some(999))]);
    let (rows, _) = of_drives(&configuration);
    assert_eq!((rows.len(), rows[0].first_port, &rows[0].to.addresses), (1, 999, &vec![storage]));

    // Free ports are those that are known, and no others.
    configuration.uses[0].kind = by_drives(Vec::new());
    configuration.hosts[1].ports.changed = vec![(DRIVE.id.to_owned(), 0)];
    configuration.hosts[1].ports.drives = vec![(7, 50_123)];
    let (rows, warnings) = of_drives(&configuration);
    assert_eq!(ports(&rows), [(Some(7), 50_123)]);
    assert!(warnings.contains("drive 1 of 'h1' takes a free port"), "{warnings}");

    // Nobody listens: no firewall is opened for nothing, and it is said why.
    configuration.hosts[1].ports.no_drives = true;
    configuration.replications.push(Replication {
        source: name(0),
        target: name(1),
        drive: 3,
        at: Vec::new(),
        pull: false,
        why: "replication 'twice'".to_owned(),
    });
    let (rows, warnings) = of_drives(&configuration);
    assert_eq!(rows, []);
    for what in ["task 'home': drive 1", "replication 'twice': drive 3", "listens for no drives"] {
        assert!(warnings.contains(what), "{what}: {warnings}");
    }
}

#[test]
fn what_cannot_be_planned_is_a_warning_that_says_what_to_do() {
    let mut configuration = three();
    configuration.hosts[2].addresses.clear();
    configuration.hosts[1].access = Access::Ctrl;
    let mut lost = configuration.uses[0].clone();
    lost.device = "gone".to_owned();
    configuration.uses.push(lost);
    let kind = UseKind::Drives { numbers: vec![60_000], at: Vec::new() };
    let drives = DataUse { kind, ..configuration.uses[0].clone() };
    configuration.uses.push(drives);
    let warnings = PortPlan::of(&configuration).warnings.join("\n");
    for part in ["simsim client addresses h2", "not encrypted", "'gone' is not enrolled", "65,536"]
    {
        assert!(warnings.contains(part), "{part}: {warnings}");
    }
}
