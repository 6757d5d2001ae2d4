/// A seeded sequence (splitmix64, Steele, Lea and Flood 2014): names look random and repeat
/// with the seed.
#[derive(Debug)]
pub(super) struct Sequence(u64);

/// The letters of generated names, as in `k8s.io/apimachinery/pkg/util/rand`.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

impl Sequence {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn uid(&mut self) -> String {
        let (high, low) = (self.number(), self.number());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            0x8000 | ((low >> 48) & 0x3fff),
            low & 0xffff_ffff_ffff,
        )
    }

    pub(super) fn suffix(&mut self) -> String {
        let mut number = self.number();
        let mut letter = || {
            let at = usize::try_from(number % 27).unwrap_or_default();
            number /= 27;
            LETTERS.get(at).copied().map_or('x', char::from)
        };
        (0..5).map(|_| letter()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First outputs for seed 1234567, from the reference implementation's test vector.
    #[test]
    fn follows_the_published_sequence() {
        let mut sequence = Sequence::new(1_234_567);
        let numbers: Vec<_> = (0..3).map(|_| sequence.number()).collect();
        assert_eq!(
            numbers,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn makes_uids_and_suffixes_of_the_known_form() {
        let mut sequence = Sequence::new(0);
        let uid = sequence.uid();
        assert_eq!(uid.len(), 36);
        assert_eq!(
            uid.split('-').map(str::len).collect::<Vec<_>>(),
            [8, 4, 4, 4, 12]
        );
        assert_eq!(uid.as_bytes()[14], b'4');
        let suffix = sequence.suffix();
        assert!(suffix.len() == 5 && suffix.bytes().all(|b| LETTERS.contains(&b)));
    }
}
