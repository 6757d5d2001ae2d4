//! What the syntax tree of the policies tells before they run: which rules to ask, that no function calls
//! itself (the engine would run out of stack), and where the engine differs from Open Policy Agent.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::domain::policy::{Caveat, Level, PolicyError, PolicyRule};

type Path = Vec<String>;

/// Uses of rules by rules that are followed; real policy libraries have some thousands.
const MAX_EDGES: usize = 500_000;

/// Rules by full path, and what each may use.
type Graph = BTreeMap<Path, BTreeSet<Path>>;

/// More uses than are followed.
struct TooEntangled;

/// The result.
#[derive(Debug, Default)]
pub(super) struct Analysis {
    /// Rules to ask, each once.
    pub(super) rules: Vec<PolicyRule>,
    /// Differences.
    pub(super) caveats: Vec<Caveat>,
}

impl Analysis {
    /// Reads the tree as `Engine::get_ast_as_json` prints it.
    pub(super) fn of(ast: &str) -> Result<Self, PolicyError> {
        let unreadable = |e: serde_json::Error| PolicyError::Compile {
            policy: "policies".into(),
            message: e.to_string(),
        };
        let modules: Vec<Value> = serde_json::from_str(ast).map_err(unreadable)?;
        let modules: Vec<Module<'_>> = modules.iter().map(Module::of).collect();
        let mut analysis = Self::default();
        let mut graph = Graph::new();
        let mut homes: HashMap<Path, &str> = HashMap::new();
        for module in &modules {
            module.rules(&mut analysis.rules)?;
            module.negated_calls(&mut analysis.caveats);
            for (rule, uses) in module.uses() {
                homes.entry(rule.clone()).or_insert(module.name);
                graph.entry(rule).or_default().extend(uses);
            }
        }
        let refuse = |policy: &str, message: String| {
            Err(PolicyError::Compile {
                policy: policy.to_owned(),
                message,
            })
        };
        match cycle(&graph) {
            Ok(None) => Ok(analysis),
            Ok(Some(rule)) => {
                let policy = homes.get(&rule).copied().unwrap_or("policies");
                refuse(
                    policy,
                    format!("{} uses itself: Rego forbids recursion", rule.join(".")),
                )
            }
            Err(TooEntangled) => refuse(
                "policies",
                format!("rules use each other more than {MAX_EDGES} times"),
            ),
        }
    }
}

struct Module<'a> {
    name: &'a str,
    tree: &'a Value,
    package: Path,
    imports: HashMap<String, Path>,
}

impl<'a> Module<'a> {
    fn of(entry: &'a Value) -> Self {
        let name = entry
            .pointer("/source/file")
            .and_then(Value::as_str)
            .unwrap_or("policy");
        let tree = entry.get("ast").unwrap_or(&Value::Null);
        let package = tree
            .pointer("/package/refr")
            .and_then(chain)
            .unwrap_or_default();
        let text = entry
            .pointer("/source/contents")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let imports = list(tree, "imports").filter_map(|import| {
            let path = chain(import.get("refr")?)?;
            let offset = |end: &str| usize::try_from(import.get("as")?.get(end)?.as_u64()?).ok();
            let alias = offset("start")
                .zip(offset("end"))
                .and_then(|(start, end)| text.get(start..end));
            Some((
                alias
                    .or_else(|| path.last().map(String::as_str))?
                    .to_owned(),
                path,
            ))
        });
        Self {
            name,
            tree,
            package,
            imports: imports.collect(),
        }
    }

