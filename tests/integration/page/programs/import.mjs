// The keys of a file: looked at first, saved while the page says how far it is, and never shown again.
import assert from "node:assert/strict";
import { HOST, ORIGIN, VALUES, claim, client, finish, launch, look, open, send, until } from "./browser.mjs";

const [FIRST, SECOND] = VALUES;
const browser = await launch();
const page = await open(browser, { viewport: { width: 1280, height: 860 } });
const press = (page, name) => page.getByRole("button", { name }).first().click();
const file = (text, name = "keys.json") => ({ name, mimeType: "text/plain", buffer: Buffer.from(text) });
const keys = JSON.stringify({ "crm-key": { value: FIRST, hosts: [HOST] }, "other-key": SECOND, "third-key": "not-decided-about" });

/** Hands a file over; what would be saved is shown. */
async function read(page, text) {
  await page.goto(`${ORIGIN}/settings/credentials/import`);
  await page.getByLabel("File", { exact: true }).setInputFiles(file(text));
  await press(page, "Look at the entries");
  await page.waitForURL(/\/import\/[0-9a-f]{32}$/);
}

await claim(page, "alice", "correct horse battery");
await page.goto(`${ORIGIN}/settings/credentials`);
await page.getByRole("link", { name: "Import a file" }).click();
await look(page, "70-import");

// What is no file says where it is wrong, and not how.
await page.locator("#value").fill(`{"crm-key": ${JSON.stringify(FIRST)},,}`);
await press(page, "Look at the entries");
await page.waitForSelector("[role=alert]");
assert.match(await page.locator("main").innerText(), /line 1, column/);
assert.equal(await page.locator("#value").inputValue(), "");
await look(page, "71-import-wrong");

// Looked at first: what has hosts is ticked, and nothing is saved.
await read(page, keys);
const row = (slug) => page.locator("tbody tr", { hasText: slug });
assert.equal(await row("crm-key").getByRole("checkbox").isChecked(), true);
assert.equal(await row("crm-key").getByRole("textbox").inputValue(), HOST);
assert.equal(await row("other-key").getByRole("checkbox").isChecked(), false);
await look(page, "72-import-rows");
await row("other-key").getByRole("checkbox").check();
await press(page, "Save what is ticked");
await page.waitForSelector("[role=alert]");
assert.match(await page.locator("[role=alert]").innerText(), /other-key.*name the hosts/);
assert.equal(await row("other-key").getByRole("checkbox").isChecked(), true, "what was ticked is kept");
await look(page, "73-import-no-hosts");
await row("other-key").getByRole("textbox").fill(`${HOST} *.example.test`);
await press(page, "Save what is ticked");
await until("both are saved", async () => /2 credentials are saved/.test(await page.locator("main").innerText()));
assert.match(await row("third-key").innerText(), /left out/);
await look(page, "74-import-saved");
await page.reload();
assert.match(await page.locator("main").innerText(), /2 credentials are saved/, "it is not saved twice");
const token = await client(page, "laptop");
assert.equal(send(token, "report", "/first", "X-Api-Key: <<crm-key>>"), 200);

// What is there is replaced where that is ticked, and stays otherwise.
await read(page, JSON.stringify({ "crm-key": SECOND, "other-key": FIRST }));
assert.match(await row("crm-key").innerText(), /Is there already/);
assert.equal(await row("crm-key").getByRole("checkbox").isChecked(), false);
await row("crm-key").getByRole("checkbox").check();
await press(page, "Save what is ticked");
await until("it is replaced", async () => /1 value is replaced/.test(await page.locator("main").innerText()));
assert.equal(send(token, "report", "/second", "X-Api-Key: <<crm-key>>"), 200);
assert.equal(send(token, "report", "/kept", "X-Api-Key: <<other-key>>"), 200);

// Many: the page says how far it is.
const many = Object.fromEntries(Array.from({ length: 400 }, (_, at) => [`many-${at}`, { value: `${FIRST}${at}`, hosts: [HOST] }]));
await read(page, JSON.stringify(many));
await look(page, "75-import-many", { shot: false });
await press(page, "Save what is ticked");
await page.waitForSelector("progress");
assert.match(await page.locator("[role=status]").first().innerText(), /Being saved: \d+ of 400/);
await look(page, "76-import-progress", { shot: false });
await page.screenshot({ path: `${process.env.SHOTS}/76-import-progress.png` });
await until("all are saved", async () => /400 credentials are saved/.test(await page.locator("main").innerText()));
assert.equal(await page.locator("progress").count(), 0);

// Too many for a page, and nothing at all.
for (const [text, said] of [[JSON.stringify(Object.fromEntries(Array.from({ length: 501 }, (_, at) => [`a-${at}`, "b"]))), /more than 500/], ["# nothing\n", /no entry/]]) {
  await page.goto(`${ORIGIN}/settings/credentials/import`);
  await page.locator("#value").fill(text);
  await press(page, "Look at the entries");
  await page.waitForSelector("[role=alert]");
  assert.match(await page.locator("main").innerText(), said);
}

// On a phone, in the dark, and without a script; discarded, it is gone.
const state = await page.context().storageState();
for (const [name, options] of [
  ["phone", { viewport: { width: 320, height: 640 } }],
  ["dark", { colorScheme: "dark", viewport: { width: 1280, height: 860 } }],
  ["plain", { javaScriptEnabled: false, viewport: { width: 1280, height: 860 } }],
]) {
  const other = await open(browser, { storageState: state, ...options });
  await read(other, JSON.stringify({ [`on-${name}`]: { value: FIRST, hosts: [HOST] }, "crm-key": SECOND }));
  await look(other, `${name}-import-rows`, { scan: name === "dark" });
  const address = other.url();
  if (name === "plain") {
    // A reload in the middle of the way there would end it.
    const shown = other.waitForResponse((answer) => answer.request().isNavigationRequest() && answer.status() === 200);
    await press(other, "Save what is ticked");
    await shown;
    await other.waitForLoadState();
    await until("it is saved", async () => { await other.reload(); return /1 credential is saved/.test(await other.locator("main").innerText()); });
    await look(other, `${name}-import-saved`, { scan: false });
  } else {
    await press(other, "Discard");
    await other.waitForURL(/\/settings\/credentials$/);
    assert.equal((await other.goto(address)).status(), 404);
  }
  await other.context().close();
}
await finish(browser);
