// @ts-check
/** One version of a model: whether its confidence can be trusted, and on how many rows that is known. */

import { ask, pathOf, readReport, repeat, versionPath } from "./api.js";
import { lines } from "./charts/lines.js";
import { pairs } from "./charts/pairs.js";
import { comparison } from "./charts/reliability.js";
import { ticksTo } from "./charts/frame.js";
import { empty, facts, figures, h, heading, panel, select, table } from "./elements.js";
import { day, method, METRICS, moment, number, percent, seconds, whole } from "./words.js";

const COMPARED = 20; // versions whose metrics are drawn side by side
const SHARES = new Set(["accuracy", "ece"]);

/**
 * @param {HTMLElement} main
 * @param {string[]} path
 * @param {URLSearchParams} _query
 * @param {AbortSignal} signal
 */
export async function show(main, path, _query, signal) {
	const { body: newest } = await ask(`v1/models/${pathOf(path[0])}`, { signal });
	const version = path[1] ?? newest.version;
	const { body: model } = version === newest.version
		? { body: newest }
		: await ask(versionPath(path[0], version), { signal });
	const report = await readReport(model, signal);
	const others = await Promise.all(
		model.versions.slice(-COMPARED).map(async (/** @type {string} */ each) =>
			each === version ? model : (await ask(versionPath(path[0], each), { signal })).body
		),
	);
	const news = h("p", { className: "note" });
	main.append(
		heading(
			{ up: "Models", title: model.model },
			select("Version", model.versions.map((/** @type {string} */ each) => [each, each]), version, (chosen) => {
				location.hash = `#/models/${pathOf(model.model)}/${chosen}`;
			}),
			h("a", { href: `#/playground/${pathOf(model.model)}/${version}` }, "Open in the playground"),
		),
		h(
			"div",
			{ className: "stack" },
			news,
			model.metadata.refit ? refitted(model) : "",
			model.metadata.metrics?.after ? headline(model.metadata, report) : unproven(model),
			report?.reliability ? diagrams(report) : "",
			h(
				"div",
				{ className: "columns" },
				h(
					"div",
					{ className: "stack" },
					report ? metrics(report) : "",
					others.length > 1 ? overVersions(others) : "",
					report ? candidates(report) : "",
				),
				h(
					"div",
					{ className: "stack" },
					about(model),
					report?.classes?.length ? classes(report) : "",
					report?.set_sizes ? sets(report) : "",
				),
			),
		),
	);
	const look = async () => {
		const { body } = await ask(`v1/models/${pathOf(path[0])}`, { signal });
		if (body.version === newest.version) return;
		news.replaceChildren(
			`Version ${body.version} is served now. `,
			h("a", { href: `#/models/${pathOf(model.model)}/${body.version}` }, "Look at it"),
		);
	};
	repeat(look, 5000, signal, () => {});
}

/**
 * How a version came about that labels asked for.
 * @param {any} model
 */
function refitted({ model, metadata: { refit } }) {
	const { from, copy_of, by, promoted, labels, nll } = refit;
	const how = copy_of
		? `A copy of version ${copy_of}, which labels said was better than version ${from}`
		: `Version ${from} at the temperature that ${whole(labels.fitted)} labels asked for`;
	const change = nll
		? ` NLL ${number(nll.served, 3)} → ${number(nll.proposed, 3)} on ${whole(nll.rows)} live rows.`
		: "";
	return h(
		"p",
		{ className: "note" },
		`${how}; decided by ${by}, ${moment(promoted)}.${change} `,
		h("a", { href: `#/refits/${pathOf(model, from)}` }, "The refit"),
	);
}

/** @param {any} model */
function unproven(model) {
	if (model.metadata.refit) return "";
	return empty(
		"Nothing is known of this head's calibration: it was exported, not fitted. What its confidence is worth would be here.",
		`calibrant fit --data validation.npz --name ${model.model}`,
	);
}

/**
 * @param {any} metadata
 * @param {any} report
 */
function headline({ metrics: { before, after } }, report) {
	const between = report?.intervals?.after ?? {};
	const triple = (/** @type {string} */ key, /** @type {(x: number) => string} */ as) => {
		const value = before?.[key] === undefined || before[key] === after[key]
			? as(after[key])
			: h("span", {}, h("span", { className: "soft" }, `${as(before[key])} → `), as(after[key]));
		const ends = between[key];
		return /** @type {[string, any, string]} */ ([
			METRICS[key],
			value,
			ends ? `95 %: ${as(ends[0])} to ${as(ends[1])}` : "",
		]);
	};
	const shown = ["nll", "bce", "impossible", "loss", "ece", "brier", "accuracy"].filter((key) =>
		after[key] !== undefined
	);
	return figures(
		shown.slice(0, 5).map((key) =>
			triple(key, SHARES.has(key) || key === "impossible" ? percent : (x) => number(x, 3))
		),
	);
}

/** @param {any} report */
function diagrams({ reliability: { before, after }, rows, calibrator }) {
	return comparison(
		`${whole(rows.measured)} held-out rows, ${before.bins.length} bins of equal mass, 95 % intervals`,
		[
			{ title: "Before", more: "logits as they are", reliability: before, ours: false },
			{ title: "After", more: method(calibrator.method), reliability: after, ours: true },
		],
	);
}

