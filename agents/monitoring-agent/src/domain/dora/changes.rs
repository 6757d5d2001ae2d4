//! Which merge requests a deployment brought: by the difference between its commit and the one before.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    clock::Ms,
    deployments::Deployment,
    fact::{Merge, Push, Sha, Status},
    facts::Facts,
};

/// Longest walk over pushes from one commit to another.
const LONGEST_WALK: usize = 10_000;

/// A merge request that reached an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Its number.
    pub merge: u64,
    /// Index of the deployment that brought it.
    pub deployment: usize,
    /// When it was merged.
    pub merged: Ms,
    /// When it was made.
    pub created: Option<Ms>,
    /// Its first commit, as far as events show it.
    pub first_commit: Option<Ms>,
    /// Whether it takes something back or repairs in a hurry.
    pub remedy: bool,
}

/// What deployments brought, and which of them cannot be explained.
#[derive(Debug, Default)]
pub struct Changes {
    /// Every pair of a merge request and an environment, by deployment.
    pub found: Vec<Change>,
    /// Deployments (by index) whose commit is unknown or fits no merge request.
    pub unmatched: Vec<usize>,
}

/// What is known of a project's history.
struct History<'a> {
    merges: &'a BTreeMap<u64, Merge>,
    /// Merge requests by the commit that they left on the target branch.
    by_commit: HashMap<Sha, u64>,
    /// Pushes by the head that they left.
    pushes: HashMap<Sha, Vec<&'a Push>>,
    /// Pushes by branch and head.
    branches: HashMap<(&'a str, Sha), Vec<&'a Push>>,
    /// Merge requests by target branch and time.
    targets: HashMap<&'a str, Vec<(Ms, u64)>>,
}

impl<'a> History<'a> {
    fn of(facts: &'a Facts) -> Self {
        let mut history = Self {
            merges: &facts.merges,
            by_commit: HashMap::new(),
            pushes: HashMap::new(),
            branches: HashMap::new(),
            targets: HashMap::new(),
        };
        for (key, push) in &facts.pushes {
            let mut words = key.rsplitn(3, ' ');
            let (_, after, branch) = (words.next(), words.next(), words.next());
            let (Some(Ok(after)), Some(branch)) = (after.map(str::parse::<Sha>), branch) else {
                continue;
            };
            history.pushes.entry(after).or_default().push(push);
            history
                .branches
                .entry((branch, after))
                .or_default()
                .push(push);
        }
        for (number, merge) in &facts.merges {
            let (Some(merged), Some(word)) = (merge.merged.0, &merge.word) else {
                continue;
            };
            // A fast-forward leaves the head of the source branch.
            if let Some(commit) = word.merge_commit.or(word.head) {
                history.by_commit.insert(commit, *number);
            }
            let target = history.targets.entry(word.target.as_str()).or_default();
            target.push((merged, *number));
        }
        history
            .targets
            .values_mut()
            .for_each(|merges| merges.sort_unstable());
        history
    }

    /// The commits that pushes brought between two heads; `None` when the pushes do not connect them.
    fn between(&self, from: Sha, to: Sha) -> Option<HashSet<Sha>> {
        let (mut found, mut reached) = (HashSet::new(), false);
        let (mut waiting, mut seen) = (vec![to], HashSet::new());
        while let Some(head) = waiting.pop() {
            if head == from {
                reached = true;
                continue;
            }
            if !seen.insert(head) || seen.len() > LONGEST_WALK {
                continue;
            }
            found.insert(head);
            for push in self.pushes.get(&head).into_iter().flatten() {
                found.extend(push.commits.iter().map(|(sha, _)| *sha));
                waiting.extend(push.before);
            }
        }
        reached.then_some(found)
    }

    /// The merge requests between two deployed commits, newest knowledge first: pushes, then the order of merges.
    fn brought(&self, before: Option<Sha>, now: Sha) -> Vec<u64> {
        let own = self.by_commit.get(&now).copied();
        let Some(before) = before else {
            return own.into_iter().collect();
        };
        if let Some(commits) = self.between(before, now) {
            let mut merges: Vec<u64> = commits
                .iter()
                .filter_map(|sha| self.by_commit.get(sha).copied())
                .collect();
            merges.sort_unstable();
            merges.dedup();
            return merges;
        }
        self.by_order(before, own)
            .unwrap_or_else(|| own.into_iter().collect())
    }

    /// The merge requests into the same branch after the one that left `before`, up to `last`.
    fn by_order(&self, before: Sha, last: Option<u64>) -> Option<Vec<u64>> {
        let first = self.merges.get(self.by_commit.get(&before)?)?;
        let last = self.merges.get(&last?)?;
        let (from, to) = (first.merged.0?, last.merged.0?);
        let target = &last.word.as_ref()?.target;
        if *target != first.word.as_ref()?.target {
            return None;
        }
        let merges = self.targets.get(target.as_str())?.iter();
        let between = merges.filter(|(merged, _)| *merged > from && *merged <= to);
        Some(between.map(|(_, number)| *number).collect())
    }

    /// The earliest commit of a merge request, by its own events and the pushes to its branch.
    fn first_commit(&self, merge: &Merge) -> Option<Ms> {
        let mut first = merge.first_commit.0;
        let word = merge.word.as_ref()?;
        let (mut next, mut steps) = (word.head, 0);
        while let Some(head) = next.filter(|_| steps < LONGEST_WALK) {
            steps += 1;
            next = None;
            for push in self
                .branches
                .get(&(word.source.as_str(), head))
                .into_iter()
                .flatten()
            {
                let earliest = push.commits.iter().map(|(_, at)| *at).min();
                first = first.into_iter().chain(earliest).min();
                next = push.before.filter(|before| *before != head);
            }
        }
        first
    }

    fn change(&self, number: u64, deployment: usize) -> Option<Change> {
        let merge = self.merges.get(&number)?;
        Some(Change {
            merge: number,
            deployment,
            merged: merge.merged.0?,
            created: merge.created.0,
            first_commit: self.first_commit(merge),
            remedy: merge.word.as_ref().is_some_and(|word| word.remedy),
        })
    }
}

/// What each successful deployment brought; the first one of a merge request in an environment wins. Expects the
/// deployments by environment and time.
pub fn changes(facts: &Facts, deployments: &[Deployment]) -> Changes {
    let history = History::of(facts);
    let mut changes = Changes::default();
    let mut begin = 0;
    for same in deployments.chunk_by(|a, b| a.environment == b.environment) {
        let mut before = None;
        let mut here = HashSet::new();
        for (at, one) in same.iter().enumerate() {
            let index = begin + at;
            if one.status != Status::Success || one.repeats {
                continue;
            }
            let Some(sha) = one.sha else {
                changes.unmatched.push(index);
                continue;
            };
            if !one.returns {
                let brought = history.brought(before, sha);
                if brought.is_empty() {
                    changes.unmatched.push(index);
                }
                let new = brought.into_iter().filter(|number| here.insert(*number));
                changes
                    .found
                    .extend(new.filter_map(|number| history.change(number, index)));
            }
            before = Some(sha);
        }
        begin += same.len();
    }
    changes
}
