// The library only verifies requests; its own HMAC signs them.
import "@shopify/shopify-api/adapters/node";
import { ApiVersion, LogSeverity, shopifyApi } from "@shopify/shopify-api";
import { createSHA256HMAC, HashFormat } from "@shopify/shopify-api/runtime";

const { secret, body } = JSON.parse(process.argv[2]);
const shopify = shopifyApi({
  apiKey: "key",
  apiSecretKey: secret,
  hostName: "shop.example",
  apiVersion: Object.values(ApiVersion).at(-1),
  isEmbeddedApp: true,
  logger: { level: LogSeverity.Error },
});
const request = async (name, key, refused) => {
  const headers = {
    "content-type": "application/json",
    "x-shopify-topic": "orders/create",
    "x-shopify-hmac-sha256": await createSHA256HMAC(key, body, HashFormat.Base64),
    "x-shopify-shop-domain": "shop.myshopify.com",
    "x-shopify-api-version": "2026-01",
    "x-shopify-webhook-id": crypto.randomUUID(),
  };
  const judged = await shopify.webhooks.validate({ rawBody: body, rawRequest: { method: "POST", url: "/", headers }, rawResponse: {} });
  if (judged.valid !== !refused) throw new Error(`the library judges "${name}" otherwise: ${JSON.stringify(judged)}`);
  return { name, headers, body: Buffer.from(body).toString("base64"), refused };
};
console.log(JSON.stringify([
  await request("signed", secret),
  await request("another secret", "other", "signature_mismatch"),
]));
