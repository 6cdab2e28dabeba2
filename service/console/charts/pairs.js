// @ts-check
/** Pairs of before and after, each with its interval, on a scale of its own from 0. */

import { h, s } from "../elements.js";
import { number } from "../words.js";
import { chart, scale } from "./frame.js";

/**
 * @typedef {{name: string, before?: number, after?: number, low?: [number?, number?], high?: [number?, number?]}} Pair
 * @param {Pair[]} pairs
 */
export function pairs(pairs) {
	const line = (/** @type {Pair} */ pair) =>
		h(
			"tr",
			{},
			h("th", { scope: "row" }, pair.name),
			h("td", { className: "bar" }, picture(pair)),
			h("td", { className: "number soft" }, number(pair.before)),
			h("td", { className: "number" }, number(pair.after)),
		);
	const names = ["Metric", "", "Before", "After"];
	return h(
		"div",
		{ className: "scroll", tabIndex: 0, role: "region", "aria-label": "Metrics before and after" },
		h(
			"table",
			{},
			h(
				"thead",
				{},
				h("tr", {}, ...names.map((name, i) => h(i === 1 ? "td" : "th", { className: i > 1 ? "number" : "" }, name))),
			),
			h("tbody", {}, ...pairs.map(line)),
		),
	);
}

/** @param {Pair} pair */
function picture({ name, before, after, low, high }) {
	const all = [before, after, ...(high ?? [])].filter((value) => value !== undefined).map(Number);
	return chart(`${name}: before ${number(before)}, after ${number(after)}`, (width) => {
		const x = scale([0, Math.max(...all, 1e-9)], [6, width - 6]);
		const children = [s("line", { class: "grid", x1: 6, x2: width - 6, y1: 12, y2: 12 })];
		[before, after].forEach((value, i) => {
			if (value === undefined) return;
			const color = i ? "ours" : "other";
			const y = i ? 16 : 8;
			const from = low?.[i];
			const to = high?.[i];
			if (from !== undefined && to !== undefined) {
				children.push(s("line", { class: color, x1: x(from), x2: x(to), y1: y, y2: y, "stroke-width": 1.5 }));
			}
			children.push(s("circle", { class: color, cx: x(value), cy: y, r: 3.5 }));
		});
		return { height: 24, children };
	});
}
