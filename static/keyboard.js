// One-letter shortcuts, and where the focus goes when the focused element is replaced.
"use strict";

(() => {
  // The list of shortcuts. It is only on the page if somebody is signed in who has not switched off
  // one-letter shortcuts. People who dictate or hit keys by accident need letters to do nothing.
  const dialog = document.querySelector("#shortcuts-dialog");

  // The focus

  // Focus the rows of the list or whatever is shown instead of them, or else the conversation.
  function focusResults() {
    const shown = ["#hits", "#results", "#conversation h1"].map((id) => document.querySelector(id));
    shown.find(Boolean)?.focus({ preventScroll: true });
  }

  document.addEventListener("htmx:before:swap", ({ detail: { ctx } }) => {
    const focused = document.activeElement;
    // Some browsers do not focus a link when it is clicked.
    ctx.hadFocus = ctx.sourceEvent?.type === "click"
      || (focused !== document.body && ctx.target?.contains?.(focused));
  });
  document.addEventListener("htmx:after:swap", ({ detail: { ctx } }) => {
    if (ctx.hadFocus && document.activeElement === document.body) focusResults();
  });

  // Whoever comes back from a conversation goes on from its row.
  if (document.referrer && !location.hash) {
    const { pathname } = new URL(document.referrer);
    const rows = [...document.querySelectorAll("#results .rows a.row")];
    rows.find((row) => row.pathname === pathname)?.focus();
  }

  // Go to the next (1) or previous (-1) row. If no row has the focus, go to the first one in view.
  function goToRow(step) {
    const list = document.activeElement.closest(".rows") ?? document.querySelector("#results .rows");
    const rows = [...(list?.querySelectorAll("a.row") ?? [])];
    const place = rows.findIndex((row) => row.parentElement.contains(document.activeElement));
    const inView = (row) => row.getBoundingClientRect().top > 0;
    (place < 0 ? rows.find(inView) : rows[place + step])?.focus();
  }

  // Menus

  function closeMenus(besides) {
    document.querySelectorAll("details.export[open]").forEach((menu) => {
      if (menu.contains(besides)) return;
      if (menu.contains(document.activeElement)) menu.querySelector("summary").focus();
      menu.open = false;
    });
  }
  document.addEventListener("click", (event) => closeMenus(event.target));

  // Shortcuts

  function goToSearch() {
    const search = document.querySelector("#id_search");
    const list = document.querySelector("#conversation .back a");
    if (search) {
      search.focus();
      search.select();
    } else if (list) location.assign(`${list.pathname}${list.search}#id_search`);
  }

  // Go to the next or previous row of the list, or from a conversation to the next or previous one.
  function goOn(step) {
    const neighbour = document.querySelector(step > 0 ? ".walk [rel=next]" : ".walk [rel=prev]");
    if (document.querySelector("#conversation")) neighbour?.click();
    else goToRow(step);
  }

  // Go to the next (1) or previous (-1) problem of a conversation, starting from the focus or, if it
  // is elsewhere, from the middle of the window.
  function goToProblem(step) {
    const problems = [...document.querySelectorAll("#transcript .work[data-problem] > summary")];
    const below = (each) => each.getBoundingClientRect().top > innerHeight / 2;
    const place = problems.findIndex((each) => each.parentElement.contains(document.activeElement));
    const found = place >= 0 ? problems[place + step]
      : step > 0 ? problems.find(below) : problems.findLast((each) => !below(each));
    if (found) goTo(found);
    // A long conversation loads its next part when that comes into view.
    else if (step > 0) document.querySelector("#transcript .more.later")?.scrollIntoView();
  }

  function listShortcuts() {
    dialog.showModal();
    dialog.querySelector("button").focus();
  }

  const SHORTCUTS = {
    "/": goToSearch,
    "?": listShortcuts,
    j: () => goOn(1),
    k: () => goOn(-1),
    n: () => goToProblem(1),
    p: () => goToProblem(-1),
    o: () => document.activeElement.closest(".rows > li")?.querySelector("a.row").click(),
    u: () => document.querySelector(".back a")?.click(),
  };

  document.addEventListener("keydown", (event) => {
    const { key, target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (dialog?.open) return;
    if (key === "Escape") {
      closeMenus();
      if (target.id !== "id_search") return;
      // By default, the browser would clear the field.
      event.preventDefault();
      focusResults();
    } else if (target.matches("a.row") && ["ArrowDown", "ArrowUp"].includes(key)) {
      event.preventDefault();
      goToRow(key === "ArrowDown" ? 1 : -1);
    } else if (dialog && Object.hasOwn(SHORTCUTS, key)
      && !target.matches("input, select, textarea")) {
      event.preventDefault();
      SHORTCUTS[key]();
    }
  });
})();
