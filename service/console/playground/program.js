// @ts-check
/** The same request for a terminal and for Python; a key appears as a variable, never itself. */

import { address, hasKey, pathOf } from "../api.js";

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
export function curl(path, body) {
	const key = hasKey() ? ' -H "Authorization: Bearer $CALIBRANT_KEY"' : "";
	return `curl -s ${address(path)}${key} -d ${quoted(JSON.stringify(body))}`;
}

/**
 * @param {string} path
 * @param {any} body
 */
export function withRequests(path, body) {
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
export function withPandas(path, body, names) {
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
