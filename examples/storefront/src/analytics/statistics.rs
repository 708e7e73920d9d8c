//! The computing half of the analytics: real work for a processor, as pure functions.

use crate::db::generator::SplitMix64;

/// A mean and the interval that holds it with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Estimate {
    /// The mean of the sample.
    pub mean: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// The mean of `sample` with its percentile bootstrap interval (Efron, 1979): draw as many values with
/// replacement, `rounds` times, and see where 95 % of the means lie.
///
/// `None` for an empty sample or no rounds. The draws are the same every time.
#[must_use]
pub fn bootstrap_mean(sample: &[f64], rounds: usize) -> Option<Estimate> {
    let size = u32::try_from(sample.len()).ok().filter(|size| *size > 0)?;
    let mut random = SplitMix64(0x62_6f6f_7473);
    let mut means: Vec<f64> = (0..rounds)
        .map(|_| {
            let sum: f64 = (0..size)
                .filter_map(|_| sample.get(random.below(size) as usize))
                .sum();
            sum / f64::from(size)
        })
        .collect();
    means.sort_unstable_by(f64::total_cmp);
    Some(Estimate {
        mean: sample.iter().sum::<f64>() / f64::from(size),
        low: *means.get(rounds * 25 / 1_000)?,
        high: *means.get((rounds * 975 / 1_000).min(rounds.checked_sub(1)?))?,
    })
}

/// The trend of a series: the median of the slopes between all its pairs (Theil, 1950; Sen, 1968), per
/// step. One wild day does not move it, which is why it is worth its quadratic price.
///
/// `None` for fewer than two values.
#[must_use]
pub fn theil_sen_slope(series: &[f64]) -> Option<f64> {
    let mut slopes = Vec::with_capacity(series.len() * series.len().saturating_sub(1) / 2);
    for (first, a) in series.iter().enumerate() {
        let mut steps = 0.0;
        for b in series.iter().skip(first + 1) {
            steps += 1.0;
            slopes.push((b - a) / steps);
        }
    }
    let middle = slopes.len() / 2;
    if slopes.is_empty() {
        return None;
    }
    // Of an even number of slopes the upper of the two in the middle: they differ by less than the noise.
    let (_, median, _) = slopes.select_nth_unstable_by(middle, f64::total_cmp);
    Some(*median)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_holds_the_mean_and_narrows_with_the_sample() {
        let values = |count: u32| -> Vec<f64> { (0..count).map(|n| f64::from(n % 10)).collect() };
        let few = bootstrap_mean(&values(50), 2_000).unwrap();
        let many = bootstrap_mean(&values(5_000), 2_000).unwrap();
        for estimate in [few, many] {
            assert!((estimate.mean - 4.5).abs() < 1e-9, "{estimate:?}");
            assert!(estimate.low < 4.5 && 4.5 < estimate.high, "{estimate:?}");
        }
        // A hundred times the sample is a tenth of the width.
        let ratio = (few.high - few.low) / (many.high - many.low);
        assert!((8.0..12.5).contains(&ratio), "{ratio}");
    }

    #[test]
    fn there_is_no_mean_of_nothing() {
        assert_eq!(bootstrap_mean(&[], 100), None);
        assert_eq!(bootstrap_mean(&[1.0], 0), None);
        assert_eq!(theil_sen_slope(&[]), None);
        assert_eq!(theil_sen_slope(&[1.0]), None);
    }

    #[test]
    fn one_wild_day_does_not_move_the_trend() {
        let mut series: Vec<f64> = (0..40).map(|day| 100.0 + 3.0 * f64::from(day)).collect();
        series[20] = 1e9;
        assert_eq!(theil_sen_slope(&series), Some(3.0));
        series.reverse();
        assert_eq!(theil_sen_slope(&series), Some(-3.0));
    }
}
