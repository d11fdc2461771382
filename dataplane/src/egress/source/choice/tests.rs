//! The choice of a source address.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn v4(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn v6(last: u16) -> IpAddr {
    IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last])
}

fn to(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), 443)
}

fn of(address: IpAddr, standing: Standing) -> Candidate {
    Candidate { address, standing }
}

fn caller(number: u128) -> Caller {
    Caller {
        project: Uid::from_bits(number),
        endpoint: Some(Uid::from_bits(!number)),
    }
}

const V4: &str = "198.51.100.1";
const V6: &str = "2001:db8:1::1";

fn picked(pools: &[&[Candidate]], destinations: &[&str]) -> Result<usize, Nowhere> {
    let destinations: Vec<_> = destinations.iter().map(|ip| to(ip)).collect();
    let numbered: Vec<_> = pools.iter().enumerate().collect();
    pick(&numbered, &destinations, |(_, pool)| pool).map(|(number, _)| *number)
}

#[test]
fn an_address_that_is_not_up_is_no_address() {
    use Standing::{Down, Idle};
    for standing in [Down, Idle] {
        let pool = [of(v4(1), standing)];
        assert_eq!(picked(&[&pool], &[V4]), Err(Nowhere::NoneUp));
        let ranked = rank(&pool, Selection::Sticky, to(V4), caller(1), |_| 0);
        assert_eq!(ranked.len(), 0);
    }
    assert_eq!(picked(&[&[]], &[V4]), Err(Nowhere::NoneUp));
    assert_eq!(picked(&[], &[V4]), Err(Nowhere::NoneUp));
}

#[test]
fn a_family_that_the_pool_does_not_have_is_not_called() {
    use Standing::{Down, Good, Idle};
    let only_v4 = [of(v4(1), Good), of(v6(1), Idle)];
    assert_eq!(picked(&[&only_v4], &[V6]), Err(Nowhere::OtherFamily));
    assert_eq!(picked(&[&only_v4], &[V6, V4]), Ok(0));
    // Not by falling back either: the customer was told of these addresses.
    let both = [of(v4(2), Good), of(v6(2), Good)];
    assert_eq!(picked(&[&only_v4, &both], &[V6]), Err(Nowhere::OtherFamily));
    // One that is down is a family all the same, and worth to wait for.
    let v6_down = [of(v4(1), Good), of(v6(1), Down)];
    assert_eq!(picked(&[&v6_down], &[V6]), Err(Nowhere::NoneUp));
}

#[test]
fn another_pool_is_used_only_when_the_first_has_nothing_that_is_up() {
    use Standing::{Down, Good, Idle, Suspect};
    let other = [of(v4(9), Good)];
    for (first, expected) in [
        ([of(v4(1), Good), of(v4(2), Down)], 0),
        ([of(v4(1), Suspect), of(v4(2), Down)], 0),
        ([of(v4(1), Down), of(v4(2), Down)], 1),
        ([of(v4(1), Idle), of(v4(2), Down)], 1),
        ([of(v4(1), Idle), of(v4(2), Idle)], 1),
    ] {
        assert_eq!(picked(&[&first, &other], &[V4]), Ok(expected), "{first:?}");
    }
}

#[test]
fn the_fewest_connections_come_first_and_suspects_last() {
    use Standing::{Good, Suspect};
    let pool = [of(v4(1), Good), of(v4(2), Suspect), of(v4(3), Good)];
    let open = |address: IpAddr| usize::from(address == v4(1)) * 7;
    let ranked = rank(&pool, Selection::LeastConnections, to(V4), caller(1), open);
    assert_eq!(ranked, [v4(3), v4(1), v4(2)]);
    let suspects = pool.map(|one| of(one.address, Suspect));
    let ranked = rank(
        &suspects,
        Selection::LeastConnections,
        to(V4),
        caller(1),
        open,
    );
    assert_eq!(ranked.last(), Some(&v4(1)));
    assert_eq!(ranked.len(), 3, "none is missed when all are suspect");
}

#[test]
fn families_take_turns() {
    let of = |ips: &[&str]| {
        let ips = ips.iter().map(|ip| ip.parse::<IpAddr>().unwrap()).collect();
        let turns = by_turns(ips, IpAddr::is_ipv4);
        turns.iter().map(IpAddr::to_string).collect::<Vec<_>>()
    };
    assert_eq!(of(&[]), [""; 0]);
    assert_eq!(of(&["::3"]), ["::3"]);
    assert_eq!(
        of(&["0.0.0.1", "0.0.0.2", "0.0.0.3", "::1"]),
        ["0.0.0.1", "::1", "0.0.0.2", "0.0.0.3"]
    );
    assert_eq!(of(&["::1", "::2", "0.0.0.1"]), ["::1", "0.0.0.1", "::2"]);
}

