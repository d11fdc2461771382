//! A journal and a table in memory, and the scaffolding around them.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use outrider_config::{Document, Kind, Quarantined, Transaction, Version};
use outrider_webhook::id::{NodeId, ProjectId, Uid};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::{
    Claim, Client, ClientSettings, DataplaneStatus, Link, Node, NotDurable, RevisionLog,
    RevisionLogError, Server, ServerSettings, Since, Status, Table, serve_in_process,
};

pub(super) type Resources = BTreeMap<(Kind, Uid), Bytes>;

/// Fails a test that would otherwise hang. Far above what any step needs.
pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("happens soon")
}

/// A number that no other data plane of the test has.
fn claim() -> Claim {
    static LAST: AtomicU16 = AtomicU16::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    Claim {
        number: NodeId::new(number % NodeId::MAX).unwrap(),
        instance: Uid::from_bits(number.into()),
    }
}

/// The data planes that are connected.
pub(super) fn connected(server: &Server) -> Vec<DataplaneStatus> {
    let mut all = server.dataplanes();
    all.retain(|one| matches!(one.link, Link::Connected(_)));
    all
}

pub(super) fn endpoint(number: u128, spec: impl Into<Bytes>) -> Document {
    Document {
        kind: Kind::Endpoint,
        uid: Uid::from_bits(number),
        project: ProjectId::new(Uid::from_bits(1)),
        revision: 0, // set by the journal
        spec: spec.into(),
    }
}

pub(super) fn endpoints(count: u128) -> Vec<Document> {
    (0..count)
        .map(|number| endpoint(number, format!("{{\"n\":{number}}}")))
        .collect()
}

/// The journal: documents, and the tail of revisions since `kept_from`.
pub(super) struct Journal {
    state: Mutex<JournalState>,
    head: watch::Sender<Version>,
}

struct JournalState {
    version: Version,
    documents: BTreeMap<(Kind, Uid), Document>,
    tail: Vec<Transaction>,
    kept_from: u64,
    is_broken: bool,
}

impl Journal {
    pub(super) fn new(documents: Vec<Document>) -> Arc<Self> {
        let version = Version {
            journal: Uid::from_bits(1_000),
            revision: 0,
        };
        let state = JournalState {
            version,
            documents: BTreeMap::new(),
            tail: Vec::new(),
            kept_from: 0,
            is_broken: false,
        };
        let journal = Self {
            state: Mutex::new(state),
            head: watch::Sender::new(version),
        };
        if !documents.is_empty() {
            journal.commit(documents, &[]);
        }
        Arc::new(journal)
    }

    /// One revision.
    pub(super) fn commit(&self, mut upserts: Vec<Document>, removals: &[u128]) -> Version {
        let mut state = self.state.lock().unwrap();
        state.version.revision += 1;
        let version = state.version;
        let removals: Vec<_> = removals
            .iter()
            .map(|number| (Kind::Endpoint, Uid::from_bits(*number)))
            .collect();
        for key in &removals {
            state.documents.remove(key);
        }
        for document in &mut upserts {
            document.revision = version.revision;
            let key = (document.kind, document.uid);
            state.documents.insert(key, document.clone());
        }
        state.tail.push(Transaction {
            version,
            is_full: false,
            upserts,
            removals,
        });
        drop(state);
        self.head.send_replace(version);
        version
    }

    /// Another journal in place of this one, as after a restore from a backup.
    pub(super) fn restore(&self, documents: Vec<Document>) -> Version {
        let mut state = self.state.lock().unwrap();
        state.version = Version {
            journal: Uid::from_bits(state.version.journal.bits() + 1),
            revision: 1,
        };
        let keyed = documents
            .into_iter()
            .map(|document| ((document.kind, document.uid), document));
        state.documents = keyed.collect();
        state.tail.clear();
        state.kept_from = 1;
        let version = state.version;
        drop(state);
        self.head.send_replace(version);
        version
    }

    pub(super) fn forget_tail(&self) {
        let mut state = self.state.lock().unwrap();
        state.kept_from = state.version.revision;
        state.tail.clear();
    }

