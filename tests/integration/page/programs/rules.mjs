// A key that its service refuses, where clients go and may go, API tokens, and bundles.
import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { HOST, ORIGIN, PROXY, CA, VALUES, claim, client, finish, get, launch, look, looks, open, send, textOf, until } from "./browser.mjs";

const [FIRST] = VALUES;
const browser = await launch();
const page = await open(browser, { viewport: { width: 1280, height: 860 } });
const press = (name) => page.getByRole("button", { name }).first().click();
await claim(page, "alice", "correct horse battery");
await page.goto(`${ORIGIN}/settings/credentials/new`);
await page.getByLabel("Slug").fill("crm-key");
await page.locator("#value").fill(FIRST);
await page.getByLabel("Hosts").fill(HOST);
await page.getByLabel("Expires").fill("5d");
await press("Save credential");
await page.waitForURL(/\/start/);
const token = await client(page, "laptop");
const header = "X-Api-Key: <<crm-key>>";

// The service refuses it three times: that is the first thing one sees.
for (const path of ["/a", "/b", "/c"]) assert.equal(send(token, "report", path, header), 401);
await until("it is named as rejected", async () => {
  await page.goto(`${ORIGIN}/`);
  return /Rejected/.test(await textOf(page, ".attention"));
});
await until("its requests are shown", async () => {
  await page.goto(`${ORIGIN}/`);
  return /GET .*\/[abc]: 401 for report/.test(await textOf(page, ".attention"));
});
await look(page, "40-overview-rejected");
await page.getByRole("link", { name: /All such requests/ }).click();
await page.waitForURL(/outcome=401/);
await until("all three are listed", async () => {
  await page.reload();
  return (await page.locator("table.usage tbody tr").count()) === 3;
});
await page.goto(`${ORIGIN}/settings/credentials`);
assert.match(await page.locator("tbody tr").first().innerText(), /Rejected/);
await look(page, "41-credentials-rejected");
assert.equal(send(token, "report", "/fine", header), 200);
await until("it is accepted again", async () => {
  await page.goto(`${ORIGIN}/`);
  return !/Rejected/.test(await page.locator("main").innerText());
});
assert.match(await page.locator(".attention").first().innerText(), /Expires soon/);

// Observed, and then kept with one click.
const rule = async (fields) => {
  await page.goto(`${ORIGIN}/settings/rules`);
  await page.getByLabel("Rule", { exact: true }).selectOption(fields.rule);
  await page.getByLabel("Whom").fill(fields.whom);
  await page.locator("#hosts").fill(fields.hosts ?? "");
  await press("Add rule");
};
await page.goto(`${ORIGIN}/settings/rules`);
assert.match(await page.locator("main").innerText(), /laptop/);
await look(page, "42-rules-empty");
await rule({ rule: "observe", whom: "client:no such name" });
await page.waitForSelector("[role=alert]");
assert.equal(await page.getByLabel("Whom").inputValue(), "client:no such name");
await look(page, "43-rules-wrong");
await rule({ rule: "observe", whom: "client:laptop" });
await page.waitForURL(/done=rule-added/);
assert.equal(send(token, "<script>alert(1)</script>", "/observed", "Accept: */*"), 200);
await until("the rule that fits is shown", async () => {
  await page.goto(`${ORIGIN}/settings/rules`);
  return /Rules that would fit/.test(await textOf(page, "main"));
});
assert.equal(send(token, "report", "/own", "Authorization: Bearer brought-by-the-client-1234567890"), 200);
await until("the key that it brought is named, and not shown", async () => {
  await page.goto(`${ORIGIN}/settings/rules`);
  const text = await page.locator("main").innerText();
  assert.doesNotMatch(text, /brought-by/);
  return /Keys that Egret does not hold[\s\S]*header:authorization/.test(text);
});
await look(page, "44-rules-fit");
await looks(browser, await page.context().storageState(), [["rules", "/settings/rules"], ["tokens", "/settings/tokens"], ["people-2", "/settings/people"]]);
await press(/Allow this host/);
await page.waitForURL(/done=rule-added/);

