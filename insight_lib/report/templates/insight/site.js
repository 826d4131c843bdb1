(() => {
  const box = document.getElementById("find"), query = document.getElementById("query");
  const hits = document.getElementById("hits"), said = document.getElementById("said");
  const table = document.getElementById("matrix"), first = Number(table.dataset.first);
  const rows = [...table.tBodies[0].rows];
  const heads = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
  const names = rows.map((row) => (row.cells[0].textContent + " " + row.title).toLowerCase());
  const found = JSON.parse(document.getElementById("data").textContent);
  const texts = found.map((f) => (names[f[0]] + " " + heads[first + f[1]] + " " + f.slice(2).join(" ")).toLowerCase());
  box.hidden = false;
  query.addEventListener("input", () => {
    const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
    const has = (text) => words.every((word) => text.includes(word));
    const matching = words.length ? found.filter((f, i) => has(texts[i])) : [];
    const kept = new Set(matching.map((f) => f[0]));
    let shown = 0;
    rows.forEach((row, i) => { row.hidden = !(kept.has(i) || has(names[i])); shown += !row.hidden; });
    hits.replaceChildren(...matching.slice(0, 30).map((f) => {
      const item = document.createElement("li"), link = document.createElement("a"), small = document.createElement("small");
      const target = rows[f[0]].cells[first + f[1]].querySelector("a");
      if (target) link.href = target.getAttribute("href");
      link.textContent = f[2];
      small.textContent = [rows[f[0]].cells[0].textContent.trim(), heads[first + f[1]], f[4], f[3], f[5]].join(" · ");
      item.append(link, small);
      return item;
    }));
    said.textContent = words.length ? shown + " rows, " + matching.length + " findings" : "";
  });
})();
