//! Which data plane this is, over all restarts: an id made with its data directory.
//!
//! The control plane tells by it a data plane that comes back from a second one with the same
//! node number, which would give its events the ids of the first.

use std::fs;
use std::io;
use std::path::Path;

use outrider_webhook::id::Uid;

use crate::note;

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
    note::replace(path, format!("{instance}\n").as_bytes())?;
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
