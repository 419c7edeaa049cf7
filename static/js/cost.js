// Says what a conversion of a new file costs, as soon as the file is chosen: its length is read here, the words come
// from the server.

function secondsOf(file) {
  return new Promise((resolve) => {
    const sound = document.createElement("audio");
    const address = URL.createObjectURL(file);
    const done = (seconds) => {
      URL.revokeObjectURL(address);
      resolve(Number.isFinite(seconds) ? seconds : null);
    };
    sound.preload = "metadata";
    sound.addEventListener("loadedmetadata", () => done(sound.duration), { once: true });
    sound.addEventListener("error", () => done(null), { once: true });
    sound.src = address;
  });
}

document.addEventListener("change", async (event) => {
  if (!event.target.matches("#convert-form input[type='file']")) return;
  const [file] = event.target.files;
  const seconds = file ? await secondsOf(file) : null;
  if (event.target.files[0] !== file) return; // another was chosen meanwhile
  document.getElementById("id_seconds").value = seconds ?? "";
  document.getElementById("cost").dispatchEvent(new Event("length-known"));
});
