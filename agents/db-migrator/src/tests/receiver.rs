//! An HTTP receiver of hooks that remembers what it was told.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::Value;

/// A receiver of HTTP hooks.
pub(super) struct Receiver {
    pub(super) address: String,
    heard: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Receiver {
    /// Answers the n-th request with `answer(n)`: status line and body.
    pub(super) fn start(
        answer: impl Fn(usize, &Value) -> (&'static str, String) + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (log, count) = (heard.clone(), AtomicUsize::new(0));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut headers, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) <= 2 {
                        break;
                    }
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    headers.push_str(&line);
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let body: Value = serde_json::from_slice(&body).unwrap();
                let (status, text) = answer(count.fetch_add(1, Ordering::SeqCst), &body);
                log.lock().unwrap().push((headers, body));
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
                    text.len()
                );
                drop(stream.write_all(answer.as_bytes()));
            }
        });
        Self { address, heard }
    }

    pub(super) fn heard(&self) -> Vec<(String, Value)> {
        self.heard.lock().unwrap().clone()
    }

    /// What was told, as `event migration`.
    pub(super) fn events(&self) -> Vec<String> {
        let told = |(_, body): &(String, Value)| {
            let version = body["migration"]["version"].as_str().unwrap_or("-");
            format!("{} {version}", body["event"].as_str().unwrap())
        };
        self.heard().iter().map(told).collect()
    }
}
