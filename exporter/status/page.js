/* Refreshes the status page in its place, sorts and filters its tables, and reads values from its charts.

   The page is complete without this script. The script makes no HTML from text: the browser parses the refreshed page
   as a document, and everything else is set as text or as an attribute. */
"use strict";
(() => {
  const REFRESH = 10000, SLOWEST_REFRESH = 60000, TIMEOUT = 30000; // milliseconds
  const MAX_POSTPONED = 6; // how often a refresh waits for someone who reads a chart or selects text
  const PHONE = "(max-width: 46rem)"; // as in the style sheet

  const byId = (id) => document.getElementById(id);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const sortings = new Map(); // by the label of the table
  const folded = new Map(); // whether a section is closed, by its key
  let interval = REFRESH, postponed = 0, timer = 0;

  // --- tables: sort and filter

  const labelOf = (table) => table.closest(".scroll").getAttribute("aria-label");

  function compare(column, one, other) {
    const [a, b] = [one, other].map((row) => row.children[column]);
    if (a.dataset.order !== undefined && b.dataset.order !== undefined) {
      return Number(a.dataset.order) - Number(b.dataset.order);
    }
    return a.textContent.trim().localeCompare(b.textContent.trim(), "en", { numeric: true });
  }

  function sort(table) {
    const sorting = sortings.get(labelOf(table));
    const rows = all("tbody tr", table).sort((one, other) => one.dataset.place - other.dataset.place);
    if (sorting) {
      const sign = sorting.isDescending ? -1 : 1;
      rows.sort((one, other) => sign * compare(sorting.column, one, other));
    }
    table.tBodies[0].append(...rows);
    all("thead th", table).forEach((head, column) => {
      if (sorting && sorting.column === column) {
        head.setAttribute("aria-sort", sorting.isDescending ? "descending" : "ascending");
      } else {
        head.removeAttribute("aria-sort");
      }
    });
  }

  /* Numbers are sorted from the largest, text from the first; a second press reverses it, a third one ends it. */
  function press(table, column, isNumber) {
    const label = labelOf(table), sorting = sortings.get(label);
    if (!sorting || sorting.column !== column) {
      sortings.set(label, { column, isDescending: isNumber });
    } else if (sorting.isDescending === isNumber) {
      sortings.set(label, { column, isDescending: !isNumber });
    } else {
      sortings.delete(label);
    }
    sort(table);
  }

  function makeSortable(table) {
    const rows = all("tbody tr", table);
    if (rows.length < 2) {
      return;
    }
    table.classList.add("sortable");
    rows.forEach((row, place) => { row.dataset.place = place; });
    all("thead th", table).forEach((head, column) => {
      if (rows.some((row) => row.children[column].querySelector(".chart"))) {
        return;
      }
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      button.dataset.key = `${labelOf(table)} ${column}`;
      button.addEventListener("click", () => press(table, column, head.classList.contains("number")));
      head.replaceChildren(button);
    });
    sort(table);
  }

  function filter() {
    const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const table of all("table")) {
      const rows = all("tbody tr", table);
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
      table.closest(".scroll").querySelector(".nothing").hidden = rows.some((row) => !row.hidden);
    }
  }

  // --- charts: the value and the time under the pointer, or of the focused chart

  function show(chart, index) {
    const values = chart.dataset.values.split(" "), points = chart.querySelector("polyline").points;
    const at = Math.max(0, Math.min(values.length - 1, index)), { x } = points.getItem(at);
    const width = chart.viewBox.baseVal.width, age = Number(chart.dataset.span) * (1 - x / width);
    const time = new Date((Number(chart.dataset.end) - age) * 1000).toISOString().slice(11, 19);
    const cursor = chart.querySelector("line"), scale = chart.nextElementSibling;
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    chart.dataset.index = at;
    scale.dataset.words ??= scale.textContent;
    scale.textContent = `${values[at]}/s at ${time} UTC`;
    return scale.textContent;
  }

  function hide(chart) {
    const cursor = chart.querySelector("line"), scale = chart.nextElementSibling;
    cursor.setAttribute("x1", -9);
    cursor.setAttribute("x2", -9);
    scale.textContent = scale.dataset.words ?? scale.textContent;
  }

  function showAtPointer(chart, clientX) {
    const box = chart.getBoundingClientRect(), x = (clientX - box.left) / box.width * chart.viewBox.baseVal.width;
    const points = [...chart.querySelector("polyline").points], distances = points.map((point) => Math.abs(point.x - x));
    show(chart, distances.indexOf(Math.min(...distances)));
  }

  const chartOf = (event) => event.target instanceof Element ? event.target.closest(".chart") : null;

  function onChartKey(event) {
    const chart = chartOf(event), last = chart ? chart.dataset.values.split(" ").length - 1 : 0;
    const index = chart ? Number(chart.dataset.index ?? last) : 0;
    const next = { ArrowLeft: index - 1, ArrowRight: index + 1, Home: 0, End: last }[event.key];
    if (chart && next !== undefined) {
      event.preventDefault();
      byId("announcer").textContent = show(chart, next);
    }
  }

  // --- sections: folded on a phone, opened by a link into them

  function reveal() {
    all(".marked").forEach((element) => element.classList.remove("marked"));
    const target = location.hash.length > 1 ? byId(decodeURIComponent(location.hash.slice(1))) : null;
    const details = target ? target.closest("details") : null;
    if (details) {
      details.open = true;
      folded.set(details.dataset.key, false);
      target.classList.add("marked");
    }
    return target;
  }

  // --- refresh

  const sectionAt = (key) => all("main details").find((details) => details.dataset.key === key);

  const keyOf = (element) => ["data-key", "href", "aria-label"].map((name) => element.getAttribute(name)).find(Boolean);

  /* Replace the page by a fresh one. What the reader has scrolled to, opened, sorted, filtered and focused stays. */
  function swap(fresh) {
    const focused = document.activeElement, focusedKey = focused.closest("main") ? keyOf(focused) : null;
    const top = all("main details").filter((each) => each.getBoundingClientRect().top <= 0).at(-1);
    const before = top ? top.getBoundingClientRect().top : 0, y = scrollY;
    const scrolled = new Map(all(".scroll").map((each) => [each.getAttribute("aria-label"), each.scrollLeft]));
    const words = byId("verdict").textContent.trim();

    for (const id of ["as-of", "content"]) {
      byId(id).replaceWith(document.adoptNode(fresh.getElementById(id)));
    }
    document.title = fresh.title;
    enhance();
    all(".scroll").forEach((each) => { each.scrollLeft = scrolled.get(each.getAttribute("aria-label")) ?? 0; });
    scrollTo({ top: y, behavior: "instant" });
    if (top && sectionAt(top.dataset.key)) {
      const moved = sectionAt(top.dataset.key).getBoundingClientRect().top - before;
      scrollBy({ top: moved, behavior: "instant" });
    }
    const same = focusedKey ? all(focused.localName, byId("content")).find((each) => keyOf(each) === focusedKey) : null;
    if (same) {
      same.focus({ preventScroll: true });
    }
    if (byId("verdict").textContent.trim() !== words) {
      byId("announcer").textContent = byId("verdict").textContent.trim();
    }
  }

  const isRead = () => String(getSelection()) !== "" || document.querySelector(".chart:hover, .chart:focus") !== null;

  function schedule() {
    clearTimeout(timer);
    if (byId("refresh").checked && !document.hidden) {
      timer = setTimeout(refresh, interval);
    }
  }

  function refresh() {
    postponed = isRead() && postponed < MAX_POSTPONED ? postponed + 1 : 0;
    if (postponed) {
      schedule();
      return;
    }
    const request = new XMLHttpRequest();
    request.open("GET", location.pathname + location.search);
    request.responseType = "document";
    request.timeout = TIMEOUT;
    request.addEventListener("loadend", () => {
      const fresh = request.response; // null without an answer, and for an answer that is no HTML
      const isPage = fresh !== null && fresh.getElementById("content") !== null;
      byId("stale").hidden = isPage;
      interval = isPage ? REFRESH : Math.min(2 * interval, SLOWEST_REFRESH);
      if (isPage && fresh.documentElement.dataset.build !== document.documentElement.dataset.build) {
        location.reload(); // another version of the exporter, with another script
      } else if (isPage && byId("refresh").checked) {
        swap(fresh);
      }
      schedule();
    });
    request.send();
  }

  // --- start

  function enhance() {
    for (const details of all("main details")) {
      details.open = !(folded.get(details.dataset.key) ?? false);
    }
    all("table").forEach(makeSortable);
    all(".chart").forEach((chart) => chart.setAttribute("tabindex", "0"));
    filter();
    reveal();
  }

  if (matchMedia(PHONE).matches) {
    all("main details").forEach((details) => folded.set(details.dataset.key, true));
  }
  document.documentElement.classList.add("scripted");
  byId("tools").hidden = false;
  byId("filter").addEventListener("input", filter);
  byId("refresh").addEventListener("change", schedule);
  document.addEventListener("visibilitychange", () => document.hidden ? schedule() : byId("refresh").checked && refresh());
  document.addEventListener("toggle", ({ target }) => {
    if (target.isConnected && target.dataset.key) {
      folded.set(target.dataset.key, !target.open);
    }
  }, true);
  document.addEventListener("pointermove", (event) => chartOf(event) && showAtPointer(chartOf(event), event.clientX));
  document.addEventListener("pointerout", (event) => chartOf(event) && hide(chartOf(event)));
  document.addEventListener("focusin", (event) => chartOf(event) && show(chartOf(event), Infinity));
  document.addEventListener("focusout", (event) => chartOf(event) && hide(chartOf(event)));
  document.addEventListener("keydown", onChartKey);
  addEventListener("hashchange", () => reveal()?.scrollIntoView());
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest("a[href^='#']") : null;
    if (link && link.getAttribute("href") === location.hash) {
      reveal()?.scrollIntoView(); // the address does not change, so there is no other event
    }
  });
  enhance();
  if (location.hash) {
    reveal()?.scrollIntoView();
  }
  schedule();
})();
