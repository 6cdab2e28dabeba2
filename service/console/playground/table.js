// @ts-check
/** The classes: what is asked of each, and beside it what was answered. */

import { h } from "../elements.js";
import { counted, share } from "../words.js";
import { averages, nameOf } from "./state.js";

/**
 * @typedef {import("./state.js").State} State
 * @typedef {import("./state.js").Model} Model
 * @typedef {{probabilities: number[], prediction: any, prediction_set?: {classes: number[]}}} Row what the service says
 */

const SHOWN_ALL = 24; // classes of which each has its row
const SHOWN_BEST = 20;
const LOWEST = 1e-8; // where the logarithmic scale begins

/**
 * Where a probability lies on the scale, from 0 to 1.
 * @param {number} p
 * @param {string} scale
 */
const place = (p, scale) => scale === "log" ? Math.max(0, 1 - Math.log10(Math.max(p, 1e-300)) / Math.log10(LOWEST)) : p;

/** @param {number} fraction */
const css = (fraction) => `${(100 * Math.min(1, fraction)).toFixed(3)}%`;

/** The table. It is built anew where its classes change; else only its numbers move, so that a drag keeps its slider. */
export class ClassTable {
	/**
	 * @param {State} state
	 * @param {Model} model
	 * @param {() => void} changed
	 */
	constructor(state, model, changed) {
		this.state = state;
		this.model = model;
		this.changed = changed;
		this.shown = "";
		/** @type {Map<number, ClassRow>} */
		this.rows = new Map();
		this.scaleCell = h("th", { className: "bar", scope: "col" });
		this.comparedCell = h("th", { className: "number compared", scope: "col" });
		this.body = h("tbody");
		this.rest = h("p", { className: "soft" });
		this.key = h("p", { className: "key" });
		const logits = model.takes === "logits";
		const head = h(
			"tr",
			{},
			h("th", { scope: "col" }, h("span", { className: "unseen" }, "may be chosen")),
			h("th", { scope: "col" }, "class"),
			logits &&
				h(
					"th",
					{ scope: "col", colSpan: averages(model) ? state.rows[0].length : 2 },
					averages(model) ? "logit of each member" : "logit",
				),
			state.prior && h("th", { scope: "col", className: "number" }, "frequency"),
			this.scaleCell,
			h("th", { scope: "col", className: "number" }, "answer"),
			this.comparedCell,
			h("th", { scope: "col" }, h("span", { className: "unseen" }, "chosen")),
		);
		this.element = h(
			"div",
			{},
			h("table", { className: "classes" }, h("thead", {}, head), this.body),
			this.rest,
			this.key,
		);
	}

	/**
	 * Show what was answered.
	 * @param {Row} answer
	 * @param {Row | null} compared
	 * @param {string} against what it is compared with
	 */
	show(answer, compared, against) {
		const p = answer.probabilities;
		const order = p.map((_, k) => k);
		if (p.length > SHOWN_ALL) order.sort((a, b) => p[b] - p[a] || a - b).splice(SHOWN_BEST);
		if (this.shown !== order.join() && !this.body.contains(document.activeElement)) {
			this.shown = order.join();
			this.rows = new Map(order.map((k) => [k, new ClassRow(k, this)]));
			this.body.replaceChildren(...[...this.rows.values()].map((row) => row.element));
		}
		for (const [k, row] of this.rows) row.show(answer, compared, k);
		const hidden = p.length - order.length;
		this.rest.textContent = hidden
			? `and ${counted(hidden, "more class", "more classes")}, none above ${share(p[order[order.length - 1]])}`
			: "";
		this.comparedCell.textContent = compared ? against : "";
		this.showScale();
		this.showKey(answer, compared ? against : "");
	}

	showScale() {
		const log = this.state.scale === "log";
		const at = log ? [1e-8, 1e-6, 1e-4, 1e-2, 1] : [0, 0.25, 0.5, 0.75, 1];
		const texts = log ? ["10⁻⁸", "10⁻⁶", "10⁻⁴", "1 %", "100 %"] : ["0 %", "25 %", "50 %", "75 %", "100 %"];
		const ticks = at.map((p, i) => h("span", { style: { left: css(place(p, this.state.scale)) } }, texts[i]));
		this.scaleCell.replaceChildren(h("div", { className: "scale" }, ...ticks));
	}

	/**
	 * @param {Row} answer
	 * @param {string} against
	 */
	showKey(answer, against) {
		const sets = Boolean(answer.prediction_set);
		this.key.replaceChildren(
			...(sets
				? [
					h("span", {}, h("i"), "in the prediction set"),
					h("span", {}, h("i", { className: "outside" }), "outside it"),
				]
				: []),
			against ? h("span", {}, h("i", { className: "line" }), against) : "",
			this.model.family === "sigmoid"
				? h("span", {}, h("i", { className: "threshold" }), "threshold of the class")
				: "",
		);
	}
}

