// The places of the client table, by the Node client that is named in the first argument.
// Prints a line for each place: its name and the status of the answer, or `refused`.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [, , client, modules] = process.argv;
const require = createRequire(modules + "/");
const load = async (name) => import(pathToFileURL(require.resolve(name)));

const BASE = "https://api.example.test";
const P = "<<pat>>";
const BASIC = "Basic " + Buffer.from(`user:${P}`).toString("base64");
const form = () => new URLSearchParams({ k: P, b: "1" });

// Each client as a function of method, URL and options, which returns the status.
const clients = {
  async fetch() {
    return (url, options) => fetch(url, fetchOptions(options)).then(statusOf);
  },
  async undici() {
    const undici = (await load("undici")).default;
    undici.setGlobalDispatcher(new undici.EnvHttpProxyAgent());
    return (url, options) => undici.fetch(url, fetchOptions(options)).then(statusOf);
  },
  async axios() {
    const axios = (await load("axios")).default;
    return async (url, { query, form, json, basic, ...rest }) => {
      const auth = basic && { username: "user", password: P };
      const data = form ?? json;
      const validateStatus = () => true;
      const answer = await axios.request({ url, params: query, data, auth, validateStatus, ...rest });
      return answer.status;
    };
  },
  async got() {
    const got = (await load("got")).default;
    return async (url, { query, form, json, basic, ...rest }) => {
      const auth = basic && { username: "user", password: P };
      const body = form ? { form: Object.fromEntries(form) } : json && { json };
      const options = { searchParams: query, throwHttpErrors: false, retry: { limit: 0 } };
      const answer = await got(url, { ...options, ...body, ...auth, ...rest });
      return answer.statusCode;
    };
  },
};

async function statusOf(answer) {
  await answer.text();
  return answer.status;
}

function fetchOptions({ json, form, basic, query, headers = {}, ...rest }) {
  if (basic) headers = { ...headers, Authorization: BASIC };
  if (json) headers = { ...headers, "Content-Type": "application/json" };
  return { ...rest, headers, body: form ?? (json && JSON.stringify(json)) };
}

const ask = await clients[client]();
const isFetch = client === "fetch" || client === "undici";
const queried = isFetch ? [`${BASE}/query?${form()}`, {}] : [`${BASE}/query`, { query: form() }];
const places = {
  header: [`${BASE}/header`, { headers: { "X-Api-Key": P } }],
  typed: [`${BASE}/typed?k=${P}&b=1`, {}],
  query: queried,
  path: [`${BASE}/path/${P}/x`, {}],
  form: [`${BASE}/form`, { method: "POST", form: form() }],
  json: [`${BASE}/json`, { method: "POST", json: { k: P, n: 1 } }],
  basic: [`${BASE}/basic`, { basic: true }],
  userinfo: [`https://user:${P}@api.example.test/userinfo`, {}],
  unknown: [`${BASE}/unknown`, { headers: { "X-Api-Key": "<<nope>>" } }],
};
for (const [place, [url, options]] of Object.entries(places)) {
  try {
    console.log(place, await ask(url, options));
  } catch (refusal) {
    console.error(place, refusal);
    console.log(place, "refused");
  }
}
process.exit(0);
