// What all pages need beside htmx. It runs before the body is loaded, so it must stay small.
"use strict";

// Tells the server the viewer's time zone, in which it shows and reads times.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone) {
  document.cookie = `timezone=${zone}; path=/; max-age=31536000; samesite=lax`;
}

function showCopyButtons(root) {
  if (navigator.clipboard) {
    root.querySelectorAll("[data-copy]").forEach((button) => (button.hidden = false));
  }
}

// The path of the open conversation whose row was last scrolled into view in the list beside it.
let followed;

function markCurrentRow() {
  document.querySelectorAll(".beside a.row").forEach((row) => {
    if (row.pathname !== location.pathname) return row.removeAttribute("aria-current");
    row.setAttribute("aria-current", "page");
    if (followed !== row.pathname) row.scrollIntoView({ block: "nearest" });
    followed = row.pathname;
  });
}

function scrollToFocus() {
  const problem = location.hash === "#problem" && document.querySelector("#problem ~ .work > summary");
  if (problem) goTo(problem);
  else document.querySelector(".message.focus, .newest")?.scrollIntoView({ block: "center" });
}

function goTo(problem) {
  problem.focus({ preventScroll: true });
  problem.scrollIntoView({ block: "center" });
}

// A drawing that is wider than its box first shows where the workflow begins.
function showBeginning() {
  document.querySelectorAll(".drawing").forEach((drawing) => {
    if (drawing.scrollLeft) return;
    const box = drawing.getBoundingClientRect();
    const first = drawing.querySelector(".node").getBoundingClientRect();
    drawing.scrollLeft = first.left + first.width / 2 - box.left - box.width / 2;
  });
}

document.addEventListener("htmx:after:swap", () => {
  showCopyButtons(document);
  showBeginning();
  markCurrentRow();
});
document.addEventListener("htmx:after:history:push", () => {
  markCurrentRow();
  requestAnimationFrame(scrollToFocus);
});

// Until htmx listens, nothing else shows the list that Back or Forward leads to.
const opened = location.pathname + location.search;
let htmxListens = false;
addEventListener("popstate", () => {
  if (!htmxListens && location.pathname + location.search !== opened) location.reload();
});

// In browsers with trusted types, only htmx may turn text into HTML, and only the server's answers.
// This sets up its policy as soon as htmx is loaded: it may send requests before other scripts run.
document.addEventListener("load", ({ target }) => {
  if (!target.matches?.('script[src*="/htmx"]')) return;
  // htmx begins with a timer that it has set by now, so it comes before this one.
  setTimeout(() => { htmxListens = true; });
  htmx.registerExtension("trusted-types", {
    init({ initSecurity }) {
      initSecurity(window.trustedTypes?.createPolicy("htmx", { createHTML: (text) => text }));
    },
  });
}, true);

document.addEventListener("DOMContentLoaded", () => {
  showCopyButtons(document);
  showBeginning();
  document.querySelectorAll("[data-print]").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", () => print());
  });
  // Open the linked message, run or task if it is folded.
  const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
  if (target && target.matches("details")) target.open = true;
  // If the URL names no element, scroll to the message that was searched for, or to the problem.
  if (!target) scrollToFocus();
  // After loading, the browser goes to the element that the URL names, which takes the focus away.
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

// Copies the text that a link leads to. Without a clipboard, the browser follows the link.
document.addEventListener("click", async (event) => {
  const link = event.target.closest("[data-copy-from]");
  if (!link || !navigator.clipboard || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  // The link's own words are kept, since after a click it says "Copied" for two seconds.
  const label = (link.dataset.label ??= link.textContent);
  const status = link.parentElement.querySelector("[role=status]");
  let outcome = "Copied";
  try {
    const response = await fetch(link.href);
    // A user who is signed out is redirected to the form to sign in.
    if (!response.ok || response.redirected) throw new Error(`Status ${response.status}`);
    await navigator.clipboard.writeText(await response.text());
  } catch {
    outcome = "Could not copy";
  }
  link.textContent = status.textContent = outcome;
  setTimeout(() => {
    link.textContent = label;
    status.textContent = "";
  }, 2000);
});

// Whether the user is still typing: the year of a date is incomplete (0202), or a search has only
// one letter.
function isUnfinished(field) {
  if (field.type.startsWith("date")) return field.value && field.value < "1000";
  return field.type === "search" && field.value && [...field.value.replace(/[\s"]/g, "")].length < 2;
}

document.addEventListener("input", (event) => {
  const { form } = event.target;
  if (form?.id !== "filters") return;
  if (isUnfinished(event.target)) event.stopPropagation();
  // An answer that is still on its way would undo what the user is typing.
  else htmx.trigger(form, "htmx:abort");
}, true);

// A printout says when it was printed, not when the page was opened.
const ON_PAPER = { dateStyle: "medium", timeStyle: "long" };
addEventListener("beforeprint", () => {
  const now = new Date().toLocaleString("en-GB", ON_PAPER);
  document.querySelectorAll("[data-now]").forEach((shown) => (shown.textContent = now));
});

// 14:02, or 27 Nov, 14:02 if it was on another day.
function clockTime(moment) {
  const on = new Date(moment);
  const day = on.toDateString() === new Date().toDateString()
    ? {} : { day: "numeric", month: "short" };
  return on.toLocaleString("en-GB", { ...day, hour: "2-digit", minute: "2-digit" });
}

// Keeps "just now" and "5 minutes ago" current while a page is open, in the same words as
// backoffice/words.py. If the browser's clock disagrees with the server, the server's words count
// and time passes from there.
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
