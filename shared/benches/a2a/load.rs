//! The load: keep-alive connections that send prepared requests, and the server's own CPU time.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use super::servers::Kind;

/// Connections at a time.
const CONNECTIONS: u32 = 16;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Method {
    Send,
    Stream,
}

impl Method {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Send => "SendMessage",
            Self::Stream => "SendStreamingMessage",
        }
    }
}

/// A server in a process of its own.
pub(crate) struct Server {
    process: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Message ids are never used twice.
static NEXT: AtomicU32 = AtomicU32::new(0);

impl Server {
    pub(crate) fn start(kind: Kind) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .env("BENCH_SERVER", format!("{kind:?}"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut address).unwrap();
        let address = address.trim().to_owned();
        Self { process, address }
    }

    /// CPU microseconds a request.
    pub(crate) fn cost(&self, method: Method, requests: u32) -> f64 {
        let before = self.cpu();
        self.load(method, requests);
        (self.cpu() - before) / f64::from(requests) / 1_000.0
    }

    /// Sends requests and reads every answer to its end.
    pub(crate) fn load(&self, method: Method, requests: u32) {
        std::thread::scope(|scope| {
            for _ in 0..CONNECTIONS {
                scope.spawn(|| {
                    let mut stream = TcpStream::connect(&self.address).unwrap();
                    stream.set_nodelay(true).unwrap();
                    let mut buffer = Vec::new();
                    for _ in 0..requests / CONNECTIONS {
                        let number = NEXT.fetch_add(1, Ordering::Relaxed);
                        stream.write_all(&request(method, number)).unwrap();
                        read(&mut stream, &mut buffer);
                    }
                });
            }
        });
    }

    /// Nanoseconds of CPU of all threads.
    fn cpu(&self) -> f64 {
        let threads = fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        threads
            .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("schedstat")).ok())
            .filter_map(|text| text.split(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Resident memory in MiB.
    pub(crate) fn memory(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib / 1_024.0
    }
}

fn request(method: Method, number: u32) -> Vec<u8> {
    let method = method.name();
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":{number},"method":"{method}","params":{{"message":{{"messageId":"message-{number:010}","role":"ROLE_USER","parts":[{{"text":"What is the state of the release?"}}]}}}}}}"#
    );
    format!(
        "POST /a2a HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nA2A-Version: 1.0\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Reads one answer: of a known length, or chunked to its end.
fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) {
    buffer.clear();
    let mut piece = [0_u8; 16 * 1024];
    let mut ends_at = None;
    loop {
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "the server closed the connection");
        buffer.extend_from_slice(&piece[..count]);
        if ends_at.is_none()
            && let Some(head) = find(buffer, b"\r\n\r\n")
        {
            let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
            assert!(text.starts_with("http/1.1 200"), "{text}");
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            ends_at = Some(length.map(|length| head + 4 + length.trim().parse::<usize>().unwrap()));
        }
        match ends_at {
            Some(Some(end)) if buffer.len() >= end => break,
            Some(None) if buffer.ends_with(b"0\r\n\r\n") => break,
            _ => {}
        }
    }
    assert!(
        find(buffer, b"TASK_STATE_COMPLETED").is_some(),
        "{}",
        String::from_utf8_lossy(buffer)
    );
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
