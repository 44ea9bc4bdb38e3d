//! Signatures of webhooks, as [Standard Webhooks](https://www.standardwebhooks.com) has them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;

/// The value of `webhook-signature`: one for each secret.
pub(super) fn signature(
    secrets: &[SecretSlice<u8>],
    id: &str,
    timestamp: u64,
    body: &str,
) -> String {
    let signed = |secret: &SecretSlice<u8>| {
        // A key of any length is one.
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret()).ok()?;
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    };
    secrets.iter().filter_map(signed).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's libraries.
    #[test]
    fn the_known_example_has_its_signature() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let secrets = [SecretSlice::from(secret)];
        let body = r#"{"test": 2432232314}"#;
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        assert_eq!(
            signature(&secrets, id, 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn each_secret_signs() {
        let secrets = [1u8, 2].map(|byte| SecretSlice::from(vec![byte; 24]));
        let both = signature(&secrets, "a", 1, "b");
        assert_eq!(both.split(' ').filter(|one| one.starts_with("v1,")).count(), 2);
        assert_eq!(signature(&[], "a", 1, "b"), "");
    }
}
