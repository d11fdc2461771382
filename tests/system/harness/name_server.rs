//! A name server that says what a test wants, over UDP.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

const A: u16 = 1;
const AAAA: u16 = 28;
/// Header of a message (RFC 1035 section 4.1.1).
const HEADER: usize = 12;
/// A response with recursion.
const FLAGS: u16 = 0x8180;
const NO_SUCH_NAME: u16 = 3;

/// The addresses of a name at its look-up with this number, from 0; `None` when there is no such
/// name. The questions for both families are one look-up.
type Script = Box<dyn Fn(&str, usize) -> Option<Vec<IpAddr>> + Send + Sync>;

struct Zone {
    script: Script,
    ttl_s: u32,
    /// How often each name was asked for its IPv4 and IPv6 addresses.
    asked: Mutex<HashMap<String, [usize; 2]>>,
}

/// A running name server; it ends when dropped.
pub(crate) struct NameServer {
    address: SocketAddr,
    zone: Arc<Zone>,
    task: JoinHandle<()>,
}

impl NameServer {
    /// Answers as the script says, with this time to live.
    pub(crate) async fn start(
        ttl_s: u32,
        script: impl Fn(&str, usize) -> Option<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let zone = Arc::new(Zone {
            script: Box::new(script),
            ttl_s,
            asked: Mutex::default(),
        });
        let task = tokio::spawn(serve(socket, Arc::clone(&zone)));
        Self {
            address,
            zone,
            task,
        }
    }

    /// Name and value of the setting with which a gateway asks it, and nobody else.
    pub(crate) fn setting(&self) -> (&'static str, String) {
        (
            "OUTRIDER__EGRESS__NAME_SERVERS",
            format!("['{}']", self.address),
        )
    }

    /// Look-ups of a name so far.
    pub(crate) fn lookups(&self, name: &str) -> usize {
        let asked = self.zone.asked.lock().unwrap();
        asked.get(name).map_or(0, |[v4, v6]| *v4.max(v6))
    }

    /// All look-ups so far.
    pub(crate) fn all_lookups(&self) -> usize {
        let asked = self.zone.asked.lock().unwrap();
        asked.values().map(|[v4, v6]| v4.max(v6)).sum()
    }

    /// The names that were asked for.
    pub(crate) fn names(&self) -> Vec<String> {
        self.zone.asked.lock().unwrap().keys().cloned().collect()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, zone: Arc<Zone>) {
    let mut bytes = [0; 1_500];
    loop {
        let (count, peer) = socket.recv_from(&mut bytes).await.unwrap();
        if let Some(answer) = zone.answer(&bytes[..count]) {
            socket.send_to(&answer, peer).await.unwrap();
        }
    }
}

impl Zone {
    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let (name, kind, question) = question(query)?;
        let place = match kind {
            A => 0,
            AAAA => 1,
            _ => return Some(message(query, question, 0, &[])),
        };
        let number = {
            let mut asked = self.asked.lock().unwrap();
            let counts = asked.entry(name.clone()).or_default();
            counts[place] += 1;
            counts[place] - 1
        };
        let Some(addresses) = (self.script)(&name, number) else {
            return Some(message(query, question, NO_SUCH_NAME, &[]));
        };
        let of_kind = addresses.iter().filter(|ip| ip.is_ipv4() == (kind == A));
        let records: Vec<_> = of_kind.map(|ip| self.record(*ip)).collect();
        Some(message(query, question, 0, &records))
    }

    fn record(&self, ip: IpAddr) -> Vec<u8> {
        let (kind, data) = match ip {
            IpAddr::V4(ip) => (A, ip.octets().to_vec()),
            IpAddr::V6(ip) => (AAAA, ip.octets().to_vec()),
        };
        let mut record = vec![0xc0, 0x0c]; // the name of the question
        record.extend(kind.to_be_bytes());
        record.extend(1_u16.to_be_bytes()); // IN
        record.extend(self.ttl_s.to_be_bytes());
        record.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        record.extend(data);
        record
    }
}

/// Name in lower case, type, and the bytes of the first question.
fn question(query: &[u8]) -> Option<(String, u16, &[u8])> {
    let (mut at, mut labels) = (HEADER, Vec::new());
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        let label = query.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += length;
    }
    let kind = query.get(at..at + 2)?;
    let kind = u16::from_be_bytes([kind[0], kind[1]]);
    Some((labels.join("."), kind, query.get(HEADER..at + 4)?))
}

fn message(query: &[u8], question: &[u8], code: u16, records: &[Vec<u8>]) -> Vec<u8> {
    let mut message = query[..2].to_vec();
    message.extend((FLAGS | code).to_be_bytes());
    let count = u16::try_from(records.len()).unwrap();
    for number in [1, count, 0, 0] {
        message.extend(number.to_be_bytes());
    }
    message.extend(question);
    message.extend(records.concat());
    message
}
