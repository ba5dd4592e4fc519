"use strict";
// Builds the page from its data. Text gets into the page by text nodes alone, and addresses are fragments made here.
(() => {
  const D = JSON.parse(document.getElementById("data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const main = document.getElementById("main");
  const nav = document.getElementById("nav");

  // -- elements ---------------------------------------------------------------------------------------------------------

  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {}))
      if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
    for (const child of children.flat(3))
      if (child !== null && child !== undefined && child !== false)
        node.append(child instanceof Node ? child : document.createTextNode(String(child)));
    return node;
  }
  const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

  const parts = h("ul");
  nav.append(parts);
  function section(id, title, ...content) {
    parts.append(h("li", {}, h("a", { href: "#" + id }, title)));
    const made = h("section", { id, "aria-labelledby": id + "-h" }, h("h2", { id: id + "-h" }, title), ...content);
    main.append(made);
    return made;
  }
  function table(head, rows, caption) {
    // On a phone a row is a block and a cell a line, which would cost them their roles: so these are said.
    const cells = row => row.map((value, i) => h("td", { role: "cell", class: head[i][1], "data-l": head[i][0] }, value === "" ? null : value));
    return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
      h("table", { role: "table" },
        h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head.map(([name, n]) => h("th", { role: "columnheader", scope: "col", class: n }, name)))),
        h("tbody", { role: "rowgroup" }, rows.map(row => h("tr", { role: "row" }, cells(row))))));
  }
  const badge = word => h("span", { class: "badge " + word.replace(/[^a-z]/g, "") }, word);
  const clip = (text, most) => text.length > most ? text.slice(0, Math.max(1, most - 1)) + "…" : text;
  const digits = value => Math.round(value).toLocaleString("en").replaceAll(",", " ");
  function time(seconds) {
    if (seconds < 0.0995) return Math.round(seconds * 1000) + " ms";
    if (seconds < 99.95) return seconds.toFixed(1) + " s";
    const m = Math.floor(seconds / 60);
    if (m < 100) return m + " min " + String(Math.floor(seconds % 60)).padStart(2, "0") + " s";
    return Math.floor(m / 60) + " h " + String(m % 60).padStart(2, "0") + " min";
  }

  // -- the long texts: unpacked once, when somebody wants one -----------------------------------------------------------

  let texts = null;
  async function allTexts() {
    if (texts) return texts;
    const holder = document.getElementById("texts");
    let raw = holder.textContent;
    if (holder.dataset.packed) {
      if (!("DecompressionStream" in window))
        throw new Error("This browser cannot unpack the texts: make the page anew with `runs report RUN --html FILE --unpacked`.");
      const bytes = Uint8Array.from(atob(raw), c => c.charCodeAt(0));
      raw = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).text();
    }
    texts = JSON.parse(raw);
    return texts;
  }
  /** A details element whose content is made when it is first opened. */
  function folded(attributes, summary, content) {
    const inner = h("div");
    const made = h("details", attributes, h("summary", {}, summary), inner);
    made.addEventListener("toggle", async () => {
      if (!made.open || inner.childNodes.length) return;
      try { inner.append(...[content(await allTexts())].flat(3).filter(Boolean)); }
      catch (error) { inner.append(h("p", { class: "note" }, error.message)); }
    });
    return made;
  }
  let sought = "";
  function block(text) {
    if (!sought) return h("pre", { tabindex: "0" }, text);
    const pre = h("pre", { tabindex: "0" });
    const low = text.toLowerCase();
    let from = 0;
    for (let found = low.indexOf(sought); found >= 0 && from <= found; found = low.indexOf(sought, from)) {
      pre.append(text.slice(from, found), h("mark", {}, text.slice(found, found + sought.length)));
      from = found + sought.length;
    }
    pre.append(text.slice(from));
    return pre;
  }
  function coloured(diff) {
    const kind = line => line.startsWith("+++") || line.startsWith("---") || line.startsWith("@@") ? "at"
      : line.startsWith("+") ? "add" : line.startsWith("-") ? "del" : null;
    return h("pre", { class: "diff", tabindex: "0" }, diff.split("\n").map(line => h("span", { class: kind(line) }, line)));
  }

  // -- head ---------------------------------------------------------------------------------------------------------------

  const R = D.run, T = D.totals;
  const many = (count, noun) => `${digits(count)} ${noun}${count === 1 ? "" : "s"}`;
  const tile = (name, value, small) => h("div", {}, h("dt", {}, name), h("dd", {}, value, small && h("small", {}, small)));
  const fact = (name, value) => value || value === 0 ? [h("dt", {}, name), h("dd", {}, value)] : [];
  const peaks = D.devices.filter(d => d.peak);
  section("summary", "Summary",
    h("dl", { class: "tiles" },
      tile("time", time(R.seconds), R.sessions > 1 ? `in ${R.sessions} sessions, ${time(R.away)} between them` : null),
      tile("model calls", digits(T.calls), [T.failed ? `${T.failed} failed` : null, T.replayed ? `${T.replayed} from the journal` : null].filter(Boolean).join(", ")),
      tile("tokens read", digits(T.prompt), T.cached ? `${digits(T.cached)} of them cached` : null),
      tile("tokens written", digits(T.output)),
      tile("waited in the queue", time(T.wait), "all calls together"),
      tile("loads", digits(T.loads), `${time(T.load_s)}, ${many(T.unloads, "unload")}`),
      peaks.map(d => tile(`peak on ${d.name}`, digits(d.peak) + " MiB", d.budget.length ? `budget ${digits(d.budget.at(-1)[1])}` : null))),
    h("dl", { class: "facts" },
      fact("run", R.id), fact("pipeline", R.doc ? `${R.pipeline}: ${R.doc}` : R.pipeline), fact("forked from", R.parent), fact("file", R.file), fact("folder", R.folder),
      fact("began", R.started.replace("T", " ").replace("+00:00", " UTC")), fact("exit code", R.exit_code), fact("seed", R.seed),
      fact("tier", R.promotion ? `${R.tier}; ${R.promotion}` : R.tier), fact("ended by", R.error),
      Object.entries(R.limits).map(([name, of]) => fact(name, `${+of.used.toFixed(1)} of ${of.limit}`)),
      fact("files", R.artifacts.length ? R.artifacts.map(path => h("div", {}, h("code", {}, path))) : null),
      R.notes.map(note => fact("note", note))));

  function verdictOf(v) {
    return [
      h("p", {}, h("span", { class: "badge " + (v.passed ? "good" : "bad") }, v.passed ? "passed" : "not passed"), " ", v.reason || ""),
      h("p", { class: "dim" }, `${v.tests_passed ?? 0} of ${v.tests_run ?? 0} tests; sandbox ${v.backend || "?"}, isolation level ${v.level || "?"}, integrity ${v.integrity || "?"}`, v.seconds ? `, ${time(v.seconds)}` : ""),
      (v.failures || []).map(f => h("details", {}, h("summary", {}, h("code", {}, f.test), ` ${f.kind}`), h("div", {}, h("pre", { tabindex: "0" }, f.message))))];
  }
  if (D.verdict) section("verdict", "Verdict", verdictOf(D.verdict));
  if (D.inputs.length)
    section("inputs", "Inputs", D.inputs.map(i => folded({}, [h("code", {}, i.name), h("span", { class: "dim" }, " " + i.type)], all => block(all[i.text]))));

  // -- graph --------------------------------------------------------------------------------------------------------------

  const modelIndex = new Map(D.models.map((m, i) => [m.endpoint + "\n" + m.name, i]));
  const colour = i => "m" + (i === undefined ? 7 : i % 8);
  const colourOf = call => colour(modelIndex.get(call.endpoint + "\n" + call.model));

  if (D.graph) {
    const [width, height] = D.graph.size, [bw, bh] = D.graph.box, pad = 6;
    const path = points => points.map(([x, y], i) => {
      if (!i) return `M${x},${y}`;
      const [px, py] = points[i - 1], mid = (py + y) / 2;
      return px === x ? `L${x},${y}` : `C${px},${mid} ${x},${mid} ${x},${y}`;
    }).join("");
    const drawn = s("svg", { class: "graph", width: width + 2 * pad, height: height + 2 * pad, viewBox: `${-pad} ${-pad} ${width + 2 * pad} ${height + 2 * pad}`,
      role: "img", "aria-label": `Graph of ${D.stages.length} stages; the table of stages says what each of them waits for` },
      s("defs", {}, s("marker", { id: "tip", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" },
        s("path", { d: "M0,0.5 L7.5,4 L0,7.5 z", class: "tip" }))),
      D.graph.edges.map(([points, from, to, implied]) =>
        s("path", { d: path(points), class: implied ? "edge implied" : "edge", "marker-end": "url(#tip)" }, s("title", {}, `${to} needs ${from}`))),
      D.graph.boxes.map(([index, x, y]) => {
        const stage = D.stages[index];
        const under = stage.agents.join(", ") || "no agent";
        return s("g", { class: stage.high ? "node high" : "node" },
          s("title", {}, `${stage.name}: ${stage.status}` + (stage.high ? ", of high importance" : "") + (stage.each ? `, once for each of ${stage.each}` : "")),
          s("rect", { x, y, width: bw, height: bh, rx: 6 }),
          s("circle", { cx: x + 13, cy: y + 16, r: 4, class: "s-" + stage.status }),
          s("text", { x: x + 23, y: y + 20, "font-weight": 600 }, clip(stage.name, 18)),
          s("text", { x: x + 12, y: y + 37, class: "dim" }, clip(under + (stage.each ? " · each" : ""), 24)));
      }));
    drawn.style.minWidth = 0.72 * width + "px";  // narrower than that, it is scrolled
    section("graph", "Graph", h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Graph" }, drawn),
      h("p", { class: "dim" }, "From top to bottom: who waits for whom. A blue frame: of high importance. A pale line: a longer way leads there too."));
  }

  if (D.routes.length)
    section("routes", "Routes", table([["stage"], ["agent"], ["tier"], ["model"], ["endpoint"], ["why", "why"]],
      D.routes.map(r => [r.stage, r.agent, r.tier, r.model + (r.escalated ? ` (then ${r.escalated})` : ""), `${r.endpoint} (${r.device})`, r.reason]), "Routes"));

  // -- the charts over time -----------------------------------------------------------------------------------------------

  const END = Math.max(D.end, 0.001);
  let zoom = 1;
  const charts = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Charts over time" });

  function ticks(room) {
    const raw = END / Math.max(2, room / 90);
    const unit = 10 ** Math.floor(Math.log10(raw));
    const step = END > 200 ? [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800, 86400].find(one => one >= raw) || unit * 10
      : [1, 2, 5, 10].find(one => one * unit >= raw) * unit;
    const found = [];
    for (let t = 0; t <= END * 1.0001; t += step) found.push(t);
    return found;
  }
  const tickText = t => END < 0.5 ? Math.round(t * 1000) + " ms" : END < 200 ? +t.toFixed(2) + " s"
    : (t >= 3600 ? Math.floor(t / 3600) + ":" + String(Math.floor(t / 60) % 60).padStart(2, "0") : String(Math.floor(t / 60))) + ":" + String(Math.round(t) % 60).padStart(2, "0");

  /** Give each interval the lowest lane that is free; no more than `most`, the last of which is shared. */
  function lanes(items, from, to, most) {
    const free = [];
    for (const item of items) {
      let lane = free.findIndex(until => until <= item[from] + 1e-9);
      if (lane < 0) lane = Math.min(free.length, most - 1);
      free[lane] = Math.max(free[lane] || 0, item[to]);
      item.lane = lane;
    }
    return Math.max(1, free.length);
  }
  function whyText(call) {
    return (call.whys || []).map(([at, words]) => `\n${time(Math.max(0, at - call.asked))}: ${words}`).join("");
  }
  const callTitle = c => `${c.stage} · ${c.agent} on ${c.model}${c.item ? " · item " + c.item : ""}${c.attempt ? " · attempt " + c.attempt : ""}\n` +
    `waited ${time(c.granted - c.asked)}, took ${time(c.ended - c.granted)}; ${c.in} tokens read, ${c.out} written${c.ok ? "" : "\nfailed"}${c.open ? "\nnot ended" : ""}${whyText(c)}`;

  function drawCharts() {
    const room = Math.max(300, charts.clientWidth || main.clientWidth - 34);
    const gutter = room < 520 ? 86 : 150, right = 14, letters = Math.floor(gutter / 6.6);
    const inner = (room - gutter - right) * zoom;
    const X = t => gutter + Math.min(1, Math.max(0, t / END)) * inner;
    const W = (a, b) => Math.max(0.7, X(b) - X(a));
    const g = [];
    let y = 22;
    const label = (text, at, cls) => g.push(s("text", { x: 0, y: at, class: cls || null }, s("title", {}, text), clip(text, letters)));
    const head = text => { y += 8; g.push(s("text", { x: 0, y: y + 9, class: "head" }, text)); y += 18; };

    head("Stages and their calls");
    for (const stage of D.stages) {
      const calls = D.calls.filter(c => c.stage === stage.name);
      const count = calls.length ? lanes(calls, "asked", "ended", 10) : 0;
      label(stage.name, y + 9);
      for (const [from, to, status] of stage.spans)
        g.push(s("rect", { x: X(from), y, width: W(from, to), height: 10, rx: 2, class: "stage s-" + status },
          s("title", {}, `${stage.name}: ${status}, ${time(to - from)}`)));
      const thick = count > 5 ? 6 : 9;
      for (const call of calls) {
        const at = y + 12 + call.lane * (thick + 1);
        g.push(s("a", { href: "#call" + call.id, tabindex: "-1" }, s("title", {}, callTitle(call)),
          call.granted - call.asked > END / 2000 && s("rect", { x: X(call.asked), y: at + thick / 4, width: W(call.asked, call.granted), height: thick / 2, class: "wait" }),
          call.ended > call.granted && s("rect", { x: X(call.granted), y: at, width: W(call.granted, call.ended), height: thick, rx: 1.5, class: colourOf(call) + (call.ok ? "" : " lost") })));
      }
      y += count ? 12 + count * (thick + 1) + 6 : 17;
    }

    if (D.models.length) {
      head("Models and their slots");
      D.models.forEach((model, index) => {
        const stays = D.stays.filter(one => one.model === index);
        const held = D.slots.filter(one => one[0] === index);
        const slots = Math.min(16, Math.max(stays.length ? 1 : 0, ...held.map(one => one[1] + 1)));
        label(model.name, y + 9);
        if (room >= 520) label(`${model.endpoint}, ${digits(model.mib)} MiB`, y + 22, "dim");
        for (const stay of stays) {
          const [began, ready, leaving, ended] = stay.at, end = ended ?? END;
          const strip = (from, to, cls, text) => from !== null && to > from && g.push(s("rect", { x: X(from), y, width: W(from, to), height: 10, class: colour(index) + " " + cls }, s("title", {}, text)));
          strip(began, ready ?? end, "loading", `${model.name}: ` + (stay.failed ? `not loaded: ${stay.failed}` : `loading, ${time((ready ?? end) - began)}`));
          if (ready !== null) strip(ready, leaving ?? end, "", `${model.name}: in memory, ${digits(stay.mib)} MiB, ${time((leaving ?? end) - ready)}`);
          if (leaving !== null) strip(leaving, end, "leaving", `${model.name}: being unloaded (${stay.why || "?"}), ${time(end - leaving)}`);
          if (stay.failed) g.push(s("text", { x: X(end) + 2, y: y + 9, class: "dim" }, "✕"));
        }
        for (const [, slot, from, to, stage, agent] of held)
          g.push(s("rect", { x: X(from), y: y + 13 + Math.min(slot, 15) * 9, width: W(from, to), height: 8, rx: 1.5, class: colour(index) },
            s("title", {}, `slot ${slot + 1}: ${stage} · ${agent}, ${time(to - from)}`)));
        y += Math.max(room >= 520 ? 30 : 18, 15 + slots * 9 + 4);
      });
      const changes = D.calls.flatMap(c => c.granted > c.asked ? [[c.asked, 1], [c.granted, -1]] : []).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
      let most = 0, now = 0;
      for (const [, by] of changes) most = Math.max(most, now += by);
      if (most) {
        const high = 30, Y = n => y + high - high * n / most;
        let d = `M${X(0)},${Y(0)}`;
        now = 0;
        for (const [t, by] of changes) { d += `H${X(t).toFixed(1)}`; now += by; d += `V${Y(now).toFixed(1)}`; }
        g.push(s("path", { d: d + `H${X(END)}V${Y(0)}z`, class: "queue" }, s("title", {}, `calls that wait, ${most} at most`)));
        label("waiting", y + 12);
        label(`${most} at most`, y + 25, "dim");
        y += high + 10;
      }
    }

    for (const device of D.devices) {
      if (!device.steps.length) continue;
      head(`Memory on ${device.name}`);
      const budget = Math.max(0, ...device.budget.map(one => one[1]));
      const far = budget > device.peak * 4;
      const top = (far ? device.peak * 1.3 : Math.max(budget, device.peak) * 1.06) || 1;
      const high = 110, Y = mib => y + high - high * Math.min(mib, top) / top;
      for (const part of [0, .5, 1]) {
        const mib = top * part;
        g.push(s("line", { x1: gutter, x2: gutter + inner, y1: Y(mib), y2: Y(mib), class: "grid" }),
          s("text", { x: gutter - 6, y: Y(mib) + 4, class: "dim", "text-anchor": "end" }, digits(mib)));
      }
      const base = device.steps.map(() => 0);
      device.models.forEach((model, column) => {
        let upper = "", lower = "";
        device.steps.forEach((row, i) => {
          const till = i + 1 < device.steps.length ? device.steps[i + 1][0] : END;
          const low = base[i], up = low + row[column + 1];
          upper += `${i ? "L" : "M"}${X(row[0]).toFixed(1)},${Y(up).toFixed(1)}H${X(till).toFixed(1)}`;
          lower = `L${X(till).toFixed(1)},${Y(low).toFixed(1)}H${X(row[0]).toFixed(1)}` + lower;
          base[i] = up;
        });
        g.push(s("path", { d: upper + lower + "z", class: colour(model) }, s("title", {}, `${D.models[model].name} on ${device.name}`)));
      });
      const steps = points => points.map(([t, mib], i) => `${i ? "H" + X(t).toFixed(1) + "V" + Y(mib).toFixed(1) : `M${X(Math.min(t, points[0][0])).toFixed(1)},${Y(mib).toFixed(1)}`}`).join("") + `H${X(END)}`;
      if (budget && !far) {
        g.push(s("path", { d: steps(device.budget), class: "budget" }, s("title", {}, `budget ${digits(budget)} MiB`)));
        const left = device.others.map(([t, mib]) => [t, Math.max(0, budget - mib)]);
        if (left.some(one => one[1] < budget)) g.push(s("path", { d: steps(left), class: "left" }, s("title", {}, "the budget less what others take")));
      } else if (budget)
        g.push(s("text", { x: gutter + 6, y: y + 11, class: "dim" }, `budget ${digits(budget)} MiB, far above`));
      label("MiB", y + 12, "dim");
      y += high + 12;
    }

    const grid = ticks((room - gutter - right) * zoom).map(t => [
      s("line", { x1: X(t), x2: X(t), y1: 16, y2: y, class: "grid" }),
      s("text", { x: X(t), y: 11, class: "dim", "text-anchor": t === 0 ? "start" : X(t) > gutter + inner - 20 ? "end" : "middle" }, tickText(t))]).flat();
    const seams = D.seams.map(t => s("line", { x1: X(t), x2: X(t), y1: 16, y2: y, class: "seam" }, s("title", {}, "resumed here")));
    const width = gutter + inner + right;
    charts.replaceChildren(s("svg", { width, height: y + 4, viewBox: `0 0 ${width} ${y + 4}`, role: "img",
      "aria-label": "Stages, calls, models and memory over time; the tables below say the same" }, grid, seams, g));
  }

  const slider = h("input", { type: "range", min: "0", max: "5", step: "0.25", value: "0", id: "zoom" });
  slider.addEventListener("input", () => {
    const middle = (charts.scrollLeft + charts.clientWidth / 2) / Math.max(1, charts.scrollWidth);
    zoom = 2 ** Number(slider.value);
    drawCharts();
    charts.scrollLeft = middle * charts.scrollWidth - charts.clientWidth / 2;
  });
  section("time", "Over time", h("div", { class: "tools" }, h("label", { for: "zoom" }, "zoom ", slider)), charts,
    h("ul", { class: "legend" }, D.models.map((m, i) => h("li", {}, h("i", { class: colour(i) }), m.name)),
      h("li", {}, h("i", { class: "mw" }), "waiting"), h("li", {}, h("i", { class: "mx" }), "stage"),
      h("li", {}, "pale: loading or leaving"), h("li", {}, h("i", { class: "line" }), "budget"), h("li", {}, h("i", { class: "dots" }), "budget less others")));
  drawCharts();
  let drawnFor = charts.clientWidth;
  new ResizeObserver(() => {
    if (Math.abs(charts.clientWidth - drawnFor) > 1) { drawnFor = charts.clientWidth; drawCharts(); }
  }).observe(charts);

  // -- tables -------------------------------------------------------------------------------------------------------------

  const waits = D.waits.filter(w => w.seconds >= 0.05);
  if (waits.length)
    section("waits", "What calls waited for", table([["seconds", "n"], ["calls", "n"], ["stages"], ["why", "why"]],
      waits.map(w => [w.seconds.toFixed(1), w.requests, w.stages.join(", "), w.why]), "Waits"),
      h("p", { class: "dim" }, "Seconds of all calls together. Sentences that differ in numbers only are counted as one."));

  const most = Math.max(1, ...D.stages.map(one => one.in + one.out));
  const bar = one => {
    const made = h("div", { class: "bar", title: `${one.in - one.cached} read, ${one.cached} of the cache, ${one.out} written` });
    for (const [name, count] of [["prompt", one.in - one.cached], ["cached", one.cached], ["output", one.out]]) {
      const piece = h("i", { class: name });
      piece.style.width = 100 * Math.max(0, count) / most + "%";
      made.append(piece);
    }
    return made;
  };
  function byAgent() {
    const found = new Map();
    for (const c of D.calls) {
      const key = c.agent + "\n" + c.model;
      const sum = found.get(key) || found.set(key, { agent: c.agent, model: c.model, calls: 0, in: 0, out: 0, cached: 0, wait: 0, run: 0 }).get(key);
      sum.calls += 1; sum.in += c.in; sum.out += c.out; sum.cached += c.cached; sum.wait += c.granted - c.asked; sum.run += c.ended - c.granted;
    }
    return [...found.values()];
  }
  const seconds = value => value ? value.toFixed(1) : "";
  section("stages", "Stages and tokens",
    table([["stage"], ["status"], ["after"], ["models"], ["att.", "n"], ["calls", "n"], ["s", "n"], ["waited", "n"], ["loading", "n"], ["read", "n"], ["cached", "n"], ["written", "n"], ["tokens"]],
      D.stages.map(one => [one.name, badge(one.status), one.needs.join(", "), one.models.join(", "), one.attempts || "", one.calls || "",
        seconds(one.spans.reduce((sum, [a, b]) => sum + b - a, 0)), seconds(one.wait), seconds(one.load), one.in || "", one.cached || "", one.out || "", bar(one)]), "Stages"),
    h("ul", { class: "legend" }, h("li", {}, h("i", { class: "m0" }), "read"), h("li", {}, h("i", { class: "m6" }), "cached"), h("li", {}, h("i", { class: "m1" }), "written")),
    D.calls.length ? [h("h3", {}, "By agent"), table([["agent"], ["model"], ["calls", "n"], ["read", "n"], ["cached", "n"], ["written", "n"], ["waited s", "n"], ["running s", "n"]],
      byAgent().map(a => [a.agent, a.model, a.calls, a.in, a.cached, a.out, seconds(a.wait), seconds(a.run)]), "Agents")] : null,
    D.stages.some(one => one.value !== null) ? h("h3", {}, "What they returned") : null,
    D.stages.filter(one => one.value !== null).map(one => folded({}, [h("b", {}, one.name), " ", h("span", { class: "dim" }, one.status === "failed" ? "what ended it" : one.status === "skipped" ? "why" : "value")], all => block(all[one.value]))));

  if (D.taken.length)
    section("taken", "From other runs",
      h("p", {}, "These stages were not done here: their results, and the files they delivered, are those of other runs, which made these calls for them."),
      table([["stage"], ["done by run"], ["models"], ["calls", "n"], ["s", "n"], ["read", "n"], ["written", "n"]],
        D.taken.map(one => [one.stage, one.page ? h("a", { href: one.page }, one.run) : one.run, one.models.join(", "), one.calls || "",
          one.seconds === null ? "" : seconds(one.seconds), one.in || "", one.out || ""]), "Stages of other runs"),
      h("p", { class: "dim" }, "Prompts and answers are in the pages of those runs; where a page has gone: ",
        h("code", {}, `python -m vwt_agents runs report ${D.taken[0].run} --html page.html`)));

  if (D.attempts.length) {
    const made = section("attempts", "Attempts", D.attempts.map(a => folded({}, [
      badge(a.good ? "good" : "bad"), ` ${a.stage}${a.item ? ` · item ${a.item}` : ""} · attempt ${a.number}`,
      h("span", { class: "dim" }, ` ${a.escalated ? "on the large tier; " : ""}${a.outcome.reason || ""}`)],
      all => [a.outcome.passed !== undefined ? verdictOf(a.outcome) : null,
        typeof a.diff === "number" ? [h("h3", {}, "Since the attempt before"), all[a.diff] ? coloured(all[a.diff]) : h("p", { class: "dim" }, "The same files as in the attempt before.")] : null,
        (a.files || []).map(([name, text]) => h("details", {}, h("summary", {}, h("code", {}, name)), h("div", {}, block(all[text]))))])));
    made.classList.add("long");
    if (D.attempts.length <= 12) for (const one of made.querySelectorAll(":scope > details")) one.open = true;
  }

  // -- calls --------------------------------------------------------------------------------------------------------------

  const PAGE = 200;
  if (D.calls.length) {
    const list = h("div"), count = h("p", { class: "dim", role: "status", "aria-live": "polite" }), more = h("button", { type: "button" }, "Show more");
    const search = h("input", { type: "search", id: "search", placeholder: "Search prompts and answers", "aria-label": "Search prompts and answers" });
    const choice = (id, name, values) => [h("label", { for: id }, name), h("select", { id }, h("option", { value: "" }, "all"), values.map(v => h("option", { value: v }, v)))];
    const unique = key => [...new Set(D.calls.map(c => c[key]))].filter(Boolean).sort();
    const tools = h("form", { class: "tools", role: "search" }, search, choice("by-stage", "stage", unique("stage")), choice("by-model", "model", unique("model")),
      choice("by-state", "state", ["failed", "not ended", "cut short"].filter(state => D.calls.some(c => inState(c, state)))));
    const made = section("calls", "Prompts and answers", tools, count, list, more);
    made.classList.add("long");
    const nodes = new Map();
    let shown = [], upTo = PAGE;

    function inState(c, state) {
      return state === "failed" ? !c.ok && !c.open : state === "not ended" ? Boolean(c.open) : Boolean(c.done);
    }
    function node(c) {
      if (nodes.has(c.id) && nodes.get(c.id).sought === sought) return nodes.get(c.id).made;
      const dim = [`at ${time(c.asked)}`, c.granted - c.asked > 0.0995 ? `waited ${time(c.granted - c.asked)}` : null, `took ${time(c.ended - c.granted)}`,
        `${c.in}${c.cached ? ` (${c.cached} cached)` : ""} → ${c.out} tokens`].filter(Boolean).join(" · ");
      const one = folded({ class: "call", id: "call" + c.id }, [c.ok ? null : [badge(c.open ? "stopped" : "failed"), " "], c.done ? [h("span", { class: "badge interrupted" }, "cut short"), " "] : null,
        h("b", {}, c.stage), ` · ${c.agent} on ${c.model}${c.item ? ` · item ${c.item}` : ""}${c.attempt ? ` · attempt ${c.attempt}` : ""}`, h("br"), h("span", { class: "dim" }, dim)],
        all => [
          c.whys ? [h("p", { class: "role" }, "why it waited"), h("ul", {}, c.whys.map(([at, words]) => h("li", {}, `after ${time(Math.max(0, at - c.asked))}: ${words}`)))] : null,
          c.messages.map(([role, text]) => [h("p", { class: "role" }, role), block(all[text])]),
          c.answer !== undefined ? [h("p", { class: "role" }, c.ok ? `answer${c.done ? ` (ended by ${c.done})` : ""}` : "what went wrong"), block(all[c.answer])]
            : h("p", { class: "dim" }, "It had not ended when its process did."),
          Object.keys(c.options).length ? h("p", { class: "dim" }, "options ", h("code", {}, JSON.stringify(c.options))) : null]);
      nodes.set(c.id, { made: one, sought });
      return one;
    }
    function show() {
      list.replaceChildren(...shown.slice(0, upTo).map(node));
      count.textContent = shown.length === D.calls.length ? many(shown.length, "call") : `${shown.length} of ${D.calls.length} calls`;
      more.hidden = shown.length <= upTo;
    }
    async function filter() {
      const word = search.value.trim().toLowerCase();
      const [stage, model, state] = ["by-stage", "by-model", "by-state"].map(id => document.getElementById(id).value);
      let all = [];
      if (word) try { all = await allTexts(); } catch (error) { count.textContent = error.message; return; }
      if (word !== search.value.trim().toLowerCase()) return;
      sought = word;
      const hits = new Map();
      const hit = n => { if (!hits.has(n)) hits.set(n, all[n].toLowerCase().includes(word)); return hits.get(n); };
      shown = D.calls.filter(c => (!stage || c.stage === stage) && (!model || c.model === model) && (!state || inState(c, state)) &&
        (!word || c.messages.some(([, n]) => hit(n)) || (c.answer !== undefined && hit(c.answer))));
      upTo = PAGE;
      show();
    }
    let timer = 0;
    search.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(filter, 120); });
    tools.addEventListener("change", filter);
    tools.addEventListener("submit", event => { event.preventDefault(); filter(); });
    more.addEventListener("click", () => { upTo += PAGE; show(); });
    shown = D.calls;
    show();
    /** A bar of the chart leads to its call, also where the list does not show it yet. */
    function follow() {
      const found = /^#call(-?\d+)$/.exec(location.hash);
      const index = found ? D.calls.findIndex(c => c.id === Number(found[1])) : -1;
      if (index < 0) return;
      clearTimeout(timer);  // a search that is yet to begin would draw the list anew, under the reader's feet
      if (!shown.includes(D.calls[index])) { tools.reset(); sought = ""; shown = D.calls; }
      upTo = Math.max(upTo, shown.indexOf(D.calls[index]) + 1);
      show();
      const target = document.getElementById("call" + D.calls[index].id);
      target.open = true;
      target.scrollIntoView({ block: "start" });
      target.querySelector("summary").focus({ preventScroll: true });
    }
    window.addEventListener("hashchange", follow);
    follow();
  }

  if (D.remarks.length)
    section("remarks", "Remarks", table([["at", "n"], ["said", "why"]], D.remarks.map(([at, line]) => [time(at), line]), "Remarks"));
  document.documentElement.dataset.ready = "yes";
})();
