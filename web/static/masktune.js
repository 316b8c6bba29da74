// What works without the server: uploads with their progress, the before/after slider, the theme.

const cookie = (name, value) => {
  document.cookie = `${name}=${value};path=${document.documentElement.dataset.home || "/"};max-age=31536000;samesite=strict`;
};

// --- theme: system, light, dark, and round again ---------------------------------------
const THEMES = ["auto", "light", "dark"];
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-theme]");
  if (!button) return;
  const next = THEMES[(THEMES.indexOf(button.dataset.theme) + 1) % THEMES.length];
  button.dataset.theme = next;
  button.textContent = `Theme: ${next}`;
  Quasar.Dark.set(next === "auto" ? "auto" : next === "dark");
  cookie("masktune_theme", next);
  emitEvent("masktune-theme", next);
});

// --- before and after ----------------------------------------------------------------------------
document.addEventListener("input", (event) => {
  if (!event.target.matches("input.slide")) return;
  const all = event.target.matches("[data-all]");
  for (const slide of all ? document.querySelectorAll("input.slide") : [event.target]) {
    slide.value = event.target.value;
    slide.closest("li")?.querySelector(".compare")?.style.setProperty("--cut", `${event.target.value}%`);
  }
});

// --- tables shown whole: sort by the clicked column, and reverse on a second click ------------------------
const figure = (text) => parseFloat(text.replace("−", "-").replace(/[^0-9.+-]/g, "")) || 0;
document.addEventListener("click", (event) => {
  const head = event.target.closest("table.data thead button")?.closest("th");
  if (!head) return;
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const text = (row) => row.cells[head.cellIndex].firstChild?.textContent.trim() ?? "";
  const apart = head.classList.contains("number")
    ? (a, b) => figure(text(a)) - figure(text(b))
    : (a, b) => text(a).localeCompare(text(b), undefined, { numeric: true });
  const body = head.closest("table").tBodies[0];
  const rows = [...body.querySelectorAll("tr:not([data-stays])")].sort(apart);
  for (const row of down ? rows.reverse() : rows) body.insertBefore(row, body.querySelector("tr[data-last]"));
});

// --- uploads -------------------------------------------------------------------------------------
const says = (drop, text, failed = false) => {
  drop.querySelector(".drop-says").textContent = text;
  drop.classList.toggle("failed", failed);
};
const fieldsOf = (drop) => [...document.querySelectorAll(`[data-for="${drop.id}"]`)];

// An error is shown beneath its field; the first such field gets the focus.
function mark(drop, faults) {
  for (const field of fieldsOf(drop)) {
    const fault = faults[field.name];
    field.parentElement.querySelector(".field-wrong")?.remove();
    field.toggleAttribute("aria-invalid", Boolean(fault));
    if (!fault) continue;
    const told = Object.assign(document.createElement("small"), { className: "field-wrong", textContent: fault });
    told.setAttribute("role", "alert");
    field.after(told);
  }
  fieldsOf(drop).find((field) => faults[field.name])?.focus();
}

// The file is the whole body and its fields are in the query, so the server need not parse a form.
// The page first asks whether it would be accepted: an answer during the upload may not arrive.
async function send(drop, file) {
  const fields = fieldsOf(drop).map((field) => [field.name, field.value]);
  const to = `${drop.dataset.to}?${new URLSearchParams([...fields, ["filename", file.name], ["size", file.size]])}`;
  const failed = (answer, status) => {
    drop.classList.remove("busy");
    drop.querySelector("input[type=file]").value = "";
    mark(drop, answer.fields || {});
    says(drop, answer.detail || `The upload was refused (${status}).`, true);
  };
  mark(drop, {});
  drop.classList.add("busy");
  says(drop, `Sending ${file.name} …`);
  try {
    const asked = await fetch(to, { method: "POST", headers: { "X-Masktune": "ask" } });
    if (!asked.ok) return failed(await asked.json().catch(() => ({})), asked.status);
  } catch {
    return failed({ detail: "The dashboard is not responding. Try again." });
  }
  const request = new XMLHttpRequest(); // fetch reports no upload progress
  request.upload.onprogress = (event) => {
    if (!event.lengthComputable) return;
    drop.querySelector(".bar > i").style.width = `${(100 * event.loaded) / event.total}%`;
    if (event.loaded === event.total) says(drop, `${file.name} was sent; the service is processing it …`);
  };
  request.onerror = () => failed({ detail: "The connection was lost. Try again." });
  request.onload = () => {
    let answer = {};
    try { answer = JSON.parse(request.responseText); } catch { /* reported below */ }
    if (request.status >= 400) return failed(answer, request.status);
    drop.classList.remove("busy");
    if (answer.next) { window.location.assign(answer.next); return; }
    drop.querySelector("input[type=file]").value = "";
    says(drop, file.name);
    emitEvent("masktune-uploaded", answer);
  };
  request.open("POST", to);
  request.setRequestHeader("X-Masktune", "upload"); // another site's form cannot set it
  request.setRequestHeader("Content-Type", "application/octet-stream");
  request.send(file);
}

// A file is sent as soon as it is chosen, or held until its form is filled in.
function chosen(drop, file) {
  if (drop.classList.contains("busy")) return;
  if (!drop.hasAttribute("data-held")) return send(drop, file);
  drop.held = file;
  says(drop, `${file.name}, ${(file.size / 1e6).toFixed(1)} MB`);
}

function dropped(drop, brought) {
  if (drop.classList.contains("busy")) return;
  if (brought.items[0]?.webkitGetAsEntry?.()?.isDirectory) says(drop, "That is a folder. Pack it into an archive first.", true);
  else if (brought.files.length > 1) says(drop, "One file at a time, please.", true);
  else chosen(drop, brought.files[0]);
}

// A visitor who leaves during an upload would have to start it again.
window.addEventListener("beforeunload", (event) => {
  if (document.querySelector(".drop.busy")) event.preventDefault();
});
document.addEventListener("click", (event) => {
  const drop = document.getElementById(event.target.closest("[data-send]")?.dataset.send);
  if (!drop || drop.classList.contains("busy")) return;
  if (drop.held) send(drop, drop.held);
  else says(drop, "Choose a file first.", true);
});
document.addEventListener("change", (event) => {
  const drop = event.target.closest?.(".drop");
  if (drop && event.target.files?.length) chosen(drop, event.target.files[0]);
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    const drop = event.target.closest?.(".drop");
    if (kind !== "dragleave") event.preventDefault(); // a file dropped beside must not replace the page
    if (!drop) return;
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) dropped(drop, event.dataTransfer);
  });
}
