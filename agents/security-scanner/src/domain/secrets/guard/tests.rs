use super::*;

fn assigned(name: &str, secret: &str, file: FileKind) -> (Verdict, Verdict) {
    let candidate = Candidate {
        secret,
        name: Some(name),
        quoted: true,
        file,
    };
    (assigned_secret(&candidate), assigned_password(&candidate))
}

#[test]
fn entropy_matches_hand_computed_values() {
    for (text, bits) in [
        ("", 0.0),
        ("aaaa", 0.0),
        ("ab", 1.0),
        ("abcd", 2.0),
        ("aabb", 1.0),
        ("0123456789abcdef", 4.0),
    ] {
        assert!((shannon_entropy(text) - bits).abs() < 1e-12, "{text}");
    }
}

#[test]
fn references_and_placeholders_are_no_passwords() {
    for value in [
        "${DB_PASSWORD}",
        "{{ .Values.password }}",
        "$(cat /run/pw1)",
        "<your password>",
        "changeme1",
        "xxxxxxxx1",
        "EXAMPLE-pass1",
        "os.environ[1]",
    ] {
        assert_eq!(
            assigned("password", value, FileKind::Text).1,
            Verdict::Reject,
            "{value}"
        );
    }
    assert_eq!(
        assigned("password", "T7!kd02-qLp", FileKind::Text).1,
        Verdict::Keep
    );
}

#[test]
fn the_last_word_of_a_name_decides_what_the_value_is() {
    for name in [
        "secret_name",
        "secretName",
        "TOKEN-FILE",
        "api_key_id",
        "token.url",
        "publicKeyToken",
    ] {
        assert_eq!(
            assigned(name, "a8Fj2kQ0zLw93Xc7", FileKind::Text).0,
            Verdict::Reject,
            "{name}"
        );
    }
    for name in ["secret", "API_TOKEN", "apiKey", "rapid"] {
        assert_eq!(
            assigned(name, "a8Fj2kQ0zLw93Xc7", FileKind::Text).0,
            Verdict::Keep,
            "{name}"
        );
    }
}

#[test]
fn paths_uuids_identifiers_and_version_words_are_no_tokens() {
    for value in [
        "/var/run/secrets/token1",
        "5f0c0c5e-7b0a-4a5e-9d3e-0d2f1f0d1c2b",
        "config.auth.token2",
        "bearer-token-v2",
        "projects/shop/secrets/db/versions/1",
        "abcdefgh12345678",
    ] {
        assert_eq!(
            assigned("token", value, FileKind::Text).0,
            Verdict::Reject,
            "{value}"
        );
    }
}

#[test]
fn an_unquoted_value_in_source_code_is_an_expression() {
    let candidate = Candidate {
        secret: "a8Fj2kQ0zLw93Xc7",
        name: Some("token"),
        quoted: false,
        file: FileKind::Code,
    };
    assert_eq!(assigned_secret(&candidate), Verdict::Reject);
    assert_eq!(
        assigned_secret(&Candidate {
            file: FileKind::Text,
            ..candidate
        }),
        Verdict::Keep
    );
}

#[test]
fn counting_up_is_noticed_only_when_it_makes_up_half() {
    assert!(counts_up("abcdefgh12345678"));
    assert!(counts_up("1234567890"));
    assert!(!counts_up("x9abcd0kfjw2lqpz"));
}
