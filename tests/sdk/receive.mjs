// Receivers: has the library of each case judge a delivery as it arrived, with a byte of its body
// changed, and by another secret. Prints what it said of each.
import { verify as octokit } from "@octokit/webhooks-methods";
import { WebhooksHelper } from "square";
import { Webhook as StandardWebhook } from "standardwebhooks";
import Stripe from "stripe";
import { Webhook as SvixWebhook } from "svix";

// Each returns whether it accepts, or throws where that is the library's way to refuse.
const libraries = {
  standardwebhooks: ({ secret, body, headers }) => new StandardWebhook(secret).verify(body, headers),
  svix: ({ secret, body, headers }) => new SvixWebhook(secret).verify(body, headers),
  stripe: ({ secret, body, headers }) => new Stripe("sk_test_x").webhooks.constructEvent(body, headers["stripe-signature"], secret),
  octokit: ({ secret, body, headers }) => octokit(secret, body, headers["x-hub-signature-256"]),
  square: ({ secret, body, headers, url }) => WebhooksHelper.verifySignature({
    requestBody: body, signatureHeader: headers["x-square-hmacsha256-signature"], signatureKey: secret, notificationUrl: url,
  }),
};

const judge = async (library, delivery) => {
  try {
    return (await libraries[library](delivery)) !== false;
  } catch (error) {
    if (!/signature/i.test(`${error.name} ${error.message}`)) throw error;
    return false;
  }
};

const { url, headers, body, cases } = JSON.parse(process.argv[2]);
const said = [];
for (const { library, secret, other, only } of cases) {
  const kept = Object.fromEntries(Object.entries(headers).filter(([name]) => !only || name.startsWith(only)));
  const delivery = { url, secret, headers: kept, body: Buffer.from(body, "base64").toString() };
  said.push({
    library,
    arrived: await judge(library, delivery),
    altered: await judge(library, { ...delivery, body: delivery.body.replace("1250", "1251") }),
    other: await judge(library, { ...delivery, secret: other }),
  });
}
console.log(JSON.stringify(said));
