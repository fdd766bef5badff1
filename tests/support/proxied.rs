//! Owns a proxy for tests: a gate that writes down what it is asked, names of our own, and raw clients.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use dibw_fetch::proxy::{Event, Gate, Limits, Running, Target, start};
use dibw_policy::AddressClass;

use crate::web::Names;

/// Limits that no test of another matter reaches.
pub const LIMITS: Limits =
    Limits { connections: 16, start: Duration::from_secs(5), idle: Duration::from_secs(20), bytes: 1 << 30 };

/// Lets everything through that stays on this machine, but for the host `denied.example`.
#[derive(Default)]
pub struct Watch {
    events: Mutex<Vec<Event>>,
    changed: Condvar,
}

impl Gate for Watch {
    fn allow(&self, target: &Target) -> Result<(), String> {
        if target.host == "denied.example" {
            return Err("no rule allows denied.example".to_owned());
        }
        match target.addresses.iter().find(|address| AddressClass::of(**address) != AddressClass::Loopback) {
            Some(address) => Err(format!("{address} is {}", AddressClass::of(*address))),
            None => Ok(()),
        }
    }

    fn log(&self, event: &Event) {
        self.events.lock().expect("events").push(event.clone());
        self.changed.notify_all();
    }
}

impl Watch {
    /// Waits for an event of this kind.
    ///
    /// # Panics
    /// When none comes in ten seconds.
    pub fn wait(&self, wanted: impl Fn(&Event) -> bool) -> Event {
        let events = self.events.lock().expect("events");
        let none = |events: &mut Vec<Event>| !events.iter().any(&wanted);
        let (events, _) =
            self.changed.wait_timeout_while(events, Duration::from_secs(10), none).expect("events");
        events.iter().find(|event| wanted(event)).unwrap_or_else(|| panic!("only {events:?}")).clone()
    }

    /// Why a target was refused, once it was.
    pub fn refusal(&self) -> String {
        match self.wait(|event| matches!(event, Event::Refused(..))) {
            Event::Refused(_, reason) => reason,
            _ => unreachable!(),
        }
    }

    /// Bytes up and down of the first connection that is over.
    pub fn closed(&self) -> (u64, u64) {
        match self.wait(|event| matches!(event, Event::Closed { .. })) {
            Event::Closed { up, down, .. } => (up, down),
            _ => unreachable!(),
        }
    }
}

/// A proxy, what it saw, and where it listens.
pub struct Proxied {
    /// The proxy.
    pub running: Running,
    /// Its gate.
    pub watch: Arc<Watch>,
    /// Its names.
    pub names: Arc<Names>,
    /// Its address.
    pub address: SocketAddr,
}

impl Proxied {
    /// Starts one that knows these names.
    ///
    /// # Panics
    /// When it can't.
    pub fn start(limits: Limits, names: &[(&str, &[&str])]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = listener.local_addr().expect("an address");
        let (watch, names) = (Arc::<Watch>::default(), Names::new(names));
        let running = start(listener, names.clone(), watch.clone(), limits).expect("a proxy");
        Self { running, watch, names, address }
    }

    /// A connection to it.
    ///
    /// # Panics
    /// When nobody listens.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connect to the proxy");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        stream
    }

    /// Sends `bytes` and gives all that comes back.
    ///
    /// # Panics
    /// When the connection breaks.
    pub fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes).expect("send");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    }
}
