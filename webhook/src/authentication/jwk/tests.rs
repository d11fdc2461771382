use super::*;
use ring::signature::{self, KeyPair as _, UnparsedPublicKey, VerificationAlgorithm};

fn coded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Members of a fresh key on a curve.
fn ec(algorithm: &'static rcgen::SignatureAlgorithm, length: usize) -> [String; 3] {
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let point = key.public_key_raw();
    let (x, y) = point[1..].split_at(length);
    // PKCS #8 of rcgen with ring: the private number stands behind `04 <length>`.
    let der = key.serialize_der();
    let marker = [4, u8::try_from(length).unwrap()];
    let at = der.windows(2).position(|two| two == marker).unwrap() + 2;
    [&der[at..at + length], x, y].map(coded)
}

/// The parts of a token, and whether its signature is one of the key.
fn check(
    token: &str,
    algorithm: &'static dyn VerificationAlgorithm,
    public: &[u8],
) -> (Value, Value) {
    let (signed, made) = token.rsplit_once('.').unwrap();
    let made = URL_SAFE_NO_PAD.decode(made).unwrap();
    let key = UnparsedPublicKey::new(algorithm, public);
    key.verify(signed.as_bytes(), &made).unwrap();
    let (head, claims) = signed.split_once('.').unwrap();
    let json = |text| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
    (json(head), json(claims))
}

/// The key of RFC 8037, appendix A.1.
const OKP_D: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const OKP_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

fn okp<'a>(d: &'a Secret, x: &'a str) -> Jwk<'a> {
    Jwk {
        kty: "OKP",
        crv: "Ed25519",
        kid: "k1",
        x,
        d: Some(d),
        ..Jwk::default()
    }
}

#[test]
fn what_is_no_key_is_named() {
    let (d, short) = (Secret::new(OKP_D), Secret::new("AAAA"));
    let good = okp(&d, OKP_X);
    let with = |jwk: Jwk<'_>, algorithm| AssertionKey::new(&jwk, algorithm).unwrap_err();
    assert_eq!(with(Jwk::default(), None), JwkError::Missing("kty"));
    for (jwk, expected) in [
        (Jwk { kty: "oct", ..good }, JwkError::UnsupportedType),
        (
            Jwk {
                crv: "X25519",
                ..good
            },
            JwkError::UnsupportedCurve,
        ),
        (
            Jwk {
                kty: "EC",
                crv: "P-521",
                ..good
            },
            JwkError::UnsupportedCurve,
        ),
        (Jwk { d: None, ..good }, JwkError::Missing("d")),
        (Jwk { x: "", ..good }, JwkError::Missing("x")),
        (Jwk { x: "!", ..good }, JwkError::Member("x")),
        (
            Jwk {
                d: Some(&short),
                ..good
            },
            JwkError::Member("d"),
        ),
        (Jwk { x: OKP_D, ..good }, JwkError::NotAKey),
        (
            Jwk {
                alg: "ES512",
                ..good
            },
            JwkError::UnknownAlgorithm,
        ),
        (
            Jwk {
                alg: "ES256",
                ..good
            },
            JwkError::WrongAlgorithm("ES256"),
        ),
        (Jwk { kty: "RSA", ..good }, JwkError::Missing("n")),
        (
            Jwk {
                kty: "EC",
                crv: "P-256",
                ..good
            },
            JwkError::Missing("y"),
        ),
        (
            Jwk {
                kty: "EC",
                crv: "P-256",
                y: OKP_X,
                ..good
            },
            JwkError::NotAKey,
        ),
        (
            Jwk {
                kty: "RSA",
                n: "AQAB",
                e: "AQAB",
                p: Some(&d),
                q: Some(&d),
                dp: Some(&d),
                dq: Some(&d),
                qi: Some(&d),
                ..good
            },
            JwkError::NotAKey,
        ),
    ] {
        assert_eq!(with(jwk, None), expected);
    }
    let wrong = JwkError::WrongAlgorithm("RS256");
    assert_eq!(with(good, Some(Algorithm::Rs256)), wrong);
}

#[test]
fn an_edwards_key_signs_tokens_that_its_public_half_verifies() {
    let d = Secret::new(OKP_D);
    let key = AssertionKey::new(&okp(&d, OKP_X), None).unwrap();
    let token = key.sign(&json!({"iss": "me"})).unwrap();
    let public = URL_SAFE_NO_PAD.decode(OKP_X).unwrap();
    let (head, claims) = check(&token, &signature::ED25519, &public);
    assert_eq!(head, json!({"alg": "EdDSA", "typ": "JWT", "kid": "k1"}));
    assert_eq!(claims, json!({"iss": "me"}));
    let printed = format!("{key:?}");
    assert_eq!(printed, "AssertionKey(EdDSA, ***)");
}

