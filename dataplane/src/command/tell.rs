//! What the control plane has the owner of a project told: changes of the configuration. Any data
//! plane does; the name makes it one, here over crashes and for receivers over data planes.

use std::time::Duration;

use outrider_config::Version;
use outrider_config::snapshot::MetaKind;
use outrider_xds::{News, Outcome};

use super::Executor;
use crate::meta::{Fact, NotTold};

/// How long a change may take to get here.
const CONFIG_LIMIT: Duration = Duration::from_secs(5);

impl Executor {
    /// Needs no turn: the log knows what was told already.
    pub(super) async fn tell(&self, news: News) -> Outcome {
        if !self.has_come_to(news.version).await {
            return refused(
                "config_behind",
                "this data plane does not have the change yet",
            );
        }
        let snapshot = self.table.load();
        let table = snapshot.project(news.project);
        let meta = table.and_then(|table| table.project().meta());
        let wanted = meta.zip(MetaKind::parse(&news.kind));
        let Some((meta, kind)) = wanted.filter(|(meta, kind)| meta.wants(*kind)) else {
            return refused("not_wanted", "the project wants no such meta event");
        };
        let fact = Fact {
            kind: kind.as_str(),
            name: &news.name,
            body: news.body,
            revision: snapshot.version().map_or(0, |version| version.revision),
        };
        match self.teller.tell(meta.place(), &fact).await {
            Ok(()) => Outcome::Done,
            Err(NotTold::LogClosed(closed)) => refused("log_unavailable", &closed.to_string()),
            Err(NotTold::Refused(error)) if error.retry_after_s().is_some() => {
                refused("log_busy", &error.to_string())
            }
            Err(NotTold::Refused(error)) => refused(error.code(), &error.to_string()),
        }
    }

    async fn has_come_to(&self, wanted: Version) -> bool {
        let mut version = self.table.watch();
        let is_there = |found: &Option<Version>| {
            found.is_some_and(|found| {
                found.journal == wanted.journal && found.revision >= wanted.revision
            })
        };
        let come = tokio::time::timeout(CONFIG_LIMIT, version.wait_for(is_there)).await;
        come.is_ok_and(|come| come.is_ok())
    }
}

fn refused(code: &str, message: &str) -> Outcome {
    Outcome::Refused {
        code: code.to_owned(),
        message: message.to_owned(),
    }
}
