// What the pages need of a script besides htmx. Runs before the body: it must stay small.
"use strict";

// The server shows and reads times in the viewer's zone; it learns the zone here.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone) {
  document.cookie = `timezone=${zone}; path=/; max-age=31536000; samesite=lax`;
}

function showKeys() {
  document.querySelectorAll("[data-keys]").forEach((hint) => (hint.hidden = false));
}

function showCopyButtons(root) {
  if (navigator.clipboard) {
    root.querySelectorAll("[data-copy]").forEach((button) => (button.hidden = false));
  }
}

function markCurrentRow() {
  document.querySelectorAll(".beside a.row").forEach((row) => {
    if (row.pathname === location.pathname) row.setAttribute("aria-current", "page");
    else row.removeAttribute("aria-current");
  });
}

function scrollToFocus() {
  const problem = location.hash === "#problem" && document.querySelector("#problem ~ .work > summary");
  if (problem) goTo(problem);
  else document.querySelector(".message.focus")?.scrollIntoView({ block: "center" });
}

function goTo(problem) {
  problem.focus({ preventScroll: true });
  problem.scrollIntoView({ block: "center" });
}

// The next problem of a conversation, or (-1) the previous one: from where the focus is, else from
// the middle of the window.
function goToProblem(step) {
  const problems = [...document.querySelectorAll("#transcript .work[data-problem] > summary")];
  const below = (each) => each.getBoundingClientRect().top > innerHeight / 2;
  const place = problems.findIndex((each) => each.parentElement.contains(document.activeElement));
  const found = place >= 0 ? problems[place + step]
    : step > 0 ? problems.find(below) : problems.findLast((each) => !below(each));
  if (found) goTo(found);
  // The next part of a long conversation loads as it comes into view.
  else if (step > 0) document.querySelector("#transcript .more.later")?.scrollIntoView();
}

document.addEventListener("htmx:after:swap", () => {
  showCopyButtons(document);
  showKeys();
  markCurrentRow();
});
document.addEventListener("htmx:after:history:push", () => {
  markCurrentRow();
  requestAnimationFrame(scrollToFocus);
});

// Where the browser knows trusted types, htmx alone makes HTML of text: of the server's answers. It
// must learn how before it asks for anything, which it may do before all scripts have come.
document.addEventListener("load", ({ target }) => {
  if (!target.matches?.('script[src*="/htmx"]')) return;
  htmx.registerExtension("trusted-types", {
    init({ initSecurity }) {
      initSecurity(window.trustedTypes?.createPolicy("htmx", { createHTML: (text) => text }));
    },
  });
}, true);

document.addEventListener("DOMContentLoaded", () => {
  showCopyButtons(document);
  showKeys();
  document.querySelectorAll("[data-print]").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", () => print());
  });
  // A linked message, run or task that is folded away opens.
  const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
  if (target && target.matches("details")) target.open = true;
  // The message that was searched for, where the address does not name it; or the problem.
  if (!target) scrollToFocus();
  // The browser takes the focus away when it goes to the place that the address names.
  else if (target.id === "problem") addEventListener("load", scrollToFocus);
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const label = button.querySelector("span");
  const status = button.nextElementSibling;
  const copied = document.querySelector(button.dataset.copy).textContent;
  label.textContent = status.textContent = await navigator.clipboard.writeText(copied).then(
    () => "Copied", () => "Could not copy");
  setTimeout(() => {
    label.textContent = "Copy";
    status.textContent = "";
  }, 2000);
});

