# The library signs: its verifier makes the signature it expects.
import base64, json, sys, time
from slack_sdk.signature import SignatureVerifier

given = json.loads(sys.argv[1])
now = int(time.time())

def request(name, at, secret=given["secret"], refused=None):
    signature = SignatureVerifier(secret).generate_signature(timestamp=str(at), body=given["body"])
    valid = SignatureVerifier(given["secret"]).is_valid(given["body"], str(at), signature)
    assert valid == (refused is None), f"the library judges {name!r} otherwise"
    return {
        "name": name,
        "headers": {
            "content-type": "application/json",
            "x-slack-request-timestamp": str(at),
            "x-slack-signature": signature,
        },
        "body": base64.b64encode(given["body"].encode()).decode(),
        "refused": refused,
    }

print(json.dumps([
    request("signed now", now),
    request("301 seconds old", now - 301, refused="timestamp_too_old"),
    request("another secret", now, "other", "signature_mismatch"),
]))
