//! What a session sends: everything, or what changed since the client's position.
//!
//! A read of the journal runs on a blocking thread and hands its results over through a channel
//! of [`READ_AHEAD`] chunks, so it never runs far ahead of the client. Dropping the channel ends
//! the read.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use outrider_config::{Transaction, Version};
use tokio::sync::mpsc;
use tokio::task::{JoinError, spawn_blocking};
use tonic::Status;
use tracing::{error, info};

use super::answers::{received, replaced};
use super::{End, Session, Stop};
use crate::coalesce::Coalescer;
use crate::log::{RevisionLogError, Since};
use crate::pack::{Oversize, Packer};
use crate::resource;

/// Chunks a read may be ahead of what is sent.
const READ_AHEAD: usize = 2;

/// How the read of a tail went.
enum Tail {
    Sent,
    /// The journal cannot go on from the client's position.
    Gone,
}

impl Session {
    /// Brings the client to the present state, in one or more transactions. On return it has
    /// acknowledged them.
    pub(super) async fn push(&mut self, head: Version) -> Result<(), Stop> {
        self.is_rejected = false;
        if let Some(held) = self.position
            && !self.is_full_wanted
            && held.journal == head.journal
            && matches!(self.push_since(held).await?, Tail::Sent)
        {
            return Ok(());
        }
        let pushed = self.push_full(head).await;
        if matches!(pushed, Err(Stop::Rejected)) {
            self.is_full_wanted = true; // it was asked for and is still owed
        }
        pushed
    }

    /// One transaction that replaces everything. `head` is a lower bound of its version.
    async fn push_full(&mut self, head: Version) -> Result<(), Stop> {
        info!(node = %self.node_id, snapshot_version = head.revision, "full sync begins");
        self.is_full_wanted = false;
        self.sending = head;
        self.update(|status| status.full_syncs = status.full_syncs.saturating_add(1));

        let (sender, mut found) = mpsc::channel(READ_AHEAD);
        let log = Arc::clone(&self.log);
        let read = spawn_blocking(move || {
            log.read_full(&mut |documents| flow(sender.blocking_send(documents).is_ok()))
        });
        let mut removed = self.held_names.clone();
        let mut packer = Packer::new(head, true);
        while let Some(documents) = self.next_found(&mut found).await? {
            for document in documents {
                forget(&mut removed, &document);
                if let Some(part) = packer.push(document).map_err(oversize)? {
                    self.send(part).await?;
                }
            }
        }
        let version = finished(read.await)?;
        for name in removed {
            if let Some(part) = packer.remove_name(name) {
                self.send(part).await?;
            }
        }
        self.sending = version;
        self.send(packer.finish(version)).await?;
        self.settle(version).await?;
        self.held_names = HashSet::new();
        Ok(())
    }

    /// The revisions after `held`, joined where several wait. At least one transaction is sent,
    /// also an empty one: its end is the end of the initial set.
    async fn push_since(&mut self, held: Version) -> Result<Tail, Stop> {
        let (sender, mut found) = mpsc::channel(READ_AHEAD);
        let log = Arc::clone(&self.log);
        let read = spawn_blocking(move || {
            log.read_since(held.revision, &mut |transaction| {
                flow(sender.blocking_send(transaction).is_ok())
            })
        });
        let mut waiting = Coalescer::default();
        while let Some(transaction) = self.next_found(&mut found).await? {
            if transaction.version.journal != held.journal {
                return Ok(Tail::Gone); // restored between the look at the head and the read
            }
            if let Some(ready) = waiting.add(transaction) {
                self.deliver(ready).await?;
            }
        }
        let version = match finished(read.await)? {
            Since::UpTo(version) if version.journal == held.journal => version,
            Since::UpTo(_) | Since::Gone => return Ok(Tail::Gone),
        };
        let rest = match waiting.flush() {
            Some(rest) => Transaction { version, ..rest },
            None if self.is_synced && self.position == Some(version) => return Ok(Tail::Sent),
            None => Transaction {
                version,
                is_full: false,
                upserts: Vec::new(),
                removals: Vec::new(),
            },
        };
        self.deliver(rest).await?;
        Ok(Tail::Sent)
    }

    async fn deliver(&mut self, transaction: Transaction) -> Result<(), Stop> {
        let version = transaction.version;
        self.sending = version;
        let mut packer = Packer::new(version, transaction.is_full);
        for (kind, uid) in transaction.removals {
            if let Some(part) = packer.remove(kind, uid) {
                self.send(part).await?;
            }
        }
        for document in transaction.upserts {
            if let Some(part) = packer.push(document).map_err(oversize)? {
                self.send(part).await?;
            }
        }
        self.send(packer.finish(version)).await?;
        self.settle(version).await
    }

    /// The next chunk of a read, while answers are taken as they come.
    async fn next_found<T>(&mut self, found: &mut mpsc::Receiver<T>) -> Result<Option<T>, Stop> {
        loop {
            // All arms are cancel-safe: a token, a channel, a stream that keeps what it has read.
            let request = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Err(End::Shutdown.into()),
                () = self.replaced.cancelled() => return Err(replaced().into()),
                chunk = found.recv() => return Ok(chunk),
                request = self.requests.message() => request,
            };
            self.handle(received(request)?)?;
            if self.is_rejected {
                return Err(Stop::Rejected);
            }
        }
    }
}

fn flow(goes_on: bool) -> ControlFlow<()> {
    if goes_on {
        ControlFlow::Continue(())
    } else {
        ControlFlow::Break(())
    }
}

fn forget(names: &mut HashSet<String>, document: &outrider_config::Document) {
    if !names.is_empty() {
        names.remove(&resource::name_of(document.kind, document.uid));
    }
}

/// The outcome of a read. The client hears that it should come back; the cause stays in the log.
fn finished<T>(read: Result<Result<T, RevisionLogError>, JoinError>) -> Result<T, End> {
    match read {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(error)) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            error!(%error, cause, code = error.code(), "the journal cannot be read");
            Err(End::Status(Status::unavailable(
                "the configuration cannot be read",
            )))
        }
        Err(error) => {
            error!(%error, "the read of the journal stopped");
            Err(End::Status(Status::internal(
                "the read of the configuration stopped",
            )))
        }
    }
}

fn oversize(oversize: Oversize) -> End {
    error!(name = %oversize.name, bytes = oversize.bytes, "a resource is too large to be pushed");
    End::Status(Status::internal(oversize.to_string()))
}
