// What the players share: a track (sound + waveform + position as a slider), the controls beside it, and the keys.

import WaveSurfer from "../vendor/wavesurfer/wavesurfer.esm.js";

const LONGEST_DECODED = 300; // seconds: without ready-made peaks a longer file is not fetched only to draw it
const SEEK_TRIES = 5; // how often a move that the browser lost is asked for anew
const SPEEDS = [0.5, 0.75, 1, 1.25, 1.5, 2];
const ICONS = {
  play: "M7 4.5v15l12-7.5z",
  pause: "M7 5h3.5v14H7zM13.5 5H17v14h-3.5z",
  options: "M5 10.5h3v3H5zM10.5 10.5h3v3h-3zM16 10.5h3v3h-3z",
};

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const path = document.createElementNS(space, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("width", "24");
  svg.setAttribute("height", "24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  path.setAttribute("fill", "currentColor");
  svg.append(path);
  return svg;
}

/** 75.4 -> "1:15" to see; with `spoken`, "1 minute 15 seconds" to hear. */
export function clock(seconds, spoken = false) {
  const whole = Number.isFinite(seconds) ? Math.max(0, Math.floor(seconds + 0.001)) : 0;
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (!spoken) {
    const two = (value) => String(value).padStart(2, "0");
    return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
  }
  const say = (value, unit) => (value ? [`${value} ${unit}${value === 1 ? "" : "s"}`] : []);
  return [...say(hours, "hour"), ...say(minutes, "minute"), ...say(rest, "second")].join(" ") || "0 seconds";
}

/** A colour token as the browser computes it here and now, in a form that a canvas understands. */
function colour(place, token) {
  const probe = element("span");
  probe.style.color = `var(${token})`;
  place.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function colours(place) {
  return {
    waveColor: colour(place, "--wave"),
    progressColor: colour(place, "--wave-played"),
    cursorColor: colour(place, "--wave-cursor"),
  };
}

/** The list of peaks (0..1) and the length that the page brings along, so that nothing is fetched to draw them. */
function drawing(host) {
  const script = host.dataset.peaks && document.getElementById(host.dataset.peaks);
  const found = script ? JSON.parse(script.textContent) : [];
  const peaks = Array.isArray(found) ? found : (found.peaks ?? []);
  return { peaks, duration: Number(host.dataset.duration ?? found.duration) || 0 };
}

/** One sound with its waveform. `host` is the `.player` element; it keeps its own <audio>, without the controls. */
export class Track extends EventTarget {
  constructor(host, { height = 56 } = {}) {
    super();
    this.host = host;
    this.label = host.dataset.label || "Audio";
    const { peaks, duration } = drawing(host);
    this.peaks = peaks;
    this.known = duration;
    this.height = height;
    this.audio = host.querySelector("audio") ?? element("audio", { preload: "none", src: host.dataset.audio });
    this.audio.removeAttribute("controls");
    this.audio.preload = duration ? "none" : "metadata";
    this.slider = element("div", {
      class: "player-wave",
      role: "slider",
      tabindex: "0",
      "aria-label": `Position in ${this.label}`,
      "aria-valuemin": "0",
    });
    this.slider.style.minHeight = `${height}px`; // so that nothing moves when the waveform comes
    this.stop = new AbortController();
    for (const name of ["timeupdate", "seeked", "durationchange", "ended", "emptied"]) {
      this.audio.addEventListener(name, () => this.show(), { signal: this.stop.signal });
    }
    this.wish = null; // where the sound is to be while the browser is still on the way there
    this.audio.addEventListener("loadedmetadata", () => this.grant(), { signal: this.stop.signal });
    this.audio.addEventListener("seeked", () => this.arrive(), { signal: this.stop.signal });
    this.audio.addEventListener("error", () => this.renew(), { signal: this.stop.signal });
    for (const name of ["play", "pause", "ended"]) {
      this.audio.addEventListener(name, () => this.dispatchEvent(new Event(name)), { signal: this.stop.signal });
    }
    this.watch();
    this.show();
  }

  /** Draws when the track comes near the window, and again when the colours change. */
  watch() {
    this.seen = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) this.draw();
    }, { rootMargin: "200px" });
    this.seen.observe(this.slider);
    const recolour = () => this.wave?.setOptions(colours(this.slider));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour, { signal: this.stop.signal });
    this.themes = new MutationObserver(recolour);
    this.themes.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme", "class"] });
  }

  draw() {
    this.seen.disconnect();
    if (this.wave) return;
    const length = this.duration;
    const peaks = this.peaks.length ? this.peaks : length > LONGEST_DECODED ? [0, 0] : null;
    this.wave = WaveSurfer.create({
      container: this.slider,
      media: this.audio,
      ...(peaks ? { peaks: [peaks], ...(length ? { duration: length } : {}) } : {}),
      ...colours(this.slider),
      height: this.height,
      normalize: true,
      barWidth: 2,
      barGap: 1.5,
      barRadius: 2,
      barMinHeight: 1,
      cursorWidth: 2,
      dragToSeek: true,
      hideScrollbar: true,
      cspNonce: document.querySelector("script[nonce]")?.nonce ?? "",
    });
    this.wave.on("interaction", (time) => this.dispatchEvent(new CustomEvent("sought", { detail: time })));
    this.wave.on("ready", () => this.show());
    this.wave.on("error", () => this.host.classList.add("player-failed"));
  }

  get duration() {
    return Number.isFinite(this.audio.duration) && this.audio.duration > 0 ? this.audio.duration : this.known;
  }

  get time() {
    return this.wish ?? this.audio.currentTime;
  }

  get paused() {
    return this.audio.paused;
  }

  seek(time) {
    const wanted = Math.min(Math.max(0, time), this.duration || time);
    this.wish = wanted;
    this.tries = SEEK_TRIES;
    if (this.audio.readyState === 0) {
      // Nothing has been fetched yet, so there is nothing to move in: the wish is granted once there is.
      if (this.audio.preload === "none") {
        this.audio.preload = "auto";
        this.audio.load();
      }
    } else if (this.wave) this.wave.setTime(wanted);
    else this.audio.currentTime = wanted;
    this.show();
  }

  grant() {
    this.fetched = true;
    this.host.classList.remove("player-failed");
    if (this.wish !== null) this.audio.currentTime = this.wish;
  }

  /** A move that overtakes another may be lost in the browser: then it is asked for once more. */
  arrive() {
    if (this.wish === null || this.audio.seeking) return;
    if (this.tries > 0 && Math.abs(this.audio.currentTime - this.wish) > 0.25) {
      this.tries -= 1;
      this.audio.currentTime = this.wish;
    } else {
      this.wish = null;
    }
  }

  /** The address of a sound in an object store ends after a while: the site gives another, asked for once each time. */
  renew() {
    if (!this.fetched) return;
    this.fetched = false;
    this.wish = this.time;
    this.audio.load();
    if (this.going) this.audio.play().catch(() => this.dispatchEvent(new Event("failed")));
  }

  async play() {
    this.going = true;
    await this.audio.play();
  }

  pause() {
    this.going = false;
    this.audio.pause();
  }

  set rate(value) {
    this.audio.playbackRate = this.audio.defaultPlaybackRate = value;
  }

  set volume(value) {
    this.audio.volume = value;
  }

  show() {
    this.slider.setAttribute("aria-valuemax", this.duration.toFixed(1));
    this.slider.setAttribute("aria-valuenow", Math.min(this.time, this.duration || this.time).toFixed(1));
    this.slider.setAttribute("aria-valuetext", `${clock(this.time, true)} of ${clock(this.duration, true)}`);
    this.dispatchEvent(new Event("moved"));
  }

  destroy() {
    this.stop.abort();
    this.seen.disconnect();
    this.themes.disconnect();
    this.audio.pause();
    this.wave?.destroy();
  }
}

