// Sends files with a bar each. Where the form names `data-direct` a file goes straight to the object store. Elsewhere, and
// when that fails, it goes to the site in parts, and goes on after a cut: a client of tus 1.0.0 (https://tus.io) as far
// as the server speaks it. Without this file `form[data-upload]` is a plain multipart form to the same end.

const VERSION = "1.0.0";
const WAITS = [1000, 2000, 4000, 8000, 15000, 30000]; // milliseconds before each new try
const AT_ONCE = 2;
const SILENCE = 60_000; // milliseconds without a byte sent, after which the store is given up
let storeAnswers = true; // until a file did not get there: the next ones of this page go to the site at once

const sleep = (time) => new Promise((done) => setTimeout(done, time));

/** A no of the server, in its own words; trying again changes nothing. */
class Refused extends Error {}
/** The connection broke or the server is away; trying again may help. */
class Cut extends Error {}

function request(method, url, { headers = {}, body = null, onProgress = null, signal }) {
  return new Promise((done, fail) => {
    const xhr = new XMLHttpRequest();
    xhr.open(method, url);
    xhr.setRequestHeader("Tus-Resumable", VERSION);
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    if (onProgress) xhr.upload.addEventListener("progress", (event) => onProgress(event.loaded));
    signal.addEventListener("abort", () => xhr.abort());
    xhr.addEventListener("load", () => (xhr.status >= 500 ? fail(new Cut()) : done(xhr)));
    for (const name of ["error", "timeout", "abort"]) xhr.addEventListener(name, () => fail(new Cut()));
    xhr.timeout = 180_000;
    xhr.send(body);
  });
}

function sentence(xhr) {
  const plain = (xhr.getResponseHeader("Content-Type") ?? "").startsWith("text/plain");
  if (plain && xhr.responseText) return xhr.responseText;
  if (xhr.status === 403 || xhr.status === 404) return "You may not add recordings here any more; load the page again.";
  return `The server said no (${xhr.status}); load the page again.`;
}

/** Put the file where the store takes it; false when it did not arrive, whatever the reason. */
function put(url, headers, file, { onProgress, signal }) {
  return new Promise((done) => {
    const xhr = new XMLHttpRequest();
    let silence = 0;
    const wait = () => {
      clearTimeout(silence);
      silence = setTimeout(() => xhr.abort(), SILENCE);
    };
    const end = (arrived) => {
      clearTimeout(silence);
      done(arrived);
    };
    xhr.open("PUT", url);
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    xhr.upload.addEventListener("progress", (event) => {
      wait();
      onProgress(event.loaded);
    });
    signal.addEventListener("abort", () => xhr.abort());
    xhr.addEventListener("load", () => end(xhr.status >= 200 && xhr.status < 300));
    for (const name of ["error", "abort"]) xhr.addEventListener(name, () => end(false));
    wait();
    xhr.send(file);
  });
}

const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

/** Where an unfinished upload of the same file lies, kept over reloads of the page. */
const memory = {
  key: (file, form) => `upload ${form.dataset.upload} ${file.name} ${file.size} ${file.lastModified}`,
  get: (key) => { try { return localStorage.getItem(key); } catch { return null; } },
  set: (key, url) => { try { localStorage.setItem(key, url); } catch { /* storage is off: no resuming after a reload */ } },
  drop: (key) => { try { localStorage.removeItem(key); } catch { /* as above */ } },
};

class Sending {
  constructor(file, form, row) {
    Object.assign(this, { file, form, row, url: null, offset: 0 });
    this.key = memory.key(file, form);
    this.stop = new AbortController();
    this.token = { "X-CSRFToken": form.elements.csrfmiddlewaretoken.value };
    row.cancel.addEventListener("click", () => this.stop.abort());
  }

  ask(method, url, options = {}) {
    return request(method, url, { ...options, headers: { ...this.token, ...options.headers }, signal: this.stop.signal });
  }

  /** Send the file to its end; returns the address of its recording. Throws Refused, or Cut when all tries failed. */
  async run() {
    const begun = memory.get(this.key) !== null; // in parts, before the page was loaded
    const place = this.form.dataset.direct && storeAnswers && !begun ? await this.sendDirect() : null;
    return place ? this.takeIn(place.finish) : this.sendParts();
  }

