//! The command stream: commands and outcomes, sessions that come and go, odd clients.

use std::sync::Arc;
use std::time::Duration;

use outrider_webhook::id::{DeliveryKey, EventId, NodeId, ProjectId, Uid};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::fake::{ControlPlane, Journal, endpoint, endpoints, soon};
use crate::control::wire::{
    self, ControlSaid, FromNode, HelloFields, NodeSaid, OutcomeFields, ToNode,
};
use crate::control::{RUNNING_MAX, WAITING_MAX, open};
use crate::{
    Action, Claim, Command, CommandHandler, ControlClient, HeadProbe, Node, Outcome, SendError,
};

const LIMIT: Duration = Duration::from_secs(10);

fn claim(number: u16) -> Claim {
    Claim {
        number: node(number),
        instance: Uid::from_bits(u128::from(number)),
    }
}

fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

fn command(id: u128) -> Command {
    let delivery = DeliveryKey {
        event: EventId::from_raw(77).unwrap(),
        ordinal: 3,
    };
    Command {
        id: Uid::from_bits(id),
        action: Action::Resend {
            project: ProjectId::new(Uid::from_bits(1)),
            delivery,
        },
    }
}

fn refused(code: &str) -> Outcome {
    Outcome::Refused {
        code: code.into(),
        message: "because".into(),
    }
}

/// A command that a handler runs, and the way to end it.
type Run = (Command, oneshot::Sender<Outcome>);

/// Does what the test says.
struct Scripted(mpsc::Sender<Run>);

#[tonic::async_trait]
impl CommandHandler for Scripted {
    async fn run(&self, command: Command) -> Outcome {
        let (answer, outcome) = oneshot::channel();
        self.0.send((command, answer)).await.unwrap();
        match outcome.await {
            Ok(outcome) => outcome,
            Err(_) => std::future::pending().await, // the test dropped it: it never ends
        }
    }
}

/// A running client and what its handler was asked.
pub(super) struct Commanded {
    pub(super) runs: mpsc::Receiver<Run>,
    head: HeadProbe,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Commanded {
    pub(super) fn start(channel: &Channel, number: u16) -> Self {
        let (sender, runs) = mpsc::channel(1_000);
        let name = Node {
            id: format!("dp-{number}"),
            cluster: String::new(),
            claim: Some(claim(number)),
        };
        let handler = Arc::new(Scripted(sender));
        let client = ControlClient::new(channel.clone(), claim(number), name, handler);
        let head = client.head();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(client.run(shutdown.clone()));
        Self {
            runs,
            head,
            shutdown,
            task,
        }
    }

    async fn next(&mut self) -> Run {
        soon(self.runs.recv()).await.unwrap()
    }

    pub(super) async fn stop(self) {
        self.shutdown.cancel();
        soon(self.task).await.unwrap();
    }
}

/// A client made by hand.
struct Raw {
    requests: mpsc::Sender<FromNode>,
    responses: Streaming<ToNode>,
}

impl Raw {
    async fn open(channel: &Channel) -> Self {
        let (requests, outgoing) = mpsc::channel(8);
        let responses = soon(open(channel.clone(), outgoing)).await.unwrap();
        Self {
            requests,
            responses,
        }
    }

    /// Opens a session and waits until the control plane has it.
    async fn introduced(channel: &Channel, number: u16) -> Self {
        let mut raw = Self::open(channel).await;
        raw.send(wire::hello(claim(number), "raw")).await;
        raw.send(wire::head_request(9)).await;
        let Some(ControlSaid::Head(_)) = raw.next().await.said else {
            panic!("the head is the answer");
        };
        raw
    }

    async fn send(&self, message: FromNode) {
        self.requests.send(message).await.unwrap();
    }

    async fn next(&mut self) -> ToNode {
        soon(self.responses.message()).await.unwrap().unwrap()
    }

    async fn command(&mut self) -> Uid {
        match self.next().await.said {
            Some(ControlSaid::Command(fields)) => fields.read_id().unwrap(),
            other => panic!("a command is expected, not {other:?}"),
        }
    }