/// Of `sources` addresses each owner gets about as many as every other: no hash that leans.
#[test]
fn owners_are_spread_over_the_addresses() {
    let pool: Vec<_> = (1..=8).map(|n| of(v4(n), Standing::Good)).collect();
    for selection in [Selection::Sticky, Selection::LeastConnections] {
        let mut shares = HashMap::<IpAddr, u32>::new();
        for number in 0..8_000 {
            let ranked = rank(&pool, selection, to(V4), caller(number), |_| 0);
            *shares.entry(ranked[0]).or_default() += 1;
        }
        let within = |share: &u32| (850..=1_150).contains(share);
        assert_eq!(shares.len(), 8);
        assert!(shares.values().all(within), "{shares:?}");
    }
}

fn standing() -> impl Strategy<Value = Standing> {
    use Standing::{Down, Good, Idle, Suspect};
    prop_oneof![Just(Good), Just(Suspect), Just(Down), Just(Idle)]
}

fn pool() -> impl Strategy<Value = Vec<Candidate>> {
    let one = (any::<bool>(), 0_u8..40, standing());
    proptest::collection::vec(one, 0..12).prop_map(|members| {
        let mut pool: Vec<Candidate> = Vec::new();
        for (is_v4, last, standing) in members {
            let address = if is_v4 { v4(last) } else { v6(last.into()) };
            if pool.iter().all(|one| one.address != address) {
                pool.push(of(address, standing));
            }
        }
        pool
    })
}

proptest! {
    /// Exactly what is up and of the family, each once, and those that are good before the rest.
    #[test]
    fn only_what_is_up_and_of_the_family(
        pool in pool(),
        is_v4: bool,
        sticky: bool,
        number: u64,
        open: u8,
    ) {
        let selection = if sticky { Selection::Sticky } else { Selection::LeastConnections };
        let destination = to(if is_v4 { V4 } else { V6 });
        let busy = |address: IpAddr| usize::from(open) * usize::from(address.is_ipv4());
        let ranked = rank(&pool, selection, destination, caller(number.into()), busy);
        let standings: Vec<_> = ranked
            .iter()
            .map(|address| pool.iter().find(|one| one.address == *address).unwrap().standing)
            .collect();
        prop_assert!(ranked.iter().all(|address| address.is_ipv4() == is_v4));
        prop_assert!(standings.iter().all(|one| matches!(one, Standing::Good | Standing::Suspect)));
        prop_assert!(standings.is_sorted());
        let fits = |one: &&Candidate| one.address.is_ipv4() == is_v4 && one.standing.is_up();
        prop_assert_eq!(ranked.len(), pool.iter().filter(fits).count());
    }

    /// An address that goes leaves all other endpoints where they are, and the order after it.
    #[test]
    fn only_those_on_an_address_that_goes_move(pool in pool(), number: u64, gone: prop::sample::Index) {
        prop_assume!(!pool.is_empty());
        let before = rank(&pool, Selection::Sticky, to(V4), caller(number.into()), |_| 0);
        let gone = pool[gone.index(pool.len())].address;
        let rest: Vec<_> = pool.iter().copied().filter(|one| one.address != gone).collect();
        let after = rank(&rest, Selection::Sticky, to(V4), caller(number.into()), |_| 0);
        let expected: Vec<_> = before.into_iter().filter(|address| *address != gone).collect();
        prop_assert_eq!(after, expected);
    }

    /// What is picked can be left from; what is refused cannot, and nothing is passed over.
    #[test]
    fn a_pool_is_picked_if_one_can_be_left_from(first in pool(), second in pool(), is_v4: bool) {
        let destination = to(if is_v4 { V4 } else { V6 });
        let ranks = |pool: &[Candidate]| {
            !rank(pool, Selection::LeastConnections, destination, caller(1), |_| 0).is_empty()
        };
        let pools = [(0, first), (1, second)];
        match pick(&pools, &[destination], |(_, pool)| pool) {
            Ok((0, pool)) => prop_assert!(ranks(pool)),
            Ok((_, pool)) => prop_assert!(ranks(pool) && !ranks(&pools[0].1)),
            Err(Nowhere::OtherFamily) => prop_assert!(!ranks(&pools[0].1)),
            Err(Nowhere::NoneUp) => prop_assert!(!ranks(&pools[0].1) && !ranks(&pools[1].1)),
        }
    }
}
