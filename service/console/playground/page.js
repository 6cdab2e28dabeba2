// @ts-check
/** The playground: a row of logits, and what the service answers to it. */

import { ask, Latest, pathOf, Refused } from "../api.js";
import { lines } from "../charts/lines.js";
import { choice, empty, figures, h, heading, panel, select, speak } from "../elements.js";
import { counted, number, percent, share } from "../words.js";
import { knobs } from "./knobs.js";
import { curl, predictPath, withPandas, withRequests } from "./program.js";
import {
	averages,
	begin,
	curveRequest,
	example,
	fromAddress,
	labelsOf,
	nameOf,
	parse,
	request,
	TEMPERATURES,
	toAddress,
} from "./state.js";
import { ClassTable } from "./table.js";

/**
 * @typedef {import("./state.js").State} State
 * @typedef {import("./state.js").Model} Model
 */

const CURVE_CLASSES = 2000; // above, 41 rows are too much to ask for a picture

/**
 * @param {HTMLElement} main
 * @param {string[]} path
 * @param {URLSearchParams} query
 * @param {AbortSignal} signal
 */
export async function show(main, path, query, signal) {
	const { body: served } = await ask("v1/models", { signal });
	const names = served.models.map((/** @type {any} */ each) => each.model);
	if (!names.length) {
		main.append(h("h1", {}, "Playground"), noModel());
		return;
	}
	const first = served.models.find((/** @type {any} */ each) => each.takes === "logits" && each.classes) ??
		served.models[0];
	const name = names.includes(path[0]) ? path[0] : first.model;
	const versions = served.models.find((/** @type {any} */ each) => each.model === name).versions;
	const version = versions.includes(path[1]) ? path[1] : versions[versions.length - 1];
	const { body: model } = await ask(`v1/models/${pathOf(name)}/versions/${pathOf(version)}`, { signal });
	const state = fromAddress(query, begin(model));
	if (model.classes && state.rows[0][0].length !== model.classes) Object.assign(state, begin(model));
	new Playground(main, state, model, served, signal).build();
}

function noModel() {
	return empty(
		"No model is served. What a head makes of your logits would be here.",
		"calibrant fit --data validation.npz --name my-model",
	);
}

class Playground {
	/**
	 * @param {HTMLElement} main
	 * @param {State} state
	 * @param {Model} model
	 * @param {any} served
	 * @param {AbortSignal} signal
	 */
	constructor(main, state, model, served, signal) {
		this.main = main;
		this.state = state;
		this.model = model;
		this.served = served;
		this.signal = signal;
		this.latest = new Latest(() => this.refresh());
		/** @type {Map<string, {text: string, body: any}>} the last answer to each question */
		this.heard = new Map();
		this.program = "curl";
		this.written = 0;
		signal.addEventListener("abort", () => clearTimeout(this.written));
	}

	/** Put the page together for its model and state. */
	build() {
		const { state, model } = this;
		this.figures = h("div");
		this.problem = h("p", { className: "note bad", role: "alert" });
		this.warning = h("p", { className: "note warn" });
		this.table = new ClassTable(state, model, () => this.changed());
		this.chart = h("section", { className: "panel", "aria-label": "What temperature does" });
		this.code = h("pre", { tabIndex: 0 });
		this.took = h("span", { className: "soft" });
		const classes = panel(
			"Classes",
			this.tools(),
			model.takes === "logits" ? this.stepper() : this.inputs(),
			this.table.element,
		);
		this.main.replaceChildren(
			heading(
				{ title: "Playground", about: "One row of logits, and what the service answers to it." },
				...this.choices(),
			),
			h(
				"div",
				{ className: "columns" },
				h("div", { className: "stack" }, this.problem, this.warning, classes, this.programs()),
				h(
					"div",
					{ className: "stack aside" },
					this.figures,
					knobs(state, model, () => this.changed(), () => this.build()),
					this.chart,
				),
			),
		);
		this.heard.clear();
		this.changed();
	}

	/** Model, version, and what it is compared with. */
	choices() {
		const { state, model, served } = this;
		const models = served.models.map((/** @type {any} */ each) => each.model);
		/** @type {[string, string][]} */
		const compare = [["", "nothing"], ["t1", model.method === "temperature" ? "T = 1, uncalibrated" : "T = 1"]];
		for (const each of served.models) {
			if (each.takes !== model.takes || (each.classes && each.classes !== state.allowed.length)) continue;
			for (const version of each.versions.slice(-20)) {
				const it = `${each.model}/${version}`;
				if (it !== `${model.model}/${model.version}`) compare.push([it, it.replace("/", ", version ")]);
			}
		}
		const go = (/** @type {string} */ hash) => {
			location.hash = hash;
		};
		return [
			select(
				"Model",
				models.map((/** @type {string} */ name) => [name, name]),
				model.model,
				(name) => go(`#/playground/${pathOf(name)}`),
			),
			select("Version", model.versions.map((version) => [version, version]), model.version, (version) => {
				state.version = version;
				go(toAddress(state));
			}),
			select("Compare with", compare, state.compare, (value) => {
				state.compare = value;
				this.changed();
			}),
		];
	}

