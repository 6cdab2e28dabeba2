// @ts-check
/** The same request for a terminal and for Python; a key appears as a variable, never itself. */

import { address, hasKey, pathOf } from "../api.js";
import { choice, h, panel } from "../elements.js";
import { averages, labelsOf } from "./state.js";

/**
 * @typedef {import("./state.js").State} State
 * @typedef {import("./state.js").Model} Model
 */

/** @param {string} text as one word of a POSIX shell */
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** @param {any} value as Python has it */
function python(value) {
	const words = /** @type {Record<string, string>} */ ({ true: "True", false: "False", null: "None" });
	return JSON.stringify(value, null, 1).replace(/\n\s*/g, " ").replace(
		/"(?:[^"\\]|\\.)*"|\btrue\b|\bfalse\b|\bnull\b/g,
		(word) => words[word] ?? word,
	).replaceAll("[ ", "[").replaceAll(" ]", "]").replaceAll("{ ", "{").replaceAll(" }", "}");
}

/**
 * @param {string} model
 * @param {string} version
 */
export const predictPath = (model, version) => `v1/models/${pathOf(model)}/versions/${pathOf(version)}/predict`;

/**
 * @param {string} path
 * @param {any} body
 */
function curl(path, body) {
	const key = hasKey() ? ' -H "Authorization: Bearer $CALIBRANT_KEY"' : "";
	return `curl -s ${address(path)}${key} -d ${quoted(JSON.stringify(body))}`;
}

/**
 * @param {string} path
 * @param {any} body
 */
function withRequests(path, body) {
	const key = hasKey() ? ',\n    headers={"Authorization": "Bearer " + os.environ["CALIBRANT_KEY"]}' : "";
	return `${hasKey() ? "import os\n\n" : ""}import requests

answer = requests.post(
    "${address(path)}",
    json=${python(body)}${key},
    timeout=10,
)
answer.raise_for_status()
print(answer.json())`;
}

/**
 * A table of logits, a column a class.
 * @param {string} path
 * @param {any} body
 * @param {string[]} names
 */
function withPandas(path, body, names) {
	const key = hasKey() ? ', headers={"Authorization": "Bearer " + os.environ["CALIBRANT_KEY"]}' : "";
	const { logits, ...rest } = body;
	const options = Object.keys(rest).length ? ` | ${python(rest)}` : "";
	return `${hasKey() ? "import os\n\n" : ""}import pandas as pd
import requests

logits = pd.DataFrame(${python([logits])}, columns=${python(names)})
answer = requests.post(
    "${address(path)}",
    json={"logits": logits.values.tolist()}${options}${key},
    timeout=10,
)
answer.raise_for_status()
print(pd.DataFrame(answer.json()["probabilities"], columns=logits.columns, index=logits.index))`;
}

/** How to ask for the same elsewhere, and the whole answer. */
export class Programs {
	/**
	 * @param {State} state
	 * @param {Model} model
	 * @param {string} kind that is shown first
	 */
	constructor(state, model, kind) {
		this.kind = kind;
		this.names = labelsOf(model) ?? state.allowed.map((_, k) => `class ${k}`);
		this.code = h("pre", { tabIndex: 0 });
		this.took = h("span", { className: "soft" });
		/** @type {[string, string][]} */
		const kinds = [["curl", "curl"], ["python", "Python"], ["answer", "Answer"]];
		if (model.takes === "logits" && !averages(model)) kinds.splice(2, 0, ["pandas", "pandas"]);
		const copy = h("button", {
			type: "button",
			onclick: async () => {
				await navigator.clipboard.writeText(this.code.textContent ?? "");
				copy.textContent = "Copied";
				setTimeout(() => copy.textContent = "Copy", 1500);
			},
		}, "Copy");
		const which = choice("As", kinds, kind, (chosen) => {
			this.kind = chosen;
			this.write();
		});
		this.element = panel(
			"Ask for the same",
			h("div", { className: "controls" }, this.took, which, copy),
			this.code,
		);
	}

	/**
	 * @param {{path: string, body: any, answer: any}} heard what was asked, and what was answered
	 */
	show(heard) {
		this.heard = heard;
		this.write();
	}

	write() {
		if (!this.heard) return;
		const { path, body, answer } = this.heard;
		if (this.kind === "curl") this.code.textContent = curl(path, body);
		if (this.kind === "python") this.code.textContent = withRequests(path, body);
		if (this.kind === "pandas") this.code.textContent = withPandas(path, body, this.names);
		if (this.kind === "answer") this.code.textContent = JSON.stringify(answer, null, 1);
	}
}
