// The way of somebody who uses Egret for the first time, and all that can be done with a credential.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { HOST, LINK, ORIGIN, VALUES, assertClean, finish, get, launch, look, open, send, until, weight } from "./browser.mjs";

const [FIRST, SECOND] = VALUES;
const PASSWORD = "correct horse battery";
const browser = await launch();
const page = await open(browser, { viewport: { width: 1280, height: 860 } });
const heading = async (text) => assert.match(await page.locator("h1").innerText(), text);
const press = (name) => page.getByRole("button", { name, exact: true }).click();
const follow = (name) => page.getByRole("link", { name, exact: true }).first().click();

// Signing in with the link of the first start.
await page.goto(LINK);
await look(page, "01-claim");
await page.getByLabel("Your name").fill("alice");
await page.getByLabel("New password").fill(PASSWORD);
await page.getByLabel("Once more").fill(PASSWORD);
await page.getByRole("button").click();
await page.waitForURL(`${ORIGIN}/`);
await look(page, "02-overview-empty");

// The first credential. A form that is shown again keeps everything but the value.
await follow("Credentials");
await heading(/Credentials/);
await look(page, "03-credentials-empty");
await follow("Add credential");
await page.getByLabel("Slug").fill("crm-key");
await page.locator("#value").fill(FIRST);
await page.getByLabel("Hosts").fill("not a host/");
await page.getByLabel("Actions").fill("report\n<script>alert(1)</script>");
await press("Save credential");
await page.waitForSelector("[role=alert]");
assert.equal(await page.locator("#value").inputValue(), "");
assert.equal(await page.getByLabel("Slug").inputValue(), "crm-key");
assert.match(await page.getByLabel("Actions").inputValue(), /report/);
await look(page, "04-add-refused");
await page.locator("#value").fill(`${FIRST}\n`);
await page.getByLabel("Hosts").fill(HOST);
await page.getByLabel("Description").fill("The customers' database");
await press("Save credential");
await page.waitForURL(/\/start/);
await look(page, "05-saved");
// *Test it* is a request like any other: an action that is not allowed is refused.
assert.equal(await page.getByLabel("URL", { exact: true }).inputValue(), `https://${HOST}/`);
await page.getByLabel("URL", { exact: true }).fill(`https://${HOST}/tested`);
assert.equal(await page.getByLabel("Action", { exact: true }).inputValue(), "report");
await page.getByLabel("Action", { exact: true }).fill("by-hand");
await page.getByRole("button", { name: "Send" }).click();
assert.match(await page.locator("[data-focus]").innerText(), /refused the request: credential_not_allowed/);
await look(page, "05-tested");
await page.getByLabel("URL", { exact: true }).fill("ftp://hunter2");
await page.getByRole("button", { name: "Send" }).click();
await page.waitForSelector("[role=alert]");
// The back button brings no value back.
await page.goto(`${ORIGIN}/settings/credentials/new`);
await page.locator("#value").fill(SECOND);
await page.goto(`${ORIGIN}/settings/clients`);
await page.goBack();
await page.waitForURL(/\/new/);
assert.equal(await page.locator("#value").inputValue(), "");

// A client, whose token is shown once.
await page.goto(`${ORIGIN}/settings/clients`);
await page.getByLabel("Name").fill("laptop");
await press("Add client");
await page.waitForSelector(".code");
const token = await page.locator(".code code").first().innerText();
assert.match(token, /^egc_/);
await look(page, "06-token");

// It is used, refused, and used under a hostile name.
const header = "Authorization: Bearer <<crm-key>>";
assert.equal(send(token, "report", "/customers", header), 200);
assert.equal(send(token, "nightly", "/customers", header), 403);
assert.equal(send(token, "<script>alert(1)</script>", "/customers?q=1", header), 200);
await page.goto(`${ORIGIN}/settings/credentials`);
await look(page, "07-credentials");
await page.locator("tbody tr").first().click();
await page.waitForSelector("#usage");
await heading(/crm-key/);
const rows = () => page.locator("table.usage tbody tr");
assert.equal(await rows().count(), 4);
assert.match(await page.locator("table.usage").innerText(), /<script>alert\(1\)<\/script>/);
assert.match(await page.locator(".count").innerText(), /2 uses and 2 refusals/);
await look(page, "08-usage");
const isWhole = () => [...document.querySelectorAll(".table-wrap")].every((wrap) => wrap.scrollWidth <= wrap.clientWidth);
assert(await page.evaluate(isWhole), "each column is seen without scrolling");
assert((await weight(page)) < 60_000, "the first view is heavier than 60 KB");

