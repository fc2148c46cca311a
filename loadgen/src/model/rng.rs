//! Seeded random numbers: the same seed gives the same run.
//!
//! Must not: read the system's entropy.

/// A SplitMix64 generator (Steele, Lea, Flood 2014): 8 bytes of state, one per actor.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// The generator of one actor of a run.
    pub(crate) fn new(seed: u64, actor: u64) -> Self {
        let mut rng = Self(seed ^ actor.wrapping_mul(0xd134_2543_de82_ef95));
        rng.next();
        rng
    }

    /// 64 random bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0.0..1.0`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// An index below `bound`; 0 when there is none.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let wide = u128::from(self.next()) * bound as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }
}

/// Which topic is picked: rank k with a weight of 1 / (k+1)^skew. A skew of 0 is uniform.
#[derive(Clone, Debug)]
pub(crate) struct Popularity(Vec<f64>);

impl Popularity {
    /// The weights of `count` topics.
    pub(crate) fn new(count: usize, skew: f64) -> Self {
        let mut sum = 0.0;
        let cumulative = (1..=count).map(|rank| {
            sum += (rank as f64).powf(-skew);
            sum
        });
        Self(cumulative.collect())
    }

    /// A topic's index.
    pub(crate) fn pick(&self, rng: &mut Rng) -> usize {
        let Some(total) = self.0.last() else { return 0 };
        let point = rng.unit() * total;
        self.0.partition_point(|sum| *sum <= point).min(self.0.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_gives_the_same_numbers_and_actors_differ() {
        let draw = |seed, actor| {
            let mut rng = Rng::new(seed, actor);
            [rng.next(), rng.next()]
        };
        assert_eq!(draw(7, 1), draw(7, 1));
        assert_ne!(draw(7, 1), draw(7, 2));
        assert_ne!(draw(7, 1), draw(8, 1));
    }

    #[test]
    fn popularity_follows_its_skew() {
        let mut rng = Rng::new(1, 1);
        let mut hits = |skew: f64| {
            let popularity = Popularity::new(100, skew);
            (0..10_000).filter(|_| popularity.pick(&mut rng) == 0).count()
        };
        // Uniform: 1 % of the picks. Zipf's law with exponent 1 over 100 ranks: 1 / H(100) = 19 %.
        assert!((50..200).contains(&hits(0.0)));
        assert!((1_600..2_300).contains(&hits(1.0)));
    }
}
