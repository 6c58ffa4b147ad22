//! Where a call comes from. Where keys open nothing (`auth.mode = "open"`), calls that change something are taken from programs on
//! this machine only.
//!
//! A web page that is open in a browser here can send such calls, too. Browsers say so in `Origin` and `Sec-Fetch-Site`. A page
//! whose name its owner has made point to this machine (DNS rebinding) looks as if it came from here, but its requests have that name as `Host`.

use std::net::{IpAddr, Ipv6Addr};

use super::Denied;

/// Where a call comes from, as its connection and its headers tell.
#[derive(Debug, Clone, Default)]
pub struct CallSource<'a> {
    /// The address at the other end of the connection, where it is known.
    pub peer: Option<IpAddr>,
    /// The hosts that the request names, with their ports: in its target and in `Host`.
    pub hosts: Vec<&'a str>,
    /// The header `Origin`.
    pub origin: Option<&'a str>,
    /// The header `Sec-Fetch-Site`.
    pub fetch_site: Option<&'a str>,
    /// The name of a header that only proxies send, where the request has one.
    pub proxy_header: Option<&'static str>,
}

impl CallSource<'_> {
    /// Whether it comes from a program on this machine.
    ///
    /// # Errors
    /// The reason why it does not.
    pub fn check_local(&self) -> Result<(), Denied> {
        if !self.peer.is_some_and(|ip| ip.to_canonical().is_loopback()) {
            return Err(Denied::FromAfar(self.peer));
        }
        if let Some(header) = self.proxy_header {
            return Err(Denied::Proxied(header));
        }
        if let Some(host) = self.hosts.iter().find(|host| !is_local_name(host)) {
            return Err(Denied::ForeignHost(shown(host)));
        }
        // `none` is a person who typed the address.
        if let Some(site) = self.fetch_site.filter(|site| !["same-origin", "none"].contains(site)) {
            return Err(Denied::ForeignPage(format!("Sec-Fetch-Site: {}", shown(site))));
        }
        if let Some(origin) = self.origin.filter(|origin| !self.hosts.iter().any(|host| is_origin_of(origin, host))) {
            return Err(Denied::ForeignPage(format!("Origin: {}", shown(origin))));
        }
        Ok(())
    }
}

/// Whether a host is an IP address, or a name that no owner of a domain can make point here.
fn is_local_name(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let inside = rest.split_once(']').filter(|(_, port)| port.is_empty() || is_port(port));
        return inside.is_some_and(|(ip, _)| ip.parse::<Ipv6Addr>().is_ok());
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let lower = name.to_ascii_lowercase();
    name.parse::<IpAddr>().is_ok() || lower == "localhost" || lower.ends_with(".localhost")
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
}

fn is_origin_of(origin: &str, host: &str) -> bool {
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

/// What a client sent, for a sentence: not at any length.
fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(peer: &str, hosts: &[&'static str]) -> CallSource<'static> {
        CallSource { peer: Some(peer.parse().expect("an address")), hosts: hosts.to_vec(), ..CallSource::default() }
    }

    #[test]
    fn a_program_on_this_machine_may() {
        for peer in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            for host in
                ["127.0.0.1:8081", "localhost:8081", "LOCALHOST", "[::1]:8081", "[::1]", "192.0.2.1", "a.localhost:1"]
            {
                assert_eq!(from(peer, &[host]).check_local(), Ok(()), "{peer} {host}");
            }
        }
        assert_eq!(from("127.0.0.1", &[]).check_local(), Ok(()), "HTTP/1.0 has no Host, and no browser speaks it");
        let same = CallSource { origin: Some("http://localhost:8081"), ..from("::1", &["localhost:8081"]) };
        assert_eq!(same.check_local(), Ok(()));
        for site in ["none", "same-origin"] {
            assert_eq!(CallSource { fetch_site: Some(site), ..same.clone() }.check_local(), Ok(()));
        }
    }

    #[test]
    fn another_machine_may_not() {
        for peer in ["10.0.0.7", "::", "fe80::1", "::ffff:10.0.0.7", "0.0.0.0"] {
            let denied = from(peer, &["localhost"]).check_local();
            assert!(matches!(denied, Err(Denied::FromAfar(Some(_)))), "{peer}");
        }
        assert_eq!(CallSource::default().check_local(), Err(Denied::FromAfar(None)));
        let proxied = CallSource { proxy_header: Some("via"), ..from("127.0.0.1", &["localhost"]) };
        assert_eq!(proxied.check_local(), Err(Denied::Proxied("via")));
    }

    #[test]
    fn a_name_that_somebody_made_point_here_may_not() {
        for host in [
            "evil.com",
            "evil.com:8081",
            "localhost.evil.com",
            "127.0.0.1.evil.com",
            "",
            "[evil]",
            "[::1]evil.com",
            "notlocalhost",
            "[::1",
            "127.1",
            "localhost@evil.com:8081",
        ] {
            let denied = from("127.0.0.1", &[host]).check_local();
            assert_eq!(denied, Err(Denied::ForeignHost(host.to_owned())), "{host}");
        }
        assert!(from("::1", &["localhost", "evil.com"]).check_local().is_err(), "one good name does not help another");
    }

    #[test]
    fn a_web_page_of_another_place_may_not() {
        let here = from("127.0.0.1", &["localhost:8081"]);
        for origin in
            ["http://evil.com", "null", "", "http://localhost:3000", "http://localhost:8081.evil.com", "file://"]
        {
            let denied = CallSource { origin: Some(origin), ..here.clone() }.check_local();
            assert_eq!(denied, Err(Denied::ForeignPage(format!("Origin: {origin}"))));
        }
        for site in ["cross-site", "same-site", "?"] {
            let denied = CallSource { fetch_site: Some(site), ..here.clone() }.check_local();
            assert_eq!(denied, Err(Denied::ForeignPage(format!("Sec-Fetch-Site: {site}"))));
        }
    }
}
