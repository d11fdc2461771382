// The library makes test headers itself.
import Stripe from "stripe";

const { secret, body } = JSON.parse(process.argv[2]);
const now = Math.floor(Date.now() / 1000);
const { webhooks } = new Stripe("sk_test_x");
const sign = (options) => webhooks.generateTestHeaderString({ payload: body, secret, ...options });
const request = (name, header, refused) => ({
  name,
  headers: { "content-type": "application/json; charset=utf-8", "stripe-signature": header },
  body: Buffer.from(body).toString("base64"),
  refused,
});
console.log(JSON.stringify([
  request("signed now", sign({})),
  request("signed with two secrets", sign({ secret: "whsec_old" }) + "," + sign({}).split(",")[1]),
  request("301 seconds old", sign({ timestamp: now - 301 }), "timestamp_too_old"),
  request("another scheme only", sign({ scheme: "v0" }), "malformed_signature"),
  request("another secret", sign({ secret: "whsec_other" }), "signature_mismatch"),
]));