// Denied elsewhere: nothing that was done is refused, so it is saved. A host that was used is asked about.
await rule({ rule: "deny", whom: "client:laptop" });
await page.waitForURL(/done=rule-added/);
assert.equal(send(token, "report", "/allowed", header), 200);
const elsewhere = () => new Promise((resolve) => execFile("curl", ["-s", "-o", "/dev/null", "-w", "%{http_connect}", "--cacert", CA, "-x", `http://report:${token}@${new URL(PROXY).host}`, "https://other.example.test/"], { encoding: "utf8" }, (_, out) => resolve(out)));
assert.equal(await elsewhere(), "403");
await until("the refusal is shown", async () => {
  await page.goto(`${ORIGIN}/settings/rules`);
  return /other\.example\.test/.test(await textOf(page, "table"));
});
await rule({ rule: "deny", whom: "client:laptop", hosts: HOST });
await page.waitForSelector("[role=alert]");
assert.match(await page.locator("[role=alert]").innerText(), new RegExp(`laptop to https://${HOST}`));
await look(page, "45-rules-sure");
await page.getByLabel("Refuse such requests").check();
await press("Add rule");
await page.waitForURL(/done=rule-added/);
const denied = execFileSync("sh", ["-c", 'curl -s -o /dev/null -w "%{http_connect}" --cacert "$1" -x "$2" "$3" || true', "sh", CA, `http://report:${token}@${new URL(PROXY).host}`, `https://${HOST}/denied`], { encoding: "utf8" });
assert.equal(denied, "403");
assert.match((await page.locator(".notice.warn").allInnerTexts()).join("\n"), /this rule covers rule \d+ \(allow\), which changes nothing from now on/);
await look(page, "46-rules");
await press(new RegExp(`Remove deny client:laptop ${HOST}`));
await page.waitForURL(/done=rule-removed/);

// What ends without a rule is said before it goes.
await press(/Remove allow client:laptop/);
await page.getByRole("heading", { name: "Remove this rule?" }).waitFor();
assert.match(await page.locator("main").innerText(), new RegExp(`refused from now on: laptop to https://${HOST}`));
await look(page, "46-rule-ends");
await press(/^Remove$/);
await page.waitForURL(/done=rule-removed/);

// An API token: made, shown once, used, revoked.
await page.goto(`${ORIGIN}/settings/tokens`);
await look(page, "47-tokens-empty");
await page.getByLabel("What for").fill("deploy <b>");
await page.getByLabel("Works for").fill("never");
await press("Make token");
await page.waitForSelector("[role=alert]");
await page.getByLabel("Works for").fill("7d");
await page.getByLabel("manage").check();
await press("Make token");
await page.waitForSelector(".code");
const made = await page.locator(".code code").first().innerText();
assert.match(made, /^egp_/);
await look(page, "48-token");
const me = () => execFileSync("curl", ["-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", `Authorization: Bearer ${made}`, "--connect-to", `egret.localhost:${new URL(ORIGIN).port}:127.0.0.1:${new URL(ORIGIN).port}`, `${ORIGIN}/api/v1/me`], { encoding: "utf8" });
assert.equal(me(), "200");
await page.goto(`${ORIGIN}/settings/tokens`);
assert.doesNotMatch(await page.content(), new RegExp(made));
assert.match(await page.locator("tbody tr").first().innerText(), /deploy <b>[\s\S]*just now/);
await look(page, "49-tokens");
await page.getByRole("link", { name: /Revoke deploy/ }).click();
await page.waitForURL(/\/revoke$/);
assert.match(await page.locator("main").innerText(), /last used just now/);
await look(page, "49-token-revoke");
await press(/^Revoke/);
await page.waitForURL(/done=token-revoked/);
assert.equal(me(), "401");

// A bundle is shared as one, and the share ended.
await page.goto(`${ORIGIN}/settings/people`);
await page.getByText("Add a user").click();
await page.locator("#u-name").fill("bob");
await press("Add user");
await page.waitForURL(/done=user-added/);
await page.getByText("Add a bundle").click();
await page.locator("#b-name").fill("work");
await press("Add bundle");
await page.waitForURL(/done=bundle-changed/);
await page.getByLabel("Slug to put into alice/work").fill("crm-key");
await press(/Put in ?to alice\/work/);
await page.waitForURL(/done=bundle-changed/);
await page.getByLabel("With whom to share alice/work").fill("bob");
await press(/^Share alice\/work/);
await until("it is shared", async () => /shared with\s+bob/.test(await page.locator(".card").last().innerText()));
await look(page, "50-bundle-shared");
await press(/End the share of alice\/work with bob/);
await until("the share is ended", async () => !/shared with/.test(await page.locator(".card").last().innerText()));

// A group that something names stays, and one that nothing names goes.
const addGroup = async (name) => {
  await page.getByText("Add a group").click();
  await page.locator("#g-name").fill(name);
  await press("Add group");
  await page.waitForURL(/done=group-changed/);
};
const removeGroup = async (name) => {
  const card = page.locator(".card", { has: page.getByRole("heading", { name, exact: true }) });
  await card.locator("summary").click();
  await card.locator("button.danger").click();
};
await addGroup("ops");
await addGroup("spare");
await page.getByLabel("With whom to share alice/work").fill("group:ops");
await press(/^Share alice\/work/);
await until("it is shared", async () => /shared with\s+group:ops/.test(await page.locator(".card").last().innerText()));
await removeGroup("spare");
await page.waitForURL(/done=group-removed/);
assert.doesNotMatch(await page.locator("main").innerText(), /spare/);
await look(page, "51-groups");
await removeGroup("ops");
await page.getByText("still named by bundle alice/work").waitFor();
await look(page, "52-group-in-use");
assert.equal((await get(page, `${ORIGIN}/settings/nothing`)).status, 404);
await finish(browser);