/** One class. */
class ClassRow {
	/**
	 * @param {number} k
	 * @param {ClassTable} table
	 */
	constructor(k, table) {
		this.table = table;
		const { state, model } = table;
		const name = nameOf(model, k);
		this.fill = h("div", { className: "fill" });
		this.mark = h("div", { className: "mark", hidden: true });
		this.track = h("div", { className: "track", "aria-hidden": "true" }, this.fill, this.mark);
		const threshold = model.metadata.thresholds?.[k] ?? model.metadata.thresholds ?? 0.5;
		if (model.family === "sigmoid") {
			this.track.append(
				h("div", { className: "mark threshold", style: { left: css(place(Number(threshold), state.scale)) } }),
			);
		}
		this.answer = h("td", { className: "number answer" });
		this.compared = h("td", { className: "number soft compared" });
		this.chosen = h("td", { className: "chosen" });
		const may = h("input", {
			type: "checkbox",
			checked: state.allowed[k],
			"aria-label": `${name} may be chosen`,
			disabled: model.takes !== "logits",
			onchange: () => {
				state.allowed[k] = may.checked;
				table.changed();
			},
		});
		this.element = h(
			"tr",
			{},
			h("td", {}, may),
			h("th", { scope: "row", className: "class", title: name }, name),
			...(model.takes === "logits" ? this.logits(k, name) : []),
			state.prior && h("td", { className: "number" }, this.frequency(k, name, state.prior)),
			h("td", { className: "bar" }, this.track),
			this.answer,
			this.compared,
			this.chosen,
		);
	}

	/**
	 * Fields for the logits: a slider and a number, or a number a member.
	 * @param {number} k
	 * @param {string} name
	 */
	logits(k, name) {
		const { state, model, changed } = this.table;
		const members = state.rows[state.row];
		if (averages(model)) {
			return members.map((member, m) => {
				const field = numberField(`logit of ${name}, member ${m + 1}`, member[k], (value) => {
					member[k] = value;
					changed();
				});
				field.classList.add("member");
				return h("td", {}, field);
			});
		}
		const slider = h("input", {
			type: "range",
			min: "-15",
			max: "15",
			step: "0.5",
			value: String(members[0][k] ?? -15),
			"aria-label": `logit of ${name}`,
			oninput: () => {
				members[0][k] = Number(slider.value);
				field.value = slider.value;
				changed();
			},
		});
		const field = numberField(`logit of ${name} as a number`, members[0][k], (value) => {
			members[0][k] = value;
			slider.value = String(value ?? -15);
			changed();
		});
		return [h("td", { className: "slide" }, slider), h("td", { className: "number" }, field)];
	}

	/**
	 * @param {number} k
	 * @param {string} name
	 * @param {number[]} prior
	 */
	frequency(k, name, prior) {
		return numberField(`frequency of ${name}`, prior[k], (value) => {
			prior[k] = value ?? 0;
			this.table.changed();
		});
	}

	/**
	 * @param {Row} answer
	 * @param {Row | null} compared
	 * @param {number} k
	 */
	show(answer, compared, k) {
		const { state } = this.table;
		const p = answer.probabilities[k];
		const many = Array.isArray(answer.prediction);
		const best = many ? answer.prediction.includes(k) : answer.prediction === k;
		const inside = answer.prediction_set?.classes.includes(k) ?? true;
		this.element.className = state.allowed[k] ? (best ? "best" : "") : "masked";
		this.answer.textContent = state.allowed[k] ? share(p) : "masked";
		this.fill.className = `fill${inside ? "" : " outside"}${state.scale === "log" ? " point" : ""}`;
		this.fill.hidden = p === 0;
		if (state.scale === "log") {
			this.fill.style.left = css(place(p, "log"));
		} else {
			this.fill.style.left = "0";
			this.fill.style.width = css(p);
		}
		const other = compared?.probabilities[k];
		this.mark.hidden = other === undefined || !state.allowed[k];
		this.mark.style.left = css(place(other ?? 0, state.scale));
		this.compared.textContent = other === undefined ? "" : share(other);
		const ticked = many ? best : Boolean(answer.prediction_set) && inside;
		this.chosen.replaceChildren(
			ticked ? h("span", { title: many ? "predicted" : "in the prediction set" }, "✓") : "",
		);
	}
}

/**
 * A number, or nothing, which is -inf.
 * @param {string} label
 * @param {number | null} value
 * @param {(value: number | null) => void} changed
 */
function numberField(label, value, changed) {
	const field = h("input", {
		type: "number",
		step: "any",
		value: value === null ? "" : String(value),
		placeholder: "−∞",
		"aria-label": label,
		oninput: () => field.validity.badInput || changed(field.value === "" ? null : Number(field.value)),
	});
	return field;
}
