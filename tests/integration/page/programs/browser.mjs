// A Chromium that looks at everything it gets: whatever is asked of another server, written to the
// console, refused by the content security policy or says the value ends the test.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { mkdirSync, readFileSync } from "node:fs";
import { execFile, execFileSync } from "node:child_process";
import { gzipSync } from "node:zlib";

const packages = createRequire(process.env.PACKAGES + "/");
const { chromium } = packages("playwright-core");
const axe = readFileSync(packages.resolve("axe-core/axe.min.js"), "utf8");

export const { LINK, PROXY, CA, SHOTS, HOST } = process.env;
export const VALUES = JSON.parse(process.env.VALUES);
export const ORIGIN = new URL(LINK).origin;
mkdirSync(SHOTS, { recursive: true });

/** Every form in which a value could come back. */
function forms(value) {
  const encoded = Buffer.from(value);
  return [value, encodeURIComponent(value), encoded.toString("base64"), encoded.toString("hex"), JSON.stringify(value).slice(1, -1),
    value.replaceAll("&", "&amp;").replaceAll('"', "&quot;"), value.replaceAll("&", "&#38;").replaceAll('"', "&#34;")];
}

export function assertClean(text, where) {
  for (const form of VALUES.flatMap(forms)) assert(!text.includes(form), `a value is in ${where}`);
}

const problems = [];
const bodies = [];

export async function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--disable-quic"] });
}

/** A page of a browser with settings of its own. */
export async function open(browser, options = {}) {
  const context = await browser.newContext({ locale: "en-GB", timezoneId: "Asia/Tokyo", acceptDownloads: true, ...options });
  await context.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
  });
  const page = await context.newPage();
  watch(page);
  return page;
}

function watch(page) {
  page.setDefaultTimeout(30_000);
  page.on("console", (message) => {
    // The browser notes each answer of 4xx, which some steps ask for, and a key that is pressed before a field
    // got the focus by itself.
    if (!/Failed to load resource|Autofocus processing/.test(message.text())) problems.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => problems.push(`error: ${error.message}`));
  page.on("dialog", (dialog) => { problems.push("a dialog"); dialog.dismiss(); });
  page.on("request", (request) => {
    if (!request.url().startsWith(ORIGIN) && !request.url().startsWith("data:")) problems.push(`asked ${request.url()}`);
  });
  page.on("response", (response) => {
    if ((response.headers()["content-type"] ?? "").includes("event-stream")) return;
    if (response.status() < 300 || response.status() >= 400) bodies.push(response.body().then((body) => assertClean(body.toString("latin1"), response.url()), () => {}));
  });
}

/** No value in the page, its storage or its history, and no violation of accessibility. */
export async function look(page, name, { scan = true, shot = true } = {}) {
  assertClean(await page.content(), `the DOM of ${name}`);
  if (scan) {
    const kept = await page.evaluate(async () => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, history.state, (await caches?.keys?.()) ?? []]));
    assert.equal(kept, '[{},{},"",null,[]]', `something is kept by ${name}`);
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
    const said = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).slice(0, 3).join(" | ")}`);
    assert.deepEqual(said, [], `accessibility of ${name}`);
  }
  const wide = await page.evaluate?.(() => document.documentElement.scrollWidth - innerWidth).catch(() => 0);
  assert(wide <= 0, `${name} is ${wide} px too wide`);
  if (shot) await page.screenshot({ path: `${SHOTS}/${name}.png`, fullPage: true });
}

/** A request through the proxy for an action, as a client makes it; the status of its answer. */
export function send(token, action, path, header) {
  const url = `http://${encodeURIComponent(action)}:${token}@${new URL(PROXY).host}`;
  const args = ["-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", CA, "-x", url, "-H", header, `https://${HOST}${path}`];
  return Number(execFileSync("curl", args, { encoding: "utf8" }));
}

/** The same without waiting for the answer. */
export function begin(token, action, path, header) {
  const url = `http://${encodeURIComponent(action)}:${token}@${new URL(PROXY).host}`;
  const args = ["-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", CA, "-x", url, "-H", header, `https://${HOST}${path}`];
  return new Promise((resolve, reject) => execFile("curl", args, { encoding: "utf8" }, (error, out) => (error ? reject(error) : resolve(Number(out)))));
}

/** Signs in with the link of the first start. */
export async function claim(page, name, password) {
  await page.goto(LINK);
  await page.getByLabel("Your name").fill(name);
  await page.getByLabel("New password").fill(password);
  await page.getByLabel("Once more").fill(password);
  await page.getByRole("button").click();
  await page.waitForURL(`${ORIGIN}/`);
}

/** The token of a new client. */
export async function client(page, name) {
  await page.goto(`${ORIGIN}/settings/clients`);
  await page.getByLabel("Name").fill(name);
  await page.getByRole("button", { name: "Add client", exact: true }).click();
  await page.waitForSelector(".code");
  return page.locator(".code code").first().innerText();
}

/** Each page on a phone, in the dark, and without a script. */
export async function looks(browser, state, places) {
  for (const [name, options] of [
    ["phone", { viewport: { width: 320, height: 640 } }],
    ["dark", { colorScheme: "dark", viewport: { width: 1280, height: 860 } }],
    ["plain", { javaScriptEnabled: false, viewport: { width: 1280, height: 860 } }],
  ]) {
    const other = await open(browser, { storageState: state, ...options });
    for (const [at, path] of places) {
      await other.goto(ORIGIN + path);
      await look(other, `${name}-${at}`, { scan: name === "dark" });
    }
    await other.context().close();
  }
}

/** What the page itself gets from its server: other parts of the browser do not know `*.localhost`. */
export async function get(page, url) {
  return page.evaluate(async (url) => { const answer = await fetch(url); return { status: answer.status, text: await answer.text() }; }, url);
}

/** Bytes of the first view, compressed. */
export async function weight(page) {
  const parts = [await page.content()];
  for (const url of await page.$$eval("link[rel=stylesheet], script[src], link[rel=icon]", (all) => all.map((one) => one.href || one.src))) {
    parts.push((await get(page, url)).text);
  }
  return parts.reduce((sum, part) => sum + gzipSync(part).length, 0);
}

/** The text of the first such element; empty if there is none by now: the page is loaded again then. */
export function textOf(page, selector) {
  return page.locator(selector).first().innerText({ timeout: 1_000 }).catch(() => "");
}

export async function until(what, check) {
  for (const begun = Date.now(); Date.now() - begun < 90_000;) {
    if (await check()) return;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  assert.fail(`not so in 90 s: ${what}`);
}

export async function finish(browser) {
  await Promise.all(bodies);
  await browser.close();
  assert.deepEqual(problems, []);
}
