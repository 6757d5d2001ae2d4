//! The chain that one agent's records form.

use serde::{Deserialize, Serialize};

use crate::{envelope::Verified, record::GENESIS};

/// The newest record of an agent's chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its counter; 0 before the first record.
    pub counter: u64,
    /// Its hash.
    pub hash: String,
}

/// Where a chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Break {
    /// Records are missing in between.
    #[error("record {expected} is missing before record {got}")]
    Gap {
        /// The counter that had to come.
        expected: u64,
        /// The counter that came.
        got: u64,
    },
    /// The agent signed two histories: another record has this counter, or another predecessor is claimed.
    #[error("record {counter} belongs to another history")]
    Fork {
        /// Where they part.
        counter: u64,
    },
    /// The very same record again, or one at or before the head, which only a look at the stored one can tell from a fork.
    #[error("record {counter} was here before")]
    Repeated {
        /// Its counter.
        counter: u64,
    },
}

impl Default for Head {
    fn default() -> Self {
        Self {
            counter: 0,
            hash: GENESIS.to_owned(),
        }
    }
}

impl Head {
    /// Takes the next record of the chain.
    ///
    /// # Errors
    /// [`Break`]; the head then stays where it is.
    pub fn follow(&mut self, next: &Verified) -> Result<(), Break> {
        let got = next.record.counter;
        let expected = self.counter + 1;
        if got > expected {
            return Err(Break::Gap { expected, got });
        }
        if got == self.counter && next.hash != self.hash {
            return Err(Break::Fork { counter: got });
        }
        if got < expected {
            return Err(Break::Repeated { counter: got });
        }
        if next.record.prev != self.hash {
            return Err(Break::Fork { counter: got });
        }
        *self = Self {
            counter: got,
            hash: next.hash.clone(),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use identity::SigningKey;

    use super::*;
    use crate::{envelope::tests::record, record::hash};

    fn next(key: &SigningKey, counter: u64, prev: &str) -> Verified {
        let record = record(key, counter, prev);
        Verified {
            hash: hash(&record.to_bytes()),
            record,
        }
    }

    #[test]
    fn tells_next_gap_fork_and_repetition_apart() {
        let key = SigningKey::generate();
        let one = next(&key, 1, GENESIS);
        let two = next(&key, 2, &one.hash);
        let three = next(&key, 3, &two.hash);
        let mut head = Head::default();
        assert_eq!(
            head.follow(&two),
            Err(Break::Gap {
                expected: 1,
                got: 2
            })
        );
        assert_eq!(
            head.follow(&next(&key, 1, &two.hash)),
            Err(Break::Fork { counter: 1 })
        );
        assert_eq!(head.follow(&one), Ok(()));
        assert_eq!(head.follow(&one), Err(Break::Repeated { counter: 1 }));
        assert_eq!(
            head.follow(&three),
            Err(Break::Gap {
                expected: 2,
                got: 3
            })
        );
        assert_eq!(
            head.follow(&next(&key, 2, GENESIS)),
            Err(Break::Fork { counter: 2 })
        );
        assert_eq!(head.follow(&two), Ok(()));
        assert_eq!(
            head.follow(&next(&key, 2, GENESIS)),
            Err(Break::Fork { counter: 2 })
        );
        assert_eq!(head.follow(&one), Err(Break::Repeated { counter: 1 }));
        assert_eq!(
            head,
            Head {
                counter: 2,
                hash: two.hash
            }
        );
    }
}
