// The libraries standardwebhooks and svix sign alike, under headers of their own names.
const { secret, body, library } = JSON.parse(process.argv[2]);
const { Webhook } = await import(library);
const prefix = { standardwebhooks: "webhook", svix: "svix" }[library];
const other = "whsec_" + Buffer.alloc(24, 7).toString("base64");
const request = (name, ageS, key, refused) => {
  const id = "msg_" + crypto.randomUUID();
  const at = new Date(Date.now() - ageS * 1000);
  const headers = {
    [`${prefix}-id`]: id,
    [`${prefix}-timestamp`]: String(Math.floor(at.getTime() / 1000)),
    [`${prefix}-signature`]: new Webhook(key).sign(id, at, body),
  };
  let isValid = true;
  try { new Webhook(secret).verify(body, headers); } catch { isValid = false; }
  if (isValid !== !refused) throw new Error(`the library judges "${name}" otherwise`);
  return { name, headers: { "content-type": "application/json", ...headers }, body: Buffer.from(body).toString("base64"), refused };
};
console.log(JSON.stringify([
  request("signed now", 0, secret),
  request("too old", 302, secret, "timestamp_too_old"),
  request("too far ahead", -304, secret, "timestamp_in_future"),
  request("another secret", 0, other, "signature_mismatch"),
]));
