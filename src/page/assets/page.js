// Makes pages better that work without it: local times, copy buttons, filters without a reload, the
// time that is drawn over the chart, and remarks about a value before it is sent. It makes no markup
// from text, and keeps nothing.
"use strict";

const all = (root, selector) => root.querySelectorAll(selector);

// Times: the reader's own on hover, beside UTC, and in place of UTC where a time is written out.
function localTimes(root) {
  const form = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const clock = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" });
  for (const time of all(root, "time[datetime]")) {
    if (time.title.includes("\n")) continue;
    const at = new Date(time.dateTime);
    time.title = `${form.format(at)} (your time)\n${time.title}`;
    if ("clock" in time.dataset) time.textContent = clock.format(at);
  }
}

function copyButtons(root) {
  if (!navigator.clipboard) return;
  for (const button of all(root, "[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const label = button.firstChild.textContent;
      await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
      button.firstChild.textContent = "Copied";
      setTimeout(() => { button.firstChild.textContent = label; }, 1500);
    });
  }
}

// A click anywhere in a row opens it, unless something in it was meant or text was selected.
function rows(root) {
  for (const row of all(root, "tr[data-href]")) {
    row.addEventListener("click", (event) => {
      if (event.target.closest("a, button, select, input") || String(getSelection())) return;
      if (event.metaKey || event.ctrlKey) open(row.dataset.href, "_blank", "noopener");
      else location.href = row.dataset.href;
    });
  }
}

// Filters: the results are replaced by those of the same page for the new address.
let asked = 0;
function load(url, keep, isHeld = () => false) {
  const results = document.querySelector("[data-results]");
  const mine = ++asked;
  const request = new XMLHttpRequest();
  request.responseType = "document";
  request.open("GET", url);
  request.onload = () => {
    if (mine !== asked) return;
    const found = request.response && request.response.querySelector("[data-results]");
    // Signed out, or an error: the page itself says which.
    if (request.status !== 200 || !found) { location.href = url; return; }
    if (isHeld()) return;
    results.replaceWith(document.adoptNode(found));
    if (keep) history.replaceState(null, "", url);
    for (const news of all(document, "[data-news]")) news.hidden = true;
    better(found);
    live();
    poll();
  };
  request.onerror = () => { if (keep) location.href = url; else poll(); };
  request.send();
}

function filters(root) {
  for (const form of all(root, "form[data-filter]")) {
    const apply = () => {
      // Not `form.action`: a field of that name takes its place.
      const url = new URL(form.getAttribute("action"), location.href);
      url.search = new URLSearchParams([...new FormData(form)].filter(([, value]) => value)).toString();
      load(url.href, true);
    };
    let later;
    form.addEventListener("submit", (event) => { event.preventDefault(); apply(); });
    form.addEventListener("change", apply);
    form.addEventListener("input", (event) => {
      if (event.target.type !== "search") return;
      clearTimeout(later);
      later = setTimeout(apply, 200);
    });
  }
}

// A service fills in what was not typed. The page stays, and so does what was pasted.
function services(root) {
  for (const form of all(root, "form[data-auto]")) {
    form.querySelector("button").hidden = true;
    form.addEventListener("change", () => {
      const request = new XMLHttpRequest();
      request.responseType = "document";
      request.open("GET", `${form.getAttribute("action")}?${new URLSearchParams(new FormData(form))}`);
      request.onload = () => {
        if (request.status === 200) fillIn(request.response);
        else form.requestSubmit();
      };
      request.send();
    });
  }
}

function fillIn(proposed) {
  for (const id of ["slug", "hosts", "locations"]) {
    const [field, other] = [document.getElementById(id), proposed.getElementById(id)];
    if (field.value !== field.defaultValue) continue;
    field.defaultValue = other.defaultValue;
    field.value = other.value;
  }
  const kind = proposed.querySelector("[name=kind]:checked").value;
  document.querySelector(`[name=kind][value=${kind}]`).checked = true;
  document.querySelector("[type=hidden][name=service]").value = proposed.querySelector("[type=hidden][name=service]").value;
  document.querySelector("[data-advice]").replaceWith(document.adoptNode(proposed.querySelector("[data-advice]")));
}

