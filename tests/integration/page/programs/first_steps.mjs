// From an empty data directory to a first use on record: the steps that a person takes, counted. With
// PICTURES, the pages are kept there as the pictures of the documentation.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { LINK, ORIGIN, VALUES, assertClean, finish, launch, look, open, until } from "./browser.mjs";

const [VALUE] = VALUES;
const { PICTURES, PROGRAM } = process.env;
const browser = await launch();
const page = await open(browser, { viewport: { width: 1180, height: 740 }, deviceScaleFactor: 1.25, timezoneId: "UTC" });
const steps = [];
let begun = Date.now();
const step = (what) => {
  steps.push(`${steps.length + 1}. ${what}: ${Date.now() - begun} ms`);
  begun = Date.now();
};
const run = (action, ...args) => execFileSync(PROGRAM, ["run", "--principal", "alice", "--action", action, "--", ...args], { encoding: "utf8", timeout: 60_000 });

/** The page as it is seen, as a small picture. */
async function picture(name) {
  await look(page, `90-first-${name}`, { shot: false });
  const png = await page.screenshot();
  if (!PICTURES) return;
  const painter = await browser.newPage();
  const webp = await painter.evaluate(async (data) => {
    const image = new Image();
    image.src = `data:image/png;base64,${data}`;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.width, image.height];
    canvas.getContext("2d").drawImage(image, 0, 0);
    return canvas.toDataURL("image/webp", 0.82).split(",")[1];
  }, png.toString("base64"));
  await painter.close();
  mkdirSync(PICTURES, { recursive: true });
  writeFileSync(`${PICTURES}/${name}.webp`, Buffer.from(webp, "base64"));
}

step("egret serve prints a link");
await page.goto(LINK);
await picture("1-password");
await page.getByLabel("Your name").fill("alice");
await page.getByLabel("New password").fill("correct horse battery");
await page.getByLabel("Once more").fill("correct horse battery");
await page.getByRole("button").click();
await page.waitForURL(`${ORIGIN}/`);
step("open it, and set a password");

await page.getByRole("link", { name: "Add your first credential" }).click();
await page.getByRole("link", { name: "Add credential" }).first().click();
step("choose Add credential");
await page.getByLabel("Service").selectOption({ label: "GitHub" });
await until("the service is filled in", async () => /api\.github\.com/.test(await page.locator("#hosts").inputValue()));
await page.locator("#value").fill(VALUE);
await page.locator("#slug").focus();
await picture("2-add");
await page.getByRole("button", { name: "Save credential" }).click();
await page.waitForURL(/\/start/);
step("choose the service, paste the value, and save");

const placeholder = await page.locator(".code code").first().innerText();
const example = await page.locator(".code code").filter({ hasText: "curl" }).first().innerText();
assert(example.includes(placeholder) && example.startsWith("egret run --principal alice --action try-it --"), example);
await picture("3-saved");
const place = /'(Authorization: [^']*)'.*'(https:[^']*)'/.exec(example);
assert(place, example);
assert.equal(run("try-it", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", place[1], place[2]), "200");
step("copy the example, and run it");

const example_at = page.url();
await page.getByRole("link", { name: "See its usage" }).click();
await page.waitForURL((url) => url.href !== example_at);
await until("the use is there", async () => {
  await page.reload();
  return (await page.locator("table.usage tbody tr").count()) === 1;
});
assert.match(await page.locator("table.usage").innerText(), /try-it[\s\S]*GET api\.github\.com/);
step("open the credential: the use is on record");
assert(steps.length <= 7, "it takes more than seven steps");
console.log(steps.join("\n"));

// Some more uses, so that the picture has something to show.
if (PICTURES) {
  for (const [action, path] of [["weekly-report", "/user"], ["weekly-report", "/repos/alice/egret/issues"], ["assistant", "/search/issues?q=is:open"], ["deploy", "/repos/alice/egret/releases"]]) {
    run(action, "curl", "-s", "-o", "/dev/null", "-H", place[1], `https://api.github.com${path}`);
  }
  await until("all are there", async () => {
    await page.reload();
    return (await page.locator("table.usage tbody tr").count()) === 5;
  });
}
await picture("4-usage");
assertClean(await page.content(), "the page");
await finish(browser);