  /** Put the whole file into the store; returns what was agreed with the site, or null when it did not get there. */
  async sendDirect() {
    const body = new URLSearchParams({ name: this.file.name, size: this.file.size });
    let answer;
    try {
      answer = await this.ask("POST", this.form.dataset.direct, { body });
    } catch (error) {
      if (this.stop.signal.aborted) return this.giveUp();
      if (!(error instanceof Cut)) throw error;
      return null; // the site is away: sending parts waits for it
    }
    if (answer.status !== 201) throw new Refused(sentence(answer));
    const place = JSON.parse(answer.responseText);
    this.url = place.upload;
    const onProgress = (loaded) => this.row.show(loaded / this.file.size);
    if (await put(place.url, place.headers, this.file, { onProgress, signal: this.stop.signal })) return place;
    if (this.stop.signal.aborted) return this.giveUp();
    storeAnswers = false;
    this.row.say("The storage cannot be reached from here; sending another way…");
    this.forget();
    this.url = null;
    return null;
  }

  /** Have the site check what lies in the store; returns the address of the recording. */
  async takeIn(url) {
    this.row.say("Checking…");
    for (const wait of [...WAITS, null]) {
      try {
        const answer = await this.ask("POST", url);
        if (answer.status !== 204) throw new Refused(sentence(answer));
        return answer.getResponseHeader("Recording-Location");
      } catch (error) {
        if (this.stop.signal.aborted) return this.giveUp();
        if (!(error instanceof Cut) || wait === null) throw error;
        await sleep(wait);
      }
    }
  }

  async sendParts() {
    for (let tries = 0; ; ) {
      const before = this.offset;
      try {
        if (this.url === null) await this.begin();
        else await this.find();
        return await this.sendRest();
      } catch (error) {
        if (this.stop.signal.aborted) return this.giveUp();
        if (error instanceof Refused) memory.drop(this.key);
        if (!(error instanceof Cut)) throw error;
        tries = this.offset > before ? 0 : tries + 1;
        if (tries > WAITS.length) throw error;
        this.row.say("The connection is cut; going on by itself…");
        await sleep(WAITS[Math.max(0, tries - 1)]);
      }
    }
  }

  async begin() {
    this.url = memory.get(this.key);
    if (this.url !== null && (await this.find())) return;
    const headers = { "Upload-Length": String(this.file.size), "Upload-Metadata": `filename ${base64(this.file.name)}` };
    const answer = await this.ask("POST", this.form.dataset.upload, { headers });
    if (answer.status !== 201) throw new Refused(sentence(answer));
    this.url = answer.getResponseHeader("Location");
    this.offset = 0;
    memory.set(this.key, this.url);
  }

  /** Ask how far the upload is; false when the server has forgotten it. */
  async find() {
    const answer = await this.ask("HEAD", this.url);
    if (answer.status === 200) {
      this.offset = Number(answer.getResponseHeader("Upload-Offset"));
      return true;
    }
    memory.drop(this.key);
    this.url = null;
    if (answer.status === 403) throw new Refused("You may not add recordings here; load the page again.");
    return false;
  }

  async sendRest() {
    if (this.url === null) throw new Cut(); // forgotten while the connection was away: begin again
    for (;;) {
      const part = this.file.slice(this.offset, this.offset + Number(this.form.dataset.chunk));
      const isLast = this.offset + part.size === this.file.size;
      const answer = await this.ask("PATCH", this.url, {
        headers: { "Upload-Offset": String(this.offset), "Content-Type": "application/offset+octet-stream" },
        body: part,
        onProgress: (loaded) => {
          this.row.show((this.offset + loaded) / this.file.size);
          if (isLast && loaded >= part.size) this.row.say("Checking…");
        },
      });
      if (answer.status === 409 && (await this.find()) && this.offset < this.file.size) continue;
      if (answer.status !== 204) throw new Refused(sentence(answer));
      this.offset = Number(answer.getResponseHeader("Upload-Offset"));
      if (this.offset === this.file.size) {
        memory.drop(this.key);
        return answer.getResponseHeader("Recording-Location");
      }
    }
  }