// The chart: drawing over bars asks for their time; a click on one for its own.
function chart(root) {
  for (const figure of all(root, "[data-chart]")) {
    const bars = [...all(figure, "a")];
    const at = (event) => bars.indexOf(event.target.closest("a"));
    let [from, to] = [-1, -1];
    const mark = () => bars.forEach((bar, index) => {
      const chosen = from !== to && index >= Math.min(from, to) && index <= Math.max(from, to);
      bar.classList.toggle("is-chosen", chosen);
    });
    figure.addEventListener("dragstart", (event) => event.preventDefault());
    figure.addEventListener("pointerdown", (event) => { from = to = at(event); });
    figure.addEventListener("pointermove", (event) => {
      const bar = at(event);
      if (from >= 0 && bar >= 0 && event.buttons) { to = bar; mark(); }
    });
    figure.addEventListener("pointerleave", () => { from = to = -1; mark(); });
    figure.addEventListener("click", (event) => { if (from !== to) event.preventDefault(); });
    figure.addEventListener("pointerup", () => {
      if (from === to) return;
      choose(bars[Math.min(from, to)].dataset.since, bars[Math.max(from, to)].dataset.until);
    });
  }
}

function choose(since, until) {
  const url = new URL(location.href);
  url.searchParams.set("since", since);
  url.searchParams.set("until", until);
  url.searchParams.delete("before");
  location.href = url.href;
}

// The value: what may be a mistake is said before it is sent. Nothing of it is kept or copied.
function value(root) {
  for (const field of all(root, "[data-value]")) {
    const remark = field.closest(".field").querySelector("[data-remark]");
    const look = () => {
      const said = [];
      if (/^\s|\s$/.test(field.value.replace(/\n$/, ""))) said.push("It begins or ends with white space, which would be saved.");
      if (/\n./.test(field.value) && !/-----BEGIN/.test(field.value)) said.push("It has several lines. If the key was wrapped, paste it as one line.");
      remark.textContent = said.join(" ");
    };
    field.addEventListener("input", look);
    const file = field.closest(".field").querySelector("[data-file]");
    file.hidden = false;
    file.querySelector("input").addEventListener("change", async (event) => {
      const chosen = event.target.files[0];
      if (!chosen) return;
      if (chosen.size > 65536) remark.textContent = "The file is longer than 64 KiB.";
      else { field.value = await chosen.text(); look(); }
      event.target.value = "";
    });
    // Neither the back button nor a reload brings it back.
    addEventListener("pagehide", () => { field.value = ""; });
  }
}

// Live: what arrives is shown at once, unless somebody is about to press or has selected something. What
// came before the stream was open is looked for when it is. A stream that ends, or is one too many, is
// asked for again.
let stream, followed;
function live() {
  const wanted = document.querySelector("[data-live]")?.dataset.live;
  if (wanted === followed) return;
  if (stream) stream.close();
  followed = wanted;
  if (wanted === undefined) return;
  const mine = stream = new EventSource(`/api/v1/ledger/stream${wanted}`);
  let waiting = false;
  const show = () => {
    waiting = false;
    if (stream === mine) news();
  };
  // Many lines at once are shown at once.
  mine.onmessage = () => {
    if (waiting) return;
    waiting = true;
    setTimeout(show, 400);
  };
  mine.onopen = () => { if (!isBusy()) load(location.href, false, isBusy); };
  mine.onerror = () => {
    if (mine.readyState !== EventSource.CLOSED || stream !== mine) return;
    followed = undefined;
    setTimeout(() => { if (stream === mine) live(); }, 15000);
  };
}

function isBusy() {
  const results = document.querySelector("[data-results]");
  const chosen = getSelection();
  return results.contains(document.activeElement) || results.querySelector(".is-chosen") || (!chosen.isCollapsed && results.contains(chosen.anchorNode));
}

function news() {
  const say = () => { for (const one of all(document, "[data-news]")) one.hidden = false; };
  if (isBusy()) say();
  else load(location.href, false, () => { if (isBusy()) say(); return isBusy(); });
}

// Long work: looked at again until it ends.
let polling;
function poll() {
  if (!document.querySelector("[data-poll]")) return;
  clearTimeout(polling);
  polling = setTimeout(() => { if (isBusy()) poll(); else load(location.href, false); }, 1000);
}

// A second click sends nothing twice.
function once(root) {
  for (const form of all(root, "form[method=post]")) {
    form.addEventListener("submit", (event) => {
      if (form.dataset.sent) { event.preventDefault(); return; }
      form.dataset.sent = "yes";
      setTimeout(() => { delete form.dataset.sent; }, 5000);
    });
  }
}

function better(root) {
  localTimes(root);
  copyButtons(root);
  rows(root);
  chart(root);
  once(root);
}

better(document);
filters(document);
services(document);
value(document);
live();
poll();
addEventListener("pagehide", () => { if (stream) stream.close(); });
const said = document.querySelector("[data-focus]");
if (said) said.focus();
