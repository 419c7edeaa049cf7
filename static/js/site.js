// What every page needs and HTML alone cannot do: theme, menus, questions before acting, toasts, focus after swaps.
// Everything here is a help: without it links and forms still work.

import { announceJob, watchJobs } from "./jobs.js";
import { showToast } from "./toasts.js";

const root = document.documentElement;

// --- theme -----------------------------------------------------------------------------------------------------------

function isDark() {
  return root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function setUpTheme(button) {
  const name = () => button.setAttribute("aria-label", isDark() ? "Switch to light theme" : "Switch to dark theme");
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("theme", root.dataset.theme);
    } catch {
      // storage is switched off: the choice holds for this page alone
    }
    name();
    document.dispatchEvent(new CustomEvent("theme-changed"));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    name();
    document.dispatchEvent(new CustomEvent("theme-changed"));
  });
  name();
  button.hidden = false;
}

// --- menus: one open at a time; Escape and a click elsewhere close ----------------------------------------------------

function closeMenus(except) {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (menu !== except) menu.open = false;
}

document.addEventListener("click", (event) => closeMenus(event.target.closest("details.menu")));
document.addEventListener("focusin", (event) => closeMenus(event.target.closest("details.menu")));
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const open = event.target.closest?.("details.menu[open]");
  closeMenus();
  open?.querySelector("summary").focus();
});

// --- a question before something that cannot be undone: hx-confirm, and data-confirm on plain forms --------------------

const nameOf = (button) => button?.textContent.trim() || button?.getAttribute("aria-label") || "Continue";

/** Ask in the dialog; `element` is what was pressed: its words name the answer, its looks the danger. */
function ask(question, element) {
  const dialog = document.getElementById("confirm");
  const yes = document.getElementById("confirm-yes");
  const button = element.matches("button") ? element : element.querySelector("button");
  document.getElementById("confirm-question").textContent = question;
  yes.textContent = nameOf(button);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((answer) => {
    dialog.addEventListener("close", () => answer(dialog.returnValue === "yes"), { once: true });
  });
}

document.addEventListener("htmx:confirm", async (event) => {
  if (!event.detail.question) return;
  event.preventDefault();
  if (await ask(event.detail.question, event.detail.elt)) event.detail.issueRequest(true);
});

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset.confirm || form.dataset.confirmed) return;
  event.preventDefault();
  if (!(await ask(form.dataset.confirm, event.submitter ?? form))) return;
  form.dataset.confirmed = "yes";
  form.requestSubmit(event.submitter);
  delete form.dataset.confirmed;
});

// --- a form whose answer is shown only once is sent only once -----------------------------------------------------------

document.addEventListener("submit", (event) => {
  if (!event.target.matches("form[data-once]") || event.defaultPrevented) return;
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "yes";
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// --- what can be copied -------------------------------------------------------------------------------------------------

for (const button of document.querySelectorAll("button[data-copy]")) {
  const field = document.getElementById(button.dataset.copy);
  button.hidden = false;
  button.addEventListener("click", async () => {
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
      showToast({ text: "Copied.", kind: "ok" });
    } catch {
      showToast({ text: "Your browser does not let pages copy. It is selected: press Ctrl and C.", kind: "bad" });
    }
  });
}

// --- a line at the top while something asked for takes its time --------------------------------------------------------

const waiting = document.getElementById("waiting");
const pending = new Set();

function showWaiting() {
  waiting.toggleAttribute("data-on", pending.size > 0);
}

document.addEventListener("htmx:beforeRequest", (event) => {
  // Polling and page fragments that load by themselves are not what the reader waits for.
  if (!event.detail.requestConfig.triggeringEvent?.isTrusted) return;
  pending.add(event.detail.xhr);
  showWaiting();
});
document.addEventListener("htmx:afterRequest", (event) => {
  pending.delete(event.detail.xhr);
  showWaiting();
});
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented || event.target.method === "dialog") return;
  pending.add(event.target);
  showWaiting();
});
addEventListener("pageshow", () => {
  pending.clear();
  showWaiting();
});

// --- answers that are not a fragment for their target ------------------------------------------------------------------

function isWholePage(text) {
  return /^\s*<!doctype html/i.test(text);
}

/** Puts what is to be read and acted on before the form that it is about, and there is the reader's focus. */
function showBefore(place, refusal) {
  if (place.previousElementSibling?.matches("[data-stays]")) place.previousElementSibling.remove();
  refusal.tabIndex = -1;
  place.before(refusal);
  refusal.focus();
}

document.addEventListener("htmx:beforeSwap", (event) => {
  const { detail } = event;
  if (detail.xhr.status >= 500 || !detail.shouldSwap) return;
  const text = detail.serverResponse;
  if (isWholePage(text) && !(detail.xhr.status < 400 && detail.requestConfig.elt.closest("[hx-select]"))) {
    detail.shouldSwap = false;
    if (detail.xhr.status < 400) {
      location.assign(detail.xhr.responseURL); // a redirect was followed: go where it led
      return;
    }
    const page = new DOMParser().parseFromString(text, "text/html");
    const sentence = page.querySelector("main .lead") ?? page.querySelector("main h1");
    showToast({ text: sentence?.textContent ?? "That was not possible.", kind: "bad" });
  } else if (/^\s*<[^>]*\bdata-refused\b/.test(text)) {
    // A refusal is said beside the form, so that nothing typed is lost.
    detail.shouldSwap = false;
    const fragment = new DOMParser().parseFromString(text, "text/html");
    const stays = fragment.querySelector("[data-stays]");
    if (stays) {
      showBefore(detail.requestConfig.elt, stays);
      return;
    }
    showToast({ text: fragment.body.textContent.trim(), kind: "bad" });
  }
});

document.addEventListener("htmx:responseError", (event) => {
  const id = event.detail.xhr.getResponseHeader("X-Request-ID");
  showToast({ text: `Something went wrong on our side${id ? ` (error ${id})` : ""}. Try again in a moment.`, kind: "bad" });
});
for (const name of ["htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(name, (event) => {
    if (!event.detail.requestConfig?.triggeringEvent?.isTrusted) return;
    showToast({ text: "The site did not answer. Check your connection and try again.", kind: "bad" });
  });
}

// --- focus: what had it may be gone after a swap -----------------------------------------------------------------------

let lostFocus = null;

document.addEventListener("htmx:beforeSwap", (event) => {
  lostFocus = event.detail.shouldSwap && event.detail.target.contains(document.activeElement) ? event.detail.target.id : null;
});
document.addEventListener("htmx:afterSettle", (event) => {
  const invalid = event.detail.elt.querySelector?.("[aria-invalid='true'], [role='alert']");
  if (invalid && [402, 422].includes(event.detail.xhr?.status)) {
    if (invalid.matches("[role='alert']")) invalid.tabIndex = -1;
    invalid.focus();
  } else if (lostFocus && document.activeElement === document.body) {
    const place = document.getElementById(lostFocus);
    if (place) {
      if (!place.hasAttribute("tabindex")) place.tabIndex = -1;
      place.focus({ preventScroll: true });
    }
  }
  lostFocus = null;
});

// --- ranges show their figure ------------------------------------------------------------------------------------------

document.addEventListener("input", (event) => {
  if (!event.target.matches("input[type='range']")) return;
  for (const output of document.querySelectorAll(`output[for='${CSS.escape(event.target.id)}']`)) {
    output.textContent = event.target.value + (output.dataset.unit ?? "");
  }
});

setUpTheme(document.getElementById("theme"));
watchJobs((job) => announceJob(job, showToast));
