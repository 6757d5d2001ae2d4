//! The header `x-forwarded-client-cert`, in which Envoy says whose certificate it verified.
//!
//! Elements are joined by commas, pairs of an element by semicolons; a value may stand in quotes, where a
//! backslash takes the next character as it is. Each proxy on the way appends an element, so only the last
//! one, by our own sidecar, is more than a claim.

use crate::{id::SpiffeId, transport::peer::PeerRefused};

/// Most elements that are read: a chain of proxies is short.
const MAX_ELEMENTS: usize = 32;
/// Most pairs of an element that are read: Envoy knows seven keys, of which `DNS` repeats.
const MAX_PAIRS: usize = 128;

/// The header does not follow its grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("x-forwarded-client-cert does not follow its grammar")]
pub struct XfccError;

/// One element: pairs of key and value, without quotes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct XfccElement(Vec<(String, String)>);

impl XfccElement {
    /// The value of a key that occurs exactly once. Case does not count in keys.
    pub fn only(&self, key: &str) -> Option<&str> {
        let mut values = self.values(key);
        let first = values.next();
        first.filter(|_| values.next().is_none())
    }

    /// All values of a key.
    pub fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(name, _)| name.eq_ignore_ascii_case(key))
            .map(|(_, value)| value.as_str())
    }
}

/// Reads all elements of a header, the immediate peer's last.
///
/// # Errors
/// [`XfccError`].
pub fn parse(header: &str) -> Result<Vec<XfccElement>, XfccError> {
    let mut rest = header;
    let mut elements = vec![XfccElement::default()];
    loop {
        let (key, value, separator, next) = pair(rest)?;
        let element = elements.last_mut().ok_or(XfccError)?;
        element.0.push((key, value));
        if element.0.len() > MAX_PAIRS {
            return Err(XfccError);
        }
        match separator {
            None => return Ok(elements),
            Some(',') if elements.len() < MAX_ELEMENTS => elements.push(XfccElement::default()),
            Some(';') => {}
            Some(_) => return Err(XfccError),
        }
        rest = next;
    }
}

/// Who our own sidecar says is calling: the last element must be by us and name one peer of our trust domain.
pub(crate) fn peer(header: &str, own: &SpiffeId) -> Result<SpiffeId, PeerRefused> {
    let elements = parse(header).map_err(|_| PeerRefused::Malformed)?;
    let last = elements.last().ok_or(PeerRefused::Malformed)?;
    if last.only("By") != Some(own.as_str()) {
        return Err(PeerRefused::OtherReceiver);
    }
    let uri = last.only("URI").ok_or(PeerRefused::NotOneName)?;
    uri.parse().map_err(|_| PeerRefused::NotAnId)
}

/// Key, value, the separator that follows if any, and the rest after it.
type Pair<'a> = (String, String, Option<char>, &'a str);

fn pair(text: &str) -> Result<Pair<'_>, XfccError> {
    let (key, rest) = text.split_once('=').ok_or(XfccError)?;
    let key = key.trim_matches(' ');
    if key.is_empty() || !key.bytes().all(|c| c.is_ascii_alphanumeric()) {
        return Err(XfccError);
    }
    let (value, rest) = match rest.strip_prefix('"') {
        Some(quoted) => quoted_value(quoted)?,
        None => plain_value(rest)?,
    };
    let rest = rest.trim_start_matches(' ');
    let mut characters = rest.chars();
    Ok((
        key.to_owned(),
        value,
        characters.next(),
        characters.as_str(),
    ))
}

fn plain_value(text: &str) -> Result<(String, &str), XfccError> {
    let (value, rest) = text.split_at(text.find([',', ';']).unwrap_or(text.len()));
    if value.contains('"') {
        Err(XfccError)
    } else {
        Ok((value.trim_end_matches(' ').to_owned(), rest))
    }
}

