// What goes wrong between a person and a form: going back, loading again, pressing twice, two tabs, a
// session that ends, and text that nobody expects. Nothing breaks, and nothing that was typed is lost.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { HOST, ORIGIN, VALUES, assertClean, claim, client, finish, get, launch, look, open, send, until } from "./browser.mjs";

const [FIRST, SECOND] = VALUES;
const PASSWORD = "correct horse battery";
const browser = await launch();
const page = await open(browser, { viewport: { width: 1280, height: 860 } });
const press = (name) => page.getByRole("button", { name, exact: true }).first().click();
const signIn = async () => {
  await page.getByLabel("Name").fill("alice");
  await page.getByLabel("Password").fill(PASSWORD);
  await press("Sign in");
};
await claim(page, "alice", PASSWORD);

// Every component, on a page that only this test has.
const parts = readFileSync(new URL("../components.html", import.meta.url), "utf8");
const style = await page.locator("link[rel=stylesheet]").getAttribute("href");
const icons = await page.locator("svg.icons").evaluate((element) => element.outerHTML);
const sheet = (await get(page, ORIGIN + style)).text;
for (const [name, options] of [["light", {}], ["dark", { colorScheme: "dark" }], ["contrast", { forcedColors: "active" }], ["phone", { viewport: { width: 320, height: 640 } }]]) {
  const other = await open(browser, { viewport: { width: 1280, height: 860 }, ...options });
  await other.route(`${ORIGIN}/components`, (route) => route.fulfill({ contentType: "text/html; charset=utf-8", body: parts.replace("STYLE", style).replace("ICONS", icons) }));
  await other.goto(`${ORIGIN}/components`);
  await look(other, `80-components-${name}`, { scan: name !== "contrast" });
  if (name === "light") {
    const shown = await other.evaluate(() => [...new Set([...document.querySelectorAll("[class]")].flatMap((element) => [...element.classList]))]);
    const styled = new Set([...sheet.matchAll(/\.([a-z][a-z-]*)(?=[^{}]*\{)/g)].map((found) => found[1]));
    assert.deepEqual([...styled].filter((one) => !shown.includes(one)), [], "these components are not on the page of components");
  }
  await other.context().close();
}

// A slug that is none, in a script that runs from right to left, and a value that is too long: everything
// but the value is kept.
const long = "k".repeat(64 * 1024);
await page.goto(`${ORIGIN}/settings/credentials/new`);
await page.locator("form[enctype]").evaluate((form) => { form.noValidate = true; });
await page.getByLabel("Slug").fill("מפתח-ראשי");
await page.locator("#value").fill(`${long}k`);
await page.getByLabel("Hosts").fill(HOST);
await page.getByLabel("Description").fill("מפתח \u202egpj.exe");
await press("Save credential");
await page.waitForSelector("[role=alert]");
assert.equal(await page.getByLabel("Slug").inputValue(), "מפתח-ראשי");
assert.equal(await page.getByLabel("Description").inputValue(), "מפתח \u202egpj.exe");
assert.equal(await page.locator("#value").inputValue(), "");
await look(page, "81-new-refused");
// Pressed twice, with the longest value: it is saved once.
await page.getByLabel("Slug").fill("long-key");
await page.locator("#value").fill(long);
await page.getByRole("button", { name: "Save credential" }).dblclick();
await page.waitForURL(/\/start/);
await page.goto(`${ORIGIN}/settings/credentials`);
assert.match(await page.locator("tbody tr").first().innerText(), /long-key[\s\S]*\\u\{202e\}gpj\.exe/);
// The same value under another slug is said, after it was saved.
const add = async (slug, value) => {
  await page.goto(`${ORIGIN}/settings/credentials/new`);
  await page.getByLabel("Slug").fill(slug);
  await page.locator("#value").fill(value);
  await page.getByLabel("Hosts").fill(HOST);
  await press("Save credential");
  await page.waitForURL(/\/start/);
  return page.locator("main").innerText();
};
assert.doesNotMatch(await add("crm-key", FIRST), /also stored/);
// Back in the history: the form, without the value. Loaded again: no other credential.
await page.reload();
await page.goBack();
await page.waitForURL(/\/new/);
assert.equal(await page.locator("#value").inputValue(), "");
await page.goForward();
await page.waitForURL(/\/start/);
await page.goto(`${ORIGIN}/settings/credentials`);
assert.equal(await page.locator("tbody tr").count(), 2);
assert.match(await add("crm-copy", FIRST), /also stored under crm-key/);
await page.goto(`${ORIGIN}/settings/credentials/alice/crm-copy/rotate`);
await page.locator("#value").fill(FIRST);
await press("Rotate");
await page.waitForURL(/remarks=/);
assert.match(await page.locator("main").innerText(), /stored under crm-key|in force before/);

// Test it: what is wrong is said at its field, and what was typed is kept. A body, and plain HTTP.
await page.goto(`${ORIGIN}/settings/credentials/alice/crm-key/limits`);
await page.getByLabel("Hosts").fill(`${HOST}\nhttp://${HOST}`);
await page.getByLabel("Places").fill("header, body:token");
await press("Save limits");
await page.waitForURL(/done=limits/);
await page.goto(`${ORIGIN}/settings/credentials/alice/crm-key/start`);
await page.getByLabel("URL", { exact: true }).fill("ftp://hunter2");
await page.getByLabel("Action", { exact: true }).fill("by-hand");
await press("Send");
await page.waitForSelector("[role=alert]");
assert.equal(await page.getByLabel("Action", { exact: true }).inputValue(), "by-hand");
await page.getByLabel("Request", { exact: true }).selectOption("POST");
await page.getByLabel("URL", { exact: true }).fill(`https://${HOST}/form`);
await page.locator("#header").fill("");
await page.getByText("With a body").click();
await page.getByLabel("Media type").selectOption("application/x-www-form-urlencoded");
await page.getByLabel("Body", { exact: true }).fill("token=<<crm-key>>");
await press("Send");
await page.waitForSelector(".notice.good[data-focus]");
await look(page, "82-tested-body");
await page.getByLabel("Request", { exact: true }).selectOption("GET");
await page.getByLabel("URL", { exact: true }).fill(`http://${HOST}/plain`);
await page.locator("#header").fill("X-Api-Key: <<crm-key>>");
await page.getByLabel("Body", { exact: true }).fill("");
await press("Send");
await page.waitForSelector(".notice.good[data-focus]");

// Names that break layouts: 128 characters without a space, and markup. A long path, with a direction.
const token = await client(page, "laptop");
const header = "X-Api-Key: <<crm-key>>";
const wide = "W".repeat(128);
assert.equal(send(token, wide, `/${"long/".repeat(60)}%E2%80%AE?q=%3Cscript%3E`, header), 200);
assert.equal(send(token, '<img src=x onerror="alert(1)">', "/x", header), 200);
const details = `${ORIGIN}/settings/credentials/alice/crm-key`;
await until("both are listed", async () => {
  await page.goto(details);
  return (await page.locator("table.usage tbody tr").count()) === 4;
});
await look(page, "83-wide-usage");
for (const [name, path] of [["84-wide-ledger", "/ledger"], ["85-wide-clients", "/settings/clients"], ["86-wide-rules", "/settings/rules"], ["87-wide-credentials", "/settings/credentials"]]) {
  await page.goto(ORIGIN + path);
  await look(page, name);
}
const phone = await open(browser, { storageState: await page.context().storageState(), viewport: { width: 320, height: 640 } });
for (const [name, path] of [["phone-wide-usage", new URL(details).pathname], ["phone-wide-ledger", "/ledger"], ["phone-wide-clients", "/settings/clients"], ["phone-tested", `${new URL(details).pathname}/start`]]) {
  await phone.goto(ORIGIN + path);
  await look(phone, name);
}
await phone.context().close();

// The ledger grows while one looks, and every line of it can be checked.
await page.goto(`${ORIGIN}/ledger?event=use`);
const lines = await page.locator("tbody tr").count();
assert.equal(send(token, "live", "/live", header), 200);
await until("the line is shown by itself", async () => (await page.locator("tbody tr").count()) === lines + 1);
assert.match(page.url(), /event=use/);
await press("Check every line");
await until("every line is checked", async () => /whole, in order/.test(await page.locator("#results").innerText()));
await look(page, "88-ledger-checked");

// Two tabs: the second form is about what is no more, and says so.
const second = await page.context().newPage();
await second.goto(`${details}/rotate`);
await page.goto(`${details}/rotate`);
await page.locator("#value").fill(SECOND);
await press("Rotate");
await page.waitForURL(/done=rotated/);
await second.locator("#value").fill(FIRST);
const [late] = await Promise.all([second.waitForNavigation(), second.getByRole("button", { name: "Rotate" }).click()]);
assert(late.status() >= 400, "an old form overwrote a newer change");
assert.match(await second.locator("main").innerText(), /changed/);
await look(second, "89-changed-meanwhile");
await second.close();

// The session ends while a form is filled in. What was typed waits behind the sign-in, but for a value.
for (const [path, fields, button] of [
  ["/settings/credentials/alice/crm-key/limits", { Hosts: `${HOST}\nother.example.test`, Actions: "nightly" }, "Save limits"],
  ["/settings/credentials/alice/crm-key/share", { With: "everyone", Methods: "GET" }, "Share"],
  ["/settings/clients", { Name: "workstation", "Works for": "7d" }, "Add client"],
  ["/settings/tokens", { "What for": "deploy", "Works for": "8d" }, "Make token"],
  ["/settings/rules", { Whom: "client:laptop", Methods: "POST" }, "Add rule"],
  ["/settings/people", { Name: "bob", "Name for people": "Bob" }, "Add user"],
  ["/settings/credentials/alice/crm-key/start", { URL: `https://${HOST}/later`, Action: "by-hand" }, "Send"],
]) {
  await page.goto(ORIGIN + path);
  if (path === "/settings/people") await page.getByText("Add a user").click();
  for (const [label, text] of Object.entries(fields)) await page.getByLabel(label, { exact: true }).or(page.getByLabel(new RegExp(`^${label} `))).first().fill(text);
  await page.context().clearCookies();
  await press(button);
  await page.waitForURL(/\/signin\?next=/);
  await signIn();
  await page.waitForURL((url) => url.pathname === path);
  for (const [label, text] of Object.entries(fields)) assert.equal(await page.getByLabel(label, { exact: true }).or(page.getByLabel(new RegExp(`^${label} `))).first().inputValue(), text, `${path}: ${label}`);
}
// A form that is shown again has another address than its page, which is where a sign-in leads back to.
await page.goto(`${details}/start`);
await page.getByLabel("URL", { exact: true }).fill("ftp://hunter2");
await press("Send");
await page.waitForSelector("[role=alert]");
await page.getByLabel("Action", { exact: true }).fill("after-a-mistake");
await page.context().clearCookies();
await press("Send");
await page.waitForURL(/\/signin\?next=/);
await signIn();
await page.waitForURL(/crm-key\/start/);
assert.equal(await page.getByLabel("Action", { exact: true }).inputValue(), "after-a-mistake");
assert.match(await page.locator("main").innerText(), /Look at it before you send it/);

// What is wrong with a user, a group or a bundle is said on their page, and what was typed is kept.
const wrong = async (open, field, text, button, said) => {
  await page.goto(`${ORIGIN}/settings/people`);
  if (open) await page.getByText(open).click();
  await page.locator(field).fill(text);
  await page.getByRole("button", { name: button }).first().click();
  await page.waitForSelector("[role=alert]");
  assert.match(await page.locator("[role=alert]").innerText(), said);
  assert.equal(await page.locator(field).inputValue(), text);
};
await wrong("Add a user", "#u-name", "Not A Name", /^Add user/, /Name: /);
await look(page, "90-people-wrong");
await wrong("Add a user", "#u-name", "alice", /^Add user/, /alice/);
await wrong("Add a group", "#g-name", "No Group", /^Add group/, /Name: /);
await wrong("Add a bundle", "#b-name", "No Bundle", /^Add bundle/, /Name: /);
await page.goto(`${ORIGIN}/settings/people`);
await page.getByText("Add a group").click();
await page.locator("#g-name").fill("ops");
await press("Add group");
await page.waitForURL(/done=group-changed/);
await wrong("", "[aria-label='User to put into ops']", "nobody", /^Put in ?to ops/, /no such user/);
await look(page, "91-group-wrong");

// Two of one slug: a share that would leave somebody with neither says so first.
const cli = (...args) => execFileSync(process.env.PROGRAM, args, { input: `${SECOND}\n`, encoding: "utf8" });
for (const name of ["bob", "carol"]) cli("user", "add", name);
cli("credential", "add", "crm-key", "--owner", "carol", "--host", HOST);
cli("credential", "share", "crm-key", "--owner", "carol", "--with", "bob");
await page.goto(`${details}/share`);
await page.getByLabel("With", { exact: true }).fill("everyone");
await press("Share");
await page.waitForSelector("[role=alert]");
assert.match(await page.locator("[role=alert]").innerText(), /bob uses the crm-key of carol/);
await look(page, "92-share-doubled");
await page.getByLabel("Share it all the same").check();
await press("Share");
await page.waitForURL(/done=shared/);
await page.goto(`${details}/unshare?with=everyone`);
await press("End the share");
await page.waitForURL(/done=unshared/);

await page.goto(`${details}/limits?hosts=evil.example.test`);
assert.match(await page.locator("main").innerText(), /Look at the hosts before you go on/);
assertClean(page.url(), "the address");
await finish(browser);
