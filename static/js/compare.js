// Every `.compare` holds two `.player`s of the same length: source and result. They get one position and one set of
// controls; both run together and one is heard, so that switching has no gap.

import { Controls, Track, bindKeys, element, everywhere } from "./track.js";

// Seconds that the unheard one may be off before it is moved. Below, it runs a little faster or slower until it is
// level: a move takes the browser some 50 ms, so it could never come closer than that by moves.
const LARGEST_DRIFT = 0.3;
const LARGEST_HASTE = 0.15;

/** Two tracks that behave like one. Position and length are those of the heard one. */
class Pair extends EventTarget {
  constructor(host, tracks) {
    super();
    this.host = host;
    this.tracks = tracks;
    this.heard = 1;
    this.speed = 1;
    for (const track of tracks) {
      track.addEventListener("moved", () => this.moved(track));
      track.addEventListener("sought", (event) => this.seek(event.detail));
      for (const name of ["play", "pause"]) track.addEventListener(name, () => this.dispatchEvent(new Event(name)));
      track.addEventListener("ended", () => this.ended(track));
    }
    this.hear(1);
  }

  get current() {
    return this.tracks[this.heard];
  }

  get other() {
    return this.tracks[1 - this.heard];
  }

  get duration() {
    return this.current.duration;
  }

  get time() {
    return this.current.time;
  }

  get paused() {
    return this.tracks.every((track) => track.paused);
  }

  moved(track) {
    if (track !== this.current) return;
    this.level();
    this.dispatchEvent(new Event("moved"));
  }

  /** Brings the unheard one to where the heard one is; it alone is touched, so that nobody hears it. */
  level() {
    if (this.other.audio.seeking || this.current.audio.seeking) return;
    const late = this.time - this.other.time;
    if (Math.abs(late) > LARGEST_DRIFT) {
      if (this.time < this.other.duration) this.other.seek(this.time);
      this.other.rate = this.speed;
    } else {
      this.other.rate = this.speed * (1 + Math.min(LARGEST_HASTE, Math.max(-LARGEST_HASTE, 2 * late)));
    }
  }

  ended(track) {
    if (track === this.current) this.pause();
    this.dispatchEvent(new Event("ended"));
  }

  hear(index) {
    this.heard = index;
    this.current.rate = this.speed;
    this.current.audio.muted = false;
    this.other.audio.muted = true;
    for (const track of this.tracks) track.host.classList.toggle("is-heard", track === this.current);
    this.dispatchEvent(new Event("switched"));
  }

  seek(time) {
    for (const track of this.tracks) track.seek(time);
  }

  async play() {
    if (this.time >= this.duration - 0.1) this.seek(0);
    else this.other.seek(this.time);
    await Promise.all(this.tracks.map((track) => track.play()));
  }

  pause() {
    for (const track of this.tracks) track.pause();
  }

  set rate(value) {
    this.speed = value;
    for (const track of this.tracks) track.rate = value;
  }

  set volume(value) {
    for (const track of this.tracks) track.volume = value;
  }

  destroy() {
    for (const track of this.tracks) track.destroy();
  }
}

function switcher(pair) {
  const group = element("div", { class: "compare-switch", role: "radiogroup", "aria-label": "What you hear" });
  const name = `heard-${crypto.randomUUID()}`;
  const keys = ["A", "B"];
  pair.tracks.forEach((track, index) => {
    const input = element("input", { type: "radio", name, value: String(index) });
    input.addEventListener("change", () => pair.hear(index));
    const key = element("kbd", { "aria-hidden": "true" }, keys[index]);
    group.append(element("label", {}, input, element("span", {}, track.label, key)));
  });
  const show = () => {
    [...group.querySelectorAll("input")].forEach((input, index) => (input.checked = index === pair.heard));
  };
  pair.addEventListener("switched", show);
  show();
  return group;
}

function compare(host) {
  const tracks = [...host.querySelectorAll(".player[data-audio]")].map((one) => {
    const track = new Track(one, { height: 64 });
    one.replaceChildren(element("span", { class: "compare-label" }, track.label), track.audio, track.slider);
    one.classList.add("is-ready");
    return track;
  });
  const pair = new Pair(host, tracks);
  const controls = new Controls(pair, host.dataset.label || "comparison");
  const bar = element("div", { class: "compare-bar" }, controls.button, switcher(pair), controls.time, controls.options);
  host.setAttribute("role", "group");
  host.setAttribute("aria-label", host.dataset.label || "Comparison");
  host.append(bar);
  host.classList.add("is-ready");
  const hear = (index) => () => pair.hear(index);
  bindKeys(host, pair, controls, {
    a: hear(0), b: hear(1), x: () => pair.hear(1 - pair.heard),
  });
  return pair;
}

everywhere(".compare", compare);
