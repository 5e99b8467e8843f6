//! What nobody configured is what the security design says: a test of one past a limit that a test made
//! smaller says nothing of the real one. The figures themselves are held in `simsim_model`.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use simsim_model::limits;
use simsim_net::mux::MuxLimits;
use simsim_net::{Admission, outbound};

/// The waiting room of every listener: eight of one address, 256 in all, and nobody gets more by asking.
#[test]
fn a_waiting_room_has_eight_places_an_address_and_256_in_all_whatever_is_configured() {
    let of = |number: u32| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number));
    for room in [Admission::default(), Admission::with_limits(usize::MAX, usize::MAX)] {
        let mut places: Vec<_> = (0..8).map(|_| room.admit(of(1)).expect("eight")).collect();
        assert!(room.admit(of(1)).is_none(), "nine of one address");
        places.extend((0..248).map(|number| room.admit(of(2 + number)).expect("256")));
        assert!(room.admit(of(1000)).is_none(), "257");
        drop(places);
        // The newest of as many as like, likewise.
        let places: Vec<_> = (0..300).map(|number| room.admit_newest(of(number))).collect();
        assert_eq!(room.strangers(), limits::UNAUTHENTICATED_CONNECTIONS_MAX);
        drop(places);
    }
}

/// A multiplexed connection holds no more memory than any other, and is dead no later.
#[test]
fn a_multiplexer_keeps_to_the_memory_and_the_times_of_a_connection() {
    let (any, outbound) = (MuxLimits::default(), outbound::limits());
    assert_eq!((any.streams_max, outbound.streams_max), (32, 95));
    for mux in [&any, &outbound] {
        assert_eq!(mux.windows_bytes_max(), 32 << 20);
        assert!(mux.dead_peer <= Duration::from_millis(limits::DEAD_PEER_MS));
        assert!(mux.heartbeat <= Duration::from_millis(limits::HEARTBEAT_INTERVAL_MS));
        assert!(mux.heartbeat * 2 < mux.dead_peer, "one late heartbeat is no death");
    }
    assert_eq!(outbound::LINE_BYTES_MAX, 512);
}
