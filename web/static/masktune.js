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

// --- times: in the reader's zone, with its name; without this script, they are in UTC ---------------------
const zoned = (fields) => new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZoneName: "short", ...fields });
const clock = zoned({ second: "2-digit" }), moment = zoned({ day: "numeric", month: "short", year: "numeric" });
function showTimes() {
  for (const time of document.querySelectorAll("time:not([data-local])")) {
    time.dataset.local = "";
    const text = ("clock" in time.dataset ? clock : moment).format(new Date(time.dateTime));
    if (time.title) time.title = text;
    else time.textContent = text;
  }
}
new MutationObserver(showTimes).observe(document, { childList: true, subtree: true });

// --- before and after ----------------------------------------------------------------------------
document.addEventListener("input", (event) => {
  if (!event.target.matches("input.slide")) return;
  const all = event.target.matches("[data-all]");
  for (const slide of all ? document.querySelectorAll("input.slide") : [event.target]) {
    slide.value = event.target.value;
    slide.closest("li")?.querySelector(".compare")?.style.setProperty("--cut", `${event.target.value}%`);
  }
});

// --- how strongly saliency maps are shown ----------------------------------------------------------
document.addEventListener("input", (event) => {
  if (!event.target.matches("input.strength")) return;
  event.target.closest(".looks").style.setProperty("--strength", event.target.value / 100);
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
const show = (drop, text, failed = false) => {
  drop.querySelector(".drop-status").textContent = text;
  drop.classList.toggle("failed", failed);
};
const OPTION = "options/"; // before the name of a field that is one of the options of an upload
const fieldsOf = (drop) => [...document.querySelectorAll(`[data-for="${drop.id}"]`)];
const bytes = (count) => {
  const power = Math.min(3, Math.floor(Math.log10(Math.max(count, 1)) / 3));
  return `${(count / 1000 ** power).toFixed(power > 2 ? 1 : 0)} ${["B", "kB", "MB", "GB"][power]}`;
};

const invalid = (drop) => {
  const fields = fieldsOf(drop).filter((field) => !field.checkValidity());
  return Object.fromEntries(fields.map((field) => [field.name, field.dataset.invalid || field.validationMessage]));
};

// An error is shown beneath its field; the first such field gets the focus.
function mark(drop, errors) {
  for (const field of fieldsOf(drop)) {
    const error = errors[field.name];
    field.parentElement.querySelector(".field-wrong")?.remove();
    field.toggleAttribute("aria-invalid", Boolean(error));
    if (!error) continue;
    const note = Object.assign(document.createElement("small"), { className: "field-wrong", textContent: error });
    note.setAttribute("role", "alert");
    field.after(note);
  }
  const wrong = fieldsOf(drop).find((field) => errors[field.name]);
  for (let fold = wrong?.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  wrong?.focus();
}

// What a field says: yes or no, a text, or the list that its lines or its numbers are.
function entryOf(field, file) {
  if (field.disabled) return "";
  if (field.type === "checkbox") return field.checked;
  const text = field.value.trim();
  if (!text) return "fileName" in field.dataset ? file.name.split(".")[0].slice(0, 100) : "";
  if ("lines" in field.dataset) return text.split("\n").map((line) => line.trim()).filter(Boolean);
  return "numbers" in field.dataset ? text.split(",").map(Number) : text;
}

// The fields come before the file, whose name is the data set's if none was typed.
function formOf(drop, file) {
  const form = new FormData(), options = {};
  const add = (name, entry) => form.append(name, typeof entry === "string" ? entry : JSON.stringify(entry));
  for (const field of fieldsOf(drop)) {
    const entry = entryOf(field, file);
    if (!entry) continue;
    if (field.name.startsWith(OPTION)) options[field.name.slice(OPTION.length)] = entry;
    else add(field.name, entry);
  }
  if (Object.keys(options).length) add("options", options);
  form.append("file", file);
  return form;
}

function send(drop, file) {
  const fail = (detail, errors = {}) => {
    drop.classList.remove("busy");
    drop.querySelector("input[type=file]").value = "";
    mark(drop, errors);
    show(drop, detail, true);
  };
  const wrong = invalid(drop), limit = Number(drop.dataset.limit);
  if (Object.keys(wrong).length) return fail("Correct the marked fields.", wrong);
  if (file.size > limit) {
    return fail(`This file has ${bytes(file.size)}, but the service accepts at most ${bytes(limit)}.`);
  }
  mark(drop, {});
  drop.classList.add("busy");
  show(drop, `Sending ${file.name} …`);
  const request = new XMLHttpRequest(); // fetch reports no upload progress
  request.upload.onprogress = (event) => {
    if (!event.lengthComputable) return;
    drop.querySelector(".bar > i").style.width = `${(100 * event.loaded) / event.total}%`;
    if (event.loaded === event.total) show(drop, `${file.name} was sent; the service is processing it …`);
  };
  request.onerror = () => fail("The connection was lost. Try again.");
  request.onload = () => {
    let answer = {};
    try { answer = JSON.parse(request.responseText); } catch { /* reported below */ }
    if (request.status >= 400) {
      const errors = answer.errors || [];
      const detail = errors.map((error) => error.detail).join("; ") || [answer.title, answer.detail].filter(Boolean).join(": ");
      const named = ({ pointer }) => fieldsOf(drop).find((field) => `${pointer}/`.startsWith(`/${field.name}/`))?.name;
      const fields = errors.map((error) => [named(error), error.detail]);
      return fail(detail || `The upload was refused (${request.status}).`, Object.fromEntries(fields));
    }
    drop.classList.remove("busy");
    if (drop.dataset.next) { window.location.assign(drop.dataset.next + answer.id); return; }
    drop.querySelector("input[type=file]").value = "";
    show(drop, file.name);
    emitEvent("masktune-uploaded", answer);
  };
  const raw = "raw" in drop.dataset; // the file alone
  request.open("POST", raw ? `${drop.dataset.to}?${new URLSearchParams({ filename: file.name })}` : drop.dataset.to);
  request.send(raw ? file : formOf(drop, file));
}

// A model's classes are those of the data set that is chosen for it, unless they are edited.
document.addEventListener("change", async (event) => {
  const classes = document.getElementById(event.target.dataset.classesTo);
  if (!classes || !event.target.value) return;
  const answer = await fetch(event.target.dataset.classesFrom + event.target.value);
  if (answer.ok) classes.value = (await answer.json()).classes.join("\n");
});

// A file is sent as soon as it is chosen, or held until its form is filled in.
function take(drop, file) {
  if (drop.classList.contains("busy")) return;
  if (!drop.hasAttribute("data-held")) return send(drop, file);
  drop.held = file;
  show(drop, `${file.name}, ${bytes(file.size)}`);
}

function takeDropped(drop, transfer) {
  if (drop.classList.contains("busy")) return;
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if ("folders" in drop.dataset) {
    const loose = [...transfer.files].map((file) => [file.name, file]); // where a browser knows no entries
    return takeFiles(drop, () => (entries.length ? filesBelow(entries) : loose));
  }
  if (entries[0]?.isDirectory) show(drop, "That is a folder. Pack it into an archive first.", true);
  else if (transfer.files.length > 1) show(drop, "One file at a time, please.", true);
  else take(drop, transfer.files[0]);
}

// --- folders: packed into a tar that refers to its files, so that none of them is read into memory -----------
const ARCHIVE = /\.(zip|tar|gz|tgz|zst)$/i, TABLE = /\.(csv|parquet)$/i;
const isUnlabelled = (drop) => fieldsOf(drop).some(({ name, value }) => name === "format" && value === "unlabelled");

// A single archive is sent as it is, and so is a table of paths; all else is packed. `list` returns [path, file] of each file.
async function takeFiles(drop, list) {
  show(drop, "Reading the folder …");
  try {
    const files = await list();
    const [path, file] = files[0] ?? [""];
    const asItIs = ARCHIVE.test(path) || (isUnlabelled(drop) && TABLE.test(path));
    if (files.length === 1 && asItIs) return take(drop, file);
    const refusal = refusalOf(drop, files.map(([path]) => path));
    if (refusal) return show(drop, `This ${refusal}.`, true);
    take(drop, packed(files));
  } catch (error) {
    show(drop, `The folder cannot be read: ${error.message}`, true);
  }
}

// The same as the command says of a folder, which here has its own name before those of its files.
function refusalOf(drop, paths) {
  const ending = (ends) => paths.filter((path) => ends.split(" ").some((end) => path.toLowerCase().endsWith(end)));
  const images = ending(drop.dataset.images), tables = ending(drop.dataset.tables);
  if (!images.length && !tables.length) return drop.dataset.withoutImages;
  const folders = [...new Set(images.map((path) => path.split("/").slice(0, -1).join("/")))];
  const loose = folders.length === 1 && ("oneClass" in drop.dataset ? !folders[0] : !folders[0].includes("/"));
  return loose && !tables.length && !isUnlabelled(drop) ? drop.dataset.looseImages : "";
}

async function filesBelow(entries, above = "") {
  const files = [];
  for (const entry of entries) {
    const path = above + entry.name;
    if (entry.isFile) files.push([path, await new Promise((resolve, reject) => entry.file(resolve, reject))]);
    else files.push(...(await filesBelow(await entriesOf(entry), `${path}/`)));
  }
  return files;
}

async function entriesOf(folder) {
  const reader = folder.createReader(), entries = [];
  for (;;) { // a reader hands out a hundred at a time
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return entries;
    entries.push(...some);
  }
}

function packed(files) {
  const parts = [];
  for (const [path, file] of files) {
    const record = ` path=${path}\n`, length = encoded(record).length;
    const digits = String(length + String(length + 4).length).length;
    const long = encoded(`${length + digits}${record}`);
    if (encoded(path).length > 100) parts.push(tarHeader("path", long.length, "x"), long, padding(long.length));
    parts.push(tarHeader(path, file.size, "0"), file, padding(file.size));
  }
  return new File([...parts, new Uint8Array(1024)], `${files[0][0].split("/")[0]}.tar`);
}

const encoded = (text) => new TextEncoder().encode(text);
const padding = (size) => new Uint8Array((512 - (size % 512)) % 512);

// POSIX.1-1988 (ustar); a name of more than 100 bytes stands in a pax header before it, of type x.
function tarHeader(name, size, type) {
  const block = new Uint8Array(512);
  const octal = (number, digits) => encoded(number.toString(8).padStart(digits, "0"));
  block.set(encoded(name).subarray(0, 100));
  block.set(octal(0o644, 7), 100);
  block.set(octal(size, 11), 124);
  block.set(octal(0, 11), 136);
  block.fill(32, 148, 156); // the checksum counts itself as spaces
  block.set(encoded(type), 156);
  block.set(encoded("ustar\u000000"), 257);
  block.set(octal(block.reduce((sum, byte) => sum + byte, 0), 6), 148);
  block[154] = 0;
  return block;
}

// A visitor who leaves during an upload would have to start it again.
window.addEventListener("beforeunload", (event) => {
  if (document.querySelector(".drop.busy")) event.preventDefault();
});
document.addEventListener("click", (event) => {
  const drop = document.getElementById(event.target.closest("[data-send]")?.dataset.send);
  if (!drop || drop.classList.contains("busy")) return;
  if (drop.held) send(drop, drop.held);
  else show(drop, "Choose a file first.", true);
});
document.addEventListener("change", (event) => {
  const drop = event.target.closest?.(".drop") ?? document.getElementById(event.target.dataset?.folderFor);
  const files = [...(event.target.files ?? [])];
  if (!drop || !files.length) return;
  if ("folders" in drop.dataset) takeFiles(drop, () => files.map((file) => [file.webkitRelativePath || file.name, file]));
  else take(drop, files[0]);
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    const drop = event.target.closest?.(".drop");
    if (kind !== "dragleave") event.preventDefault(); // a file dropped beside must not replace the page
    if (!drop) return;
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) takeDropped(drop, event.dataTransfer);
  });
}
