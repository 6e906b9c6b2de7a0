"use strict";
// The figures: everything is drawn from the JSON of #content, for one group (scenario, window, seed) at a time.
(() => {
  const page = JSON.parse(document.getElementById("content").textContent);
  const { ink, muted, grid, alarm, colours, ramp } = page.style;
  const at = (id) => document.getElementById(id);
  const state = { group: 0, controller: 0, mode: "worst", step: 0, off: new Set(), timer: null };
  const phone = () => document.documentElement.clientWidth < 640;

  // ---- arrays -----------------------------------------------------------------------------------------------------
  const unpacked = new Map();
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const f32 = (text) => {
    if (!unpacked.has(text)) unpacked.set(text, new Float32Array(bytes(text)));
    return unpacked.get(text);
  };
  const u16 = (text) => {
    if (!unpacked.has(text)) unpacked.set(text, new Uint16Array(bytes(text)));
    return unpacked.get(text);
  };
  const group = () => page.groups[state.group];
  const runs = () => Object.entries(group().runs).map(([k, run]) => [Number(k), run]);
  const shownRuns = () => runs().filter(([k]) => !state.off.has(k));
  const run = () => group().runs[state.controller];
  const dashes = ["solid", "dash", "dot", "dashdot"];
  const colour = (k) => colours[k % colours.length];
  const dash = (k) => dashes[k % dashes.length]; // 7 colours, 4 dashes: 28 rows look different
  const faint = (hex, alpha) => `rgba(${[1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16)).join(",")},${alpha})`;
  const extent = (arrays) => {
    let [low, high] = [Infinity, -Infinity];
    for (const array of arrays) for (const v of array) if (Number.isFinite(v)) { low = Math.min(low, v); high = Math.max(high, v); }
    return [low, high];
  };

  // ---- plotly -----------------------------------------------------------------------------------------------------
  const family = getComputedStyle(document.body).fontFamily;
  const axis = (more) => ({ gridcolor: grid, linecolor: muted, zerolinecolor: grid, tickfont: { color: "#444" }, automargin: true, ...more });
  const draw = (div, traces, layout) => {
    const coarse = matchMedia("(pointer: coarse)").matches; // fingers scroll the page, they do not zoom the figure
    const { xaxis, yaxis, ...more } = layout;
    return Plotly.react(div, traces, {
      font: { family, size: 12.5, color: ink }, margin: { l: 10, r: 18, t: 8, b: 10 }, showlegend: false, modebar: { bgcolor: "rgba(0,0,0,0)", color: "#9a9a9a", activecolor: ink },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest", autosize: true,
      hoverlabel: { font: { family, size: 12.5 }, namelength: -1 }, dragmode: coarse ? false : "zoom",
      xaxis: axis(xaxis), yaxis: axis(yaxis), ...more,
    }, { responsive: true, displaylogo: false, displayModeBar: coarse ? false : "hover", modeBarButtons: [["toImage", "resetScale2d"]] });
  };
  const figure = (parent, caption, small, label) => {
    const box = document.createElement("figure");
    const head = document.createElement("figcaption");
    head.textContent = caption;
    if (small) {
      const note = document.createElement("small");
      note.textContent = small;
      head.append(note);
    }
    const div = document.createElement("div");
    div.className = "plot";
    div.setAttribute("role", "img");
    div.setAttribute("aria-label", label || caption);
    box.append(head, div);
    parent.append(box);
    return div;
  };
  const clear = (parent) => {
    for (const div of parent.querySelectorAll(".plot")) Plotly.purge(div);
    parent.replaceChildren();
  };
  const limitLine = (y) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: y, y1: y, line: { color: ink, width: 1, dash: "dash" } });
  const bandLines = () => group().band.filter((v) => v !== null).map(limitLine);
  const around = (arrays) => { const [v0, v1] = extent(arrays); const pad = 0.04 * (v1 - v0) || 0.01; return [v0 - pad, v1 + pad]; };

  // ---- the feeder -------------------------------------------------------------------------------------------------
  const scale = () => {
    const [low, high] = group().band.map((v, k) => (v === null ? [0.9, 1.1][k] : v));
    const [middle, half] = [(low + high) / 2, (high - low) / 2];
    const [v0, v1] = extent(runs().map(([, one]) => f32(one.worst)));
    const away = Math.min(Math.max(middle - v0, v1 - middle, 1.25 * half), 3 * half);
    return [middle - away, middle + away];
  };
  const bar = () => {
    const ticks = group().band.filter((v) => v !== null);
    const [low, high] = scale();
    const ends = [Math.ceil(1e3 * low) / 1e3, Math.floor(1e3 * high) / 1e3].filter((v) => ticks.every((tick) => Math.abs(v - tick) > 0.08 * (high - low)));
    return { title: { text: "p.u.", side: "top" }, thickness: 12, outlinewidth: 0, len: 0.9,
      ...(ticks.length === 2 ? { tickvals: [...ends, ...ticks, 1], tickformat: ".3~f" } : {}) };
  };
  const feeder = () => (group().feeder === null ? null : page.feeders[group().feeder]);
  const voltages = () => {
    const rows = feeder().row;
    if (state.mode === "worst") {
      const worst = f32(run().worst);
      return rows.map((row) => worst[row]);
    }
    const vm = u16(run().vm);
    const buses = vm.length / group().step_time.length;
    return rows.map((row) => { const v = vm[state.step * buses + row]; return v ? v / 40000 : NaN; });
  };
  const outOf = (v) => {
    const [low, high] = group().band;
    return (low !== null && v < low - 1e-5) || (high !== null && v > high + 1e-5);
  };
  const marker = (vm) => ({
    color: vm.map((v) => (Number.isFinite(v) ? v : null)),
    line: { color: vm.map((v) => (outOf(v) ? alarm : ink)), width: vm.map((v) => (outOf(v) ? (vm.length > 1000 ? 1.2 : 3) : vm.length > 1000 ? 0.3 : 0.8)) },
  });
  const hover = (vm) => vm.map((v, k) => `bus ${feeder().bus[k]}: ${Number.isFinite(v) ? v.toFixed(4) + " p.u." : "no voltage"}`);
  const symbols = { inverter: "circle-open", storage: "square-open", "capacitor bank": "diamond-open", "tap changer": "triangle-up-open" };

  const drawMap = () => {
    const one = feeder();
    const vm = voltages();
    const [low, high] = scale();
    const count = one.x.length;
    const size = Math.max(4, Math.min(13, 150 / Math.sqrt(count), phone() ? 9 : 99));
    const width = at("map").clientWidth;
    const shape = one.span[1] / Math.max(one.span[0], 1e-9);
    const height = one.on_map ? Math.min(Math.max(width * shape, 300), 640) : Math.min(Math.max(34 * one.span[1] + 110, 240), 720);
    at("map").style.height = `${height}px`;
    const shrink = Math.min(1, Math.max(0.35, 20 / Math.sqrt(count))); // rings must not hide their neighbours
    const labelled = count <= 60 && !phone();
    const traces = [
      { type: "scatter", mode: "lines", ...one.lines, line: { color: "#8a8a8a", width: 1.6 }, hoverinfo: "skip", name: "line", showlegend: false },
      { type: "scatter", mode: "lines", ...one.transformers, line: { color: ink, width: 2.5, dash: "dot" }, hoverinfo: "skip",
        name: "transformer", showlegend: one.transformers.x.length > 0 },
      { type: "scatter", mode: "markers", x: [one.slack[0]], y: [one.slack[1]], hoverinfo: "skip", name: "external grid",
        marker: { symbol: "square-open", size: size + 9, color: ink, line: { width: 2 } } },
      ...Object.entries(one.devices).map(([kind, points], k) => ({
        type: "scatter", mode: "markers", ...points, hoverinfo: "skip", name: kind,
        marker: { symbol: symbols[kind], size: size + (8 + 2 * k) * shrink, color: page.style.devices[kind], line: { width: 2.2 * shrink } } })),
      ...(labelled ? [{ type: "scatter", mode: "markers+text", x: one.x, y: one.y, text: one.bus.map(String), textposition: "top center",
        textfont: { size: 11, color: muted }, marker: { size: size + 12, color: "rgba(0,0,0,0)" }, hoverinfo: "skip", cliponaxis: false, showlegend: false }] : []), // above the rings
      { type: "scatter", mode: "markers", x: one.x, y: one.y, hovertext: hover(vm), hoverinfo: "text", name: "bus", showlegend: false,
        marker: { ...marker(vm), size, cmin: low, cmax: high, colorscale: ramp, showscale: true,
          colorbar: phone() ? { ...bar(), orientation: "h", y: -0.02, yanchor: "top" } : bar() } },
    ];
    const bare = { visible: false, showgrid: false, zeroline: false };
    draw(at("map"), traces, { showlegend: true, legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom" }, margin: { l: 8, r: 8, t: 8, b: 8 },
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "pan",
      xaxis: bare, yaxis: { ...bare, ...(one.on_map ? { scaleanchor: "x" } : {}) } });
    describe(vm);
  };
  const describe = (vm) => {
    const [low, high] = extent([vm]);
    const bus = (v) => feeder().bus[vm.indexOf(v)];
    const out = vm.filter(outOf).length;
    const when = state.mode === "worst" ? "Over the window" : group().step_time[state.step].replace("T", " ");
    at("map-says").textContent = Number.isFinite(low)
      ? `${when}, ${page.controllers[state.controller]}: ${out ? `${out} of ${vm.length} buses out of band` : "every bus in band"}; `
        + (state.mode === "worst" ? "worst voltages from" : "from") + ` ${low.toFixed(4)} (bus ${bus(low)}) to ${high.toFixed(4)} p.u. (bus ${bus(high)}).`
      : `${when}: the power flow has no solution.`;
  };
  const shade = (v, [low, high]) => { // the colour of a voltage on the ramp, as plotly has it
    const place = Math.min(Math.max((v - low) / (high - low), 0), 1) * (ramp.length - 1);
    const k = Math.min(Math.floor(place), ramp.length - 2);
    const part = (hex, c) => parseInt(hex.slice(c, c + 2), 16);
    return `rgb(${[1, 3, 5].map((c) => Math.round(part(ramp[k][1], c) + (place - k) * (part(ramp[k + 1][1], c) - part(ramp[k][1], c))))})`;
  };
  const recolour = () => { // the slider's way: Plotly.restyle builds every bus anew, ten times slower on thousands
    const vm = voltages();
    const trace = at("map").data.at(-1); // the buses lie above all else
    const { color, line } = marker(vm);
    const [text, ends] = [hover(vm), scale()];
    Object.assign(trace.marker, { color, line });
    trace.hovertext = text;
    for (const dot of [...at("map").querySelectorAll(".trace")].at(-1).querySelectorAll(".point")) {
      const point = dot.__data__; // plotly's own: its place, and what it is drawn and described with
      const k = point.i;
      Object.assign(point, { mc: color[k], mlc: line.color[k], mlw: line.width[k], htx: text[k] });
      Object.assign(dot.style, { fill: color[k] === null ? "none" : shade(color[k], ends), stroke: line.color[k], strokeWidth: `${line.width[k]}px` });
    }
    describe(vm);
    markStep();
  };
  const showWhen = () => {
    const time = state.mode === "step" && group().step_time[state.step];
    at("when").textContent = time ? time.replace("T", " ").slice(0, 16) : "move to a step";
    at("step").setAttribute("aria-valuetext", at("when").textContent);
  };
  const stepMark = () => (state.mode === "step" ? [{ type: "line", yref: "paper", y0: 0, y1: 1, x0: group().step_time[state.step],
    x1: group().step_time[state.step], line: { color: ink, width: 1.5 } }] : []);
  const markStep = () => { if (at("heat").layout) Plotly.relayout(at("heat"), { shapes: stepMark() }); };
  const drawHeat = () => {
    const one = feeder();
    const vm = u16(run().vm);
    const buses = vm.length / group().step_time.length;
    const z = one.row.map((row) => group().step_time.map((_, s) => { const v = vm[s * buses + row]; return v ? v / 40000 : null; }));
    const [low, high] = scale();
    draw(at("heat"), [{ type: "heatmap", x: group().step_time.length > 1 ? group().step_time : group().time, y: one.row.map((_, k) => k), z, zmin: low, zmax: high, colorscale: ramp,
      customdata: one.bus.map((bus) => group().step_time.map(() => bus)), hovertemplate: "bus %{customdata}, %{x}: %{z:.4f} p.u.<extra></extra>",
      showscale: !phone(), colorbar: bar() }],
    { shapes: stepMark(), yaxis: { title: { text: "buses, in the order of a walk along the feeder" , font: { size: 12 } }, showticklabels: false, ticks: "", autorange: "reversed", showgrid: false },
      xaxis: { type: "date", showgrid: false } });
  };
  const drawFeeder = () => {
    const known = feeder() !== null && run().worst !== undefined;
    at("map-parts").hidden = !known;
    at("map-missing").hidden = known;
    if (!known) {
      at("map-missing").textContent = "The voltages of single buses were not kept (record = metrics, or files of an earlier version), so there is no map. Run the comparison with --record float32 or all to see it.";
      return;
    }
    const steps = group().step_time.length > 0 && run().vm !== undefined;
    if (!steps) state.mode = "worst";
    for (const id of ["slider-row", "step-mode", "heat"]) at(id).hidden = !steps;
    at("heat").previousElementSibling.hidden = !steps;
    at("step").max = Math.max(group().step_time.length - 1, 0);
    at("step").value = state.step;
    for (const radio of document.getElementsByName("mode")) radio.checked = radio.value === state.mode;
    at("thinned").textContent = !steps
      ? "Single steps were left out to keep this file small: each bus shows its worst voltage over all steps."
      : group().step_time.length < group().count
        ? `Shown are ${group().step_time.length} of ${group().count} steps, spread evenly, and every controller's worst ones; the worst voltage of the window is taken over all.`
        : group().count > 1 ? `All ${group().count} steps are shown.` : "";
    showWhen();
    drawMap();
    if (steps) drawHeat();
  };

  // ---- curves -----------------------------------------------------------------------------------------------------
  const plain = (k) => page.controllers[k].replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll("%{", "% {"); // plotly reads tags
  const line = (k, x, y, more) => ({ type: "scatter", mode: "lines", x, y, name: plain(k), line: { color: colour(k), dash: dash(k), width: 2 }, ...more });
  const held = (values) => [...values, values.at(-1)]; // a value holds until its step ends
  const area = (x, low, high) => { // the outline between two curves, one for each stretch without a gap
    const [xs, ys] = [[], []];
    for (let from = 0, k = 0; k <= low.length; k += 1) {
      if (k < low.length && Number.isFinite(low[k]) && Number.isFinite(high[k])) continue;
      if (k > from) {
        const [there, back] = [held([...high.slice(from, k)]), held([...low.slice(from, k)]).reverse()];
        const times = x.slice(from, k + 1);
        xs.push(...times, ...times.slice().reverse(), null);
        ys.push(...there, ...back, null);
      }
      from = k + 1;
    }
    return { x: xs, y: ys };
  };
  const drawEnvelopes = () => {
    clear(at("envelopes"));
    const [low, high] = group().band;
    const range = around(shownRuns().flatMap(([, one]) => [f32(one.vm_min), f32(one.vm_max)]).concat([[low ?? NaN, high ?? NaN]]));
    const time = group().time;
    const divs = shownRuns().map(([k]) => figure(at("envelopes"), page.controllers[k], `${group().runs[k].in_band_pct.toFixed(1)} % of the steps in band`, `Voltage envelope of ${page.controllers[k]}`));
    for (const [place, [k, one]] of shownRuns().entries()) {
      const [least, most] = [f32(one.vm_min), f32(one.vm_max)];
      const filled = (bottom, top, fillcolor) => ({ type: "scatter", mode: "lines", ...area(time, bottom, top), line: { width: 0 }, hoverinfo: "skip", fill: "toself", fillcolor });
      const traces = [filled(least, most, faint(colour(k), 0.22))];
      if (one.p_mid) {
        traces.push(filled(f32(one.p_low), f32(one.p_high), faint(colour(k), 0.4)));
        traces.push({ ...line(k, time, held(f32(one.p_mid))), line: { color: colour(k), width: 2 }, hoverinfo: "skip" });
      }
      if (high !== null) traces.push(filled(most.map(() => high), most.map((v) => Math.max(v, high)), alarm));
      if (low !== null) traces.push(filled(least.map((v) => Math.min(v, low)), least.map(() => low), alarm));
      traces.push({ type: "scatter", mode: "lines", x: time, y: held(most), customdata: held(least), line: { width: 0 }, name: "",
        hovertemplate: "%{x}: %{customdata:.4f} to %{y:.4f} p.u.<extra></extra>" });
      draw(divs[place], traces, { shapes: bandLines(), hovermode: "x", xaxis: { type: "date", nticks: 6, range: [time[0], time.at(-1)] },
        yaxis: { range, tickformat: ".2f", title: { text: "p.u.", font: { size: 12 } } } });
    }
    const detail = shownRuns().some(([, one]) => one.p_mid);
    at("envelope-lead").textContent = (detail ? "The range of all buses (light), of the middle 80 % (darker) and the median bus (line)." : "The range of all buses.")
      + (low === null && high === null ? " These runs do not hold the band." : " Dashed: the band; orange-red: out of it.");
    at("binned").textContent = group().bin > 1 ? `Each point stands for ${group().bin} steps: highest and lowest voltages are kept, the median is averaged.` : "";
  };
  const drawDurations = () => {
    clear(at("duration-grid"));
    const kinds = [["vm_max", "Highest bus voltage", "p.u."], ["vm_min", "Lowest bus voltage", "p.u."], ["losses", "Losses", "MW"], ["loading", "Highest loading of a line or transformer", "%"]];
    const parts = kinds.map((kind) => [kind, shownRuns().filter(([, one]) => one.duration[kind[0]].length > 0)]).filter(([, some]) => some.length)
      .map(([kind, some]) => [kind, some, figure(at("duration-grid"), kind[1], kind[2], `Duration curves: ${kind[1]}`)]);
    for (const [[name, , unit], some, div] of parts) {
      const share = f32(some[0][1].duration[name]).length - 1;
      const limit = { vm_max: group().band[1], vm_min: group().band[0], loading: 100 }[name] ?? undefined;
      draw(div, some.map(([k, one]) => line(k, [...Array(share + 1).keys()].map((q) => (100 * q) / share), f32(one.duration[name]),
        { hovertemplate: `${plain(k)}<br>%{y:.5g} ${unit} exceeded in %{x:.0f} %<extra></extra>` })),
      { shapes: limit === undefined ? [] : [limitLine(limit)], xaxis: { title: { text: "share of steps (%)", font: { size: 12 } }, range: [0, 100], tickvals: [0, 25, 50, 75, 100] },
        yaxis: unit === "p.u." ? { tickformat: ".4~f", range: around([...some.map(([, one]) => f32(one.duration[name])), [limit ?? NaN]]) } : { rangemode: "tozero" } });
    }
  };
  const drawRegret = () => { // sums stand at the end of their step
    const some = shownRuns().filter(([, one]) => one.regret);
    const any = runs().some(([, one]) => one.regret);
    at("regret-parts").hidden = !any;
    at("regret-missing").hidden = any;
    at("regret-missing").textContent = any ? "" : "No certified bounds were kept with these runs (a meshed feeder, certificates switched off, or files of an earlier version), so there is no regret to show.";
    if (!any) return;
    const kind = at("regret-kind").value;
    const log = kind === "regret";
    const floor = page.regret_floor;
    draw(at("regret-plot"), some.map(([k, one]) => {
      const y = [0, ...f32(one[kind])];
      return line(k, group().time, log ? y.map((v) => Math.max(v, floor)) : y, { customdata: y,
        hovertemplate: `${plain(k)}<br>%{x}: %{customdata:.4g} ${page.regret_unit}<extra></extra>` });
    }), { xaxis: { type: "date", range: [group().time[0], group().time.at(-1)] }, yaxis: { type: log ? "log" : "linear", title: { text: page.regret_unit, font: { size: 12 } }, ...(log ? { exponentformat: "e", dtick: 1 } : {}) } });
    at("regret-note").textContent = log
      ? `Logarithmic; sums below ${floor.toExponential()} ${page.regret_unit} are drawn there: solvers are no more exact than that.`
      : "Below zero: a run that saves by leaving the band.";
  };
  const drawTimes = () => {
    draw(at("times-plot"), shownRuns().map(([k, one]) => {
      const ms = f32(one.decide_ms);
      return line(k, ms.map((v) => Math.max(v, page.time_floor)), [...ms.keys()].map((q) => (100 * q) / (ms.length - 1)),
        { customdata: ms, hovertemplate: `${plain(k)}<br>%{y:.0f} % of the steps within %{customdata:.3g} ms<extra></extra>` });
    }), { xaxis: { type: "log", title: { text: "time for a decision (ms)", font: { size: 12 } }, exponentformat: "none", dtick: 1 },
      yaxis: { title: { text: "share of steps (%)", font: { size: 12 } }, range: [0, 101] } });
  };
  const drawDevices = () => {
    const box = at("device-grid");
    clear(box);
    const inverters = group().inverters;
    const later = []; // drawn once all figures stand, so that each knows its width
    const perInverter = (name, title, unit) => {
      const some = shownRuns().filter(([, one]) => one.devices[name] && f32(one.devices[name]).some((v) => Math.abs(v) > 1e-9));
      if (!some.length) return;
      const div = figure(box, title, unit);
      const bars = some.length * inverters.length <= 120;
      const shapes = ["circle", "square", "diamond", "triangle-up", "x", "cross", "star"];
      later.push(() => draw(div, some.map(([k, one]) => ({ ...(bars ? { type: "bar" } : { type: "scatter", mode: "markers" }),
        x: inverters, y: f32(one.devices[name]), name: plain(k),
        marker: { color: colour(k), ...(bars ? {} : { symbol: shapes[k % shapes.length], size: 6 }) },
        hovertemplate: `${plain(k)}<br>inverter %{x}: %{y:.4g} ${unit}<extra></extra>` })),
      { barmode: "group", bargap: 0.25, xaxis: { type: "category", showgrid: false, showticklabels: inverters.length <= 40, ticks: "", title: { text: "inverter", font: { size: 12 } } }, yaxis: { rangemode: "tozero" } }));
    };
    perInverter("q_pct", "Reactive power of each inverter", "mean |q|, % of the rating");
    perInverter("curtailed_mwh", "Curtailed energy of each inverter", "MWh");
    for (const [name, title] of [["soc", "State of charge of storage"], ["tap", "Tap positions"], ["step", "Capacitor steps"]]) {
      const moves = (values) => { const [v0, v1] = extent([f32(values)]); return v1 - v0 > 1e-9; };
      const some = shownRuns().filter(([, one]) => Object.values(one.devices[name] || {}).some(moves));
      if (!some.length) continue;
      const div = figure(box, title, name === "soc" ? "share of the capacity" : "");
      later.push(() => draw(div, some.flatMap(([k, one]) => Object.entries(one.devices[name]).map(([device, values]) => line(k, group().time, held(f32(values)), {
        line: { color: colour(k), dash: dash(k), width: 1.8, shape: name === "soc" ? "linear" : "hv" },
        hovertemplate: `${plain(k)}<br>${device}, %{x}: %{y:.3g}<extra></extra>` }))),
      { xaxis: { type: "date", nticks: 6 }, yaxis: {} }));
    }
    for (const one of later) one();
    at("device-missing").hidden = later.length > 0;
    at("device-missing").textContent = "No device was used in the runs shown.";
  };
  const drawCurves = () => { drawEnvelopes(); drawDurations(); drawRegret(); drawTimes(); drawDevices(); };

  // ---- choices ----------------------------------------------------------------------------------------------------
  const sample = (k) => {
    const pattern = { solid: "", dash: "7 3", dot: "2 3", dashdot: "7 3 2 3" }[dash(k)];
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", "line");
    svg.setAttribute("viewBox", "0 0 26 12");
    svg.setAttribute("aria-hidden", "true");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    for (const [name, value] of Object.entries({ d: "M0 6H26", stroke: colour(k), "stroke-width": 3.5, "stroke-dasharray": pattern })) path.setAttribute(name, value);
    svg.append(path);
    return svg;
  };
  const option = (value, text) => { const one = document.createElement("option"); one.value = value; one.textContent = text; return one; };
  const enterGroup = () => {
    stop();
    state.step = 0;
    const there = runs().map(([k]) => k);
    if (!there.includes(state.controller)) state.controller = there[0];
    at("controller").replaceChildren(...there.map((k) => option(k, page.controllers[k])));
    at("controller").value = state.controller;
    at("rows").replaceChildren(...there.map((k) => {
      const chip = document.createElement("button");
      chip.type = "button";
      chip.setAttribute("aria-pressed", String(!state.off.has(k)));
      const name = document.createElement("span");
      name.textContent = page.controllers[k];
      chip.append(sample(k), name);
      chip.addEventListener("click", () => {
        state.off.has(k) ? state.off.delete(k) : state.off.add(k);
        chip.setAttribute("aria-pressed", String(!state.off.has(k)));
        drawCurves();
      });
      return chip;
    }));
    drawFeeder();
    drawCurves();
  };
  const stop = () => {
    clearInterval(state.timer);
    state.timer = null;
    at("play").textContent = "Play";
    at("play").setAttribute("aria-pressed", "false");
  };
  const goTo = (step) => {
    state.step = step;
    state.mode = "step";
    at("step").value = step;
    for (const radio of document.getElementsByName("mode")) radio.checked = radio.value === "step";
    showWhen();
    recolour();
  };
  at("step").addEventListener("input", () => goTo(Number(at("step").value)));
  at("play").addEventListener("click", () => {
    if (state.timer) return stop();
    at("play").textContent = "Pause";
    at("play").setAttribute("aria-pressed", "true");
    state.timer = setInterval(() => {
      if (state.step >= group().step_time.length - 1) { stop(); state.step = 0; } else goTo(state.step + 1);
    }, 120);
  });
  for (const radio of document.getElementsByName("mode")) radio.addEventListener("change", () => { stop(); state.mode = radio.value; showWhen(); recolour(); });
  at("controller").addEventListener("change", () => { state.controller = Number(at("controller").value); drawFeeder(); });
  at("regret-kind").addEventListener("change", drawRegret);
  at("group").replaceChildren(...page.groups.map((one, k) => option(k, page.titles[k])));
  at("group-choice").hidden = page.groups.length < 2;
  at("group").addEventListener("change", () => { state.group = Number(at("group").value); enterGroup(); });
  for (const place of document.querySelectorAll(".sample")) {
    const k = page.controllers.indexOf(place.dataset.label);
    if (k >= 0) place.replaceWith(sample(k));
  }
  let width = document.documentElement.clientWidth;
  addEventListener("resize", () => {
    if (document.documentElement.clientWidth === width) return;
    width = document.documentElement.clientWidth;
    if (!feeder() || !run().worst) return;
    for (const id of ["map", "heat"]) Plotly.purge(at(id)); // a colour bar that turns is drawn twice otherwise
    drawFeeder();
  });
  enterGroup();
})();
