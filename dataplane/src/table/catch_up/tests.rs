use std::sync::atomic::{AtomicUsize, Ordering};

use outrider_webhook::id::Uid;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::*;

fn at(revision: u64) -> Version {
    Version {
        journal: Uid::from_bits(1),
        revision,
    }
}

/// A control plane whose head is set by the test and that takes some time to answer.
struct Fake {
    head: Mutex<Option<Version>>,
    takes: Duration,
    asked: AtomicUsize,
}

#[async_trait]
impl HeadSource for Fake {
    async fn head(&self, _limit: Duration) -> Option<Version> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let head = *self.head.lock().unwrap();
        sleep(self.takes).await;
        head
    }
}

struct Scene {
    table: watch::Sender<Option<Version>>,
    catch_up: Arc<CatchUp>,
    fake: Arc<Fake>,
}

impl Scene {
    /// The table at revision 1, the control plane at `head`.
    fn new(head: Option<Version>, takes_ms: u64) -> Self {
        let table = watch::Sender::new(Some(at(1)));
        let catch_up = Arc::new(CatchUp::new(table.subscribe()));
        let fake = Arc::new(Fake {
            head: Mutex::new(head),
            takes: Duration::from_millis(takes_ms),
            asked: AtomicUsize::new(0),
        });
        assert!(catch_up.set_source(Arc::<Fake>::clone(&fake)));
        Self {
            table,
            catch_up,
            fake,
        }
    }

    /// Whether to look again, and after how long.
    async fn wait_for(&self, mask: &str) -> (bool, u128) {
        let begun = Instant::now();
        let is_worth_a_look = self.catch_up.wait(Missing::Source(mask), Some(at(1))).await;
        (is_worth_a_look, begun.elapsed().as_millis())
    }

