// @ts-check
/** The playground: a row of logits, and what the service answers to it. */

import { ask, Latest, pathOf, Refused } from "../api.js";
import { empty, figures, h, heading, panel, select, speak } from "../elements.js";
import { curve, CURVE_CLASSES, describe, duration, firstRow } from "./answer.js";
import { knobs } from "./knobs.js";
import { predictPath, Programs } from "./program.js";
import { inputs, stepper, tools } from "./rows.js";
import { begin, curveRequest, fromAddress, request, toAddress } from "./state.js";
import { ClassTable } from "./table.js";

/**
 * @typedef {import("./state.js").State} State
 * @typedef {import("./state.js").Model} Model
 */

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
		this.programs = new Programs(state, model, this.programs?.kind ?? "curl");
		const classes = panel(
			"Classes",
			tools(this.main, state, model, () => this.build()),
			model.takes === "logits" ? stepper(state, () => this.build()) : inputs(state, model, () => this.changed()),
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
				h("div", { className: "stack" }, this.problem, this.warning, classes, this.programs.element),
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
		if (question === "answer" && this.programs) this.programs.took.textContent = duration(headers);
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
			const answer = await this.hear("answer", path, body);
			const compared = await this.compared(body);
			if (late()) return;
			this.showAnswer(answer, compared);
			this.programs?.show({ path, body, answer });
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
		const shown = describe(this.state, this.model, answer, compared);
		this.figures?.replaceChildren(figures(shown));
		speak(`${shown[0][0]} ${shown[0][1]}, ${shown[1][0].toLowerCase()} ${shown[1][1]}`);
	}

	/**
	 * What temperature does, where it is worth asking.
	 * @param {number[]} now the probabilities that are shown
	 * @param {() => boolean} late whether the page was left or put together anew
	 */
	async showCurve(now, late) {
		const { model, state } = this;
		const drawn = model.takes === "logits" && state.allowed.length <= CURVE_CLASSES;
		const path = predictPath(model.model, model.version);
		const found = drawn ? await this.hear("curve", path, curveRequest(state, model)) : null;
		if (!late()) this.chart?.replaceChildren(...curve(state, model, now, found?.probabilities));
	}
}
