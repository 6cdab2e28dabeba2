// @ts-check
/** Whether the service is well: the difference of two looks at /metrics, every 2 s, five minutes of them. */

import { ask, reason, Refused, repeat } from "./api.js";
import { bars } from "./charts/bars.js";
import { ticksTo } from "./charts/frame.js";
import { lines } from "./charts/lines.js";
import { figures, h, heading, panel, table } from "./elements.js";
import { clock, number, seconds, whole } from "./words.js";

const EVERY = 2000; // ms
const KEPT = 150; // looks: five minutes
const RECENT = 15; // looks that histograms are over: 30 s

/**
 * @typedef {Map<string, {labels: Record<string, string>, value: number}[]>} Samples by the name of the metric
 * @typedef {{at: number, samples: Samples}} Look
 * @typedef {{at: number, requests: number, waiting: number, room: number, lines: Record<string, number>}} Point
 */

/**
 * The samples of Prometheus' text format.
 * @param {string} text
 * @returns {Samples}
 */
export function parseMetrics(text) {
	const samples = /** @type {Samples} */ (new Map());
	for (const line of text.split("\n")) {
		const match = /^(\w+)(?:\{(.*)\})? (\S+)/.exec(line);
		if (!match || line.startsWith("#")) continue;
		const labels = Object.fromEntries(
			[...(match[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, k, v]) => [k, v]),
		);
		const list = samples.get(match[1]) ?? [];
		list.push({ labels, value: Number(match[3]) });
		samples.set(match[1], list);
	}
	return samples;
}

/**
 * How much a counter grew between two looks, by labels; a service that began anew counts from 0.
 * @param {Look} now
 * @param {Look} then
 * @param {string} name
 * @param {(labels: Record<string, string>) => string} by
 * @returns {Record<string, number>}
 */
export function growth(now, then, name, by) {
	/** @type {Record<string, number>} */
	const sums = {};
	const begun = (/** @type {Look} */ look) => look.samples.get("process_start_time_seconds")?.[0]?.value;
	const anew = begun(now) !== begun(then);
	for (const [look, sign] of /** @type {[Look, number][]} */ ([[now, 1], [then, anew ? 0 : -1]])) {
		for (const { labels, value } of look.samples.get(name) ?? []) {
			sums[by(labels)] = (sums[by(labels)] ?? 0) + sign * value;
		}
	}
	return sums;
}

/** @param {Record<string, number>} counts */
const total = (counts) => Object.values(counts).reduce((a, b) => a + b, 0);

/**
 * The buckets of a histogram, each with what is in it alone.
 * @param {Look} now
 * @param {Look} then
 * @param {string} name
 */
export function buckets(now, then, name) {
	const upTo = growth(now, then, `${name}_bucket`, ({ le }) => le);
	const ends = Object.keys(upTo).map((le) => le === "+Inf" ? Infinity : Number(le)).sort((a, b) => a - b);
	const count = (/** @type {number} */ end) =>
		upTo[end === Infinity ? "+Inf" : String(end)] ?? upTo[exponent(end)] ?? 0;
	return ends.map((end, i) => ({ end, count: count(end) - (i ? count(ends[i - 1]) : 0) }));
}

/** @param {number} end as Python writes small floats: 1e-05 */
const exponent = (end) => end.toExponential().replace(/e-(\d)$/, "e-0$1");

/**
 * A quantile as far as buckets tell it: the end of the bucket that it lies in.
 * @param {{end: number, count: number}[]} filled
 * @param {number} q
 */
export function quantile(filled, q) {
	let left = q * filled.reduce((sum, { count }) => sum + count, 0);
	for (const { end, count } of filled) {
		left -= count;
		if (left <= 0) return end;
	}
	return Infinity;
}

/**
 * @param {HTMLElement} main
 * @param {string[]} _path
 * @param {URLSearchParams} _query
 * @param {AbortSignal} signal
 */
export function show(main, _path, _query, signal) {
	new Traffic(main).watch(signal);
	return Promise.resolve();
}

