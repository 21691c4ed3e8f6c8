// While a request by the user is pending, what it will replace is dimmed. A note says if the request
// takes long or there is no connection. Requests that failed without a connection are repeated.
"use strict";

(() => {
  // Milliseconds until the note says that a request takes long, and between two attempts.
  const LONG = 1_000;
  const AGAIN = 15_000;

  const note = document.querySelector("#waiting");
  const button = document.querySelector("#try-again");
  const pending = new Set();
  // {target: the last failed request for it}
  const failed = new Map();
  let loadedAt = Date.now();
  let why;
  let isLong = false;
  let longTimer;
  let againTimer;

  // The element that a request dims, or null if the page sent it without the user.
  function dimmed({ target }) {
    if (target?.matches("#browse")) {
      return document.querySelector("#hits") ?? document.querySelector("#results");
    }
    return target?.matches("#conversation, details > .body") ? target : null;
  }

  function words() {
    if (isLong) return document.querySelector("#results[aria-busy], #hits[aria-busy]")
      ? "Still searching…" : "Still loading…";
    return failed.size ? `${why}: showing what was loaded at ${clockTime(loadedAt)}` : "";
  }

  function update() {
    const busy = new Set([...pending].map(dimmed));
    busy.delete(null);
    document.querySelectorAll("[aria-busy]").forEach((shown) => {
      if (!busy.has(shown)) shown.removeAttribute("aria-busy");
    });
    busy.forEach((shown) => shown.setAttribute("aria-busy", "true"));
    if (!busy.size) {
      clearTimeout(longTimer);
      longTimer = undefined;
      isLong = false;
    } else longTimer ??= setTimeout(() => {
      isLong = true;
      update();
    }, LONG);
    const text = words();
    // Setting the same text again would make screen readers repeat it.
    if (note.textContent !== text) note.textContent = text;
    button.hidden = isLong || !failed.size;
  }

  document.addEventListener("htmx:before:request", ({ detail: { ctx } }) => {
    pending.add(ctx);
    // Somebody who clicks again does not want the earlier click repeated.
    if (!ctx.isRepeated) failed.delete(ctx.target);
    update();
  });
  // The list may have changed since its counts were asked for, and an invalid one asks for none.
  document.addEventListener("htmx:before:swap", (event) => {
    const { request, sourceElement } = event.detail.ctx;
    if (sourceElement.id !== "counts") return;
    const wanted = sourceElement.getAttribute("hx-get");
    const same = wanted && new URL(wanted, location).href === new URL(request.action, location).href;
    if (!same) event.preventDefault();
  });
  document.addEventListener("htmx:error", ({ detail: { ctx, error } }) => {
    // Other errors come with an answer.
    if (!ctx || ctx.text !== undefined) return;
    failed.set(ctx.target, ctx);
    why = error === "timeout" ? "No answer" : "No connection";
    clearTimeout(againTimer);
    againTimer = setTimeout(retry, AGAIN);
  });
  document.addEventListener("htmx:finally:request", ({ detail: { ctx } }) => {
    pending.delete(ctx);
    if (ctx.text !== undefined) failed.delete(ctx.target);
    // Forget requests whose target is not on the page any more.
    for (const target of failed.keys()) if (!target?.isConnected) failed.delete(target);
    update();
  });
  document.addEventListener("htmx:after:swap", () => (loadedAt = Date.now()));

  function retry() {
    for (const { request, sourceElement: source, sourceEvent: event } of failed.values()) {
      if (source.isConnected) htmx.ajax(request.method, request.action, { source, event, isRepeated: true });
    }
  }

  button.addEventListener("click", retry);
  addEventListener("online", retry);
})();
