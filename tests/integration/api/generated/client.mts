// What a program does with the types that were generated from the API's document.
//
// Arguments: the URL of the server. In the environment: API_TOKEN, and VALUE, which is saved.

import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

function check(holds: unknown, what: string): asserts holds {
  if (!holds) throw new Error(what);
}

const [url, token, value] = [process.argv[2], process.env.API_TOKEN, process.env.VALUE];
const client = createClient<paths>({
  baseUrl: url,
  headers: { Authorization: `Bearer ${token}` },
});
const path = { owner: "alice", slug: "typed" };
const one = "/api/v1/credentials/{owner}/{slug}";

const made = await client.PUT(one, {
  params: { path, header: { "If-None-Match": "*" } },
  body: { value, hosts: ["api.example.test"] },
});
const details: components["schemas"]["CredentialDetails"] | undefined = made.data;
check(made.response.status === 201 && details?.version === 1, "it is saved");
const again = await client.PUT(one, {
  params: { path, header: { "If-None-Match": "*" } },
  body: { value, hosts: ["api.example.test"] },
});
check(again.error?.code === "conflict", "it is there already");
const wrong = await client.PUT(one, {
  params: { path: { ...path, slug: "other" }, header: { "If-None-Match": "*" } },
  // @ts-expect-error It has to be a list, which the compiler knows, and the server says.
  body: { value, hosts: "api.example.test" },
});
check(wrong.error?.errors?.[0].field === "hosts", "it has to be a list");

const seen = await client.GET(one, { params: { path } });
const tag = seen.response.headers.get("etag") ?? "";
const limits = await client.PUT("/api/v1/credentials/{owner}/{slug}/limits", {
  params: { path, header: { "If-Match": tag } },
  body: { hosts: ["api.example.test"], methods: ["GET"] },
});
check(limits.data?.methods[0] === "GET", "it is narrowed");
const late = await client.POST("/api/v1/credentials/{owner}/{slug}/revoke", {
  params: { path, header: { "If-Match": tag } },
});
check(late.response.status === 412, "it was changed in the meantime");
const listed = await client.GET("/api/v1/credentials", { params: { query: { limit: 500 } } });
check(listed.data?.items.some((item) => item.slug === "typed"), "it is listed");
check(!JSON.stringify([made.data, limits.data, listed.data]).includes(value ?? "-"), "no value");
const gone = await client.DELETE(one, { params: { path, header: { "If-Match": "*" } } });
check(gone.response.status === 204, "it is deleted");
console.log("done");
