"use strict";
// Draws the figures, and moves what belongs to a slider. All text comes in as text: nothing is parsed as HTML.
(async () => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const content = read("content");
  const onScreen = matchMedia("(prefers-color-scheme: dark)");
  let printing = false;
  const redraws = [];
  const redrawAll = () => redraws.forEach((redraw) => redraw());

  const unpacked = async (text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };
  const colour = (name) => {
    const text = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const long = text.length === 4 ? text.replace(/[0-9a-f]/gi, "$&$&") : text;
    return [1, 3, 5].map((at) => parseInt(long.slice(at, at + 2), 16));
  };
  const paint = (canvas, cells) => {
    const context = canvas.getContext("2d");
    const picture = context.createImageData(canvas.width, canvas.height);
    cells((at, [red, green, blue]) => picture.data.set([red, green, blue, 255], 4 * at));
    context.putImageData(picture, 0, 0);
  };

  const sliderOf = (slider) => content.sliders[slider.closest("section").id];
  const wide = (bytes, count) => {
    if (bytes.length === count) return bytes;
    return new Uint16Array(bytes.buffer, bytes.byteOffset, count);
  };
  const follow = async (slider, state) => {
    const part = slider.closest("section");
    const steps = state.thresholds.length;
    const levels = await unpacked(state.levels);
    const inputs = state.inputs;
    const bytes = inputs ? await unpacked(inputs.counts) : null;
    const total = inputs ? inputs.total : 0;
    const counts = inputs ? wide(bytes, steps * total) : null;
    const find = (selector) => part.querySelector(selector);
    const show = () => {
      const at = Number(slider.value);
      slider.setAttribute("aria-valuetext", state.numbers.threshold[at]);
      for (const cell of part.querySelectorAll("[data-number]")) cell.textContent = state.numbers[cell.dataset.number][at];
      const kept = colour("--after"), empty = colour("--empty"), gap = colour("--gap");
      let start = 0;
      state.sizes.forEach(([rows, columns], place) => {
        const first = start;
        start += rows * columns;
        find(`[data-left="${place}"]`).textContent = state.left[place][at];
        const canvas = find(`[data-mask="${place}"]`);
        canvas.setAttribute("aria-label", canvas.dataset.name + ": " + state.left[place][at]);
        paint(canvas, (set) => {
          for (let cell = 0; cell < rows * columns; cell++) {
            const level = levels[first + cell];
            set(cell, level === 255 ? gap : level >= steps - at ? kept : empty);
          }
        });
      });
      if (inputs) showInputs(at, kept, empty);
    };
    const showInputs = (at, kept, empty) => {
      const now = counts.subarray(at * total, (at + 1) * total);
      const most = now.reduce((a, b) => Math.max(a, b), 0);
      const left = now.reduce((sum, count) => sum + (count > 0 ? 1 : 0), 0);
      find("[data-inputs-left]").textContent = left.toLocaleString("en-US");
      const box = find("[data-inputs]");
      if (inputs.kind === "image") {
        find("[data-inputs-most]").textContent = most.toLocaleString("en-US");
        box.setAttribute("aria-label", `weights left per pixel: ${left} of ${total} pixels are read`);
        paint(box, (set) => {
          for (let cell = 0; cell < total; cell++) {
            const share = now[cell] ? 0.25 + (0.75 * now[cell]) / most : 0;
            set(cell, kept.map((value, channel) => Math.round(empty[channel] + share * (value - empty[channel]))));
          }
        });
      } else if (inputs.kind === "features") {
        [...box.children].forEach((row, place) => {
          row.classList.toggle("gone", now[place] === 0);
          row.querySelector("meter").max = Math.max(1, most);
          row.querySelector("meter").value = now[place];
          row.querySelector(".count").textContent = now[place].toLocaleString("en-US");
        });
      } else {
        const ranked = [...now.keys()].filter((place) => now[place]).sort((a, b) => now[b] - now[a] || a - b);
        box.textContent = ranked.slice(0, inputs.most).map((place) => inputs.names[place]).join(" ");
      }
    };
    slider.addEventListener("input", show);
    redraws.push(show);
    show();
  };

  const sliders = [...document.querySelectorAll("[data-slider]")];
  const failed = (error) => {
    const note = document.getElementById("note");
    note.textContent = `The figures cannot be drawn by this browser (${error.message}); their numbers are below each of them.`;
    note.hidden = false;
  };
  try {
    for (const slider of sliders) await follow(slider, sliderOf(slider));
    const program = document.createElement("script");
    program.textContent = new TextDecoder().decode(await unpacked(read("plotly")));
    document.head.append(program);
  } catch (error) {
    failed(error);
    return;
  }

  const themed = (chart) => {
    const dark = onScreen.matches && !printing;
    let text = JSON.stringify(chart);
    if (dark) for (const [light, other] of Object.entries(content.dark)) text = text.replaceAll(`"${light}"`, `"${other}"`);
    const { traces, layout } = JSON.parse(text);
    const style = getComputedStyle(document.documentElement);
    const get = (name) => style.getPropertyValue(name).trim();
    const axes = { gridcolor: get("--line"), linecolor: get("--soft"), zeroline: false, automargin: true, ticks: "outside" };
    for (const [name, value] of Object.entries(layout)) {
      if (!/^[xy]axis/.test(name)) continue;
      layout[name] = { ...axes, tickcolor: get("--soft"), ...value, title: { ...value.title, font: { size: 13 } } };
    }
    for (const trace of traces.filter((each) => each.fillcolor)) {
      const [red, green, blue] = [1, 3, 5].map((at) => parseInt(trace.fillcolor.slice(at, at + 2), 16));
      trace.fillcolor = `rgba(${red},${green},${blue},${trace.meta})`;
    }
    for (const shape of layout.shapes || []) shape.line.color = get("--text");
    const font = { family: "system-ui, sans-serif", size: 13, color: get("--text") };
    const legend = { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" };
    const margin = { l: 60, r: 16, t: layout.title || layout.showlegend !== false ? 48 : 16, b: 48 };
    const hoverlabel = { bgcolor: get("--box"), bordercolor: get("--line"), font };
    const title = layout.title && { ...layout.title, font: { size: 14 }, x: 0, xref: "paper", xanchor: "left", yref: "container", y: 0.98 };
    const blank = "rgba(0,0,0,0)";
    return { traces, layout: { paper_bgcolor: blank, plot_bgcolor: blank, font, legend, margin, hoverlabel, ...layout, title } };
  };
  for (const place of document.querySelectorAll(".plot")) {
    const chart = content.charts[place.id];
    const slider = place.closest("section").querySelector("[data-slider]");
    const config = { responsive: true, displayModeBar: false };
    const draw = () => {
      const { traces, layout } = themed(chart);
      if (slider) {
        const x = sliderOf(slider).thresholds[Number(slider.value)];
        for (const shape of layout.shapes) Object.assign(shape, { x0: x, x1: x });
      }
      return Plotly.react(place, traces, { ...layout, height: place.clientHeight }, config);
    };
    redraws.push(draw);
    if (slider) slider.addEventListener("input", draw);
    await draw();
  }
  onScreen.addEventListener("change", redrawAll);
  for (const [name, value] of [["beforeprint", true], ["afterprint", false]]) {
    addEventListener(name, () => {
      printing = value;
      redrawAll();
      for (const place of document.querySelectorAll(".plot")) Plotly.Plots.resize(place);
    });
  }
  document.documentElement.dataset.ready = "yes";
})();
