// Puts the reader's chosen theme in place before the first paint. Nothing chosen: the system's stands.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("theme");
  } catch {
    return; // storage is switched off in this browser, so no choice can have been kept
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
