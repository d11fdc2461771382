//! The example's secrets and ids: derived from one random seed that is kept in the data
//! directory, so a second start finds the projects of the first.

use std::net::SocketAddr;
use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use outrider_webhook::id::Uid;
use sha2::Sha256;

/// Name of the example's incoming project.
pub(super) const INCOMING: &str = "quickstart-incoming";
/// Name of the example's outgoing project.
pub(super) const OUTGOING: &str = "quickstart-outgoing";

/// Everything random about the example.
pub(super) struct Seed {
    bytes: [u8; 32],
}

impl Seed {
    /// Reads the seed, or makes one.
    pub(super) fn load_or_make(path: &Path) -> anyhow::Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text.trim(), &mut bytes).map_err(|error| {
                    anyhow::anyhow!("{}: {error}; delete it to start afresh", path.display())
                })?;
                Ok(Self { bytes })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let bytes: [u8; 32] = rand::random();
                super::write_private(path, &hex::encode(bytes))?;
                Ok(Self { bytes })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What GitHub and the source share.
    pub(super) fn github_secret(&self) -> String {
        self.text("github secret", 20)
    }

    /// What Outrider and the receiver share, for each project.
    pub(super) fn endpoint_secret(&self, project: &str) -> String {
        self.text(&format!("endpoint secret of {project}"), 20)
    }

    /// The mask of the GitHub source.
    pub(super) fn mask(&self) -> String {
        self.text("mask", 8)
    }

    /// The API key of the outgoing project, in Convoy's form.
    pub(super) fn api_key(&self) -> String {
        format!("CO.{}.{}", self.text("key id", 8), self.text("key", 32))
    }

    /// The uid of the outgoing project.
    pub(super) fn project(&self) -> Uid {
        self.uid("outgoing project")
    }

    /// The uid of the endpoint of the outgoing project.
    pub(super) fn endpoint(&self) -> Uid {
        self.uid("outgoing endpoint")
    }

    /// The resource file, as a person would write it.
    pub(super) fn resources(&self, receiver: SocketAddr) -> String {
        format!(
            "\
# Written by `outrider serve --quickstart`; start from a copy of it:
#   outrider serve --resources my-resources.yaml
projects:
  - name: {INCOMING}
    type: incoming
    config:
      strategy: {{type: linear, duration: 1, retry_count: 5}}
    sources:
      - name: github
        type: http
        provider: github
        mask_id: {mask}
        verifier: {{type: hmac, hmac: {{secret: {github}}}}}
    endpoints:
      - name: backend
        url: http://{receiver}/from-github
        secret: {incoming_secret}
    subscriptions:
      - name: everything from GitHub
        source_id: github
        endpoint_id: backend
        filter_config: {{event_types: [\"*\"]}}

  - name: {OUTGOING}
    type: outgoing
    uid: {project}
    config:
      strategy: {{type: linear, duration: 1, retry_count: 5}}
    endpoints:
      - name: customer
        uid: {endpoint}
        owner_id: customer-1
        url: http://{receiver}/customer
        secret: {outgoing_secret}
    subscriptions:
      - name: invoices
        endpoint_id: customer
        filter_config: {{event_types: [invoice.paid]}}
    api_keys:
      - name: quickstart
        key: {key}
",
            mask = self.mask(),
            github = self.github_secret(),
            incoming_secret = self.endpoint_secret(INCOMING),
            outgoing_secret = self.endpoint_secret(OUTGOING),
            project = self.project(),
            endpoint = self.endpoint(),
            key = self.api_key(),
        )
    }

    fn uid(&self, label: &str) -> Uid {
        let digest = self.derive(label);
        Uid::from_bits(
            digest
                .iter()
                .take(16)
                .fold(0, |bits, byte| (bits << 8) | u128::from(*byte)),
        )
    }

    fn text(&self, label: &str, bytes: usize) -> String {
        self.derive(label)
            .iter()
            .take(bytes)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    fn derive(&self, label: &str) -> [u8; 32] {
        let mut block = [0; 64]; // a whole block of SHA-256, so that the key length is right by type
        block[..32].copy_from_slice(&self.bytes);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        mac.update(label.as_bytes());
        mac.finalize().into_bytes().into()
    }
}