#[test]
fn keys_on_curves_sign_tokens_that_their_public_halves_verify() {
    let verifying: [(_, _, _, &'static dyn VerificationAlgorithm); 2] = [
        (
            &rcgen::PKCS_ECDSA_P256_SHA256,
            "P-256",
            32,
            &signature::ECDSA_P256_SHA256_FIXED,
        ),
        (
            &rcgen::PKCS_ECDSA_P384_SHA384,
            "P-384",
            48,
            &signature::ECDSA_P384_SHA384_FIXED,
        ),
    ];
    for (algorithm, crv, length, verifies) in verifying {
        let [d, x, y] = ec(algorithm, length);
        let d = Secret::new(d);
        let jwk = Jwk {
            kty: "EC",
            crv,
            x: &x,
            y: &y,
            d: Some(&d),
            ..Jwk::default()
        };
        let key = AssertionKey::new(&jwk, None).unwrap();
        let token = key.sign(&json!({"n": 1})).unwrap();
        let Pair::Ecdsa(pair) = &key.pair else {
            panic!("{key:?}");
        };
        let (head, _) = check(&token, verifies, pair.public_key().as_ref());
        assert_eq!(head, json!({"alg": key.algorithm().as_str(), "typ": "JWT"}));
        let crossed = Jwk { x: &y, ..jwk };
        let refused = AssertionKey::new(&crossed, None).unwrap_err();
        assert_eq!(refused, JwkError::NotAKey);
    }
}

/// The key of RFC 7515, appendix A.2.
fn rsa_key() -> Value {
    serde_json::from_str(include_str!("rfc7515-a2.json")).unwrap()
}

#[test]
fn an_rsa_key_signs_by_each_of_its_algorithms() {
    let member = rsa_key();
    let text = |name: &str| member[name].as_str().unwrap();
    let secrets = ["d", "p", "q", "dp", "dq", "qi"].map(|name| Secret::new(text(name)));
    let [d, p, q, dp, dq, qi] = &secrets;
    let jwk = Jwk {
        kty: "RSA",
        n: text("n"),
        e: text("e"),
        d: Some(d),
        p: Some(p),
        q: Some(q),
        dp: Some(dp),
        dq: Some(dq),
        qi: Some(qi),
        ..Jwk::default()
    };
    assert_eq!(
        AssertionKey::new(&jwk, None).unwrap().algorithm(),
        Algorithm::Rs256
    );
    let verifying: [(_, &'static dyn VerificationAlgorithm); 6] = [
        (Algorithm::Rs256, &signature::RSA_PKCS1_2048_8192_SHA256),
        (Algorithm::Rs384, &signature::RSA_PKCS1_2048_8192_SHA384),
        (Algorithm::Rs512, &signature::RSA_PKCS1_2048_8192_SHA512),
        (Algorithm::Ps256, &signature::RSA_PSS_2048_8192_SHA256),
        (Algorithm::Ps384, &signature::RSA_PSS_2048_8192_SHA384),
        (Algorithm::Ps512, &signature::RSA_PSS_2048_8192_SHA512),
    ];
    for (algorithm, verifies) in verifying {
        let key = AssertionKey::new(&jwk, Some(algorithm)).unwrap();
        let token = key.sign(&json!({"n": 1})).unwrap();
        let Pair::Rsa(pair) = &key.pair else {
            panic!("{key:?}");
        };
        let (head, _) = check(&token, verifies, pair.public_key().as_ref());
        assert_eq!(head["alg"], algorithm.as_str());
    }
    // The published signature of the appendix: PKCS #1 signatures have no chance in them.
    let key = AssertionKey::new(&jwk, Some(Algorithm::Rs256)).unwrap();
    let Pair::Rsa(pair) = &key.pair else {
        panic!("{key:?}");
    };
    let mut made = vec![0; pair.public().modulus_len()];
    let signed = text("signing_input").as_bytes();
    pair.sign(&RSA_PKCS1_SHA256, &key.random, signed, &mut made)
        .unwrap();
    assert_eq!(coded(&made), text("signature"));
    // One of another key in between.
    let crossed = Jwk { p: Some(q), ..jwk };
    let refused = AssertionKey::new(&crossed, None).unwrap_err();
    assert_eq!(refused, JwkError::NotAKey);
}

#[test]
fn every_algorithm_has_its_word() {
    for algorithm in Algorithm::ALL {
        assert_eq!(Algorithm::of_word(algorithm.as_str()), Some(algorithm));
        assert!(Algorithm::WORDS.contains(&algorithm.as_str()));
    }
    assert_eq!(Algorithm::of_word("ES512"), None);
}
