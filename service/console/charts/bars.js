// @ts-check
/** Bars from zero, a name each. */

import { h, numbers, s } from "../elements.js";
import { axes, chart, scale, ticksTo } from "./frame.js";

/**
 * @param {{name: string, names: string[], values: number[], xName: string, asValue: (value: number) => string,
 *   every?: number}} what
 */
export function bars(what) {
	const { names, values } = what;
	const svg = chart(what.name, (width) => {
		const height = 160;
		const box = { width, height, left: 52, right: 8, top: 8, bottom: 40 };
		const ticks = ticksTo(Math.max(...values), what.asValue, 1);
		const y = scale([0, ticks[ticks.length - 1][0]], [height - box.bottom, box.top]);
		const x = scale([-0.5, values.length - 0.5], [box.left, width - box.right]);
		const every = what.every ?? Math.max(1, Math.ceil(names.length / Math.max(1, Math.floor((width - 60) / 64))));
		const xTicks = /** @type {import("./frame.js").Ticks} */ (names.map((name, i) => [i, name]).filter((_, i) =>
			i % every === 0
		));
		const bar = x(1) - x(0);
		return {
			height,
			children: [
				...axes(box, x, y, xTicks, ticks, what.xName),
				...values.map((value, i) =>
					s("rect", {
						class: "ours",
						x: x(i - 0.5) + 1,
						width: Math.max(1, bar - 2),
						y: y(value),
						height: Math.max(0, y(0) - y(value)),
					})
				),
			],
		};
	});
	return h(
		"figure",
		{},
		svg,
		numbers(what.name, [what.xName, "value"], names.map((name, i) => [name, what.asValue(values[i])])),
	);
}
