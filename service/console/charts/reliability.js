// @ts-check
/** The reliability diagram: how often the head was right where it said so much; a square, with 95 % intervals. */

import { choice, h, numbers, panel, s, speak } from "../elements.js";
import { counted, percent, share, whole } from "../words.js";
import { axes, chart, scale } from "./frame.js";

/**
 * @typedef {{from: number, to: number, rows: number, confidence: number, accuracy: number, low: number, high: number}} Bin
 * @typedef {{bins: Bin[], histogram?: {rows: number[]}}} Reliability where bins are of equal width, they are the histogram
 */

const HOLLOW = "hollow: all right, or none";
const EVEN = [0, 0.25, 0.5, 0.75, 1];
const STRETCHED = [0.2, 0.5, 0.8, 0.9, 0.99, 0.999, 0.9999];

/** @param {number} p */
const logOdds = (p) =>
	Math.log(Math.min(Math.max(p, STRETCHED[0]), STRETCHED[6]) / (1 - Math.min(Math.max(p, STRETCHED[0]), STRETCHED[6])));

/**
 * @typedef {{title: string, more: string, reliability: Reliability, ours: boolean}} Diagram
 */

let stretched = false; // as it was chosen last, on whichever page

/**
 * Diagrams side by side, on axes that are chosen.
 * @param {string} note what they are of
 * @param {Diagram[]} diagrams
 */
export function comparison(note, diagrams) {
	const box = h("div", { className: "halves" });
	const pointed = h("p", { className: "soft" }, "Point at a bin, or step through them with the arrow keys.");
	const point = (/** @type {string} */ text) => {
		pointed.textContent = text;
		speak(text);
	};
	const draw = () =>
		box.replaceChildren(
			...diagrams.map((each) => h("div", {}, diagram(each, point), h("p", {}, sentence(each.reliability.bins)))),
		);
	draw();
	const axes = choice(
		"Axes",
		[["even", "Even"], ["stretched", "Stretched"]],
		stretched ? "stretched" : "even",
		(value) => {
			stretched = value === "stretched";
			draw();
		},
	);
	return panel(
		"Does the confidence mean what it says?",
		h("div", { className: "controls" }, h("small", {}, note), axes),
		box,
		pointed,
	);
}

/**
 * @param {Diagram} what
 * @param {(sentence: string) => void} point
 */
function diagram(what, point) {
	const { title, more, reliability: { bins } } = what;
	const name = `Reliability diagram, ${title}: ${sentence(bins)}`;
	/** @type {{chosen: number}} */
	const state = { chosen: -1 };
	const svg = chart(name, (width) => draw(what, width, state.chosen, choose));
	const choose = (/** @type {number} */ i) => {
		if (state.chosen === i) return;
		state.chosen = i;
		for (const [j, mark] of svg.querySelectorAll(".bin").entries()) mark.classList.toggle("chosen", i === j);
		point(tell(bins[i], i, bins.length));
	};
	svg.setAttribute("tabindex", "0");
	svg.addEventListener("keydown", (event) => {
		const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[/** @type {KeyboardEvent} */ (event).key];
		if (!step) return;
		event.preventDefault();
		choose((state.chosen + step + bins.length + (state.chosen < 0 && step < 0 ? 1 : 0)) % bins.length);
	});
	return h(
		"figure",
		{},
		h("figcaption", {}, h("h3", {}, title), h("small", {}, more)),
		svg,
		numbers(
			`Bins of ${title}`,
			["confidence", "rows", "said", "right", "95 % interval"],
			bins.map((bin) => [
				`${share(bin.from)} to ${share(bin.to)}`,
				whole(bin.rows),
				percent(bin.confidence),
				percent(bin.accuracy),
				`${percent(bin.low)} to ${percent(bin.high)}`,
			]),
		),
	);
}

/** @param {Bin} bin */
const outside = (bin) => bin.confidence < bin.low || bin.confidence > bin.high;

/**
 * What a diagram says, in a sentence. Means weigh by rows.
 * @param {Bin[]} bins
 */
function sentence(bins) {
	const rows = bins.reduce((sum, bin) => sum + bin.rows, 0);
	const mean = (/** @type {"confidence" | "accuracy"} */ what) =>
		bins.reduce((sum, bin) => sum + bin.rows * bin[what], 0) / rows;
	const out = bins.filter(outside).length;
	return `Said ${percent(mean("confidence"))} on average, was right in ${percent(mean("accuracy"))}. ` +
		`${out} of ${counted(bins.length, "bin")} lie outside their 95 % interval, where chance alone puts ${
			(0.05 * bins.length).toFixed(1)
		}.`;
}