// Filters are part of the address, and answer without a reload.
await page.evaluate(() => { globalThis.stays = true; });
await page.getByLabel("Outcome").selectOption("refused");
await until("two rows", async () => (await rows().count()) === 2);
assert.match(page.url(), /outcome=refused/);
assert(await page.evaluate(() => globalThis.stays), "the page was loaded again");
await page.reload();
assert.equal(await rows().count(), 2);
await look(page, "09-usage-filtered");
await follow("Clear the filters");
await until("four rows", async () => (await rows().count()) === 4);

// Drawing over bars of the chart asks for their time: the last ones hold all uses, the first ones none.
const draw = (first, last) => until("the time is asked for", async () => {
  // The list and its chart are loaded again by themselves: then it is drawn once more.
  const [from, to] = await page.evaluate((chosen) => {
    document.querySelector("[data-chart]").scrollIntoView();
    const bars = [...document.querySelectorAll("[data-chart] a")];
    return chosen.map((bar) => bars.at(bar).getBoundingClientRect()).map(({ x, y, width, height }) => [x + width / 2, y + height / 2]);
  }, [first, last]);
  await page.mouse.move(...from);
  await page.mouse.down();
  await page.mouse.move(...to, { steps: 8 });
  const isMarked = (await page.locator("[data-chart] .is-chosen").count()) > 1;
  await page.mouse.up();
  const asked = page.waitForURL((url) => url.searchParams.get("since") && url.searchParams.get("until"), { timeout: 5_000 });
  return asked.then(() => isMarked, () => false);
});
await draw(-4, -1);
assert.equal(await rows().count(), 4);
await follow("Clear the filters");
await until("four rows again", async () => !page.url().includes("since=") && (await rows().count()) === 4);
await draw(0, 3);
await until("no row", async () => (await page.locator("#usage .none").count()) === 1);
await follow("Clear the filters");
await until("all rows", async () => (await rows().count()) === 4);
const [csv] = await Promise.all([page.waitForEvent("download"), follow("Download CSV")]);
const sheet = readFileSync(await csv.path(), "utf8");
assertClean(sheet, "the CSV");
assert.equal(sheet.trim().split("\r\n").length, 5);
await until("a checkpoint covers the line", async () => {
  const proofs = page.locator("table.usage tbody td a");
  if ((await proofs.count()) === 0) {
    // The page was made before the checkpoint.
    await page.reload();
    return false;
  }
  const href = await proofs.last().getAttribute("href");
  const answer = await get(page, ORIGIN + href);
  return answer.status === 200 && answer.text.startsWith("c2sp.org/tlog-proof@v1");
});

