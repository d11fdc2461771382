//! Clients that take nothing, or too little.

use pingora::protocols::http::ServerSession;
use tokio::io::DuplexStream;

use super::write_limit::WRITE_TIMEOUT;
use super::*;

/// What the other side has room for.
const ROOM: usize = 64;
/// More than that and the buffer take together.
const LONG: usize = 4 * WRITE_BYTES;

fn wire() -> (Wire, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(ROOM);
    (Wire::new(Box::new(ours)), theirs)
}

fn is_timeout(result: io::Result<()>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_given_up() {
    let bytes = [b'x'; LONG];
    let head = &bytes[..ROOM + 1];
    for is_vectored in [false, true] {
        let (mut wire, _theirs) = wire();
        let start = Instant::now();
        let written = match is_vectored {
            false => wire.write_all(&bytes).await,
            true => {
                let mut slices = [io::IoSlice::new(head), io::IoSlice::new(&bytes)];
                let mut slices = &mut slices[..];
                loop {
                    match wire.write_vectored(slices).await {
                        Ok(count) => io::IoSlice::advance_slices(&mut slices, count),
                        Err(error) => break Err(error),
                    }
                }
            }
        };
        assert!(is_timeout(written));
        assert_eq!(start.elapsed(), WRITE_TIMEOUT);
        // And its end is not waited for.
        Shutdown::shutdown(&mut wire).await;
        assert_eq!(start.elapsed(), WRITE_TIMEOUT);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_gathered_is_bounded_when_it_leaves() {
    let (mut one, _theirs) = wire();
    let start = Instant::now();
    one.write_all(&[b'x'; ROOM + 1]).await.unwrap();
    assert!(is_timeout(one.flush().await));
    assert_eq!(start.elapsed(), WRITE_TIMEOUT);
    let (mut other, _theirs) = wire();
    other.write_all(&[b'x'; ROOM + 1]).await.unwrap();
    assert!(is_timeout(AsyncWriteExt::shutdown(&mut other).await));
    assert_eq!(start.elapsed(), 2 * WRITE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_connection_is_bounded() {
    let (mut wire, _theirs) = wire();
    let start = Instant::now();
    wire.write_all(&[b'x'; ROOM + 1]).await.unwrap();
    Shutdown::shutdown(&mut wire).await;
    assert_eq!(start.elapsed(), WRITE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_some_has_its_time_again() {
    let (mut wire, mut theirs) = wire();
    let bytes = [b'x'; LONG];
    let taking = async {
        let mut taken = Vec::new();
        while taken.len() < LONG {
            tokio::time::sleep(WRITE_TIMEOUT - Duration::from_secs(1)).await;
            // All that is there: a part of it may make no room for a write.
            let mut some = [0; WRITE_BYTES];
            let mut filled = 0;
            while filled < WRITE_BYTES && taken.len() + filled < LONG {
                filled += theirs.read(&mut some[filled..]).await.unwrap();
            }
            taken.extend_from_slice(&some[..filled]);
        }
        taken
    };
    let writing = async {
        wire.write_all(&bytes).await?;
        wire.flush().await
    };
    let start = Instant::now();
    let (written, taken) = tokio::join!(writing, taking);
    written.unwrap();
    assert_eq!(taken, bytes);
    assert!(start.elapsed() > 2 * WRITE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_when_its_reply_is_not_taken() {
    let (mut wire, mut theirs) = wire();
    theirs
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    wire.fill().await.unwrap();
    wire.head_left = wire.ahead.len();
    let mut http = ServerSession::new_http1(Box::new(wire));
    assert!(http.read_request().await.unwrap());
    let start = Instant::now();
    let mut head = pingora::http::ResponseHeader::build(200, None).unwrap();
    head.insert_header("content-length", ROOM).unwrap();
    http.write_response_header(Box::new(head)).await.unwrap();
    let body = bytes::Bytes::from_static(&[b'x'; ROOM]);
    let written = http.write_response_body(body, true).await;
    let finished = match written {
        Ok(()) => http.finish().await.map(|_| ()),
        Err(error) => Err(error),
    };
    assert!(finished.is_err());
    assert_eq!(start.elapsed(), WRITE_TIMEOUT);
}
