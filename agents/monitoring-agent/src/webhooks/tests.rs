use axum::http::HeaderMap;

use super::{Refusal, SKEW, Secrets, is_shallow, verify::Claims};

/// The example of the Standard Webhooks reference libraries; the signature was computed with Python's `hmac`.
const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const SENT: &str = "1614265330";
const NOW: i64 = 1_614_265_330_000;
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

fn secrets(files: &[(&str, &str)]) -> Secrets {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    Secrets::read(folder.path()).unwrap()
}

fn ours() -> Secrets {
    secrets(&[
        ("gitlab-token", "old\n\nnew\n"),
        (
            "gitlab-signing-token",
            &format!("whsec_b3RoZXIgb3RoZXIgb3RoZXIgb3RoZXI=\n{KEY}\n"),
        ),
    ])
}

fn headers_of(headers: &[(&'static str, &str)]) -> HeaderMap {
    let pair =
        |(name, value): &(&'static str, &str)| (name.parse().unwrap(), value.parse().unwrap());
    headers.iter().map(pair).collect()
}

fn check(headers: &[(&'static str, &str)], body: &[u8], now: i64) -> Result<(), Refusal> {
    let map = headers_of(headers);
    let (secrets, claims) = (ours(), Claims::of(&map));
    let known = secrets.known();
    claims.check(&known, now)?;
    claims.check_body(&known, now, body)
}

fn signed(signature: &str, body: &[u8], now: i64) -> Result<(), Refusal> {
    let headers = [
        ("webhook-id", ID),
        ("webhook-timestamp", SENT),
        ("webhook-signature", signature),
        // Fits, and must not help.
        ("x-gitlab-token", "new"),
    ];
    check(&headers, body, now)
}

#[test]
fn a_signature_by_any_key_among_any_signatures_is_accepted() {
    assert_eq!(signed(SIGNATURE, BODY, NOW), Ok(()));
    assert_eq!(
        signed(&format!("v1,AAAA v1a,x {SIGNATURE}"), BODY, NOW),
        Ok(())
    );
}

#[test]
fn a_wrong_signature_is_refused_whatever_the_token() {
    assert_eq!(signed(SIGNATURE, b"{}", NOW), Err(Refusal::Signature));
    for wrong in ["v1,AAAA", "v2,x", "", "v1,", "v1,é"] {
        let refused = signed(wrong, BODY, NOW);
        assert!(
            matches!(refused, Err(Refusal::Signature | Refusal::Incomplete)),
            "{wrong}: {refused:?}"
        );
    }
    let late = signed(&SIGNATURE.replace("v1,", "v0,"), BODY, NOW);
    assert_eq!(late, Err(Refusal::Signature));
    let bare = [("webhook-signature", SIGNATURE), ("x-gitlab-token", "new")];
    assert_eq!(check(&bare, BODY, NOW), Err(Refusal::Incomplete));
}

#[test]
fn a_signature_holds_for_five_minutes_either_way() {
    for (now, expected) in [
        (NOW + SKEW, Ok(())),
        (NOW - SKEW, Ok(())),
        (NOW + SKEW + 1, Err(Refusal::Stale)),
        (NOW - SKEW - 1, Err(Refusal::Stale)),
    ] {
        assert_eq!(signed(SIGNATURE, BODY, now), expected, "{now}");
    }
    for timestamp in ["", "now", "99999999999999999999", "9223372036854775807"] {
        let headers = [
            ("webhook-id", ID),
            ("webhook-timestamp", timestamp),
            ("webhook-signature", SIGNATURE),
        ];
        assert_eq!(
            check(&headers, BODY, NOW),
            Err(Refusal::Incomplete),
            "{timestamp}"
        );
    }
}

#[test]
fn each_line_is_a_token_and_nothing_else_is() {
    for token in ["old", "new"] {
        assert_eq!(check(&[("x-gitlab-token", token)], BODY, NOW), Ok(()));
    }
    for token in ["", "ol", "older", "old\\nnew", KEY] {
        assert_eq!(
            check(&[("x-gitlab-token", token)], BODY, NOW),
            Err(Refusal::Token),
            "{token}"
        );
    }
    assert_eq!(check(&[], BODY, NOW), Err(Refusal::Bare));
    let none = secrets(&[]);
    let mut headers = HeaderMap::new();
    headers.insert("x-gitlab-token", "".parse().unwrap());
    assert_eq!(
        Claims::of(&headers).check(&none.known(), NOW),
        Err(Refusal::Token)
    );
}

#[test]
fn secrets_show_nowhere_and_a_wrong_one_is_named_by_its_line() {
    let shown = format!("{:?}", ours());
    assert!(!shown.contains("new") && !shown.contains("MfKQ"), "{shown}");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("gitlab-signing-token"), "\nhunter2\n").unwrap();
    let error = Secrets::read(folder.path()).unwrap_err().to_string();
    assert!(
        error.ends_with("line 2: expected whsec_ and a key in base64"),
        "{error}"
    );
    assert!(!error.contains("hunter2"));
}

#[test]
fn secrets_are_read_again_and_kept_when_that_fails() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    file("gitlab-token", "one");
    let secrets = Secrets::read(folder.path()).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("x-gitlab-token", "two".parse().unwrap());
    let check = || Claims::of(&headers).check(&secrets.known(), NOW);
    assert_eq!(check(), Err(Refusal::Token));
    file("gitlab-token", "one\ntwo");
    secrets.refresh().unwrap();
    assert_eq!(check(), Ok(()));
    file("gitlab-signing-token", "wrong");
    secrets.refresh().unwrap_err();
    assert_eq!(check(), Ok(()));
}

#[test]
fn depth_is_counted_outside_of_texts() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(is_shallow(nested(24).as_bytes()));
    assert!(!is_shallow(nested(25).as_bytes()));
    assert!(is_shallow(
        format!("{{\"a\\\"\": \"{}\"}}", nested(100)).as_bytes()
    ));
    let wide = format!("[{}]", vec!["[]"; 1_000].join(","));
    assert!(is_shallow(wide.as_bytes()));
}
