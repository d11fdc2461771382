// The library computes the signature it expects, of a form and of a body whose digest is in the query.
import twilio from "twilio";

const { secret, url, body } = JSON.parse(process.argv[2]);
const form = { From: "+14155550100", To: "+14155550199", Body: "Grüße & more", NumMedia: "0" };
const encoded = new URLSearchParams(form).toString();
const asForm = (name, key, refused) => {
  const signature = twilio.getExpectedTwilioSignature(key, url, form);
  if (twilio.validateRequest(secret, signature, url, form) !== !refused) throw new Error(`the library judges "${name}" otherwise`);
  return {
    name,
    headers: { "content-type": "application/x-www-form-urlencoded; charset=UTF-8", "x-twilio-signature": signature },
    body: Buffer.from(encoded).toString("base64"),
    refused,
  };
};
const asJson = (name, digest, refused) => {
  const query = `bodySHA256=${digest}`;
  const signature = twilio.getExpectedTwilioSignature(secret, `${url}?${query}`, {});
  if (twilio.validateRequestWithBody(secret, signature, `${url}?${query}`, body) !== !refused) throw new Error(`the library judges "${name}" otherwise`);
  return {
    name,
    query,
    headers: { "content-type": "application/json", "x-twilio-signature": signature },
    body: Buffer.from(body).toString("base64"),
    refused,
  };
};
console.log(JSON.stringify([
  asForm("a form", secret),
  asForm("another token", "other", "signature_mismatch"),
  asJson("a body with its digest", twilio.getExpectedBodyHash(body)),
  asJson("the digest of another body", twilio.getExpectedBodyHash("{}"), "body_digest_mismatch"),
]));
