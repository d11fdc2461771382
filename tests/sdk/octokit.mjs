// The library signs.
import { sign, verify } from "@octokit/webhooks-methods";

const { secret, body } = JSON.parse(process.argv[2]);
const request = async (name, key, refused) => {
  const signature = await sign(key, body);
  if (await verify(secret, body, signature) !== !refused) throw new Error(`the library judges "${name}" otherwise`);
  return {
    name,
    headers: {
      "content-type": "application/json",
      "x-github-event": "push",
      "x-github-delivery": crypto.randomUUID(),
      "x-hub-signature-256": signature,
    },
    body: Buffer.from(body).toString("base64"),
    refused,
  };
};
console.log(JSON.stringify([
  await request("signed", secret),
  await request("another secret", "other", "signature_mismatch"),
]));
