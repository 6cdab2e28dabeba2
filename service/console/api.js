// @ts-check
/** The service's own HTTP API, which is all that the console knows. */

import { h } from "./elements.js";
import { clock } from "./words.js";

const ROOT = new URL("../", document.baseURI);
const KEY = "calibrant-key";

/** A refusal by the service, or no answer at all (status 0). */
export class Refused extends Error {
	/**
	 * @param {number} status
	 * @param {any} body
	 */
	constructor(status, body) {
		super(body?.error ?? (status ? `the service answered ${status}` : "the service does not answer"));
		this.status = status;
		/** @type {number | undefined} */
		this.classIndex = body?.class;
	}
}

/**
 * Why there are no newer numbers: the service's sentence, or since when it says nothing.
 * @param {unknown} error
 * @param {Date | number} at when it was heard last
 */
export const reason = (error, at) =>
	error instanceof Refused && error.status ? error.message : `No answer since ${clock(new Date(at))}; asking again`;

/** @param {string} path */
export const address = (path) => new URL(path, ROOT).href;

/** Whether a key was given in this tab. */
export const hasKey = () => sessionStorage.getItem(KEY) !== null;

/**
 * Ask the service.
 * @param {string} path below the service's root
 * @param {{body?: any, signal?: AbortSignal, headers?: Record<string, string>, method?: string}} [how]
 * @returns {Promise<{body: any, headers: Headers}>} parsed, where it is JSON
 * @throws {Refused}
 */
export async function ask(path, how = {}) {
	const key = sessionStorage.getItem(KEY);
	/** @type {Record<string, string>} */
	const headers = { ...how.headers };
	if (key) headers.Authorization = `Bearer ${key}`;
	if (how.body !== undefined) headers["Content-Type"] = "application/json";
	let response;
	let text;
	try {
		response = await fetch(address(path), {
			method: how.method ?? (how.body === undefined ? "GET" : "POST"),
			headers,
			body: typeof how.body === "string" || how.body === undefined ? how.body : JSON.stringify(how.body),
			signal: how.signal ?? AbortSignal.timeout(30_000),
			cache: "no-store",
		});
		text = await response.text();
	} catch {
		throw new Refused(0, null);
	}
	const body = response.headers.get("content-type")?.startsWith("application/json") ? JSON.parse(text) : text;
	if (response.status === 401) {
		await demandKey();
		return ask(path, how);
	}
	if (!response.ok) throw new Refused(response.status, body);
	return { body, headers: response.headers };
}

/** @param {string[]} parts of a path */
export const pathOf = (...parts) => parts.map(encodeURIComponent).join("/");

/** @param {string} model @param {string} version */
export const versionPath = (model, version) => `v1/models/${pathOf(model)}/versions/${pathOf(version)}`;

/**
 * The report of a version's fit, or null where there is none.
 * @param {any} version its details
 * @param {AbortSignal} signal
 */
export const readReport = async ({ model, version, has_report }, signal) =>
	has_report ? (await ask(`${versionPath(model, version)}/report`, { signal })).body : null;

/** @type {Promise<void> | null} */
let demanded = null;

/** Ask for the key, once however many wait for it; it stays in this tab alone. */
function demandKey() {
	demanded ??= new Promise((resolve) => {
		const field = h("input", { type: "password", required: true, autocomplete: "off" });
		const dialog = h(
			"dialog",
			{ "aria-labelledby": "key-title" },
			h(
				"form",
				{ method: "dialog" },
				h("h2", { id: "key-title" }, hasKey() ? "This key is not accepted" : "This service wants an API key"),
				h("label", {}, "Key ", field),
				h("small", {}, "It is kept in this tab until you close it, and never in the address."),
				h("div", { className: "actions" }, h("button", { className: "main" }, "Use this key")),
			),
		);
		dialog.addEventListener("cancel", (event) => event.preventDefault());
		dialog.addEventListener("close", () => {
			sessionStorage.setItem(KEY, field.value);
			dialog.remove();
			demanded = null;
			resolve();
		});
		document.body.append(dialog);
		dialog.showModal();
	});
	return demanded;
}

/** Runs a task whenever it is wanted, one run at a time; of those wanted meanwhile, one follows. */
export class Latest {
	/** @param {() => Promise<void>} run */
	constructor(run) {
		this.run = run;
		this.running = false;
		this.wanted = false;
	}

	async want() {
		this.wanted = true;
		if (this.running) return;
		this.running = true;
		try {
			while (this.wanted) {
				this.wanted = false;
				await this.run();
			}
		} finally {
			this.running = false;
		}
	}
}

/**
 * Run a task now and then again, as long as the page is seen; where it fails, after 1, 2 and then 5 s.
 * @param {(signal: AbortSignal) => Promise<void>} task
 * @param {number} interval ms
 * @param {AbortSignal} signal ends it
 * @param {(error: unknown) => void} failed
 */
export function repeat(task, interval, signal, failed) {
	const waits = [1000, 2000, 5000];
	let failures = 0;
	let timer = 0;
	let running = false;
	const step = async () => {
		clearTimeout(timer);
		if (running || signal.aborted) return;
		running = true;
		let wait = interval;
		try {
			if (!document.hidden) await task(signal);
			failures = 0;
		} catch (error) {
			if (!signal.aborted) failed(error);
			wait = waits[Math.min(failures++, waits.length - 1)];
		}
		running = false;
		if (!signal.aborted && !document.hidden) timer = setTimeout(step, wait);
	};
	document.addEventListener("visibilitychange", () => document.hidden || step(), { signal });
	signal.addEventListener("abort", () => clearTimeout(timer));
	step();
}
