for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const falls = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", falls ? "descending" : "ascending");
    const key = (row) => row.cells[column].dataset.key;
    const order = (a, b) => isNaN(a) || isNaN(b) ? a.localeCompare(b, "en", { numeric: true }) : a - b;
    body.append(...[...body.rows].sort((one, two) => {
      const a = key(one), b = key(two);
      if (a === "" || b === "") return (a === "") - (b === ""); // what is not known comes last, either way
      return falls ? order(b, a) : order(a, b);
    }));
  }));
}
