// Sorts and filters the tables of a page, and shortens long ones. Without it every table is there, whole, in its order.
"use strict";
(() => {
  const LONGEST = 100; // rows that are shown before one asks for all
  const format = (count) => count.toLocaleString("en");

  const valueOf = (cell) => {
    const given = cell.dataset.v ?? cell.textContent.trim();
    if (given === "" || given === "–") return null;
    const number = Number(given.replaceAll(",", ""));
    return Number.isNaN(number) ? given.toLowerCase() : number;
  };

  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), "en", { numeric: true });
  };

  // What is not known goes last, whichever way the others are sorted; equal rows keep their order.
  const sorted = (rows, column, downwards) => {
    const sign = downwards ? -1 : 1;
    const keyed = rows.map((row) => [valueOf(row.cells[column]), row]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * compare(a, b);
    });
    return keyed.map(([, row]) => row);
  };

  let made = 0;
  const element = (name, properties) => Object.assign(document.createElement(name), properties);

  const tend = (table) => {
    const body = table.tBodies[0];
    let rows = Array.from(body.rows);
    let stays = () => true;
    let whole = rows.length <= LONGEST;
    const told = element("span", { className: "soft" });
    const more = element("button", { type: "button", className: "more" });

    const show = () => {
      let matching = 0;
      for (const row of rows) {
        const matches = stays(row);
        matching += matches;
        row.hidden = !matches || (!whole && matching > LONGEST);
      }
      const shown = whole ? matching : Math.min(matching, LONGEST);
      told.textContent = `${format(shown)} of ${format(rows.length)} rows`;
      more.hidden = shown === matching;
      more.textContent = `Show all ${format(matching)} rows`;
    };
    more.addEventListener("click", () => {
      whole = true;
      show();
      table.closest(".wide").focus();
    });

    if ("sort" in table.dataset) {
      const heads = Array.from(table.tHead.rows[0].cells);
      heads.forEach((head, column) => {
        if ("fixed" in head.dataset) return;
        const button = element("button", { type: "button" });
        button.append(...head.childNodes);
        head.append(button);
        button.addEventListener("click", () => {
          const downwards = head.getAttribute("aria-sort") === "ascending";
          rows = sorted(rows, column, downwards);
          body.append(...rows);
          heads.forEach((other) => other.removeAttribute("aria-sort"));
          head.setAttribute("aria-sort", downwards ? "descending" : "ascending");
          show();
        });
      });
    }

    if ("filter" in table.dataset) {
      const bar = element("div", { className: "filter" });
      bar.setAttribute("role", "group");
      bar.setAttribute("aria-label", `Filter: ${table.caption.textContent}`);
      const field = element("input", { type: "search", id: `filter-${++made}` });
      bar.append(element("label", { htmlFor: field.id, textContent: "Filter by words" }), field);
      const boxes = table.dataset.filter.split(";").filter(Boolean).map((entry) => {
        const [kind, name] = entry.split("=");
        const box = element("input", { type: "checkbox" });
        const around = element("label", {});
        around.append(box, ` ${name}`);
        bar.append(around);
        return [kind, box];
      });
      told.setAttribute("role", "status");
      bar.append(told);
      const words = new Map();
      const wordsOf = (row) => {
        if (!words.has(row)) words.set(row, row.textContent.toLowerCase());
        return words.get(row);
      };
      const filter = () => {
        const wanted = field.value.toLowerCase().split(/\s+/).filter(Boolean);
        const kinds = boxes.filter(([, box]) => box.checked).map(([kind]) => kind);
        stays = (row) =>
          kinds.every((kind) => row.classList.contains(kind)) && wanted.every((word) => wordsOf(row).includes(word));
        show();
      };
      field.addEventListener("input", filter);
      boxes.forEach(([, box]) => box.addEventListener("change", filter));
      table.closest(".wide").before(bar);
    }

    show();
    if (rows.length > LONGEST) table.closest(".wide").after(more);
  };

  // A link to a group opens it.
  const openTarget = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    const part = target && target.closest("details");
    if (part) part.open = true;
  };
  addEventListener("hashchange", openTarget);
  openTarget();
  // A printed page cannot be opened further.
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => (part.open = true)));
  document.querySelectorAll("table[data-sort], table[data-filter]").forEach(tend);
})();
