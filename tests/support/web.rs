//! Owns a small web server for tests: what it answers is a function of the request.
//! Must not know what is tested.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a client asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The request line.
    pub line: String,
    /// Header fields, names in lower case.
    pub fields: BTreeMap<String, String>,
    /// The body, unpacked when it came in chunks.
    pub body: Vec<u8>,
}

impl Asked {
    /// The path of the request line.
    pub fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }
}

/// A server on a port of 127.0.0.1, gone with this value.
pub struct Web {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Asked>>>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Web {
    /// Starts one. `answer` writes the whole answer; the connection is closed after it.
    ///
    /// # Panics
    /// When it can't listen.
    pub fn start(answer: impl Fn(&Asked, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = listener.local_addr().expect("an address");
        let (seen, stopped) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::<AtomicBool>::default());
        let (log, over, answer) = (Arc::clone(&seen), Arc::clone(&stopped), Arc::new(answer));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(mut stream), log, answer) = (stream, Arc::clone(&log), Arc::clone(&answer)) else {
                    continue;
                };
                std::thread::spawn(move || {
                    let Ok(asked) = read(&stream) else { return };
                    log.lock().expect("log").push(asked.clone());
                    // A client may have enough and hang up.
                    drop(answer(&asked, &mut stream));
                });
            }
        });
        Self { address, seen, stopped, thread: Some(thread) }
    }

    /// One that answers these bytes to everything.
    pub fn fixed(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |_, stream| stream.write_all(&answer))
    }

    /// One that redirects to what `location` makes of the path.
    pub fn redirecting(location: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::start(move |asked, stream| {
            write!(
                stream,
                "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
                location(asked.path())
            )
        })
    }

    /// Its URL with this path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All that was asked so far.
    ///
    /// # Panics
    /// When a thread that served panicked.
    pub fn seen(&self) -> Vec<Asked> {
        self.seen.lock().expect("log").clone()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// An answer 200 with this body and its length.
pub fn ok(body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    answer
}

fn read(stream: &TcpStream) -> io::Result<Asked> {
    let mut from = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let field = |line: &String| {
        line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
    };
    let fields: BTreeMap<_, _> = lines.iter().skip(1).filter_map(field).collect();
    let mut body = Vec::new();
    if fields.contains_key("transfer-encoding") {
        loop {
            let mut size = String::new();
            from.read_line(&mut size)?;
            let size = u64::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            (&mut from).take(size).read_to_end(&mut body)?;
            from.read_line(&mut String::new())?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = fields.get("content-length").and_then(|text| text.parse().ok()) {
        (&mut from).take(length).read_to_end(&mut body)?;
    }
    Ok(Asked { line: lines.first().cloned().unwrap_or_default(), fields, body })
}

/// Names for tests: each question is answered by the next of a name's answers, the last one for ever.
#[derive(Debug, Default)]
pub struct Names {
    answers: Mutex<BTreeMap<String, VecDeque<Vec<IpAddr>>>>,
    asked: Mutex<Vec<String>>,
}

impl Names {
    /// From names and, for each, its answers in turn, each of addresses separated by spaces.
    ///
    /// # Panics
    /// When an address is none.
    pub fn new(answers: &[(&str, &[&str])]) -> Arc<Self> {
        let addresses =
            |text: &&str| text.split_whitespace().map(|word| word.parse().expect("an address")).collect();
        let answers =
            answers.iter().map(|(name, turns)| ((*name).to_owned(), turns.iter().map(addresses).collect()));
        Arc::new(Self { answers: Mutex::new(answers.collect()), asked: Mutex::default() })
    }

    /// The names that were looked up, in order.
    ///
    /// # Panics
    /// When another thread panicked over it.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("asked").clone()
    }
}

impl dibw_fetch::Resolver for Names {
    fn resolve(&self, name: &str, _: Duration) -> io::Result<Vec<IpAddr>> {
        self.asked.lock().expect("asked").push(name.to_owned());
        let mut answers = self.answers.lock().expect("answers");
        let turns = answers.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
        let answer = if turns.len() > 1 { turns.pop_front() } else { turns.front().cloned() };
        answer.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
