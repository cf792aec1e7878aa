  // Tabs, copies of texts and ratings of a page.
  function copyable(button) {
    button.addEventListener("click", () => {
      // A page opened from a file has no other access to the clipboard than copying a selection.
      const area = document.getElementById(button.dataset.copy);
      getSelection().selectAllChildren(area);
      button.textContent = document.execCommand("copy") ? "Copied" : "Selected: copy it with the keyboard";
    });
  }

  // Shows one of several panels at a time; a link into a hidden panel opens it.
  function tabbed(list) {
    const links = [...list.querySelectorAll("a")];
    const panels = links.map((link) => document.getElementById(link.hash.slice(1)));
    list.setAttribute("role", "tablist");
    const open = (chosen) => links.forEach((link, i) => {
      panels[i].hidden = i !== chosen;
      link.setAttribute("aria-selected", i === chosen);
      link.tabIndex = i === chosen ? 0 : -1;
      const contents = document.querySelector(`[data-panel-contents="${panels[i].id}"]`);
      if (contents) contents.hidden = i !== chosen;
    });
    links.forEach((link, i) => {
      link.setAttribute("role", "tab");
      link.parentElement.setAttribute("role", "presentation");
      panels[i].setAttribute("role", "tabpanel");
      link.addEventListener("click", (event) => { event.preventDefault(); open(i); });
      link.addEventListener("keydown", (event) => {
        const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!by) return;
        const next = (i + by + links.length) % links.length;
        open(next);
        links[next].focus();
      });
    });
    const follow = () => {
      const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
      const chosen = target ? panels.findIndex((panel) => panel.contains(target)) : -1;
      if (chosen < 0) return;
      open(chosen);
      target.scrollIntoView();
    };
    open(0);
    follow();
    addEventListener("hashchange", follow);
  }

  // Ratings of all subjects whose pages lie in the same folder, kept by the browser.
  class Rating {
    constructor(form) {
      this.form = form;
      this.subject = form.dataset.subject;
      this.key = "npi-bids ratings of " + location.href.slice(0, location.href.lastIndexOf("/"));
      form.addEventListener("submit", (event) => event.preventDefault());
      form.addEventListener("input", () => this.keep());
      form.querySelectorAll("[data-export]").forEach((button) =>
        button.addEventListener("click", () => this.export(button.dataset.export)));
      const kept = this.all()[this.subject];
      if (kept) {
        form.elements.rating.value = kept.rating;
        form.elements.reason.value = kept.reason;
      }
      this.tell();
    }

    all() {
      try {
        return JSON.parse(localStorage.getItem(this.key)) || {};
      } catch {
        return {};  // storage that is switched off or damaged
      }
    }

    store(ratings) {
      try {
        localStorage.setItem(this.key, JSON.stringify(ratings));
        this.tell();
      } catch (error) {
        this.form.querySelector(".count").textContent = "This browser keeps nothing (" + error.message + ").";
      }
    }

    keep() {
      const ratings = this.all();
      const { rating, reason } = this.form.elements;
      if (rating.value) ratings[this.subject] = { rating: rating.value, reason: reason.value, version: 1 };
      this.store(ratings);
    }

    tell() {
      const number = Object.keys(this.all()).length;
      this.form.querySelector(".count").textContent = number + (number === 1 ? " subject" : " subjects") + " rated";
    }

    export(kind) {
      const ratings = this.all(), subjects = Object.keys(ratings).sort();
      if (kind === "clear") {
        delete ratings[this.subject];
        this.form.reset();
        this.store(ratings);
      } else if (kind === "json") save("ratings.json", JSON.stringify(ratings, null, 1) + "\n", "application/json");
      else save("ratings.tsv", this.tsv(ratings, subjects), "text/tab-separated-values");
    }

    tsv(ratings, subjects) {
      const clean = (text) => text.replace(/\s+/g, " ").trim() || "n/a";
      return ["participant_id\trating\treason", ...subjects.map((subject) =>
        [subject, ratings[subject].rating, clean(ratings[subject].reason)].join("\t"))].join("\n") + "\n";
    }
  }

  // On paper nothing can be opened: folded tables are printed, and long ones with all rows.
  function printAll() {
    let opened = [];
    const tables = [...document.querySelectorAll(".tablebox:not(.abridged) table.sortable")].map((table) => table.sorted);
    const limits = tables.map((table) => table.most);
    addEventListener("beforeprint", () => {
      tables.forEach((table, i) => { limits[i] = table.most; table.most = Infinity; table.lay(); });
      opened = [...document.querySelectorAll("details.printed:not([open]), details.long:not([open])")];
      opened.forEach((details) => { details.open = true; });
    });
    addEventListener("afterprint", () => {
      tables.forEach((table, i) => { table.most = limits[i]; table.lay(); });
      opened.forEach((details) => { details.open = false; });
    });
  }

  const whenIdle = () => new Promise((resolve) =>
    window.requestIdleCallback ? requestIdleCallback(resolve, { timeout: 1000 }) : setTimeout(resolve, 50));

  // Figures in sight are drawn first, those elsewhere when the browser has nothing else to do, so
  // that they are there for scrolling and for paper; layers that are not shown come last.
  async function drawFigures() {
    const figures = [...document.querySelectorAll(".matrix, .cortex")];
    const draw = (root) => root.classList.contains("matrix") ? showMatrix(root) : showCortex(root);
    figures.forEach((root) => { root.querySelector(".title").textContent = "This figure is being unpacked …"; });
    const observer = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
      observer.unobserve(entry.target);
      draw(entry.target);
    }), { rootMargin: "300px" });
    figures.forEach((root) => observer.observe(root));
    for (const root of figures) { await whenIdle(); await draw(root); }
    for (const root of figures) {
      if (root.view && root.view.layer && root.view.complete) await root.view.complete();
      root.dataset.complete = "yes";
    }
  }

  document.documentElement.classList.add("script");
  document.querySelectorAll("table.sortable").forEach((table) => { table.sorted = new SortedTable(table); });
  printAll();
  document.querySelectorAll(".tabs").forEach(tabbed);
  document.querySelectorAll("form.rating").forEach((form) => { form.ratings = new Rating(form); });
  document.querySelectorAll("button[data-copy]").forEach(copyable);
  drawFigures();
