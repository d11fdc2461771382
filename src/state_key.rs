//! The key that seals a data plane's kept configuration: from a file, the environment, or a
//! command (RULINGS 13).

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow};
use outrider_config::bootstrap;
use outrider_dataplane::note;
use outrider_dataplane::state_log::StateKey;
use outrider_webhook::secret::Secret;

use crate::exit::Failure;

/// The key, from where the bootstrap says. Blocks.
pub(crate) fn load(from: &bootstrap::StateKey, data_dir: &Path) -> Result<StateKey, Failure> {
    let (text, place) = match from {
        bootstrap::StateKey::Own => {
            let path = data_dir.join("state-key");
            let text = own(&path)
                .with_context(|| format!("cannot keep a key in {}", path.display()))
                .map_err(Failure::io)?;
            (text, path.display().to_string())
        }
        bootstrap::StateKey::File(path) => {
            let text = fs::read_to_string(path)
                .with_context(|| format!("state.key_file: cannot read {}", path.display()))
                .map_err(Failure::configuration)?;
            (Secret::new(text), path.display().to_string())
        }
        bootstrap::StateKey::Text(key) => (key.clone(), "state.key".to_owned()),
        bootstrap::StateKey::Command(words) => (printed(words)?, "state.key_command".to_owned()),
    };
    StateKey::from_hex(text.expose().trim()).ok_or_else(|| {
        Failure::configuration(anyhow!("{place}: the key must be 64 hexadecimal digits"))
    })
}

/// The key that is made at the first start.
fn own(path: &Path) -> io::Result<Secret> {
    match fs::read_to_string(path) {
        Ok(text) => return Ok(Secret::new(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let key = hex::encode(rand::random::<[u8; 32]>());
    // The configuration that it will seal must not outlive it.
    note::replace(path, format!("{key}\n").as_bytes())?;
    Ok(Secret::new(key))
}

/// What the command prints. Its arguments may hold a token, so they are not told.
fn printed(words: &[String]) -> Result<Secret, Failure> {
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| Failure::configuration(anyhow!("state.key_command is empty")))?;
    let say = || format!("state.key_command: `{program}`");
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(say)
        .map_err(Failure::configuration)?;
    if !output.status.success() {
        // Whoever holds the key may be back soon.
        let message = anyhow!("ended with {}", output.status).context(say());
        return Err(Failure::unavailable(message));
    }
    let text = String::from_utf8(output.stdout).map_err(|_| {
        Failure::configuration(anyhow!("what it prints is not text").context(say()))
    })?;
    Ok(Secret::new(text))
}
