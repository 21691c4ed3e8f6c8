// Shows progress while the server makes a workbook, then saves it. Without this script, the browser
// downloads the same file without progress.
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
    update({ rows, total }) {
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

// Reads lines of JSON, an empty line and then the file. Calls onLine for each line as it arrives,
// and returns the file in parts, or null if it did not arrive.
async function partsAfterLines(body, onLine) {
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
      if (line) onLine(JSON.parse(line));
      else parts = [begun];
    }
  }
}

function save(file, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  // The browser needs the URL until it has begun to read the file.
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
      // Show the page that explains the error, or the form to sign in.
      location.assign(link.href);
      return;
    }
    const parts = await partsAfterLines(response.body, (line) => {
      size = line.size ?? size;
      problem = line.problem ?? problem;
      if (line.rows !== undefined) making.update(line);
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
  making.fail(problem ?? "The file could not be created. Try again.");
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-workbook]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  // One at a time: a second click asks for the same file.
  if (!document.querySelector(".making progress")) makeWorkbook(link);
});
