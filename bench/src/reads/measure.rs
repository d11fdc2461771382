//! Reading, one request after the other, and what came of it.

use std::net::SocketAddr;

use http::StatusCode;
use serde_json::{Value, json};

use super::ask::{Ask, Page, Paging, What};
use super::chance::Dice;
use super::ground::Ground;
use super::kinds::Kind;
use super::reader::{Answer, Reader, data_of};
use crate::latency::Latency;

/// Wrong replies that are kept, of each kind.
const FAULTS_KEPT: usize = 3;
/// Reads of a list come in rounds: first pages, pages from the middle, and one that goes on.
const ROUND: usize = 8;

/// What one kind of read took at one port.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) latency: Latency,
    /// Pages that ended early because their work is bounded.
    pub(super) short: u64,
    /// Replies that said the index is behind, and by how much at most, milliseconds.
    pub(super) behind: u64,
    pub(super) lag_ms_max: u64,
    pub(super) wrong: u64,
    pub(super) faults: Vec<String>,
}

impl Series {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            latency: Latency::new()?,
            short: 0,
            behind: 0,
            lag_ms_max: 0,
            wrong: 0,
            faults: Vec::new(),
        })
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "latency": self.latency.json(),
            "short_pages": self.short,
            "behind": self.behind,
            "lag_ms_max": self.lag_ms_max,
            "wrong": self.wrong,
            "faults": self.faults,
        })
    }

    fn note(&mut self, answer: &Answer, checked: Result<Page, String>, path: &str) -> Page {
        let us = u64::try_from(answer.took.as_micros()).unwrap_or(u64::MAX);
        self.latency.record_us(us);
        if let Some(lag_ms) = answer.lag_ms {
            self.behind += 1;
            self.lag_ms_max = self.lag_ms_max.max(lag_ms);
        }
        match checked {
            Ok(page) => {
                self.short += u64::from(page.is_short);
                page
            }
            Err(fault) => {
                self.wrong += 1;
                if self.faults.len() < FAULTS_KEPT {
                    self.faults.push(format!("{fault}: GET {path}"));
                }
                Page::default()
            }
        }
    }
}

/// Reads of one kind at one port, one by one.
pub(super) struct Run<'g> {
    ground: &'g Ground,
    kind: &'g Kind,
    reader: Reader,
    dice: Dice,
    turn: usize,
    /// What the last reply said goes on where.
    before: Option<(Ask, Paging)>,
    series: Series,
}

impl<'g> Run<'g> {
    pub(super) async fn open(
        ground: &'g Ground,
        kind: &'g Kind,
        address: SocketAddr,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            ground,
            kind,
            reader: Reader::open(address, &ground.world.admin_key).await?,
            dice: Dice::new(7),
            turn: 0,
            before: None,
            series: Series::new()?,
        })
    }

    /// One read. The latency ends with its last byte; checking comes after.
    pub(super) async fn step(&mut self) -> anyhow::Result<()> {
        let (ask, paging) = self.next();
        let path = match ask.what {
            What::Events | What::Deliveries => format!("{}{}", ask.path, paging.query()),
            What::Attempts | What::One => ask.path.clone(),
        };
        let answer = self.reader.get(&path).await?;
        let checked = check(&ask, &paging, &answer);
        let page = self.series.note(&answer, checked, &path);
        let onwards = page.next.map(|next| Paging {
            is_backwards: false,
            cursor: Some(next),
            ..paging
        });
        self.before = onwards.map(|paging| (ask, paging));
        self.turn += 1;
        Ok(())
    }

    pub(super) fn finish(self) -> Series {
        self.series
    }

    fn next(&mut self) -> (Ask, Paging) {
        let place = self.turn % ROUND;
        if place == ROUND - 1
            && let Some(before) = self.before.take()
        {
            return before;
        }
        let ask = (self.kind.make)(self.ground, &mut self.dice);
        let is_ascending = place % 2 == 1;
        let paging = match place {
            2..=5 if ask.is_deep => Paging {
                is_ascending,
                is_backwards: place >= 4,
                cursor: Some(match ask.what {
                    What::Deliveries => self.ground.deep_delivery(ask.project, &mut self.dice),
                    _ => self.ground.deep_event(ask.project, &mut self.dice),
                }),
            },
            _ => Paging::first(is_ascending),
        };
        (ask, paging)
    }
}

fn check(ask: &Ask, paging: &Paging, answer: &Answer) -> Result<Page, String> {
    if answer.status != StatusCode::OK {
        let said: String = String::from_utf8_lossy(&answer.body)
            .chars()
            .take(200)
            .collect();
        return Err(format!("{}: {said}", answer.status));
    }
    let data = data_of(&answer.body).map_err(|error| format!("{error:#}"))?;
    ask.check(paging, &data)
}
