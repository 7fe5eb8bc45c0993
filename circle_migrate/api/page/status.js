"use strict";
// Keeps the page current: replaces what has changed. Without scripts, a page with a run in progress reloads itself.

const SECONDS = { running: 2, idle: 5 };

const isUsed = (part) =>
  part.contains(document.activeElement) ||
  (getSelection().type === "Range" && getSelection().containsNode(part, true));

async function refresh() {
  const response = await fetch(".", { headers: { Accept: "text/html" }, cache: "no-store" });
  if (!response.ok) throw new Error(response.status);
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const other = fresh.getElementById(part.id);
    for (const open of part.querySelectorAll("details[open]")) {
      fresh.getElementById(open.id)?.setAttribute("open", "");
    }
    if (other.innerHTML !== part.innerHTML && !isUsed(part)) part.replaceChildren(...other.childNodes);
  }
  document.title = fresh.title;
}

async function keep() {
  if (!document.hidden) {
    const isCurrent = await refresh().then(() => true, () => false);
    document.getElementById("stale").hidden = isCurrent;
  }
  next();
}

function next() {
  const seconds = document.getElementById("running") ? SECONDS.running : SECONDS.idle;
  setTimeout(keep, seconds * 1000);
}

next();
