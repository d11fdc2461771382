//! The verdict over a destination: URL to checked addresses, with the answers of its name already
//! there. For each case the time of each verdict, of which p50 and p99, and CPU time per verdict
//! over all of them: the first has to stay small for each, the second says what it costs.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench that cannot be set up has to end, and says what it found"
)]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Instant;

use hdrhistogram::Histogram;
use outrider_webhook::address::{Policy, ProjectRef, TargetUrl};
use outrider_webhook::id::{ProjectId, Uid};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

/// Verdicts of a case: enough for its p99, and more than that for the machine to be warm.
const VERDICTS: usize = 200_000;
/// A slow case ends after so long.
const CASE_S: u64 = 5;

/// URLs of which one after the other is judged.
struct Case {
    name: String,
    urls: Vec<String>,
    answers: Vec<IpAddr>,
}

/// What a case took, nanoseconds.
struct Took {
    p50: u64,
    p99: u64,
    /// CPU time of each.
    cpu: f64,
    /// Verdicts that allow, of a hundred.
    allowed: usize,
}

fn main() {
    let urls = vectors();
    let [plain, longest, ideographs] = [plain(), longest(), longest_in_ideographs()];
    let one = |name: &str, host: &str, answers| Case {
        name: name.to_owned(),
        urls: vec![format!("https://{host}/in")],
        answers: public(answers),
    };
    let of_vectors = |answers| Case {
        name: format!("{} URLs of the vectors, {answers} answers", urls.len()),
        urls: urls.clone(),
        answers: public(answers),
    };
    let clock = clock_ns();
    println!("reading the clock: {clock} ns, which is in each time below");
    println!(
        "{:<58} {:>9} {:>9} {:>9} {:>8}",
        "", "p50 ns", "p99 ns", "CPU ns", "allowed"
    );
    let few = told(&of_vectors(10));
    let many = told(&of_vectors(1_000));
    let with = |answers| one(&format!("{plain}, {answers} answers"), &plain, answers);
    let (one_answer, ten, thousand) = (told(&with(1)), told(&with(10)), told(&with(1_000)));
    told(&one(
        &format!("a name of {} bytes", longest.len()),
        &longest,
        1,
    ));
    let name = format!(
        "a name of {} ideographs, {} bytes",
        ideographs.chars().count() - 3,
        ideographs.len()
    );
    told(&one(&name, &ideographs, 1));
    let letters = series(("a", 20), 10 * 1024);
    told(&one("a host of 10 KiB of plain letters", &letters, 1));
    // The longest labels that the coding of ideographs is tried with have so many.
    let label = series(("\u{4e00}", 10_000), 999 * 3);
    let labels = [&*label; 3].join(".");
    told(&one(
        "a host of 9 KiB of ideographs, all different",
        &labels,
        1,
    ));
    let each = (thousand.cpu - ten.cpu) / 990.0;
    let all = (many.cpu - few.cpu) / 990.0;
    println!(
        "each further address: {each:.1} ns of CPU time, {all:.1} over the URLs of the vectors"
    );
    println!(
        "a verdict with one answer, without its address: {:.0} ns",
        one_answer.cpu - each
    );
}

/// Runs a case and prints its line.
fn told(case: &Case) -> Took {
    let took = run(case);
    println!(
        "{:<58} {:>9} {:>9} {:>9.0} {:>6} %",
        case.name, took.p50, took.p99, took.cpu, took.allowed
    );
    took
}

fn run(case: &Case) -> Took {
    let policy = Policy::default();
    let project = ProjectRef {
        id: ProjectId::new(Uid::from_bits(1)),
        name: "bench",
    };
    let judge = |url: &str| {
        let target = TargetUrl::parse(black_box(url)).ok()?;
        policy.check_target(&project, &target).ok()?;
        policy
            .check_addresses(&project, &target, black_box(&case.answers))
            .ok()
    };
    for url in case
        .urls
        .iter()
        .cycle()
        .take(1_000.min(case.urls.len() * 50))
    {
        black_box(judge(url));
    }
    let mut times = Histogram::<u64>::new_with_bounds(1, 10_000_000_000, 3).expect("bounds");
    let (mut allowed, mut count) = (0, 0);
    let (begun, cpu) = (Instant::now(), cpu_ns());
    for url in case.urls.iter().cycle().take(VERDICTS) {
        let started = Instant::now();
        let verdict = black_box(judge(url));
        let took = started.elapsed();
        times.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1));
        allowed += usize::from(verdict.is_some());
        count += 1;
        if begun.elapsed().as_secs() >= CASE_S {
            break;
        }
    }
    let cpu = cpu_ns() - cpu;
    Took {
        p50: times.value_at_quantile(0.5),
        p99: times.value_at_quantile(0.99),
        cpu: cpu / f64::from(u32::try_from(count).unwrap_or(u32::MAX)),
        allowed: allowed * 100 / count,
    }
}

/// CPU time of this thread.
fn cpu_ns() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u32::try_from(now.tv_sec).unwrap_or(u32::MAX);
    let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
    f64::from(seconds) * 1e9 + f64::from(nanos)
}

/// What two readings of the clock take.
fn clock_ns() -> u64 {
    let mut times = Histogram::<u64>::new_with_bounds(1, 1_000_000, 3).expect("bounds");
    for _ in 0..100_000 {
        let took = Instant::now().elapsed();
        times.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1));
    }
    times.value_at_quantile(0.5)
}

/// All URLs of the shared vectors, those that are refused as well.
fn vectors() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/ssrf.json");
    let text = std::fs::read_to_string(path).expect("the vectors are there");
    let vectors: Value = serde_json::from_str(&text).expect("they are JSON");
    let cases = vectors["cases"].as_array().expect("they are cases");
    let urls = cases.iter().filter(|case| case["kind"] == "url");
    urls.filter_map(|case| case["input"].as_str().map(str::to_owned))
        .collect()
}

/// Public addresses of both families in turn, so that each is held against all ranges.
fn public(count: u32) -> Vec<IpAddr> {
    let address = |number: u32| match number % 2 {
        0 => IpAddr::V4(Ipv4Addr::from(0x5db8_0000 + number)), // 93.184.0.0
        _ => IpAddr::V6(Ipv6Addr::from(
            (0x2606_2800_u128 << 96) + u128::from(number),
        )),
    };
    (0..count).map(address).collect()
}

fn plain() -> String {
    "hooks.customer.example.com".to_owned()
}

/// 253 bytes.
fn longest() -> String {
    let label = "a".repeat(63);
    format!("{label}.{label}.{label}.{}", "a".repeat(61))
}

/// As many ideographs, no two beside each other the same, as four labels may have.
fn longest_in_ideographs() -> String {
    let name = |letters: usize| {
        let label = series(("\u{4e00}", 20), letters * 3);
        [&*label; 4].join(".")
    };
    let fits = |letters: &usize| TargetUrl::parse(&format!("https://{}/", name(*letters))).is_ok();
    let most = (1..63).take_while(fits).last().expect("one letter fits");
    name(most)
}

/// So many bytes of a letter and those that follow it, `letters` of them before they come again.
fn series((letter, letters): (&str, u32), bytes: usize) -> String {
    let first = letter.chars().next().map_or(0, u32::from);
    let letters = (first..first + letters).filter_map(char::from_u32).cycle();
    letters.take(bytes / letter.len()).collect()
}
