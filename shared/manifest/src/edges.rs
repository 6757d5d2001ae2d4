//! Who may call whom. Everything that is not declared is denied.
//!
//! An edge is declared once, in the caller's manifest; external callers are declared in mesh.yaml.
//! Edges may form circles (rollback-coordinator asks monitoring-agent for health, monitoring-agent
//! asks rollback-coordinator for a rollback): an edge is a permission to call when there is work,
//! not something an agent waits for at its start. The order of starting is `starts_after` in
//! mesh.yaml, which has no circle ([`Mesh::start_order`]).

#![expect(
    clippy::similar_names,
    reason = "caller and callee are the words for the two ends"
)]

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::{GrantedSkills, Manifest, Mesh};

/// Methods that every agent has beside its skills; they are no commands of a manifest.
pub const RUNTIME_METHODS: [&str; 2] = ["list_approvals", "decide_approval"];

/// Somebody who calls.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", content = "name", rename_all = "snake_case")]
pub enum Caller {
    /// An agent of the mesh.
    Agent(String),
    /// An external caller of mesh.yaml.
    External(String),
}

impl Caller {
    /// An agent.
    pub fn agent(name: impl Into<String>) -> Self {
        Self::Agent(name.into())
    }

    /// An external caller.
    pub fn external(name: impl Into<String>) -> Self {
        Self::External(name.into())
    }

    /// The name alone.
    pub fn name(&self) -> &str {
        let (Self::Agent(name) | Self::External(name)) = self;
        name
    }
}

/// One permission to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Edge<'a> {
    /// Who calls.
    pub caller: &'a Caller,
    /// Which agent.
    pub callee: &'a str,
    /// Which skill or runtime method.
    pub skill: &'a str,
}

/// All permissions of the mesh.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edges {
    grants: BTreeMap<Caller, BTreeMap<String, BTreeSet<String>>>,
}

impl Edges {
    /// Whether the caller may call this skill.
    pub fn allows(&self, caller: &Caller, callee: &str, skill: &str) -> bool {
        self.skills(caller, callee)
            .is_some_and(|skills| skills.contains(skill))
    }

    /// Whether the caller may call anything of this agent.
    pub fn connects(&self, caller: &Caller, callee: &str) -> bool {
        self.skills(caller, callee)
            .is_some_and(|skills| !skills.is_empty())
    }

    /// Every permission, sorted.
    pub fn iter(&self) -> impl Iterator<Item = Edge<'_>> {
        self.grants.iter().flat_map(|(caller, callees)| {
            callees.iter().flat_map(move |(callee, skills)| {
                skills.iter().map(move |skill| Edge {
                    caller,
                    callee,
                    skill,
                })
            })
        })
    }

    /// The callees of a caller with the skills that are open to it.
    pub fn callees(&self, caller: &Caller) -> impl Iterator<Item = (&str, &BTreeSet<String>)> {
        self.grants
            .get(caller)
            .into_iter()
            .flatten()
            .map(|(callee, skills)| (callee.as_str(), skills))
    }

    /// The callers of an agent with the skills that are open to them.
    pub fn callers<'a>(
        &'a self,
        callee: &'a str,
    ) -> impl Iterator<Item = (&'a Caller, &'a BTreeSet<String>)> {
        self.grants
            .iter()
            .filter_map(move |(caller, callees)| Some((caller, callees.get(callee)?)))
    }

    fn skills(&self, caller: &Caller, callee: &str) -> Option<&BTreeSet<String>> {
        self.grants.get(caller)?.get(callee)
    }
}

/// One declaration that cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EdgeProblem {
    /// Two manifests carry the same name.
    #[error("two manifests are named {agent}")]
    DuplicateAgent {
        /// The name.
        agent: String,
    },
    /// A manifest that mesh.yaml does not know, or the other way round.
    #[error("{agent} {}", if *.has_manifest { "has a manifest but no place in mesh.yaml" } else { "is in mesh.yaml but has no manifest" })]
    Unpaired {
        /// The agent.
        agent: String,
        /// Which side has it.
        has_manifest: bool,
    },
    /// Manifest and mesh.yaml name different namespaces.
    #[error("{agent} stands in namespace {manifest} by its manifest and in {mesh} by mesh.yaml")]
    Namespace {
        /// The agent.
        agent: String,
        /// The manifest's namespace.
        manifest: String,
        /// mesh.yaml's namespace.
        mesh: String,
    },
    /// A callee without a manifest.
    #[error("{caller} calls {callee}, which has no manifest")]
    UnknownCallee {
        /// Who calls.
        caller: String,
        /// Whom.
        callee: String,
    },
    /// An agent that calls itself.
    #[error("{agent} declares calls to itself")]
    CallsItself {
        /// The agent.
        agent: String,
    },
    /// A skill that the callee does not have.
    #[error("{caller} calls {skill} of {callee}, which has no such skill")]
    UnknownSkill {
        /// Who calls.
        caller: String,
        /// Whom.
        callee: String,
        /// What.
        skill: String,
    },
    /// An edge that opens nothing.
    #[error("{caller} declares {callee} as a peer but no skill of it")]
    NoSkills {
        /// Who calls.
        caller: String,
        /// Whom.
        callee: String,
    },
    /// An order of starting between agents that never talk.
    #[error("{agent} starts after {other}, which it does not call")]
    StartsAfterStranger {
        /// The agent.
        agent: String,
        /// The other.
        other: String,
    },
}

