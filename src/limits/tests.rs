use std::{collections::HashSet, net::Ipv6Addr};

use super::{addresses::AddressTable, *};
use crate::config::Layers;

fn limiter(settings: &[(&str, &str)]) -> Arc<Limiter> {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let config = Layers::defaults().and_then(|layers| layers.env(settings)).and_then(|layers| layers.build());
    Limiter::new(&config.expect("valid"), Arc::new(Metrics::new().expect("metrics")))
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// How many of so many requests are let in.
fn let_in(limiter: &Arc<Limiter>, tenant: &str, from: &str, requests: usize) -> usize {
    (0..requests).filter(|_| limiter.admit(tenant, address(from)).is_ok()).count()
}

/// So slow that nothing flows in while a test runs.
const FIVE_AT_ONCE: [(&str, &str); 2] =
    [("OUNCE_LIMITS__REQUESTS_PER_SECOND", "0.001"), ("OUNCE_LIMITS__BURST_SECONDS", "5000")];

#[test]
fn without_limits_there_is_no_allowance() {
    let limiter = limiter(&[("OUNCE_TENANTS__ACME__API_KEYS", "k")]);
    assert!(limiter.is_empty());
    assert!(limiter.admit("acme", address("::1")).expect("let in").is_none());
}

#[test]
fn tenants_have_their_own_limit_else_everybodys() {
    let [rate, burst] = FIVE_AT_ONCE;
    let limiter = limiter(&[
        rate,
        burst,
        ("OUNCE_TENANTS__SMALL__REQUESTS_PER_SECOND", "0.0004"),
        ("OUNCE_TENANTS__USUAL__API_KEYS", "k"),
        ("OUNCE_TENANTS__FREE__REQUESTS_PER_SECOND", "none"),
    ]);
    assert_eq!(let_in(&limiter, "small", "203.0.113.7", 20), 2);
    assert_eq!(let_in(&limiter, "usual", "203.0.113.7", 20), 5);
    assert_eq!(let_in(&limiter, "free", "203.0.113.7", 20), 20);
    assert_eq!(let_in(&limiter, "default", "203.0.113.7", 20), 5, "and addresses without a tenant");
    assert_eq!(let_in(&limiter, "default", "203.0.113.8", 20), 5, "each");
}

#[test]
fn all_requests_of_no_tenant_may_have_a_limit_together() {
    let [rate, burst] = FIVE_AT_ONCE;
    let limiter = limiter(&[rate, burst, ("OUNCE_TENANTS__DEFAULT__REQUESTS_PER_SECOND", "0.0014")]);
    assert_eq!(let_in(&limiter, "default", "203.0.113.7", 20), 5);
    assert_eq!(let_in(&limiter, "default", "203.0.113.8", 20), 2, "seven together");
}

#[test]
fn an_ipv6_network_of_64_bits_is_one_client() {
    let limiter = limiter(&FIVE_AT_ONCE);
    assert_eq!(let_in(&limiter, "default", "2001:db8::1", 4), 4);
    assert_eq!(let_in(&limiter, "default", "2001:db8::ffff:1", 4), 1);
    assert_eq!(let_in(&limiter, "default", "2001:db8:0:1::1", 4), 4);
    assert_eq!(let_in(&limiter, "default", "::ffff:203.0.113.7", 4), 4);
    assert_eq!(let_in(&limiter, "default", "203.0.113.7", 4), 1, "the same, as IPv4");
}

#[test]
fn a_refusal_names_the_client_the_limit_and_its_setting() {
    let limiter = limiter(&[
        ("OUNCE_LIMITS__REQUESTS_PER_SECOND", "0.5"),
        ("OUNCE_TENANTS__ACME__MAX_IN_FLIGHT", "1"),
        ("OUNCE_TENANTS__BOB__PIXELS_PER_SECOND", "1000"),
        ("OUNCE_TENANTS__BOB__USD_PER_SECOND", "0.000001"),
    ]);
    let said = |tenant: &str, from: &str| limiter.admit(tenant, address(from)).expect_err("refused").error.to_string();
    let _one = limiter.admit("default", address("2001:db8::7")).expect("let in");
    insta::assert_snapshot!(said("default", "2001:db8::8"), @"network 2001:db8::/64 may have 0.5 requests a second, as `limits.requests_per_second` says; try again in 2 s");
    let _one = limiter.admit("acme", address("::1")).expect("let in");
    insta::assert_snapshot!(said("acme", "::1"), @"tenant `acme` may have 1 request in flight, as `tenants.acme.max_in_flight` says; try again in 1 s");
    let bob = limiter.admit("bob", address("::1")).expect("let in").expect("limited");
    bob.pixels(5_000_000).expect("one image after a pause");
    insta::assert_snapshot!(bob.pixels(1).expect_err("refused"), @"tenant `bob` may have 1000 pixels a second, as `tenants.bob.pixels_per_second` says; try again in 5000 s");
    bob.spend(0.0001);
    drop(bob);
    insta::assert_snapshot!(said("bob", "::1"), @"tenant `bob` may have 0.000001 dollars a second, as `tenants.bob.usd_per_second` says; try again in 99 s");
}

#[test]
fn a_place_is_free_again_when_the_request_is_gone() {
    let limiter = limiter(&[("OUNCE_TENANTS__ACME__MAX_IN_FLIGHT", "2"), ("OUNCE_LIMITS__MAX_IN_FLIGHT", "1")]);
    for (tenant, most) in [("acme", 2), ("default", 1)] {
        let enter = || limiter.admit(tenant, address("203.0.113.7"));
        let mut held: Vec<_> = (0..most).map(|_| enter().expect("let in").expect("limited")).collect();
        assert!(held.iter().all(Allowance::has_place));
        assert!(enter().is_err());
        let clone = held[0].clone();
        held.clear();
        assert_eq!(enter().is_err(), most == 1, "a clone keeps the place");
        drop(clone);
        let again: Vec<_> = (0..most).map(|_| enter().expect("let in")).collect();
        assert!(enter().is_err() && again.len() == most);
    }
}

#[test]
fn who_is_refused_by_one_limit_leaves_no_place_taken() {
    let limiter =
        limiter(&[("OUNCE_LIMITS__MAX_IN_FLIGHT", "1"), ("OUNCE_TENANTS__DEFAULT__REQUESTS_PER_SECOND", "0.0001")]);
    drop(limiter.admit("default", address("203.0.113.7")).expect("let in"));
    for _ in 0..5 {
        let error = limiter.admit("default", address("203.0.113.7")).expect_err("refused").error.to_string();
        assert!(error.contains("tenants.default.requests_per_second"), "{error}");
    }
}

#[test]
fn standings_tell_what_is_left() {
    let limiter =
        limiter(&[("OUNCE_TENANTS__ACME__REQUESTS_PER_SECOND", "0.01"), ("OUNCE_LIMITS__BURST_SECONDS", "1000")]);
    let acme = limiter.admit("acme", address("::1")).expect("let in").expect("limited");
    let [standing] = acme.standings()[..] else { panic!("one limit: {:?}", acme.standings()) };
    assert_eq!((standing.limit, standing.most.round(), standing.left.floor()), (Limited::Requests, 10.0, 9.0));
    assert_eq!((standing.window.as_secs(), standing.full_in.as_secs_f64().round()), (1000, 100.0));
}

/// A million made-up addresses: memory stays as it is, the one that was limited stays limited, and others are still let in.
#[test]
fn a_flood_of_addresses_frees_nobody_and_locks_nobody_out() {
    let quota = Quota::new(0.001, 5000.0, 1.0);
    let table = AddressTable::new(|limit| limit == Limited::Requests, true);
    let ask = |address: IpAddr| {
        let cells = table.cells(AddressGroup::from(address));
        table.update(cells, Limited::Requests, |full_at| quota.take(full_at, 1.0, 0)).is_ok()
    };
    let attacker = address("203.0.113.7");
    assert_eq!((0..20).filter(|_| ask(attacker)).count(), 5);
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..1_000_000 {
        ask(IpAddr::V6(Ipv6Addr::from_bits(random.u128(..))));
    }
    assert!(!ask(attacker), "nobody pushed him out");

    // By then each cell was used 15 times. Where a limit bears that many at once, nobody is refused for the sake of others.
    let quota = Quota::new(0.001, 15_000.0, 1.0);
    let table = AddressTable::new(|limit| limit == Limited::Requests, false);
    let refused = (0..100_000).filter(|_| {
        let cells = table.cells(AddressGroup::from(IpAddr::V6(Ipv6Addr::from_bits(random.u128(..)))));
        table.update(cells, Limited::Requests, |full_at| quota.take(full_at, 1.0, 0)).is_err()
    });
    assert_eq!(refused.count(), 0);
}

/// Whatever others do, nobody gets more than his limit, and hardly anybody less.
#[test]
fn a_thousand_addresses_at_their_limit_leave_the_others_theirs() {
    let table = AddressTable::new(|_| false, true);
    let cells = |n: u32| table.cells(AddressGroup::from(IpAddr::from(n.to_be_bytes())));
    for n in 0..1000 {
        let entered = (0..20).filter(|_| table.enter(cells(n), 8)).count();
        assert!(entered <= 8, "{entered}");
    }
    let served = (1000..101_000).filter(|n| table.enter(cells(*n), 8)).inspect(|n| table.leave(cells(*n))).count();
    assert!(served >= 99_990, "{served} of 100000");
    for n in 0..1000 {
        (0..8).for_each(|_| table.leave(cells(n)));
    }
    let groups: HashSet<_> = (0..1000u32).map(|n| AddressGroup::from(IpAddr::from(n.to_be_bytes()))).collect();
    assert_eq!(groups.len(), 1000);
}