    /// The word the session ends with.
    async fn end(&mut self) -> Status {
        loop {
            match soon(self.responses.message()).await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the session ends with an error"),
                Err(status) => return status,
            }
        }
    }
}

fn control_plane() -> ControlPlane {
    ControlPlane::start(&Journal::new(endpoints(3)))
}

/// Sends in a task of its own.
fn send(
    control: &ControlPlane,
    number: u16,
    command: Command,
    limit: Duration,
) -> JoinHandle<Result<Outcome, SendError>> {
    let commands = control.server.commands();
    tokio::spawn(async move { commands.send(node(number), command, limit).await })
}

#[tokio::test(start_paused = true)]
async fn a_command_to_a_node_that_does_not_come_is_not_connected_at_the_limit() {
    let control = control_plane();
    let other = Commanded::start(&control.channel, 8);
    let begun = Instant::now();
    let sent = control
        .server
        .commands()
        .send(node(7), command(1), LIMIT)
        .await;
    assert_eq!(sent, Err(SendError::NotConnected));
    assert!(begun.elapsed() >= LIMIT && begun.elapsed() < LIMIT * 2);
    other.stop().await;
    control.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_command_without_an_outcome_times_out() {
    let control = control_plane();
    let mut data = Commanded::start(&control.channel, 7);
    let sent = send(&control, 7, command(1), LIMIT);
    let run = data.next().await;
    assert_eq!(soon(sent).await.unwrap(), Err(SendError::Timeout));
    // Its late outcome is nobody's, and does no harm.
    run.1.send(Outcome::Done).unwrap();
    let sent = send(&control, 7, command(2), LIMIT);
    data.next().await.1.send(Outcome::Done).unwrap();
    assert_eq!(soon(sent).await.unwrap(), Ok(Outcome::Done));
    data.stop().await;
    control.stop().await;
}

#[tokio::test(start_paused = true)]
async fn too_many_waiting_commands_are_busy() {
    let control = control_plane();
    let commands = control.server.commands();
    let waiting: Vec<_> = (0..WAITING_MAX)
        .map(|id| send(&control, 7, command(id as u128), LIMIT))
        .collect();
    tokio::time::sleep(Duration::from_millis(1)).await; // time stands until all of them wait
    let one_more = commands.send(node(8), command(1), LIMIT).await;
    assert_eq!(one_more, Err(SendError::Busy));
    for sent in waiting {
        assert_eq!(soon(sent).await.unwrap(), Err(SendError::NotConnected));
    }
    let later = commands.send(node(8), command(1), LIMIT).await;
    assert_eq!(later, Err(SendError::NotConnected), "there is room again");
    control.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_takes_no_commands_is_busy_and_does_not_block_others() {
    let control = control_plane();
    let mut stuck = Commanded::start(&control.channel, 7);
    let mut other = Commanded::start(&control.channel, 8);
    let held: Vec<_> = (0..RUNNING_MAX)
        .map(|id| send(&control, 7, command(id as u128), LIMIT))
        .collect();
    let mut runs = Vec::new();
    for _ in 0..RUNNING_MAX {
        runs.push(stuck.next().await);
    }
    // No further command is read while so many run.
    let next = send(&control, 7, command(9_000), LIMIT);
    let read = tokio::time::timeout(Duration::from_secs(1), stuck.runs.recv()).await;
    assert!(read.is_err(), "one more runs than may");
    let sent = send(&control, 8, command(1), LIMIT);
    other.next().await.1.send(Outcome::Done).unwrap();
    assert_eq!(soon(sent).await.unwrap(), Ok(Outcome::Done));
    // A place that is free is taken.
    runs.pop().unwrap().1.send(Outcome::Done).unwrap();
    let (late, answer) = stuck.next().await;
    assert_eq!(late, command(9_000));
    answer.send(Outcome::Done).unwrap();
    assert_eq!(soon(next).await.unwrap(), Ok(Outcome::Done));
    for sent in held {
        soon(sent).await.unwrap().ok();
    }
    drop(runs);
    stuck.stop().await;
    other.stop().await;
    control.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_makes_no_sense_is_answered_with_a_status() {
    let control = control_plane();
    let said = |said| FromNode { said: Some(said) };
    let empty = FromNode { said: None };
    let large = said(NodeSaid::Hello(HelloFields {
        number: 1_024,
        id: String::new(),
        instance: vec![0; 16],
    }));
    for first in [empty.clone(), large, wire::head_request(1)] {
        let mut raw = Raw::open(&control.channel).await;
        raw.send(first).await;
        assert_eq!(raw.end().await.code(), Code::InvalidArgument);
    }
    let short = said(NodeSaid::Outcome(OutcomeFields {
        command: vec![1; 15],
        result: None,
    }));
    for later in [empty, short, wire::hello(claim(7), "twice")] {
        let mut raw = Raw::introduced(&control.channel, 7).await;
        raw.send(later).await;
        assert_eq!(raw.end().await.code(), Code::InvalidArgument);
    }
    // The server goes on.
    let mut data = Commanded::start(&control.channel, 7);
    let sent = send(&control, 7, command(1), LIMIT);
    data.next().await.1.send(Outcome::Done).unwrap();
    assert_eq!(soon(sent).await.unwrap(), Ok(Outcome::Done));
    data.stop().await;
    control.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_introduce_itself_is_dropped() {
    let control = control_plane();
    let mut raw = Raw::open(&control.channel).await;
    assert_eq!(raw.end().await.code(), Code::DeadlineExceeded);
    control.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_outcome_of_another_node_or_of_no_command_is_ignored() {
    let control = control_plane();
    let mut right = Raw::introduced(&control.channel, 7).await;
    let mut wrong = Raw::introduced(&control.channel, 8).await;
    let sent = send(&control, 7, command(5), LIMIT);
    let id = right.command().await;
    wrong.send(wire::outcome(id, &Outcome::Done)).await;
    wrong.send(wire::head_request(1)).await;
    wrong.next().await; // what came before was taken
    right
        .send(wire::outcome(Uid::from_bits(6), &Outcome::Done))
        .await;
    right.send(wire::outcome(id, &refused("no_payload"))).await;
    assert_eq!(soon(sent).await.unwrap(), Ok(refused("no_payload")));
    control.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_command_runs_and_its_outcome_comes_back() {
    let control = control_plane();
    let mut data = Commanded::start(&control.channel, 7);
    for (id, expected) in [(1, Outcome::Done), (2, refused("payload_gone"))] {
        let sent = send(&control, 7, command(id), LIMIT);
        let (run, answer) = data.next().await;
        assert_eq!(run, command(id));
        answer.send(expected.clone()).unwrap();
        assert_eq!(soon(sent).await.unwrap(), Ok(expected));
    }
    data.stop().await;
    control.stop().await;
}

#[tokio::test(start_paused = true)]
async fn two_who_wait_for_one_command_both_hear_its_outcome() {
    let control = control_plane();
    let mut data = Commanded::start(&control.channel, 7);
    let first = send(&control, 7, command(1), LIMIT);
    let second = send(&control, 7, command(1), LIMIT);
    let (_one, other) = (data.next().await, data.next().await);
    other.1.send(Outcome::Done).unwrap();
    assert_eq!(soon(first).await.unwrap(), Ok(Outcome::Done));
    assert_eq!(soon(second).await.unwrap(), Ok(Outcome::Done));
    data.stop().await;
    control.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_command_waits_for_its_node() {
    let control = control_plane();
    let sent = send(&control, 7, command(1), LIMIT);
    tokio::time::sleep(LIMIT / 2).await;
    let mut data = Commanded::start(&control.channel, 7);
    data.next().await.1.send(Outcome::Done).unwrap();
    assert_eq!(soon(sent).await.unwrap(), Ok(Outcome::Done));
    data.stop().await;
    control.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_command_is_sent_again_when_its_node_comes_back() {
    let control = control_plane();
    let mut data = Commanded::start(&control.channel, 7);
    let sent = send(&control, 7, command(1), LIMIT);
    let first = data.next().await;
    // Another one takes the place and goes: the client comes back by itself.
    let mut raw = Raw::introduced(&control.channel, 7).await;
    assert_eq!(raw.command().await, command(1).id);
    drop(raw);
    let second = data.next().await;
    assert_eq!((first.0, second.0), (command(1), command(1)));
    // The outcome of a session that is gone is dropped; the other one counts.
    first.1.send(refused("late")).unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(!sent.is_finished());
    second.1.send(Outcome::Done).unwrap();
    assert_eq!(soon(sent).await.unwrap(), Ok(Outcome::Done));
    data.stop().await;
    control.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_second_session_replaces_the_first() {
    let control = control_plane();
    let mut first = Raw::introduced(&control.channel, 7).await;
    let mut second = Raw::introduced(&control.channel, 7).await;
    assert_eq!(first.end().await.code(), Code::Aborted);
    // The end of the first does not take the place of the second.
    let sent = send(&control, 7, command(1), LIMIT);
    let id = second.command().await;
    second.send(wire::outcome(id, &Outcome::Done)).await;
    assert_eq!(soon(sent).await.unwrap(), Ok(Outcome::Done));
    control.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_of_another_data_plane_with_the_number_is_refused_while_the_first_is_open() {
    let control = control_plane();
    let mut first = Raw::introduced(&control.channel, 7).await;
    let other = Claim {
        instance: Uid::from_bits(99),
        ..claim(7)
    };
    let mut second = Raw::open(&control.channel).await;
    second.send(wire::hello(other, "other")).await;
    let status = second.end().await;
    assert_eq!(status.code(), Code::AlreadyExists);
    assert!(status.message().contains("number 7"), "{status}");
    let sent = send(&control, 7, command(1), LIMIT);
    let id = first.command().await;
    first.send(wire::outcome(id, &Outcome::Done)).await;
    assert_eq!(soon(sent).await.unwrap(), Ok(Outcome::Done));
    control.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_head_is_told_while_a_session_is_open() {
    let journal = Journal::new(endpoints(3));
    let control = ControlPlane::start(&journal);
    let data = Commanded::start(&control.channel, 7);
    let head = data.head.clone();
    let begun = Instant::now();
    assert_eq!(head.head(LIMIT).await, None, "no session is open yet");
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let opened = async {
        while head.head(LIMIT).await.is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon(opened).await;

    assert_eq!(head.head(LIMIT).await, Some(journal.version()));
    let version = journal.commit(vec![endpoint(9, "{}")], &[]);
    let asks: Vec<_> = (0..200)
        .map(|_| {
            let head = head.clone();
            tokio::spawn(async move { head.head(LIMIT).await })
        })
        .collect();
    let mut answers = 0;
    for ask in asks {
        // With more questions than places some are not asked, but none is answered wrongly.
        if let Some(answer) = soon(ask).await.unwrap() {
            assert_eq!(answer, version);
            answers += 1;
        }
    }
    assert!(answers > 0);
    data.stop().await;
    assert_eq!(head.head(LIMIT).await, None);
    control.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_head_of_a_control_plane_that_is_gone_is_not_known() {
    let control = control_plane();
    let mut data = Commanded::start(&control.channel, 7);
    let sent = send(&control, 7, command(1), LIMIT);
    let _run = data.next().await;
    control.stop().await;
    assert_eq!(soon(data.head.head(LIMIT)).await, None);
    assert_eq!(soon(sent).await.unwrap(), Err(SendError::Timeout));
    data.stop().await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_of_the_client_lets_running_commands_answer() {
    let control = control_plane();
    let mut data = Commanded::start(&control.channel, 7);
    let quick = send(&control, 7, command(1), LIMIT);
    let first = data.next().await;
    let slow = send(&control, 7, command(2), LIMIT);
    let second = data.next().await;
    data.shutdown.cancel();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!data.task.is_finished());
    first.1.send(Outcome::Done).unwrap();
    assert_eq!(soon(quick).await.unwrap(), Ok(Outcome::Done));
    // The other one does not end, and is dropped.
    soon(data.task).await.unwrap();
    assert!(second.1.is_closed());
    assert_eq!(soon(slow).await.unwrap(), Err(SendError::Timeout));
    control.stop().await;
}
