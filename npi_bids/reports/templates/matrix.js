  // Matrices that can be read cell by cell, and saved as they are shown.
  // Codes of packed_matrices.py: 2000 * exponent + 1000 * negative + mantissa.
  const MISSING = 65535, NEGATIVE = 1000, PER_EXPONENT = 2000;
  const SMALLEST = 9;  // pixels of the letters of a name on the screen

  function readBytes(text) {
    const letters = atob(text), bytes = new Uint8Array(letters.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
    return bytes;
  }

  async function inflate(text) {
    const stream = new Blob([readBytes(text)]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // Codes stored as their low bytes and then their high bytes.
  async function inflateCodes(text) {
    const bytes = await inflate(text), n = bytes.length / 2, codes = new Uint16Array(n);
    for (let i = 0; i < n; i++) codes[i] = bytes[i] + 256 * bytes[n + i];
    return codes;
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

  // Numbers by code: with 65536 of them for all entries of a matrix, a table is faster.
  const tables = new Map();

  function decodingTable(lowest) {
    if (tables.has(lowest)) return tables.get(lowest);
    const table = new Float64Array(MISSING + 1);
    for (let code = 1; code < MISSING; code++) {
      const rest = code % PER_EXPONENT, power = Math.floor(code / PER_EXPONENT) + lowest - 2;
      const size = power < 0 ? (rest % NEGATIVE) / 10 ** -power : (rest % NEGATIVE) * 10 ** power;
      table[code] = rest >= NEGATIVE ? -size : size;
    }
    table[MISSING] = NaN;
    tables.set(lowest, table);
    return table;
  }

  function decode(codes, lowest) {
    const table = decodingTable(lowest), numbers = new Float64Array(codes.length);
    for (let i = 0; i < codes.length; i++) numbers[i] = table[codes[i]];
    return numbers;
  }

  // The matrices of a figure, each unpacked when it is asked for.
  class PackedMatrices {
    constructor(data) {
      this.data = data;
      this.n = data.labels.length;
      this.asked = new Map();
    }

    once(key, work) {
      if (!this.asked.has(key)) this.asked.set(key, work());
      return this.asked.get(key);
    }

    codes(index) {
      return this.once("codes " + index, () => unpackCodes(this.data.layers[index], this.n));
    }

    // A layer below a limit shows the first layer where a detail is below it.
    numbers(index) {
      const layer = this.data.layers[index];
      return this.once("layer " + index, async () => {
        if (!layer.below) return decode(await this.codes(index), layer.lowest);
        const [name, limit] = layer.below, detail = await this.detail(name);
        return (await this.numbers(0)).map((value, i) => detail[i] < limit ? value : NaN);
      });
    }

    detail(name) {
      const packed = this.data.details[name];
      return this.once("detail " + name, async () => {
        const base = packed.of === undefined ? null : await this.codes(packed.of);
        return decode(await unpackCodes(packed, this.n, base), packed.lowest);
      });
    }
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

  // Colours of 1025 values from one end of the scale to the other, as bytes.
  const ramps = new Map();

  function makeRamp(signed) {
    if (!ramps.has(signed)) ramps.set(signed, Array.from({ length: 1025 }, (_, i) =>
      colour(signed ? i / 512 - 1 : i / 1024, 1, signed).map(Math.round)));
    return ramps.get(signed);
  }

  function text(value) {
    if (Number.isNaN(value)) return "n/a";
    return write(value, countDecimals(value));
  }

  // As rounded() and format_range() of wording.py: two decimals, or two digits below 0.1.
  function countDecimals(value) {
    const size = Math.abs(value);
    if (size < 1e-4) return null;
    return size >= 100 ? 0 : Math.max(size >= 10 ? 1 : 2, 1 - Math.floor(Math.log10(size)));
  }

  function write(value, decimals) {
    if (Number.isNaN(value)) return "n/a";
    if (Math.abs(value) < 1e-12) return "0";
    return decimals === null ? value.toExponential(1) : value.toFixed(decimals);
  }

  function writeRange(low, high) {
    const decimals = countDecimals(Math.max(Math.abs(low), Math.abs(high)));
    return write(low, decimals) + " to " + write(high, decimals);
  }

  // A box at the pointer, always inside of the window.
  function placeTooltip(box, x, y) {
    box.hidden = false;
    const { width, height } = box.getBoundingClientRect();
    const left = x + 16 + width <= innerWidth ? x + 16 : Math.max(4, x - width - 16);
    const top = y + 16 + height <= innerHeight ? y + 16 : Math.max(4, y - height - 16);
    box.style.left = Math.min(left, Math.max(4, innerWidth - width - 4)) + "px";
    box.style.top = top + "px";
  }

  function makeTooltip(root) {
    const box = document.createElement("div");
    box.className = "tooltip";
    box.hidden = true;
    root.append(box);
    return box;
  }

  // The first line of a tooltip is its title.
  function fillTooltip(box, lines) {
    box.replaceChildren(...lines.map((line, i) => {
      const part = document.createElement(i ? "span" : "strong");
      part.textContent = line;
      return part;
    }));
  }

  function save(name, content, type) {
    const link = document.createElement("a");
    link.href = content instanceof Blob ? URL.createObjectURL(content) : URL.createObjectURL(new Blob([content], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  const quote = (name) => /[",\n]/.test(name) ? '"' + name.replaceAll('"', '""') + '"' : name;
  const escapeXml = (name) => name.replace(/[&<>"]/g, (letter) => "&#" + letter.charCodeAt(0) + ";");

  class MatrixView {
    constructor(root, data) {
      this.root = root;
      this.data = data;
      this.n = data.labels.length;
      this.order = data.order.length ? data.order : [...Array(this.n).keys()];
      this.packed = new PackedMatrices(data);
      this.layers = data.layers.map((layer, index) => ({ ...layer, unpack: () => this.packed.numbers(index) }));
      this.details = [];
      const first = this.layers[0];
      if (first.directed) {
        this.layers.splice(1, 0, { name: "directed part", title: "directed (antisymmetric) part of " +
          first.title + ": half of A → B minus B → A", directed: true, signed: true, limit: first.limit,
          unpack: async () => antisymmetric(await this.packed.numbers(0), this.n) });
      }
      this.readout = root.querySelector(".readout");
      this.tooltip = makeTooltip(root);
      this.cell = null;
      this.pinned = false;
    }

    // Unpacks and shows the first layer.
    async start() {
      this.build();
      await this.show(0);
      return this;
    }

    // Unpacks what is not shown yet, one after the other.
    async complete() {
      for (const layer of this.layers) { await whenIdle(); layer.numbers = await layer.unpack(); }
      for (const name of Object.keys(this.data.details)) {
        await whenIdle();
        this.details.push([name, await this.packed.detail(name)]);
      }
      this.say();
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
      this.canvas.addEventListener("mousemove", (event) => { if (!this.pinned) this.point(event); });
      this.canvas.addEventListener("click", (event) => this.pin(event));
      this.canvas.addEventListener("mouseleave", () => { if (!this.pinned) this.move(null); });
      this.canvas.addEventListener("keydown", (event) => this.step(event));
      addEventListener("scroll", () => { this.tooltip.hidden = true; }, { passive: true });
      this.names = document.createElement("ol");
      this.names.className = "names";
      this.canvas.after(this.names);
      this.root.querySelectorAll("[data-download]").forEach((button) =>
        button.addEventListener("click", () => this.download(button.dataset.download)));
    }

    async show(index) {
      const layer = this.wanted = this.layers[index];
      this.root.querySelectorAll(".layers button").forEach((button, i) => button.setAttribute("aria-pressed", i === index));
      if (!layer.numbers) layer.numbers = await layer.unpack();
      if (layer === this.wanted) this.showUnpacked(layer);
    }

    showUnpacked(layer) {
      const isFirst = !this.layer;
      this.layer = layer;
      this.root.querySelector(".title").textContent = this.layer.title[0].toUpperCase() + this.layer.title.slice(1);
      const limit = this.layer.limit, signed = this.layer.signed;
      this.root.querySelector(".scale").classList.toggle("plain", !signed);
      this.root.querySelector(".scale-low").textContent = signed ? text(-limit) : "0";
      this.root.querySelector(".scale-high").textContent = text(limit);
      const unit = this.root.querySelector(".unit");
      if (unit) unit.hidden = !this.layer.directed;
      this.root.querySelector(".clipped").textContent = this.describeScale();
      this.picture = this.paint(this.layer);
      this.draw();
      this.say();
      if (isFirst) new ResizeObserver(() => this.draw()).observe(this.canvas);
    }

    // Says where the colours end, and what lies beyond.
    describeScale() {
      let largest = 0, beyond = 0, count = 0;
      this.layer.numbers.forEach((value, i) => {
        if (Number.isNaN(value) || i % (this.n + 1) === 0) return;
        count++;
        largest = Math.max(largest, Math.abs(value));
        beyond += Math.abs(value) > this.layer.limit ? 1 : 0;
      });
      const ends = "Colours end at " + (this.layer.signed ? "±" : "") + text(this.layer.limit);
      return ends + (beyond ? "; " + beyond + " of " + count + " entries lie beyond (largest absolute value " + text(largest) + ")." :
        "; no entry lies beyond.");
    }

    paint(layer) {
      const n = this.n, image = new ImageData(n, n), pixels = image.data, ramp = makeRamp(layer.signed);
      const missing = colour(NaN), scale = (layer.signed ? 512 : 1024) / layer.limit, zero = layer.signed ? 512 : 0;
      for (let row = 0, at = 0; row < n; row++) for (let column = 0; column < n; column++, at += 4) {
        const source = this.order[row], target = this.order[column];
        const value = source === target ? NaN : layer.numbers[source * n + target];
        const rgb = Number.isNaN(value) ? missing : ramp[Math.round(Math.min(1024, Math.max(0, zero + value * scale)))];
        pixels[at] = rgb[0]; pixels[at + 1] = rgb[1]; pixels[at + 2] = rgb[2]; pixels[at + 3] = 255;
      }
      const picture = document.createElement("canvas");
      picture.width = picture.height = n;
      picture.getContext("2d").putImageData(image, 0, 0);
      return picture;
    }

    // Names along the axes: of regions where their letters can be read, else of networks. Names that
    // are too long even in small letters are numbered, and written below. A page on a phone shrinks
    // the canvas; letters keep their size on the screen.
    layOut(pen, size, scale, widestMargin) {
      this.letter = 13 * scale;
      const step = 0.8 * size / this.n, starts = this.networkStarts();
      this.named = step >= SMALLEST * scale;
      this.grouped = !this.named && starts.length > 0 && starts.length <= 40;
      const names = this.named ? this.order.map((region) => this.data.labels[region]) :
        this.grouped ? starts.map((start) => this.networkAt(start)) : [];
      const most = widestMargin * size - 1.4 * this.letter - 20, smallest = SMALLEST * scale;
      this.nameSize = this.named ? Math.min(0.85 * this.letter, step) : 0.85 * this.letter;
      const measure = (words) => {
        pen.font = this.nameSize + "px system-ui, sans-serif";
        return Math.max(0, ...words.map((word) => pen.measureText(word).width));
      };
      let widest = measure(names);
      if (widest > most) this.nameSize = Math.min(this.nameSize, Math.max(smallest, this.nameSize * most / widest));
      widest = measure(names);
      this.numbered = widest > most;
      this.written = this.numbered ? names.map((_, i) => String(i + 1)) : names;
      if (this.numbered) widest = measure(this.written);
      this.left = Math.round(widest + 1.4 * this.letter + 20);
      this.room = size - this.left;
      this.canvas.dataset.left = this.left / size;
      this.listNames(names);
    }

    // The names below the matrix, where its axes have numbers instead, or no room for each.
    listNames(names) {
      const starts = this.networkStarts(), step = this.room / this.n;
      const narrow = this.grouped && starts.some((start, i) =>
        ((i + 1 < starts.length ? starts[i + 1] : this.n) - start) * step < 0.8 * this.nameSize);
      this.names.hidden = !this.numbered && !narrow;
      const shown = this.names.hidden ? [] : names;
      if (shown.join() === this.listed) return;
      this.listed = shown.join();
      this.names.replaceChildren(...shown.map((name) => Object.assign(document.createElement("li"), { textContent: name })));
    }

    networkAt(row) { return this.data.networks[this.order[row]]; }

    networkStarts() {
      if (!this.data.networks.length) return [];
      return this.order.map((_, row) => row).filter((row) => row === 0 || this.networkAt(row) !== this.networkAt(row - 1));
    }

    // The lines and names on top of the cells: [kind, ...] for canvas and SVG alike.
    marks() {
      const { left, room } = this, size = left + room, step = room / this.n, marks = [];
      const word = (content, x, y, turned, anchor, height, weight) => marks.push({ content, x, y, turned, anchor, height, weight });
      word(this.layer.directed ? "target" : "region", left + room / 2, this.letter, false, "middle", this.letter, 600);
      word(this.layer.directed ? "source" : "region", this.letter, left + room / 2, true, "middle", this.letter, 600);
      const starts = this.networkStarts();
      if (starts.length <= 40) starts.slice(1).forEach((start) => {
        const at = left + start * step;
        marks.push({ line: [at, left, at, size] }, { line: [left, at, size, at] });
      });
      const name = (content, a, b) => {
        if (b - a < 0.8 * this.nameSize) return;
        const middle = (a + b) / 2 + this.nameSize / 3;
        word(content, left - 10, middle, false, "end", this.nameSize);
        word(content, middle, left - 10, true, "start", this.nameSize);
      };
      if (this.named) this.order.forEach((_, i) => name(this.written[i], left + i * step, left + (i + 1) * step));
      else if (this.grouped) starts.forEach((start, i) => {
        const a = left + start * step, b = left + (i + 1 < starts.length ? starts[i + 1] : this.n) * step;
        marks.push({ line: [left - 5, a + 2, left - 5, b - 2] }, { line: [a + 2, left - 5, b - 2, left - 5] });
        name(this.written[i], a, b);
      });
      return marks;
    }

    draw() {
      const canvas = this.canvas, pen = canvas.getContext("2d"), size = canvas.width;
      if (!this.picture) return;
      this.layOut(pen, size, size / (canvas.clientWidth || size), 0.4);
      const { left, room } = this;
      pen.fillStyle = "#ffffff";
      pen.fillRect(0, 0, size, size);
      pen.imageSmoothingEnabled = this.n > room;
      pen.drawImage(this.picture, left, left, room, room);
      for (const mark of this.marks()) drawMark(pen, mark);
      if (this.cell) this.highlight(pen);
    }

    highlight(pen) {
      const { left, room } = this, step = room / this.n, [row, column] = this.cell, width = Math.max(step, 2);
      pen.strokeStyle = "#000000";
      pen.lineWidth = 1.5;
      pen.strokeRect(left, left + row * step, room, width);
      pen.strokeRect(left + column * step, left, width, room);
      pen.lineWidth = 4;
      pen.strokeRect(left + column * step, left + row * step, Math.max(step, 4), Math.max(step, 4));
    }

    at(event) {
      const box = this.canvas.getBoundingClientRect(), ratio = this.canvas.width / box.width;
      const index = (offset) => Math.floor((offset * ratio - this.left) / this.room * this.n);
      const row = index(event.clientY - box.top), column = index(event.clientX - box.left);
      return row >= 0 && column >= 0 && row < this.n && column < this.n ? [row, column] : null;
    }

    point(event) {
      this.move(this.at(event));
      if (this.cell) placeTooltip(this.tooltip, event.clientX, event.clientY);
    }

    // A click pins a cell; another click on it, or elsewhere, lets it go.
    pin(event) {
      const cell = this.at(event);
      this.pinned = cell !== null && !(this.pinned && this.cell && cell[0] === this.cell[0] && cell[1] === this.cell[1]);
      this.point(event);
    }

    step(event) {
      if (event.key === "Escape") { this.pinned = false; this.move(null); return; }
      const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
      const by = moves[event.key];
      if (!by) return;
      event.preventDefault();
      const [row, column] = this.cell || [0, 0];
      const stay = (index) => Math.min(this.n - 1, Math.max(0, index));
      this.move(this.cell ? [stay(row + by[0]), stay(column + by[1])] : [0, Math.min(1, this.n - 1)]);
      const box = this.canvas.getBoundingClientRect(), ratio = box.width / this.canvas.width, size = this.room / this.n;
      placeTooltip(this.tooltip, box.left + (this.left + (this.cell[1] + 0.5) * size) * ratio,
        box.top + (this.left + (this.cell[0] + 0.5) * size) * ratio);
    }

    move(cell) {
      this.cell = cell;
      if (!cell) this.tooltip.hidden = true;
      this.draw();
      this.say();
    }

    // What is known of the cell: the connection with its value, and further lines.
    describe() {
      const [source, target] = this.cell.map((index) => this.order[index]), labels = this.data.labels;
      const at = source * this.n + target, value = this.layer.numbers[at];
      const pair = labels[source] + (this.layer.directed ? " → " : " – ") + labels[target];
      const lines = [pair + ": " + (source === target ? "n/a (diagonal)" : text(value))];
      if (this.layer === this.layers[0] && source !== target) {
        const details = Object.fromEntries(this.details.map(([name, numbers]) => [name, numbers[at]]));
        if ("half" in details) lines.push("95 % interval " + writeRange(value - details.half, value + details.half));
        for (const name of Object.keys(details)) if (name !== "half") lines.push(name + " " + text(details[name]));
        if (this.layer.directed) lines.push("reverse " + text(this.layer.numbers[target * this.n + source]));
      }
      return lines;
    }

    say() {
      if (!this.cell) {
        this.readout.textContent = "Point at a cell, or move between cells with the arrow keys; a click pins a cell.";
        return;
      }
      const lines = this.describe(), networks = this.data.networks;
      this.readout.textContent = lines.join("; ") + (this.pinned ? " (pinned)" : "");
      if (networks.length) {
        const [source, target] = this.cell.map((index) => networks[this.order[index]]);
        lines.splice(1, 0, source + (this.layer.directed ? " → " : " – ") + target);
      }
      fillTooltip(this.tooltip, lines);
    }

    download(kind) {
      const name = (this.root.id + "_" + this.layer.name).replace(/[^A-Za-z0-9.]+/g, "-");
      if (kind === "csv") save(name + ".csv", this.csv(), "text/csv");
      if (kind === "svg") { save(name + ".svg", this.svg(), "image/svg+xml"); this.draw(); }
      if (kind === "png") this.canvas.toBlob((blob) => save(name + ".png", blob));
    }

    // Rows are sources, in the order shown; n/a stays n/a.
    csv() {
      const { labels } = this.data, n = this.n;
      const rows = this.order.map((source) => [labels[source], ...this.order.map((target) => {
        const value = this.layer.numbers[source * n + target];
        return Number.isNaN(value) ? "n/a" : String(Number(value.toPrecision(3)));
      })]);
      return [["source", ...this.order.map((region) => labels[region])], ...rows].map((row) => row.map(quote).join(",")).join("\n") + "\n";
    }

    // The picture of a wide window, in which even long names have room.
    svg() {
      const size = this.canvas.width;
      this.layOut(this.canvas.getContext("2d"), size, 1, 0.7);
      const { left, room } = this;
      const parts = this.marks().map((mark) => mark.line ?
        `<path d="M${mark.line[0]} ${mark.line[1]}L${mark.line[2]} ${mark.line[3]}" stroke="#1a202c"/>` :
        `<text text-anchor="${mark.anchor}" font-size="${mark.height}" font-weight="${mark.weight || 400}" transform="translate(${mark.x} ${mark.y})${mark.turned ? " rotate(-90)" : ""}">${escapeXml(mark.content)}</text>`);
      return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size} ${size}" font-family="sans-serif">` +
        `<title>${escapeXml(this.layer.title + ". " + this.describeScale())}</title>` +
        `<image x="${left}" y="${left}" width="${room}" height="${room}" style="image-rendering: pixelated" href="${this.picture.toDataURL()}"/>` +
        parts.join("") + "</svg>\n";
    }
  }

  function drawMark(pen, mark) {
    if (mark.line) {
      pen.strokeStyle = "#1a202c";
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(mark.line[0], mark.line[1]);
      pen.lineTo(mark.line[2], mark.line[3]);
      pen.stroke();
      return;
    }
    pen.fillStyle = "#1a202c";
    pen.font = (mark.weight ? mark.weight + " " : "") + mark.height + "px system-ui, sans-serif";
    pen.textAlign = { middle: "center", end: "right", start: "left" }[mark.anchor];
    pen.save();
    pen.translate(mark.x, mark.y);
    if (mark.turned) pen.rotate(-Math.PI / 2);
    pen.fillText(mark.content, 0, 0);
    pen.restore();
  }

  // Draws a figure the first time it is asked for.
  function drawOnce(root, draw) {
    if (!root.drawing) root.drawing = draw().catch((error) => {
      root.querySelector(".title").textContent = "This figure cannot be drawn by this browser (" + error.message +
        "); a browser of 2023 or later can, and SVG figures are linked below.";
    }).then(() => { root.dataset.drawn = "yes"; });
    return root.drawing;
  }

  function showMatrix(root) {
    return drawOnce(root, async () => {
      root.view = new MatrixView(root, JSON.parse(root.querySelector("script").textContent));
      await root.view.start();
    });
  }
