//! For whom a proxy asks: the client's address out of `X-Forwarded-For` or `Forwarded`.
//!
//! Each proxy adds the address that it was asked from at the right. What stands left of the entries of trusted proxies was sent by the
//! client, who may write what he likes. So the list is read from the right, up to the first address that is no trusted proxy's.

use std::net::{IpAddr, SocketAddr};

use crate::config::{ForwardHeader, ProxyConfig};

/// The most entries that are looked at.
const MOST_ENTRIES: usize = 64;

/// The address of the client that asks over a connection from `peer`, whose headers have these lines, in their order.
///
/// Where a trusted proxy says nothing that can be read, its own address counts.
pub fn client_address<'a>(
    proxy: &ProxyConfig,
    peer: IpAddr,
    lines: impl DoubleEndedIterator<Item = &'a [u8]>,
) -> IpAddr {
    let mut nearest = peer.to_canonical();
    if !proxy.trusted.contain(nearest) {
        return nearest;
    }
    let entries = lines.rev().flat_map(|line| line.rsplit(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    // An empty entry is no entry (RFC 9110, 5.6.1).
    for entry in entries.take(MOST_ENTRIES).filter(|entry| !entry.is_empty()) {
        let Some(address) = read_entry(proxy.header, entry) else { break };
        nearest = address;
        if !proxy.trusted.contain(nearest) {
            break;
        }
    }
    nearest
}

fn read_entry(header: ForwardHeader, entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let node = match header {
        ForwardHeader::XForwardedFor => text,
        ForwardHeader::Forwarded => {
            let mut node = None;
            for pair in text.split(';') {
                let (name, value) = pair.trim().split_once('=')?;
                let value = unquoted(value)?;
                if name.eq_ignore_ascii_case("for") && node.replace(value).is_some() {
                    return None;
                }
            }
            node?
        }
    };
    address(node)
}

/// A value without its quotes. What is neither a token nor wholly in quotes is no value: it is the rest of something that was cut in two.
fn unquoted(value: &str) -> Option<&str> {
    let inside = value.strip_prefix('"').map(|rest| rest.strip_suffix('"'));
    let inside = inside.unwrap_or(Some(value))?;
    (!inside.contains(['"', '\\'])).then_some(inside)
}

/// An address with or without a port, and with or without brackets where it is IPv6.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).filter(|inside| inside.contains(':'));
    let parsed = bare.unwrap_or(text).parse::<IpAddr>().ok();
    parsed.or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip())).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Layers};

    fn proxy(header: &str) -> ProxyConfig {
        let variables =
            [("OUNCE_PROXY__TRUSTED", "10.0.0.0/8, 2001:db8:ffff::/48, 192.0.2.1"), ("OUNCE_PROXY__HEADER", header)];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config: Config = Layers::defaults().and_then(|l| l.env(variables)).and_then(|l| l.build()).expect("valid");
        config.proxy
    }

    /// Whom the lines of a header name, to a server that is asked from 10.0.0.1.
    fn named(header: &str, lines: &[&str]) -> String {
        let lines = lines.iter().map(|line| line.as_bytes());
        client_address(&proxy(header), "10.0.0.1".parse().expect("an address"), lines).to_string()
    }

    #[test]
    fn the_last_address_that_is_no_trusted_proxys_counts() {
        let named = |lines: &[&str]| named("x-forwarded-for", lines);
        assert_eq!(named(&["203.0.113.7"]), "203.0.113.7");
        assert_eq!(
            named(&["6.6.6.6, 203.0.113.7, 10.9.9.9, 192.0.2.1"]),
            "203.0.113.7",
            "what he wrote himself is not read"
        );
        assert_eq!(named(&["6.6.6.6", "203.0.113.7"]), "203.0.113.7", "HAProxy adds a line of its own");
        assert_eq!(named(&["10.1.1.1, 10.2.2.2"]), "10.1.1.1", "all are trusted: the farthest");
        assert_eq!(named(&[]), "10.0.0.1");
    }

    #[test]
    fn an_untrusted_peer_is_not_believed() {
        let lines = || [b"203.0.113.7".as_slice()].into_iter();
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let asked = |peer: &str| client_address(&proxy("x-forwarded-for"), address(peer), lines());
        assert_eq!(asked("11.0.0.1"), address("11.0.0.1"));
        assert_eq!(asked("::ffff:11.0.0.1"), address("11.0.0.1"));
        assert_eq!(asked("::ffff:10.0.0.1"), address("203.0.113.7"));
        assert_eq!(asked("2001:db8:ffff::9"), address("203.0.113.7"));
    }

    #[test]
    fn ports_brackets_and_mapped_addresses_are_read() {
        let named = |line: &str| named("x-forwarded-for", &[line]);
        assert_eq!(named("203.0.113.7:4711"), "203.0.113.7");
        assert_eq!(named("[2001:db8::1]:4711"), "2001:db8::1");
        assert_eq!(named("[2001:db8::1]"), "2001:db8::1");
        assert_eq!(named("2001:db8::1"), "2001:db8::1");
        assert_eq!(named("::ffff:203.0.113.7"), "203.0.113.7");
        assert_eq!(named("203.0.113.7, ::ffff:10.0.0.9"), "203.0.113.7", "a trusted proxy in the form of IPv6");
    }

    #[test]
    fn what_cannot_be_read_ends_the_list_and_nothing_else() {
        let named = |line: &str| named("x-forwarded-for", &[line]);
        for odd in [
            ", ,",
            "",
            "unknown",
            "_hidden",
            "1.2.3",
            "1.2.3.4.5",
            "[1.2.3.4]",
            "[::1",
            "::1]",
            "\"1.2.3.4\"",
            "1.2.3.4:x",
            "fe80::1%eth0",
        ] {
            assert_eq!(named(odd), "10.0.0.1", "{odd}");
        }
        assert_eq!(named("6.6.6.6, unknown, 10.3.3.3"), "10.3.3.3", "the last that is known");
        assert_eq!(named(", 203.0.113.7, ,"), "203.0.113.7");
        let many = vec!["6.6.6.6"; 10_000].join(",");
        assert_eq!(named(&many), "6.6.6.6");
        let trusted = vec!["10.7.7.7"; 10_000].join(",");
        assert_eq!(named(&format!("6.6.6.6,{trusted}")), "10.7.7.7", "nobody has so many proxies");
        assert_eq!(named(&format!("6.6.6.6{}", ",".repeat(10_000))), "10.0.0.1");
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_says() {
        let named = |line: &str| named("forwarded", &[line]);
        assert_eq!(named("for=203.0.113.7"), "203.0.113.7");
        assert_eq!(named("For=\"[2001:db8::1]:4711\""), "2001:db8::1");
        assert_eq!(named("for=6.6.6.6, for=203.0.113.7;proto=http;by=10.0.0.1"), "203.0.113.7");
        assert_eq!(named("proto=http; FOR=203.0.113.7 ;host=\"example.org:8080\""), "203.0.113.7");
        for odd in [
            "for=unknown",
            "for=_hidden",
            "for=\"_hidden:80\"",
            "proto=http",
            "203.0.113.7",
            "for=",
            "for=1.1.1.1;for=2.2.2.2",
        ] {
            assert_eq!(named(odd), "10.0.0.1", "{odd}");
        }
        // A client cannot hide the address that the proxy adds in quotes of his own, nor put one into a name of a host.
        assert_eq!(named("for=\"6.6.6.6, for=203.0.113.7;host=x"), "203.0.113.7");
        assert_eq!(named("for=203.0.113.7;host=\"a, for=6.6.6.6;x=\\\"b\""), "10.0.0.1");
    }

    #[test]
    fn only_the_header_of_the_settings_is_read() {
        assert_eq!(named("forwarded", &["203.0.113.7"]), "10.0.0.1");
        assert_eq!(named("x-forwarded-for", &["for=203.0.113.7"]), "10.0.0.1");
    }
}
