// @ts-check
/** What is served, how well it is calibrated, and what cannot be served. */

import { ask, pathOf, repeat } from "./api.js";
import { empty, h, heading } from "./elements.js";
import { method, number, percent, seconds } from "./words.js";

const DETAILED = 50; // models whose details are asked for

/**
 * @param {HTMLElement} main
 * @param {string[]} _path
 * @param {URLSearchParams} _query
 * @param {AbortSignal} signal
 */
export async function show(main, _path, _query, signal) {
	const failures = h("div", { className: "stack" });
	const list = h("section", { className: "panel", "aria-label": "Models" });
	main.append(
		heading({ title: "Models", about: "What is served, and what its calibration was worth on held-out rows." }),
		h("div", { className: "stack" }, failures, list),
	);
	let shown = "";
	const look = async () => {
		const { body } = await ask("v1/models", { signal });
		const text = JSON.stringify([body.models, body.failures]);
		if (text === shown) return;
		const details = await Promise.all(
			body.models.slice(0, DETAILED).map(async (/** @type {any} */ each) =>
				(await ask(`v1/models/${pathOf(each.model)}`, { signal })).body
			),
		);
		shown = text;
		failures.replaceChildren(...Object.entries(body.failures).map(([name, why]) => failure(name, why, body.models)));
		list.replaceChildren(body.models.length ? tableOf(body, details) : nothing());
	};
	await look();
	repeat(look, 5000, signal, () => {});
}

/**
 * What cannot be served, and what is served instead.
 * @param {string} name MODEL/VERSION
 * @param {string} why
 * @param {any[]} models
 */
function failure(name, why, models) {
	const model = models.find((each) => each.model === name.split("/")[0]);
	const instead = model ? `Version ${model.version} is served instead.` : "Nothing is served in its place.";
	return h(
		"div",
		{ className: "note bad" },
		h("h2", {}, `${name} cannot be served`),
		h("p", {}, why),
		h("p", { className: "soft" }, instead),
	);
}

function nothing() {
	return empty(
		"No model is served: the models folder holds none. A fit puts one there, and it appears here.",
		"calibrant fit --data validation.npz --name my-model",
	);
}

/**
 * @param {any} body of /v1/models
 * @param {any[]} details
 */
function tableOf(body, details) {
	const names = ["Model", "Version", "Family", "Calibrated by", "T", "Classes", "NLL", "ECE", "Runs on", "A run takes"];
	const rows = body.models.map((/** @type {any} */ each, /** @type {number} */ i) => {
		const { before, after } = details[i]?.metadata.metrics ?? {};
		const change = (/** @type {string} */ metric, /** @type {(x: number) => string} */ as) =>
			after?.[metric] === undefined
				? h("span", { className: "soft" }, "–")
				: h("span", {}, h("span", { className: "soft" }, `${as(before?.[metric])} → `), as(after[metric]));
		const link = h("a", { href: `#/models/${pathOf(each.model)}/${each.version}` }, each.model);
		return h(
			"tr",
			{},
			h("th", { scope: "row" }, link, each.model === body.default ? h("span", { className: "soft" }, " default") : ""),
			h(
				"td",
				{},
				each.version,
				each.versions.length > 1 ? h("span", { className: "soft" }, ` of ${each.versions.length}`) : "",
			),
			h("td", {}, each.family),
			h("td", {}, method(details[i]?.metadata.calibrator.method)),
			h("td", { className: "number" }, number(each.temperature)),
			h("td", { className: "number" }, each.classes ?? "any"),
			h("td", { className: "number" }, change(after?.bce === undefined ? "nll" : "bce", (x) => number(x, 3))),
			h("td", { className: "number" }, change("ece", percent)),
			h("td", {}, each.provider),
			h("td", { className: "number" }, details[i] ? seconds(details[i].measured_cost.run_s) : "–"),
		);
	});
	const numeric = new Set(["T", "Classes", "NLL", "ECE", "A run takes"]);
	const head = names.map((name) => h("th", { scope: "col", className: numeric.has(name) ? "number" : "" }, name));
	return h(
		"div",
		{ className: "scroll", tabIndex: 0, role: "region", "aria-label": "Models that are served" },
		h("table", {}, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows)),
	);
}
