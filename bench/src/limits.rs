//! What the machine itself can do, measured in the same run: a figure without its limit says little.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;

/// Bytes written before each sync: a small group of the log.
const BLOCK_BYTES: usize = 4_096;
/// Blocks of the file that is written round and round, so that syncs do not grow it.
const BLOCKS: u64 = 256;

/// Synced writes per second in `directory`, over `duration`. Blocks; call it on a blocking thread.
pub(crate) fn fdatasync_per_second(directory: &Path, duration: Duration) -> anyhow::Result<f64> {
    use std::os::unix::fs::FileExt;
    let path = directory.join("fdatasync.probe");
    let mut file = File::create(&path).context("the probe file cannot be created")?;
    let block = [0x5a_u8; BLOCK_BYTES];
    for _ in 0..BLOCKS {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    let (begin, mut count) = (Instant::now(), 0_u64);
    while begin.elapsed() < duration {
        let offset = (count % BLOCKS) * u64::try_from(BLOCK_BYTES)?;
        file.write_all_at(&block, offset)?;
        file.sync_data()?;
        count += 1;
    }
    let rate = crate::report::per_second(count, begin.elapsed());
    drop(file);
    std::fs::remove_file(&path).context("the probe file cannot be removed")?;
    Ok(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let nowhere = Path::new("/nonexistent/outrider-bench");
        assert!(fdatasync_per_second(nowhere, Duration::ZERO).is_err());
    }

    #[test]
    fn the_probe_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let rate = fdatasync_per_second(directory.path(), Duration::from_millis(20)).unwrap();
        assert!(rate > 0.0);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
