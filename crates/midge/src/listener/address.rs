//! Parses and resolves the addresses of listeners.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
#[cfg(all(unix, feature = "unix"))]
use std::path::PathBuf;

use crate::error::StartError;
#[cfg(not(all(unix, feature = "unix")))]
use crate::feature::{Feature, LeftOut};

/// A parsed address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// All addresses of a host, without repetition. The port of all of them is the same.
    Tcp(Vec<SocketAddr>),
    /// A Unix socket, and the permissions of its file.
    #[cfg(all(unix, feature = "unix"))]
    Unix(PathBuf, Option<u32>),
}

const TCP: &str = "expected host:port, with port 0 for a free one";
#[cfg(all(unix, feature = "unix"))]
const UNIX: &str = "expected unix:///path or unix:///path?mode=0660";

/// Parses an address and resolves its host.
///
/// # Errors
/// [`StartError::Address`] for a syntax error, [`StartError::LeftOut`] for a kind that this build does not
/// have, [`StartError::Bind`] for a host that does not resolve.
pub(crate) fn read(address: &str) -> Result<Address, StartError> {
    let unreadable = |what| StartError::Address {
        address: address.to_owned(),
        what,
    };

    let Some((scheme, rest)) = address.split_once("://") else {
        return Err(unreadable("expected tcp://host:port or unix:///path"));
    };

    match scheme {
        "tcp" | "mqtt" => {
            let (host, port) = host_and_port(rest).ok_or_else(|| unreadable(TCP))?;
            look_up(host, port)
                .map(Address::Tcp)
                .map_err(|source| StartError::Bind {
                    address: address.to_owned(),
                    source,
                })
        }
        #[cfg(all(unix, feature = "unix"))]
        "unix" => unix(rest).ok_or_else(|| unreadable(UNIX)),
        #[cfg(not(all(unix, feature = "unix")))]
        "unix" => Err(StartError::LeftOut {
            address: address.to_owned(),
            source: LeftOut(Feature::Unix),
        }),
        _ => Err(unreadable(
            "unknown scheme; this build has tcp:// and unix://",
        )),
    }
}

fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|_| is_number)?;

    let host = match host.strip_prefix('[') {
        Some(rest) => {
            let inner = rest.strip_suffix(']')?;
            // Brackets enclose IPv6 addresses, a zone included.
            inner.contains(':').then_some(inner)?
        }
        None => host,
    };
    (!host.is_empty() && !host.contains(['/', '@', '[', ']'])).then_some((host, port))
}

/// Resolves a host to all of its addresses.
fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let name = |error: &dyn std::fmt::Display| format!("host {host:?}: {error}");
    let found = (host, port)
        .to_socket_addrs()
        .map_err(|error| io::Error::new(error.kind(), name(&error)))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            name(&"it has no address"),
        ));
    }
    Ok(addresses)
}

#[cfg(all(unix, feature = "unix"))]
fn unix(rest: &str) -> Option<Address> {
    let (path, mode) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(mode(query.strip_prefix("mode=")?)?)),
        None => (rest, None),
    };

    // The system takes a path up to its first NUL: that would be another file.
    (!path.is_empty() && !path.contains('\0')).then(|| Address::Unix(path.into(), mode))
}

/// Permissions as `chmod` takes them: up to four octal digits, without the special ones.
#[cfg(all(unix, feature = "unix"))]
fn mode(digits: &str) -> Option<u32> {
    let octal = (1..=4).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let mode = u32::from_str_radix(digits, 8).ok()?;
    (octal && mode <= 0o777).then_some(mode)
}