/** Play button, time, and folded options (speed, volume) for `deck`: a Track, or what behaves like one. */
export class Controls {
  constructor(deck, label) {
    this.deck = deck;
    this.label = label;
    this.button = element("button", { type: "button", class: "icon-button player-play" });
    this.button.addEventListener("click", () => this.toggle());
    this.time = element("span", { class: "player-time figure", "aria-hidden": "true" });
    this.options = this.folded();
    for (const name of ["play", "pause", "ended"]) deck.addEventListener(name, () => this.show());
    deck.addEventListener("moved", () => this.showTime());
    deck.addEventListener("failed", () => this.failed());
    this.show();
    this.showTime();
  }

  folded() {
    const speed = element("select", { "aria-label": `Speed of ${this.label}` });
    for (const value of SPEEDS) speed.append(new Option(`${value}×`, value, value === 1, value === 1));
    speed.addEventListener("change", () => (this.deck.rate = Number(speed.value)));
    const volume = element("input", {
      type: "range", min: "0", max: "1", step: "0.05", value: "1", "aria-label": `Volume of ${this.label}`,
    });
    volume.addEventListener("input", () => (this.deck.volume = Number(volume.value)));
    const summary = element("summary", { class: "icon-button", "aria-label": `Sound options of ${this.label}` });
    summary.append(icon("options"));
    const panel = element(
      "div", { class: "player-panel" },
      element("label", {}, element("span", {}, "Speed"), speed),
      element("label", {}, element("span", {}, "Volume"), volume),
    );
    const details = element("details", { class: "player-options" }, summary, panel);
    details.addEventListener("focusout", (event) => {
      if (!details.contains(event.relatedTarget)) details.open = false;
    });
    details.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !details.open) return;
      details.open = false;
      summary.focus();
    });
    return details;
  }

  async toggle() {
    if (!this.deck.paused) return this.deck.pause();
    try {
      await this.deck.play();
    } catch (error) {
      // A pause that overtakes its play is no fault of the file.
      if (error.name !== "AbortError") this.failed();
    }
  }

  failed() {
    const host = this.deck.host;
    if (host.querySelector(".player-error")) return;
    const sentence = "This sound could not be played. Reload the page, or download the file.";
    host.append(element("p", { class: "player-error error", role: "alert" }, sentence));
  }

  show() {
    const playing = !this.deck.paused;
    this.button.replaceChildren(icon(playing ? "pause" : "play"));
    this.button.setAttribute("aria-label", `${playing ? "Pause" : "Play"} ${this.label}`);
    this.deck.host.classList.toggle("is-playing", playing);
  }

  showTime() {
    this.time.textContent = `${clock(this.deck.time)} / ${clock(this.deck.duration)}`;
  }
}

