//! What an endpoint is made of, sealed for the log: URLs and secrets are no plain text there.
//!
//! ```text
//! u8 format | 12 nonce | sealed JSON | 16 tag
//! ```
//!
//! ChaCha20-Poly1305 (RFC 8439) under a key that HKDF (RFC 5869) makes of the node's key. Project
//! and endpoint are sealed with it: what is moved to another event does not open.

use outrider_webhook::id::{EndpointId, ProjectId};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::state_log::StateKey;

const FORMAT: u8 = 1;
const SALT: &[u8] = b"outrider event log";
const INFO: &[u8] = b"endpoints made by events";

/// Seals and opens.
pub(super) struct Seal(Option<LessSafeKey>);

impl Seal {
    pub(super) fn new(key: &StateKey) -> Self {
        let derived = Salt::new(HKDF_SHA256, SALT).extract(key.bytes());
        let key = derived.expand(&[INFO], &CHACHA20_POLY1305).ok();
        Self(key.map(|key| LessSafeKey::new(UnboundKey::from(key))))
    }

    /// `None` when it cannot be sealed.
    pub(super) fn seal(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        content: &impl Serialize,
    ) -> Option<Box<[u8]>> {
        let plain = Zeroizing::new(serde_json::to_vec(content).ok()?);
        let nonce: [u8; NONCE_LEN] = rand::random();
        let head = 1 + NONCE_LEN;
        let mut sealed = Vec::with_capacity(head + plain.len() + CHACHA20_POLY1305.tag_len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&plain);
        let (_, text) = sealed.split_at_mut_checked(head)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let place = Aad::from(place(project, endpoint));
        let key = self.0.as_ref()?;
        let tag = key.seal_in_place_separate_tag(nonce, place, text).ok()?;
        sealed.extend_from_slice(tag.as_ref());
        Some(sealed.into())
    }

    /// `None` when it was sealed with another key, for another endpoint, or not at all.
    pub(super) fn open<T: DeserializeOwned>(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        sealed: &[u8],
    ) -> Option<T> {
        let (format, rest) = sealed.split_first()?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>()?;
        if *format != FORMAT {
            return None;
        }
        let mut text = Zeroizing::new(text.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let place = Aad::from(place(project, endpoint));
        let key = self.0.as_ref()?;
        let plain = key.open_in_place(nonce, place, &mut text).ok()?;
        serde_json::from_slice(plain).ok()
    }
}

fn place(project: ProjectId, endpoint: EndpointId) -> [u8; 32] {
    let mut place = [0; 32];
    let (first, second) = place.split_at_mut(16);
    first.copy_from_slice(&project.uid().bits().to_be_bytes());
    second.copy_from_slice(&endpoint.uid().bits().to_be_bytes());
    place
}
