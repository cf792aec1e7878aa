"use strict";
// Draws matrices that can be read cell by cell, and sorts and filters tables. No library.
(function () {
  // Codes of packed_matrices.py: 2000 * exponent + 1000 * negative + mantissa.
  const MISSING = 65535, NEGATIVE = 1000, PER_EXPONENT = 2000;
  const MOST_NAMES = 40;  // of regions along a matrix without networks

  async function inflate(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // Codes stored as their low bytes and then their high bytes.
  async function inflateCodes(text) {
    const bytes = await inflate(text), n = bytes.length / 2;
    return Uint16Array.from({ length: n }, (_, i) => bytes[i] + 256 * bytes[n + i]);
  }

  const isNegative = (code) => code !== MISSING && code % PER_EXPONENT >= NEGATIVE;

  function negate(code) {
    return code === 0 || code === MISSING ? code : code + (isNegative(code) ? -NEGATIVE : NEGATIVE);
  }

  // The codes of both triangles, from those of the upper one with the diagonal.
  function mirror(half, n, kind) {
    const codes = new Uint16Array(n * n);
    for (let s = 0, i = 0; s < n; s++) for (let t = s; t < n; t++, i++) {
      codes[t * n + s] = kind === "antisymmetric" ? negate(half[i]) : half[i];
      codes[s * n + t] = half[i];
    }
    return codes;
  }

  async function unpackCodes(packed, n, base) {
    let codes;
    if (packed.table) codes = Uint16Array.from(await inflate(packed.values), (i) => packed.table[i]);
    else codes = await inflateCodes(packed.values);
    if (packed.half) return mirror(codes, n, packed.half);
    if (!base) return codes;
    const keys = await inflateCodes(packed.keys), expected = await inflateCodes(packed.expected);
    const expectedAt = new Uint16Array(65536);
    keys.forEach((key, i) => { expectedAt[key] = expected[i]; });
    return codes.map((code, i) => code + expectedAt[isNegative(base[i]) ? base[i] - NEGATIVE : base[i]]);
  }

  function decode(codes, lowest) {
    return Float64Array.from(codes, (code) => {
      if (code === MISSING || code === 0) return code === 0 ? 0 : NaN;
      const rest = code % PER_EXPONENT, power = Math.floor(code / PER_EXPONENT) + lowest - 2;
      const size = power < 0 ? (rest % NEGATIVE) / 10 ** -power : (rest % NEGATIVE) * 10 ** power;
      return rest >= NEGATIVE ? -size : size;
    });
  }

  // Returns the layers with their numbers, and the details.
  async function unpack(data) {
    const n = data.labels.length;
    const codes = await Promise.all(data.layers.map((layer) => layer.below ? null : unpackCodes(layer, n)));
    const details = await Promise.all(Object.entries(data.details).map(async ([name, packed]) =>
      [name, decode(await unpackCodes(packed, n, codes[packed.of]), packed.lowest)]));
    const layers = data.layers.map((layer, i) => layer.below ? layer : { ...layer, numbers: decode(codes[i], layer.lowest) });
    return [layers.map((layer) => {
      if (!layer.below) return layer;
      const [name, limit] = layer.below, detail = new Map(details).get(name);
      return { ...layer, numbers: layers[0].numbers.map((value, i) => detail[i] < limit ? value : NaN) };
    }), details];
  }

  function antisymmetric(values, n) {
    const part = new Float64Array(values.length);
    for (let s = 0; s < n; s++) for (let t = 0; t < n; t++)
      part[s * n + t] = (values[s * n + t] - values[t * n + s]) / 2;
    return part;
  }

  // Blue, white, red: safe for colour-blind readers; the same end colours as in the figures.
  const SIGNED = [[33, 102, 172], [146, 197, 222], [247, 247, 247], [244, 165, 130], [178, 24, 43]];
  const PLAIN = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];

  function colour(value, limit, signed) {
    if (Number.isNaN(value)) return [213, 218, 224];
    const stops = signed ? SIGNED : PLAIN;
    let position = signed ? (value / limit + 1) / 2 : value / limit;
    position = Math.min(1, Math.max(0, position)) * (stops.length - 1);
    const low = Math.min(Math.floor(position), stops.length - 2), share = position - low;
    return stops[low].map((part, i) => part + share * (stops[low + 1][i] - part));
  }

  function text(value) {
    if (Number.isNaN(value)) return "n/a";
    return value !== 0 && Math.abs(value) < 1e-4 ? value.toExponential(2) : String(Number(value.toPrecision(3)));
  }

  class MatrixView {
    constructor(root, data, layers, details) {
      this.root = root;
      this.data = data;
      this.n = data.labels.length;
      this.order = data.order.length ? data.order : [...Array(this.n).keys()];
      this.layers = layers;
      this.details = details;
      const first = this.layers[0];
      if (first.directed) {
        const numbers = antisymmetric(first.numbers, this.n);
        this.layers.splice(1, 0, { name: "directed part", title: "directed (antisymmetric) part of " +
          first.title + ": half of A → B minus B → A", directed: true, signed: true, limit: first.limit, numbers });
      }
      this.readout = root.querySelector(".readout");
      this.cell = null;
      this.build();
      this.companions = this.layers.filter((layer) => !layer.directed).map((layer) => this.companion(layer));
      this.show(0);
    }

    build() {
      const bar = this.root.querySelector(".layers");
      this.layers.forEach((layer, index) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = layer.name;
        button.dataset.layer = layer.name;
        button.addEventListener("click", () => this.show(index));
        bar.append(button);
      });
      this.canvas = this.root.querySelector("canvas");
      this.canvas.addEventListener("mousemove", (event) => this.point(event));
      this.canvas.addEventListener("click", (event) => this.point(event));
      this.canvas.addEventListener("mouseleave", () => { this.cell = null; this.draw(); this.say(); });
      this.canvas.addEventListener("keydown", (event) => this.step(event));
      addEventListener("resize", () => this.draw());
    }

    // Draws functional connectivity beside the matrix, smaller, with the same cell marked.
    companion(layer) {
      const box = document.createElement("div"), title = document.createElement("p");
      const canvas = document.createElement("canvas");
      title.textContent = layer.name;
      canvas.width = canvas.height = 500;
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", layer.title + ", in the same order");
      canvas.addEventListener("mousemove", (event) => {
        const box_ = canvas.getBoundingClientRect(), n = this.n;
        const at = (offset, size) => Math.min(n - 1, Math.max(0, Math.floor(offset / size * n)));
        this.move([at(event.clientY - box_.top, box_.height), at(event.clientX - box_.left, box_.width)]);
      });
      box.append(title, canvas);
      this.root.querySelector(".companions").append(box);
      const picture = this.picture_of(layer);
      return () => {
        const pen = canvas.getContext("2d"), step = 500 / this.n;
        pen.imageSmoothingEnabled = this.n > 500;
        pen.drawImage(picture, 0, 0, 500, 500);
        if (!this.cell) return;
        pen.lineWidth = 2;
        pen.strokeRect(this.cell[1] * step - 1, this.cell[0] * step - 1, Math.max(step, 5), Math.max(step, 5));
      };
    }

    show(index) {
      this.layer = this.layers[index];
      this.root.querySelectorAll(".layers button").forEach((button, i) =>
        button.setAttribute("aria-pressed", String(i === index)));
      const limit = text(this.layer.limit);
      this.root.querySelector(".scale-low").textContent = this.layer.signed ? "−" + limit : "0";
      this.root.querySelector(".scale-high").textContent = limit;
      this.root.querySelector(".scale").classList.toggle("plain", !this.layer.signed);
      this.root.querySelector(".title").textContent = this.layer.title;
      this.picture = this.picture_of(this.layer);
      this.draw();
      this.say();
    }

    picture_of(layer) {
      const n = this.n, image = new ImageData(n, n);
      for (let row = 0; row < n; row++) for (let column = 0; column < n; column++) {
        const source = this.order[row], target = this.order[column];
        const value = source === target ? NaN : layer.numbers[source * n + target];
        image.data.set([...colour(value, layer.limit, layer.signed), 255], 4 * (row * n + column));
      }
      const picture = document.createElement("canvas");
      picture.width = picture.height = n;
      picture.getContext("2d").putImageData(image, 0, 0);
      return picture;
    }

    draw() {
      this.companions.forEach((paint) => paint());
      const canvas = this.canvas, pen = canvas.getContext("2d");
      const size = canvas.width;
      // A page on a phone shrinks the canvas; letters keep their size on the screen.
      this.letter = 13 * size / (canvas.clientWidth || size);
      const named = this.data.networks.length || this.n <= MOST_NAMES;
      const left = this.left = Math.round(named ? size * 0.16 : 1.6 * this.letter);
      const room = this.room = size - left;
      pen.fillStyle = "#ffffff";
      pen.fillRect(0, 0, size, size);
      pen.imageSmoothingEnabled = this.n > room;
      pen.drawImage(this.picture, left, left, room, room);
      if (this.data.networks.length) this.brackets(pen, left, room);
      else if (named) this.order.forEach((region, i) =>
        this.name(pen, this.data.labels[region], left, left + i * room / this.n, left + (i + 1) * room / this.n));
      pen.fillStyle = "#1a202c";
      pen.font = "600 " + this.letter + "px system-ui, sans-serif";
      pen.textAlign = "center";
      pen.fillText(this.layer.directed ? "target" : "region", left + room / 2, this.letter);
      pen.save();
      pen.translate(this.letter, left + room / 2);
      pen.rotate(-Math.PI / 2);
      pen.fillText(this.layer.directed ? "source" : "region", 0, 0);
      pen.restore();
      if (this.cell) {
        const step = room / this.n;
        pen.strokeStyle = "#000000";
        pen.lineWidth = 3;
        pen.strokeRect(left + this.cell[1] * step, left + this.cell[0] * step, Math.max(step, 4), Math.max(step, 4));
      }
    }

    brackets(pen, left, room) {
      const names = this.order.map((region) => this.data.networks[region]);
      const starts = names.map((name, i) => i === 0 || name !== names[i - 1] ? i : -1).filter((i) => i >= 0);
      if (starts.length > 40) return;
      const step = room / this.n;
      pen.strokeStyle = "#1a202c";
      pen.lineWidth = 1;
      starts.forEach((start, i) => {
        const stop = i + 1 < starts.length ? starts[i + 1] : this.n;
        const a = left + start * step, b = left + stop * step;
        pen.beginPath();
        pen.moveTo(a, left); pen.lineTo(a, left + room);
        pen.moveTo(left, a); pen.lineTo(left + room, a);
        pen.moveTo(left - 6, a + 2); pen.lineTo(left - 10, a + 2); pen.lineTo(left - 10, b - 2); pen.lineTo(left - 6, b - 2);
        pen.moveTo(a + 2, left - 6); pen.lineTo(a + 2, left - 10); pen.lineTo(b - 2, left - 10); pen.lineTo(b - 2, left - 6);
        pen.stroke();
        this.name(pen, names[start], left, a, b);
      });
    }

    // Writes a name beside rows and columns from a to b, unless they are too narrow.
    name(pen, full, left, a, b) {
      const letter = 0.85 * this.letter, middle = (a + b) / 2;
      if (b - a < letter) return;
      const most = Math.max(3, Math.floor((left - 16 - 1.3 * this.letter) / (0.6 * letter)));
      const name = full.length > most ? full.slice(0, most - 1) + "…" : full;
      pen.font = letter + "px system-ui, sans-serif";
      pen.fillStyle = "#1a202c";
      pen.textAlign = "right";
      pen.fillText(name, left - 14, middle + letter / 3);
      pen.save();
      pen.translate(middle + letter / 3, left - 14);
      pen.rotate(-Math.PI / 2);
      pen.textAlign = "left";
      pen.fillText(name, 0, 0);
      pen.restore();
    }

    point(event) {
      const box = this.canvas.getBoundingClientRect(), ratio = this.canvas.width / box.width;
      const column = Math.floor(((event.clientX - box.left) * ratio - this.left) / this.room * this.n);
      const row = Math.floor(((event.clientY - box.top) * ratio - this.left) / this.room * this.n);
      const inside = row >= 0 && column >= 0 && row < this.n && column < this.n;
      this.move(inside ? [row, column] : null);
    }

    step(event) {
      const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
      const by = moves[event.key];
      if (!by) return;
      event.preventDefault();
      const [row, column] = this.cell || [0, 0];
      const stay = (index) => Math.min(this.n - 1, Math.max(0, index));
      this.move(this.cell ? [stay(row + by[0]), stay(column + by[1])] : [0, Math.min(1, this.n - 1)]);
    }

    move(cell) {
      this.cell = cell;
      this.draw();
      this.say();
    }

    say() {
      if (!this.cell) {
        this.readout.textContent = "Point at a cell, or move between cells with the arrow keys.";
        return;
      }
      const [source, target] = this.cell.map((index) => this.order[index]);
      const at = source * this.n + target, labels = this.data.labels;
      const fragments = [labels[source] + (this.layer.directed ? " → " : " – ") + labels[target] + ": " +
        (source === target ? "n/a (diagonal)" : text(this.layer.numbers[at]))];
      if (this.layer === this.layers[0] && source !== target) {
        const details = Object.fromEntries(this.details.map(([name, numbers]) => [name, numbers[at]]));
        const value = this.layer.numbers[at];
        if ("half" in details) fragments.push("95 % interval " + text(value - details.half) + " to " + text(value + details.half));
        for (const name of Object.keys(details)) if (name !== "half") fragments.push(name + " " + text(details[name]));
        if (this.layer.directed) fragments.push("reverse " + text(this.layer.numbers[target * this.n + source]));
      }
      this.readout.textContent = fragments.join("; ");
    }
  }

  async function showMatrix(root) {
    const data = JSON.parse(root.querySelector("script").textContent);
    try {
      new MatrixView(root, data, ...await unpack(data));
    } catch (error) {
      root.querySelector(".title").textContent = "This matrix cannot be drawn by this browser (" + error.message +
        "); a browser of 2023 or later can, and SVG figures are linked below.";
    }
    root.dataset.drawn = "yes";
  }

  function value(cell) {
    const content = cell.textContent.trim(), number = parseFloat(content);
    return Number.isNaN(number) ? content : number;
  }

  function sortable(table) {
    table.querySelectorAll("thead th").forEach((head, column) => {
      const button = head.querySelector("button");
      if (!button) return;
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const body = table.tBodies[0];
        const rows = [...body.rows].map((row) => [value(row.cells[column]), row]);
        const missing = (x) => x === "n/a" || x === "";
        rows.sort(([a], [b]) => {
          if (missing(a) || missing(b)) return missing(a) - missing(b);
          const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
          return up ? order : -order;
        });
        body.append(...rows.map(([, row]) => row));
      });
    });
  }

  function filterable(input) {
    const table = document.getElementById(input.dataset.table);
    const count = input.parentElement.querySelector(".count");
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let visible = 0;
      for (const row of table.tBodies[0].rows) {
        const line = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => line.includes(word));
        visible += row.hidden ? 0 : 1;
      }
      count.textContent = visible + " of " + table.tBodies[0].rows.length;
    });
  }

  function copyable(button) {
    button.addEventListener("click", () => {
      // A page opened from a file has no other access to the clipboard than copying a selection.
      const area = document.getElementById(button.dataset.copy);
      getSelection().selectAllChildren(area);
      button.textContent = document.execCommand("copy") ? "Copied" : "Selected: copy it with the keyboard";
    });
  }

  document.documentElement.classList.add("script");
  document.querySelectorAll(".matrix").forEach(showMatrix);
  document.querySelectorAll("table.sortable").forEach(sortable);
  document.querySelectorAll("input[data-table]").forEach(filterable);
  document.querySelectorAll("button[data-copy]").forEach(copyable);
})();
