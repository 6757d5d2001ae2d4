//! Tokens that prove themselves: checksums and inner structure.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};

pub use super::candidate::Verdict;
use super::{candidate::Candidate, guard};

const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BASE36: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// CRC-32 of `text` in base 62, six digits: the end of a GitHub or npm token, over its characters
/// between the prefix and those six.
///
/// Source: GitHub, "Behind GitHub's new authentication token formats" (2021), which npm took over.
pub fn github_checksum(text: &str) -> String {
    digits(crc32fast::hash(text.as_bytes()), BASE62, 6)
}

/// CRC-32 of `text` in base 36, seven digits: the end of a routable GitLab token, over everything
/// before it with the prefix.
///
/// Source: GitLab, `Authn::TokenField::Generator::RoutableToken`.
pub fn gitlab_checksum(text: &str) -> String {
    digits(crc32fast::hash(text.as_bytes()), BASE36, 7)
}

fn digits(mut number: u32, alphabet: &[u8], width: usize) -> String {
    let base = u32::try_from(alphabet.len()).expect("an alphabet is short");
    let mut digits = Vec::with_capacity(width);
    while number > 0 || digits.len() < width {
        let index = usize::try_from(number % base).expect("a digit is under 62");
        digits.extend(alphabet.get(index).copied().map(char::from));
        number /= base;
    }
    digits.iter().rev().collect()
}

fn proven(right: bool) -> Verdict {
    if right {
        Verdict::Proven
    } else {
        Verdict::Doubtful
    }
}

pub(super) fn crc32_base62(candidate: &Candidate<'_>) -> Verdict {
    if guard::token(candidate) == Verdict::Reject {
        return Verdict::Reject;
    }
    let body = candidate
        .secret
        .split_once('_')
        .map_or(candidate.secret, |(_, body)| body);
    match body
        .len()
        .checked_sub(6)
        .and_then(|at| body.split_at_checked(at))
    {
        Some((random, checksum)) => proven(github_checksum(random) == checksum),
        None => Verdict::Reject,
    }
}

/// Old GitLab tokens are just random; routable ones carry length and checksum after a dot.
pub(super) fn gitlab_routable(candidate: &Candidate<'_>) -> Verdict {
    let verdict = guard::token(candidate);
    let token = candidate.secret;
    let tail = token.rsplit_once('.').map_or(0, |(_, tail)| tail.len());
    if verdict == Verdict::Reject || tail != 9 {
        return verdict;
    }
    match token
        .len()
        .checked_sub(7)
        .and_then(|at| token.split_at_checked(at))
    {
        Some((covered, checksum)) => proven(gitlab_checksum(covered) == checksum),
        None => Verdict::Reject,
    }
}

const BECH32: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// Whether the text ends in a right Bech32 checksum. Source: BIP-173, section "Checksum".
pub(super) fn bech32(candidate: &Candidate<'_>) -> Verdict {
    let lower = candidate.secret.to_ascii_lowercase();
    let Some((hrp, data)) = lower.rsplit_once('1') else {
        return Verdict::Reject;
    };
    let data: Option<Vec<u32>> = data
        .chars()
        .map(|c| BECH32.find(c).and_then(|at| u32::try_from(at).ok()))
        .collect();
    let Some(data) = data else {
        return Verdict::Reject;
    };
    let high = hrp.bytes().map(|b| u32::from(b >> 5));
    let low = hrp.bytes().map(|b| u32::from(b & 31));
    proven(polymod(high.chain([0]).chain(low).chain(data)) == 1)
}

fn polymod(values: impl Iterator<Item = u32>) -> u32 {
    const GENERATOR: [u32; 5] = [
        0x3b6a_57b2,
        0x2650_8e6d,
        0x1ea1_19fa,
        0x3d42_33dd,
        0x2a14_62b3,
    ];
    values.fold(1, |checksum, value| {
        let top = checksum >> 25;
        let next = (checksum & 0x01ff_ffff) << 5 ^ value;
        GENERATOR
            .iter()
            .enumerate()
            .filter(|(bit, _)| top >> bit & 1 == 1)
            .fold(next, |sum, (_, generator)| sum ^ generator)
    })
}

/// A JSON Web Token has a header that names an algorithm. Source: RFC 7515 section 4.1.1.
pub(super) fn jwt(candidate: &Candidate<'_>) -> Verdict {
    let mut parts = candidate.secret.split('.');
    let (Some(header), Some(payload)) = (parts.next().and_then(json), parts.next().and_then(json))
    else {
        return Verdict::Reject;
    };
    let algorithm = header.get("alg").and_then(serde_json::Value::as_str);
    // The subject of the token that every tutorial shows.
    let tutorial = payload.get("sub").and_then(serde_json::Value::as_str) == Some("1234567890");
    match algorithm {
        None => Verdict::Reject,
        Some(alg) if alg.eq_ignore_ascii_case("none") || tutorial => Verdict::Doubtful,
        Some(_) => Verdict::Proven,
    }
}