/// Declarations that contradict each other; no edge list is made of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct CompileEdgesError {
    /// Everything that contradicts.
    pub problems: Vec<EdgeProblem>,
}

/// Compiles the mesh's permissions from what the manifests and mesh.yaml declare.
///
/// # Errors
/// All declarations that cannot hold.
pub fn compile_edges(manifests: &[Manifest], mesh: &Mesh) -> Result<Edges, CompileEdgesError> {
    let mut compiler = Compiler {
        manifests,
        mesh,
        edges: Edges::default(),
        problems: Vec::new(),
    };
    compiler.pair_agents();
    for manifest in manifests {
        compiler.add_calls(manifest);
    }
    for (name, caller) in &mesh.callers {
        compiler.add_external(name, &caller.skills);
    }
    compiler.check_order();
    if compiler.problems.is_empty() {
        Ok(compiler.edges)
    } else {
        Err(CompileEdgesError {
            problems: compiler.problems,
        })
    }
}

struct Compiler<'a> {
    manifests: &'a [Manifest],
    mesh: &'a Mesh,
    edges: Edges,
    problems: Vec<EdgeProblem>,
}

impl Compiler<'_> {
    fn pair_agents(&mut self) {
        let mut names = BTreeSet::new();
        for manifest in self.manifests {
            let agent = manifest.name.clone();
            if !names.insert(manifest.name.as_str()) {
                self.problems.push(EdgeProblem::DuplicateAgent {
                    agent: agent.clone(),
                });
            }
            match self.mesh.agents.get(&manifest.name) {
                None => self.problems.push(EdgeProblem::Unpaired {
                    agent,
                    has_manifest: true,
                }),
                Some(member) if member.namespace != manifest.namespace => {
                    self.problems.push(EdgeProblem::Namespace {
                        agent,
                        manifest: manifest.namespace.clone(),
                        mesh: member.namespace.clone(),
                    });
                }
                Some(_) => {}
            }
        }
        let unpaired = self
            .mesh
            .agents
            .keys()
            .filter(|name| !names.contains(name.as_str()));
        self.problems
            .extend(unpaired.map(|agent| EdgeProblem::Unpaired {
                agent: agent.clone(),
                has_manifest: false,
            }));
    }

    fn add_calls(&mut self, manifest: &Manifest) {
        let caller = Caller::agent(&manifest.name);
        for call in &manifest.calls {
            if call.agent == manifest.name {
                self.problems.push(EdgeProblem::CallsItself {
                    agent: manifest.name.clone(),
                });
            } else {
                self.grant(&caller, &call.agent, &call.skills, &[]);
            }
        }
    }

    fn add_external(&mut self, name: &str, skills: &GrantedSkills) {
        let caller = Caller::external(name);
        match skills {
            GrantedSkills::All => {
                for manifest in self.manifests {
                    let skills: Vec<String> = manifest
                        .skills
                        .iter()
                        .map(|skill| skill.name.clone())
                        .collect();
                    self.grant(&caller, &manifest.name, &skills, &[]);
                    self.grant(
                        &caller,
                        &manifest.name,
                        &RUNTIME_METHODS.map(String::from),
                        &RUNTIME_METHODS,
                    );
                }
            }
            GrantedSkills::Some(agents) => {
                for (agent, skills) in agents {
                    self.grant(&caller, agent, skills, &RUNTIME_METHODS);
                }
            }
        }
    }

    fn grant(&mut self, caller: &Caller, callee: &str, skills: &[String], beside: &[&str]) {
        let (name, callee_name) = (caller.name().to_owned(), callee.to_owned());
        let Some(manifest) = self
            .manifests
            .iter()
            .find(|manifest| manifest.name == callee)
        else {
            return self.problems.push(EdgeProblem::UnknownCallee {
                caller: name,
                callee: callee_name,
            });
        };
        if skills.is_empty() {
            return self.problems.push(EdgeProblem::NoSkills {
                caller: name,
                callee: callee_name,
            });
        }
        for skill in skills {
            if manifest.skill(skill).is_some() || beside.contains(&skill.as_str()) {
                let callees = self.edges.grants.entry(caller.clone()).or_default();
                callees
                    .entry(callee.to_owned())
                    .or_default()
                    .insert(skill.clone());
            } else {
                let (caller, callee, skill) = (name.clone(), callee_name.clone(), skill.clone());
                self.problems.push(EdgeProblem::UnknownSkill {
                    caller,
                    callee,
                    skill,
                });
            }
        }
    }

    fn check_order(&mut self) {
        for (agent, member) in &self.mesh.agents {
            for other in &member.starts_after {
                if !self.edges.connects(&Caller::agent(agent), other) {
                    let (agent, other) = (agent.clone(), other.clone());
                    self.problems
                        .push(EdgeProblem::StartsAfterStranger { agent, other });
                }
            }
        }
    }
}
