//! Logs go to stderr: text on a terminal, JSON otherwise.

use std::io::IsTerminal;

use outrider_config::bootstrap::{LogFormat, LogSettings};
use tracing_subscriber::EnvFilter;

/// Sets up the one subscriber of the process; `RUST_LOG` wins over the configured level.
pub(crate) fn start(settings: &LogSettings) {
    // Pingora's own chatter about its life is of no use to operators; its warnings are.
    let default = format!("{},pingora_core=warn,pingora=warn", settings.level);
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let is_json = match settings.format {
        LogFormat::Auto => !std::io::stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if is_json {
        builder.json().flatten_event(true).init();
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).init();
    }
}
