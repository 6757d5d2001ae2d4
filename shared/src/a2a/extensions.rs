//! Negotiation of protocol extensions by the header `A2A-Extensions`.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    card::Cards,
    fault::{Fault, Kind},
};

/// The header, in both directions.
pub(super) const HEADER: HeaderName = HeaderName::from_static("a2a-extensions");

fn asked(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(HEADER).into_iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim)
}

/// Whether the caller declares an extension.
pub(super) fn declares(headers: &HeaderMap, uri: &str) -> bool {
    asked(headers).any(|asked| asked == uri)
}

/// Refuses callers that do not know what they have to.
pub(super) fn check(cards: &Cards, headers: &HeaderMap) -> Result<(), Fault> {
    let mut required = cards.required_extensions().iter();
    let missing = required.find(|uri| !declares(headers, uri));
    missing.map_or(Ok(()), |uri| {
        let said = format!("the caller has to declare the extension {uri} in A2A-Extensions");
        Err(Fault::new(Kind::ExtensionSupportRequired, said)
            .with("field", "A2A-Extensions")
            .with("expected", uri))
    })
}

/// Those of the extensions asked for that are in force.
pub(super) fn activated(cards: &Cards, headers: &HeaderMap) -> Option<HeaderValue> {
    let known: Vec<&str> = asked(headers)
        .filter(|uri| cards.knows_extension(uri))
        .collect();
    let value = HeaderValue::try_from(known.join(", ")).ok();
    value.filter(|_| !known.is_empty())
}
