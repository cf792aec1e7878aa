  // The cortex with its regions filled: a picture of region numbers, coloured by values.
  const GREY_CORTEX = [196, 200, 206];

  class CortexView {
    constructor(root, data, regions, shade) {
      this.root = root;
      this.data = data;
      this.regions = regions;
      this.shade = shade;
      this.matrix = (document.getElementById(root.dataset.matrix) || {}).view;
      this.canvas = root.querySelector("canvas");
      this.readout = root.querySelector(".readout");
      this.tooltip = makeTooltip(root);
      this.seed = 0;
      this.build();
      this.show(0);
    }

    build() {
      const bar = this.root.querySelector(".layers");
      const names = this.data.layers.map((layer) => layer.name);
      if (this.matrix) names.push(...(this.data.directed ? ["from the region clicked", "to the region clicked"] : ["connections of the region clicked"]));
      names.forEach((name, index) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = name;
        button.addEventListener("click", () => this.show(index));
        bar.append(button);
      });
      this.canvas.addEventListener("mousemove", (event) => this.point(event));
      this.canvas.addEventListener("mouseleave", () => { this.tooltip.hidden = true; this.readout.textContent = ""; });
      this.canvas.addEventListener("click", (event) => this.choose(this.at(event) - 1));
      this.canvas.addEventListener("keydown", (event) => {
        const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (!by) return;
        event.preventDefault();
        const n = this.data.labels.length;
        this.choose((this.seed + by + n) % n);
      });
      addEventListener("scroll", () => { this.tooltip.hidden = true; }, { passive: true });
    }

    choose(region) {
      if (region < 0 || !this.matrix) return;
      this.seed = region;
      this.show(this.index < this.data.layers.length ? this.data.layers.length : this.index);
    }

    // Values of a layer: as stored, or a row or column of the matrix.
    layerAt(index) {
      const stored = this.data.layers[index];
      if (stored) return { ...stored, values: stored.values.map((x) => x === null ? NaN : x) };
      const n = this.data.labels.length, numbers = this.matrix.layers[0].numbers, seed = this.seed;
      const sends = index === this.data.layers.length, name = this.data.labels[seed];
      const values = this.data.labels.map((_, i) => i === seed ? NaN :
        !this.data.directed ? (numbers[seed * n + i] + numbers[i * n + seed]) / 2 : sends ? numbers[seed * n + i] : numbers[i * n + seed]);
      const title = !this.data.directed ? "Connections with " + name + ", mean of both directions" :
        sends ? "Connections from " + name : "Connections to " + name;
      return { title, values, limit: this.matrix.layers[0].limit, signed: true };
    }

    show(index) {
      this.index = index;
      this.layer = this.layerAt(index);
      this.root.querySelectorAll(".layers button").forEach((button, i) => button.setAttribute("aria-pressed", i === index));
      this.root.querySelector(".title").textContent = this.layer.title;
      this.root.querySelector(".scale").classList.toggle("plain", !this.layer.signed);
      this.root.querySelector(".scale-low").textContent = this.layer.signed ? text(-this.layer.limit) : "0";
      this.root.querySelector(".scale-high").textContent = text(this.layer.limit);
      this.draw();
      if (index >= this.data.layers.length) this.readout.textContent = this.layer.title;
    }

    draw() {
      const { width, height } = this.canvas, image = new ImageData(width, height), pixels = image.data, seed = this.seed + 1;
      const colours = this.layer.values.map((value) => colour(value, this.layer.limit, this.layer.signed));
      const seeded = this.index >= this.data.layers.length;
      for (let i = 0; i < width * height; i++) {
        const region = this.regions[i], light = this.shade[i] / 255;
        pixels[4 * i + 3] = 255;
        if (!this.shade[i]) { pixels[4 * i] = pixels[4 * i + 1] = pixels[4 * i + 2] = 255; continue; }
        const edge = region !== this.regions[i + 1] || region !== this.regions[i + width];
        const base = region ? (seeded && region === seed ? [246, 224, 94] : colours[region - 1]) : GREY_CORTEX;
        const dim = light * (edge && region ? 0.72 : 1);
        for (let part = 0; part < 3; part++) pixels[4 * i + part] = base[part] * dim;
      }
      const pen = this.canvas.getContext("2d");
      pen.putImageData(image, 0, 0);
      pen.fillStyle = "#1a202c";
      pen.font = "14px system-ui, sans-serif";
      pen.textAlign = "center";
      for (const [name, x, y] of this.data.views) pen.fillText(name, x, y);
    }

    at(event) {
      const box = this.canvas.getBoundingClientRect(), ratio = this.canvas.width / box.width;
      const x = Math.floor((event.clientX - box.left) * ratio), y = Math.floor((event.clientY - box.top) * ratio);
      return this.regions[y * this.canvas.width + x] || 0;
    }

    point(event) {
      const region = this.at(event) - 1;
      this.tooltip.hidden = region < 0;
      if (region < 0) { this.readout.textContent = ""; return; }
      const lines = [this.data.labels[region] + ": " + text(this.layer.values[region])];
      if (this.data.networks.length) lines.push(this.data.networks[region]);
      this.readout.textContent = lines.join("; ");
      fillTooltip(this.tooltip, lines);
      placeTooltip(this.tooltip, event.clientX, event.clientY);
    }
  }

  // Needs the matrix, for the connections of a region.
  function showCortex(root) {
    return drawOnce(root, async () => {
      const data = JSON.parse(root.querySelector("script").textContent), matrix = document.getElementById(root.dataset.matrix);
      if (matrix) await showMatrix(matrix);
      const regions = await inflateCodes(data.regions), shade = await inflate(data.shade);
      root.view = new CortexView(root, data, regions, shade);
    });
  }
