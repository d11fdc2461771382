//! The first key: opens everything, is made at the first start, and is kept in a file that only
//! its owner can read (RULINGS 37). In memory there is a digest only.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use outrider_webhook::secret::Secret;
use outrider_webhook::verify::ApiKeyDigest;

use crate::random;

const FILE_NAME: &str = "admin-key";
/// Where the file is written before it has its name.
const NEW_FILE_NAME: &str = "admin-key.new";
/// A key has 84 bytes; what is longer is another file.
const FILE_BYTES_MAX: u64 = 1024;

/// The instance-admin key.
#[derive(Debug, Clone, Copy)]
pub struct AdminKey {
    digest: ApiKeyDigest,
}

/// There is no usable key.
#[derive(Debug, thiserror::Error)]
pub enum AdminKeyError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds something else.
    #[error(
        "{}: this is no admin key, which looks like CO.<16 letters and digits>.<64 letters and digits>: \
         restore the file, or remove it to have a new key made", path.display()
    )]
    Content {
        /// Which.
        path: PathBuf,
    },
}

impl AdminKeyError {
    /// Stable code for metric labels and API bodies: a closed set.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "admin_key_file",
            Self::Content { .. } => "admin_key_content",
        }
    }
}

impl AdminKey {
    /// Reads the key in `<data_dir>/admin-key`, or makes one and writes it there. A new key is
    /// answered as well, to be shown once. Blocks.
    ///
    /// # Errors
    /// [`AdminKeyError`].
    pub fn load_or_create(data_dir: &Path) -> Result<(Self, Option<Secret>), AdminKeyError> {
        let path = data_dir.join(FILE_NAME);
        let failed = |source| AdminKeyError::File {
            path: path.clone(),
            source,
        };
        match fs::File::open(&path) {
            Ok(file) => {
                let mode = fs::Permissions::from_mode(0o600);
                file.set_permissions(mode).map_err(failed)?;
                let token = read(file).map_err(failed)?;
                let content = || AdminKeyError::Content { path: path.clone() };
                Ok((Self::of(&token.ok_or_else(content)?), None))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let token = random::api_key();
                write(data_dir, &token).map_err(failed)?;
                Ok((Self::of(&token), Some(token)))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The key with this token.
    #[must_use]
    pub fn of(token: &Secret) -> Self {
        Self {
            digest: ApiKeyDigest::of(token.expose()),
        }
    }

    /// Whether the presented token is this key. Takes the same time wherever they differ.
    pub(crate) fn is(&self, presented: &ApiKeyDigest) -> bool {
        self.digest.prove(presented).is_some()
    }
}

/// The key in a file; `None` when there is something else.
fn read(file: fs::File) -> io::Result<Option<Secret>> {
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    let Ok(text) = String::from_utf8(bytes) else {
        return Ok(None);
    };
    let text = Secret::new(text);
    let token = text.expose().trim_end_matches(['\r', '\n']);
    Ok(random::is_api_key(token).then(|| Secret::new(token)))
}

/// The file is there with all of its content, or not at all, also after a crash.
fn write(data_dir: &Path, token: &Secret) -> io::Result<()> {
    let new = data_dir.join(NEW_FILE_NAME);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    writeln!(file, "{}", token.expose())?;
    file.sync_all()?;
    // Not over a key that another process made meanwhile.
    fs::hard_link(&new, data_dir.join(FILE_NAME))?;
    fs::remove_file(&new)?;
    fs::File::open(data_dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn error(dir: &TempDir) -> AdminKeyError {
        AdminKey::load_or_create(dir.path())
            .map(|_| ())
            .unwrap_err()
    }

    #[test]
    fn a_file_that_holds_something_else_is_refused_and_kept() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join(FILE_NAME);
        for content in [
            &b""[..],
            b"hunter2\n",
            b"CO.short.short",
            &[0xff; 84],
            &[b'a'; 5000],
        ] {
            fs::write(&path, content).unwrap();
            let error = error(&dir);
            assert_eq!(error.code(), "admin_key_content");
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let dir = TempDir::new().unwrap();
        let missing = dir.path().join("missing");
        let error = AdminKey::load_or_create(&missing).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), "admin_key_file");
    }

    #[test]
    fn the_key_is_made_once_and_is_its_owners_alone() {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join(NEW_FILE_NAME), "left by a crash").unwrap();
        let (key, new) = AdminKey::load_or_create(dir.path()).unwrap();
        let token = new.unwrap();
        assert!(random::is_api_key(token.expose()));
        let path = dir.path().join(FILE_NAME);
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        assert_eq!(
            fs::read_to_string(&path).unwrap().trim_end(),
            token.expose()
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let (again, new) = AdminKey::load_or_create(dir.path()).unwrap();
        assert!(new.is_none());
        assert_eq!(mode(), 0o600);
        let digest = ApiKeyDigest::of(token.expose());
        assert!(key.is(&digest) && again.is(&digest));
        assert!(!key.is(&ApiKeyDigest::of("CO.x.y")));
        assert!(!format!("{key:?}").contains(token.expose()));
    }
}
