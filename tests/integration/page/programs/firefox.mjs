// The main way once more in Firefox, driven over WebDriver BiDi, which Playwright cannot do.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { HOST, LINK, ORIGIN, SHOTS, VALUES, assertClean, send, until } from "./browser.mjs";

const puppeteer = createRequire(process.env.PACKAGES + "/")("puppeteer-core");
const [FIRST, SECOND] = VALUES;
const problems = [];
const browser = await (puppeteer.default ?? puppeteer).launch({
  browser: "firefox",
  executablePath: process.env.FIREFOX,
  userDataDir: mkdtempSync(join(process.env.HOME, "firefox-")),
  timeout: 120_000,
  protocolTimeout: 120_000,
});
const page = await browser.newPage();
page.setDefaultTimeout(60_000);
page.setDefaultNavigationTimeout(60_000);
await page.setViewport({ width: 1280, height: 860 });
page.on("console", (message) => problems.push(`console: ${message.text()}`));
page.on("pageerror", (error) => problems.push(`error: ${error.message}`));
page.on("request", (request) => { if (!request.url().startsWith(ORIGIN) && !/^(data|about):/.test(request.url())) problems.push(`asked ${request.url()}`); });

const go = (path) => page.goto(ORIGIN + path);
const text = (selector) => page.$eval(selector, (element) => element.innerText);
const at = (pattern) => until(`the address is ${pattern}`, () => pattern.test(page.url()));

/** Puts a text in place of what a field holds. */
async function fill(selector, value) {
  await page.waitForSelector(selector);
  await page.$eval(selector, (element) => { element.value = ""; });
  await page.focus(selector);
  await page.keyboard.type(value);
}

/** Presses the button, or follows the link, of this text. */
async function press(label) {
  const handle = await page.waitForSelector(`::-p-xpath(//main//*[self::button or self::a][normalize-space(.)="${label}"])`);
  await handle.click();
}

async function shot(name) {
  assertClean(await page.content(), `the DOM of ${name}`);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert(wide <= 0, `${name} is ${wide} px too wide`);
  await page.screenshot({ path: `${SHOTS}/${name}.png`, fullPage: true });
}

// From the link of the first start to a saved credential.
await page.goto(LINK);
await fill("#user", "alice");
await fill("#new", "correct horse battery");
await fill("#again", "correct horse battery");
await press("Go on");
await at(/\/$/);
await go("/settings/credentials/new");
await fill("#slug", "crm-key");
await fill("#value", FIRST);
assert.equal(await page.$eval("#value", (field) => getComputedStyle(field).webkitTextSecurity), "disc", "the value can be read while it is typed");
await fill("#hosts", "not a host/");
await shot("70-firefox-new");
await press("Save credential");
await page.waitForSelector("[role=alert]");
assert.equal(await page.$eval("#value", (field) => field.value), "");
assert.equal(await page.$eval("#slug", (field) => field.value), "crm-key");
await fill("#value", FIRST);
await fill("#hosts", HOST);
await press("Save credential");
await at(/\/start/);
await fill("#url", `https://${HOST}/tested`);
await press("Send");
await page.waitForSelector("[data-focus]");
assert.match(await text("[data-focus]"), /status 200/);
await shot("71-firefox-tested");

// A client uses it; the page shows it, and filters without a reload.
await go("/settings/clients");
await fill("#name", "laptop");
await press("Add client");
await page.waitForSelector(".code");
const token = await text(".code code");
const header = "Authorization: Bearer <<crm-key>>";
assert.equal(send(token, "report", "/customers", header), 200);
const details = "/settings/credentials/alice/crm-key";
const rows = () => page.$$eval("table.usage tbody tr", (all) => all.length).catch(() => 0);
await go(details);
await until("both uses are there", async () => (await rows()) === 2);
await page.evaluate(() => { globalThis.stays = true; });
await page.select("#f-action", "report");
await until("one row is left", async () => (await rows()) === 1);
assert(await page.evaluate(() => globalThis.stays), "the page was loaded again");
assert.match(page.url(), /action=report/);
await shot("72-firefox-usage");

// What happens meanwhile is shown while the page is open.
assert.equal(send(token, "report", "/live", header), 200);
await until("the use is shown by itself", async () => (await rows()) === 2);

// Rotated, then revoked: the next request is refused.
await go(`${details}/rotate`);
await fill("#value", SECOND);
await press("Rotate");
await at(/done=rotated/);
assert.equal(send(token, "report", "/second", header), 200);
await go(`${details}/revoke`);
await shot("73-firefox-revoke");
await press("Revoke");
await at(/done=revoked/);
assert.notEqual(send(token, "report", "/revoked", header), 200);
for (const [name, path] of [["74-firefox-overview", "/"], ["75-firefox-credentials", "/settings/credentials"], ["76-firefox-ledger", "/ledger"], ["77-firefox-rules", "/settings/rules"], ["78-firefox-people", "/settings/people"]]) {
  await go(path);
  await shot(name);
}
await page.setViewport({ width: 320, height: 640 });
for (const [name, path] of [["79-firefox-phone-usage", details], ["79-firefox-phone-new", "/settings/credentials/new"]]) {
  await go(path);
  await shot(name);
}
await browser.close();
assert.deepEqual(problems, []);
