//! Tenants: finds who pays for a request, by its API key or by a header. Tenants' names come from the settings, never
//! from the request, so that a client cannot add labels to the metrics.

use std::collections::HashMap;

use super::share::FairShare;
use crate::config::{Config, MaxPriority, Weight};

/// A tenant, as an index into the tenants of the settings. The default tenant is everybody who is not in the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tenant(usize);

impl Tenant {
    /// The index: 0 is the default tenant.
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

/// All tenants of the settings, and the default tenant.
#[derive(Debug)]
pub struct Tenants {
    names: Vec<String>,
    /// By the tenants' indices.
    standings: Vec<(Weight, MaxPriority)>,
    by_key: HashMap<String, Tenant>,
    /// The header whose value is a tenant's name, in lower case.
    pub header: Option<String>,
}

impl Tenants {
    /// Reads the tenants of the settings; `default` comes first.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let names: Vec<String> = ["default".to_owned()]
            .into_iter()
            .chain(config.tenants.keys().filter(|name| *name != "default").cloned())
            .collect();
        let index = |name: &str| Tenant(names.iter().position(|known| known == name).unwrap_or_default());
        let keys = config.tenants.iter();
        let keys = keys.flat_map(|(name, tenant)| tenant.api_keys.iter().map(move |key| (key.reveal(), name)));
        let by_key = keys.filter(|(key, _)| !key.is_empty()).map(|(key, name)| (key.to_owned(), index(name))).collect();
        let standing = |name: &String| {
            config.tenants.get(name).map(|tenant| (tenant.weight, tenant.max_priority)).unwrap_or_default()
        };
        let standings = names.iter().map(standing).collect();
        let header = config.cost.tenant_header.as_ref().map(|header| header.as_str().to_owned());
        Self { by_key, names, standings, header }
    }

    /// Finds the tenant of a request by one of its keys, else by the header's value, else the default tenant.
    #[must_use]
    pub fn find(&self, keys: [Option<&str>; 2], header: Option<&str>) -> Tenant {
        let by_header = || header.and_then(|name| self.named(name));
        let by_key = keys.into_iter().flatten().find_map(|key| self.by_key.get(key)).copied();
        by_key.or_else(by_header).unwrap_or_default()
    }

    /// The tenant of that name, if there is one.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Tenant> {
        self.names.iter().position(|known| known == name).map(Tenant)
    }

    /// The number of tenants, the default one included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.names.len()
    }

    /// The name of a tenant.
    #[must_use]
    pub fn name(&self, tenant: Tenant) -> &str {
        self.names.get(tenant.0).map_or("default", String::as_str)
    }

    /// The share of the machine that a tenant has while others wait, too.
    #[must_use]
    pub fn share(&self, tenant: Tenant) -> FairShare {
        FairShare::new(tenant.0, self.standings.get(tenant.0).map_or(1.0, |(weight, _)| weight.get()))
    }

    /// The highest priority that a tenant's requests may have.
    #[must_use]
    pub fn max_priority(&self, tenant: Tenant) -> u8 {
        self.standings.get(tenant.0).map_or(MaxPriority::default(), |(_, most)| *most).get()
    }

    /// The names of all tenants, in the order of their indices.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layers;

    #[test]
    fn a_key_or_a_trusted_header_names_the_tenant_and_all_else_is_default() {
        let variables = [
            ("OUNCE_TENANTS__ACME__API_KEYS", "k-1, k-2"),
            ("OUNCE_TENANTS__BOB__API_KEYS", ""),
            ("OUNCE_COST__TENANT_HEADER", "X-Tenant"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = Layers::defaults().and_then(|layers| layers.env(variables)).and_then(|layers| layers.build());
        let tenants = Tenants::new(&config.expect("valid"));
        let name = |key, header| tenants.name(tenants.find([Some("a gateway's own"), key], header)).to_owned();
        assert_eq!(name(Some("k-2"), None), "acme");
        assert_eq!(name(Some("k-3"), Some("bob")), "bob");
        assert_eq!(name(None, Some("carol")), "default");
        assert_eq!(name(Some(""), None), "default", "an empty list of keys does not contain an empty key");
        assert_eq!(tenants.header.as_deref(), Some("x-tenant"));
    }

    #[test]
    fn a_tenant_has_a_weight_and_a_ceiling_of_priority() {
        let variables = [("OUNCE_TENANTS__ACME__WEIGHT", "2.5"), ("OUNCE_TENANTS__ACME__MAX_PRIORITY", "4")];
        let read = |variables: [(&str, &str); 2]| {
            let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
            Layers::defaults().and_then(|layers| layers.env(variables)).and_then(|layers| layers.build())
        };
        let tenants = Tenants::new(&read(variables).expect("valid"));
        let acme = Tenant(1);
        assert_eq!((tenants.share(acme), tenants.max_priority(acme)), (FairShare::new(1, 2.5), 4));
        let anybody = Tenant::default();
        assert_eq!((tenants.share(anybody), tenants.max_priority(anybody)), (FairShare::default(), 9));
        let wrong = |name, value| read([(name, value), variables[0]]).expect_err("wrong").to_string();
        let weight = wrong("OUNCE_TENANTS__BOB__WEIGHT", "0");
        assert!(weight.contains("tenants.bob.weight") && weight.contains("0 is not from 0.001 to 1000"), "{weight}");
        let most = wrong("OUNCE_TENANTS__BOB__MAX_PRIORITY", "10");
        assert!(most.contains("tenants.bob.max_priority") && most.contains("10 is not from 0 to 9"), "{most}");
    }
}
