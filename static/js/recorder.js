// Records in the page while a script is read aloud, one sentence at a time, with a level meter; what is kept is posted
// to the form's own address as a recording, with the sentences that were shown while it was made.

const KINDS = ["audio/webm;codecs=opus", "audio/ogg;codecs=opus", "audio/mp4"];
const SUFFIX = { "audio/webm": "webm", "audio/ogg": "ogg", "audio/mp4": "m4a" };
const QUIET = 0.05; // of full scale, peak
const LOUD = 0.9;

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

function whyNot(error) {
  if (error.name === "NotAllowedError") return "The microphone is not allowed here. Allow it in the browser's address bar, then press Record again.";
  if (error.name === "NotFoundError") return "No microphone was found. Plug one in, then press Record again.";
  return "The microphone cannot be opened. Close other programs that use it, then press Record again.";
}

class Script {
  constructor(form) {
    this.sentences = JSON.parse(document.getElementById(form.dataset.sentences).textContent);
    this.shown = form.querySelector("[data-sentence]");
    this.number = form.querySelector("[data-number]");
    this.index = 0;
    this.read = new Set();
    form.querySelector("[data-next]").addEventListener("click", () => this.go(1));
    form.querySelector("[data-previous]").addEventListener("click", () => this.go(-1));
  }

  go(step) {
    this.index = (this.index + step + this.sentences.length) % this.sentences.length;
    this.shown.textContent = this.sentences[this.index];
    this.number.textContent = this.index + 1;
    this.read.add(this.index);
  }

  begin() {
    this.read = new Set([this.index]);
  }

  text() {
    return [...this.read].map((index) => this.sentences[index]).join(" ");
  }
}

/** Shows the peak level of a stream until it is closed. */
class Level {
  constructor(stream, form) {
    this.context = new AudioContext();
    this.analyser = this.context.createAnalyser();
    this.analyser.fftSize = 2048;
    this.context.createMediaStreamSource(stream).connect(this.analyser);
    this.samples = new Float32Array(this.analyser.fftSize);
    this.meter = form.querySelector("[data-level]");
    this.word = form.querySelector("[data-level-word]");
    this.timer = setInterval(() => this.show(), 100);
  }

  show() {
    this.analyser.getFloatTimeDomainData(this.samples);
    const peak = this.samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    this.meter.value = Math.min(1, peak);
    this.word.textContent = peak < QUIET ? "quiet" : peak > LOUD ? "too loud" : "good";
  }

  close() {
    clearInterval(this.timer);
    this.context.close();
  }
}

class Recorder {
  constructor(form) {
    this.form = form;
    this.script = new Script(form);
    for (const name of ["record", "time", "review", "playback", "again", "status", "keep"]) {
      this[name] = form.querySelector(`[data-${name}]`);
    }
    this.levelBox = form.querySelector("[data-level-box]");
    this.most = Number(form.dataset.most);
    this.count = 0;
    this.record.addEventListener("click", () => (this.media ? this.stop() : this.start()));
    this.again.addEventListener("click", () => this.forget("Press Record when you are ready."));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    form.querySelector("[data-controls]").hidden = false;
  }

  say(words, isError = false) {
    this.status.textContent = words;
    this.status.className = isError ? "error" : "muted";
  }

  async start() {
    this.forget("");
    try {
      // The browser's own clean-up would change the voice.
      const wishes = { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 };
      this.stream = await navigator.mediaDevices.getUserMedia({ audio: wishes });
    } catch (error) {
      this.say(whyNot(error), true);
      return;
    }
    const mimeType = KINDS.find((kind) => MediaRecorder.isTypeSupported(kind));
    this.media = new MediaRecorder(this.stream, { mimeType, audioBitsPerSecond: 256_000 });
    this.parts = [];
    this.media.addEventListener("dataavailable", (event) => this.parts.push(event.data));
    this.media.addEventListener("stop", () => this.finish());
    this.level = new Level(this.stream, this.form);
    this.script.begin();
    this.media.start(1000);
    this.began = performance.now();
    this.timer = setInterval(() => this.tick(), 250);
    this.show(true);
    this.say("Recording. Read the sentence, then press Next sentence.");
  }

  tick() {
    const seconds = (performance.now() - this.began) / 1000;
    this.time.textContent = clock(seconds);
    if (seconds >= this.most) this.stop();
  }

  stop() {
    if (this.media.state !== "inactive") this.media.stop();
  }

  show(isRecording) {
    this.levelBox.hidden = !isRecording;
    this.record.setAttribute("aria-pressed", String(isRecording));
    this.record.querySelector("span").textContent = isRecording ? "Stop" : "Record";
  }

  finish() {
    clearInterval(this.timer);
    this.level.close();
    for (const track of this.stream.getTracks()) track.stop();
    this.blob = new Blob(this.parts, { type: this.media.mimeType });
    this.media = null;
    this.show(false);
    this.playback.src = URL.createObjectURL(this.blob);
    this.review.hidden = false;
    this.say("Stopped. Listen to it, then keep it or record again.");
    this.keep.focus();
  }

  forget(words) {
    if (this.playback.src) URL.revokeObjectURL(this.playback.src);
    this.playback.removeAttribute("src");
    this.review.hidden = true;
    this.blob = null;
    this.time.textContent = clock(0);
    this.say(words);
  }

  async send() {
    if (!this.blob) return;
    const body = new FormData();
    const suffix = SUFFIX[this.blob.type.split(";")[0]] ?? "audio";
    const name = `Recording ${new Date().toISOString().slice(0, 19).replace("T", " ").replaceAll(":", "-")}.${suffix}`;
    body.append("files", this.blob, name);
    body.append("script", this.script.text());
    body.append("csrfmiddlewaretoken", this.form.elements.csrfmiddlewaretoken.value);
    this.keep.disabled = true;
    this.say("Sending and checking…");
    try {
      const answer = await fetch(this.form.action, { method: "POST", body, headers: { Accept: "application/json" } });
      const isJson = (answer.headers.get("Content-Type") ?? "").startsWith("application/json");
      const [file] = isJson ? (await answer.json()).files : [{ message: "The server did not take it; load the page again." }];
      if (!answer.ok) {
        this.say(file.message, true);
        return;
      }
      this.count += 1;
      this.forget(`Kept. ${this.count} ${this.count === 1 ? "recording" : "recordings"} made here so far; go on with the next sentences.`);
      this.script.go(1);
      this.record.focus();
    } catch {
      this.say("The connection is cut. Your recording is still here: keep it again in a moment.", true);
    } finally {
      this.keep.disabled = false;
    }
  }
}

for (const form of document.querySelectorAll("form[data-recorder]")) {
  if (navigator.mediaDevices && window.MediaRecorder) new Recorder(form);
  else form.querySelector("[data-status]").textContent = "This browser cannot record. Use another one, or upload a file.";
}
