use proptest::prelude::*;

use super::super::shares::{Bounds, Demand, Shares, bounds, divide};

#[test]
fn seats_are_divided_by_shares_and_bounded_by_what_may_be_lent_and_borrowed() {
    let of = |shares, lendable, borrowing| Shares { shares, lendable, borrowing };
    let found = bounds(600, &[of(30, 33, None), of(40, 25, Some(50)), of(5, 0, Some(0)), of(0, 0, None)]);
    let expected = [(240, 161, 840), (320, 240, 480), (40, 40, 40), (0, 0, 600)];
    let expected = expected.map(|(nominal, least, most)| Bounds { nominal, least, most });
    assert_eq!(found, expected);
    assert_eq!(bounds(600, &[of(0, 0, None)]), [Bounds { nominal: 0, least: 0, most: 600 }]);
}

#[test]
fn a_level_borrows_what_others_may_lend_and_do_not_want() {
    let busy = Demand { highest: 500.0, smoothed: 500.0 };
    let idle = Demand::default();
    let bounds = |nominal, least, most| Bounds { nominal, least, most };
    for (total, taken, levels, expected) in [
        // Nobody wants anything: what is lent is divided evenly.
        (200, 0, vec![(bounds(100, 50, 200), idle), (bounds(100, 50, 200), idle)], vec![100, 100]),
        // One wants much, and the other lends what it may.
        (200, 0, vec![(bounds(100, 50, 300), busy), (bounds(100, 50, 300), idle)], vec![150, 50]),
        // It may not borrow as much.
        (200, 0, vec![(bounds(100, 50, 120), busy), (bounds(100, 50, 300), idle)], vec![120, 80]),
        // Both want much: each has its own.
        (200, 0, vec![(bounds(100, 50, 300), busy), (bounds(100, 50, 300), busy)], vec![100, 100]),
        // What has no limit takes so much that each has no more than it must keep.
        (200, 150, vec![(bounds(100, 50, 300), busy), (bounds(100, 50, 300), busy)], vec![50, 50]),
        (200, 50, vec![(bounds(100, 50, 300), busy), (bounds(100, 50, 300), busy)], vec![75, 75]),
        (0, 0, vec![], vec![]),
    ] {
        assert_eq!(divide(total, taken, &levels), expected, "{levels:?}");
    }
}

#[test]
fn what_a_level_may_want_rises_at_once_and_falls_slowly() {
    let mut demand = Demand::default().after(12.0, 10.0, 2.0);
    assert_eq!(demand, Demand { highest: 12.0, smoothed: 12.0 });
    demand = demand.after(0.0, 0.0, 0.0);
    assert!(demand.highest == 0.0 && demand.smoothed > 11.0);
    for _ in 0..200 {
        demand = demand.after(0.0, 0.0, 0.0);
    }
    assert!(demand.smoothed < 0.2, "{demand:?}");
}

proptest! {
    #[test]
    fn every_level_stays_within_its_bounds_and_all_seats_are_given(
        levels in proptest::collection::vec((1..100_u32, 0..=100_u32, 0..500_u32, 0..500_u32), 1..10),
    ) {
        let shares: Vec<Shares> = levels
            .iter()
            .map(|(shares, lendable, ..)| Shares { shares: *shares, lendable: *lendable, borrowing: None })
            .collect();
        let bounds = bounds(600, &shares);
        let total: u32 = bounds.iter().map(|bounds| bounds.nominal).sum();
        let with: Vec<_> = bounds
            .iter()
            .zip(&levels)
            .map(|(bounds, (_, _, highest, smoothed))| {
                (*bounds, Demand { highest: f64::from(*highest), smoothed: f64::from(*smoothed) })
            })
            .collect();
        let seats = divide(total, 0, &with);
        for (seats, bounds) in seats.iter().zip(&bounds) {
            prop_assert!((bounds.least..=bounds.most).contains(seats), "{seats} {bounds:?}");
        }
        let given: u32 = seats.iter().sum();
        prop_assert!(given.abs_diff(total) <= seats.len() as u32, "{given} of {total}: rounding only");
    }
}