class Traffic {
	/** @param {HTMLElement} main */
	constructor(main) {
		/** @type {Look[]} */
		this.looks = []; // the recent ones alone: a look is all of /metrics
		/** @type {Point[]} */
		this.points = [];
		this.held = false;
		this.body = h("div", { className: "stack" }, h("div", { className: "bones" }));
		this.state = h("span", {}, "The first look is taken …");
		const hold = this.hold = h("button", {
			type: "button",
			"aria-pressed": "false",
			onclick: () => {
				this.held = !this.held;
				hold.setAttribute("aria-pressed", String(this.held));
				hold.textContent = this.held ? "Go on" : "Hold";
			},
		}, "Hold");
		main.append(
			heading({ title: "Traffic", about: this.state }, hold),
			this.body,
		);
	}

	/** @param {AbortSignal} signal */
	watch(signal) {
		const look = async () => {
			if (this.held) return;
			const { body } = await ask("metrics", { signal });
			this.take({ at: Date.now(), samples: parseMetrics(body) });
		};
		repeat(look, EVERY, signal, (error) => {
			this.state.textContent = reason(error, this.points[this.points.length - 1]?.at ?? Date.now());
			this.body.classList.add("stale");
			if (!(error instanceof Refused && error.status === 404)) return;
			this.body.replaceChildren(); // nothing is counted
			this.hold.remove();
		});
	}

	/** @param {Look} look */
	take(look) {
		const before = this.looks[this.looks.length - 1];
		this.looks.push(look);
		this.looks.splice(0, this.looks.length - RECENT - 1);
		this.body.classList.remove("stale");
		if (!before) return;
		const took = (look.at - before.at) / 1000;
		const sent = growth(
			look,
			before,
			"calibrant_requests_total",
			({ model, version }) => model ? `${model} ${version}` : "none",
		);
		this.points.push({
			at: look.at,
			requests: total(sent) / took,
			waiting: look.samples.get("calibrant_queue_rows")?.[0]?.value ?? 0,
			room: look.samples.get("calibrant_queue_max_rows")?.[0]?.value ?? 0,
			lines: Object.fromEntries(Object.entries(sent).map(([name, count]) => [name, count / took])),
		});
		this.points.splice(0, this.points.length - KEPT);
		this.draw(look, this.looks[0]);
	}

	/**
	 * @param {Look} now
	 * @param {Look} then
	 */
	draw(now, then) {
		const point = this.points[this.points.length - 1];
		const took = buckets(now, then, "calibrant_request_seconds");
		const count = took.reduce((sum, bucket) => sum + bucket.count, 0);
		const over = Math.round((now.at - then.at) / 1000);
		const rows = total(growth(now, then, "calibrant_rows_total", () => ""));
		const refused = growth(now, then, "calibrant_rejected_total", ({ reason }) => reason);
		const warned = growth(now, then, "calibrant_warnings_total", ({ code }) => code);
		const upTo = (/** @type {number} */ q) => count ? `≤ ${seconds(quantile(took, q))}` : "–";
		this.state.textContent = `A look every 2 s, the last at ${clock(new Date(now.at))}; all processes together.`;
		const open = new Set(
			[...this.body.querySelectorAll("section")].filter((each) => each.querySelector("details[open]")).map((each) =>
				each.ariaLabel
			),
		);
		this.body.replaceChildren(
			figures([
				["Requests a second", number(point.requests, 3), `${whole(count)} in ${over} s`],
				["Rows a second", number(rows / over, 3), ""],
				["Half answered within", upTo(0.5), "read from buckets"],
				["99 % answered within", upTo(0.99), "read from buckets"],
				["Rows waiting", whole(point.waiting), `of ${whole(point.room)} that may wait`],
				["Refused", whole(total(refused)), `in ${over} s`],
			]),
			h(
				"div",
				{ className: "halves" },
				this.over("Requests a second", "of each 2 s", this.points.map((each) => each.requests), (x) => number(x, 3)),
				this.over("Rows waiting", `${whole(point.room)} may wait`, this.points.map((each) => each.waiting), whole),
				histogram("Latency", `${whole(count)} requests of the last ${over} s`, took, seconds, "answered within"),
				histogram(
					"Rows in a batch",
					`the last ${over} s`,
					buckets(now, then, "calibrant_batch_rows"),
					whole,
					"rows, at most",
				),
				counts("Refused", over, refused, "nothing was refused"),
				counts("Warnings", over, warned, "no answer carried a warning"),
			),
			this.versions(),
		);
		for (const section of this.body.querySelectorAll("section")) {
			const details = section.querySelector("details");
			if (details && open.has(section.ariaLabel)) details.open = true;
		}
	}