    pub(super) fn set_broken(&self, is_broken: bool) {
        self.state.lock().unwrap().is_broken = is_broken;
    }

    pub(super) fn resources(&self) -> Resources {
        let state = self.state.lock().unwrap();
        let specs = state
            .documents
            .iter()
            .map(|(key, document)| (*key, document.spec.clone()));
        specs.collect()
    }

    pub(super) fn version(&self) -> Version {
        *self.head.borrow()
    }
}

impl RevisionLog for Journal {
    fn head(&self) -> watch::Receiver<Version> {
        self.head.subscribe()
    }

    fn read_full(
        &self,
        each: &mut dyn FnMut(Vec<Document>) -> ControlFlow<()>,
    ) -> Result<Version, RevisionLogError> {
        let (version, documents) = {
            let state = self.state.lock().unwrap();
            if state.is_broken {
                return Err(RevisionLogError::read("the disk is on fire"));
            }
            let documents: Vec<_> = state.documents.values().cloned().collect();
            (state.version, documents)
        };
        for chunk in documents.chunks(2_000) {
            if each(chunk.to_vec()).is_break() {
                break;
            }
        }
        Ok(version)
    }

    fn read_since(
        &self,
        revision: u64,
        each: &mut dyn FnMut(Transaction) -> ControlFlow<()>,
    ) -> Result<Since, RevisionLogError> {
        let (version, newer) = {
            let state = self.state.lock().unwrap();
            if revision < state.kept_from || revision > state.version.revision {
                return Ok(Since::Gone);
            }
            let newer = state
                .tail
                .iter()
                .filter(|transaction| transaction.version.revision > revision);
            (state.version, newer.cloned().collect::<Vec<_>>())
        };
        for transaction in newer {
            if each(transaction).is_break() {
                break;
            }
        }
        Ok(Since::UpTo(version))
    }
}

/// What the table did with one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Applied {
    pub(super) version: Version,
    pub(super) is_full: bool,
    pub(super) upserts: usize,
    pub(super) removals: usize,
}

/// The table: refuses what contains `bad`, and keeps the version before.
#[derive(Default)]
pub(super) struct MemoryTable {
    state: Mutex<TableState>,
    /// What is applied is in force and not durable.
    pub(super) is_full: AtomicBool,
}

#[derive(Default)]
struct TableState {
    in_force: Option<Version>,
    resources: Resources,
    quarantined: BTreeMap<(Kind, Uid), Quarantined>,
    applied: Vec<Applied>,
    durable: Option<Version>,
}

impl MemoryTable {
    pub(super) fn resources(&self) -> Resources {
        self.state.lock().unwrap().resources.clone()
    }

    pub(super) fn applied(&self) -> Vec<Applied> {
        self.state.lock().unwrap().applied.clone()
    }
}

impl Table for MemoryTable {
    fn version(&self) -> Option<Version> {
        self.state.lock().unwrap().durable
    }

    fn apply(&self, transaction: Transaction) -> Result<Vec<Quarantined>, NotDurable> {
        let mut state = self.state.lock().unwrap();
        state.applied.push(Applied {
            version: transaction.version,
            is_full: transaction.is_full,
            upserts: transaction.upserts.len(),
            removals: transaction.removals.len(),
        });
        state.in_force = Some(transaction.version);
        let before = if transaction.is_full {
            state.quarantined.clear();
            std::mem::take(&mut state.resources)
        } else {
            state.resources.clone()
        };
        for key in transaction.removals {
            state.resources.remove(&key);
            state.quarantined.remove(&key);
        }
        for document in transaction.upserts {
            let key = (document.kind, document.uid);
            if document.spec.windows(3).any(|three| three == b"bad") {
                let reason = "the specification is bad".to_owned();
                let (kind, uid) = key;
                let entry = Quarantined { kind, uid, reason };
                state.quarantined.insert(key, entry);
                if let Some(spec) = before.get(&key) {
                    state.resources.insert(key, spec.clone());
                }
            } else {
                state.quarantined.remove(&key);
                state.resources.insert(key, document.spec);
            }
        }
        if self.is_full.load(Ordering::Relaxed) {
            return Err(NotDurable(std::io::ErrorKind::StorageFull.into()));
        }
        state.durable = state.in_force;
        Ok(state.quarantined.values().cloned().collect())
    }
}