// Rotated: the next request has the new value, as version 2.
const details = page.url().replace(/[?#].*/, "");
await follow("Rotate");
await page.locator("#value").fill(SECOND);
await look(page, "10-rotate", { scan: true });
await page.getByLabel(/keep it for a week/).check();
await press("Rotate");
await page.waitForURL(/done=rotated/);
assert.equal(send(token, "report", "/second", header), 200);
await page.goto(details);
await look(page, "11-rotated");
await press("Roll back");
await page.waitForURL(/done=rolled-back/);

// Narrower limits say what they would have refused.
await page.goto(`${details}/limits`);
await page.getByLabel("Methods").fill("POST");
await press("Save limits");
await page.waitForSelector(".impact");
await look(page, "12-narrower");
await page.getByLabel("Refuse such requests").check();
await press("Save limits");
await page.waitForURL(/done=limits/);
assert.equal(send(token, "report", "/narrowed", header), 403);
// A form that shows an older state changes nothing.
const second = await page.context().newPage();
await second.goto(`${details}/limits`);
await page.goto(`${details}/limits`);
await page.getByLabel("Methods").fill("GET");
await press("Save limits");
await page.waitForURL(/done=limits/);
await second.getByLabel("Methods").fill("PUT");
const [late] = await Promise.all([second.waitForNavigation(), second.getByRole("button", { name: "Save limits" }).click()]);
assert(late.status() >= 400, "an old form overwrote a newer change");
assert.match(await second.locator("[role=alert]").innerText(), /changed it in the meantime/);
assert.equal(await second.getByLabel("Methods").inputValue(), "PUT");
await second.close();

// Shared with a user, explained, and ended.
await page.goto(`${ORIGIN}/settings/people`);
await page.getByText("Add a user").click();
await page.locator("#u-name").fill("bob");
await press("Add user");
await page.waitForURL(/done=user-added/);
await look(page, "13-people");
await page.goto(`${details}/share`);
await page.getByLabel("With").fill("bob");
await look(page, "14-share");
await press("Share");
await page.waitForURL(/done=shared/);
await page.goto(`${ORIGIN}/settings/explain?slug=crm-key&user=bob`);
assert.match(await page.locator("main").innerText(), /Requests use the one of alice/);
await look(page, "15-explain");

// Revoked: refused at once. Restored, and deleted for good.
await page.goto(details);
await follow("Revoke");
await look(page, "16-revoke");
await press("Revoke");
await page.waitForURL(/done=revoked/);
assert.notEqual(send(token, "report", "/revoked", header), 200);
await look(page, "17-revoked");
for (const [name, path] of [["18-clients", "/settings/clients"], ["19-ledger", "/ledger"], ["20-overview", "/"]]) {
  await page.goto(ORIGIN + path);
  await look(page, name);
}

// A phone, the dark, and without a script.
const state = await page.context().storageState();
for (const [name, options] of [
  ["phone", { viewport: { width: 320, height: 640 } }],
  ["dark", { colorScheme: "dark", viewport: { width: 1280, height: 860 } }],
  ["plain", { javaScriptEnabled: false, viewport: { width: 1280, height: 860 } }],
]) {
  const other = await open(browser, { storageState: state, ...options });
  for (const [at, path] of [["credentials", "/settings/credentials"], ["new", "/settings/credentials/new?service=github"], ["usage", new URL(details).pathname], ["limits", `${new URL(details).pathname}/limits`], ["people", "/settings/people"], ["clients", "/settings/clients"], ["ledger", "/ledger"], ["overview", "/"]]) {
    await other.goto(ORIGIN + path);
    await look(other, `${name}-${at}`, { scan: name === "dark" });
  }
  if (name === "plain") {
    await other.goto(`${ORIGIN}/settings/credentials/new`);
    await other.getByLabel("Slug").fill("no-script");
    await other.locator("[name=value_file]").setInputFiles({ name: "key.txt", mimeType: "text/plain", buffer: Buffer.from(`${SECOND}\n`) });
    await other.getByLabel("Hosts").fill(HOST);
    await other.getByRole("button", { name: "Save credential" }).click();
    assert.match(other.url(), /\/start/);
    await other.getByRole("button", { name: "Send" }).click();
    assert.match(await other.locator("[data-focus]").innerText(), /status 200/);
    assert.equal(send(token, "report", "/no-script", "Authorization: Bearer <<no-script>>"), 200);
    await until("both uses are counted", async () => {
      await other.goto(`${ORIGIN}/settings/credentials/alice/no-script`);
      return /2 uses and 0 refusals/.test(await other.locator(".count").innerText());
    });
  }
  await other.context().close();
}

// Deleted only when its name is typed.
await page.goto(`${details}/delete`);
await page.locator("#typed").fill("crm");
await press("Delete for good");
await page.waitForSelector(".wrong");
await look(page, "21-delete");
await page.locator("#typed").fill("crm-key");
await press("Delete for good");
await page.waitForURL(/done=deleted/);

// Signed out: what was typed waits behind the sign-in, but for the value.
await page.goto(`${ORIGIN}/settings/credentials/new`);
await page.getByLabel("Slug").fill("typed-before");
await page.locator("#value").fill(FIRST);
await page.getByLabel("Hosts").fill(HOST);
await page.context().clearCookies();
await press("Save credential");
await page.waitForURL(/\/signin\?next=/);
assertClean(page.url(), "the address");
await look(page, "22-signin");
await page.getByLabel("Name").fill("alice");
await page.getByLabel("Password").fill(PASSWORD);
await press("Sign in");
await page.waitForURL(/credentials\/new/);
assert.equal(await page.getByLabel("Slug").inputValue(), "typed-before");
assert.equal(await page.locator("#value").inputValue(), "");
await finish(browser);
