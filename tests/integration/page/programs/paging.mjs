// Long lists of clients, tokens, users, groups and members: in parts, with and without a script.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { ORIGIN, claim, finish, launch, look, looks, open } from "./browser.mjs";

const browser = await launch();
const page = await open(browser);
await claim(page, "alice", "a long enough password");

const MANY = 60;
const name = (number) => `${String(number).padStart(3, "0")}`;
const numbers = Array.from({ length: MANY }, (_, number) => name(number));
const file = [
  ...numbers.map((number) => `[users.user-${number}]`),
  ...numbers.map((number) => `[groups.group-${number}]`),
  `[groups.all]\nmembers = [${numbers.map((number) => `"user-${number}"`).join(", ")}]`,
].join("\n");
execFileSync(process.env.PROGRAM, ["apply", "-"], { input: file, encoding: "utf8" });
const saved = await page.evaluate(async (numbers) => {
  const post = async (path, fields) => (await fetch(path, { method: "POST", body: new URLSearchParams(fields) })).status;
  const found = new Set();
  for (const number of numbers) {
    found.add(await post("/settings/clients", { name: `client-${number}`, expires: "90d" }));
    found.add(await post("/settings/tokens", { name: `token ${number}`, scope: "read", expires: "30d" }));
  }
  return [...found];
}, numbers);
assert.deepEqual(saved, [200]);

const lists = [
  ["clients", "/settings/clients", "client-000", "client-059"],
  ["tokens", "/settings/tokens", "", ""],
  ["users", "/settings/people", "user-000", "user-059"],
  ["groups", "/settings/people", "group-000", "group-059"],
  ["members of all", "/settings/people", "user-000 from all", "user-059 from all"],
];
const state = await page.context().storageState();
const plain = await open(browser, { storageState: state, javaScriptEnabled: false });
const later = [];
for (const [of, path, first, last] of lists) {
  for (const [at, how] of [[page, "scripted"], [plain, "plain"]]) {
    await at.goto(ORIGIN + path);
    const said = () => at.locator("main").innerText();
    if (first) assert.match(await said(), new RegExp(first));
    await at.getByRole("link", { name: `Next page of ${of}`, exact: true }).click();
    await at.waitForURL(/after=/);
    if (last) assert.match(await said(), new RegExp(last));
    await look(at, `93-${how}-${of.replaceAll(" ", "-")}`, { scan: how === "scripted" });
    if (how === "scripted") later.push([`later-${of.replaceAll(" ", "-")}`, at.url().slice(ORIGIN.length)]);
    await at.getByRole("link", { name: `First page of ${of}`, exact: true }).click();
    await at.waitForURL((url) => url.href.startsWith(ORIGIN + path) && !/after=/.test(url.search));
    if (first) assert.match(await said(), new RegExp(first));
  }
}

// A form of a later part leads back to it.
await plain.goto(ORIGIN + later.find(([at]) => at === "later-users")[1]);
await plain.getByRole("button", { name: "Disable user-055", exact: true }).click();
await plain.waitForURL(/done=user-changed/);
assert.match(await plain.locator("main").innerText(), /user-055[^]*Disabled/);

await looks(browser, state, later);
await finish(browser);
