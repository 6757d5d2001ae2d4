//! Rego through regorus, with bounds on time and memory and without any I/O: `http.send`, `opa.runtime`
//! and name lookups are not compiled in.

mod analysis;

use std::{num::NonZeroU32, time::Duration};

use regorus::{Engine, LimitError, Value as RegoValue, utils::limits::ExecutionTimerConfig};
use serde_json::Value;

use self::analysis::Analysis;
use crate::domain::policy::{
    Caveat, PolicyEngine, PolicyError, PolicyRule, PolicySource, check_source,
};

/// Longest array that `numbers.range` makes. The engine's own would ask the allocator for any size at once,
/// and a process cannot survive a refusal.
const MAX_RANGE: i64 = 100_000;

/// Work units between looks at the clock.
const CHECK_INTERVAL: NonZeroU32 = NonZeroU32::new(32).expect("not zero");

/// The regorus engine with its limits.
#[derive(Debug, Clone)]
pub struct Regorus {
    time_limit: Duration,
}

impl Regorus {
    /// An engine. The memory limit holds for the whole process, as that is what regorus counts.
    pub fn new(time_limit: Duration, memory_limit_bytes: u64) -> Self {
        regorus::set_global_memory_limit(Some(memory_limit_bytes));
        Self { time_limit }
    }

    fn engine(&self) -> Engine {
        let mut engine = Engine::new();
        engine.set_execution_timer_config(ExecutionTimerConfig {
            limit: self.time_limit,
            check_interval: CHECK_INTERVAL,
        });
        engine.set_strict_builtin_errors(false); // as `opa eval` does: a failing builtin is undefined
        for (name, arguments) in [("numbers.range", 2), ("numbers.range_step", 3)] {
            let added = engine.add_extension(
                name.into(),
                arguments,
                Box::new(|args: Vec<RegoValue>| range(&args)),
            );
            debug_assert!(added.is_ok(), "a fresh engine has no extensions");
        }
        engine
    }

    fn limit_or(&self, error: &anyhow::Error, rule: &PolicyRule) -> PolicyError {
        let rule = format!("{}.{}", rule.package, rule.rule);
        match limit(error) {
            Some(Limit::Time) => PolicyError::TimeLimit {
                rule,
                limit_ms: self.time_limit.as_millis(),
            },
            Some(Limit::Memory) => PolicyError::MemoryLimit { rule },
            None => PolicyError::Evaluate {
                rule,
                message: one_line(error),
            },
        }
    }
}

/// Compiled policies.
pub struct Program {
    engine: Engine,
    analysis: Analysis,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("analysis", &self.analysis)
            .finish_non_exhaustive()
    }
}

impl PolicyEngine for Regorus {
    type Program = Program;

    fn compile(&self, policies: &[PolicySource], data: &Value) -> Result<Program, PolicyError> {
        let mut engine = self.engine();
        for policy in policies {
            check_source(policy)?;
            add(&mut engine, policy)?;
        }
        let broken = |policy: &str, error: &anyhow::Error| PolicyError::Compile {
            policy: policy.into(),
            message: one_line(error),
        };
        engine
            .add_data(data.clone().into())
            .map_err(|e| broken("data", &e))?;
        let ast = engine
            .get_ast_as_json()
            .map_err(|e| broken("policies", &e))?;
        let analysis = Analysis::of(&ast)?;
        Ok(Program { engine, analysis })
    }

    fn rules(program: &Program) -> &[PolicyRule] {
        &program.analysis.rules
    }

    fn caveats(program: &Program) -> &[Caveat] {
        &program.analysis.caveats
    }

    fn eval(
        &self,
        program: &mut Program,
        rule: &PolicyRule,
        input: &Value,
    ) -> Result<Value, PolicyError> {
        program.engine.set_input(input.clone().into());
        let value = program
            .engine
            .eval_rule(format!("data.{}.{}", rule.package, rule.rule))
            .map_err(|e| self.limit_or(&e, rule))?;
        if value == RegoValue::Undefined {
            return Ok(Value::Null);
        }
        serde_json::to_value(&value).map_err(|e| self.limit_or(&e.into(), rule))
    }
}

/// Adds a policy in version 1 of the language, else in version 0. When it is neither, version 1's word counts.
fn add(engine: &mut Engine, policy: &PolicySource) -> Result<(), PolicyError> {
    engine.set_rego_v0(false);
    let Err(error) = engine.add_policy(policy.name.clone(), policy.content.clone()) else {
        return Ok(());
    };
    engine.set_rego_v0(true);
    let old = engine.add_policy(policy.name.clone(), policy.content.clone());
    old.map(drop).map_err(|_| PolicyError::Compile {
        policy: policy.name.clone(),
        message: one_line(&error),
    })
}

/// `numbers.range` and `numbers.range_step` for whole numbers, bounded.
fn range(args: &[RegoValue]) -> anyhow::Result<RegoValue> {
    let mut numbers = args.iter().map(regorus::Value::as_i64);
    let (Some(Ok(from)), Some(Ok(to))) = (numbers.next(), numbers.next()) else {
        return Ok(RegoValue::Undefined);
    };
    let step = match numbers.next() {
        None => 1,
        Some(Ok(step)) if step > 0 => step,
        Some(_) => return Ok(RegoValue::Undefined),
    };
    let length = from.abs_diff(to) / step.unsigned_abs() + 1;
    anyhow::ensure!(
        length <= MAX_RANGE.unsigned_abs(),
        "a range of {length} numbers is longer than {MAX_RANGE}"
    );
    let step = if from <= to { step } else { -step };
    let numbers =
        std::iter::successors(Some(from), |n| n.checked_add(step)).take(usize::try_from(length)?);
    Ok(numbers.map(RegoValue::from).collect::<Vec<_>>().into())
}

enum Limit {
    Time,
    Memory,
}

/// Which limit an error reports. Inside of a rule regorus wraps it in the rule's place, as text.
fn limit(error: &anyhow::Error) -> Option<Limit> {
    match error
        .chain()
        .find_map(|cause| cause.downcast_ref::<LimitError>())
    {
        Some(LimitError::TimeLimitExceeded { .. }) => Some(Limit::Time),
        Some(LimitError::MemoryLimitExceeded { .. }) => Some(Limit::Memory),
        Some(LimitError::RegexSizeLimitExceeded { .. }) => None,
        None => {
            let text = error.to_string();
            let says = |words: &str| text.contains(words);
            if says("execution exceeded time limit") {
                Some(Limit::Time)
            } else {
                says("execution exceeded memory limit").then_some(Limit::Memory)
            }
        }
    }
}

/// The engine's message without its drawing of the source: place and reason.
fn one_line(error: &anyhow::Error) -> String {
    const LONGEST: usize = 300;
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let place = lines.iter().find_map(|line| line.strip_prefix("--> "));
    let reason = lines.iter().find_map(|line| line.strip_prefix("error: "));
    let line = match (place, reason) {
        (Some(place), Some(reason)) => format!("{place}: {reason}"),
        _ => lines.join(" "),
    };
    line.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests;
