// The library only verifies; the signature is made as Square's documentation says.
import { createHmac } from "node:crypto";
import { WebhooksHelper } from "square";

const { secret, url, body } = JSON.parse(process.argv[2]);
const request = async (name, key, signedUrl, refused) => {
  const signature = createHmac("sha256", key).update(signedUrl + body).digest("base64");
  const isValid = await WebhooksHelper.verifySignature({ requestBody: body, signatureHeader: signature, signatureKey: secret, notificationUrl: url });
  if (isValid !== !refused) throw new Error(`the library judges "${name}" otherwise`);
  return {
    name,
    headers: { "content-type": "application/json", "x-square-hmacsha256-signature": signature },
    body: Buffer.from(body).toString("base64"),
    refused,
  };
};
console.log(JSON.stringify([
  await request("signed", secret, url),
  await request("another key", "other", url, "signature_mismatch"),
  await request("signed for another address", secret, url + "/x", "signature_mismatch"),
]));
