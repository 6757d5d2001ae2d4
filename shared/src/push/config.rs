//! What a caller says about its webhook: checked when it comes, masked when it is shown.

use a2a::types::{PushAuthentication, PushConfig};
use reqwest::header::HeaderValue;

use super::screen::Policy;
use crate::a2a::fault::Fault;

/// Longest id a client may choose, in bytes; with the task's id it makes a key of the store (512 bytes).
const MAX_ID: usize = 256;
/// Longest token, in bytes: room for a signed JWT.
const MAX_TOKEN: usize = 4_096;
/// Longest scheme, in bytes; the longest registered one has 14.
const MAX_SCHEME: usize = 64;
/// Longest credentials, in bytes: what HTTP servers commonly take in one header.
const MAX_CREDENTIALS: usize = 8_000;
/// Shown in place of a secret.
const MASK: &str = "***";

/// A configuration that may be used. Its `Debug` form shows nothing of it.
pub(crate) struct Checked(pub(super) PushConfig);

impl std::fmt::Debug for Checked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Checked")
    }
}

/// Checks a configuration; what stands in headers may not break out of them.
pub(super) fn check(policy: &Policy, config: PushConfig) -> Result<Checked, Fault> {
    if !config.id.is_empty() {
        text("id", &config.id, MAX_ID)?;
    }
    policy.url(&config.url)?;
    if let Some(token) = &config.token {
        text("token", token, MAX_TOKEN)?;
        unmasked("token", token)?;
    }
    if let Some(PushAuthentication {
        scheme,
        credentials,
    }) = &config.authentication
    {
        text("authentication.scheme", scheme, MAX_SCHEME)?;
        if !scheme.bytes().all(is_token) {
            let got = "another character";
            return Err(Fault::field(
                "authentication.scheme",
                "letters, digits and !#$%&'*+-.^_`|~",
                got,
            ));
        }
        if let Some(credentials) = credentials {
            text("authentication.credentials", credentials, MAX_CREDENTIALS)?;
            unmasked("authentication.credentials", credentials)?;
        }
    }
    Ok(Checked(PushConfig {
        task_id: String::new(),
        ..config
    }))
}

/// Printable ASCII: nothing that ends a header or hides in a log.
fn text(field: &str, text: &str, most: usize) -> Result<(), Fault> {
    let expected = format!("1 to {most} printable ASCII characters");
    if !(1..=most).contains(&text.len()) {
        return Err(Fault::field(
            field,
            &expected,
            &format!("{} bytes", text.len()),
        ));
    }
    match text.bytes().position(|byte| !matches!(byte, b' '..=b'~')) {
        Some(at) => Err(Fault::field(
            field,
            &expected,
            &format!("another one at byte {at}"),
        )),
        None => Ok(()),
    }
}

/// Refuses what an earlier answer showed in place of a secret.
fn unmasked(field: &str, text: &str) -> Result<(), Fault> {
    if text == MASK {
        return Err(Fault::field(
            field,
            "the secret itself",
            "the mask of an answer",
        ));
    }
    Ok(())
}

/// A character of a token, RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The configuration as its owner may see it again.
pub(super) fn shown(config: PushConfig, task_id: &str) -> PushConfig {
    let mask = |secret: Option<String>| secret.map(|_| MASK.to_owned());
    PushConfig {
        task_id: task_id.to_owned(),
        token: mask(config.token),
        authentication: config.authentication.map(|known| PushAuthentication {
            credentials: mask(known.credentials),
            ..known
        }),
        ..config
    }
}

/// The value of `Authorization`, when there are credentials.
pub(super) fn authorization(config: &PushConfig) -> Option<HeaderValue> {
    let known = config.authentication.as_ref()?;
    let credentials = known.credentials.as_ref()?;
    secret(&format!("{} {credentials}", known.scheme))
}

/// A header's value that no log shows.
pub(super) fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> PushConfig {
        PushConfig {
            id: "mine".into(),
            task_id: "t".into(),
            url: "https://example.com/hook".into(),
            token: Some("a-token".into()),
            authentication: Some(PushAuthentication {
                scheme: "Bearer".into(),
                credentials: Some("a-secret".into()),
            }),
        }
    }

    fn scheme(config: PushConfig, scheme: &str) -> PushConfig {
        let authentication = config.authentication.map(|known| PushAuthentication {
            scheme: scheme.into(),
            ..known
        });
        PushConfig {
            authentication,
            ..config
        }
    }

    fn credentials(config: PushConfig, credentials: &str) -> PushConfig {
        let authentication = config.authentication.map(|known| PushAuthentication {
            credentials: Some(credentials.into()),
            ..known
        });
        PushConfig {
            authentication,
            ..config
        }
    }

    #[test]
    fn refuses_what_would_break_out_of_a_header_and_names_the_field() {
        let policy = Policy::default();
        check(&policy, config()).unwrap();
        let token = |token: &str| PushConfig {
            token: Some(token.into()),
            ..config()
        };
        let id = |id: &str| PushConfig {
            id: id.into(),
            ..config()
        };
        let url = PushConfig {
            url: "https://10.0.0.1/".into(),
            ..config()
        };
        for (wrong, field) in [
            (token("a\r\nHost: evil"), "token"),
            (token("a\nb"), "token"),
            (token("a\0b"), "token"),
            (token("a\u{7f}"), "token"),
            (token("\u{fc}"), "token"),
            (token(""), "token"),
            (token("***"), "token"),
            (token(&"a".repeat(MAX_TOKEN + 1)), "token"),
            (id("a\nb"), "id"),
            (id(&"a".repeat(MAX_ID + 1)), "id"),
            (scheme(config(), ""), "authentication.scheme"),
            (scheme(config(), "Bearer x"), "authentication.scheme"),
            (scheme(config(), "Bearer\r"), "authentication.scheme"),
            (
                credentials(config(), "a\r\nX: y"),
                "authentication.credentials",
            ),
            (credentials(config(), "***"), "authentication.credentials"),
            (url, "url"),
        ] {
            let fault = check(&policy, wrong).unwrap_err();
            assert_eq!(fault.kind.code(), -32602);
            assert!(fault.message().starts_with(field), "{}", fault.message());
            assert!(!fault.message().contains("evil"), "{}", fault.message());
        }
    }

    #[test]
    fn masks_secrets_and_shows_that_they_are_there() {
        let text = serde_json::to_value(shown(config(), "t")).unwrap();
        assert_eq!(
            text,
            serde_json::json!({
                "id": "mine", "taskId": "t", "url": "https://example.com/hook", "token": "***",
                "authentication": {"scheme": "Bearer", "credentials": "***"},
            })
        );
        let bare = PushConfig {
            url: "https://example.com/".into(),
            ..PushConfig::default()
        };
        let text = serde_json::to_value(shown(bare, "t")).unwrap();
        assert_eq!(text.as_object().unwrap().len(), 2);
    }

    #[test]
    fn secrets_stand_in_no_debug_form() {
        let checked = check(&Policy::default(), config()).unwrap();
        assert_eq!(format!("{checked:?}"), "Checked");
        let header = authorization(&checked.0).unwrap();
        assert_eq!(header.to_str().unwrap(), "Bearer a-secret");
        assert!(!format!("{header:?}").contains("a-secret"));
    }
}
