// The library only verifies. `secret` is the public key that the gateway has, `private` the key that signs.
import { createSign, generateKeyPairSync } from "node:crypto";
import sendgrid from "@sendgrid/eventwebhook";

const { body, secret, private: key } = JSON.parse(process.argv[2]);
const { EventWebhook } = sendgrid;
const sent = body + "\r\n"; // their bodies end so, and it is signed
const request = (name, ageS, privateKey, refused) => {
  const at = String(Math.floor(Date.now() / 1000) - ageS);
  const signature = createSign("sha256").update(at + sent).sign(privateKey).toString("base64");
  return {
    name,
    headers: {
      "content-type": "application/json",
      "x-twilio-email-event-webhook-signature": signature,
      "x-twilio-email-event-webhook-timestamp": at,
    },
    body: Buffer.from(sent).toString("base64"),
    refused,
  };
};
const verifier = new EventWebhook();
const isValid = ({ headers }) => verifier.verifySignature(
  verifier.convertPublicKeyToECDSA(secret), sent,
  headers["x-twilio-email-event-webhook-signature"], headers["x-twilio-email-event-webhook-timestamp"]);
const other = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
const good = request("signed now", 0, key);
const forged = request("another key", 0, other, "signature_mismatch");
if (!isValid(good) || isValid(forged)) throw new Error("the library judges otherwise");
console.log(JSON.stringify([good, forged, request("too old", 302, key, "timestamp_too_old")]));
