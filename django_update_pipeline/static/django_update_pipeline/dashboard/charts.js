/** The four charts: uPlot's canvases, and beside each a table that says in figures what the lines say. */

import { LIMITS_MS } from "./clients.js";
import { make, part, setText } from "./dom.js";
import { PRIORITIES } from "./samples.js";
import { compact, count, hourAndMinute, ms, rate, timeOfDay } from "./words.js";

const HEIGHT = 138;
const TICKS_S = [10, 15, 30, 60, 120];

const PLOTS = new Map([
  ["throughput", { lines: [["queued", "queued", "queued"], ["delivered", "delivered", "delivered"]], format: rate, least: 10, filled: 1, thin: 0, empty: "No updates yet: what your code queues shows here." }],
  ["latency", { lines: PRIORITIES.map((name) => [name, `p99 ${name}`, name]), format: ms, least: 10, empty: "Nothing has been delivered yet." }],
  ["depth", { lines: PRIORITIES.map((name) => [name, `depth ${name}`, name]), format: count, least: 10, empty: "Nothing has waited for long." }],
  ["sockets", { lines: [["open", "connections", "open"], ["behind", "behind", "behind"]], format: count, least: 5, filled: 0, empty: "Nobody is connected." }],
]);

export class Charts {
  #samples;
  #plots = new Map();
  #percentile = "p99";
  #colours;

  constructor(samples) {
    this.#samples = samples;
    for (const [name, plan] of PLOTS) {
      const box = document.querySelector(`[data-plot="${name}"]`);
      const empty = make("p", { class: "empty", text: plan.empty });
      box.append(empty);
      this.#plots.set(name, { ...plan, box, empty, chart: null, cells: this.#legend(name, plan) });
      new ResizeObserver(() => this.#resize(name)).observe(box);
    }
    document.querySelector(".choice").addEventListener("change", (event) => {
      this.#percentile = event.target.value;
      this.draw();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#build());
    this.#build();
  }

  /** Draws what the samples hold now. */
  draw() {
    const times = this.#samples.column("time");
    const [from, to] = this.#samples.span();
    for (const [name, plot] of this.#plots) {
      const columns = plot.lines.map(([, column]) => this.#samples.column(this.#chosen(name, column)));
      plot.empty.hidden = columns.some((values) => values.some((value) => value !== null && value > 0));
      this.#say(name, times.length - 1);
      if (plot.chart === null) continue;
      plot.chart.batch(() => {
        plot.chart.setData([times, ...columns], false);
        plot.chart.setScale("x", { min: from, max: to });
      });
    }
  }

  #chosen(name, column) {
    return name === "latency" ? column.replace("p99", this.#percentile) : column;
  }

  #legend(name, { lines }) {
    const body = document.querySelector(`[data-legend="${name}"]`);
    const cells = new Map();
    for (const [label, column, tone] of lines) {
      const columns = name === "latency" ? ["p50", "p95", "p99"].map((p) => `${p} ${label}`) : [column];
      const row = columns.map((one) => {
        const cell = make("td", { text: "–" });
        cells.set(one, cell);
        return cell;
      });
      const head = make("th", { scope: "row" }, make("i", { class: `swatch tone-${tone}`, "aria-hidden": "true" }), label);
      body.append(make("tr", {}, head, ...row));
    }
    return cells;
  }

  /** The figures of one moment: the newest, or the one under the pointer. */
  #say(name, index) {
    const plot = this.#plots.get(name);
    for (const [column, cell] of plot.cells) {
      const value = this.#samples.column(column)[index];
      setText(cell, value === null || value === undefined ? "–" : plot.format(value));
      if (name === "latency" && column.startsWith("p99")) {
        cell.classList.toggle("too-slow", value > LIMITS_MS.get(column.slice(4)));
      }
    }
  }

  #resize(name) {
    const { chart, box } = this.#plots.get(name);
    if (chart !== null && box.clientWidth > 0) chart.setSize({ width: box.clientWidth, height: box.clientHeight || HEIGHT });
  }

  /** Makes the charts anew: at the start, and when the colours change. */
  #build() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    this.#colours = new Map([["delivered", colour("normal")], ["queued", colour("high")], ["open", colour("normal")],
      ["behind", colour("high")], ...PRIORITIES.map((name) => [name, colour(name)]), ["soft", colour("soft")], ["grid", colour("grid")]]);
    for (const [name, plot] of this.#plots) {
      plot.chart?.destroy();
      // Without the library the tables still say everything.
      plot.chart = typeof globalThis.uPlot === "function" ? new globalThis.uPlot(this.#options(name, plot), null, plot.box) : null;
    }
    this.draw();
  }

  #options(name, { lines, format, least, filled, thin, box }) {
    const soft = this.#colours.get("soft");
    const axis = { stroke: soft, font: "11px system-ui, sans-serif", ticks: { show: false }, gap: 4 };
    return {
      width: box.clientWidth || 400,
      height: box.clientHeight || HEIGHT,
      padding: [8, 20, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 }, sync: { key: "pipeline" } },
      scales: {
        x: { time: true },
        y: { range: (chart, low, high) => [0, Math.max(least, (high ?? 0) * 1.12)] },
      },
      axes: [
        { ...axis, size: 22, space: 70, grid: { show: false }, incrs: TICKS_S, values: (chart, ticks) => ticks.map((tick) => (tick % 60 === 0 ? hourAndMinute(tick) : timeOfDay(tick))) },
        { ...axis, size: 42, space: 28, grid: { stroke: this.#colours.get("grid"), width: 1 }, values: (chart, ticks) => ticks.map(compact) },
      ],
      series: [
        {},
        ...lines.map(([label, , tone], index) => ({
          label,
          stroke: this.#colours.get(tone),
          width: index === thin ? 1 : 1.75,
          fill: index === filled ? `${this.#colours.get(tone)}22` : undefined,
          spanGaps: false,
          points: { show: false },
        })),
      ],
      hooks: {
        setCursor: [
          ({ cursor }) => {
            const isOver = typeof cursor.idx === "number" && cursor.left >= 0;
            this.#say(name, isOver ? cursor.idx : this.#samples.length - 1);
            const title = box.parentElement.querySelector(".legend thead th:last-child");
            if (name !== "latency") setText(title, isOver ? timeOfDay(this.#samples.column("time")[cursor.idx]) : "now");
          },
        ],
      },
    };
  }
}

/** The large figures over the charts. */
export function sayFigures({ perSecond, p99, pending, connected }) {
  setText(part("rate"), rate(perSecond));
  setText(part("p99"), p99 === null ? "–" : ms(p99));
  setText(part("pending"), count(pending));
  setText(part("connected"), count(connected));
}
