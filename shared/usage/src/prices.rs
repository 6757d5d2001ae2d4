//! What a core and a gibibyte cost.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{CapacityType, Node};

/// Hours in a month, as cloud price lists count: 8,760 h / 12.
pub const HOURS_PER_MONTH: f64 = 730.0;
const GIB: f64 = 1_073_741_824.0;

/// Price of CPU and memory for an hour.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// One core for an hour.
    pub cpu_core_hour: f64,
    /// One gibibyte of memory for an hour.
    pub memory_gib_hour: f64,
}

impl Rate {
    /// Price of `cores` and `bytes` for a month.
    pub fn monthly(&self, cores: f64, bytes: f64) -> f64 {
        (cores * self.cpu_core_hour + bytes / GIB * self.memory_gib_hour) * HOURS_PER_MONTH
    }
}

/// Prices of one instance type.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstancePrices {
    /// Price of a node that stays.
    pub on_demand: Rate,
    /// Price of a node that may be reclaimed; the table's spot price when missing.
    pub spot: Option<Rate>,
}

/// A price table in US dollars. The default has `OpenCost`'s default rates (its `default.json`:
/// CPU 0.031611 and memory 0.004237 on demand, 0.006655 and 0.000892 spot, storage 0.00005479452
/// an hour), and 0.025 an hour for a load balancer (list price of a classic load balancer in AWS
/// us-east-1). They are a starting point: a file with your own prices replaces them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// Where the prices come from; repeated in every answer.
    pub source: String,
    /// Price on demand.
    pub on_demand: Rate,
    /// Spot price.
    pub spot: Rate,
    /// One gibibyte of claimed storage for an hour.
    pub storage_gib_hour: f64,
    /// One Service of type `LoadBalancer` for an hour.
    pub load_balancer_hour: f64,
    /// Prices of single instance types.
    #[serde(default)]
    pub instance_types: BTreeMap<String, InstancePrices>,
}

/// A price table that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadPricesError {
    /// The file cannot be read.
    #[error("cannot read the price table {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a price table.
    #[error("{path} is not a price table")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A price is negative or not a number.
    #[error("a price in {path} is negative or not a number")]
    Negative {
        /// The file.
        path: PathBuf,
    },
}

impl Default for Prices {
    fn default() -> Self {
        Self {
            source: String::from("OpenCost defaults"),
            on_demand: Rate {
                cpu_core_hour: 0.031_611,
                memory_gib_hour: 0.004_237,
            },
            spot: Rate {
                cpu_core_hour: 0.006_655,
                memory_gib_hour: 0.000_892,
            },
            storage_gib_hour: 0.000_054_794_52,
            load_balancer_hour: 0.025,
            instance_types: BTreeMap::new(),
        }
    }
}

impl Prices {
    /// Reads a TOML file, or gives the default table.
    ///
    /// # Errors
    /// A file that cannot be read, has other fields, or a price below zero.
    pub fn load(path: Option<&Path>) -> Result<Self, LoadPricesError> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let text = std::fs::read_to_string(path).map_err(|source| LoadPricesError::Io {
            path: path.to_owned(),
            source,
        })?;
        let prices: Self = toml::from_str(&text).map_err(|source| LoadPricesError::Malformed {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        if prices.all().all(|price| price.is_finite() && price >= 0.0) {
            Ok(prices)
        } else {
            Err(LoadPricesError::Negative {
                path: path.to_owned(),
            })
        }
    }

    /// The rate of a node: of its instance type when the table has it, else the general one.
    pub fn rate(&self, node: Option<&Node>) -> Rate {
        let own = node
            .and_then(|n| n.instance_type.as_ref())
            .and_then(|t| self.instance_types.get(t));
        match node.map(|n| n.capacity) {
            Some(CapacityType::Spot) => own.and_then(|p| p.spot).unwrap_or(self.spot),
            Some(CapacityType::OnDemand) | None => own.map_or(self.on_demand, |p| p.on_demand),
        }
    }

    /// Price of `bytes` of claimed storage for a month.
    pub fn monthly_storage(&self, bytes: f64) -> f64 {
        bytes / GIB * self.storage_gib_hour * HOURS_PER_MONTH
    }

    /// Price of a load balancer for a month.
    pub fn monthly_load_balancer(&self) -> f64 {
        self.load_balancer_hour * HOURS_PER_MONTH
    }

    fn all(&self) -> impl Iterator<Item = f64> {
        let types = self
            .instance_types
            .values()
            .flat_map(|p| [Some(p.on_demand), p.spot])
            .flatten();
        let rates = [self.on_demand, self.spot].into_iter().chain(types);
        rates
            .flat_map(|r| [r.cpu_core_hour, r.memory_gib_hour])
            .chain([self.storage_gib_hour, self.load_balancer_hour])
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the figures are exact")]
mod tests {
    use super::*;

    const TABLE: &str = r#"
source = "our contract"
storage_gib_hour = 0.0001
load_balancer_hour = 0.02
on_demand = { cpu_core_hour = 0.03, memory_gib_hour = 0.004 }
spot = { cpu_core_hour = 0.01, memory_gib_hour = 0.001 }
instance_types."m6i.large".on_demand = { cpu_core_hour = 0.05, memory_gib_hour = 0.005 }
"#;

    fn check(text: &str, expect: impl Fn(Result<Prices, LoadPricesError>)) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("prices.toml");
        std::fs::write(&path, text).expect("a writable file");
        expect(Prices::load(Some(&path)));
    }

    fn load(text: &str) -> Prices {
        let found = std::cell::OnceCell::new();
        check(text, |prices| {
            found
                .set(prices.expect("a price table"))
                .expect("one result");
        });
        found.into_inner().expect("a result")
    }

    #[test]
    fn a_node_has_the_price_of_its_type_and_capacity() {
        let prices = load(TABLE);
        let node = |t: &str, capacity| Node {
            instance_type: Some(t.into()),
            capacity,
        };
        let price = |node: Option<Node>| prices.rate(node.as_ref()).cpu_core_hour;
        assert_eq!(price(Some(node("m6i.large", CapacityType::OnDemand))), 0.05);
        assert_eq!(price(Some(node("m6i.large", CapacityType::Spot))), 0.01);
        assert_eq!(price(Some(node("other", CapacityType::OnDemand))), 0.03);
        assert_eq!(price(None), 0.03);
    }

    #[test]
    fn a_month_of_two_cores_and_four_gibibytes() {
        // OpenCost's own rates by hand: (2 * 0.031611 + 4 * 0.004237) * 730 = 58.52 US dollars.
        assert!((Prices::default().on_demand.monthly(2.0, 4.0 * GIB) - 58.524).abs() < 0.001);
    }

    #[test]
    fn refuses_negative_prices_and_unknown_fields() {
        check(&TABLE.replace("0.02\n", "-0.02\n"), |prices| {
            assert!(matches!(prices, Err(LoadPricesError::Negative { .. })));
        });
        check(&format!("cpu = 1\n{TABLE}"), |prices| {
            assert!(matches!(prices, Err(LoadPricesError::Malformed { .. })));
        });
    }
}
