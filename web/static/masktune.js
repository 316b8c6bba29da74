// What needs no answer of the server: uploads with their progress, the before/after slider, the theme.

const cookie = (name, value) => {
  document.cookie = `${name}=${value};path=${document.documentElement.dataset.home || "/"};max-age=31536000;samesite=strict`;
};

// --- theme: as the system, light, dark, and round again ---------------------------------------
const THEMES = ["auto", "light", "dark"];
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-theme]");
  if (!button) return;
  const next = THEMES[(THEMES.indexOf(button.dataset.theme) + 1) % THEMES.length];
  button.dataset.theme = next;
  button.textContent = `Theme: ${next}`;
  Quasar.Dark.set(next === "auto" ? "auto" : next === "dark");
  cookie("masktune_theme", next);
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

// --- uploads -------------------------------------------------------------------------------------
const says = (drop, text, failed = false) => {
  drop.querySelector(".drop-says").textContent = text;
  drop.classList.toggle("failed", failed);
};

function send(drop, file) {
  const request = new XMLHttpRequest();
  const form = new FormData();
  for (const field of document.querySelectorAll(`[data-for="${drop.id}"]`)) form.append(field.name, field.value);
  form.append("file", file);
  drop.classList.add("busy");
  says(drop, `sending ${file.name} …`);
  request.upload.onprogress = (event) => {
    if (!event.lengthComputable) return;
    drop.querySelector(".bar > i").style.width = `${(100 * event.loaded) / event.total}%`;
    if (event.loaded === event.total) says(drop, `${file.name} is sent; the service is taking it in …`);
  };
  const failed = (text) => {
    drop.classList.remove("busy");
    drop.querySelector("input[type=file]").value = "";
    says(drop, text, true);
  };
  request.onerror = () => failed("The connection broke off. Try again.");
  request.onload = () => {
    let answer = {};
    try { answer = JSON.parse(request.responseText); } catch { /* told below */ }
    if (request.status >= 400) return failed(answer.detail || `The upload was refused (${request.status}).`);
    if (answer.next) { window.location.assign(answer.next); return; }
    drop.classList.remove("busy");
    drop.querySelector("input[type=file]").value = "";
    says(drop, file.name);
    emitEvent("masktune-uploaded", answer);
  };
  request.open("POST", drop.dataset.to);
  request.setRequestHeader("X-Masktune", "upload"); // a form of another site cannot set it
  request.send(form);
}

document.addEventListener("change", (event) => {
  const drop = event.target.closest?.(".drop");
  if (drop && event.target.files?.length) send(drop, event.target.files[0]);
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    const drop = event.target.closest?.(".drop");
    if (kind !== "dragleave") event.preventDefault(); // a file dropped beside must not replace the page
    if (!drop) return;
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) send(drop, event.dataTransfer.files[0]);
  });
}
