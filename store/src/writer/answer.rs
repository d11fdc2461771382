//! Answers to those who wait for their event to be durable.
//!
//! To wake a task of another thread takes a lock of that thread's runtime, and a system call when
//! the thread sleeps. So the answers of a group travel together, thread by thread: the first one
//! who waits there gets them all, and passes them on where waking costs next to nothing.

use std::sync::Arc;
use std::thread::ThreadId;

use tokio::sync::oneshot;

use crate::codec::Draft;
use crate::error::AcceptError;
use crate::event::StoredEvent;
use crate::log::Accepted;

/// What somebody who waits is told.
#[derive(Debug)]
pub(crate) struct Answer {
    result: Result<Accepted, AcceptError>,
    /// Before what is spent, as fields are dropped in this order: others need not wait until it
    /// is freed.
    _others: Others,
    /// Only to be dropped where the answer is taken.
    _spent: Option<Spent>,
}

/// Takes the answer for an event.
pub(crate) type Reply = oneshot::Sender<Answer>;

/// What is left of an event when it is durable. It goes back to be freed by the thread that made
/// it: what is freed elsewhere costs both threads.
pub(super) type Spent = (Draft, Vec<Draft>, Arc<StoredEvent>);

/// An event of the group, and who waits for it.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) reply: Reply,
    pub(super) accepted: Accepted,
    pub(super) spent: Spent,
}

/// The answers of a group by the thread that asked, which is where they are waited for unless a
/// task has moved since: then they take longer, and are the same.
#[derive(Debug, Default)]
pub(super) struct Answers(Vec<(ThreadId, Vec<Waiting>)>);

impl Answer {
    pub(super) fn refused(error: AcceptError) -> Self {
        Self {
            result: Err(error),
            _others: Others::default(),
            _spent: None,
        }
    }

    /// What it says; passes on what came with it for others.
    pub(crate) fn take(self) -> Result<Accepted, AcceptError> {
        self.result
    }
}

impl Answers {
    pub(super) fn add(&mut self, asker: ThreadId, waiting: Waiting) {
        match self.0.iter_mut().find(|(thread, _)| *thread == asker) {
            Some((_, all)) => all.push(waiting),
            None => self.0.push((asker, vec![waiting])),
        }
    }

    /// Tells all of them. Their events are durable.
    pub(super) fn tell(&mut self) {
        for (_, all) in self.0.drain(..) {
            Others(all).send();
        }
    }
}

/// Answers that somebody carries for others. They are given out when dropped, however that comes
/// about: who has them may be gone before he looks.
#[derive(Debug, Default)]
struct Others(Vec<Waiting>);

impl Others {
    /// Gives one of them all the others to pass on. A caller that has gone needs no answer.
    fn send(mut self) {
        while let Some(first) = self.0.pop() {
            let answer = Answer {
                result: Ok(first.accepted),
                _others: self,
                _spent: Some(first.spent),
            };
            match first.reply.send(answer) {
                Ok(()) => return,
                Err(back) => self = back._others,
            }
        }
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        for one in self.0.drain(..) {
            let answer = Answer {
                result: Ok(one.accepted),
                _others: Self::default(),
                _spent: Some(one.spent),
            };
            // As above.
            let _ = one.reply.send(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use outrider_webhook::id::EventId;

    use super::*;
    use crate::codec;
    use crate::event::{Position, Targets};
    use crate::tests::support::{decision, facts};

    fn waiting(number: i64) -> (Waiting, oneshot::Receiver<Answer>) {
        let (reply, replied) = oneshot::channel();
        let id = EventId::from_raw(number).unwrap();
        let (facts, decision) = (facts(1), decision());
        let draft = codec::accept(&facts, &[], &decision, None);
        let event = Arc::new(StoredEvent {
            id,
            position: Position {
                segment: 0,
                offset: 0,
            },
            facts,
            targets: Targets::from(Vec::new()),
            revision: 1,
            decision,
        });
        let spent = (draft, Vec::new(), event);
        let accepted = Accepted::Stored(id);
        let waiting = Waiting {
            reply,
            accepted,
            spent,
        };
        (waiting, replied)
    }

    fn told(replied: &mut oneshot::Receiver<Answer>) -> Option<i64> {
        match replied.try_recv().ok()?.take() {
            Ok(Accepted::Stored(id)) => Some(id.raw()),
            other => panic!("{other:?}"),
        }
    }

    /// Answers for this thread, and one for another thread.
    fn group() -> (Answers, Vec<oneshot::Receiver<Answer>>) {
        let here = std::thread::current().id();
        let elsewhere = std::thread::spawn(|| std::thread::current().id())
            .join()
            .unwrap();
        let (mut answers, mut all) = (Answers::default(), Vec::new());
        for number in 1..=5 {
            let (one, replied) = waiting(number);
            answers.add(if number == 5 { elsewhere } else { here }, one);
            all.push(replied);
        }
        (answers, all)
    }

    #[test]
    fn who_went_away_keeps_no_answer_from_others() {
        for gone in 0..4 {
            let (mut answers, mut all) = group();
            drop(all.remove(gone)); // before there was an answer
            answers.tell();
            drop(all.remove(2)); // with an answer, perhaps those of all others, that he never took
            let mut told: Vec<_> = all.iter_mut().map(|one| told(one).unwrap()).collect();
            told.sort_unstable();
            assert_eq!(told.len(), 3);
            assert_eq!(told.last(), Some(&5));
        }
    }

    #[test]
    fn one_of_each_thread_has_the_answers_of_all() {
        let (mut answers, mut all) = group();
        answers.tell();
        let has_answer = |one: &mut oneshot::Receiver<Answer>| !one.is_empty();
        let first: Vec<_> = all.iter_mut().map(has_answer).collect();
        assert_eq!(first, [false, false, false, true, true]);
        assert_eq!(told(&mut all[3]), Some(4));
        assert!(all[..3].iter_mut().all(has_answer));
        let told: Vec<_> = all[..3].iter_mut().map(told).collect();
        assert_eq!(told, [Some(1), Some(2), Some(3)]);
    }

    #[test]
    fn nobody_is_told_of_what_is_not_durable() {
        let (answers, mut all) = group();
        drop(answers);
        assert!(all.iter_mut().all(|one| told(one).is_none()));
    }
}