// Copies what a link leads to; without a clipboard the link is simply followed.
document.addEventListener("click", async (event) => {
  const link = event.target.closest("[data-copy-from]");
  if (!link || !navigator.clipboard || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  // While it still says how the last one went, it has another text.
  const label = (link.dataset.label ??= link.textContent);
  const status = link.parentElement.querySelector("[role=status]");
  let told = "Copied";
  try {
    const response = await fetch(link.href);
    // Whoever is signed out is led to a form.
    if (!response.ok || response.redirected) throw new Error(`Status ${response.status}`);
    await navigator.clipboard.writeText(await response.text());
  } catch {
    told = "Could not copy";
  }
  link.textContent = status.textContent = told;
  setTimeout(() => {
    link.textContent = label;
    status.textContent = "";
  }, 2000);
});

// What is typed while an answer is on its way must not be undone by it.
document.addEventListener("input", (event) => {
  if (event.target.form?.id === "filters") htmx.trigger(event.target.form, "htmx:abort");
});

// A printout tells when it was made, not when its page was opened.
const ON_PAPER = { dateStyle: "medium", timeStyle: "long" };
addEventListener("beforeprint", () => {
  const now = new Date().toLocaleString("en-GB", ON_PAPER);
  document.querySelectorAll("[data-now]").forEach((shown) => (shown.textContent = now));
});

// The menu of files closes as menus do.
function closeExport(besides) {
  document.querySelectorAll("details.export[open]").forEach((menu) => {
    if (menu.contains(besides)) return;
    if (menu.contains(document.activeElement)) menu.querySelector("summary").focus();
    menu.open = false;
  });
}
document.addEventListener("click", (event) => closeExport(event.target));

// The list: up and down move between rows, a slash goes to the search.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("input, select, textarea");
  if (event.key === "Escape") closeExport();
  if ((event.key === "j" || event.key === "k") && !typing) {
    document.querySelector(event.key === "j" ? ".walk [rel=next]" : ".walk [rel=prev]")?.click();
  }
  if ((event.key === "n" || event.key === "p") && !typing) goToProblem(event.key === "n" ? 1 : -1);
  if (event.key === "/" && !typing) {
    const search = document.querySelector("#id_search");
    if (search) {
      event.preventDefault();
      search.focus();
      search.select();
    }
  }
  if ((event.key === "ArrowDown" || event.key === "ArrowUp") && event.target.matches("a.row")) {
    const item = event.target.parentElement;
    const next = event.key === "ArrowDown" ? item.nextElementSibling : item.previousElementSibling;
    if (next) {
      event.preventDefault();
      next.querySelector("a.row").focus();
    }
  }
});

// "just now" and "5 minutes ago" go on while a page is open, as backoffice/words.py words them. The
// browser's clock may be off: at first sight, what the server wrote counts.
const UNITS = { year: 31536000, month: 2592000, week: 604800, day: 86400, hour: 3600, minute: 60 };
const known = new WeakMap();

function agoWords(seconds) {
  for (const [noun, each] of Object.entries(UNITS)) {
    const number = Math.floor(seconds / each);
    if (number >= 1) return `${number}\u00a0${noun}${number === 1 ? "" : "s"} ago`;
  }
  return "just now";
}

function updateTimes() {
  document.querySelectorAll("time").forEach((shown) => {
    const text = shown.textContent;
    const found = /^(?:just now|(\d+)\u00a0([a-z]+?)s? ago)$/.exec(text);
    if (!found) return;
    let time = known.get(shown);
    if (time?.text !== text) {
      const byClock = (Date.now() - Date.parse(shown.dateTime)) / 1000;
      const least = found[1] ? found[1] * UNITS[found[2]] : 0;
      const agrees = byClock > -60 && agoWords(byClock) === text;
      const seconds = agrees ? byClock : least;
      time = { since: Date.now() - seconds * 1000 };
      known.set(shown, time);
    }
    time.text = agoWords((Date.now() - time.since) / 1000);
    if (time.text !== text) shown.textContent = time.text;
  });
}
document.addEventListener("DOMContentLoaded", updateTimes);
document.addEventListener("htmx:after:swap", updateTimes);
document.addEventListener("visibilitychange", updateTimes);
setInterval(() => {
  if (document.visibilityState === "visible") updateTimes();
}, 15000);
