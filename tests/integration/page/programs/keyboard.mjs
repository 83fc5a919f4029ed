// All that can be done with a credential, by somebody who has no mouse. Each element that gets the focus
// shows it.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { HOST, LINK, ORIGIN, VALUES, begin, finish, launch, look, open, send, until } from "./browser.mjs";

const [FIRST, SECOND] = VALUES;
const PASSWORD = "correct horse battery";
const browser = await launch();
const page = await open(browser, { viewport: { width: 1280, height: 860 } });
const press = (...keys) => keys.reduce((before, key) => before.then(() => page.keyboard.press(key)), Promise.resolve());
const type = (text) => page.keyboard.insertText(text);

/** What has the focus: its name, and whether it is seen to have it. */
const focused = () => page.evaluate(() => {
  const element = document.activeElement;
  const name = element.getAttribute("aria-label") || element.labels?.[0]?.innerText || element.innerText || element.value || "";
  const box = element.getBoundingClientRect();
  const style = getComputedStyle(element);
  const isShown = box.width > 0 && (style.outlineStyle !== "none" || element.matches("main"));
  return { name: name.replace(/\s+/g, " ").trim(), tag: element.tagName, isShown };
});

/** Goes on with Tab until something of this name has the focus. */
async function reach(name, tag = /./) {
  const seen = [];
  for (let step = 0; step < 250; step += 1) {
    await press("Tab");
    const at = await focused();
    if (at.tag !== "BODY") assert(at.isShown, `the focus on ${at.tag} ${at.name} is not seen`);
    if (name.test(at.name) && tag.test(at.tag)) return;
    seen.push(`${at.tag} ${at.name}`);
  }
  assert.fail(`Tab never reached ${name}: ${seen.slice(0, 60).join(", ")}`);
}

/** Fills a field in, in place of what was there. */
async function fill(name, text) {
  await reach(name, /INPUT|TEXTAREA/);
  await press("Control+a");
  if (text === "") await press("Delete");
  else await type(text);
}

/** Chooses an option by the letters it begins with. */
async function choose(name, letters) {
  await reach(name, /SELECT/);
  await page.keyboard.type(letters);
}

/** Presses a button or follows a link, and waits for what comes. */
async function go(name, address) {
  await reach(name, /^(A|BUTTON)$/);
  // The address can be that of before, so the navigation itself is waited for.
  await Promise.all([page.waitForNavigation({ url: address }), press("Enter")]);
}

// Signing in.
await page.goto(LINK);
await fill(/^Your name/, "alice");
await fill(/^New password/, PASSWORD);
await fill(/^Once more/, PASSWORD);
await go(/^Go on/, `${ORIGIN}/`);
// The first stop leads past the navigation.
await press("Tab");
assert.match((await focused()).name, /Skip to the content/);
await press("Enter", "Tab");
assert.notEqual((await focused()).name, "Egret");

// Adding a credential, for a service.
await go(/^Credentials$/, /\/settings\/credentials$/);
await go(/^Add credential/, /\/new/);
await choose(/^Service/, "Stripe");
await until("the service is filled in", async () => /stripe/.test(await page.locator("#hosts").inputValue()));
await fill(/^Slug/, "crm-key");
await fill(/^Value/, FIRST);
await fill(/^Hosts/, HOST);
await fill(/^Places/, "header");
await go(/^Save credential/, /\/start/);

// Test it, with an action of one's own.
await fill(/^URL/, `https://${HOST}/tested`);
await fill(/^Action/, "by-hand");
await reach(/^Send/, /BUTTON/);
await press("Enter");
await page.waitForSelector(".notice.good[data-focus]");
assert.match((await focused()).name, /status 200/);

// A client.
await go(/^Clients$/, /\/settings\/clients/);
await fill(/^Name/, "laptop");
await reach(/^Add client/, /BUTTON/);
await press("Enter");
await page.waitForSelector(".code");
const token = await page.locator(".code code").first().innerText();
const header = "X-Api-Key: <<crm-key>>";
assert.equal(send(token, "report", "/customers", header), 200);

// Recent usage, filtered without a reload. What has the focus keeps it.
await go(/^Credentials$/, /\/settings\/credentials$/);
await go(/^crm-key/, /crm-key$/);
await until("both uses are there", async () => {
  await page.reload();
  return (await page.locator("table.usage tbody tr").count()) === 2;
});
await choose(/^Action/, "report");
await until("one use is left", async () => (await page.locator("table.usage tbody tr").count()) === 1);
assert.match((await focused()).name, /^Action/);
await page.waitForURL(/action=report/);
await look(page, "60-keyboard-usage", { scan: false });

