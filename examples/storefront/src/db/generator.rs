//! The shop's history, made up the same way every time.

/// How many products the catalogue has.
pub const PRODUCTS: u32 = 500;

/// How many days the history covers; it ends with [`LAST_DAY`].
pub const DAYS: u32 = 365;

/// The last day of the history, in seconds since 1970: 2025-12-31T00:00:00Z. A constant, so that two
/// machines that seed on different days hold the same rows.
pub const LAST_DAY: i64 = 1_767_139_200;

const CUSTOMERS: u32 = 20_000;
const SECONDS_PER_DAY: u32 = 86_400;

/// What is sold, and its share of the catalogue is equal.
const CATEGORIES: [&str; 8] = [
    "books", "garden", "games", "kitchen", "music", "shoes", "tools", "toys",
];

/// One row of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// From 1 to [`PRODUCTS`].
    pub id: u32,
    /// What the shop calls it.
    pub name: String,
    /// One of a handful.
    pub category: &'static str,
    /// Minor units.
    pub unit_price: i64,
}

/// One row of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// From 1 upwards.
    pub id: u32,
    /// Who bought.
    pub customer_id: u32,
    /// What.
    pub product_id: u32,
    /// How many.
    pub quantity: u32,
    /// Minor units of `currency`.
    pub amount: i64,
    /// ISO 4217.
    pub currency: &'static str,
    /// Seconds since 1970, UTC.
    pub ordered_at: i64,
}

/// The catalogue.
pub fn products() -> impl Iterator<Item = Product> {
    let mut random = SplitMix64(0x70_726f_6475_6374);
    (1..=PRODUCTS).map(move |id| {
        let category = CATEGORIES
            .get(random.below(8) as usize)
            .copied()
            .unwrap_or("books");
        Product {
            id,
            name: format!("{category} no. {id}"),
            category,
            unit_price: i64::from(199 + random.below(30_000)),
        }
    })
}

/// The first `count` orders of the history.
///
/// Popularity falls off steeply along the catalogue and weekends sell more, so that the analytics
/// have something to find.
pub fn orders(count: u32) -> impl Iterator<Item = Order> {
    let prices: Vec<i64> = products().map(|product| product.unit_price).collect();
    let mut random = SplitMix64(0x6f_7264_6572_7300);
    (1..=count).map(move |id| {
        let product_id = popular(&mut random);
        let unit_price = usize::try_from(product_id - 1)
            .ok()
            .and_then(|place| prices.get(place))
            .copied()
            .unwrap_or(199);
        let quantity = 1 + random.below(4);
        Order {
            id,
            customer_id: 1 + random.below(CUSTOMERS),
            product_id,
            quantity,
            amount: unit_price * i64::from(quantity),
            currency: match random.below(10) {
                0..6 => "EUR",
                6..9 => "USD",
                _ => "GBP",
            },
            ordered_at: moment(&mut random),
        }
    })
}

/// A product, the first of the catalogue far more often than the last: the least of three draws.
fn popular(random: &mut SplitMix64) -> u32 {
    let draws = [
        random.below(PRODUCTS),
        random.below(PRODUCTS),
        random.below(PRODUCTS),
    ];
    1 + draws.into_iter().min().unwrap_or_default()
}

/// A second of the history; a day that would be a weekday is drawn once more, which favours weekends.
fn moment(random: &mut SplitMix64) -> i64 {
    let mut back = random.below(DAYS);
    // 2025-12-31 was a Wednesday: four days back is a Saturday, three a Sunday.
    if !matches!(back % 7, 3 | 4) {
        back = random.below(DAYS);
    }
    LAST_DAY - i64::from(back) * i64::from(SECONDS_PER_DAY)
        + i64::from(random.below(SECONDS_PER_DAY))
}

/// Steele, Lea and Flood's `SplitMix64` ("Fast splittable pseudorandom number generators", 2014): small,
/// fast, and the same on every machine. Not for secrets.
#[derive(Clone, Debug)]
pub struct SplitMix64(pub u64);

impl SplitMix64 {
    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, by Lemire's multiplication; its bias is below 2⁻³² and does not matter here.
    pub fn below(&mut self, bound: u32) -> u32 {
        let wide = (self.next_u64() >> 32) * u64::from(bound);
        u32::try_from(wide >> 32).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_history_every_time() {
        let first: Vec<Order> = orders(1_000).collect();
        let second: Vec<Order> = orders(1_000).collect();
        assert_eq!(first, second);
        // The known first output of SplitMix64 from a state of 0.
        assert_eq!(SplitMix64(0).next_u64(), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn every_order_is_plausible() {
        let prices: Vec<i64> = products().map(|product| product.unit_price).collect();
        for order in orders(5_000) {
            let place = order.product_id as usize - 1;
            assert_eq!(order.amount, prices[place] * i64::from(order.quantity));
            let age = LAST_DAY + i64::from(SECONDS_PER_DAY) - order.ordered_at;
            assert!(
                (1..=i64::from(DAYS * SECONDS_PER_DAY)).contains(&age),
                "{order:?}"
            );
        }
    }

    #[test]
    fn the_front_of_the_catalogue_sells_best() {
        let half = PRODUCTS / 2;
        let front = orders(10_000)
            .filter(|order| order.product_id <= half)
            .count();
        // The least of three draws is in the front half 7 times out of 8.
        assert!((8_500..9_000).contains(&front), "{front}");
    }
}
