// Short news in the corner. Good news goes by itself, unless the reader is at it; bad news stays until closed.

const STAYS_MS = 8000;

function icon(name) {
  // The page's own icons carry the address of the sprite, which has a hash in production.
  const svg = document.querySelector("svg.icon").cloneNode(true);
  svg.setAttribute("class", "icon");
  const use = svg.querySelector("use");
  use.setAttribute("href", use.getAttribute("href").replace(/#.*/, `#${name}`));
  return svg;
}

/** Show `text`, and a link when there is an `url`; kind: "ok", "bad" or "info". Returns the element. */
export function showToast({ text, url = "", link = "Open", kind = "info" }) {
  const toast = document.createElement("div");
  toast.className = `toast toast-${kind}`;
  const words = document.createElement("p");
  words.textContent = text;
  if (url) {
    const anchor = document.createElement("a");
    anchor.href = url;
    anchor.textContent = link;
    words.append(" ", anchor);
  }
  const close = document.createElement("button");
  close.type = "button";
  close.className = "icon-button";
  close.setAttribute("aria-label", "Close");
  close.append(icon("close"));
  close.addEventListener("click", () => toast.remove());
  toast.append(icon({ ok: "check", bad: "error" }[kind] ?? "info"), words, close);
  document.getElementById("toasts").append(toast);
  if (kind !== "bad") leaveLater(toast);
  return toast;
}

function leaveLater(toast) {
  let timer = 0;
  const start = () => {
    timer = setTimeout(() => toast.remove(), STAYS_MS);
  };
  for (const name of ["pointerenter", "focusin"]) toast.addEventListener(name, () => clearTimeout(timer));
  for (const name of ["pointerleave", "focusout"]) toast.addEventListener(name, start);
  start();
}
