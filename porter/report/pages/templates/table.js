"use strict";
// Sorts tables by the clicked column and hides rows that a search does not find.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const key = (row, column) => {
    const cell = row.cells[column];
    const value = cell.dataset.value;
    return value === undefined ? cell.textContent.trim() : Number(value);
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number"
      ? a - b
      : String(a).localeCompare(String(b), undefined, { numeric: true });
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const down = head.classList.contains("n");
      const first = down ? "descending" : "ascending";
      const second = down ? "ascending" : "descending";
      const order = head.getAttribute("aria-sort") === first ? second : first;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const rows = [...body.rows];
      rows.sort((a, b) => sign * compare(key(a, column), key(b, column)));
      body.append(...rows);
    });
  });
}
for (const filter of document.querySelectorAll(".filter")) {
  const rows = document.getElementById(filter.dataset.table).tBodies[0].rows;
  const search = filter.querySelector("[type=search]");
  const failing = filter.querySelector("[type=checkbox]");
  const count = filter.querySelector("output");
  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const kept =
        words.every((word) => text.includes(word)) &&
        !(failing.checked && !row.classList.contains("fail"));
      row.hidden = !kept;
      shown += kept;
    }
    count.textContent = `${shown} of ${rows.length}`;
  };
  filter.hidden = false;
  search.addEventListener("input", apply);
  failing.addEventListener("change", apply);
  apply();
}