// Rotate: staged, tested, promoted, rolled back.
const details = page.url().replace(/[?#].*/, "");
await go(/^Rotate/, /\/rotate/);
await fill(/^Value/, SECOND);
await reach(/^Replace it\./, /INPUT/);
await press("ArrowDown", "ArrowDown");
assert.match((await focused()).name, /^Only stage/);
await go(/^Rotate$/, /done=staged/);
await go(/^Test it/, /version=staged/);
await fill(/^URL/, `https://${HOST}/staged`);
await reach(/^Send/, /BUTTON/);
await press("Enter");
await page.waitForSelector(".notice.good[data-focus]");
await page.goto(details);
await go(/^Promote/, /done=promoted/);
await go(/^Roll back/, /done=rolled-back/);
// The one that was tried is not wanted any more.
await go(/^Erase version 2/, /\/destroy/);
await go(/^Erase/, /done=destroyed/);

// The uses as a file.
await reach(/^Download CSV/, /^A$/);
const [file] = await Promise.all([page.waitForEvent("download"), press("Enter")]);
const lines = readFileSync(await file.path(), "utf8").split("\r\n");
assert(lines.some((line) => line.includes("by-hand")) && lines.some((line) => line.includes("report")), lines.join("\n"));
assert(VALUES.every((value) => !lines.join("\n").includes(value)));

// Narrower limits ask before they refuse what was done.
await go(/^Change/, /\/limits/);
await fill(/^Methods/, "POST");
await reach(/^Save limits/, /BUTTON/);
await press("Enter");
await page.waitForSelector(".impact");
await reach(/^Refuse such requests/, /INPUT/);
await press("Space");
await go(/^Save limits/, /done=limits/);
await go(/^Change/, /\/limits/);
await fill(/^Methods/, "");
await go(/^Save limits/, /done=limits/);

// People, a group, a bundle.
await go(/^People$/, /\/settings\/people/);
await reach(/^Add a user/, /SUMMARY/);
await press("Enter");
await fill(/^Name$/, "bob");
await go(/^Add user/, /done=user-added/);
await reach(/^Invite bob/, /BUTTON/);
await press("Enter");
await page.waitForSelector(".code");
assert.match(await page.locator(".code code").innerText(), /\/signin\/link\/\S{20}/);
await look(page, "61-keyboard-invited");
await go(/^I have sent it/, /\/settings\/people/);
await reach(/^Add a group/, /SUMMARY/);
await press("Enter");
await fill(/^Name$/, "ops");
await go(/^Add group/, /done=group-changed/);
await fill(/^User to put into ops/, "bob");
await go(/^Put in ?to ops/, /done=group-changed/);
await reach(/^Add a bundle/, /SUMMARY/);
await press("Enter");
await fill(/^Name$/, "work");
await go(/^Add bundle/, /done=bundle-changed/);

// Shared, explained, and ended.
await page.goto(details);
await go(/^Share/, /\/share/);
await fill(/^With/, "group:ops");
await go(/^Share$/, /done=shared/);
await go(/^Which one wins/, /explain/);
await choose(/^For/, "bob");
await go(/^Explain/, /user=bob/);
assert.match(await page.locator("main").innerText(), /Requests use the one of alice/);
await page.goto(details);
await go(/^Change the share with group:ops/, /\/share/);
await fill(/^Methods/, "GET");
await go(/^Share$/, /done=shared/);
assert.match(await page.locator(".shares").innerText(), /GET/);
await go(/^End the share with group:ops/, /unshare/);
await go(/^End the share/, /done=unshared/);

// A question is answered while the request waits.
await go(/^Change/, /\/limits/);
await choose(/^Ask me/, "About");
await go(/^Save limits/, /done=limits/);
await page.goto(`${ORIGIN}/approvals`);
const waits = begin(token, "report", "/asked", header);
await page.waitForSelector("article");
await go(/^Yes, once/, /done=approved-once/);
assert.equal(await waits, 200);

// What is asked for and is not there.
assert.equal(send(token, "report", "/jira", "X-Api-Key: <<jira>>"), 424);
await go(/^Requests$/, /\/requests/);
await page.waitForSelector("article");
await go(/^Look at it/, /\/requests\/\d+/);
await fill(/^Value/, SECOND);
await go(/^Save credential/, /\/start/);

// A rule, an API token, and the ledger, checked line by line.
await go(/^Where clients go/, /\/settings\/rules/);
await choose(/^Rule$/, "Observe");
await fill(/^Whom/, "client:laptop");
await go(/^Add rule/, /done=rule-added/);
await go(/^Remove observe/, /done=rule-removed/);
await go(/^API tokens/, /\/settings\/tokens/);
await fill(/^What for/, "deploy");
await reach(/^Make token/, /BUTTON/);
await press("Enter");
await page.waitForSelector(".code");
await go(/^I have kept it/, /\/settings\/tokens/);
await go(/^Revoke deploy/, /\/revoke$/);
await go(/^Revoke$/, /done=token-revoked/);
await go(/^Ledger$/, /\/ledger/);
await reach(/^Check every line/, /BUTTON/);
await press("Enter");
await until("every line is checked", async () => /whole, in order/.test(await page.locator("#results").innerText()));

// Revoked, restored, and deleted for good.
await page.goto(details);
await go(/^Revoke/, /\/revoke/);
await go(/^Revoke$/, /done=revoked/);
await go(/^Restore/, /done=restored/);
await go(/^Delete/, /\/delete/);
await fill(/^Type crm-key/, "crm-key");
await go(/^Delete for good/, /done=deleted/);
await go(/^Sign out/, /\/signin/);
await finish(browser);
