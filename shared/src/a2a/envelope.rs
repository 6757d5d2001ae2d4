//! The JSON-RPC 2.0 envelope. Parameters and id stay raw until somebody needs them.

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
};
use jsonrpsee::types::{ErrorObjectOwned, TwoPointZero};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::fault::{Fault, Kind};

/// Deepest nesting of a body. Real inputs stay under 20; the decoder's own limit is 128.
pub(crate) const MAX_DEPTH: usize = 64;

/// A request whose id and parameters are not decoded yet.
#[derive(Debug, Deserialize)]
pub(crate) struct Request<'a> {
    /// Always "2.0".
    #[serde(rename = "jsonrpc")]
    _version: TwoPointZero,
    /// Absent: a notification.
    #[serde(default, borrow, deserialize_with = "present")]
    pub id: Option<&'a RawValue>,
    /// Method or skill.
    pub method: std::borrow::Cow<'a, str>,
    /// An object, or absent.
    #[serde(default, borrow)]
    pub params: Option<&'a RawValue>,
}

/// Keeps `"id": null` apart from no id.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl<'a> Request<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `Parse` for what is not JSON, `InvalidRequest` for JSON that is no single request.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Fault> {
        let depth = depth(body);
        if depth > MAX_DEPTH {
            return Err(Fault::new(
                Kind::InvalidRequest,
                format!("the body is nested deeper than {MAX_DEPTH} levels"),
            )
            .with("field", "$")
            .with("expected", format!("at most {MAX_DEPTH} levels"))
            .with("got", format!("{depth} levels")));
        }
        let raw: &RawValue = serde_json::from_slice(body)
            .map_err(|e| Fault::new(Kind::Parse, format!("the body is not JSON: {e}")))?;
        let text = raw.get();
        if text.starts_with('[') {
            return Err(invalid(
                "$",
                "one request object (batches are not served)",
                "an array",
            ));
        }
        let request: Self = serde_json::from_str(text)
            .map_err(|e| invalid("$", "a JSON-RPC 2.0 request", &e.to_string()))?;
        match request.id.map(RawValue::get) {
            Some(id) if !is_id(id) => Err(invalid("id", "a string, an integer or null", id)),
            _ => Ok(request),
        }
    }
}

fn invalid(field: &str, expected: &str, got: &str) -> Fault {
    let got: String = got.chars().take(200).collect();
    Fault::new(
        Kind::InvalidRequest,
        format!("{field}: expected {expected}, got {got}"),
    )
    .with("field", field)
    .with("expected", expected)
    .with("got", got)
}

fn is_id(raw: &str) -> bool {
    let integer = raw.strip_prefix('-').unwrap_or(raw);
    raw == "null"
        || raw.starts_with('"')
        || (!integer.is_empty() && integer.bytes().all(|b| b.is_ascii_digit()))
}

/// Deepest nesting of brackets outside strings; malformed text is left to the parser.
fn depth(body: &[u8]) -> usize {
    let (mut now, mut deepest, mut in_string, mut escaped) = (0_usize, 0_usize, false, false);
    for byte in body {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'[' | b'{') => {
                now += 1;
                deepest = deepest.max(now);
            }
            (false, b']' | b'}') => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// An answer with the request's own id.
#[derive(Debug, Serialize)]
struct Answer<'a, T> {
    jsonrpc: TwoPointZero,
    #[serde(flatten)]
    payload: Payload<T>,
    id: &'a RawValue,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Payload<T> {
    Result(T),
    Error(ErrorObjectOwned),
}

/// Answers with a result.
pub(crate) fn success(id: &RawValue, result: &impl Serialize) -> Response<Body> {
    respond(StatusCode::OK, Some(id), Payload::Result(result))
}

/// Answers with an error.
pub(crate) fn failure(
    id: Option<&RawValue>,
    fault: &Fault,
    trace_id: Option<&str>,
) -> Response<Body> {
    let mut response = respond(
        fault.status(),
        id,
        Payload::<()>::Error(fault.object(trace_id)),
    );
    if let Some(seconds) = fault.retry_seconds() {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if fault.kind == Kind::Unauthenticated {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("mTLS"));
    }
    response
}

/// A result as the text of one event.
pub(crate) fn result(id: &RawValue, result: &RawValue) -> String {
    encode(id, Payload::Result(result))
}

fn encode<T: Serialize>(id: &RawValue, payload: Payload<T>) -> String {
    let answer = Answer {
        jsonrpc: TwoPointZero,
        payload,
        id,
    };
    serde_json::to_string(&answer).unwrap_or_else(|_| {
        r#"{"jsonrpc":"2.0","error":{"code":-32603,"message":"the answer cannot be encoded"},"id":null}"#.to_owned()
    })
}

fn respond<T: Serialize>(
    status: StatusCode,
    id: Option<&RawValue>,
    payload: Payload<T>,
) -> Response<Body> {
    let body = encode(id.unwrap_or(RawValue::NULL), payload);
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(body: &str) -> Result<(), i32> {
        Request::parse(body.as_bytes())
            .map(|_| ())
            .map_err(|f| f.kind.code())
    }

    #[test]
    fn tells_parse_errors_from_invalid_requests() {
        for (body, expected) in [
            (r#"{"jsonrpc":"2.0","id":1,"method":"x"}"#, Ok(())),
            (r#"{"jsonrpc":"2.0","id":-1,"method":"x"}"#, Ok(())),
            (r#"{"jsonrpc":"2.0","id":null,"method":"x"}"#, Ok(())),
            (
                r#"{"jsonrpc":"2.0","id":"a","method":"x","params":{}}"#,
                Ok(()),
            ),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"x"}"#, Err(-32600)),
            (r#"{"jsonrpc":"2.0","id":true,"method":"x"}"#, Err(-32600)),
            (r#"{"jsonrpc":"1.0","id":1,"method":"x"}"#, Err(-32600)),
            (r#"{"jsonrpc":"2.0","id":1}"#, Err(-32600)),
            (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, Err(-32600)),
            ("[]", Err(-32600)),
            ("3", Err(-32600)),
            ("{", Err(-32700)),
            ("", Err(-32700)),
            ("\u{0}", Err(-32700)),
        ] {
            assert_eq!(code(body), expected, "{body}");
        }
    }

    #[test]
    fn keeps_a_null_id_apart_from_a_notification() {
        assert!(
            Request::parse(br#"{"jsonrpc":"2.0","id":null,"method":"x"}"#)
                .unwrap()
                .id
                .is_some()
        );
        assert!(
            Request::parse(br#"{"jsonrpc":"2.0","method":"x"}"#)
                .unwrap()
                .id
                .is_none()
        );
    }

    #[test]
    fn refuses_deep_nesting_but_not_brackets_in_strings() {
        let deep = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{}{}}}"#,
            "[".repeat(64),
            "]".repeat(64)
        );
        assert_eq!(code(&deep), Err(-32600));
        let string = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"a":"{}\""}}}}"#,
            "[".repeat(500)
        );
        assert_eq!(code(&string), Ok(()));
    }
}
