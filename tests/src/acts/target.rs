//! The agents under test, and which of them a test is for.

use serde_json::Value;

use super::{corpus::Test, webhook::Receiver, wire::Endpoint};

/// Bearer tokens that an agent with authentication knows.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// Allowed everything.
    pub valid: String,
    /// Another caller, allowed everything too.
    pub other: String,
    /// Known, but allowed nothing.
    pub insufficient: String,
}

/// An agent under test.
#[derive(Debug)]
pub struct Target {
    /// Where it is, with the valid token when it wants one.
    pub endpoint: Endpoint,
    /// Where it is, without a token.
    pub anonymous: Endpoint,
    /// Its card.
    pub card: Value,
    /// Its tokens, when it wants one.
    pub tokens: Option<Tokens>,
    /// Where it delivers push notifications.
    pub webhook: Receiver,
}

impl Target {
    /// Reads the card of an agent and starts a webhook for it.
    ///
    /// # Errors
    /// No card, or no free port.
    pub async fn discover(root: &str, tokens: Option<Tokens>) -> anyhow::Result<Self> {
        let (anonymous, card) = Endpoint::discover(root).await?;
        let endpoint = tokens.as_ref().map_or_else(
            || anonymous.clone(),
            |tokens| anonymous.with_bearer(&tokens.valid),
        );
        Ok(Self {
            endpoint,
            anonymous,
            card,
            tokens,
            webhook: Receiver::start().await?,
        })
    }

    fn unmet(&self, test: &Test) -> Option<String> {
        test.preconditions
            .capabilities
            .iter()
            .find(|(name, wanted)| advertises(&self.card, name) != **wanted)
            .map(|(name, wanted)| format!("no agent under test has {name} = {wanted}"))
    }
}

/// Whether a card advertises a capability; one it does not mention it does not advertise.
fn advertises(card: &Value, name: &str) -> bool {
    if name == "authentication" {
        return ["securitySchemes", "securityRequirements"]
            .iter()
            .all(|member| match card.get(member) {
                Some(Value::Object(schemes)) => !schemes.is_empty(),
                Some(Value::Array(requirements)) => !requirements.is_empty(),
                _ => false,
            });
    }
    card.get("capabilities")
        .and_then(|capabilities| capabilities.get(name))
        .and_then(Value::as_bool)
        .unwrap_or(false)
}

/// What needs two callers although its preconditions do not say so.
const TWO_CALLERS: [&str; 1] = ["CORE-ERR-009"];

/// The first agent that meets a test's preconditions.
///
/// # Errors
/// Why the test applies to none.
pub fn choose<'a>(test: &Test, targets: &'a [Target]) -> Result<&'a Target, String> {
    let two_callers = TWO_CALLERS.contains(&test.id.as_str());
    let mut reason = "there is no agent".to_owned();
    for target in targets {
        match target.unmet(test) {
            None if target.tokens.is_some() || !two_callers => return Ok(target),
            None => "no agent under test knows two callers".clone_into(&mut reason),
            Some(unmet) => reason = unmet,
        }
    }
    Err(reason)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::advertises;

    #[test]
    fn a_capability_that_is_not_mentioned_is_not_advertised() {
        let card = json!({"capabilities": {"streaming": true}, "securitySchemes": {"b": {}}});
        assert!(advertises(&card, "streaming"));
        assert!(!advertises(&card, "pushNotifications"));
        assert!(
            !advertises(&card, "authentication"),
            "an offer is no requirement"
        );
        let card = json!({"securitySchemes": {"b": {}}, "securityRequirements": [{}]});
        assert!(advertises(&card, "authentication"));
    }
}