fn quoted_value(text: &str) -> Result<(String, &str), XfccError> {
    let mut value = String::new();
    let mut characters = text.chars();
    loop {
        match characters.next().ok_or(XfccError)? {
            '"' => return Ok((value, characters.as_str())),
            '\\' => value.push(characters.next().ok_or(XfccError)?),
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OWN: &str = "spiffe://mesh.local/ns/security-system/sa/security-scanner";
    const PEER: &str = "spiffe://mesh.local/ns/platform-system/sa/config-validator";

    fn check(header: &str, expected: Result<&str, PeerRefused>) {
        let own = OWN.parse().unwrap();
        let got = peer(header, &own);
        assert_eq!(
            got.as_ref().map(SpiffeId::as_str).map_err(|e| *e),
            expected,
            "{header}"
        );
    }

    #[test]
    fn takes_the_last_element_by_us() {
        check(
            &format!(
                "By={OWN};Hash=468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688;URI={PEER}"
            ),
            Ok(PEER),
        );
        check(
            &format!("By={OWN};Hash=00;Subject=\"\";URI={PEER}"),
            Ok(PEER),
        );
        check(&format!("by=\"{OWN}\";uri=\"{PEER}\""), Ok(PEER));
        check(&format!("URI={PEER};By={OWN}"), Ok(PEER));
        check(
            &format!("By={OWN};URI=spiffe://mesh.local/external/operator,By={OWN};URI={PEER}"),
            Ok(PEER),
        );
        check(
            &format!("By=spiffe://x/y;URI=spiffe://x/z, By={OWN};URI={PEER}"),
            Ok(PEER),
        );
        check(
            &format!("By={OWN};Subject=\"/C=US/CN=a,b;c=\\\"d\\\"\";URI={PEER};DNS=a.b;DNS=c.d"),
            Ok(PEER),
        );
    }

    #[test]
    fn quotes_cannot_smuggle_an_element() {
        check(
            &format!("By={OWN};Subject=\"x;URI=spiffe://evil/a,By={OWN}\";URI={PEER}"),
            Ok(PEER),
        );
        check(
            &format!("By={OWN};Subject=\"CN=a\\\\\";URI={PEER}"),
            Ok(PEER),
        );
        check(
            &format!("By={OWN};Subject=\"CN=a\\\";URI={PEER}"),
            Err(PeerRefused::Malformed),
        );
        check(
            &format!("By={OWN};Subject=a\";URI={PEER}"),
            Err(PeerRefused::Malformed),
        );
        check(
            &format!("By={OWN};Subject=\"a\"b;URI={PEER}"),
            Err(PeerRefused::Malformed),
        );
    }

    #[test]
    fn refuses_elements_by_others_and_doubtful_names() {
        check(
            &format!("By={PEER};URI={PEER}"),
            Err(PeerRefused::OtherReceiver),
        );
        check(&format!("URI={PEER}"), Err(PeerRefused::OtherReceiver));
        check(
            &format!("By={OWN};By={OWN};URI={PEER}"),
            Err(PeerRefused::OtherReceiver),
        );
        check(
            &format!("By={OWN};URI={PEER},By={PEER};URI={PEER}"),
            Err(PeerRefused::OtherReceiver),
        );
        check(&format!("By={OWN};Hash=00"), Err(PeerRefused::NotOneName));
        check(
            &format!("By={OWN};URI={PEER};URI={PEER}"),
            Err(PeerRefused::NotOneName),
        );
        check(
            &format!("By={OWN};URI={PEER};uri=spiffe://mesh.local/x"),
            Err(PeerRefused::NotOneName),
        );
        check(&format!("By={OWN};URI="), Err(PeerRefused::NotAnId));
        check(
            &format!("By={OWN};URI=https://a"),
            Err(PeerRefused::NotAnId),
        );
        check(&format!("By={OWN};URI={PEER}/"), Err(PeerRefused::NotAnId));
    }

    #[test]
    fn refuses_what_does_not_follow_the_grammar() {
        for header in [
            "",
            ",",
            ";",
            "By",
            "=",
            "=x",
            "By=a,",
            "By=a;",
            ",By=a",
            "By=a;;URI=b",
            "By=a,,By=b",
            "B y=a",
            "By=\"",
            "By=\"a",
            "By=\"a\\",
            "By=\"a\"x",
            "By=a\"b",
            "\"By\"=a",
        ] {
            assert_eq!(parse(header), Err(XfccError), "{header}");
        }
        assert!(parse(&vec!["By=a"; MAX_ELEMENTS].join(",")).is_ok());
        assert!(parse(&vec!["By=a"; MAX_ELEMENTS + 1].join(",")).is_err());
        assert!(parse(&vec!["DNS=a"; MAX_PAIRS].join(";")).is_ok());
        assert!(parse(&vec!["DNS=a"; MAX_PAIRS + 1].join(";")).is_err());
    }

    proptest! {
        #[test]
        fn any_header_gets_an_answer(header in "\\PC{0,200}") {
            let _ignored = parse(&header);
        }

        #[test]
        fn any_header_of_the_right_characters_gets_an_answer(header in "((By|URI|Hash|Subject)[=;,\" \\\\]{1,3}[a-z:/]{0,5}[=;,\"\\\\]{0,3}){0,12}") {
            if let Ok(id) = peer(&header, &OWN.parse().unwrap()) {
                prop_assert!(header.contains(id.as_str()));
            }
        }

        #[test]
        fn whatever_stands_in_quotes_comes_out_again(values in prop::collection::vec("\\PC{0,20}", 1..6)) {
            let quoted = |value: &String| format!("DNS=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
            let header = values.iter().map(quoted).collect::<Vec<_>>().join(";");
            let elements = parse(&header).unwrap();
            prop_assert_eq!(elements.len(), 1);
            prop_assert_eq!(elements[0].values("dns").collect::<Vec<_>>(), values);
        }
    }
}