/** @param {any} report */
function metrics({ metrics: { before, after }, intervals, rows }) {
	const names = Object.keys(after).filter((key) => typeof after[key] === "number");
	return panel(
		"Every metric",
		h(
			"small",
			{},
			`grey before, blue after; lines are 95 % intervals; ${
				whole(rows.measured)
			} rows; each row has its own scale from 0`,
		),
		pairs(names.map((key) => ({
			name: METRICS[key] ?? key,
			before: before?.[key],
			after: after[key],
			low: [intervals?.before?.[key]?.[0], intervals?.after?.[key]?.[0]],
			high: [intervals?.before?.[key]?.[1], intervals?.after?.[key]?.[1]],
		}))),
	);
}

/** @param {any[]} versions */
function overVersions(versions) {
	const box = h("div");
	const known = Object.keys(METRICS).filter((key) =>
		versions.some(({ metadata }) => metadata.metrics?.after?.[key] !== undefined)
	);
	if (!known.length) return "";
	const draw = (/** @type {string} */ key) => {
		const y = versions.map(({ metadata }) => metadata.metrics?.after?.[key] ?? null);
		const as = SHARES.has(key) ? percent : (/** @type {number} */ x) => number(x, 3);
		box.replaceChildren(lines({
			name: `${METRICS[key]} of each version`,
			x: versions.map((_, i) => i),
			series: [{ name: METRICS[key], y }],
			xTicks: versions.map(({ version }, i) => [i, version]),
			yTicks: ticksTo(Math.max(...y.filter((value) => value !== null)), as),
			xName: "version",
			range: [-0.2, versions.length - 0.8],
			points: true,
			asX: (i) => versions[i].version,
			asY: as,
			height: 160,
		}));
	};
	draw(known[0]);
	const which = select("Metric", known.map((key) => [key, METRICS[key]]), known[0], draw);
	return panel("Over versions", h("div", { className: "controls" }, which), box);
}

/** @param {any} report */
function candidates({ candidates, refused }) {
	if (!candidates?.length) return "";
	const rows = candidates.map((/** @type {any} */ each) => [
		h(
			"span",
			{},
			method(each.method),
			each.form ? ` (${each.form})` : "",
			each.chosen ? h("strong", {}, " ✓ chosen") : "",
		),
		String(each.n_parameters),
		number(each.nll),
		each.difference === 0 ? "best" : `+${number(each.difference, 2)} ± ${number(each.error, 2)}`,
	]);
	const out = Object.entries(refused ?? {}).map(([name, why]) => h("p", { className: "soft" }, `${name}: ${why}`));
	return panel(
		"What was tried",
		h("small", {}, "cross-validated"),
		table("Calibrators that were tried", ["Calibrator", "parameters", "NLL", "behind the best"], rows),
		...out,
	);
}

/** @param {any} report */
function classes({ classes }) {
	const worst = [...classes].sort((a, b) => (b.ece_after ?? 0) - (a.ece_after ?? 0)).slice(0, 12);
	const rows = worst.map((
		each,
	) => [each.label ?? `class ${each.class}`, whole(each.rows), percent(each.ece_before), percent(each.ece_after)]);
	const more = classes.length > worst.length
		? `the ${worst.length} least calibrated of ${classes.length}`
		: "the least calibrated first";
	return panel(
		"Classes",
		h("small", {}, more),
		table("Calibration of each class", ["Class", "rows", "ECE before", "after"], rows),
	);
}

/** @param {any} report */
function sets({ set_sizes, rows }) {
	const scores = Object.keys(set_sizes);
	const alphas = Object.keys(set_sizes[scores[0]] ?? {});
	if (!alphas.length) return "";
	const lines = alphas.map((alpha) => [alpha, ...scores.map((score) => number(set_sizes[score][alpha], 3))]);
	return panel(
		"Size of prediction sets",
		h("small", {}, `mean classes, ${whole(rows.sets ?? rows.measured)} rows`),
		table("Mean size of prediction sets", ["alpha", ...scores], lines),
	);
}

/** @param {any} model */
function about(model) {
	const { metadata } = model;
	/** @type {[string, any][]} */
	const pairs = [
		["Family", model.family],
		["Calibrated by", method(metadata.calibrator.method)],
		[
			"Temperature",
			`${number(model.temperature)}${
				metadata.calibrator.temperature_error ? ` ± ${number(metadata.calibrator.temperature_error, 3)}` : ""
			}`,
		],
		["Takes", model.takes === "logits" ? "logits" : model.inputs.join(", ")],
		["Classes", model.classes ?? "any number"],
		["Members", metadata.ensemble ? `mean of ${metadata.ensemble.average}` : null],
		["Groups", metadata.calibrator.groups ? Object.keys(metadata.calibrator.groups).length : null],
		["Fitted on", metadata.rows?.fitted ? `${whole(metadata.rows.fitted)} rows` : null],
		["Runs on", model.provider],
		["A run takes", `${seconds(model.measured_cost.run_s)} and ${seconds(model.measured_cost.number_s)} a number`],
		["Made", metadata.created ? day(metadata.created) : null],
		["By", metadata.package_version ? `Calibrant ${metadata.package_version}` : null],
	];
	return panel(
		"The head",
		"",
		h("p", { className: "soft" }, model.use),
		facts(pairs.filter(([, value]) => value !== null)),
	);
}