    /// Each rule: its head's path and the tree below it.
    fn heads(&self) -> impl Iterator<Item = (Path, &'a Value)> + '_ {
        list(self.tree, "rules").filter_map(|rule| {
            let head = rule.pointer("/Spec/head").or_else(|| rule.get("Default"))?;
            let reference = head
                .get("refr")
                .or_else(|| head.as_object()?.values().next()?.get("refr"))?;
            Some((chain(reference)?, rule))
        })
    }

    /// The rules whose names say that they are to be asked.
    fn rules(&self, rules: &mut Vec<PolicyRule>) -> Result<(), PolicyError> {
        let plain = |part: &String| part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !self.package.iter().all(plain) {
            let message = format!(
                "package {} has a part that is no plain name",
                self.package.join(".")
            );
            return Err(PolicyError::Compile {
                policy: self.name.to_owned(),
                message,
            });
        }
        let package = self.package.join(".");
        for (path, rule) in self.heads() {
            let [name] = path.as_slice() else { continue };
            let Some(level) = Level::of(name) else {
                continue;
            };
            let is_function = rule
                .pointer("/Spec/head/Func/args")
                .is_some_and(|args| args.as_array().is_some_and(|a| !a.is_empty()));
            if is_function
                || rules
                    .iter()
                    .any(|r| r.package == package && r.rule == *name)
            {
                continue;
            }
            let wants_review = self.wants_review();
            rules.push(PolicyRule {
                policy: self.name.to_owned(),
                package: package.clone(),
                rule: name.clone(),
                level,
                wants_review,
            });
        }
        Ok(())
    }

    /// Whether the module looks at `input.review` anywhere.
    fn wants_review(&self) -> bool {
        let mut found = false;
        references(self.tree, &mut |path| {
            found |= path.starts_with(&["input".to_owned(), "review".to_owned()]);
        });
        found
    }

    /// For each rule, by full path, the rules that it may use, by full path.
    fn uses(&self) -> Vec<(Path, Vec<Path>)> {
        let own: BTreeSet<String> = self
            .heads()
            .filter_map(|(path, _)| path.into_iter().next())
            .collect();
        let mut uses = Vec::new();
        for (path, rule) in self.heads() {
            let locals = locals(rule);
            let mut targets = Vec::new();
            let body = [
                "/Spec/bodies",
                "/Spec/head/Func/assign",
                "/Spec/head/Compr/assign",
                "/Spec/head/Set/key",
                "/Default/value",
            ];
            for part in body.iter().filter_map(|pointer| rule.pointer(pointer)) {
                references(part, &mut |reference| {
                    targets.extend(self.resolve(reference, &own, &locals));
                });
            }
            let full = self.package.iter().chain(path.first()).cloned().collect();
            uses.push((full, targets));
        }
        uses
    }

    /// The rule that a reference may mean: of this package, of an imported one, or by its full path.
    fn resolve(
        &self,
        reference: &[String],
        own: &BTreeSet<String>,
        locals: &BTreeSet<String>,
    ) -> Option<Path> {
        let (first, rest) = reference.split_first()?;
        if locals.contains(first) {
            return None;
        }
        if first == "data" {
            return Some(rest.to_vec());
        }
        if own.contains(first) {
            return Some(self.package.iter().chain([first]).cloned().collect());
        }
        let import = self
            .imports
            .get(first)
            .filter(|path| path.first().is_some_and(|root| root == "data"))?;
        Some(import.iter().skip(1).chain(rest).cloned().collect())
    }

    /// `not f(x, input.missing)`: where an argument is undefined, Open Policy Agent leaves the rule undefined
    /// while regorus takes the call as false, so that `not` holds.
    fn negated_calls(&self, caveats: &mut Vec<Caveat>) {
        visit(self.tree, &mut |key, value| {
            let Some(call) = value.pointer("/expr/Call").filter(|_| key == "NotExpr") else {
                return;
            };
            let maybe_undefined = list(call, "params").any(|arg| {
                ["RefDot", "RefBrack", "Call"]
                    .iter()
                    .any(|kind| arg.get(kind).is_some())
            });
            if maybe_undefined {
                let line = value
                    .pointer("/span/line")
                    .and_then(Value::as_u64)
                    .unwrap_or(1);
                caveats.push(Caveat {
                    policy: self.name.to_owned(),
                    line: usize::try_from(line).unwrap_or(usize::MAX),
                    message: "an undefined argument makes this `not` hold here, but leaves the rule undefined in Open Policy Agent; \
                              assign the argument to a variable before the `not`"
                        .to_owned(),
                });
            }
        });
    }
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// `a.b["c"]` as a path; it ends before the first index that is not a constant text.
fn chain(expression: &Value) -> Option<Path> {
    link(expression).map(|(path, _)| path)
}

/// The path, and whether it goes on in a way that only running the policy tells.
fn link(expression: &Value) -> Option<(Path, bool)> {
    if let Some(name) = expression.pointer("/Var/value").and_then(Value::as_str) {
        return Some((vec![name.to_owned()], false));
    }
    let (inner, part) = match (expression.get("RefDot"), expression.get("RefBrack")) {
        (Some(dot), _) => (dot, dot.pointer("/field/1")),
        (None, Some(bracket)) => (bracket, bracket.pointer("/index/String/value")),
        (None, None) => return None,
    };
    let (mut path, cut) = link(inner.get("refr")?)?;
    match part.and_then(Value::as_str) {
        Some(part) if !cut => path.push(part.to_owned()),
        _ => return Some((path, true)),
    }
    Some((path, false))
}

/// Every reference in a tree, in full length.
fn references(tree: &Value, found: &mut impl FnMut(&[String])) {
    match tree {
        Value::Object(fields) => {
            if let Some(path) = chain(tree) {
                found(&path);
                return indices(tree, found);
            }
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

/// References in the indices of a reference.
fn indices(reference: &Value, found: &mut impl FnMut(&[String])) {
    for step in ["RefDot", "RefBrack"]
        .iter()
        .filter_map(|kind| reference.get(kind))
    {
        if let Some(index) = step.get("index") {
            references(index, found);
        }
        if let Some(inner) = step.get("refr") {
            indices(inner, found);
        }
    }
}

/// Every field of every object in a tree.
fn visit(tree: &Value, found: &mut impl FnMut(&str, &Value)) {
    match tree {
        Value::Object(fields) => {
            for (key, value) in fields {
                found(key, value);
                visit(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| visit(item, found)),
        _ => {}
    }
}

/// Names that a rule gives to its own values: arguments, `:=`, `some`.
fn locals(rule: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut add = |expression: &Value| {
        names.extend(
            chain(expression)
                .filter(|path| path.len() == 1)
                .into_iter()
                .flatten(),
        );
    };
    for argument in rule
        .pointer("/Spec/head/Func/args")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        add(argument);
    }
    visit(rule, &mut |key, value| match key {
        "AssignExpr" if value.get("op").and_then(Value::as_str) == Some("ColEq") => {
            if let Some(target) = value.get("lhs") {
                add(target);
            }
        }
        "SomeIn" => ["key", "value"]
            .iter()
            .filter_map(|k| value.get(k))
            .for_each(&mut add),
        _ => {}
    });
    names
}

/// A rule that reaches itself, if any, found by walking each path once.
fn cycle(graph: &Graph) -> Result<Option<Path>, TooEntangled> {
    let mut edges = 0_usize;
    let mut done: BTreeSet<&Path> = BTreeSet::new();
    for start in graph.keys() {
        if done.contains(start) {
            continue;
        }
        let mut open: BTreeSet<&Path> = BTreeSet::from([start]);
        let mut stack = vec![(start, targets(graph, start))];
        while let Some((rule, waiting)) = stack.last_mut() {
            let rule = *rule;
            let Some(next) = waiting.pop() else {
                open.remove(rule);
                done.insert(rule);
                stack.pop();
                continue;
            };
            edges += 1;
            if edges > MAX_EDGES {
                return Err(TooEntangled);
            }
            if open.contains(next) {
                return Ok(Some(next.clone()));
            }
            if !done.contains(next) {
                open.insert(next);
                stack.push((next, targets(graph, next)));
            }
        }
    }
    Ok(None)
}

/// The rules that a rule uses. A path may go on into a rule's value, and a package stands for all of its rules.
fn targets<'a>(graph: &'a Graph, rule: &Path) -> Vec<&'a Path> {
    let mut found = Vec::new();
    for path in graph.get(rule).into_iter().flatten() {
        let prefixes = (1..=path.len()).filter_map(|n| graph.get_key_value(path.get(..n)?));
        found.extend(prefixes.map(|(known, _)| known));
        let below = graph
            .range::<Path, _>(path..)
            .map(|(known, _)| known)
            .take_while(|known| known.starts_with(path));
        found.extend(below.filter(|known| *known != path).take(MAX_EDGES));
    }
    found
}
