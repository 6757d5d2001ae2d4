//! Who sent a webhook: by GitLab's signing token (Standard Webhooks) or by its older plain token.

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest::Digest, hmac};
use axum::http::{HeaderMap, HeaderValue};
use base64::{Engine, prelude::BASE64_STANDARD};

use super::secrets::{Known, digest_of};
use crate::domain::dora::clock::Ms;

/// How far the clock of a sender may be off, in milliseconds: 5 minutes, as Standard Webhooks recommends.
pub const SKEW: Ms = 5 * 60_000;
/// Most signatures of one request that are looked at.
const MOST_SIGNATURES: usize = 16;

/// Why a request is refused. For logs and metrics; the sender is told no more than that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Neither a signature nor a token.
    #[error("the request has neither a signature nor a token")]
    Bare,
    /// The token is none of ours.
    #[error("the token does not fit")]
    Token,
    /// A header of the signature is missing or has another form.
    #[error("the signature is incomplete")]
    Incomplete,
    /// The time of the signature is too far from now.
    #[error("the signature is not of this time")]
    Stale,
    /// The signature is none of ours.
    #[error("the signature does not fit")]
    Signature,
}

/// What a request says of its sender.
pub(super) struct Claims<'a> {
    signature: Option<&'a str>,
    signed: bool,
    id: Option<&'a str>,
    timestamp: Option<&'a str>,
    token: Option<&'a [u8]>,
}

impl<'a> Claims<'a> {
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            signature: text("webhook-signature"),
            signed: headers.contains_key("webhook-signature"),
            id: text("webhook-id"),
            timestamp: text("webhook-timestamp"),
            token: headers.get("x-gitlab-token").map(HeaderValue::as_bytes),
        }
    }

    /// What can be refused before the body is read.
    pub(super) fn check(&self, known: &Known, now: Ms) -> Result<(), Refusal> {
        if self.signed {
            return self.fresh(now).map(|_| ());
        }
        let token = self.token.ok_or(Refusal::Bare)?;
        if fits(token, &known.gitlab_tokens) {
            Ok(())
        } else {
            Err(Refusal::Token)
        }
    }

    /// Checks the signature, when there is one. A token beside it counts for nothing.
    pub(super) fn check_body(&self, known: &Known, now: Ms, body: &[u8]) -> Result<(), Refusal> {
        if !self.signed {
            return self.check(known, now);
        }
        let (id, timestamp, signatures) = self.fresh(now)?;
        let mut fits = false;
        for key in &known.gitlab_keys {
            let mut context = hmac::Context::with_key(key);
            for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
                context.update(part);
            }
            let right = context.sign();
            for signature in signatures.split(' ').take(MOST_SIGNATURES) {
                let given = signature
                    .strip_prefix("v1,")
                    .and_then(|text| BASE64_STANDARD.decode(text).ok());
                let given = given.unwrap_or_default();
                fits |= verify_slices_are_equal(&given, right.as_ref()).is_ok();
            }
        }
        if fits {
            Ok(())
        } else {
            Err(Refusal::Signature)
        }
    }

    /// Id, time and signatures, when all are there and the time is now.
    fn fresh(&self, now: Ms) -> Result<(&'a str, &'a str, &'a str), Refusal> {
        let (Some(id), Some(timestamp), Some(signature)) =
            (self.id, self.timestamp, self.signature)
        else {
            return Err(Refusal::Incomplete);
        };
        let seconds: Ms = timestamp.parse().map_err(|_| Refusal::Incomplete)?;
        let at = seconds.checked_mul(1_000).ok_or(Refusal::Incomplete)?;
        if id.is_empty() || id.len() > 256 {
            return Err(Refusal::Incomplete);
        }
        if at.abs_diff(now) > SKEW.unsigned_abs() {
            return Err(Refusal::Stale);
        }
        Ok((id, timestamp, signature))
    }
}

/// Whether a token is one of those with these digests; takes the same time whichever it is.
pub(super) fn fits(token: &[u8], known: &[Digest]) -> bool {
    let given = digest_of(token);
    let equal = |right: &Digest| verify_slices_are_equal(given.as_ref(), right.as_ref()).is_ok();
    known
        .iter()
        .fold(false, |found, right| found | equal(right))
}