/// A control plane in this process, with short times.
pub(super) struct ControlPlane {
    pub(super) server: Server,
    pub(super) channel: Channel,
    pub(super) shutdown: CancellationToken,
    pub(super) task: JoinHandle<()>,
}

impl ControlPlane {
    pub(super) fn start(journal: &Arc<Journal>) -> Self {
        Self::start_with(journal, ServerSettings::default())
    }

    pub(super) fn start_with(journal: &Arc<Journal>, settings: ServerSettings) -> Self {
        let server = Server::with_settings(journal.clone(), settings);
        let shutdown = CancellationToken::new();
        let (task, channel) = serve_in_process(server.clone(), shutdown.clone());
        Self {
            server,
            channel,
            shutdown,
            task,
        }
    }

    /// Waits until the only connected data plane satisfies the condition.
    pub(super) async fn dataplane(
        &self,
        what: &str,
        condition: impl Fn(&DataplaneStatus) -> bool,
    ) -> DataplaneStatus {
        self.dataplanes(what, |all| match all {
            [one] if condition(one) => Some(one.clone()),
            _ => None,
        })
        .await
    }

    /// Waits until the list of connected data planes satisfies the condition.
    pub(super) async fn dataplanes<T>(
        &self,
        what: &str,
        condition: impl Fn(&[DataplaneStatus]) -> Option<T>,
    ) -> T {
        self.told(what, |_| condition(&connected(&self.server)))
            .await
    }

    /// Waits until the list of data planes that are or were connected satisfies the condition.
    pub(super) async fn told<T>(
        &self,
        what: &str,
        condition: impl Fn(&[DataplaneStatus]) -> Option<T>,
    ) -> T {
        let polling = async {
            loop {
                if let Some(found) = condition(&self.server.dataplanes()) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let limit = Duration::from_secs(60);
        match tokio::time::timeout(limit, polling).await {
            Ok(found) => found,
            Err(_) => panic!("{what}: {:?}", self.server.dataplanes()),
        }
    }

    pub(super) async fn stop(self) {
        self.shutdown.cancel();
        soon(self.task).await.unwrap();
    }
}

/// A data plane: a running client and its table.
pub(super) struct DataPlane {
    pub(super) table: Arc<MemoryTable>,
    pub(super) status: watch::Receiver<Status>,
    pub(super) shutdown: CancellationToken,
    pub(super) task: JoinHandle<()>,
}

impl DataPlane {
    pub(super) fn start(channel: &Channel) -> Self {
        Self::start_with(channel, Arc::default(), ClientSettings::default())
    }

    pub(super) fn start_with(
        channel: &Channel,
        table: Arc<MemoryTable>,
        settings: ClientSettings,
    ) -> Self {
        let node = Node {
            id: "dp-1".into(),
            cluster: "test".into(),
            claim: Some(claim()),
        };
        Self::start_as(channel, node, table, settings)
    }

    pub(super) fn start_as(
        channel: &Channel,
        node: Node,
        table: Arc<MemoryTable>,
        settings: ClientSettings,
    ) -> Self {
        let client = Client::with_settings(channel.clone(), node, table.clone(), settings);
        let status = client.status();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(client.run(shutdown.clone()));
        Self {
            table,
            status,
            shutdown,
            task,
        }
    }

    pub(super) async fn until(&mut self, condition: impl FnMut(&Status) -> bool) -> Status {
        soon(self.status.wait_for(condition)).await.unwrap().clone()
    }

    /// Waits until the table has this version on a synced stream.
    pub(super) async fn reaches(&mut self, version: Version) -> Status {
        self.until(|status| status.is_synced && status.version == Some(version))
            .await
    }

    pub(super) async fn stop(self) {
        self.shutdown.cancel();
        soon(self.task).await.unwrap();
    }
}