  giveUp() {
    memory.drop(this.key);
    if (this.url) this.forget();
    throw new Refused("Cancelled.");
  }

  /** Tell the site that nothing more comes; when that fails too, it finds out by itself within a day. */
  forget() {
    // The signal may be spent: this last request has its own.
    fetch(this.url, { method: "DELETE", headers: { ...this.token, "Tus-Resumable": VERSION } }).catch(() => {});
  }
}

class Row {
  constructor(name, list) {
    this.item = document.createElement("li");
    this.item.className = "stack-s";
    const top = document.createElement("div");
    top.className = "spread";
    this.name = document.createElement("strong");
    this.name.textContent = name;
    this.cancel = document.createElement("button");
    Object.assign(this.cancel, { type: "button", className: "button button-quiet", textContent: "Cancel" });
    this.cancel.setAttribute("aria-label", `Cancel ${name}`);
    top.append(this.name, this.cancel);
    this.bar = document.createElement("progress");
    Object.assign(this.bar, { max: 1, value: 0 });
    this.bar.setAttribute("aria-label", `Progress of ${name}`);
    this.words = document.createElement("p");
    this.words.className = "muted";
    this.words.textContent = "Waiting";
    this.item.append(top, this.bar, this.words);
    list.append(this.item);
  }

  show(share) {
    this.bar.value = share;
    this.say(`${Math.floor(share * 100)} %`);
  }

  say(words) {
    this.words.textContent = words;
  }

  fail(words) {
    this.bar.remove();
    this.words.className = "error";
    this.words.setAttribute("role", "alert");
    this.say(words);
    this.cancel.textContent = "Dismiss";
    this.cancel.setAttribute("aria-label", `Dismiss the message about ${this.name.textContent}`);
    this.cancel.addEventListener("click", () => this.remove());
  }

  remove() {
    const list = this.item.parentElement;
    this.item.remove();
    if (list && !list.children.length) list.hidden = true;
  }
}

async function showRecording(url, form) {
  document.getElementById("no-recordings")?.remove();
  const list = document.getElementById(form.dataset.list);
  if (!list) return;
  const place = document.createElement("li");
  list.append(place);
  await window.htmx.ajax("GET", url, { target: place, swap: "outerHTML" });
  document.body.dispatchEvent(new CustomEvent("takes-changed"));
}

async function sendOne(file, form, row) {
  try {
    const url = await new Sending(file, form, row).run();
    row.remove();
    await showRecording(url, form);
    return true;
  } catch (error) {
    if (!(error instanceof Refused || error instanceof Cut)) throw error;
    row.fail(error.message || "The connection did not come back. Choose the file again to go on where it stopped.");
    return false;
  }
}

async function sendAll(files, form) {
  const list = form.querySelector("[data-queue]");
  const status = form.querySelector("[data-status]");
  list.hidden = false;
  const queue = files.map((file) => [file, new Row(file.name, list)]);
  let added = 0;
  const worker = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) if (await sendOne(next[0], form, next[1])) added += 1;
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  status.textContent = `${added} of ${files.length} ${files.length === 1 ? "file" : "files"} added.`;
}

function enhance(form) {
  if (form.dataset.ready) return;
  form.dataset.ready = "yes";
  const input = form.querySelector("input[type='file']");
  const zone = form.querySelector(".dropzone");
  form.querySelector("[data-plain]").hidden = true;
  input.required = false;
  input.addEventListener("change", () => {
    const files = [...input.files];
    input.value = "";
    if (files.length) sendAll(files, form);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  let depth = 0;
  const over = (change) => {
    depth = Math.max(0, depth + change);
    zone.toggleAttribute("data-over", depth > 0);
  };
  zone.addEventListener("dragenter", () => over(1));
  zone.addEventListener("dragleave", () => over(-1));
  zone.addEventListener("dragover", (event) => event.preventDefault());
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    over(0);
    const files = [...event.dataTransfer.files];
    if (files.length) sendAll(files, form);
  });
}

for (const form of document.querySelectorAll("form[data-upload]")) enhance(form);
document.body.addEventListener("htmx:load", (event) => {
  for (const form of event.target.querySelectorAll("form[data-upload]")) enhance(form);
});
