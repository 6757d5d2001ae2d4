//! The JSON-RPC envelope as fuzzers and property tests see it.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::a2a::envelope::Request;

/// A request, member by member as it came.
#[derive(Serialize)]
struct Written<'a> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<&'a RawValue>,
}

/// Reads the body of a request and writes it again; the JSON-RPC error code when it is none.
///
/// # Errors
/// -32700 for what is not JSON, -32600 for what is no single request.
pub fn parse_envelope(body: &[u8]) -> Result<String, i32> {
    let request = Request::parse(body).map_err(|fault| fault.kind.code())?;
    let written = Written {
        jsonrpc: "2.0",
        id: request.id,
        method: &request.method,
        params: request.params,
    };
    serde_json::to_string(&written).map_err(|_| -32603)
}
