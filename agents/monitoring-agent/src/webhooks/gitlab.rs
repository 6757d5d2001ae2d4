//! `POST /webhooks/gitlab`.

use axum::{
    extract::{Request, State},
    http::HeaderMap,
};

use super::{Answer, Webhooks, body_of, is_shallow, verify::Claims};
use crate::{
    domain::dora::hook::{Hook, Unreadable, read},
    watch::now,
};

/// Kind of an event that was refused before it was read.
const UNKNOWN: &str = "unknown";

/// Takes in one event. It is durable when the answer is 200.
pub(super) async fn take(State(hooks): State<Webhooks>, request: Request) -> Answer {
    let (kind, outcome, answer) = match judge(&hooks, request).await {
        Ok((kind, outcome)) if outcome == "kept" => (kind, outcome, Answer::Kept),
        Ok((kind, outcome)) => (kind, outcome, Answer::Accepted),
        Err(refused) => refused,
    };
    hooks.counts.add(kind, outcome);
    answer
}

type Refused = (&'static str, &'static str, Answer);

async fn judge(
    hooks: &Webhooks,
    request: Request,
) -> Result<(&'static str, &'static str), Refused> {
    let (parts, body) = request.into_parts();
    let (claims, known) = (Claims::of(&parts.headers), hooks.secrets.known());
    let refused = |refusal: super::Refusal| {
        tracing::debug!(%refusal, "a webhook is refused");
        (UNKNOWN, "refused", Answer::Unknown)
    };
    let at = now().millis();
    claims.check(&known, at).map_err(refused)?;
    let busy = |answer| (UNKNOWN, "busy", answer);
    // A stranger without a fresh claim never takes a turn.
    let _turn = hooks.turn().await.map_err(busy)?;
    let body = body_of(body)
        .await
        .map_err(|answer| (UNKNOWN, "unreadable", answer))?;
    claims.check_body(&known, at, &body).map_err(refused)?;
    let unreadable = (UNKNOWN, "unreadable", Answer::Unreadable);
    if !is_shallow(&body) {
        return Err(unreadable);
    }
    let Hook {
        kind,
        project,
        facts,
    } = match read(&body) {
        Ok(hook) => hook,
        Err(Unreadable::NoJson) => return Err(unreadable),
        // Refusing what GitLab sends in another form would only make it switch the hook off.
        Err(Unreadable::Incomplete(kind)) => return Ok((kind.as_str(), "incomplete")),
    };
    let Some(project) = project else {
        return Ok((kind.as_str(), "nothing_to_keep"));
    };
    let delivery = delivery(&parts.headers);
    if delivery.is_some_and(|id| hooks.recent.contains(id)) {
        return Ok((kind.as_str(), "repeated"));
    }
    let kept = hooks.intake.keep(project, facts).await;
    kept.map_err(|_| (kind.as_str(), "not_kept", Answer::Busy))?;
    if let Some(id) = delivery {
        hooks.recent.remember(id);
    }
    Ok((kind.as_str(), "kept"))
}

/// The id that stays the same when a delivery is repeated. `X-Gitlab-Event-UUID` is none: events that a webhook
/// set off share it with the one that set them off.
fn delivery(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let id = text("webhook-id").or_else(|| text("idempotency-key"))?;
    (!id.is_empty() && id.len() <= 256).then_some(id)
}