	/**
	 * A line over the minutes that are kept.
	 * @param {string} title
	 * @param {string} aside
	 * @param {number[]} y
	 * @param {(y: number) => string} asY
	 */
	over(title, aside, y, asY) {
		const end = this.points[this.points.length - 1].at;
		return panel(
			title,
			h("small", {}, aside),
			lines({
				name: `${title} over the last five minutes`,
				x: this.points.map(({ at }) => (at - end) / 60_000),
				series: [{ name: title, y }],
				range: [-5, 0],
				xTicks: [-5, -4, -3, -2, -1, 0].map((minute) => [minute, minute ? `−${-minute}` : "now"]),
				yTicks: ticksTo(Math.max(...y), asY, 1),
				xName: "minutes",
				asX: (minutes) => clock(new Date(end + minutes * 60_000)),
				asY,
				height: 160,
			}),
		);
	}

	/** A line per version that was asked. */
	versions() {
		const names = [
			...new Set(this.points.flatMap((point) => Object.keys(point.lines).filter((name) => point.lines[name] > 0))),
		];
		const mean = (/** @type {string} */ name, /** @type {Point[]} */ points) =>
			points.reduce((sum, { lines }) => sum + (lines[name] ?? 0), 0) / points.length;
		const rows = names.sort().map((name) => [
			name === "none" ? "refused before a model was known" : name.replace(/ (\S+)$/, ", version $1"),
			number(mean(name, this.points.slice(-RECENT)), 3),
			number(mean(name, this.points), 3),
		]);
		return panel(
			"Versions",
			h("small", {}, "requests a second"),
			rows.length
				? table("Requests a second by version", ["Version", "last 30 s", "last 5 min"], rows)
				: h("p", { className: "soft" }, "No request came while this page was open."),
		);
	}
}

/**
 * @param {string} title
 * @param {string} aside
 * @param {{end: number, count: number}[]} filled
 * @param {(end: number) => string} asEnd
 * @param {string} xName
 */
function histogram(title, aside, filled, asEnd, xName) {
	const used = filled.map(({ count }, i) => count ? i : -1).filter((i) => i >= 0);
	if (!used.length) return panel(title, h("small", {}, aside), h("p", { className: "soft" }, "Nothing was answered."));
	const shown = filled.slice(Math.max(0, used[0] - 1), used[used.length - 1] + 2);
	return panel(
		title,
		h("small", {}, aside),
		bars({
			name: `${title}, ${aside}`,
			names: shown.map(({ end }) => end === Infinity ? "more" : asEnd(end)),
			values: shown.map(({ count }) => count),
			xName,
			asValue: whole,
		}),
	);
}

/**
 * @param {string} title
 * @param {number} over seconds
 * @param {Record<string, number>} counts by reason
 * @param {string} none
 */
function counts(title, over, counts, none) {
	const rows = Object.entries(counts).filter(([, count]) => count > 0).sort(([, a], [, b]) => b - a).map((
		[code, count],
	) => [code, whole(count)]);
	return panel(
		title,
		h("small", {}, `the last ${over} s`),
		rows.length
			? table(`${title}, by reason`, ["Reason", "count"], rows)
			: h("p", { className: "soft" }, none[0].toUpperCase() + none.slice(1) + "."),
	);
}
