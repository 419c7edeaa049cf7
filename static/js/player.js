// Every `.player[data-audio]` outside a comparison becomes a player with a waveform. Without this file it stays what
// it is in the HTML: the browser's own <audio controls>.

import { Controls, Track, bindKeys, everywhere } from "./track.js";

function player(host) {
  const track = new Track(host, { height: host.classList.contains("player-small") ? 36 : 56 });
  const controls = new Controls(track, track.label);
  host.setAttribute("role", "group");
  host.setAttribute("aria-label", `Player: ${track.label}`);
  host.replaceChildren(track.audio, controls.button, track.slider, controls.time, controls.options);
  host.classList.add("is-ready");
  bindKeys(host, track, controls);
  return track;
}

everywhere(".player[data-audio]:not(.compare .player)", player);