/// Whether `[::]` must be IPv6 only, because an IPv4 address is listed with the same port.
pub(crate) fn shares_port_with_v4(address: &SocketAddr, all: &[Address]) -> bool {
    let all_v6 = matches!(address.ip(), IpAddr::V6(ip) if ip.is_unspecified());
    all_v6
        && all.iter().any(|other| match other {
            Address::Tcp(others) => others.iter().any(|other| {
                // Port 0 is one port for all addresses of a host, and different ports otherwise.
                let same_host = others.contains(address);
                let same_port = other.port() == address.port();
                other.is_ipv4() && same_port && (other.port() != 0 || same_host)
            }),
            #[cfg(all(unix, feature = "unix"))]
            Address::Unix(..) => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_told_apart() {
        for (text, expected) in [
            ("127.0.0.1:0", Some(("127.0.0.1", 0))),
            ("localhost:1883", Some(("localhost", 1883))),
            ("[::1]:65535", Some(("::1", 65_535))),
            ("[fe80::1%lo]:1", Some(("fe80::1%lo", 1))),
            ("::1:7", Some(("::1", 7))),
            ("localhost", None),
            ("localhost:", None),
            (":1883", None),
            ("localhost:65536", None),
            ("localhost:mqtt", None),
            ("localhost:+1", None),
            ("[::1]", None),
            ("[::1:1", None),
            ("[localhost]:1", None),
            ("user@localhost:1", None),
            ("localhost:1883/path", None),
            ("", None),
        ] {
            assert_eq!(host_and_port(text), expected, "{text}");
        }
    }

    #[cfg(all(unix, feature = "unix"))]
    #[test]
    fn a_unix_socket_has_a_path_and_perhaps_a_mode() {
        let socket = |path: &str, mode| Some(Address::Unix(path.into(), mode));

        for (text, expected) in [
            ("/run/midge", socket("/run/midge", None)),
            ("relative", socket("relative", None)),
            ("/s?mode=0660", socket("/s", Some(0o660))),
            ("/s?mode=600", socket("/s", Some(0o600))),
            ("/s?mode=0", socket("/s", Some(0))),
            ("", None),
            ("?mode=0660", None),
            ("/s?mode=", None),
            ("/s?mode=0o660", None),
            ("/s?mode=+660", None),
            ("/s?mode=0680", None),
            ("/s?mode=4755", None),
            ("/s?mode=00660", None),
            ("/s?mod=0660", None),
            ("/s\0t", None),
            ("\0abstract", None),
        ] {
            assert_eq!(unix(text), expected, "{text}");
        }
    }

    #[test]
    fn a_host_that_is_not_known_is_named_by_the_operating_systems_error() {
        // Reserved: it never exists (RFC 6761).
        let error = read("tcp://no-such-host.invalid:1883").unwrap_err();
        assert!(matches!(error, StartError::Bind { .. }), "{error:?}");
        assert!(error.to_string().contains("no-such-host.invalid\""));
    }

    #[test]
    fn v6_leaves_v4_to_who_asked_for_it() {
        let tcp = |addresses: &[&str]| {
            Address::Tcp(addresses.iter().map(|text| text.parse().unwrap()).collect())
        };
        let all: SocketAddr = "[::]:1883".parse().unwrap();
        let listed = |others: &[Address]| shares_port_with_v4(&all, others);
        assert!(listed(&[tcp(&["[::]:1883"]), tcp(&["0.0.0.0:1883"])]));
        assert!(listed(&[tcp(&["127.0.0.1:1883"]), tcp(&["[::]:1883"])]));
        assert!(listed(&[tcp(&["0.0.0.0:1883", "[::]:1883"])]));
        assert!(!listed(&[tcp(&["[::]:1883"])]));
        assert!(!listed(&[tcp(&["[::]:1883"]), tcp(&["0.0.0.0:1884"])]));
        let free: SocketAddr = "[::]:0".parse().unwrap();
        let apart = [tcp(&["[::]:0"]), tcp(&["0.0.0.0:0"])];
        assert!(!shares_port_with_v4(&free, &apart));
        assert!(shares_port_with_v4(&free, &[tcp(&["0.0.0.0:0", "[::]:0"])]));
        let one: SocketAddr = "[::1]:1883".parse().unwrap();
        assert!(!shares_port_with_v4(&one, &[tcp(&["0.0.0.0:1883"])]));
    }
}
