//! Server-sent events of bounded size.

use bytes::Bytes;
use futures::{Stream, stream};
use sse_stream::{Sse, SseByteStream};

use super::CallError;

/// Counts the bytes since the last empty line, which is where an event ends. The decoder itself has no limit.
#[derive(Debug, Default)]
struct Meter {
    event: usize,
    line: usize,
    after_return: bool,
}

impl Meter {
    /// The largest number of bytes that one event had within this piece.
    fn count(&mut self, piece: &[u8]) -> usize {
        let mut most = 0;
        for byte in piece {
            // A line ends with a carriage return, a line feed, or both.
            let second_of_pair = *byte == b'\n' && self.after_return;
            self.after_return = *byte == b'\r';
            if second_of_pair {
                continue;
            }
            if !matches!(byte, b'\n' | b'\r') {
                self.event += 1;
                self.line += 1;
                most = most.max(self.event);
            } else if std::mem::take(&mut self.line) == 0 {
                self.event = 0;
            }
        }
        most
    }
}

/// What came instead of a piece of the body.
#[derive(Debug, thiserror::Error)]
enum PieceError {
    #[error("an event is larger than {0} bytes")]
    TooLarge(usize),
    #[error(transparent)]
    Transport(#[from] reqwest::Error),
}

fn pieces(
    response: reqwest::Response,
    limit: usize,
) -> impl Stream<Item = Result<Bytes, PieceError>> {
    stream::try_unfold(
        (response, Meter::default()),
        move |(mut response, mut meter)| async move {
            let Some(piece) = response.chunk().await? else {
                return Ok(None);
            };
            if meter.count(&piece) > limit {
                return Err(PieceError::TooLarge(limit));
            }
            Ok(Some((piece, (response, meter))))
        },
    )
}

/// The events in an answer. The end of the stream is the end of the answer; an error is the last item.
pub(super) fn events(
    url: &str,
    response: reqwest::Response,
    limit: usize,
) -> impl Stream<Item = Result<Sse, CallError>> + use<> {
    use futures::StreamExt;

    let url = url.to_owned();
    SseByteStream::new(Box::pin(pieces(response, limit)))
        .map(move |event| event.map_err(|error| fault(&url, error)))
}

fn fault(url: &str, error: sse_stream::Error) -> CallError {
    let url = url.to_owned();
    match error {
        sse_stream::Error::Body(body) => match body.downcast_ref() {
            Some(PieceError::TooLarge(limit)) => CallError::EventTooLarge { url, limit: *limit },
            _ => CallError::Lost {
                url,
                source: Some(sse_stream::Error::Body(body)),
            },
        },
        error => CallError::Malformed {
            url,
            fault: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn largest(pieces: &[&str]) -> Vec<usize> {
        let mut meter = Meter::default();
        pieces
            .iter()
            .map(|piece| meter.count(piece.as_bytes()))
            .collect()
    }

    #[test]
    fn counts_an_event_across_pieces() {
        assert_eq!(
            largest(&["data: 12", "34", "56\n\n", "data: 1\n\n"]),
            [8, 10, 12, 7]
        );
    }

    #[test]
    fn counts_lines_of_one_event_together() {
        assert_eq!(largest(&["data: 1\ndata: 2\n\ndata: 3\n"]), [14]);
        assert_eq!(largest(&["data: 1\r\ndata: 2\r\n\r\ndata: 3"]), [14]);
        assert_eq!(largest(&["data: 1\rdata: 2\r\rdata: 3"]), [14]);
        assert_eq!(
            largest(&["data: 1\r", "\ndata: 2\r", "\n\r", "\nid: 3"]),
            [7, 14, 0, 5]
        );
    }

    #[test]
    fn forgets_comments_that_keep_the_connection_alive() {
        assert_eq!(largest(&[":\n\n", ": ping\n\n", ":\n\n"]), [1, 6, 1]);
    }

    proptest::proptest! {
        #[test]
        fn does_not_mind_how_the_body_is_cut(text in "[ab\\r\\n]{0,40}", cut in 0_usize..40) {
            let cut = cut.min(text.len());
            let (head, tail) = text.split_at(cut);
            let whole = largest(&[&text])[0];
            let cut = largest(&[head, tail]).into_iter().max().unwrap();
            proptest::prop_assert_eq!(whole, cut);
        }
    }
}