const OWN_KEYS = "input, select, textarea, summary, a[href]";

/** Space plays and pauses, the arrows move (1 s, or 5 s in a long sound), Home and End jump; `letters` adds keys. */
export function bindKeys(host, deck, controls, letters = {}) {
  host.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const step = deck.duration > 60 ? 5 : 1;
    const moves = {
      " ": () => controls.toggle(),
      ArrowLeft: () => deck.seek(deck.time - step),
      ArrowDown: () => deck.seek(deck.time - step),
      ArrowRight: () => deck.seek(deck.time + step),
      ArrowUp: () => deck.seek(deck.time + step),
      PageDown: () => deck.seek(deck.time - 5 * step),
      PageUp: () => deck.seek(deck.time + 5 * step),
      Home: () => deck.seek(0),
      End: () => deck.seek(deck.duration),
    };
    // What has keys of its own keeps them: arrows in a choice, the space bar on a button.
    const own = event.target.closest(OWN_KEYS) || (event.key === " " && event.target.closest("button"));
    const typing = event.target.closest("select, textarea, input:not([type=radio], [type=range])");
    const act = (typing ? undefined : letters[event.key.toLowerCase()]) ?? (own ? undefined : moves[event.key]);
    if (!act) return;
    event.preventDefault();
    act();
  });
}

/** Makes something of each `selector` now and in whatever htmx brings later, and unmakes it when it is swapped out. */
export function everywhere(selector, make) {
  const made = new Map();
  const enhance = (root) => {
    const found = [...root.querySelectorAll(selector), ...(root.matches?.(selector) ? [root] : [])];
    for (const host of found) if (!made.has(host)) made.set(host, make(host));
  };
  document.body.addEventListener("htmx:load", (event) => enhance(event.target));
  document.body.addEventListener("htmx:beforeCleanupElement", (event) => {
    made.get(event.target)?.destroy();
    made.delete(event.target);
  });
  enhance(document.body);
}

// One sound at a time: what starts to play pauses the rest, but for its own partner in a comparison.
document.addEventListener("play", (event) => {
  const together = event.target.closest?.(".compare");
  for (const audio of document.querySelectorAll("audio")) {
    if (audio !== event.target && !(together && together.contains(audio))) audio.pause();
  }
}, true);
