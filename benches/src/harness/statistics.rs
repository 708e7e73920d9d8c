//! Numbers out of many rounds.

/// The middle of the sample: half of it is below, half above. `None` of an empty one.
///
/// The median and not the mean, because what disturbs a timing (another process, an interrupt) only ever makes it
/// longer, and one long round must not move the figure.
pub(super) fn median(sample: &[f64]) -> Option<f64> {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(sorted.len() / 2 - 1)?;
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[7.0]), Some(7.0));
    }

    #[test]
    fn one_disturbed_round_does_not_move_it() {
        assert_eq!(median(&[1.0, 1.0, 1.0, 1.0, 1_000_000.0]), Some(1.0));
    }

    #[test]
    fn there_is_no_median_of_nothing() {
        assert_eq!(median(&[]), None);
    }
}
