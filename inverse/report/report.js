"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const [nSlices, nRows, nColumns] = data.shape;
  const names = { image: "Reconstruction", baseline: "Zero-filled", reference: "Reference",
                  error: "Difference from the reference, five times: blue too dark, orange too bright",
                  undetermined: `Not decided by the data: dark none, bright ${data.brightest.undetermined}`,
                  width: `Width of the interval: dark 0, bright ${data.brightest.width}` };
  const by = (id) => document.getElementById(id);
  const start = { level: 50 * data.bright / data.white, window: 100 * data.bright / data.white };
  const state = { slice: nSlices >> 1, other: "baseline", isFlickering: false, isSwapped: false, ...start };
  const volumes = {};

  // Packed as: differences of 16-bit levels, all low bytes, then all high bytes, deflated, base 64.
  const unpack = async (text) => {
    const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const planes = new Uint8Array(await new Response(stream).arrayBuffer());
    const n = planes.length / 2, levels = new Uint16Array(n);
    for (let i = 0, level = 0; i < n; i++) {
      level = (level + planes[i] + 256 * planes[n + i]) & 0xffff;
      levels[i] = level;
    }
    return levels;
  };

  const paint = (panel, name) => {
    const context = panel.querySelector("canvas").getContext("2d");
    const picture = context.createImageData(nColumns, nRows), out = picture.data;
    const n = nRows * nColumns, offset = state.slice * n;
    const low = (state.level - state.window / 2) / 100 * data.white;
    const gain = 255 / (state.window / 100 * data.white);
    const image = volumes.image, shown = volumes[name];
    const isMap = name === "undetermined" || name === "width", outside = [24, 24, 24];
    for (let i = 0; i < n; i++) {
      let red, green, blue;
      if (name === "error") {
        const error = 5 * gain * (image[offset + i] - volumes.reference[offset + i]);
        red = error > 0 ? error : -0.35 * error;
        green = error > 0 ? 0.6 * error : -0.6 * error;
        blue = error > 0 ? 0.2 * error : -error;
      } else if (isMap) {
        [red, green, blue] = shown[offset + i] ? data.ramp[shown[offset + i] * 255 / data.white | 0] : outside;
      } else {
        red = green = blue = gain * (shown[offset + i] - low);
      }
      out[4 * i] = red; out[4 * i + 1] = green; out[4 * i + 2] = blue; out[4 * i + 3] = 255;
    }
    context.putImageData(picture, 0, 0);
    panel.querySelector("figcaption").textContent = names[name];
  };

  const draw = () => {
    by("right").hidden = state.isFlickering;
    paint(by("left"), state.isFlickering && state.isSwapped ? state.other : "image");
    if (!state.isFlickering) paint(by("right"), state.other);
    for (const name of ["level", "window"]) {
      by(name).value = state[name];
      by(name + "-shown").textContent = state[name].toFixed(0) + " %";
    }
    if (by("slice")) {
      by("slice").value = state.slice;
      by("slice-shown").textContent = (data.slices[state.slice] + 1).toString();
    }
  };

  const change = (part) => { Object.assign(state, part); draw(); };
  const within = (value, low, high) => Math.min(high, Math.max(low, value));
  const press = (button) => {
    for (const each of button.parentElement.children) each.setAttribute("aria-pressed", each === button);
  };

  const connect = () => {
    for (const button of document.querySelectorAll("[data-layer]"))
      button.addEventListener("click", () => { press(button); change({ other: button.dataset.layer }); });
    for (const button of document.querySelectorAll("[data-mode]"))
      button.addEventListener("click", () => {
        press(button);
        change({ isFlickering: button.dataset.mode === "flicker", isSwapped: false });
      });
    for (const name of ["level", "window", "slice"])
      by(name)?.addEventListener("input", () => change({ [name]: Number(by(name).value) }));
    by("reset").addEventListener("click", () => change(start));
    setInterval(() => { if (state.isFlickering) change({ isSwapped: !state.isSwapped }); }, 700);
    for (const canvas of document.querySelectorAll("canvas")) {
      canvas.addEventListener("pointermove", (event) => {
        if (!event.buttons) return;
        change({ window: within(state.window + event.movementX / 3, 1, 200),
                 level: within(state.level - event.movementY / 5, 0, 100) });
      });
      canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
      if (nSlices > 1)
        canvas.addEventListener("wheel", (event) => {
          event.preventDefault();
          change({ slice: within(state.slice + Math.sign(event.deltaY), 0, nSlices - 1) });
        }, { passive: false });
    }
  };

  (async () => {
    // Until then the still pictures behind the canvases are seen.
    for (const [name, text] of Object.entries(data.layers)) volumes[name] = await unpack(text);
    connect();
    draw();
    document.body.dataset.ready = "yes";
  })();
})();
