// @ts-check
/** Another temperature that labels ask for, beside the one that serves: what it would change, and who lets it serve. */

import { ask, pathOf, reason, repeat, versionPath } from "./api.js";
import { fromLabels } from "./calibration.js";
import { comparison } from "./charts/reliability.js";
import { decide } from "./decision.js";
import { empty, figures, h, heading, panel, stateMark, table } from "./elements.js";
import { clock, counted, moment, number, percent, whole } from "./words.js";

const EACH = 3; // versions of a model that are listed: a refit belongs to the version that it was fitted on
const FIRST = 100; // labels of the first fit
const RUNNING = new Set(["collecting", "shadowing", "earned"]);
const STATES = /** @type {Record<string, [string, string, string]>} */ ({
	off: ["○", "", "off"],
	none: ["○", "", "none"],
	collecting: ["○", "", "collecting labels"],
	shadowing: ["●", "", "shadowing"],
	earned: ["▲", "warn", "earned, waits for approval"],
	refused: ["■", "bad", "must not be promoted"],
	promoted: ["●", "good", "promoted"],
	dismissed: ["○", "", "dismissed"],
});
const BECAUSE = /** @type {Record<string, string>} */ ({ alarm: "after an alarm", request: "on request" });

/** @param {any} refit */
const isRefused = (refit) => refit.refusal && refit.state === "earned";

/** @param {any} refit */
function badge(refit) {
	const [sign, kind, word] = STATES[isRefused(refit) ? "refused" : refit.state] ?? ["○", "", refit.state];
	return stateMark(sign, kind, word);
}

/** @param {any} nll */
const difference = (nll) =>
	nll ? `${number(nll.difference, 2)} (${number(nll.low, 2)} to ${number(nll.high, 2)})` : "–";

/**
 * @param {HTMLElement} main
 * @param {string[]} path
 * @param {URLSearchParams} _query
 * @param {AbortSignal} signal
 */
export const show = (main, path, _query, signal) =>
	fromLabels(
		"Refits",
		main,
		signal,
		() => path.length > 1 ? showVersion(main, path[0], path[1], signal) : showAll(main, signal),
	);

/**
 * Of each model the newest versions.
 * @param {HTMLElement} main
 * @param {AbortSignal} signal
 */
async function showAll(main, signal) {
	const list = h("section", { className: "panel", "aria-label": "Refits" });
	main.append(
		heading({ title: "Refits", about: "What another temperature would change, by the labels that came back." }),
		list,
	);
	const look = async () => {
		const { body } = await ask("v1/models", { signal });
		const versions = body.models.flatMap((/** @type {any} */ { model, versions }) =>
			versions.slice(-EACH).reverse().map((/** @type {string} */ version) => versionPath(model, version))
		).slice(0, 50);
		const found = await Promise.all(
			versions.map(async (/** @type {string} */ path) => (await ask(`${path}/refit`, { signal })).body),
		);
		const rows = found.map((each) => [
			h("a", { href: `#/refits/${pathOf(each.model, each.version)}` }, `${each.model}, version ${each.version}`),
			badge(each),
			moment(each.since),
			whole(each.labels.judged),
			each.since === null ? "–" : number(each.evidence.e, 3),
			difference(each.nll),
		]);
		const names = ["Version", "state", "proposed", "judged by labels", "evidence", "NLL, 95 % interval"];
		list.replaceChildren(table("Versions and their refits", names, rows, 3));
	};
	await look();
	repeat(look, 5000, signal, () => {});
}

/**
 * @param {HTMLElement} main
 * @param {string} model
 * @param {string} version
 * @param {AbortSignal} signal
 */
async function showVersion(main, model, version, signal) {
	const state = h("span");
	const buttons = h("span", { className: "controls" });
	const body = h("div", { className: "stack" });
	main.append(heading({ up: "Refits", title: `${model}, version ${version}`, about: state }, buttons), body);
	let shown = "";
	let decisive = "";
	let at = new Date();
	let looks = 0;
	const look = async () => {
		const mine = ++looks;
		const { body: refit, headers } = await ask(`${versionPath(model, version)}/refit`, { signal });
		if (mine !== looks) return; // after a decision it was asked anew
		const text = JSON.stringify(refit);
		const tag = headers.get("etag") ?? "";
		const changed = tag + refit.state;
		if (text !== shown && changed === decisive && main.contains(document.activeElement)) return; // who reads is not disturbed
		at = new Date();
		state.replaceChildren(badge(refit), h("small", {}, ` · asked at ${clock(at)}`));
		if (text === shown) return;
		[shown, decisive] = [text, changed];
		const again = () => look().then(() => main.parentElement?.focus()).catch(() => {});
		buttons.replaceChildren(...decisions(refit, { tag, signal, again }));
		body.replaceChildren(...parts(refit));
	};
	await look();
	repeat(look, 2000, signal, (error) => {
		state.textContent = reason(error, at);
	});
}

/** @param {any} refit */
const mayServe = (refit) => refit.state === "earned" && !refit.refusal;

/** @param {any} refit */
function parts(refit) {
	const { state, nll, command, policy, evidence } = refit;
	const known = ["shadowing", "earned", "promoted"].includes(state);
	return [
		refit.refusal && RUNNING.has(state)
			? h("p", { className: `note ${isRefused(refit) ? "bad" : ""}` }, `It may not serve yet: ${refit.refusal}`)
			: "",
		mayServe(refit) && command
			? h("div", {}, h("p", {}, "The service cannot write its models folder. Who can, runs:"), h("pre", {}, command))
			: "",
		state === "promoted" ? promoted(refit) : "",
		known ? headline(refit) : "",
		known && nll ? compared(refit) : waiting(refit),
		refit.back ? before(refit) : "",
		state === "shadowing"
			? h(
				"p",
				{ className: "soft" },
				`${
					policy === "promote" ? "It serves by itself" : "It may be approved"
				} once its evidence is ${evidence.needed}.`,
			)
			: "",
		refit.history.length ? history(refit) : "",
	];
}