/**
 * @param {Bin} bin
 * @param {number} i
 * @param {number} n
 */
const tell = (bin, i, n) =>
	`Bin ${i + 1} of ${n}: ${counted(bin.rows, "row")} with a confidence from ${share(bin.from)} to ${share(bin.to)}. ` +
	`Said ${percent(bin.confidence)}, right in ${percent(bin.accuracy)} (${percent(bin.low)} to ${percent(bin.high)}).`;

/**
 * @param {Diagram} what
 * @param {number} width
 * @param {number} chosen
 * @param {(i: number) => void} choose
 */
function draw({ reliability: { bins, histogram }, ours }, width, chosen, choose) {
	const left = 58;
	const right = 14;
	const top = 10;
	const side = Math.min(width - left - right, 420);
	const counts = 56;
	const height = top + side + counts + 44;
	const color = ours ? "ours" : "other";
	const map = stretched ? logOdds : (/** @type {number} */ p) => p;
	const ends = /** @type {[number, number]} */ (stretched ? [map(0), map(1)] : [0, 1]);
	const along = scale(ends, [left, left + side]);
	const up = scale(ends, [top + side, top]);
	const x = (/** @type {number} */ p) => along(map(p));
	const y = (/** @type {number} */ p) => up(map(p));
	const text = (/** @type {number} */ p) => `${Number((100 * p).toPrecision(6))} %`;
	const ticks = /** @type {import("./frame.js").Ticks} */ ((stretched ? STRETCHED : EVEN).map((p) => [p, text(p)]));
	const crowded = stretched ? ticks.filter((_, i) => i !== 1 && i !== 3) : ticks;
	const children = axes(
		{ width: left + side + right, height, left, right, top, bottom: 44 },
		x,
		y,
		side < 300 ? crowded.filter((_, i) => i % 2 === 0) : crowded,
		ticks,
		"confidence",
	);
	children.push(
		s("line", { class: "ideal", x1: left, y1: top + side, x2: left + side, y2: top }),
		s("text", { x: left + 8, y: top + 16 }, "right more often than said"),
		s("text", { x: left + side - 6, y: top + side - 10, "text-anchor": "end" }, "said more than was right"),
		...bars({ bins, histogram }, x, left, top + side + 10, counts - 10, color),
	);
	bins.forEach((bin, i) => {
		const edge = bin.accuracy === 1 || bin.accuracy === 0;
		const mark = s(
			"g",
			{ class: `bin ${color}${i === chosen ? " chosen" : ""}` },
			s("title", {}, tell(bin, i, bins.length)),
			s("line", { x1: x(bin.confidence), x2: x(bin.confidence), y1: y(bin.low), y2: y(bin.high), "stroke-width": 1.5 }),
			s("circle", { cx: x(bin.confidence), cy: y(bin.accuracy), r: 4, class: edge ? "hollow" : "" }),
			s("rect", { x: x(bin.confidence) - 8, y: top, width: 16, height: side, fill: "transparent", stroke: "none" }),
		);
		mark.addEventListener("pointerenter", () => choose(i));
		children.push(mark);
	});
	return { height, children };
}

/**
 * Below the diagram: how many rows have which confidence, or, stretched, where the bins lie.
 * @param {Reliability} what
 * @param {(p: number) => number} x
 * @param {number} left
 * @param {number} top
 * @param {number} height
 * @param {string} color
 */
function bars({ bins, histogram }, x, left, top, height, color) {
	const caption = (/** @type {string} */ text) => s("text", { x: left + 8, y: top + 8 }, text);
	if (stretched) {
		const step = (height - 14) / bins.length;
		return [
			caption(`${counted(bins.length, "bin")}; ${HOLLOW}`),
			...bins.map((bin, i) =>
				s("rect", {
					class: color,
					x: x(bin.from),
					y: top + height - (i + 1) * step,
					width: Math.max(2, x(bin.to) - x(bin.from)),
					height: 2,
				})
			),
		];
	}
	const spans = histogram?.rows.map((rows, i, { length }) => ({ from: i / length, to: (i + 1) / length, rows })) ??
		bins;
	const most = Math.max(...spans.map(({ rows }) => rows), 1);
	const total = spans.reduce((sum, { rows }) => sum + rows, 0);
	return [
		...spans.map(({ from, to, rows }) => {
			const tall = (height - 14) * rows / most;
			return s("rect", {
				class: color,
				x: x(from) + 0.5,
				y: top + height - tall,
				width: Math.max(1, x(to) - x(from) - 1),
				height: tall,
			});
		}),
		caption(`${counted(total, "row")}; ${HOLLOW}`),
	];
}
