"use strict";
// Reads the numbers inside the page and draws them. Text goes in by textContent alone, and nothing is fetched.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const NINETY = 1.645; // half width of a 90 % interval in standard errors
  const KEPT_COLOURS = ["#e69f00", "#009e73", "#cc79a7"];
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const byId = (id) => document.getElementById(id);

  // --- numbers -------------------------------------------------------------------------------

  function bytes(text) {
    const raw = atob(text), out = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
    return out;
  }
  const shorts = (text) => new Uint16Array(bytes(text).buffer);
  const floats = (text) => new Float32Array(bytes(text).buffer);

  const bit = (mask, i) => (mask[i >> 3] >> (i & 7)) & 1;

  function unpacked(packed) {
    return {
      mean: floats(packed.mean), directions: floats(packed.directions), offset: packed.offset,
      step: packed.step, bits: packed.bits, counts: packed.counts.map(bytes),
    };
  }

  // mean + U^T (offset + step counts)
  function spectrumOf(packed, n) {
    const out = Float64Array.from(packed.mean), size = out.length;
    packed.counts.forEach((row, k) => {
      let count = 0;
      for (let b = 0; b < packed.bits[k]; b++) count |= bit(row, n * packed.bits[k] + b) << b;
      const score = packed.offset[k] + packed.step[k] * count;
      for (let c = 0; c < size; c++) out[c] += score * packed.directions[k * size + c];
    });
    return out;
  }

  const [cellRows, cellCols] = data.shape;
  const number = new Int32Array(cellRows * cellCols).fill(-1); // of a cell among the valid ones
  {
    const valid = bytes(data.valid);
    for (let i = 0, n = 0; i < number.length; i++) if (bit(valid, i)) number[i] = n++;
  }
  const outlier = data.outlier === null ? null : bytes(data.outlier);
  const spectra = unpacked(data.spectra);
  const errors = data.errors === null ? null : unpacked(data.errors);
  const indices = data.indices.map((index) => ({
    name: index.name, value: coded(index.value), error: index.error && coded(index.error),
  }));

  function coded(part) {
    return { low: part.low, step: part.step, counts: shorts(part.counts) };
  }

  function digitsFor(step) {
    return Math.max(0, Math.min(6, -Math.floor(Math.log10(step))));
  }

  // a number with the digits that its standard error leaves
  function withError(value, error) {
    if (!(error > 0)) return { value: value.toPrecision(3), error: "" };
    const digits = digitsFor(error / 2);
    return { value: value.toFixed(digits), error: error.toFixed(digits) };
  }

  function indexText(index, n) {
    const count = index.value.counts[n];
    if (count === 65535) return { value: "not defined", error: "" };
    const value = index.value.low + index.value.step * count;
    if (count === 0) return { value: "below " + (value + index.value.step).toPrecision(3), error: "" };
    if (count === 65534) return { value: "above " + (value - index.value.step).toPrecision(3), error: "" };
    const errorCount = index.error ? index.error.counts[n] : 65535;
    if (errorCount >= 65534) return { value: value.toPrecision(3), error: "" };
    return withError(value, Math.max(0, index.error.low + index.error.step * errorCount));
  }

  // --- small helpers for elements --------------------------------------------------------------

  function element(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }
  function drawn(tag, attributes, text) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }

  // --- charts ----------------------------------------------------------------------------------

  function niceStep(span, count) {
    const raw = span / count, unit = 10 ** Math.floor(Math.log10(raw));
    return unit * [1, 2, 5, 10].find((n) => n * unit >= raw);
  }

  /* A chart over wavelength. Each series has ys, and may have low and high, a colour, a dash and a name at
     its peak; strips are pairs of wavelengths that the camera saw. */
  function chart(host, { xs, series, strips, yLabel, label, top }) {
    const width = Math.max(280, host.clientWidth), height = Math.min(340, Math.max(240, width * 0.6));
    const box = { left: 46, right: 10, top: 22, bottom: 40 };
    let highest = top || 0;
    for (const line of series) for (const y of line.high || line.ys) if (y > highest) highest = y;
    const xLow = xs[0], xHigh = xs[xs.length - 1], yStep = niceStep(highest || 1, 5);
    const yHigh = Math.ceil((highest || 1) / yStep - 1e-9) * yStep;
    const px = (x) => box.left + ((x - xLow) / (xHigh - xLow || 1)) * (width - box.left - box.right);
    const py = (y) => height - box.bottom - (Math.max(0, y) / yHigh) * (height - box.top - box.bottom);
    const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
    for (const [low, high] of strips || []) {
      const left = px(Math.max(low, xLow)), right = px(Math.min(high, xHigh));
      if (right > left) svg.append(drawn("rect", { class: "strip", x: left, y: box.top, width: right - left, height: height - box.top - box.bottom }));
    }
    for (let y = 0; y <= yHigh + yStep / 2; y += yStep) {
      svg.append(drawn("line", { class: y ? "grid" : "axis", x1: box.left, x2: width - box.right, y1: py(y), y2: py(y) }));
      svg.append(drawn("text", { x: box.left - 6, y: py(y) + 4, "text-anchor": "end" }, y.toFixed(digitsFor(yStep))));
    }
    const xStep = niceStep(xHigh - xLow || 1, width / 75);
    for (let x = Math.ceil(xLow / xStep) * xStep; x <= xHigh; x += xStep) {
      svg.append(drawn("line", { class: "axis", x1: px(x), x2: px(x), y1: py(0), y2: py(0) + 4 }));
      svg.append(drawn("text", { x: px(x), y: py(0) + 18, "text-anchor": "middle" }, String(Math.round(x))));
    }
    svg.append(drawn("text", { x: (box.left + width) / 2, y: height - 4, "text-anchor": "middle" }, "Wavelength (nm)"));
    svg.append(drawn("text", { x: 4, y: 12 }, yLabel));
    const points = (ys, [first, last]) =>
      Array.from(ys, (y, i) => `${px(xs[i]).toFixed(1)},${py(y).toFixed(1)}`).slice(first, last);
    // where a response is above zero, so that many lines do not lie on the axis
    const range = (line) => {
      const ys = Array.from(line.high || line.ys);
      if (!line.name && !line.dash) return [0, ys.length];
      const least = 0.004 * highest, first = ys.findIndex((y) => y > least);
      const last = ys.length - [...ys].reverse().findIndex((y) => y > least);
      return [Math.max(0, first - 1), last + 1];
    };
    for (const line of series) {
      if (line.low) {
        const outline = points(line.high, range(line)).concat(points(line.low, range(line)).reverse()).join(" ");
        svg.append(drawn("polygon", { class: "band", points: outline, fill: line.colour }));
      }
    }
    let labelEnd = -Infinity, lift = 0;
    for (const line of series) {
      const shape = drawn("polyline", { class: line.dash ? "dash" : "curve", points: points(line.ys, range(line)).join(" ") });
      if (!line.dash) shape.style.stroke = line.colour;
      svg.append(shape);
      if (line.name) {
        let peak = 0;
        line.ys.forEach((y, i) => { if (y > line.ys[peak]) peak = i; });
        const x = Math.min(Math.max(px(xs[peak]), box.left + 20), width - box.right - 24);
        const half = 3.6 * line.name.length, y = py(Math.max(...(line.high || line.ys))) - 5;
        lift = x - half < labelEnd ? lift + 14 : 0; // above a label that it would touch
        labelEnd = x + half;
        svg.append(drawn("text", { class: "name", x, y: Math.max(20, y - lift), "text-anchor": "middle" }, line.name));
      }
    }
    host.replaceChildren(svg);
  }

  // --- the map ---------------------------------------------------------------------------------

  const figures = Array.from(document.querySelectorAll("figure.layer"));
  const covered = { width: data.mapShape[1] * data.mapStep, height: data.mapShape[0] * data.mapStep };
  const overlay = drawn("svg", {
    class: "overlay", viewBox: `0 0 ${covered.width} ${covered.height}`, preserveAspectRatio: "none", "aria-hidden": "true",
  });
  const outlines = new Map();
  for (const zone of data.zones) {
    const d = zone.rings.map((ring) => "M" + ring.map((point) => point.join(" ")).join("L") + "Z").join("");
    overlay.append(drawn("path", { class: "under", d }));
    outlines.set(zone.name, { path: drawn("path", { d }), ring: zone.rings[0] });
  }
  outlines.forEach((outline) => overlay.append(outline.path));
  const marker = element("div", { class: "marker" });
  const keptMarkers = element("div", {});
  let shown = 0, zoom = 1, chosen = null;
  const kept = [];
  const frame = () => figures[shown].querySelector(".frame");
  const stage = () => figures[shown].querySelector(".stage");

  function fit() {
    const room = frame(), image = stage().querySelector("img");
    const most = window.innerHeight * (window.innerWidth > 820 ? 0.72 : 0.58);
    const width = Math.min(room.clientWidth, (most * covered.width) / covered.height) * zoom;
    stage().style.width = `${width}px`;
    figures[shown].classList.toggle("sharp", width > image.naturalWidth);
    scaleBar(width);
  }

  function scaleBar(width) {
    const host = byId("scale");
    if (!(data.metres > 0)) return;
    const perPixel = (covered.width * data.metres) / width, wanted = perPixel * 110;
    const unit = 10 ** Math.floor(Math.log10(wanted));
    const length = unit * [5, 2, 1].find((n) => n * unit <= wanted);
    const bar = element("div", {});
    bar.style.width = `${length / perPixel}px`;
    const name = length >= 1000 ? `${length / 1000} km` : length >= 1 ? `${length} m` : `${Math.round(length * 100)} cm`;
    host.replaceChildren(bar, name);
  }

  function show(which) {
    const before = frame(), place = [before.scrollLeft, before.scrollTop];
    figures.forEach((figure, i) => { figure.hidden = i !== which; });
    shown = which;
    stage().append(overlay, keptMarkers, marker);
    fit();
    frame().scrollTo({ left: place[0], top: place[1], behavior: "instant" });
  }

  function setZoom(factor) {
    const room = frame(), old = zoom;
    const middle = [room.scrollLeft + room.clientWidth / 2, room.scrollTop + room.clientHeight / 2];
    zoom = Math.min(16, Math.max(1, zoom * factor));
    fit();
    room.scrollTo({
      left: (middle[0] * zoom) / old - room.clientWidth / 2,
      top: (middle[1] * zoom) / old - room.clientHeight / 2, behavior: "instant",
    });
    byId("zoom-out").disabled = zoom <= 1;
    byId("zoom-in").disabled = zoom >= 16;
  }

  function atPercent(mark, pixel) {
    mark.style.left = `${((pixel.col + 0.5) / covered.width) * 100}%`;
    mark.style.top = `${((pixel.row + 0.5) / covered.height) * 100}%`;
  }

  function intoView(pixel) {
    const room = frame(), size = stage().getBoundingClientRect();
    const x = ((pixel.col + 0.5) / covered.width) * size.width, y = ((pixel.row + 0.5) / covered.height) * size.height;
    if (x < room.scrollLeft || x > room.scrollLeft + room.clientWidth) room.scrollLeft = x - room.clientWidth / 2;
    if (y < room.scrollTop || y > room.scrollTop + room.clientHeight) room.scrollTop = y - room.clientHeight / 2;
  }

  // --- a pixel ---------------------------------------------------------------------------------

  function degrees(pixel) {
    const u = (pixel.col + 0.5) / data.width, v = (pixel.row + 0.5) / data.height;
    const [a, b, c, d] = data.corners;
    return [0, 1].map((k) => (1 - v) * ((1 - u) * a[k] + u * b[k]) + v * ((1 - u) * c[k] + u * d[k]));
  }

  function whereText(pixel) {
    const [a, b, c, d, e, f] = data.transform, x = pixel.col + 0.5, y = pixel.row + 0.5;
    const lines = [`pixel: row ${pixel.row}, column ${pixel.col}`];
    if (data.corners) {
      const [lon, lat] = degrees(pixel);
      lines.push(`${Math.abs(lat).toFixed(6)}° ${lat < 0 ? "S" : "N"}, ${Math.abs(lon).toFixed(6)}° ${lon < 0 ? "W" : "E"}`);
    }
    const digits = data.metres < 0.5 && Math.abs(a) > 1e-4 ? 2 : Math.abs(a) > 1e-4 ? 1 : 7;
    lines.push(`${data.crs}: ${(a * x + b * y + c).toFixed(digits)}, ${(d * x + e * y + f).toFixed(digits)}`);
    return lines;
  }

  function choose(row, col) {
    row = Math.min(cellRows - 1, Math.max(0, row));
    col = Math.min(cellCols - 1, Math.max(0, col));
    const pixel = { row: data.rows[row], col: data.cols[col] };
    const n = number[row * cellCols + col];
    chosen = { row, col, n, pixel, ys: null, se: null };
    if (n >= 0) {
      chosen.ys = spectrumOf(spectra, n);
      chosen.se = errors && spectrumOf(errors, n).map(Math.exp);
    }
    atPercent(marker, pixel);
    describe();
    drawSpectrum();
    fillTable();
    byId("keep").disabled = n < 0 || kept.length >= KEPT_COLOURS.length;
    byId("save").disabled = n < 0;
  }

  function describe() {
    const { n, pixel } = chosen;
    byId("where").replaceChildren(...whereText(pixel).flatMap((line, i) => (i ? [element("br"), line] : [line])));
    const list = byId("numbers");
    const notes = [];
    if (n < 0) notes.push("No data here.");
    else if (outlier && bit(outlier, n)) notes.push("Unlike all spectra that the model learned from: do not trust it here.");
    byId("note").textContent = notes.join(" ");
    list.replaceChildren(...(n < 0 ? [] : indices.map((index) => {
      const text = indexText(index, n);
      return element("li", {}, index.name + " ", element("b", {}, text.value), text.error ? ` ± ${text.error}` : "");
    })));
  }

  const curveColour = () => getComputedStyle(document.documentElement).getPropertyValue("--curve").trim();

  function drawSpectrum() {
    const series = kept.map((one) => ({ ys: one.ys, colour: one.colour }));
    if (chosen.n >= 0) {
      const { ys, se } = chosen, line = { ys, colour: curveColour() };
      if (se) {
        line.low = ys.map((y, i) => y - NINETY * se[i]);
        line.high = ys.map((y, i) => y + NINETY * se[i]);
      }
      series.push(line);
    }
    const label = chosen.n < 0 ? "No spectrum: there is no data here." : "Spectrum of the chosen pixel; the table below has its numbers.";
    chart(byId("spectrum"), { xs: data.nm, series, strips: data.stf && data.stf.spans, yLabel: "Reflectance (0 to 1)", label, top: 0.05 });
  }

  function rowsOfTable() {
    return data.nm.map((nm, i) => [nm.toFixed(1), chosen.ys[i].toFixed(4), chosen.se ? chosen.se[i].toFixed(4) : ""]);
  }

  function fillTable() {
    const body = byId("values");
    if (chosen.n < 0) return body.replaceChildren();
    return body.replaceChildren(...rowsOfTable().map(([nm, y, se]) =>
      element("tr", {}, element("th", { scope: "row" }, nm), element("td", {}, y), element("td", {}, se))));
  }

  function save() {
    const lines = [["wavelength_nm", "reflectance", "standard_error"], ...rowsOfTable()].map((row) => row.join(","));
    const address = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
    const link = element("a", { href: address, download: `spectrum_row${chosen.pixel.row}_col${chosen.pixel.col}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }

  function keep() {
    const colour = KEPT_COLOURS[kept.length], mark = element("div", { class: "marker kept" });
    mark.style.color = colour;
    atPercent(mark, chosen.pixel);
    keptMarkers.append(mark);
    kept.push({ ys: chosen.ys, colour });
    byId("clear").disabled = false;
    byId("keep").disabled = kept.length >= KEPT_COLOURS.length;
    drawSpectrum();
  }

  function clear() {
    kept.length = 0;
    keptMarkers.replaceChildren();
    byId("clear").disabled = true;
    byId("keep").disabled = chosen.n < 0;
    drawSpectrum();
  }

  function firstCell() { // the valid one nearest to the middle
    let best = 0, least = Infinity;
    for (let i = 0; i < number.length; i++) {
      const away = Math.hypot(Math.floor(i / cellCols) - cellRows / 2, (i % cellCols) - cellCols / 2);
      if (number[i] >= 0 && away < least) { least = away; best = i; }
    }
    choose(Math.floor(best / cellCols), best % cellCols);
  }

  // --- plots -----------------------------------------------------------------------------------

  function choosePlot(name) {
    outlines.forEach((outline, key) => outline.path.classList.toggle("chosen", key === name));
    document.querySelectorAll("#plots tbody tr").forEach((row) => row.classList.toggle("chosen", row.dataset.zone === name));
    const outline = outlines.get(name);
    if (!outline) return;
    overlay.append(outline.path);
    const mean = (k) => outline.ring.reduce((sum, point) => sum + point[k], 0) / outline.ring.length;
    intoView({ row: mean(1), col: mean(0) });
  }

  function sortable(table) {
    table.querySelectorAll("thead th").forEach((head, column) => {
      const button = element("button", { type: "button", title: "Sort by this column" }, head.textContent);
      head.replaceChildren(button);
      let up = true;
      button.addEventListener("click", () => {
        const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
        const rows = Array.from(table.tBodies[0].rows).sort((one, two) => {
          const [first, second] = [key(one), key(two)], numbers = [Number(first), Number(second)];
          const order = numbers.some(Number.isNaN) ? first.localeCompare(second, "en", { numeric: true }) : numbers[0] - numbers[1];
          return up ? order : -order;
        });
        table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        up = !up;
        table.tBodies[0].append(...rows);
      });
    });
  }

  // --- start -----------------------------------------------------------------------------------

  function listen() {
    const picker = byId("layers");
    figures.forEach((figure, i) => {
      const input = element("input", { type: "radio", name: "layer", value: String(i) });
      input.checked = i === 0;
      input.addEventListener("change", () => show(i));
      picker.append(element("label", {}, input, element("span", {}, figure.dataset.name)));
      const room = figure.querySelector(".frame");
      room.tabIndex = 0;
      room.setAttribute("role", "group");
      room.setAttribute("aria-label", "Map. Click, or use the arrow keys, to choose a pixel; with Shift ten at a time.");
      let press = null;
      room.addEventListener("pointerdown", (event) => { press = { x: event.clientX, y: event.clientY, moved: false }; });
      room.addEventListener("pointermove", (event) => {
        if (!press || event.pointerType !== "mouse" || !event.buttons) return;
        if (Math.hypot(event.clientX - press.x, event.clientY - press.y) > 4) press.moved = true;
        if (press.moved) room.scrollBy({ left: -event.movementX, top: -event.movementY, behavior: "instant" });
      });
      room.addEventListener("click", (event) => {
        if (press && press.moved) return;
        const size = stage().getBoundingClientRect();
        const x = ((event.clientX - size.left) / size.width) * covered.width;
        const y = ((event.clientY - size.top) / size.height) * covered.height;
        if (x < 0 || y < 0 || x >= data.width || y >= data.height) return;
        choose(Math.floor(y / data.step), Math.floor(x / data.step));
      });
      room.addEventListener("keydown", (event) => {
        const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
        const move = moves[event.key], far = event.shiftKey ? 10 : 1;
        if (event.key === "+" || event.key === "-") setZoom(event.key === "+" ? 1.5 : 1 / 1.5);
        if (!move) return;
        event.preventDefault();
        choose(chosen.row + move[0] * far, chosen.col + move[1] * far);
        intoView(chosen.pixel);
      });
    });
    byId("zoom-in").addEventListener("click", () => setZoom(1.5));
    byId("zoom-out").addEventListener("click", () => setZoom(1 / 1.5));
    byId("keep").addEventListener("click", keep);
    byId("clear").addEventListener("click", clear);
    byId("save").addEventListener("click", save);
    document.querySelectorAll("#plots table").forEach(sortable);
    document.querySelectorAll("#plots tbody tr").forEach((row) => row.addEventListener("click", () => choosePlot(row.dataset.zone)));
    window.addEventListener("resize", redraw);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawSpectrum);
  }

  function drawStf() {
    const host = byId("stf-chart");
    if (!host || !data.stf) return;
    const { bands, colours, nominal, curves, errors: se } = data.stf, series = [];
    curves.forEach((ys, k) => {
      series.push({
        ys, colour: colours[k], name: bands[k],
        low: ys.map((y, i) => y - NINETY * se[k][i]), high: ys.map((y, i) => y + NINETY * se[k][i]),
      });
      series.push({ ys: nominal[k], dash: true });
    });
    chart(host, { xs: data.nm, series, yLabel: "Response (1 = peak of the data sheet)", label: "Response of each camera band; the table below has the numbers." });
  }

  function redraw() {
    fit();
    drawSpectrum();
    drawStf();
  }

  document.body.classList.add("live");
  listen();
  show(0);
  firstCell();
  drawStf();
})();
