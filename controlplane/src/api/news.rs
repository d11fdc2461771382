//! Tells the owners of projects what changes in their configuration: once for each revision, in
//! order, over restarts (contract 3.11).
//!
//! The journal knows what changed, so it is told from there: a data plane may see many revisions
//! as one, or all of them anew. A data plane makes a meta event of it and answers when that is
//! durable; then the journal notes how far this has come.

mod change;
mod egress;

use std::time::Duration;

use outrider_xds::{Action, Command, News, Outcome};
use tokio_util::sync::CancellationToken;

use super::Api;
use super::error::ApiError;
use crate::{Revision, View, random};

/// Changes that are looked at together.
const CHANGES_MAX: u32 = 100;
/// How long a data plane may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// The wait before something is told again that nobody took.
const AGAIN: Duration = Duration::from_secs(1);
/// Revisions that nobody is told of are noted now and then: they cost a look after a restart.
const UNNOTED_MAX: u64 = 1_000;

/// Tells. There is one for a journal.
pub struct Herald {
    api: Api,
}

/// Some changes, and what is to be told of them.
struct Page {
    news: Vec<News>,
    /// The last revision that they end. More changes of the next one may be to come.
    up_to: Revision,
    is_last: bool,
}

impl Herald {
    /// A herald of what this API changes.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self { api }
    }

    /// Runs until `stop` fires. What is not told then is told after the next start.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.tell_all()).await;
    }

    async fn tell_all(&self) {
        let mut head = self.api.control().revision_log().head();
        let mut noted = loop {
            match self.begin().await {
                Ok(revision) => break revision,
                Err(error) => failed(&error).await,
            }
        };
        let mut told = noted;
        loop {
            head.mark_unchanged();
            let page = match self.page(told).await {
                Ok(page) => page,
                Err(error) => {
                    failed(&error).await;
                    continue;
                }
            };
            let has_news = !page.news.is_empty();
            for news in page.news {
                self.tell(news).await;
            }
            told = page.up_to.max(told);
            if (has_news || told - noted >= UNNOTED_MAX) && self.note(told).await {
                noted = told;
            }
            if page.is_last && head.changed().await.is_err() {
                return;
            }
        }
    }

    /// Where to go on from. A journal that nothing was ever told of begins now.
    async fn begin(&self) -> Result<Revision, ApiError> {
        let api = self.api.clone();
        let told = move |_: &View<'_>| -> Result<_, ApiError> {
            let journal = api.control().journal();
            let head = journal.version().revision;
            Ok((journal.told()?.map(|told| told.min(head)), head))
        };
        let (told, head) = self.api.control().read(told).await?;
        if told.is_none() {
            self.note(head).await;
        }
        Ok(told.unwrap_or(head))
    }

    async fn note(&self, revision: Revision) -> bool {
        let api = self.api.clone();
        let note = move |_: &View<'_>| -> Result<(), ApiError> {
            Ok(api.control().journal().set_told(revision)?)
        };
        match self.api.control().read(note).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, revision, "what was told cannot be noted");
                false
            }
        }
    }

    async fn page(&self, after: Revision) -> Result<Page, ApiError> {
        let api = self.api.clone();
        let read = move |view: &View<'_>| -> Result<Page, ApiError> {
            let journal = api.control().journal();
            let version = journal.version();
            let mut limit = CHANGES_MAX;
            let changes = loop {
                let mut changes = journal.history(after, limit)?;
                if u32::try_from(changes.len()).is_ok_and(|count| count < limit) {
                    break changes;
                }
                // Only whole revisions: a page in the middle of one is made longer.
                let last = changes.last().map(|change| change.revision);
                if changes.first().map(|change| change.revision) != last {
                    changes.retain(|change| Some(change.revision) != last);
                    break changes;
                }
                limit = limit.saturating_mul(10);
            };
            let up_to = changes.last().map_or(after, |change| change.revision);
            let mut news = Vec::new();
            for change in &changes {
                news.extend(change::news(&api, view, change, version.journal)?);
            }
            Ok(Page {
                news,
                up_to,
                is_last: changes.is_empty(),
            })
        };
        self.api.control().read(read).await
    }

    /// Until a data plane has it, or will not have it.
    async fn tell(&self, news: News) {
        let id = random::uid(self.api.now_ms());
        let commands = self.api.commands();
        loop {
            let Some(node) = commands.connected().first().copied() else {
                tokio::time::sleep(AGAIN).await;
                continue;
            };
            let command = Command {
                id,
                action: Action::Tell(news.clone()),
            };
            match commands.send(node, command, ANSWER_LIMIT).await {
                Ok(Outcome::Refused { code, .. }) if code == "not_wanted" => return,
                Ok(Outcome::Refused { code, message }) if !is_passing(&code) => {
                    tracing::error!(
                        code,
                        message,
                        kind = news.kind,
                        name = news.name,
                        "a meta event is lost"
                    );
                    return;
                }
                Ok(Outcome::Refused { code, .. }) => {
                    tracing::info!(code, kind = news.kind, "a meta event is told again");
                }
                Ok(Outcome::Done | Outcome::Answered(_)) => return,
                Err(error) => {
                    tracing::info!(
                        code = error.code(),
                        kind = news.kind,
                        "a meta event is told again"
                    );
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

fn is_passing(code: &str) -> bool {
    matches!(code, "config_behind" | "log_busy" | "log_unavailable")
}

async fn failed(error: &ApiError) {
    tracing::error!(%error, "revisions cannot be told");
    tokio::time::sleep(AGAIN).await;
}