/** @param {any} refit */
function headline({ temperature, nll, ece, evidence, labels, since, because }) {
	const change = (/** @type {any} */ pair, /** @type {(x: number) => string} */ as) =>
		h("span", {}, h("span", { className: "soft" }, `${as(pair.served)} → `), as(pair.proposed));
	return figures([
		["Temperature", change(temperature, (x) => number(x, 3)), `fitted on ${counted(labels.fitted, "label")}`],
		[
			"Change of the NLL",
			number(nll?.difference, 2),
			nll ? `95 %: ${number(nll.low, 2)} to ${number(nll.high, 2)}; ${counted(nll.rows, "row")} unseen by both` : "",
		],
		["Calibration error (ECE)", ece ? change(ece, percent) : "–", ""],
		["Evidence for it", number(evidence.e, 3), `largest ${number(evidence.max_e, 3)}, wanted ${evidence.needed}`],
		["Proposed", moment(since), BECAUSE[because] ?? ""],
	]);
}

/** @param {any} refit */
const compared = ({ state, temperature, nll, reliability: { served, proposed } }) =>
	comparison(`${counted(nll.rows, "row")} unseen by both; 95 % intervals`, [
		{
			title: state === "promoted" ? "Served before" : "Serves now",
			more: `temperature ${number(temperature.served, 3)}`,
			reliability: served,
			ours: false,
		},
		{
			title: state === "promoted" ? "Promoted" : "Proposed",
			more: `temperature ${number(temperature.proposed, 3)}`,
			reliability: proposed,
			ours: true,
		},
	]);

/**
 * What would be here, and what brings it.
 * @param {any} refit
 */
function waiting({ state, labels, model, version, since, because }) {
	const [sentence, command] = /** @type {Record<string, string[]>} */ ({
		off: ["Refits are off.", "calibrant serve --journal journal/ --refit propose"],
		collecting: [
			`Proposed ${moment(since)}, ${
				BECAUSE[because]
			}. ${labels.seen} of ${FIRST} labels: a temperature is fitted on them, and judged by those that come after.`,
			"",
		],
		shadowing: ["A temperature is fitted. It is judged by the labels that come now.", ""],
	})[state] ?? [
		"Nothing is proposed. An alarm proposes a refit, and so can you.",
		`calibrant live propose ${model}/${version}`,
	];
	return empty(sentence, command);
}

/**
 * A button for each thing that may be decided now.
 * @param {any} refit
 * @param {{tag: string, signal: AbortSignal, again: () => void}} looked which refit it was, and how to look again
 */
function decisions(refit, { tag, signal, again }) {
	const { model, version, state, temperature, nll, command } = refit;
	const change = `temperature ${number(temperature.served, 3)} becomes ${number(temperature.proposed, 3)}`;
	const button = (/** @type {string} */ verb, /** @type {string} */ path, /** @type {string} */ text) =>
		h("button", {
			type: "button",
			className: verb === "Approve" ? "main" : "",
			onclick: () =>
				decide({
					title: `${verb} ${verb === "Propose" ? "a" : "the"} refit of ${model}, version ${version}`,
					text,
					verb,
					send: (body) => ask(`${versionPath(model, version)}/${path}`, { body, headers: { "If-Match": tag }, signal }),
					done: again,
				}),
		}, `${verb}…`);
	if (state === "none" || state === "dismissed") {
		return [button("Propose", "refit", "A temperature is fitted on the labels that come from now on.")];
	}
	if (!RUNNING.has(state)) return [];
	const dismiss = button("Dismiss", "dismiss", `The proposal that its ${change} is thrown away. The alarm stays.`);
	if (!mayServe(refit) || command) return [dismiss];
	const text = `Its ${change}. The NLL changes by ${number(nll.difference, 2)}, 95 %: ${number(nll.low, 2)} to ${
		number(nll.high, 2)
	}, on ${counted(nll.rows, "row")} unseen by both. A new version is written, and serves from then on.`;
	return [dismiss, button("Approve", "promote", text)];
}

/** @param {any} refit */
function promoted({ model, history }) {
	const version = history.findLast((/** @type {any} */ each) => each.what === "promoted")?.to_version;
	return h(
		"p",
		{ className: "note" },
		`Version ${version} was written with it. `,
		h("a", { href: `#/models/${pathOf(model, version)}` }, "Look at it"),
	);
}

/** @param {any} refit */
const before = ({ back: { labels, e, max_e, needed } }) =>
	h(
		"p",
		{ className: "note" },
		`The version before is put back once the evidence that it was better is ${needed}. It is ${number(e, 3)}, ${
			number(max_e, 3)
		} at most, after ${counted(labels, "label")}.`,
	);

/** @param {any} refit */
function history({ history }) {
	const rows = history.toReversed().map((/** @type {any} */ each) => [
		moment(each.at),
		each.what,
		each.by ?? "the service",
		each.to_version ? `${each.from_version} → ${each.to_version}` : each.from_version,
		whole(each.labels),
		number(each.e, 3),
		number(each.difference, 2),
	]);
	const names = ["When", "what", "who", "version", "labels", "evidence", "change of the NLL"];
	return panel("History", "", table("What was decided", names, rows, 4));
}
