"use strict";
// Draws the treemap, and lets tables be filtered and sorted. Names come from an image that may be hostile: they are only ever set as text.
(() => {
  const report = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);

  const make = (name, className, text) => {
    const element = document.createElement(name);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };

  const size = (bytes) => {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = 0;
    while (bytes >= 1024 && unit < units.length - 1) {
      bytes /= 1024;
      unit += 1;
    }
    return `${unit === 0 || bytes >= 100 ? Math.round(bytes) : bytes.toFixed(1)} ${units[unit]}`;
  };
  const percent = (part, whole) => `${whole > 0 ? ((100 * part) / whole).toFixed(1) : "0.0"} %`;

  // Places rectangles of given areas, largest first, into one, as squarely as can be.
  // Source: Bruls, Huizing, van Wijk, "Squarified Treemaps", 2000.
  const squarify = (nodes, box) => {
    const placed = [];
    let { x, y, w, h } = box;
    const all = nodes.reduce((sum, node) => sum + node.b, 0);
    if (all <= 0 || w <= 0 || h <= 0) return placed;
    const scale = (w * h) / all;
    const worst = (sum, most, least, side) => Math.max((side * side * most) / (sum * sum), (sum * sum) / (side * side * least));
    let next = 0;
    while (next < nodes.length && w > 0 && h > 0) {
      const side = Math.min(w, h);
      const most = nodes[next].b * scale;
      let sum = 0;
      let end = next;
      let shape = Infinity;
      while (end < nodes.length) {
        const area = nodes[end].b * scale;
        if (area <= 0) break;
        const wider = worst(sum + area, most, area, side);
        if (wider > shape) break;
        shape = wider;
        sum += area;
        end += 1;
      }
      if (end === next) break;
      const thick = sum / side;
      let along = 0;
      for (; next < end; next += 1) {
        const length = (nodes[next].b * scale) / thick;
        placed.push(w >= h ? { node: nodes[next], x, y: y + along, w: thick, h: length } : { node: nodes[next], x: x + along, y, w: length, h: thick });
        along += length;
      }
      if (w >= h) {
        x += thick;
        w -= thick;
      } else {
        y += thick;
        h -= thick;
      }
    }
    return placed;
  };

  const shares = (name, list) => ({ n: name, b: report.bytes.total, c: list });

  const views = report.bytes
    ? [
        ["Directories", { ...report.bytes.tree, n: "/" }],
        ["Packages", shares("all packages", report.bytes.packages)],
        ["Elements", shares("all elements", report.bytes.elements)],
      ]
    : [];
  const LEVELS = 6;
  let way = [];

  // What is in a directory, with what is too small to have a rectangle of its own.
  const inside = (node) => {
    const children = node.c || [];
    const rest = node.b - children.reduce((sum, child) => sum + child.b, 0);
    return rest > 0 && children.length > 0 ? [...children, { n: "(small files)", b: rest, rest: true }].sort((a, b) => b.b - a.b) : children;
  };

  const draw = () => {
    const map = byId("tiles");
    const here = way[way.length - 1];
    const fragment = document.createDocumentFragment();
    // Each takes a part of the hues of what it is in; roots, so that small ones differ too.
    const place = (node, path, box, level, hues) => {
      const nodes = inside(node);
      const all = nodes.reduce((sum, child) => sum + Math.sqrt(child.b), 0);
      let hue = hues.from;
      squarify(nodes, box).forEach(({ node: child, x, y, w, h }) => {
        const own = { from: hue, width: (hues.width * Math.sqrt(child.b)) / all };
        hue += own.width;
        if (w < 3 || h < 3) return;
        const enters = Boolean(child.c && child.c.length);
        const below = enters && level < LEVELS && w > 46 && h > 46;
        const named = w > 34 && h > 17;
        const classes = [`level-${Math.min(level, 4)}`, enters && "enter", child.rest && "rest", below && "head", named || "bare"].filter(Boolean).join(" ");
        const element = make("button", classes);
        element.type = "button";
        element.style.left = `${x}px`;
        element.style.top = `${y}px`;
        element.style.width = `${w}px`;
        element.style.height = `${h}px`;
        element.style.setProperty("--hue", String(Math.round(own.from + own.width / 2) % 360));
        const names = [...path, child];
        const shown = names.map((part) => part.n).join("/");
        element.title = `${shown}\n${size(child.b)}, ${percent(child.b, way[0].b)} of all`;
        element.setAttribute("aria-label", `${shown}, ${size(child.b)}`);
        if (level > 1) element.tabIndex = -1;
        if (named) element.append(make("span", "", child.n));
        if (below ? w > 110 : w > 50 && h > 34) element.append(make("span", "size", size(child.b)));
        const target = enters ? names : path;
        if (target.length) element.addEventListener("click", () => go([...way, ...target]));
        fragment.append(element);
        if (below) place(child, names, { x: x + 3, y: y + 20, w: w - 6, h: h - 23 }, level + 1, own);
      });
    };
    place(here, [], { x: 0, y: 0, w: map.clientWidth, h: map.clientHeight }, 1, { from: 190, width: 330 });
    map.replaceChildren(fragment);
  };

  const table = (here) => {
    const rows = inside(here).slice(0, 300).map((node) => {
      const row = make("tr");
      row.append(make("td", "code", node.n), make("td", "number", size(node.b)), make("td", "number", percent(node.b, here.b)));
      return row;
    });
    byId("level").replaceChildren(...rows);
  };

  const go = (nodes) => {
    way = nodes;
    const crumbs = way.map((node, index) => {
      const crumb = make("button", "", index > 1 ? `/${node.n}` : node.n);
      crumb.type = "button";
      crumb.disabled = index === way.length - 1;
      crumb.addEventListener("click", () => go(way.slice(0, index + 1)));
      return crumb;
    });
    const here = way[way.length - 1];
    byId("crumbs").replaceChildren(...crumbs, make("span", "size", size(here.b)));
    table(here);
    draw();
  };

  const show = (index) => {
    [...byId("views").children].forEach((button, other) => button.setAttribute("aria-pressed", String(other === index)));
    go([views[index][1]]);
  };

  if (views.length) {
    byId("map").hidden = false;
    views.forEach(([name], index) => {
      const button = make("button", "", name);
      button.type = "button";
      button.addEventListener("click", () => show(index));
      byId("views").append(button);
    });
    show(0);
    new ResizeObserver(draw).observe(byId("tiles"));
  }

  const rowsOf = (table) => [...table.tBodies[0].rows];

  document.querySelectorAll("[data-filter]").forEach((box) => {
    const input = make("input");
    input.type = "search";
    input.placeholder = "Filter";
    input.setAttribute("aria-label", `Filter ${box.dataset.filter}`);
    const count = make("span", "note");
    count.setAttribute("role", "status");
    const filter = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      const rows = rowsOf(box.querySelector("table"));
      const shown = rows.filter((row) => {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        return !row.hidden;
      });
      count.textContent = `${shown.length} of ${rows.length}`;
    };
    input.addEventListener("input", filter);
    box.prepend(input, count);
    filter();
  });

  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
  };

  document.querySelectorAll("table.sorts").forEach((table) => {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      if (!head.textContent) return;
      const button = make("button", "", head.textContent);
      button.type = "button";
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const falls = head.classList.contains("number") ? head.ariaSort !== "descending" : head.ariaSort === "ascending";
        [...table.tHead.rows[0].cells].forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", falls ? "descending" : "ascending");
        const rows = rowsOf(table).sort((left, right) => {
          const [a, b] = [value(left, column), value(right, column)];
          const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
          return falls ? -order : order;
        });
        table.tBodies[0].append(...rows);
      });
    });
  });

  document.documentElement.dataset.drawn = "yes";
})();
