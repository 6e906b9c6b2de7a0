"use strict";
// The table: sorting by any column, main or all columns, one of several views.
(() => {
  const tables = [...document.querySelectorAll("table.scores")];
  const valueOf = (row, column) => {
    const cell = row.children[column];
    if (!cell || cell.classList.contains("note")) return null;
    if (!cell.classList.contains("number")) return cell.textContent.trim();
    return cell.dataset.number === undefined ? null : Number(cell.dataset.number);
  };
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
  for (const table of tables) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const first = head.dataset.better === "high" ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = now === first ? other : first;
      heads.forEach((one) => one.setAttribute("aria-sort", one === head ? order : "none"));
      const sign = order === "ascending" ? 1 : -1;
      const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row, column), row]);
      rows.sort(([a], [b]) => (a === null) - (b === null) || (a === null ? 0 : sign * compare(a, b)));
      table.tBodies[0].append(...rows.map(([, row]) => row));
    }));
  }
  document.getElementById("all-columns").addEventListener("change", (event) => {
    for (const table of tables) table.classList.toggle("all", event.target.checked);
  });
  document.getElementById("view")?.addEventListener("change", (event) => {
    tables.forEach((table, k) => { table.parentElement.hidden = k !== Number(event.target.value); });
  });
})();
