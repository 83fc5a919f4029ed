// Uses that an owner is asked about, and credentials that a client asks for.
import assert from "node:assert/strict";
import { HOST, ORIGIN, VALUES, begin, claim, client, finish, launch, look, looks, open, send, until } from "./browser.mjs";

const [FIRST, SECOND] = VALUES;
const browser = await launch();
const page = await open(browser, { viewport: { width: 1280, height: 860 } });
const press = (name) => page.getByRole("button", { name }).first().click();
await claim(page, "alice", "correct horse battery");

// A credential that asks about each use.
await page.goto(`${ORIGIN}/approvals`);
await look(page, "30-approvals-empty");
await page.goto(`${ORIGIN}/settings/credentials/new`);
await page.getByLabel("Slug").fill("crm-key");
await page.locator("#value").fill(FIRST);
await page.getByLabel("Hosts").fill(HOST);
await page.getByLabel("At most").fill("lots");
await page.getByLabel("Ask me").selectOption("always");
await press("Save credential");
await page.waitForSelector("[role=alert]");
assert.equal(await page.getByLabel("Ask me").inputValue(), "always");
await page.locator("#value").fill(FIRST);
await page.getByLabel("At most").fill("100/h");
await press("Save credential");
await page.waitForURL(/\/start/);
const token = await client(page, "laptop");
const header = "X-Api-Key: <<crm-key>>";

// A question arrives while the page is open. Its action is hostile, and only text.
await page.goto(`${ORIGIN}/approvals`);
const once = begin(token, "<script>alert(1)</script>", "/once", header);
await page.waitForSelector("article");
assert.match(await page.locator("article").innerText(), /<script>alert\(1\)<\/script>/);
await look(page, "31-approvals-waiting");
await page.goto(`${ORIGIN}/`);
assert.match(await page.locator("main section").first().innerText(), /laptop wants to use crm-key/);
await look(page, "32-overview-waiting");
const state = await page.context().storageState();
await looks(browser, state, [["approvals", "/approvals"], ["waiting", "/"]]);
await page.getByRole("link", { name: /Answer/ }).click();
// By the keyboard alone.
await page.getByRole("button", { name: /Yes, once/ }).focus();
await page.keyboard.press("Enter");
await page.waitForURL(/done=approved-once/);
assert.equal(await once, 200);
const always = begin(token, "report", "/always", header);
await page.waitForSelector("article");
await press(/Yes, always for report/);
await page.waitForURL(/done=approved-always/);
assert.equal(await always, 200);
assert.equal(send(token, "report", "/again", header), 200);
await page.goto(`${ORIGIN}/approvals`);
await look(page, "33-approvals-answered");
await press(/Take back/);
await page.waitForURL(/done=approval-removed/);
const no = begin(token, "report", "/no", header);
await page.waitForSelector("article");
await press(/^No/);
await page.waitForURL(/done=approval-denied/);
assert.equal(await no, 403);

// A client names what is not there. The page of requests shows it, and two clicks save it.
await page.goto(`${ORIGIN}/requests`);
await look(page, "34-requests-empty");
assert.equal(send(token, "<b>report</b>", "/jira", "X-Api-Key: <<jira>>"), 424);
await page.waitForSelector("article");
assert.match(await page.locator("article").innerText(), /GET \/jira for <b>report<\/b>/);
await look(page, "35-requests");
await page.goto(`${ORIGIN}/`);
await look(page, "36-overview-requests");
await page.getByRole("link", { name: /Look at it/ }).first().click();
await page.waitForURL(/\/requests\/\d+/);
assert.equal(await page.getByLabel("Hosts").inputValue(), HOST);
assert.equal(await page.getByLabel("Places").inputValue(), "header:x-api-key");
await look(page, "37-request");
await looks(browser, state, [["requests", "/requests"], ["request", new URL(page.url()).pathname]]);
await press("Save credential");
await page.waitForSelector(".wrong");
await page.locator("#value").fill(SECOND);
await press("Save credential");
await page.waitForURL(/\/start/);
assert.equal(send(token, "report", "/jira", "X-Api-Key: <<jira>>"), 200);
assert.equal(send(token, "report", "/declined", "X-Api-Key: <<other>>"), 424);
await page.goto(`${ORIGIN}/requests`);
await press(/Decline/);
await page.waitForURL(/done=declined/);
await look(page, "38-requests-answered");
assert.equal(send(token, "report", "/declined", "X-Api-Key: <<other>>"), 424);
await until("nothing waits", async () => (await page.locator("article").count()) === 0);

// A link that is nothing is a page in a browser.
const nothing = await page.goto(`${ORIGIN}/settings/nothing`);
assert.equal(nothing.status(), 404);
assert.match(await page.locator("h1").innerText(), /no such thing/);
await look(page, "39-nothing");
await finish(browser);
