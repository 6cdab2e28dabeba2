// @ts-check
/** What labels say of a version that serves: is its confidence still worth what it was when it was fitted. */

import { ask, pathOf, readReport, reason, repeat, versionPath } from "./api.js";
import { comparison } from "./charts/reliability.js";
import { decide } from "./decision.js";
import { evidence } from "./evidence.js";
import { empty, facts, figures, h, heading, panel, select, stateMark, table } from "./elements.js";
import { clock, counted, percent, seconds, whole } from "./words.js";

const ENOUGH = 200; // labels before a diagram is worth looking at
const REFERENCES = /** @type {Record<string, string>} */ ({
	fit: "the curve of the fit",
	live: "the first labels that came",
	none: "nothing yet",
});

/** @param {any} body of .../calibration */
function badge({ labels, monitors }) {
	const some = (/** @type {string} */ what) => monitors.some((/** @type {any} */ each) => each[what]);
	if (!labels) return stateMark("○", "", "none");
	if (some("alarm")) return stateMark("■", "bad", "alarm");
	if (labels < ENOUGH) return stateMark("○", "", `collecting, ${labels} of ${ENOUGH} labels`);
	return some("warning") ? stateMark("▲", "warn", "warning") : stateMark("●", "good", "watching");
}

/** @param {string} model @param {string} version */
const pathTo = (model, version) => `${versionPath(model, version)}/calibration`;

/**
 * @param {HTMLElement} main
 * @param {string[]} path
 * @param {URLSearchParams} query
 * @param {AbortSignal} signal
 */
export const show = (main, path, query, signal) =>
	fromLabels(
		"Calibration",
		main,
		signal,
		() => path.length > 1 ? showVersion(main, path, query, signal) : showAll(main, signal),
	);

/**
 * Show a page that needs labels, or the option that brings them.
 * @param {string} title
 * @param {HTMLElement} main
 * @param {AbortSignal} signal
 * @param {() => Promise<void>} page
 */
export async function fromLabels(title, main, signal, page) {
	const { body: served } = await ask("v1/models", { signal });
	if (served.journal) return await page();
	main.append(
		h("h1", {}, title),
		empty(
			"No labels come back here: the service keeps no journal. With one, this page says whether the confidence is still worth what it was when it was fitted.",
			"calibrant serve --journal journal/",
		),
	);
}

/**
 * Every version, and what its labels say.
 * @param {HTMLElement} main
 * @param {AbortSignal} signal
 */
async function showAll(main, signal) {
	const list = h("section", { className: "panel", "aria-label": "Versions" });
	main.append(
		heading({
			title: "Calibration",
			about: "Is the confidence still worth what it was when it was fitted? Labels that came back say so.",
		}),
		list,
	);
	const look = async () => {
		const { body } = await ask("v1/models", { signal });
		const versions = body.models.slice(0, 50).map((/** @type {any} */ each) => [each.model, each.version]);
		const found = await Promise.all(
			versions.map(async (/** @type {[string, string]} */ [model, version]) =>
				(await ask(pathTo(model, version), { signal })).body
			),
		);
		const rows = found.map((each) => [
			h("a", { href: `#/calibration/${pathOf(each.model, each.version)}` }, `${each.model}, version ${each.version}`),
			badge(each),
			whole(each.predictions),
			whole(each.labels),
			each.labels >= ENOUGH ? percent(each.accuracy) : "–",
			each.labels >= ENOUGH && each.ece
				? `${percent(each.ece.value)} (${percent(each.ece.low)} to ${percent(each.ece.high)})`
				: "–",
		]);
		list.replaceChildren(
			table(
				"Versions and what their labels say",
				[
					"Version",
					"state",
					"answers",
					"labels",
					"right",
					"ECE, 95 % interval",
				],
				rows,
				2,
			),
		);
	};
	await look();
	repeat(look, 5000, signal, () => {});
}

/**
 * One version.
 * @param {HTMLElement} main
 * @param {string[]} path
 * @param {URLSearchParams} query
 * @param {AbortSignal} signal
 */
