//! Where a device takes data: URLs become the `host:port` that the data channel dials.

use simsim_model::port_registry;

use crate::ClientError;

/// `host:port` of every `http://` URL, in the same order. URLs of other protocols are passed over
/// as long as one remains.
///
/// # Errors
/// When none remains, or an `http://` URL is malformed.
pub(crate) fn dial_addresses(urls: &[String]) -> Result<Vec<String>, ClientError> {
    let mut addresses = Vec::new();
    for url in urls {
        let Some(rest) = url.strip_prefix("http://") else {
            tracing::info!(%url, "data address of another protocol is passed over");
            continue;
        };
        addresses.push(host_and_port(rest).ok_or_else(|| malformed(url))?);
    }
    if addresses.is_empty() {
        let given = if urls.is_empty() { "(none)".to_owned() } else { urls.join(", ") };
        return Err(ClientError::Address { address: given });
    }
    Ok(addresses)
}

fn malformed(url: &str) -> ClientError {
    ClientError::Address { address: url.to_owned() }
}

fn host_and_port(rest: &str) -> Option<String> {
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.is_empty() || authority.contains(['/', '@', '?', '#', ' ']) {
        return None;
    }
    // The colons of an IPv6 address stand in brackets.
    let after_host = authority.rfind(']').map_or(0, |end| end + 1);
    match authority.get(after_host..)?.rsplit_once(':') {
        Some((_, port)) => {
            port.parse::<u16>().ok().filter(|port| *port != 0)?;
            let host = authority.strip_suffix(port)?.strip_suffix(':')?;
            (!host.is_empty()).then(|| authority.to_owned())
        }
        None => Some(format!("{authority}:{}", port_registry::HTTP.ports.first())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(url: &str) -> Option<String> {
        dial_addresses(&[url.to_owned()]).ok()?.pop()
    }

    #[test]
    fn urls_become_host_and_port() {
        let default = port_registry::HTTP.ports.first();
        assert_eq!(one("http://rds:1234").as_deref(), Some("rds:1234"));
        assert_eq!(one("http://[::1]:1234/").as_deref(), Some("[::1]:1234"));
        assert_eq!(one("http://rds"), Some(format!("rds:{default}")));
        assert_eq!(one("http://[fe80::1]"), Some(format!("[fe80::1]:{default}")));
        for bad in ["", "rds:1", "http://", "http://:1", "http://a:0", "http://a:x", "http://u@a:1"]
        {
            assert_eq!(one(bad), None, "{bad}");
        }
        assert!(dial_addresses(&[]).is_err());
        let mixed = ["https://a:1".to_owned(), "http://b:2".to_owned()];
        assert_eq!(dial_addresses(&mixed).unwrap(), ["b:2"]);
    }
}