	/** Where the logits come from, and on what scale the answer is drawn. */
	tools() {
		const { state, model } = this;
		const scale = choice("Scale", [["linear", "Linear"], ["log", "Log"]], state.scale, (value) => {
			state.scale = value;
			this.build();
		});
		if (model.takes !== "logits") return h("div", { className: "controls" }, scale);
		const take = (/** @type {string} */ kind) => {
			state.rows[state.row] = state.rows[state.row].map(() => example(state.allowed.length, kind));
			this.build();
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
			h("button", { type: "button", onclick: () => this.paste() }, "Paste…"),
			scale,
		);
	}

	/** Which of several rows is shown. */
	stepper() {
		const { state } = this;
		if (state.rows.length < 2) return "";
		const step = (/** @type {number} */ by) => () => {
			state.row = (state.row + by + state.rows.length) % state.rows.length;
			this.build();
		};
		return h(
			"p",
			{ className: "controls" },
			h("button", { type: "button", "aria-label": "Row before", onclick: step(-1) }, "◀"),
			`Row ${state.row + 1} of ${state.rows.length}`,
			h("button", { type: "button", "aria-label": "Next row", onclick: step(1) }, "▶"),
		);
	}

	/** A classifier's own inputs, as JSON. */
	inputs() {
		const { state, model } = this;
		state.inputs ||= JSON.stringify(Object.fromEntries(model.inputs.map((name) => [name, []])));
		const field = h("textarea", {
			value: state.inputs,
			"aria-label": `Inputs of the classifier as JSON: ${model.inputs.join(", ")}`,
		});
		field.addEventListener("input", () => {
			state.inputs = field.value;
			this.changed();
		});
		return field;
	}

	paste() {
		const { state, model } = this;
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
							this.build();
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
		this.main.append(dialog);
		dialog.showModal();
	}

	/** How to ask for the same elsewhere. */
	programs() {
		/** @type {[string, string][]} */
		const kinds = [["curl", "curl"], ["python", "Python"], ["answer", "Answer"]];
		if (this.model.takes === "logits" && !averages(this.model)) kinds.splice(2, 0, ["pandas", "pandas"]);
		const copy = h("button", {
			type: "button",
			onclick: async () => {
				await navigator.clipboard.writeText(this.code?.textContent ?? "");
				copy.textContent = "Copied";
				setTimeout(() => copy.textContent = "Copy", 1500);
			},
		}, "Copy");
		const which = choice("As", kinds, this.program, (kind) => {
			this.program = kind;
			this.showProgram();
		});
		return panel(
			"Ask for the same",
			h("div", { className: "controls" }, this.took ?? "", which, copy),
			this.code ?? "",
		);
	}

	/** Something was changed by a hand: ask, and write it into the address a little later. */
	changed() {
		this.latest.want();
		clearTimeout(this.written);
		this.written = setTimeout(() => history.replaceState(null, "", toAddress(this.state)), 300);
	}

	/**
	 * Ask, unless the last answer was to the same.
	 * @param {string} question
	 * @param {string} path
	 * @param {any} body
	 */
	async hear(question, path, body) {
		const text = path + JSON.stringify(body);
		const last = this.heard.get(question);
		if (last?.text === text) return last.body;
		const { body: answer, headers } = await ask(path, { body, signal: this.signal });
		this.heard.set(question, { text, body: answer });
		if (question === "answer" && this.took) this.took.textContent = duration(headers);
		return answer;
	}

	async refresh() {
		const { state, model } = this;
		let body;
		try {
			body = request(state, model);
		} catch {
			this.complain("the inputs are not JSON");
			return;
		}
		const { table } = this;
		const late = () => this.signal.aborted || table !== this.table;
		try {
			const path = predictPath(model.model, model.version);
			this.asked = { path, body };
			const answer = await this.hear("answer", path, body);
			const compared = await this.compared(body);
			if (late()) return;
			this.showAnswer(answer, compared);
			if (!this.latest.wanted) await this.showCurve(firstRow(answer).probabilities, late);
		} catch (error) {
			if (!(error instanceof Refused)) throw error;
			if (!late()) this.complain(error.message, error.classIndex);
		}
	}

	/**
	 * The answer that this one is compared with.
	 * @param {any} body
	 */
	async compared(body) {
		const { compare } = this.state;
		if (!compare) return null;
		const { alpha: _alpha, prior, abstain_below: _abstain, ...same } = body;
		if (compare === "t1") {
			const path = predictPath(this.model.model, this.model.version);
			return await this.hear("compared", path, { ...same, ...(prior && { prior }), temperature: 1 });
		}
		const [name, version] = compare.split("/");
		delete same.temperature;
		return await this.hear("compared", predictPath(name, version), {
			...same,
			outputs: ["probabilities", "prediction"],
		});
	}

