//! Putting in force what has something that only one resource may have: a name, a mask, a key.

use std::collections::HashSet;
use std::sync::Arc;

use outrider_webhook::id::{ApiKeyId, EventTypeId, SourceId, Uid};

use super::super::claims::{Claim, losers};
use super::super::{Kind, Pending};
use super::{Refusal, Work, parse};
use crate::resource::{ApiKey, EventType, Source};

impl Work {
    pub(super) fn put_event_types(&mut self, candidates: Vec<Pending>) {
        let mut types = Vec::with_capacity(candidates.len());
        for pending in candidates {
            let Pending::Document(document) = &pending else {
                continue;
            };
            let compiled = self.compile(document, |project| {
                EventType::compile(
                    EventTypeId::new(document.uid),
                    document.revision,
                    project,
                    &parse(document)?,
                )
                .map_err(Refusal::fields)
            });
            match compiled {
                Ok(one) => types.push((pending, Arc::new(one))),
                Err(refusal) => self.hold(pending, refusal),
            }
        }
        let claims: Vec<_> = types
            .iter()
            .map(|(_, one)| Claim {
                uid: one.id().uid(),
                key: (one.project(), Arc::clone(one.shared_name())),
            })
            .collect();
        let losers = losers(&claims, |(project, name)| {
            let table = self.next.projects.get(project)?;
            Some(table.event_type(name)?.id().uid())
        });
        types.retain(|(pending, one)| !self.lost(&losers, one.id().uid(), pending, "name"));
        // Names may be swapped, as masks may.
        for (_, one) in &types {
            self.change(one.project(), |table| table.remove_event_type(one.id()));
        }
        for (_, one) in types {
            let (id, project) = (one.id(), one.project());
            self.change(project, |table| table.set_event_type(one));
            self.settle(Kind::EventType, id.uid(), project);
        }
    }

    pub(super) fn put_sources(&mut self, candidates: Vec<Pending>) {
        let mut sources = Vec::with_capacity(candidates.len());
        for pending in candidates {
            let Pending::Document(document) = &pending else {
                continue;
            };
            let compiled = self.compile(document, |project| {
                Source::compile(
                    SourceId::new(document.uid),
                    document.revision,
                    project,
                    &parse(document)?,
                )
                .map_err(Refusal::fields)
            });
            match compiled {
                Ok(source) => sources.push((pending, Arc::new(source))),
                Err(refusal) => self.hold(pending, refusal),
            }
        }
        let claims: Vec<_> = sources
            .iter()
            .map(|(_, source)| Claim {
                uid: source.id().uid(),
                key: Arc::clone(source.shared_mask()),
            })
            .collect();
        let losers = losers(&claims, |mask| {
            self.next.masks.get(mask).map(|(_, source)| source.uid())
        });
        // All old masks go before the first new one comes: they may be swapped.
        sources
            .retain(|(pending, source)| !self.lost(&losers, source.id().uid(), pending, "mask_id"));
        for (_, source) in &sources {
            if let Some(old) = self
                .next
                .projects
                .get(&source.project())
                .and_then(|table| table.source(source.id()))
            {
                self.next.masks.remove(old.mask());
            }
        }
        for (_, source) in sources {
            let (id, project) = (source.id(), source.project());
            self.next
                .masks
                .insert(Arc::clone(source.shared_mask()), (project, id));
            self.change(project, |table| table.set_source(source));
            self.settle(Kind::Source, id.uid(), project);
        }
    }

    pub(super) fn put_api_keys(&mut self, candidates: Vec<Pending>) {
        let mut keys = Vec::with_capacity(candidates.len());
        for pending in candidates {
            let Pending::Document(document) = &pending else {
                continue;
            };
            let compiled = self.compile(document, |project| {
                ApiKey::compile(
                    ApiKeyId::new(document.uid),
                    document.revision,
                    project,
                    &parse(document)?,
                )
                .map_err(Refusal::fields)
            });
            match compiled {
                Ok(key) => keys.push((pending, Arc::new(key))),
                Err(refusal) => self.hold(pending, refusal),
            }
        }
        let claims: Vec<_> = keys
            .iter()
            .map(|(_, key)| Claim {
                uid: key.id().uid(),
                key: *key.digest(),
            })
            .collect();
        let losers = losers(&claims, |digest| {
            self.next.keys.get(digest).map(|key| key.id().uid())
        });
        keys.retain(|(pending, key)| !self.lost(&losers, key.id().uid(), pending, "key"));
        for (_, key) in &keys {
            if let Some(old) = self
                .next
                .projects
                .get(&key.project())
                .and_then(|table| table.api_key(key.id()))
            {
                self.next.keys.remove(old.digest());
            }
        }
        for (_, key) in keys {
            let (id, project) = (key.id(), key.project());
            self.next.keys.insert(*key.digest(), Arc::clone(&key));
            self.change(project, |table| table.set_api_key(key));
            self.settle(Kind::ApiKey, id.uid(), project);
        }
    }

    /// Holds a claimant that lost. Answers whether it did.
    fn lost(&mut self, losers: &HashSet<Uid>, uid: Uid, pending: &Pending, field: &str) -> bool {
        let is_lost = losers.contains(&uid);
        if is_lost {
            let reason = format!("`{field}`: another resource has the same one");
            self.hold(
                pending.clone(),
                Refusal {
                    reason,
                    is_claim: true,
                },
            );
        }
        is_lost
    }
}
