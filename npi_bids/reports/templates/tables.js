  // Tables to sort and filter. Of a long table only some rows are laid out, so that it stays fast.
  const AT_ONCE = 100;

  function value(cell) {
    const content = cell.textContent.trim(), number = parseFloat(content);
    return Number.isNaN(number) ? content : number;
  }

  class SortedTable {
    constructor(table) {
      this.table = table;
      this.body = table.tBodies[0];
      this.rows = [...this.body.rows];
      this.texts = new Map();
      this.words = [];
      this.most = AT_ONCE;
      this.input = document.querySelector(`input[data-table="${table.id}"]`);
      this.count = this.input && this.input.parentElement.querySelector(".count");
      if (this.input) this.input.addEventListener("input", () => this.filter());
      table.querySelectorAll("thead th").forEach((head, column) => {
        const button = head.querySelector("button");
        if (button) button.addEventListener("click", () => this.sort(head, column));
      });
      this.more = document.createElement("button");
      this.more.type = "button";
      this.more.className = "more";
      this.more.addEventListener("click", () => { this.most += 5 * AT_ONCE; this.lay(); });
      table.closest(".scroll").after(this.more);
      this.lay();
    }

    filter() {
      this.words = this.input.value.toLowerCase().split(/\s+/).filter(Boolean);
      this.most = AT_ONCE;
      this.lay();
    }

    matches(row) {
      if (!this.texts.has(row)) this.texts.set(row, row.textContent.toLowerCase());
      return this.words.every((word) => this.texts.get(row).includes(word));
    }

    lay() {
      const found = this.words.length ? this.rows.filter((row) => this.matches(row)) : this.rows;
      this.body.replaceChildren(...found.slice(0, this.most));
      this.more.hidden = found.length <= this.most;
      this.more.textContent = "Show more of " + found.length + " rows";
      if (this.count) this.count.textContent = this.words.length ? found.length + " of " + this.rows.length : this.rows.length + " rows";
    }

    sort(head, column) {
      const up = head.getAttribute("aria-sort") !== "ascending";
      this.table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const missing = (x) => x === "n/a" || x === "" || x === "–";
      this.rows = this.rows.map((row) => [value(row.cells[column]), row]).sort(([a], [b]) => {
        if (missing(a) || missing(b)) return missing(a) - missing(b);
        const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
        return up ? order : -order;
      }).map(([, row]) => row);
      this.lay();
    }
  }
