// @ts-check
/** Where the rows of the playground come from: examples, chance, what is pasted, a classifier's own inputs. */

import { choice, h } from "../elements.js";
import { averages, example, parse } from "./state.js";

/**
 * @typedef {import("./state.js").State} State
 * @typedef {import("./state.js").Model} Model
 */

/**
 * Where the logits come from, and on what scale the answer is drawn.
 * @param {HTMLElement} main
 * @param {State} state
 * @param {Model} model
 * @param {() => void} build the page anew
 */
export function tools(main, state, model, build) {
	const scale = choice("Scale", [["linear", "Linear"], ["log", "Log"]], state.scale, (value) => {
		state.scale = value;
		build();
	});
	if (model.takes !== "logits") return h("div", { className: "controls" }, scale);
	const take = (/** @type {string} */ kind) => {
		state.rows[state.row] = state.rows[state.row].map(() => example(state.allowed.length, kind));
		build();
	};
	const examples = h(
		"select",
		{ "aria-label": "Example", onchange: () => take(examples.value) },
		h("option", { value: "", hidden: true }, "Example…"),
		...["sure", "torn", "flat"].map((kind) => h("option", { value: kind }, kind)),
	);
	return h(
		"div",
		{ className: "controls" },
		examples,
		h("button", { type: "button", onclick: () => take("random") }, "Random"),
		h("button", { type: "button", onclick: () => paste(main, state, model, build) }, "Paste…"),
		scale,
	);
}

/**
 * Which of several rows is shown.
 * @param {State} state
 * @param {() => void} build
 */
export function stepper(state, build) {
	if (state.rows.length < 2) return "";
	const step = (/** @type {number} */ by) => () => {
		state.row = (state.row + by + state.rows.length) % state.rows.length;
		build();
	};
	return h(
		"p",
		{ className: "controls" },
		h("button", { type: "button", "aria-label": "Row before", onclick: step(-1) }, "◀"),
		`Row ${state.row + 1} of ${state.rows.length}`,
		h("button", { type: "button", "aria-label": "Next row", onclick: step(1) }, "▶"),
	);
}

/**
 * A classifier's own inputs, as JSON.
 * @param {State} state
 * @param {Model} model
 * @param {() => void} changed
 */
export function inputs(state, model, changed) {
	state.inputs ||= JSON.stringify(Object.fromEntries(model.inputs.map((name) => [name, []])));
	const field = h("textarea", {
		value: state.inputs,
		"aria-label": `Inputs of the classifier as JSON: ${model.inputs.join(", ")}`,
	});
	field.addEventListener("input", () => {
		state.inputs = field.value;
		changed();
	});
	return field;
}

/**
 * Ask for rows as text.
 * @param {HTMLElement} main
 * @param {State} state
 * @param {Model} model
 * @param {() => void} build
 */
function paste(main, state, model, build) {
	const text = h("textarea", { required: true, "aria-label": "Logits" });
	const wrong = h("p", { className: "note bad", role: "alert" });
	const dialog = h(
		"dialog",
		{ "aria-labelledby": "paste-title" },
		h(
			"form",
			{
				onsubmit: (/** @type {Event} */ event) => {
					event.preventDefault();
					try {
						const rows = parse(text.value, averages(model));
						const classes = rows[0][0].length;
						if (model.classes && classes !== model.classes) {
							throw new SyntaxError(
								`rows have ${classes} logits; expected ${model.classes}, as the model has classes`,
							);
						}
						state.rows = rows;
						state.row = 0;
						if (classes !== state.allowed.length) {
							state.allowed = rows[0][0].map(() => true);
							state.prior = null;
						}
						dialog.close();
						build();
					} catch (error) {
						if (!(error instanceof Error)) throw error;
						wrong.textContent = error.message;
					}
				},
			},
			h("h2", { id: "paste-title" }, "Paste logits"),
			h("p", { className: "soft" }, "JSON, or plain numbers, a row a line."),
			text,
			wrong,
			h(
				"div",
				{ className: "actions" },
				h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
				h("button", { className: "main" }, "Take them"),
			),
		),
	);
	dialog.addEventListener("close", () => dialog.remove());
	main.append(dialog);
	dialog.showModal();
}
