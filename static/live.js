// Keeps an open page current. Every few seconds it asks NewArrivalsView what has changed, which
// answers without content. Then it fetches the changed parts and morphs them into place.
"use strict";

(() => {
  // Milliseconds between two requests: while a run is going on, otherwise, and in a hidden tab.
  const SOON = 4_000;
  const LATER = 15_000;
  const MINUTE = 60_000;
  const TIMEOUT = 20_000;
  const MOST_RUNS = 200;

  const note = document.querySelector("#freshness");
  let upToDate = Date.now();
  let failures = 0;
  let notBefore = 0;
  let timer;
  let isAsking = false;
  let askAgain = false;
  // The conversation or run on the page, if it no longer exists for this user.
  let gone;

  const isHidden = () => document.visibilityState === "hidden";

  // Requests

  class Failure extends Error {
    constructor(response) {
      super(`Status ${response.status}`);
      // Only the site sends X-Request-ID. Without it, a proxy may have answered instead.
      this.isMissing = response.status === 404 && response.headers.has("X-Request-ID");
      this.signIn = response.headers.get("HX-Redirect");
      const wait = response.headers.get("Retry-After");
      const seconds = Number(wait ?? 0);
      this.until = Number.isNaN(seconds) ? Date.parse(wait) : Date.now() + 1000 * seconds;
    }
  }

  async function answer(url, headers) {
    const response = await fetch(url, {
      headers: {
        "HX-Request": "true",
        "HX-Current-URL": location.href,
        // Tells the server that these requests do not count as use, so the sign-in may expire.
        "X-Refresh": "1",
        ...headers,
      },
      signal: AbortSignal.timeout(TIMEOUT),
    });
    if (!response.ok || response.headers.has("HX-Redirect")) throw new Failure(response);
    return response;
  }

  // The answer as text. It must have elements with these ids: if not, a proxy may have answered
  // instead of the site.
  async function html(url, ids, headers) {
    const text = await (await answer(url, headers)).text();
    if (!ids.every((id) => text.includes(`id="${id}"`))) throw new TypeError("Unexpected answer");
    return text;
  }

  // Replacing

  // What must not move while the page changes: the element under the pointer, else the one with the
  // focus, else the topmost one in view.
  let pointer;
  addEventListener("pointermove", (event) => {
    pointer = event.pointerType === "mouse" ? [event.clientX, event.clientY] : undefined;
  }, { passive: true });
  document.documentElement.addEventListener("pointerleave", () => (pointer = undefined));

  const CONTAINERS = "main, aside, section, div, ol, ul, form";

  function isInView(element, top) {
    const box = element.getBoundingClientRect();
    return box.bottom > top && box.top < innerHeight;
  }

  function keepStill(part, change) {
    const beside = part.closest(".beside");
    const scrolled = beside ?? document.scrollingElement;
    const box = (beside ?? document.querySelector("main")).getBoundingClientRect();
    const top = beside ? box.top : document.querySelector(".bar").getBoundingClientRect().bottom;
    const middle = box.left + box.width / 2;
    const still = [
      pointer && document.elementFromPoint(...pointer),
      isInView(document.activeElement, top) && document.activeElement,
      ...[20, 60, 100, 140, 180].map((below) => document.elementFromPoint(middle, top + below)),
    ].find((one) => one?.closest?.("main") && !one.matches(CONTAINERS)
      && one.closest(".beside") === beside);
    const before = still?.getBoundingClientRect().top;
    // Browsers with scroll anchoring would make up for the change a second time.
    scrolled.style.overflowAnchor = "none";
    change();
    if (still?.isConnected) scrolled.scrollTop += still.getBoundingClientRect().top - before;
    requestAnimationFrame(() => (scrolled.style.overflowAnchor = ""));
  }

  const morph = (target, text) =>
    htmx.swap({ text, target, sourceElement: target, select: `#${target.id}`, swap: "outerMorph" });

  // Rows

  // {run: {row, state}} for the rows on the page. Runs that have ended stay here, since their last
  // steps may be written afterwards.
  const runs = new Map();
  // {row: its conversation's time of last activity when the row was last refreshed}
  const places = new WeakMap();

  function followRuns(list) {
    for (const [run, { row }] of runs) if (!row.isConnected) runs.delete(run);
    list?.querySelectorAll("[data-runs]").forEach((row) => {
      for (const [run, state] of Object.entries(JSON.parse(row.dataset.runs))) {
        runs.set(run, { row, state });
      }
    });
    return [...runs.keys()].slice(-MOST_RUNS);
  }

  async function refreshRows(list, asked, { states, moved = {} }) {
    const changed = new Set();
    for (const run of asked) {
      const { row, state } = runs.get(run);
      if (states[run] !== state) changed.add(row);
    }
    for (const [id, place] of Object.entries(moved)) {
      const row = list.querySelector(`#row-${id}`);
      if (row && places.get(row) !== place) changed.add(row);
    }
    if (!changed.size) return;
    const url = list.dataset.rows;
    const ids = [...changed].map((row) => row.id.slice("row-".length));
    const text = await html(url, [...changed].map((row) => row.id), { "X-Rows": ids.join(",") });
    // Another list may be shown by now.
    if (!list.isConnected || list.dataset.rows !== url) return;
    keepStill(list, () => htmx.swap({ text, target: list, sourceElement: list, swap: "none" }));
    for (const run of asked) if (runs.has(run)) runs.get(run).state = states[run];
    for (const [id, place] of Object.entries(moved)) {
      const row = list.querySelector(`#row-${id}`);
      if (row) places.set(row, place);
    }
  }

  // A conversation or a run

  const UNFINISHED = ":scope > ol > .run:is(.running, .interrupted, .incomplete)";

  async function refreshPage(shown) {
    const parts = [...shown.querySelectorAll("[data-part]")].filter(
      (part) => !part.parentElement.closest("details"));
    // The runtime writes nothing before the first unfinished run. On the page of a run, all tasks
    // are fetched, since their order may change.
    const first = parts.findIndex(
      (part) => part.matches(".run-steps") || part.querySelector(UNFINISHED));
    const stale = parts.slice(first < 0 ? -1 : first);
    const headers = shown.matches("main") ? { "HX-Target": "main#browse" } : {};
    const texts = [];
    for (const part of stale) {
      const isFirst = !texts.length;
      const ids = isFirst ? [shown.id, part.id] : [part.id];
      texts.push(await html(part.dataset.part, ids, isFirst ? headers : {}));
    }
    if (!shown.isConnected) return;
    keepStill(shown, () => {
      morph(shown, texts[0]);
      stale.forEach((part, place) => morph(part, texts[place]));
    });
  }

  // {folded part that the user opened: the data-state with which it was loaded}. When the data-state
  // changes, it is loaded again.
  const loaded = new WeakMap();
  document.addEventListener("htmx:before:request", ({ detail: { ctx } }) => {
    ctx.state = ctx.sourceElement.dataset.state;
  });
  document.addEventListener("htmx:after:swap", ({ detail: { ctx } }) => {
    if (!ctx.state || !ctx.sourceElement.matches("details")) return;
    loaded.set(ctx.sourceElement, ctx.response.status < 400 ? ctx.state : "");
  });

  async function refreshFolded(shown) {
    for (const folded of shown.querySelectorAll("details[data-state]")) {
      const state = folded.dataset.state;
      if (!folded.isConnected || !loaded.has(folded) || loaded.get(folded) === state) continue;
      const body = folded.querySelector(":scope > .body");
      const parts = [...body.querySelectorAll(":scope > [data-part]")];
      const texts = [];
      for (const part of parts) texts.push(await html(part.dataset.part, [part.id]));
      if (!parts.length) texts.push(await html(folded.getAttribute("hx-get"), []));
      if (!folded.isConnected) return;
      keepStill(folded, () => {
        if (parts.length) parts.forEach((part, place) => morph(part, texts[place]));
        else htmx.swap({ text: texts[0], target: body, sourceElement: body, swap: "innerMorph" });
      });
      loaded.set(folded, state);
    }
  }

  // New conversations

  const title = () => document.title.replace(/^\(\d+\+?\) /, "");

  function announce(number) {
    const shown = document.querySelector(".new");
    document.title = number ? `(${number}) ${title()}` : title();
    if (!shown) return;
    let link = shown.querySelector("a");
    if (!number) return link?.remove();
    if (!link) {
      link = document.createElement("a");
      link.className = "button";
      link.href = shown.dataset.list;
      for (const [name, value] of Object.entries({
        "hx-get": shown.dataset.list,
        "hx-target": "#browse",
        "hx-swap": "outerHTML show:top",
        "hx-indicator": "#busy",
        "hx-headers": '{"X-New": "1"}',
      })) link.setAttribute(name, value);
      shown.append(link);
      htmx.process(link);
    }
    link.textContent = `${number} new`;
  }
  document.addEventListener("htmx:after:swap", () => {
    if (document.querySelector(".new:not(:has(a))")) announce("");
  });

  // What has changed

  async function ask() {
    const watching = document.querySelector("[data-watch]");
    const announces = document.querySelector(".new");
    if (!watching || watching === gone || (isHidden() && !announces)) return false;
    const { watch, awaited } = watching.dataset;
    let url = watch;
    const headers = {};
    const list = isHidden() ? null : document.querySelector("[data-rows]");
    const asked = followRuns(list);
    if (list) {
      headers["X-Shown-Runs"] = asked.join(",").replaceAll("-", "");
      if (!watching.contains(list)) url += `&since=${list.dataset.since}`;
    }
    if (awaited) headers["X-Awaited-Runs"] = awaited;
    const found = await (await answer(url, headers)).json();
    // Another list or conversation may be shown by now.
    if (!watching.isConnected || watching.dataset.watch !== watch) return true;
    if (announces) announce(found.new);
    if (isHidden()) return true;
    if (found.signature === null) gone = watching;
    else if (found.signature && found.signature !== watching.dataset.signature) {
      await refreshPage(watching);
    }
    if (watching.isConnected) await refreshFolded(watching);
    if (list?.isConnected) await refreshRows(list, asked, found);
    return true;
  }

  // The note about the page's age

  function say(text, address) {
    // Setting the same text again would make screen readers repeat it.
    if (note.dataset.said === text) return;
    note.dataset.said = text;
    note.textContent = text;
    if (!address) return;
    const link = document.createElement("a");
    link.href = address;
    link.textContent = "Sign in";
    note.append(" ", link);
  }

  function succeeded() {
    failures = notBefore = 0;
    upToDate = Date.now();
    const shown = document.querySelector("[data-watch]");
    say(gone && shown === gone ? "This was erased, or you no longer have access to it." : "");
  }

  function failed(failure) {
    failures += 1;
    notBefore = failure.until || 0;
    if (failure.isMissing && !failure.signIn) {
      gone = document.querySelector("[data-watch]");
      return say("Part of this was erased, or you no longer have access to it.");
    }
    const since = `Not up to date since ${clockTime(upToDate)}`;
    if (failure.signIn) say(`${since}: you are signed out.`, failure.signIn);
    else say(since);
  }

  function pause() {
    if (isHidden()) return MINUTE;
    const usual = document.querySelector("[data-signature] :is(.pill, .run).running") ? SOON : LATER;
    return Math.min(usual * 2 ** failures, MINUTE);
  }

  async function run() {
    clearTimeout(timer);
    askAgain = isAsking;
    if (isAsking) return;
    isAsking = true;
    try {
      if (Date.now() >= notBefore && (await ask())) succeeded();
    } catch (failure) {
      failed(failure);
    }
    isAsking = false;
    timer = setTimeout(run, askAgain ? 0 : Math.max(pause(), notBefore - Date.now()));
  }

  document.addEventListener("visibilitychange", () => {
    if (!isHidden()) return run();
    clearTimeout(timer);
    timer = setTimeout(run, MINUTE);
  });
  addEventListener("online", run);
  document.addEventListener("refresh", run);
  timer = setTimeout(run, pause());
})();
