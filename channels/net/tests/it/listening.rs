//! Listeners: dual stack, and who is in the way.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use simsim_model::{Kind, port_registry};
use simsim_net::{ListenError, listen};
use tokio::net::TcpStream;

#[tokio::test]
async fn an_unspecified_ipv6_address_takes_both_families() {
    let listener = listen("[::]:0".parse().unwrap(), &port_registry::SMSSH).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let v4 = TcpStream::connect(("127.0.0.1", port)).await;
    v4.unwrap();
    if listener.local_addr().unwrap().is_ipv6() {
        TcpStream::connect(("::1", port)).await.unwrap();
    }
}

#[tokio::test]
async fn a_taken_port_names_port_protocol_and_holder() {
    let first = listen("127.0.0.1:0".parse().unwrap(), &port_registry::HTTP).await.unwrap();
    let address = first.local_addr().unwrap();
    let error = listen(address, &port_registry::HTTP).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Busy);
    let text = error.to_string();
    assert!(text.contains(&address.port().to_string()), "{text}");
    assert!(text.contains(port_registry::HTTP.protocol), "{text}");
    assert!(text.contains("this process itself"), "{text}");
    assert!(text.contains("choose another"), "{text}");
    drop(first);
    listen(address, &port_registry::HTTP).await.unwrap();
}

/// A child that holds a port, ended with the test.
struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_port_of_another_process_names_that_process() {
    let inherited = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = inherited.local_addr().unwrap();
    // The child gets the listening socket as its standard input, and we close ours.
    let child = Command::new("sleep")
        .arg("30")
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(inherited)))
        .spawn()
        .unwrap();
    let held = Held(child);
    let error = listen(address, &port_registry::CONSOLE).await.unwrap_err();
    let ListenError::Taken { holder, .. } = &error else { panic!("{error}") };
    assert!(holder.contains("sleep"), "{holder}");
    assert!(holder.contains(&held.0.id().to_string()), "{holder}");
    drop(held);
    tokio::time::timeout(Duration::from_secs(5), async {
        while listen(address, &port_registry::CONSOLE).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_foreign_address_says_so() {
    let error = listen("192.0.2.1:0".parse().unwrap(), &port_registry::SMSSH).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("no address 192.0.2.1"), "{error}");
}
