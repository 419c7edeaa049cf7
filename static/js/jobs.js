// Notices when a job ends, whichever way its card came (socket or poll), and tells the page once.
// A card is #job-<code> with data-code, data-kind, data-status, a link .job-title, and data-finished at its end.

const FINISHED = "[id^='job-'][data-finished]";
const unfinished = new Set();
const told = new Set();

function remember(element) {
  for (const card of element.querySelectorAll("[id^='job-'][data-code]")) {
    if (card.hasAttribute("data-finished")) continue;
    unfinished.add(card.dataset.code);
  }
}

/** Call `tell` once for each job that ends while the page is open, then dispatch `job-ended` on the body. */
export function watchJobs(tell) {
  const end = (card) => {
    const title = card.querySelector(".job-title");
    const job = { ...card.dataset, title: title.textContent, url: title.getAttribute("href") };
    if (told.has(job.code)) return;
    told.add(job.code);
    tell(job);
    const detail = { code: job.code, kind: job.kind, status: job.status };
    // After htmx has put the card in place, so that a listener finds it there.
    setTimeout(() => document.body.dispatchEvent(new CustomEvent("job-ended", { detail })));
  };
  remember(document);
  document.addEventListener("htmx:wsBeforeMessage", (event) => {
    const message = new DOMParser().parseFromString(event.detail.message, "text/html");
    remember(message);
    for (const card of message.querySelectorAll(FINISHED)) end(card);
    // Placed here rather than by htmx, to which a card without a place on this page would be an error.
    event.preventDefault();
    for (const card of message.querySelectorAll("[hx-swap-oob]")) {
      const place = document.getElementById(card.id);
      card.removeAttribute("hx-swap-oob");
      if (place) htmx.swap(place, card.outerHTML, { swapStyle: "outerHTML" });
    }
  });
  document.addEventListener("htmx:load", (event) => {
    const place = event.detail.elt.parentElement ?? document;
    remember(place);
    // Finished cards that were never seen unfinished here are history, not news.
    for (const card of place.querySelectorAll(FINISHED)) if (unfinished.has(card.dataset.code)) end(card);
  });
}

const MOST_AT_ONCE = 3;
const GATHERED_MS = 300;
const announced = new Set();
const more = { toast: null, ended: 0, failed: 0, timer: 0 };

/** Say that a job ended; of many at once, what the first few were and how many more. A job that its own user cancelled
 * needs no news. */
export function announceJob(job, showToast) {
  if (job.status === "cancelled") return;
  const failed = job.status === "failed";
  for (const toast of announced) if (!toast.isConnected) announced.delete(toast);
  if (announced.size < MOST_AT_ONCE && !more.ended) {
    const url = job.url === location.pathname ? "" : job.url;
    const text = `${job.title} ${failed ? "failed." : "is done."}`;
    announced.add(showToast({ text, url, kind: failed ? "bad" : "ok" }));
    return;
  }
  more.ended += 1;
  if (failed) more.failed += 1;
  // Said once they have come, not one by one: a screen reader would read each number.
  clearTimeout(more.timer);
  more.timer = setTimeout(() => announceMore(showToast), GATHERED_MS);
}

function announceMore(showToast) {
  more.toast?.remove();
  const jobs = more.ended === 1 ? "1 more job" : `${more.ended} more jobs`;
  const text = `${jobs} ended${more.failed ? `, ${more.failed} failed` : ""}.`;
  const url = document.querySelector("[data-jobs]").dataset.jobs;
  const toast = showToast({ text, url, link: "See all", kind: more.failed ? "bad" : "ok" });
  more.toast = toast;
  new MutationObserver((_, observer) => {
    if (toast.isConnected) return;
    observer.disconnect();
    if (more.toast === toast) Object.assign(more, { toast: null, ended: 0, failed: 0 });
  }).observe(toast.parentElement, { childList: true });
}