    fn asked(&self) -> usize {
        self.fake.asked.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_source_nothing_waits() {
    let table = watch::Sender::new(Some(at(1)));
    let catch_up = CatchUp::new(table.subscribe());
    let begun = Instant::now();
    assert!(!catch_up.wait(Missing::Source("a"), Some(at(1))).await);
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_table_that_does_not_come_is_waited_for_250_ms() {
    let scene = Scene::new(Some(at(2)), 10);
    assert_eq!(scene.wait_for("a").await, (false, 250));
    // Not found is not absent here: the next one waits as well.
    assert_eq!(scene.wait_for("a").await, (false, 250));
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_that_does_not_answer_is_waited_for_250_ms() {
    let scene = Scene::new(Some(at(2)), 60_000);
    assert_eq!(scene.wait_for("a").await, (false, 250));
}

#[tokio::test(start_paused = true)]
async fn a_head_that_cannot_be_found_out_is_not_waited_for_and_not_remembered() {
    let scene = Scene::new(None, 10);
    assert_eq!(scene.wait_for("a").await, (false, 10));
    assert_eq!(scene.wait_for("a").await, (false, 10));
}

#[tokio::test(start_paused = true)]
async fn the_wait_ends_when_the_table_reaches_the_head_and_not_before() {
    let scene = Scene::new(Some(at(3)), 10);
    let moves = async {
        sleep(Duration::from_millis(50)).await;
        scene.table.send_replace(Some(at(2)));
        sleep(Duration::from_millis(50)).await;
        scene.table.send_replace(Some(at(3)));
    };
    let (found, ()) = tokio::join!(scene.wait_for("a"), moves);
    assert_eq!(found, (true, 100));
}

#[tokio::test(start_paused = true)]
async fn a_table_that_came_some_of_the_way_is_worth_a_look() {
    let scene = Scene::new(Some(at(3)), 10);
    let moves = async {
        sleep(Duration::from_millis(50)).await;
        scene.table.send_replace(Some(at(2)));
    };
    let (found, ()) = tokio::join!(scene.wait_for("a"), moves);
    assert_eq!(found, (true, 250));
}

#[tokio::test(start_paused = true)]
async fn another_journal_is_not_reached_by_its_numbers() {
    let head = Version {
        journal: Uid::from_bits(2),
        revision: 1,
    };
    let scene = Scene::new(Some(head), 10);
    assert_eq!(scene.wait_for("a").await, (false, 250));
    let moves = async {
        sleep(Duration::from_millis(20)).await;
        scene.table.send_replace(Some(head));
    };
    let (found, ()) = tokio::join!(scene.wait_for("a"), moves);
    assert_eq!(found, (true, 20));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_at_the_head_either_is_refused_at_once_for_a_second() {
    let scene = Scene::new(Some(at(1)), 10);
    assert_eq!(scene.wait_for("a").await, (false, 10));
    sleep(Duration::from_millis(990)).await;
    assert_eq!(scene.wait_for("a").await, (false, 0));
    assert_eq!(scene.asked(), 1);
    assert_eq!(
        scene.wait_for("b").await,
        (false, 10),
        "another name is asked for"
    );
    sleep(Duration::from_millis(10)).await;
    assert_eq!(scene.wait_for("a").await, (false, 10));
    assert_eq!(scene.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_key_and_a_mask_of_one_text_are_two_names() {
    let scene = Scene::new(Some(at(1)), 10);
    let project = ProjectId::new(Uid::from_bits(1));
    assert_eq!(scene.wait_for("a").await, (false, 10));
    let owner = Missing::Owner(project, "a");
    assert!(!scene.catch_up.wait(owner, Some(at(1))).await);
    assert_eq!(scene.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn requests_at_one_time_share_one_question() {
    let scene = Scene::new(Some(at(2)), 100);
    let mut requests = JoinSet::new();
    for number in 0..500 {
        let catch_up = Arc::clone(&scene.catch_up);
        requests.spawn(async move {
            let mask = number.to_string();
            catch_up.wait(Missing::Source(&mask), Some(at(1))).await
        });
    }
    sleep(Duration::from_millis(150)).await;
    scene.table.send_replace(Some(at(2)));
    assert_eq!(requests.join_all().await, [true; 500]);
    assert_eq!(scene.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_question_asked_before_the_change_does_not_speak_for_a_request_after_it() {
    let scene = Scene::new(Some(at(1)), 100);
    let late = async {
        sleep(Duration::from_millis(50)).await;
        *scene.fake.head.lock().unwrap() = Some(at(2)); // made while the first question is out
        let moves = async {
            sleep(Duration::from_millis(180)).await;
            scene.table.send_replace(Some(at(2)));
        };
        tokio::join!(scene.wait_for("b"), moves).0
    };
    let (early, late) = tokio::join!(scene.wait_for("a"), late);
    assert_eq!(early, (false, 100));
    assert_eq!(late, (true, 180));
    assert_eq!(scene.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_question_given_up_leaves_the_next_one_free() {
    let scene = Scene::new(Some(at(1)), 100);
    let given_up = tokio::time::timeout(Duration::from_millis(20), scene.wait_for("a"));
    assert!(given_up.await.is_err());
    assert_eq!(scene.wait_for("b").await, (false, 100));
}

#[tokio::test(start_paused = true)]
async fn beyond_twenty_questions_a_second_nobody_waits() {
    let scene = Scene::new(Some(at(1)), 1);
    for number in 0..20 {
        assert_eq!(scene.wait_for(&number.to_string()).await, (false, 1));
    }
    assert_eq!(scene.wait_for("more").await, (false, 0));
    assert_eq!(scene.asked(), 20);
    sleep(Duration::from_millis(980)).await;
    assert_eq!(scene.wait_for("more").await, (false, 1));
}

#[test]
fn what_is_absent_is_bounded_and_the_oldest_goes_first() {
    let (mut bounds, now) = (Bounds::default(), Instant::now());
    for name in 0..=ABSENT_MAX as u64 {
        bounds.note_absent(name, now);
        bounds.note_absent(name, now);
    }
    assert_eq!(bounds.absent.len(), ABSENT_MAX);
    assert_eq!(bounds.absent_until.len(), ABSENT_MAX);
    assert!(!bounds.is_absent(0, now) && bounds.is_absent(1, now));
    assert!(!bounds.is_absent(1, now + ABSENT_FOR));
    assert!(bounds.absent.is_empty() && bounds.absent_until.is_empty());
}
