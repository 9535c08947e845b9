//! Power of two choices: of two rows drawn at random, the one with fewer open calls.

/// The index of the row to use, of `rows` rows; `None` when there are none.
///
/// `random` supplies the draw, `open_calls` the load of a row. Two draws are enough to keep the longest queue short
/// (Mitzenmacher 2001), and unlike "the least loaded of all" they do not send every caller to the same newcomer.
///
/// ```
/// use ftl_core::routing::pick;
/// assert_eq!(pick(0, 7, |_| 0), None);
/// assert_eq!(pick(1, 7, |_| 100), Some(0));
/// assert_eq!(pick(2, 7, |row| [5, 1][row]), Some(1), "both are drawn, the idle one is taken");
/// ```
pub fn pick(rows: usize, random: u64, open_calls: impl Fn(usize) -> usize) -> Option<usize> {
    match rows {
        0 => None,
        1 => Some(0),
        rows => {
            let first = (random & 0xFFFF_FFFF) as usize % rows;
            let other = (random >> 32) as usize % (rows - 1);
            let second = other + usize::from(other >= first);
            Some(if open_calls(second) < open_calls(first) { second } else { first })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::pick;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_the_single_most_loaded_row(loads in prop::collection::vec(0usize..100, 2..20), random: u64) {
            let chosen = pick(loads.len(), random, |row| loads[row]).unwrap();
            let worst = loads.iter().max().unwrap();
            let alone = loads.iter().filter(|load| *load == worst).count() == 1;
            prop_assert!(chosen < loads.len());
            prop_assert!(!(alone && loads[chosen] == *worst), "two different rows were drawn");
        }
    }

    #[test]
    fn every_row_is_drawn() {
        let mut state = 1u64;
        let mut seen = [false; 7];
        for _ in 0..1000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seen[pick(7, state, |_| 0).unwrap()] = true;
        }
        assert_eq!(seen, [true; 7]);
    }
}
