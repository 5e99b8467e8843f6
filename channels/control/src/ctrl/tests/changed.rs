//! What was changed, left out, repeated, moved or sent back is never acted upon.

use super::middle::*;
use crate::ctrl::record::MESSAGES_PER_KEY;

async fn ping_twice(client: ControlClient) -> Result<(), ControlError> {
    for _ in 0..2 {
        client.call(Ping {}).await?;
    }
    Ok(())
}

/// Flips bits of the byte at `place` of all that is said.
fn flip(place: usize, bits: u8) -> Change {
    let mut passed = 0;
    Box::new(move |_, mut part| {
        if let Some(byte) = place.checked_sub(passed).and_then(|at| part.get_mut(at)) {
            *byte ^= bits;
        }
        passed += part.len();
        vec![part]
    })
}

#[tokio::test(start_paused = true)]
async fn every_changed_byte_of_a_session_ends_it_and_nothing_is_acted_upon() {
    let hosts = Hosts::new();
    let (done, [up, down]) = hosts.session(as_it_is(), as_it_is(), ping_twice).await;
    done.unwrap();
    assert_eq!(hosts.asked.0.lock().unwrap().len(), 2);
    // Up to the second request, and to its answer: what follows is the end of the session.
    let upwards: usize = up.iter().take(LINES + 3).map(Vec::len).sum();
    let downwards: usize = down.iter().take(LINES + 3).map(Vec::len).sum();
    let every = if std::env::var_os("SIMSIM_TEST_EXHAUSTIVE").is_some() { 8 } else { 1 };
    let answered: usize = up.iter().take(LINES + 2).map(Vec::len).sum();
    for place in 0..upwards {
        for more in 0..every {
            hosts.asked.0.lock().unwrap().clear();
            let change = flip(place, 1 << ((place + more) % 8));
            let (done, _) = hosts.session(change, as_it_is(), ping_twice).await;
            let error = done.expect_err(&format!("byte {place} upwards was changed"));
            assert!(matches!(error.kind(), Kind::Unreachable), "{place}: {error}");
            let asked = hosts.asked.0.lock().unwrap().len();
            assert_eq!(asked, usize::from(place >= answered), "byte {place} upwards");
        }
    }
    for place in 0..downwards {
        for more in 0..every {
            let change = flip(place, 1 << ((place + more) % 8));
            let (done, _) = hosts.session(as_it_is(), change, ping_twice).await;
            let error = done.expect_err(&format!("byte {place} downwards was changed"));
            assert!(matches!(error.kind(), Kind::Unreachable), "{place}: {error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn net01_a_session_cut_at_any_byte_is_complete_or_lost() {
    let hosts = Hosts::new();
    let (_, [_, down]) = hosts.session(as_it_is(), as_it_is(), ping_twice).await;
    let whole: usize = down.iter().take(LINES + 3).map(Vec::len).sum();
    for end in 0..=whole {
        let mut passed = 0;
        let cut: Change = Box::new(move |_, mut part| {
            let left = end - passed;
            passed = (passed + part.len()).min(end);
            part.truncate(left);
            vec![part]
        });
        let (done, _) = hosts.session(as_it_is(), cut, ping_twice).await;
        match done {
            Ok(()) => assert_eq!(end, whole),
            Err(error) => {
                assert_eq!(error.kind(), Kind::Unreachable, "{end}: {error}");
                assert!(end < whole);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn messages_left_out_repeated_moved_or_sent_back_end_the_session() {
    // The first request upwards, the answer to it downwards: behind the lines and the hello.
    const AT: usize = LINES + 1;
    let left_out: fn() -> Change =
        || Box::new(|number, part| if number == AT { vec![] } else { vec![part] });
    let repeated: fn() -> Change = || {
        Box::new(|number, part| if number == AT { vec![part.clone(), part] } else { vec![part] })
    };
    let moved: fn() -> Change = || {
        let mut held = Vec::new();
        Box::new(move |number, part| match number {
            AT => {
                held = part;
                vec![]
            }
            _ if number == AT + 1 => vec![part, std::mem::take(&mut held)],
            _ => vec![part],
        })
    };
    // Long enough that what comes behind the missing message is seen.
    let work = async |client: ControlClient| {
        let calls = (client.call(Ping {}), client.call(Ping {}), client.call(Ping {}));
        let (one, two, three) = tokio::join!(calls.0, calls.1, calls.2);
        one.and(two).and(three)?;
        client.call(Ping {}).await
    };
    for (what, change) in [("left out", left_out), ("repeated", repeated), ("moved", moved)] {
        for upwards in [true, false] {
            let hosts = Hosts::new();
            let (up, down) = if upwards { (change(), as_it_is()) } else { (as_it_is(), change()) };
            let (done, _) = hosts.session(up, down, work).await;
            let error = done.expect_err(&format!("{what}, upwards: {upwards}"));
            assert!(matches!(error, ControlError::Lost { .. }), "{what}: {error}");
            let asked = hosts.asked.0.lock().unwrap().len();
            let most = match (what, upwards) {
                ("repeated", true) => 1,
                (_, true) => 0,
                _ => 3,
            };
            assert!(asked <= most, "{what}: {asked} requests were acted upon");
        }
    }

    // The dialler's own words come back to it, and the listener's to the listener.
    let own: Arc<Mutex<Vec<u8>>> = Arc::default();
    let keep = Arc::clone(&own);
    let up: Change = Box::new(move |number, part| {
        if number == LINES {
            *keep.lock().unwrap() = part.clone();
        }
        vec![part]
    });
    let down: Change =
        Box::new(
            move |number, part| {
                if number == LINES { vec![own.lock().unwrap().clone()] } else { vec![part] }
            },
        );
    let hosts = Hosts::new();
    let (done, _) = hosts.session(up, down, ping_twice).await;
    let error = done.unwrap_err();
    assert!(error.to_string().contains("changed on the way"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_another_session_said_is_of_no_use() {
    let hosts = Hosts::new();
    let (_, [up, down]) = hosts.session(as_it_is(), as_it_is(), ping_twice).await;
    // All of it, to a new listener and to a new dialler.
    hosts.asked.0.lock().unwrap().clear();
    let (mut near, far) = duplex(1 << 20);
    let listening = hosts.listen(far);
    near.write_all(&up[0]).await.unwrap();
    assert!(next(&mut near, 0).await.unwrap().starts_with(b"simsim-ctrl 1 answer "));
    near.write_all(&up[1..].concat()).await.unwrap();
    let why = listening.await.unwrap();
    assert!(why.contains("more came than was due"), "{why}");
    let (mut near, far) = duplex(1 << 20);
    let listening = hosts.listen(far);
    near.write_all(&up[0]).await.unwrap();
    next(&mut near, 0).await.unwrap();
    near.write_all(&up[1]).await.unwrap();
    let why = listening.await.unwrap();
    assert!(why.contains("of another call"), "{why}");

    let (near, mut far) = duplex(1 << 20);
    far.write_all(&down[0]).await.unwrap();
    let error = hosts.dial(near).await.unwrap_err();
    assert!(error.to_string().contains("cannot be opened"), "{error}");

    // One message of it at a time, in a session between the same hosts, at its own place.
    for at in LINES..LINES + 2 {
        let (old_up, old_down) = (up[at].clone(), down[at].clone());
        let instead = |old: Vec<u8>| -> Change {
            Box::new(move |number, part| vec![if number == at { old.clone() } else { part }])
        };
        let (done, _) = hosts.session(instead(old_up), as_it_is(), ping_twice).await;
        assert!(done.is_err(), "message {at} upwards");
        let (done, _) = hosts.session(as_it_is(), instead(old_down), ping_twice).await;
        assert!(done.is_err(), "message {at} downwards");
    }
    assert!(hosts.asked.0.lock().unwrap().len() <= 4);
}

#[tokio::test(start_paused = true)]
async fn somebody_in_between_with_keys_of_its_own_learns_nothing() {
    let hosts = Hosts::new();
    // Plays the node for the server: it does not have the node's key.
    let false_node = Hosts { node: Identity::generate(), ..Hosts::new() };
    let (near, far) = duplex(1 << 20);
    let listening = false_node.listen(far);
    let error = hosts.dial(near).await.unwrap_err();
    assert!(matches!(error, ControlError::HostKey { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Denied);
    listening.await.unwrap();
    // Plays the server for the node.
    let (near, far) = duplex(1 << 20);
    let listening = hosts.listen(far);
    let false_server = Hosts { node: hosts.node.clone(), ..Hosts::new() };
    let error = false_server.dial(near).await.unwrap_err();
    assert!(matches!(error, ControlError::LoginRefused { .. }), "{error}");
    assert!(listening.await.unwrap().contains("not enrolled"));
    assert!(hosts.asked.0.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_session_outlives_many_keys_and_each_message_is_due_once() {
    let hosts = Hosts::new();
    let work = async |client: ControlClient| {
        for _ in 0..2 * MESSAGES_PER_KEY + 10 {
            client.call(Ping {}).await?;
        }
        Ok(())
    };
    let (done, [up, _]) = hosts.session(as_it_is(), as_it_is(), work).await;
    done.unwrap();
    assert!(up.len() as u64 > 2 * MESSAGES_PER_KEY);
}
