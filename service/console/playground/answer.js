// @ts-check
/** What the playground says of an answer: its figures, and what temperature does. */

import { lines } from "../charts/lines.js";
import { h } from "../elements.js";
import { counted, number, percent, share } from "../words.js";
import { nameOf, TEMPERATURES } from "./state.js";

/**
 * @typedef {import("./state.js").State} State
 * @typedef {import("./state.js").Model} Model
 */

export const CURVE_CLASSES = 2000; // above, 41 rows are too much to ask for a picture

/**
 * The figures beside the table.
 * @param {State} state
 * @param {Model} model
 * @param {any} answer
 * @param {any} compared
 * @returns {[string, string, string][]}
 */
export function describe(state, model, answer, compared) {
	const names = (/** @type {number[]} */ classes) => classes.map((k) => nameOf(model, k)).join(", ");
	if (model.family === "sigmoid") {
		const { length } = answer.prediction;
		return [
			["Predicted", counted(length, "class", "classes"), names(answer.prediction)],
			["Threshold", `${length} of ${state.allowed.filter(Boolean).length}`, "classes reach their own"],
		];
	}
	const same = compared &&
		(compared.prediction === answer.prediction
			? "the same in both"
			: `${nameOf(model, compared.prediction)} in the other`);
	const none = state.abstain === null ? "no class is left" : `the confidence is below ${state.abstain}`;
	const predicted = answer.prediction === null ? "none" : nameOf(model, answer.prediction);
	const allowed = state.allowed.filter(Boolean).length;
	/** @type {[string, string, string][]} */
	const shown = [
		["Prediction", predicted, answer.prediction === null ? none : same ?? ""],
		[
			"Confidence",
			share(answer.confidence),
			compared?.confidence === undefined ? "" : `${share(compared.confidence)} in the other`,
		],
		[
			"Entropy",
			`${number(answer.entropy, 3)} nats`,
			allowed > 1 && model.family === "softmax"
				? `${(100 * answer.entropy / Math.log(allowed)).toFixed(0)} % of ln ${allowed}`
				: "",
		],
	];
	const set = answer.prediction_set?.classes;
	if (answer.mutual_information !== undefined) {
		shown.push([
			"Mutual information",
			`${number(answer.mutual_information, 3)} nats`,
			"how far the members disagree",
		]);
	} else if (set) shown.push(["Prediction set", counted(set.length, "class", "classes"), names(set.slice(0, 6))]);
	else {shown.push([
			"Exact zeros",
			counted(answer.probabilities.filter((/** @type {number} */ p) => p === 0).length, "class", "classes"),
			"",
		]);}
	return shown;
}

/**
 * What temperature does to the three best classes.
 * @param {State} state
 * @param {Model} model
 * @param {number[]} now the probabilities that are shown
 * @param {number[][] | undefined} found those at each of `TEMPERATURES`, if they were asked for
 * @returns {Node[]}
 */
export function curve(state, model, now, found) {
	const head = (/** @type {string} */ more) =>
		h("header", {}, h("h2", {}, "What temperature does"), h("small", {}, more));
	if (!found) return [head(""), h("p", { className: "soft" }, `Drawn for logits of at most ${CURVE_CLASSES} classes.`)];
	const best = state.allowed.flatMap((may, k) => may ? [k] : []).sort((a, b) => now[b] - now[a] || a - b).slice(0, 3);
	return [
		head(`${["best class", "two best classes", "three best classes"][best.length - 1] ?? "classes"}`),
		lines({
			name: `Probability against temperature, for ${best.map((k) => nameOf(model, k)).join(", ")}`,
			x: TEMPERATURES.map(Math.log2),
			series: best.map((k) => ({ name: nameOf(model, k), y: found.map((p) => p[k]) })),
			xTicks: [[-2, "¼"], [-1, "½"], [0, "1"], [1, "2"], [2, "4"], [3, "8"], [4, "16"]],
			yTicks: [[0, "0"], [0.5, "50 %"], [1, "100 %"]],
			xName: "temperature",
			at: Math.log2(state.temperature ?? model.temperature),
			atY: best.map((k) => now[k]),
			asX: (x) => number(2 ** x, 3),
			asY: percent,
		}),
	];
}

/**
 * An answer's first row: what is asked is one row, with or without a list around it.
 * @param {any} body
 */
export function firstRow(body) {
	if (!Array.isArray(body.probabilities[0])) return body;
	const row = (/** @type {any} */ value) => Array.isArray(value) ? value[0] : value;
	const set = body.prediction_set && { classes: row(body.prediction_set.classes) };
	return {
		probabilities: body.probabilities[0],
		prediction: row(body.prediction),
		confidence: row(body.confidence),
		entropy: row(body.entropy),
		mutual_information: row(body.mutual_information),
		prediction_set: set,
	};
}

/** @param {Headers} headers with the phases in ms */
export function duration(headers) {
	const phases = [...(headers.get("server-timing") ?? "").matchAll(/dur=([\d.]+)/g)].map(([, ms]) => Number(ms));
	return phases.length ? `${number(phases.reduce((a, b) => a + b), 2)} ms in the service` : "";
}
