// @ts-check
/** Lines over a common x: accent first, then grey and dashed, grey and dotted. */

import { h, numbers, s } from "../elements.js";
import { axes, chart, DASHES, scale } from "./frame.js";

/**
 * @typedef {{name: string, y: (number | null)[]}} Series
 * @param {{
 *   name: string, x: number[], series: Series[], xTicks: import("./frame.js").Ticks, yTicks: import("./frame.js").Ticks,
 *   xName: string, asX: (x: number) => string, asY: (y: number) => string, at?: number, atY?: number[], height?: number,
 *   range?: [number, number], points?: boolean,
 * }} what
 */
export function lines(what) {
	const svg = chart(what.name, (width) => draw(what, width));
	const key = what.series.map(({ name }, i) =>
		h(
			"span",
			{},
			s(
				"svg",
				{
					class: "chart",
					width: 22,
					height: 8,
					"aria-hidden": "true",
					style: { display: "inline-block", width: "22px" },
				},
				s("path", { d: "M0 4H20", class: `line ${i ? "other" : "ours"} ${DASHES[i]}` }),
			),
			" ",
			name,
		)
	);
	const rows = what.x.map((
		x,
		i,
	) => [what.asX(x), ...what.series.map(({ y }) => y[i] === null ? "–" : what.asY(Number(y[i])))]);
	return h(
		"figure",
		{},
		what.series.length > 1 ? h("figcaption", { className: "soft" }, ...key) : "",
		svg,
		numbers(what.name, [what.xName, ...what.series.map(({ name }) => name)], rows),
	);
}

/**
 * @param {Parameters<typeof lines>[0]} what
 * @param {number} width
 */
function draw(what, width) {
	const height = what.height ?? 190;
	const box = { width, height, left: 52, right: 12, top: 8, bottom: 40 };
	const ends = what.range ?? [what.x[0], what.x[what.x.length - 1]];
	const x = scale(/** @type {[number, number]} */ (ends), [box.left, width - box.right]);
	const top = what.yTicks[what.yTicks.length - 1][0];
	const y = scale([0, top], [height - box.bottom, box.top]);
	const children = axes(box, x, y, what.xTicks, what.yTicks, what.xName);
	if (what.at !== undefined && what.at >= ends[0] && what.at <= ends[1]) {
		children.push(
			s("line", { class: "axis dashed", x1: x(what.at), x2: x(what.at), y1: box.top, y2: height - box.bottom }),
		);
	}
	what.series.forEach(({ y: values }, i) => {
		let d = "";
		values.forEach((value, j) => {
			if (value !== null) {
				d += `${j && values[j - 1] !== null ? "L" : "M"}${x(what.x[j]).toFixed(1)} ${y(value).toFixed(1)}`;
			}
		});
		if (what.points) {
			values.forEach((value, j) => {
				if (value !== null) {
					children.push(s("circle", { class: i ? "other" : "ours", cx: x(what.x[j]), cy: y(value), r: 3.5 }));
				}
			});
		}
		children.push(s("path", { d, class: `line ${i ? "other" : "ours"} ${DASHES[i]}` }));
	});
	what.atY?.forEach((value, i) => {
		children.push(s("circle", { class: i ? "other" : "ours", cx: x(what.at ?? 0), cy: y(value), r: i ? 3 : 4 }));
	});
	return { height, children };
}
