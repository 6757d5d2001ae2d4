//! Requests and answers that an agent's README shows, held to what its skills really answer.

use std::{fmt::Debug, fs, ops::Range, path::Path};

use serde::de::DeserializeOwned;

use super::FakeAgent;
use crate::Skill;

/// Marks the beginning of an example.
const FENCE: &str = "```json\n";

/// Runs the request under a skill's heading in the README of the crate in `folder`, and compares the answer with
/// the one below it. With `UPDATE_README` set it writes the answer anew instead.
///
/// # Panics
/// When the README has no such example, or shows another answer.
#[expect(clippy::expect_used, reason = "a test that cannot go on says why")]
pub async fn check_example<S: Skill>(folder: &str, skill: S, agent: FakeAgent)
where
    S::Output: DeserializeOwned + PartialEq + Debug,
{
    let path = Path::new(folder).join("README.md");
    let mut readme = fs::read_to_string(&path).expect("the crate has a README.md");
    let [request, answer] =
        examples(&readme, S::ID).expect("a heading with a request and an answer");
    let block = |range: &Range<usize>| readme.get(range.clone()).unwrap_or_default();
    let input: S::Input = serde_json::from_str(block(&request)).expect("the request is an input");
    let (context, _) = agent.context();
    let output = skill.run(&context, input).await.expect("the skill answers");
    if std::env::var_os("UPDATE_README").is_some() {
        let text = serde_json::to_string_pretty(&output).expect("outputs are JSON");
        readme.replace_range(answer, &(text + "\n"));
        fs::write(&path, readme).expect("README.md can be written");
    } else {
        let shown: S::Output =
            serde_json::from_str(block(&answer)).expect("the answer is an output");
        assert_eq!(shown, output, "{}", S::ID);
    }
}

/// Where the first two JSON blocks under a skill's heading stand.
fn examples(readme: &str, skill: &str) -> Option<[Range<usize>; 2]> {
    let heading = readme.find(&format!("### `{skill}`"))?;
    let request = block(readme, heading)?;
    let answer = block(readme, request.end + "```".len())?;
    Some([request, answer])
}

fn block(readme: &str, from: usize) -> Option<Range<usize>> {
    let start = from + readme.get(from..)?.find(FENCE)? + FENCE.len();
    let end = start + readme.get(start..)?.find("```")?;
    Some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_two_blocks_under_the_heading_count() {
        let readme = "### `one`\n```json\n1\n```\n```json\n2\n```\n### `two`\n```json\n3\n```\ntext\n```json\n4\n```\n";
        let shown = |skill| {
            examples(readme, skill).map(|ranges| ranges.map(|range| readme[range].to_owned()))
        };
        assert_eq!(shown("one"), Some(["1\n".into(), "2\n".into()]));
        assert_eq!(shown("two"), Some(["3\n".into(), "4\n".into()]));
        assert_eq!(shown("three"), None);
    }
}
