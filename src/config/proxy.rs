//! Which proxies are believed when they say for whom they ask.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

/// The proxies in front of this server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ProxyConfig {
    /// The networks that trusted proxies ask from.
    pub trusted: Networks,
    /// The header in which they say for whom they ask.
    pub header: ForwardHeader,
}

/// Networks, each as in `10.0.0.0/8` or `2001:db8::/32`; a single address is a network of one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Networks(Vec<IpNet>);

/// The header in which a proxy says for whom it asks. Only one is read: a proxy passes on the other as the client has sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardHeader {
    /// `X-Forwarded-For: 203.0.113.7, 10.1.2.3`.
    XForwardedFor,
    /// `Forwarded: for=203.0.113.7, for="[2001:db8::1]:4711"` (RFC 7239).
    Forwarded,
}

impl ForwardHeader {
    /// The header's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }
}

impl Networks {
    /// Whether an address is in one of them. An IPv4 address may come as IPv6 (`::ffff:10.0.0.1`).
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<Vec<String>> for Networks {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, String> {
        let network = |text: &String| {
            let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
            network
                .ok_or_else(|| format!("\"{text}\" is no network; write it as in \"10.0.0.0/8\" or \"2001:db8::/32\""))
        };
        texts.iter().filter(|text| !text.is_empty()).map(network).collect::<Result<_, _>>().map(Self)
    }
}