	/**
	 * Say what is wrong, at its class where the service names one.
	 * @param {string} sentence
	 * @param {number} [k]
	 */
	complain(sentence, k) {
		if (this.problem) this.problem.textContent = sentence;
		for (const [at, row] of this.table?.rows ?? []) {
			for (const field of row.element.querySelectorAll("input[type=number]")) {
				field.setAttribute("aria-invalid", String(at === k));
			}
		}
		speak(sentence);
	}

	/**
	 * @param {any} body of an answer
	 * @param {any} other that it is compared with
	 */
	showAnswer(body, other) {
		const answer = firstRow(body);
		const compared = other && firstRow(other);
		this.complain("");
		if (this.warning) {
			this.warning.textContent = (body.warnings ?? []).map((/** @type {any} */ each) => each.message).join(" ");
		}
		const { compare } = this.state;
		const against = compare === "t1" ? "at T = 1" : compare.replace("/", ", version ");
		this.table?.show(answer, compared, against);
		const shown = this.describe(answer, compared);
		this.figures?.replaceChildren(figures(shown));
		this.showProgram();
		speak(`${shown[0][0]} ${shown[0][1]}, ${shown[1][0].toLowerCase()} ${shown[1][1]}`);
	}

	/**
	 * The figures beside the table.
	 * @param {any} answer
	 * @param {any} compared
	 * @returns {[string, string, string][]}
	 */
	describe(answer, compared) {
		const { model, state } = this;
		const names = (/** @type {number[]} */ classes) => classes.map((k) => nameOf(model, k)).join(", ");
		if (model.family === "sigmoid") {
			const reached = `of ${state.allowed.filter(Boolean).length} reach their threshold`;
			return [["Predicted", counted(answer.prediction.length, "class", "classes"), reached], [
				"Which",
				names(answer.prediction) || "none",
				"",
			]];
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

	showProgram() {
		if (!this.asked || !this.code) return;
		const { path, body } = this.asked;
		const labels = labelsOf(this.model) ?? this.state.allowed.map((_, k) => `class ${k}`);
		if (this.program === "curl") this.code.textContent = curl(path, body);
		if (this.program === "python") this.code.textContent = withRequests(path, body);
		if (this.program === "pandas") this.code.textContent = withPandas(path, body, labels);
		if (this.program === "answer") this.code.textContent = JSON.stringify(this.heard.get("answer")?.body, null, 1);
	}

	/**
	 * What temperature does to the three best classes.
	 * @param {number[]} now the probabilities that are shown
	 * @param {() => boolean} late whether the page was left or put together anew
	 */
	async showCurve(now, late) {
		const { model, state } = this;
		const head = (/** @type {string} */ more) =>
			h("header", {}, h("h2", {}, "What temperature does"), h("small", {}, more));
		if (model.takes !== "logits" || state.allowed.length > CURVE_CLASSES) {
			this.chart?.replaceChildren(
				head(""),
				h("p", { className: "soft" }, `Drawn for logits of at most ${CURVE_CLASSES} classes.`),
			);
			return;
		}
		const { probabilities } = await this.hear(
			"curve",
			predictPath(model.model, model.version),
			curveRequest(state, model),
		);
		if (late()) return;
		const best = state.allowed.flatMap((may, k) => may ? [k] : []).sort((a, b) => now[b] - now[a] || a - b).slice(0, 3);
		this.chart?.replaceChildren(
			head(`${["best class", "two best classes", "three best classes"][best.length - 1] ?? "classes"}`),
			lines({
				name: `Probability against temperature, for ${best.map((k) => nameOf(model, k)).join(", ")}`,
				x: TEMPERATURES.map(Math.log2),
				series: best.map((k) => ({
					name: nameOf(model, k),
					y: probabilities.map((/** @type {number[]} */ p) => p[k]),
				})),
				xTicks: [[-2, "¼"], [-1, "½"], [0, "1"], [1, "2"], [2, "4"], [3, "8"], [4, "16"]],
				yTicks: [[0, "0"], [0.5, "50 %"], [1, "100 %"]],
				xName: "temperature",
				at: Math.log2(state.temperature ?? model.temperature),
				atY: best.map((k) => now[k]),
				asX: (x) => number(2 ** x, 3),
				asY: percent,
			}),
		);
	}
}

/**
 * An answer's first row: what is asked is one row, with or without a list around it.
 * @param {any} body
 */
function firstRow(body) {
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
function duration(headers) {
	const phases = [...(headers.get("server-timing") ?? "").matchAll(/dur=([\d.]+)/g)].map(([, ms]) => Number(ms));
	return phases.length ? `${number(phases.reduce((a, b) => a + b), 2)} ms in the service` : "";
}
