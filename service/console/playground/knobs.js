// @ts-check
/** What holds for the whole row: temperature, prediction set, abstention, class frequencies, group. */

import { h } from "../elements.js";
import { number, percent } from "../words.js";
import { hasSets, uniform } from "./state.js";

/**
 * @typedef {import("./state.js").State} State
 * @typedef {import("./state.js").Model} Model
 */

const COLDEST = -2; // powers of two: 1/4
const HOTTEST = 4; // 16

/** @param {number} temperature */
const along = (temperature) => (Math.log2(temperature) - COLDEST) / (HOTTEST - COLDEST);

/**
 * The knobs of a model.
 * @param {State} state
 * @param {Model} model
 * @param {() => void} changed
 * @param {() => void} rebuild as another column is wanted
 */
export function knobs(state, model, changed, rebuild) {
	const set = setKnob(state, model, changed);
	return h(
		"section",
		{ className: "panel", "aria-label": "How it is asked" },
		temperatureKnob(state, model, () => {
			set.refresh();
			changed();
		}),
		model.family === "sigmoid" ? "" : set.element,
		model.family === "sigmoid" ? "" : abstainKnob(state, changed),
		priorKnob(state, model, rebuild, set.refresh),
		groupKnob(state, model, changed),
	);
}

/**
 * @param {State} state
 * @param {Model} model
 * @param {() => void} changed
 */
function temperatureKnob(state, model, changed) {
	const fitted = model.temperature;
	const own = model.method === "none" ? "exported" : "fitted";
	const slider = h("input", {
		type: "range",
		className: "wide",
		min: String(COLDEST),
		max: String(HOTTEST),
		step: "0.05",
		"aria-label": "Temperature",
	});
	const field = h("input", { type: "number", step: "any", min: "0", "aria-label": "Temperature as a number" });
	const back = h("button", { type: "button" }, `As ${own}`);
	const show = (/** @type {boolean} */ typed) => {
		const now = state.temperature ?? fitted;
		slider.value = String(Math.log2(now));
		slider.setAttribute("aria-valuetext", `${number(now, 3)}${state.temperature === null ? `, as ${own}` : ""}`);
		if (!typed) field.value = String(Number(now.toPrecision(4)));
		back.hidden = state.temperature === null;
	};
	const turn = (/** @type {number | null} */ value, typed = false) => {
		state.temperature = value;
		show(typed);
		changed();
	};
	slider.addEventListener("input", () => {
		const value = Number((2 ** Number(slider.value)).toPrecision(4));
		turn(Math.abs(along(value) - along(fitted)) < 0.004 ? null : value);
	});
	field.addEventListener("input", () => {
		const value = Number(field.value);
		field.setAttribute("aria-invalid", String(!(value > 0)));
		if (value > 0) turn(value, true);
	});
	back.addEventListener("click", () => turn(null));
	show(false);
	const notch = (/** @type {number} */ at, /** @type {string} */ text, /** @type {string} */ name) =>
		h("span", { className: name, style: { left: `${100 * along(at)}%` } }, text);
	const near = Math.abs(along(1) - along(fitted)) < 0.2;
	return h(
		"div",
		{ className: "knob" },
		h("h2", {}, "Temperature"),
		h("span", { className: "controls" }, back, field),
		slider,
		h(
			"div",
			{ className: "wide notches" },
			near ? "" : notch(1, "1", ""),
			notch(fitted, `${own} ${number(fitted, 3)}`, "fitted"),
		),
	);
}

/**
 * @param {State} state
 * @param {Model} model
 * @param {() => void} changed
 */
function setKnob(state, model, changed) {
	const on = h("input", { type: "checkbox", id: "set-on" });
	const slider = h("input", {
		type: "range",
		className: "wide",
		min: "0.01",
		max: "0.5",
		step: "0.01",
		"aria-label": "alpha",
	});
	const said = h("span", { className: "soft" });
	const why = h("small", { className: "wide" });
	const refresh = () => {
		const held = state.temperature === null && !state.prior;
		on.disabled = !hasSets(model);
		on.checked = state.alpha !== null && held;
		slider.hidden = !on.checked;
		slider.value = String(state.alpha ?? 0.1);
		said.textContent = on.checked
			? `${Math.round(100 * (1 - (state.alpha ?? 0)))} % coverage, alpha ${state.alpha}`
			: "";
		why.textContent = !hasSets(model)
			? "None: this head was not fitted with scores for sets. calibrant fit does it."
			: held
			? ""
			: "Off: alpha holds at the head's own temperature and class frequencies only.";
	};
	on.addEventListener("change", () => {
		state.alpha = on.checked ? 0.1 : null;
		if (on.checked && state.temperature !== null) {
			why.textContent = "Set the temperature back to what was fitted first.";
			on.checked = false;
			return;
		}
		refresh();
		changed();
	});
	slider.addEventListener("input", () => {
		state.alpha = Number(slider.value);
		slider.setAttribute("aria-valuetext", `alpha ${state.alpha}, ${percent(1 - state.alpha)} coverage`);
		refresh();
		changed();
	});
	refresh();
	const label = h("label", { className: "controls", htmlFor: "set-on" }, on, h("span", {}, "Prediction set"));
	return { element: h("div", { className: "knob" }, label, said, slider, why), refresh };
}

/**
 * @param {State} state
 * @param {() => void} changed
 */
function abstainKnob(state, changed) {
	const on = h("input", { type: "checkbox", id: "abstain-on", checked: state.abstain !== null });
	const field = h("input", {
		type: "number",
		min: "0",
		max: "1",
		step: "0.05",
		value: String(state.abstain ?? 0.8),
		"aria-label": "Abstain below this confidence",
		hidden: state.abstain === null,
	});
	const set = () => {
		field.hidden = !on.checked;
		state.abstain = on.checked ? Number(field.value) : null;
		changed();
	};
	on.addEventListener("change", set);
	field.addEventListener("input", set);
	return h(
		"div",
		{ className: "knob" },
		h("label", { className: "controls", htmlFor: "abstain-on" }, on, "Abstain below a confidence"),
		field,
	);
}

/**
 * @param {State} state
 * @param {Model} model
 * @param {() => void} rebuild
 * @param {() => void} refresh
 */
function priorKnob(state, model, rebuild, refresh) {
	const on = h("input", {
		type: "checkbox",
		id: "prior-on",
		checked: state.prior !== null,
		onchange: () => {
			state.prior = on.checked
				? [...(model.metadata.prior ?? uniform(state))].map((p) => Number(p.toPrecision(3)))
				: null;
			refresh();
			rebuild();
		},
	});
	const why = state.prior && !model.metadata.prior
		? h("small", { className: "wide" }, "The head does not know the frequencies of its fit: they are sent as uniform.")
		: "";
	return h(
		"div",
		{ className: "knob" },
		h("label", { className: "controls", htmlFor: "prior-on" }, on, "Other class frequencies"),
		"",
		why,
	);
}

/**
 * @param {State} state
 * @param {Model} model
 * @param {() => void} changed
 */
function groupKnob(state, model, changed) {
	const groups = Object.keys(model.metadata.calibrator?.groups ?? {});
	if (!groups.length) return "";
	const choose = h(
		"select",
		{
			id: "group",
			onchange: () => {
				state.group = choose.value;
				changed();
			},
		},
		h("option", { value: "" }, "none"),
		...groups.map((name) => h("option", { value: name, selected: name === state.group }, name)),
	);
	return h("div", { className: "knob" }, h("label", { htmlFor: "group" }, "Group"), choose);
}
