//! Which data plane this is, over all restarts: an id made with its data directory.
//!
//! The control plane tells by it a data plane that comes back from a second one with the same
//! node number, which would give its events the ids of the first.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use outrider_webhook::id::Uid;

/// Reads the id in `path`, or makes one. Blocks.
pub(crate) fn load_or_create(path: &Path) -> io::Result<Uid> {
    match fs::read_to_string(path) {
        Ok(text) => text.trim_end().parse().map_err(|_| {
            let say =
                "is not what was written: remove it, once no other data plane has this node number";
            io::Error::new(io::ErrorKind::InvalidData, say)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path),
        Err(error) => Err(error),
    }
}

fn create(path: &Path) -> io::Result<Uid> {
    let instance = Uid::from_bits(rand::random());
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)?;
    writeln!(file, "{instance}")?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    path.parent()
        .map_or(Ok(()), |dir| File::open(dir)?.sync_all())?;
    Ok(instance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_with_its_directory_and_a_damaged_one_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("instance");
        let made = load_or_create(&path).unwrap();
        assert_eq!(load_or_create(&path).unwrap(), made);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(
            load_or_create(&other.path().join("instance")).unwrap(),
            made
        );
        fs::write(&path, "x").unwrap();
        assert!(load_or_create(&path).is_err());
    }
}
