// Shows how far a workbook is while the server makes it, and then saves it. Without this script the
// browser waits for the same file.
"use strict";

const NEWLINE = 10;

function showMaking(link, cancel) {
  const box = document.createElement("section");
  const text = document.createElement("p");
  const bar = document.createElement("progress");
  const button = document.createElement("button");
  box.className = "making";
  box.setAttribute("aria-label", link.getAttribute("aria-label"));
  text.setAttribute("role", "status");
  text.textContent = "Preparing the file…";
  bar.setAttribute("aria-label", "Rows");
  const numbers = document.createElement("p");
  button.type = "button";
  button.className = "quiet";
  button.textContent = "Cancel";
  button.addEventListener("click", () => {
    cancel();
    box.remove();
  });
  box.append(text, numbers, bar, button);
  document.body.append(box);
  return {
    tell({ rows, total }) {
      const count = (number) => number.toLocaleString("en-GB");
      numbers.textContent = total ? `${count(rows)} of ${count(total)} rows` : `${count(rows)} rows`;
      if (total) {
        bar.max = total;
        bar.value = Math.min(rows, total);
      }
    },
    fail(problem) {
      text.textContent = problem;
      numbers.remove();
      bar.remove();
      button.textContent = "Close";
    },
    end() {
      box.remove();
    },
  };
}

// The file behind lines of JSON and an empty line, in parts; each line is told on its way.
async function partsAfterLines(body, tell) {
  const reader = body.getReader();
  let parts = null;
  let begun = new Uint8Array();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return parts;
    if (parts) {
      parts.push(value);
      continue;
    }
    const joined = new Uint8Array(begun.length + value.length);
    joined.set(begun);
    joined.set(value, begun.length);
    begun = joined;
    for (let end; !parts && (end = begun.indexOf(NEWLINE)) >= 0; ) {
      const line = new TextDecoder().decode(begun.subarray(0, end));
      begun = begun.subarray(end + 1);
      if (line) tell(JSON.parse(line));
      else parts = [begun];
    }
  }
}

function save(file, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  // Not before the browser has begun to read it.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

async function makeWorkbook(link) {
  const controller = new AbortController();
  const making = showMaking(link, () => controller.abort());
  let size = null;
  let problem = null;
  try {
    const response = await fetch(link.href, {
      headers: { "X-Progress": "1" },
      signal: controller.signal,
    });
    if (!response.ok || response.redirected) {
      // The page that says why, or the form to sign in.
      location.assign(link.href);
      return;
    }
    const parts = await partsAfterLines(response.body, (told) => {
      size = told.size ?? size;
      problem = told.problem ?? problem;
      if (told.rows !== undefined) making.tell(told);
    });
    const file = new Blob(parts ?? [], { type: response.headers.get("Content-Type") });
    if (parts && file.size === size) {
      save(file, /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition"))[1]);
      making.end();
      return;
    }
  } catch (error) {
    if (error.name === "AbortError") return;
  }
  making.fail(problem ?? "The file was not made. Try again.");
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-workbook]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  // One at a time: a second press is the same wish.
  if (!document.querySelector(".making progress")) makeWorkbook(link);
});