async function showVersion(main, [model, version], query, signal) {
	const group = query.get("group") ?? "";
	const path = pathTo(model, version) + (group ? `?${new URLSearchParams({ group })}` : "");
	const state = h("span");
	const body = h("div", { className: "stack" });
	const groups = h("span");
	let at = new Date();
	let shown = "";
	let word = /** @type {string | null} */ ("");
	main.append(
		heading({ up: "Calibration", title: `${model}, version ${version}`, about: state }, groups),
		body,
	);
	const { body: details } = await ask(versionPath(model, version), { signal });
	const report = await readReport(details, signal);
	const draw = (/** @type {any} */ found) => {
		groups.replaceChildren(
			found.groups?.length
				? select(
					"Group",
					[["", "all"], ...found.groups.map((/** @type {string} */ each) => [each, each])],
					group,
					(value) => {
						location.hash = `#/calibration/${pathOf(model, version)}${
							value ? `?${new URLSearchParams({ group: value })}` : ""
						}`;
					},
				)
				: "",
		);
		body.replaceChildren(
			...found.warnings.map((/** @type {any} */ each) => h("p", { className: "note warn" }, each.message)),
			refitNote(found),
			headline(found),
			found.labels < ENOUGH ? collecting(found) : diagrams(found, report),
			found.labels ? evidence(found, () => acknowledge(model, version, signal)) : "",
			h("div", { className: "halves" }, found.shares ? beforeLabels(found.shares) : "", delays(found)),
		);
	};
	const look = async () => {
		const { body: found } = await ask(path, { signal });
		at = new Date();
		const text = JSON.stringify({ ...found, at_ns: 0 }); // it is published every second, whether it changed or not
		const now = badge(found).textContent;
		if (text !== shown && now === word && body.contains(document.activeElement)) return; // who reads is not disturbed
		state.replaceChildren(badge(found), h("small", {}, ` · asked at ${clock(at)}`));
		if (text === shown) return;
		[shown, word] = [text, now];
		draw(found);
	};
	await look();
	repeat(look, 2000, signal, (error) => {
		state.textContent = reason(error, at);
	});
}

/** @param {any} found */
function refitNote({ refit, model, version }) {
	if (!["collecting", "shadowing", "earned"].includes(refit?.state)) return "";
	const link = h("a", { href: `#/refits/${pathOf(model, version)}` }, "Look at it");
	return h("p", { className: "note" }, "A refit is proposed. ", link);
}

/** @param {any} found */
function headline(found) {
	const between = (/** @type {any} */ each) => each ? `95 %: ${percent(each.low)} to ${percent(each.high)}` : "";
	return figures([
		["Labels", whole(found.labels), `of ${counted(found.predictions, "row")} answered`],
		["Right", percent(found.accuracy), ""],
		["Calibration error (ECE)", percent(found.ece?.value), between(found.ece)],
		[
			"Said more than was right",
			percent(found.gap?.value),
			found.gap ? `at all times: ${percent(found.gap.low)} to ${percent(found.gap.high)}` : "",
		],
		[
			"Coverage of the sets",
			percent(found.coverage?.value),
			found.coverage
				? `${between(found.coverage)}; promised ${percent(found.coverage.asked)}, ${
					counted(found.coverage.rows, "row")
				}`
				: "no set was asked for",
		],
	]);
}

/** @param {any} found */
function collecting(found) {
	return empty(
		`${
			found.labels ? `${found.labels} of ${ENOUGH} labels.` : "No label has come back yet."
		} The reliability of live rows will be here, beside that of the fit.`,
		found.labels
			? ""
			: `curl -s .../v1/labels --json '{"labels": [{"id": "<X-Request-Id of the answer>", "label": 3}]}'`,
	);
}

/**
 * The reliability of live rows, beside that of the fit.
 * @param {any} found
 * @param {any} report
 */
function diagrams(found, report) {
	const fitted = report?.reliability?.after;
	const rows = fitted ? `, ${whole(report.rows.measured)} of the fit` : "";
	return comparison(`${whole(found.labels)} live rows${rows}; 95 % intervals`, [
		...(fitted ? [{ title: "As fitted", more: "held-out rows", reliability: fitted, ours: false }] : []),
		{ title: "Live", more: "rows whose labels came", reliability: found, ours: true },
	]);
}

/** @param {any} shares */
function beforeLabels(shares) {
	return panel(
		"Before labels",
		h("small", {}, `estimates from ${counted(shares.rows, "row")} without labels`),
		facts([["Expected accuracy", `${percent(shares.expected_accuracy)} (estimate)`]]),
		...(shares.warnings ?? []).map((/** @type {any} */ each) =>
			h("p", { className: "note warn" }, each.message ?? each)
		),
	);
}

/** @param {any} found */
function delays({ predictions, labels, lag_s, policy, reference }) {
	const [half, most, all] = ["p50", "p90", "p99"].map((key) => seconds(lag_s?.[key]));
	return panel(
		"Labels",
		"",
		facts([
			["Answers without one", whole(predictions - labels)],
			["Half come within", half],
			["90 % and 99 % within", most === "–" ? most : `${most}, ${all}`],
			["They count", policy === "matured" ? "once their answer has matured" : "as they come"],
			["Compared with", REFERENCES[reference] ?? reference],
		]),
	);
}

/**
 * Ask who has seen the alarm, and begin a new epoch.
 * @param {string} model
 * @param {string} version
 * @param {AbortSignal} signal
 */
function acknowledge(model, version, signal) {
	decide({
		title: `Acknowledge the alarm of ${model}, version ${version}`,
		text: "All evidence begins again at 1 with the next label; what it was is kept with your name.",
		verb: "Acknowledge",
		send: (body) => ask(`${pathTo(model, version)}/acknowledge`, { body, signal }),
	});
}
