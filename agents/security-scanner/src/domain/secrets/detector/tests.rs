//! Tokens are put together at run time, so that this file holds none.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::*;
use crate::domain::secrets::checksum::github_checksum;

/// Reproducible text over an alphabet, from a linear congruential generator (Knuth's MMIX constants).
fn text(seed: u64, alphabet: &str, length: usize) -> String {
    let symbols: Vec<char> = alphabet.chars().collect();
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(99);
    std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        symbols[usize::try_from(state >> 33).unwrap() % symbols.len()]
    })
    .take(length)
    .collect()
}

const ALNUM: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const HEX: &str = "0123456789abcdef";
const UPPER32: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// (rule that must fire, one line of text with the secret in it, the secret)
#[expect(clippy::too_many_lines, reason = "a table")]
fn planted(seed: u64) -> Vec<(&'static str, String, String)> {
    let alnum = |n| text(seed, ALNUM, n);
    let hex = |n| text(seed, HEX, n);
    let with_checksum = |prefix: &str| {
        let body = text(seed, ALNUM, 30);
        format!("{prefix}{body}{}", github_checksum(&body))
    };
    let token = |rule, secret: String| (rule, format!("deploy --with {secret} # comment"), secret);
    let assigned = |rule, line: &str, secret: String| (rule, line.replace('#', &secret), secret);
    vec![
        token("gitlab-pat", ["gl", "pat-", &alnum(20)].concat()),
        token("gitlab-deploy-token", ["gl", "dt-", &alnum(20)].concat()),
        token("gitlab-runner-token", ["gl", "rt-", &alnum(20)].concat()),
        token("gitlab-trigger-token", ["gl", "ptt-", &hex(40)].concat()),
        token("github-pat", with_checksum(&["gh", "p_"].concat())),
        token("github-app-token", with_checksum(&["gh", "s_"].concat())),
        token(
            "github-fine-grained-pat",
            [
                "github",
                "_pat_",
                &alnum(22),
                "_",
                &text(seed + 1, ALNUM, 59),
            ]
            .concat(),
        ),
        token("npm-token", with_checksum(&["np", "m_"].concat())),
        token(
            "pypi-token",
            ["py", "pi-AgEIcHlwaS5vcmc", &alnum(90)].concat(),
        ),
        token("dockerhub-pat", ["dckr", "_pat_", &alnum(27)].concat()),
        token(
            "aws-access-key-id",
            ["AK", "IA", &text(seed, UPPER32, 16)].concat(),
        ),
        assigned(
            "aws-secret-access-key",
            "aws_secret_access_key = #",
            text(seed, BASE64, 40),
        ),
        token("gcp-api-key", ["AI", "za", &alnum(35)].concat()),
        assigned(
            "azure-storage-key",
            "DefaultEndpointsProtocol=https;AccountKey=#",
            text(seed, BASE64, 86) + "==",
        ),
        token("digitalocean-token", ["do", "p_v1_", &hex(64)].concat()),
        token("vault-token", ["hv", "s.", &alnum(95)].concat()),
        token(
            "slack-token",
            ["xo", "xb-123456789012-123456789012-", &alnum(24)].concat(),
        ),
        assigned(
            "slack-webhook",
            "https://hooks.slack.com/services/#",
            format!(
                "T{}/B{}/{}",
                text(seed, UPPER32, 8),
                text(seed + 1, UPPER32, 8),
                alnum(24)
            ),
        ),
        token("stripe-live-key", ["sk", "_live_", &alnum(24)].concat()),
        token(
            "sendgrid-key",
            ["S", "G.", &alnum(22), ".", &text(seed + 2, ALNUM, 43)].concat(),
        ),
        token(
            "openai-key",
            [
                "s",
                "k-",
                &alnum(20),
                "T3Blbk",
                "FJ",
                &text(seed + 3, ALNUM, 20),
            ]
            .concat(),
        ),
        token(
            "anthropic-key",
            ["sk-", "ant-api03-", &alnum(93), "AA"].concat(),
        ),
        token(
            "huggingface-token",
            [
                "h",
                "f_",
                &text(
                    seed,
                    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
                    34,
                ),
            ]
            .concat(),
        ),
        assigned(
            "database-url",
            "url: postgres://shop:#@db.shop.svc:5432/shop",
            alnum(16),
        ),
        assigned(
            "url-credentials",
            "git clone https://ci:#@git.shop.test/shop.git",
            alnum(20),
        ),
        assigned(
            "netrc-password",
            "machine git.shop.test login ci password #",
            alnum(14),
        ),
        assigned(
            "authorization-header",
            "curl -H 'Authorization: Bearer #' shop.test",
            alnum(40),
        ),
        assigned("generic-secret", "SHOP_API_KEY=#", alnum(32)),
        assigned("generic-secret", "client_secret: \"#\"", alnum(24)),
        assigned("generic-password", "db_password: '#'", alnum(12)),
    ]
}

