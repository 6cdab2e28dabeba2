// @ts-check
/** The evidence of the monitors of a version, and how it grew. */

import { ticksTo } from "./charts/frame.js";
import { lines } from "./charts/lines.js";
import { h, panel, table } from "./elements.js";
import { number, powerOfTen, share, whole } from "./words.js";

const WARNING = 20;
const ALARM = 100;

/**
 * The evidence against "as fitted", which may be looked at any time.
 * @param {any} found
 * @param {() => void} acknowledge
 */
export function evidence(found, acknowledge) {
	const rows = found.monitors.map((/** @type {any} */ each) => [
		`${each.scope}: ${each.null}`,
		each.alarm ? "■ alarm" : each.warning ? "▲ warning" : "● watching",
		number(each.e, 3),
		number(each.max_e, 3),
		share(Math.min(1, each.p)),
		whole(each.n),
		each.alarm || each.warning ? `label ${whole(each.since)}` : "",
	]);
	const alarmed = found.monitors.some((/** @type {any} */ each) => each.alarm);
	return panel(
		"Evidence",
		alarmed
			? h("button", { className: "main", type: "button", onclick: acknowledge }, "Acknowledge…")
			: h("small", {}, `warning at ${WARNING}, alarm at ${ALARM}`),
		h(
			"p",
			{ className: "soft" },
			`One who bets against "as right as when it was fitted" has made this much of 1. It may be looked at after every label: by chance it ever reaches ${ALARM} in at most one of ${ALARM} services.`,
		),
		found.history.length ? drawn(found) : "",
		table("Monitors", ["What is bet against", "state", "evidence", "largest", "p-value", "labels", "since"], rows, 2),
		found.unarmed?.length
			? h("p", { className: "soft" }, `Not armed, as the fit had too few rows of them: ${found.unarmed.join(", ")}.`)
			: "",
	);
}

/**
 * The largest evidence, from the first label of the epoch to the last.
 * @param {any} found
 */
function drawn({ history, labels, monitors }) {
	const now = Math.max(...monitors.map((/** @type {any} */ each) => each.log10_e));
	const points = [...history.filter((/** @type {number[]} */ [n]) => n < labels), [labels, now]];
	const y = points.map(([, log]) => Math.max(log, -2) + 2);
	const ends = ticksTo(Math.max(...y) - 2, powerOfTen, 3).map((
		[at, text],
	) => /** @type {[number, string]} */ ([at + 2, text]));
	const [top] = ends[ends.length - 1];
	const alarm = Math.log10(ALARM) + 2;
	return lines({
		name: "The largest evidence after each label, on a logarithmic axis",
		x: points.map(([n]) => n),
		series: [{ name: "evidence", y }],
		xTicks: ticksTo(labels, whole, 1).filter(([n]) => n >= points[0][0] && n <= labels),
		yTicks: ends.filter(([at]) => Math.abs(at - alarm) > top / 10).concat([[alarm, "alarm"]]).sort(([a], [b]) => a - b),
		xName: "labels of this epoch",
		asX: whole,
		asY: (y) => number(10 ** (y - 2), 3),
		points: points.length < 3,
		height: 170,
	});
}
