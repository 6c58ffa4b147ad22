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
            match network {
                Some(network) if network.prefix_len() > 0 => Ok(network),
                Some(_) => {
                    Err(format!("\"{text}\" is everybody, who could then ask in any name; name your proxies' networks"))
                }
                None => Err(format!("\"{text}\" is no network; write it as in \"10.0.0.0/8\" or \"2001:db8::/32\"")),
            }
        };
        texts.iter().filter(|text| !text.is_empty()).map(network).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Layers;

    fn refused(key: &str, value: &str) -> String {
        let layers = Layers::defaults().and_then(|layers| layers.env([(key.to_owned(), value.to_owned())]));
        layers.and_then(|layers| layers.build()).expect_err("refused").to_string()
    }

    #[test]
    fn a_limit_or_a_proxy_that_makes_no_sense_ends_the_start() {
        insta::assert_snapshot!(refused("OUNCE_PROXY__TRUSTED", "10.0.0.0/33"), @r#"OUNCE_PROXY__TRUSTED sets `proxy.trusted` to ["10.0.0.0/33"]: "10.0.0.0/33" is no network; write it as in "10.0.0.0/8" or "2001:db8::/32""#);
        insta::assert_snapshot!(refused("OUNCE_PROXY__TRUSTED", "10.0.0.1, ::/0"), @r#"OUNCE_PROXY__TRUSTED sets `proxy.trusted` to ["10.0.0.1", "::/0"]: "::/0" is everybody, who could then ask in any name; name your proxies' networks"#);
        insta::assert_snapshot!(refused("OUNCE_PROXY__HEADER", "x-real-ip"), @r#"OUNCE_PROXY__HEADER sets `proxy.header` to "x-real-ip": unknown variant `x-real-ip`, expected `x-forwarded-for` or `forwarded`"#);
        insta::assert_snapshot!(refused("OUNCE_LIMITS__REQUESTS_PER_SECOND", "0"), @r#"OUNCE_LIMITS__REQUESTS_PER_SECOND sets `limits.requests_per_second` to "0": 0 is not above 0"#);
        insta::assert_snapshot!(refused("OUNCE_LIMITS__PIXELS_PER_SECOND", "many"), @r#"OUNCE_LIMITS__PIXELS_PER_SECOND sets `limits.pixels_per_second` to "many": "many" is neither a number nor "none""#);
        insta::assert_snapshot!(refused("OUNCE_TENANTS__ACME__MAX_IN_FLIGHT", "1.5"), @r#"OUNCE_TENANTS__ACME__MAX_IN_FLIGHT sets `tenants.acme.max_in_flight` to "1.5": 1.5 is no whole number from 1 up"#);
        insta::assert_snapshot!(refused("OUNCE_LIMITS__BURST_SECONDS", "0"), @r#"OUNCE_LIMITS__BURST_SECONDS sets `limits.burst_seconds` to 0.0: 0 is not above 0"#);
    }
}
