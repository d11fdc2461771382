# Receivers: has the library of each case judge a delivery as it arrived, with a byte of its body
# changed, and by another secret. Prints what it said of each.
import base64, json, sys
from convoy.utils.webhook import InvalidSignature, Webhook
from slack_sdk.signature import SignatureVerifier

def convoy(given, body, secret):
    webhook = Webhook(secret=secret, hash=given["hash"], encoding=given["encoding"])
    try:
        return webhook.verify_signature(body, headers["x-convoy-signature"])
    except InvalidSignature:
        return False

def slack(given, body, secret):
    verifier = SignatureVerifier(secret)
    return verifier.is_valid(body, headers["x-slack-request-timestamp"], headers["x-slack-signature"])

given = json.loads(sys.argv[1])
headers, body = given["headers"], base64.b64decode(given["body"]).decode()

def judged(case):
    judge = {"convoy": convoy, "slack": slack}[case["library"]]
    return {
        "library": case["library"],
        "arrived": judge(case, body, case["secret"]),
        "altered": judge(case, body.replace("1250", "1251"), case["secret"]),
        "other": judge(case, body, case["other"]),
    }

print(json.dumps([judged(case) for case in given["cases"]]))
