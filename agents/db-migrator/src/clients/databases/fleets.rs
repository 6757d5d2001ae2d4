//! Databases and tenants that requests name together.

use std::str::FromStr;

use super::{Database, Databases, is_name};
use crate::domain::fleet::matches;

/// `NAME=DATABASE,...`, where a database may be a pattern with `*`, or `DATABASE/PATTERN` for its tenants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetSpec {
    name: String,
    members: Vec<String>,
}

impl FromStr for FleetSpec {
    type Err = FleetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, members) = text.trim().split_once('=').ok_or(FleetError::Form)?;
        let members: Vec<_> = members.split(',').map(str::to_owned).collect();
        let plain = |member: &String| {
            let database = member
                .split_once('/')
                .map_or(member.as_str(), |(name, _)| name);
            is_name(&database.replace('*', "x"))
        };
        if !is_name(name) || !members.iter().all(plain) {
            return Err(FleetError::Form);
        }
        Ok(Self {
            name: name.to_owned(),
            members,
        })
    }
}

/// Why a fleet cannot be configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FleetError {
    /// Not `NAME=DATABASE,...`.
    #[error(
        "expected NAME=DATABASE,... with names or patterns of configured databases, or DATABASE/PATTERN for its tenants"
    )]
    Form,
    /// A member of tenants whose database has none.
    #[error("fleet {fleet}: no database of {member} says tenants=PATTERN")]
    Tenants {
        /// The fleet.
        fleet: String,
        /// The member.
        member: String,
    },
    /// A member or pattern that no database has.
    #[error("fleet {fleet}: no database is named {member}")]
    Member {
        /// The fleet.
        fleet: String,
        /// The name or pattern.
        member: String,
    },
}

/// Databases that are migrated together, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// Its name in requests.
    pub name: String,
    /// Names of its databases, the canary first.
    pub members: Vec<String>,
}

impl Databases {
    /// Groups databases into fleets, in the order of declaration; a pattern stands for its databases in theirs.
    ///
    /// # Errors
    /// The first member that no database has.
    pub fn with_fleets(
        mut self,
        specs: impl IntoIterator<Item = FleetSpec>,
    ) -> Result<Self, FleetError> {
        for FleetSpec { name, members } in specs {
            let mut found: Vec<String> = Vec::new();
            for member in members {
                if let Some((database, _)) = member.split_once('/') {
                    let has = |database: &Database| database.tenants.is_some();
                    if !self.find(database).is_some_and(has) {
                        return Err(FleetError::Tenants {
                            fleet: name,
                            member,
                        });
                    }
                    found.push(member);
                    continue;
                }
                let before = found.len();
                let fits = self.all.iter().map(|database| &database.name);
                let fits = fits.filter(|name| matches(&member, name));
                let mut any = false;
                for fit in fits {
                    any = true;
                    if !found.iter().take(before).any(|known| known == fit) {
                        found.push(fit.clone());
                    }
                }
                if !any {
                    return Err(FleetError::Member {
                        fleet: name,
                        member,
                    });
                }
            }
            self.fleets.retain(|fleet| fleet.name != name);
            self.fleets.push(Fleet {
                name,
                members: found,
            });
        }
        Ok(self)
    }

    /// A fleet: its members are databases, or `DATABASE/PATTERN` for tenants, in the order of its waves.
    pub fn fleet(&self, name: &str) -> Option<&Fleet> {
        self.fleets.iter().find(|fleet| fleet.name == name)
    }

    /// The names of the fleets, for an error that lists them.
    pub fn fleet_names(&self) -> String {
        let names = self.fleets.iter().map(|fleet| fleet.name.as_str());
        names.collect::<Vec<_>>().join(", ")
    }
}