fn detector() -> Detector {
    Detector::new(Fingerprints::default())
}

#[test]
fn finds_planted_secrets_on_their_line_and_shows_none() {
    let detector = detector();
    let (mut missed, mut total, mut generic) = (Vec::new(), 0, 0);
    for seed in 1..=50 {
        for (rule, line, secret) in planted(seed) {
            let content = format!("# configuration\n\n{line}\nend\n");
            let found = detector.scan("deploy/settings.conf", &content);
            let hit = found.iter().any(|d| d.rule.id == rule && d.line == 3);
            assert!(
                hit || rule.starts_with("generic"),
                "{rule} {seed}: {:?}",
                found.iter().map(|d| d.rule.id).collect::<Vec<_>>()
            );
            assert!(
                found.iter().all(|d| !format!("{d:?}").contains(&secret)),
                "{rule} shows its secret"
            );
            assert!(found.len() <= 1, "{rule} is reported {} times", found.len());
            total += usize::from(rule.starts_with("generic"));
            if !hit {
                missed.push(format!("{rule} {seed}"));
            }
            generic += usize::from(hit && rule.starts_with("generic"));
        }
    }
    // Every provider's form is found. A generated password may look like words: 12 letters without a digit.
    assert!(
        generic * 100 >= total * 95,
        "{generic} of {total} assignments; missed: {missed:?}"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn is_silent_on_text_without_secrets() {
    let clean = [
        (
            "README.md",
            concat!(
                "Set `API_TOKEN` to your token, for example `gl",
                "pat-xxxxxxxxxxxxxxxxxxxx`.\nUse AK",
                "IAIOSFODNN7EXAMPLE as in the manual."
            ),
        ),
        (
            "values.yaml",
            "password: \"{{ .Values.db.password }}\"\nsecretName: shop-tls-2024\ntokenExpiry: 3600s\nexistingSecret: shop-db-v2\nimagePullSecrets:\n  - name: regcred1\n",
        ),
        (
            "deploy.yaml",
            "env:\n  - name: DB_PASSWORD\n    valueFrom:\n      secretKeyRef:\n        name: shop-db\n        key: password\n",
        ),
        (
            "main.rs",
            "let token = lexer.next_token2();\nlet secret: SecretString = load(path)?;\nassert_eq!(password, config.password_v2);\npub api_key: Option<String>,\n",
        ),
        (
            "app.py",
            "password = os.environ['DB_PASSWORD1']\ntoken = get_token(user_id=42)\nsecret_key = settings.SECRET_KEY_2024\n",
        ),
        (
            "index.js",
            "const apiKey = process.env.API_KEY_V2;\nheaders['X-CSRF-Token'] = csrfToken1;\n",
        ),
        (
            ".env",
            "DATABASE_URL=postgres://user:${DB_PASSWORD}@db:5432/app\nPASSWORD=changeme\nTOKEN_FILE=/run/secrets/token1\nAPI_KEY=\n",
        ),
        (
            "Cargo.lock",
            "[[package]]\nname = \"secret-token\"\nchecksum = \"3d0f1c7b5d3a49cf0b6f0ad4ac0c5e5e0b1b0fba1a9e1e7d3a9e6f5b7c1d2e3f\"\n",
        ),
        (
            "pinned.txt",
            "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 secret digest\nkey_fingerprint: 2f:ab:11:9c:de:90\n",
        ),
        (
            "notes.txt",
            "The primary key is order_id2; the partition key: customer-region-1. Passwords: at least 12 characters.\n",
        ),
        (
            "pub.pem",
            "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n",
        ),
        (
            "how-to.md",
            "paste the block that begins with `-----BEGIN PRIVATE KEY-----` and ends with\n\n```\n-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\n```\n",
        ),
        (
            "ids.json",
            "{\"token_id\": \"5f0c0c5e-7b0a-4a5e-9d3e-0d2f1f0d1c2b\", \"secret_version\": \"2024-05-01T12:00:00Z\"}",
        ),
    ];
    let detector = detector();
    for (name, content) in clean {
        let found = detector.scan(name, content);
        assert!(
            found.is_empty(),
            "{name}: {:?}",
            found
                .iter()
                .map(|d| (d.rule.id, d.line, d.column))
                .collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_wrong_checksum_lowers_the_confidence_and_a_right_one_raises_it() {
    let body = text(7, ALNUM, 30);
    let right = ["gh", "p_", &body, &github_checksum(&body)].concat();
    let wrong = ["gh", "p_", &body, "0a1B2c"].concat();
    let confidence = |token: &str| {
        detector()
            .scan("a.txt", token)
            .iter()
            .map(|d| d.confidence)
            .collect::<Vec<_>>()
    };
    assert_eq!(confidence(&right), [Confidence::High]);
    assert_eq!(confidence(&wrong), [Confidence::Low]);
}

#[test]
fn the_preview_ends_where_the_secret_begins() {
    let token = ["gl", "pat-", &text(3, ALNUM, 20)].concat();
    let password = format!("db_password = '{}'", text(4, ALNUM, 16));
    let preview = |line: &str| {
        detector()
            .scan("a.conf", line)
            .iter()
            .map(|d| d.preview.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(preview(&token), [["gl", "pat-****"].concat()]);
    assert_eq!(preview(&password), ["****"]);
}

#[test]
fn a_fingerprint_survives_a_move_to_another_line() {
    let token = ["gl", "pat-", &text(3, ALNUM, 20)].concat();
    let (one, two) = (
        detector().scan("a", &token),
        detector().scan("a", &format!("\n\n  {token}")),
    );
    assert_eq!(one[0].fingerprint, two[0].fingerprint);
    assert_eq!((two[0].line, two[0].column), (3, 3));
    assert_ne!(
        one[0].fingerprint,
        detector().scan("b", &token)[0].fingerprint
    );
}

#[test]
fn columns_count_characters_not_bytes() {
    let token = ["gl", "pat-", &text(3, ALNUM, 20)].concat();
    let found = detector().scan("a", &format!("ключ → {token}"));
    assert_eq!((found[0].line, found[0].column), (1, 8));
}

#[test]
fn private_keys_are_found_in_files_and_in_json_strings() {
    let body = text(5, BASE64, 64 * 6);
    let lines: Vec<&str> = (0..6).map(|i| &body[i * 64..(i + 1) * 64]).collect();
    let head = ["-----BEGIN RSA PRIV", "ATE KEY-----"].concat();
    let tail = ["-----END RSA PRIV", "ATE KEY-----"].concat();
    let file = format!("x\n{head}\n{}\n{tail}\n", lines.join("\n"));
    let json = format!(
        "{{\"private_key\": \"{head}\\n{}\\n{tail}\\n\"}}",
        lines.join("\\n")
    );
    for (content, line) in [(file, 2), (json, 1)] {
        let found = detector().scan("key", &content);
        assert_eq!(
            found
                .iter()
                .map(|d| (d.rule.id, d.line))
                .collect::<Vec<_>>(),
            [("private-key", line)]
        );
    }
}

#[test]
fn values_of_kubernetes_secrets_are_decoded_and_scanned() {
    let token = ["gl", "pat-", &text(3, ALNUM, 20)].concat();
    let manifest = format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: shop\ndata:\n  token: {}\n  pin: {}\n  username: {}\n",
        STANDARD.encode(&token),
        STANDARD.encode("k9!dw-22pQ"),
        STANDARD.encode("shop-user-1"),
    );
    let found = detector().scan("secret.yaml", &manifest);
    assert_eq!(
        found
            .iter()
            .map(|d| (d.rule.id, d.line, d.column))
            .collect::<Vec<_>>(),
        [("gitlab-pat", 6, 10), ("kubernetes-secret-data", 7, 8)]
    );
}

#[test]
fn secrets_in_very_long_lines_are_found_wherever_they_stand() {
    let detector = detector();
    let secrets: Vec<String> = (0..40)
        .map(|i| ["gl", "pat-", &text(i, ALNUM, 20)].concat())
        .collect();
    let pieces: Vec<String> = secrets
        .iter()
        .enumerate()
        .map(|(i, s)| format!("{}{s};", "a=1;".repeat(i * 37 % 400)))
        .collect();
    let line = pieces.concat();
    assert_eq!(detector.scan("bundle.txt", &line).len(), 40);
    let token = |i: u64| {
        let part = |json: String| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json);
        format!(
            "{}.{}.{}",
            part(r#"{"alg":"RS256","typ":"JWT"}"#.into()),
            part(format!("{{\"sub\":\"{}\"}}", text(i, ALNUM, 900))),
            text(i, ALNUM, 86)
        )
    };
    let many = (0..30).map(token).collect::<Vec<_>>().join("\n");
    assert_eq!(detector.scan("tokens.txt", &many).len(), 30);
}

#[test]
fn adding_text_around_a_secret_never_hides_it() {
    let detector = detector();
    for seed in 1..30 {
        let token = ["gl", "pat-", &text(seed, ALNUM, 20)].concat();
        let noise = text(seed, "abc =:\"'\n{}[]<>éß→key token secret_", 300);
        for content in [
            format!("{noise} {token}"),
            format!("{token} {noise}"),
            format!("{noise}\n{token}\n{noise}"),
        ] {
            assert!(
                detector
                    .scan("noise.txt", &content)
                    .iter()
                    .any(|d| d.rule.id == "gitlab-pat"),
                "seed {seed}"
            );
        }
    }
}