fn json(part: &str) -> Option<serde_json::Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// `user:password` in base64, as Docker keeps registry credentials.
pub(super) fn basic_auth(candidate: &Candidate<'_>) -> Verdict {
    let decoded = STANDARD
        .decode(candidate.secret)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded.as_deref().and_then(|text| text.split_once(':')) {
        Some((user, password)) if !user.is_empty() && password.len() >= 3 => {
            match guard::password(&Candidate {
                secret: password,
                ..*candidate
            }) {
                Verdict::Keep => Verdict::Proven,
                other => other,
            }
        }
        _ => Verdict::Reject,
    }
}

/// The body of a PEM block: enough base64 to be a key, and no ellipsis.
pub(super) fn pem_body(candidate: &Candidate<'_>) -> Verdict {
    let body = candidate.secret.replace("\\r", "").replace("\\n", "");
    let base64 = body
        .bytes()
        .filter(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
        .count();
    let other = body
        .bytes()
        .filter(|b| {
            !b.is_ascii_alphanumeric() && !b.is_ascii_whitespace() && !b"+/=\"',\\:|-".contains(b)
        })
        .count();
    // An Ed25519 key in PKCS#8 is the shortest: 48 bytes, 64 characters.
    if base64 < 60 || other * 20 > base64 || body.contains("...") {
        Verdict::Reject
    } else {
        guard::token(candidate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secrets::candidate::FileKind;

    fn candidate(secret: &str) -> Candidate<'_> {
        Candidate {
            secret,
            name: None,
            quoted: false,
            file: FileKind::Text,
        }
    }

    /// A token that GitHub itself published as an example of the format, put together here.
    #[test]
    fn a_published_github_token_has_the_right_checksum() {
        let token = ["ghp", "_zQWBuTSOoRi4A9spHcVY5ncns", "DkxkJ0mLq17"].concat();
        assert_eq!(crc32_base62(&candidate(&token)), Verdict::Proven);
        assert_eq!(
            crc32_base62(&candidate(&token.replace("zQ", "zR"))),
            Verdict::Doubtful
        );
    }

    #[test]
    fn routable_gitlab_tokens_prove_themselves_and_plain_ones_pass() {
        let covered = ["glpat", "-Zk3vQ9sLm2XwRt7YpB4nAcUd8", ".01.0q"].concat();
        let token = format!("{covered}{}", gitlab_checksum(&covered));
        assert_eq!(gitlab_routable(&candidate(&token)), Verdict::Proven);
        assert_eq!(
            gitlab_routable(&candidate(&token.replace("Zk3", "Zk4"))),
            Verdict::Doubtful
        );
        assert_eq!(
            gitlab_routable(&candidate(&["glpat", "-Zk3vQ9sLm2XwRt7YpB4n"].concat())),
            Verdict::Keep
        );
    }

    /// The check value of CRC-32/ISO-HDLC ("123456789" gives cbf43926) in both bases, by hand:
    /// 3421780262 = 3*62^5 + 45*62^4 + 35*62^3 + 28*62^2 + 37*62 + 16.
    #[test]
    fn checksums_are_padded_to_their_width() {
        assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
        assert_eq!(digits(61, BASE62, 6), "00000z");
        assert_eq!(digits(62, BASE62, 6), "000010");
        assert_eq!(digits(35, BASE36, 7), "000000z");
        assert_eq!(digits(u32::MAX, BASE36, 7), "1z141z3");
    }

    /// Valid and invalid strings of BIP-173, section "Test vectors".
    #[test]
    fn bech32_agrees_with_the_vectors_of_bip_173() {
        for valid in [
            "A12UEL5L",
            "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw",
            "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w",
        ] {
            assert_eq!(bech32(&candidate(valid)), Verdict::Proven, "{valid}");
        }
        assert_eq!(bech32(&candidate("A1G7SGD8")), Verdict::Doubtful);
        assert_eq!(bech32(&candidate("x1b4n0q5v")), Verdict::Reject);
    }

    #[test]
    fn a_json_web_token_needs_a_header_with_an_algorithm() {
        let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let token = |header: &str, payload: &str| {
            format!(
                "{}.{}.{}",
                part(header),
                part(payload),
                "c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"
            )
        };
        assert_eq!(
            jwt(&candidate(&token(
                r#"{"alg":"RS256"}"#,
                r#"{"sub":"alice"}"#
            ))),
            Verdict::Proven
        );
        assert_eq!(
            jwt(&candidate(&token(
                r#"{"alg":"none"}"#,
                r#"{"sub":"alice"}"#
            ))),
            Verdict::Doubtful
        );
        assert_eq!(
            jwt(&candidate(&token(
                r#"{"alg":"HS256"}"#,
                r#"{"sub":"1234567890"}"#
            ))),
            Verdict::Doubtful
        );
        assert_eq!(
            jwt(&candidate(&token(r#"{"kid":"1"}"#, r#"{"sub":"alice"}"#))),
            Verdict::Reject
        );
    }

    #[test]
    fn registry_credentials_are_a_user_and_a_password_in_base64() {
        assert_eq!(
            basic_auth(&candidate(&STANDARD.encode("ci:T7kd02qLp"))),
            Verdict::Proven
        );
        assert_eq!(
            basic_auth(&candidate(&STANDARD.encode("ci:${PASSWORD}"))),
            Verdict::Reject
        );
        assert_eq!(
            basic_auth(&candidate(&STANDARD.encode("no colon in here"))),
            Verdict::Reject
        );
    }
}
