// @ts-check
/** What all charts share: a place of its own width, axes with ticks, and a hand that walks its points. */

import { s } from "../elements.js";

/**
 * @typedef {[number, string][]} Ticks places and texts
 * @typedef {{width: number, height: number, left: number, right: number, top: number, bottom: number}} Box
 */

/**
 * A chart that is drawn for the width it has, and again when that changes.
 * @param {string} name what it shows, for who does not see it
 * @param {(width: number) => {height: number, children: Node[]}} draw
 */
export function chart(name, draw) {
	const svg = s("svg", { class: "chart", role: "img", "aria-label": name });
	let width = 0;
	const watch = new ResizeObserver(([entry]) => {
		const now = Math.round(entry.contentRect.width);
		if (!now || now === width) return;
		width = now;
		redraw();
	});
	const redraw = () => {
		const { height, children } = draw(width);
		svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
		svg.setAttribute("height", String(height));
		svg.replaceChildren(...children);
	};
	watch.observe(svg);
	return svg;
}

/**
 * A map from one range to another.
 * @param {[number, number]} from
 * @param {[number, number]} to
 */
export const scale = ([a, b], [c, d]) => (/** @type {number} */ x) => c + (d - c) * (x - a) / ((b - a) || 1);

/**
 * The lines of the grid with their texts, and the bottom line.
 * @param {Box} box
 * @param {(x: number) => number} x
 * @param {(y: number) => number} y
 * @param {Ticks} xTicks
 * @param {Ticks} yTicks
 * @param {string} xName
 */
export function axes({ width, height, left, right, bottom }, x, y, xTicks, yTicks, xName) {
	const end = width - right;
	const base = height - bottom;
	return [
		...yTicks.flatMap(([at, text]) => [
			s("line", { class: "grid", x1: left, x2: end, y1: y(at), y2: y(at) }),
			s("text", { x: left - 8, y: y(at) + 4, "text-anchor": "end" }, text),
		]),
		s("line", { class: "axis", x1: left, x2: end, y1: base, y2: base }),
		...xTicks.flatMap(([at, text]) => [
			s("line", { class: "axis", x1: x(at), x2: x(at), y1: base, y2: base + 4 }),
			s("text", { x: x(at), y: base + 18, "text-anchor": "middle" }, text),
		]),
		s("text", { x: (left + end) / 2, y: base + 34, "text-anchor": "middle" }, xName),
	];
}

/**
 * Round ticks from 0 up to at least a maximum.
 * @param {number} most
 * @param {(value: number) => string} text
 * @param {number} [least] step
 * @returns {Ticks}
 */
export function ticksTo(most, text, least = 0) {
	const rough = Math.max((most || 1) / 3, least);
	const power = 10 ** Math.floor(Math.log10(rough));
	const step = power * ([1, 2, 5, 10].find((m) => m * power >= rough) ?? 10);
	const last = Math.ceil((most || 1) / step - 1e-9);
	return Array.from({ length: last + 1 }, (_, i) => [i * step, text(i * step)]);
}

export const DASHES = ["", "dashed", "dotted"];
