// @ts-check
/** Which page is shown, in which colours, and whether the service is well. */

import { ask, Refused, repeat } from "./api.js";
import { h, s } from "./elements.js";
import { clock, counted } from "./words.js";

/**
 * The pages, each with the module that shows it: what is not looked at is not loaded.
 * @type {Record<string, {title: string, icon: string, module: (path: string[]) => string}>}
 */
const PAGES = {
	playground: {
		title: "Playground",
		icon: "M2 2v12h12M5 11V8M8 11V4M11 11V6",
		module: () => "playground/page.js",
	},
	models: {
		title: "Models",
		icon: "M8 2 14 5 8 8 2 5ZM2 8l6 3 6-3M2 11l6 3 6-3",
		module: (path) => path.length ? "model.js" : "models.js",
	},
	calibration: { title: "Calibration", icon: "M2 14 14 2M2 14h3M14 2v3", module: () => "calibration.js" },
	refits: { title: "Refits", icon: "M13 5A5.5 5.5 0 1 0 13.5 9M13.5 1.5V5H10", module: () => "refits.js" },
	traffic: { title: "Traffic", icon: "M1 8h3l2-5 4 10 2-5h3", module: () => "traffic.js" },
};

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

let leaving = new AbortController();

let failures = 0; // browsers never ask again for a module that failed under the same address

/**
 * @param {string} module of a page
 * @throws {Refused} no answer
 */
async function load(module) {
	try {
		return await import(`./${module}${failures ? `?${failures}` : ""}`);
	} catch (error) {
		if (!(error instanceof TypeError)) throw error;
		failures++;
		throw new Refused(0, null);
	}
}

/** Show what the address says. */
async function show() {
	const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
	const [name, ...rest] = path.split("/").filter(Boolean).map(decodeURIComponent);
	const page = PAGES[name] ?? PAGES.playground;
	leaving.abort();
	leaving = new AbortController();
	const { signal } = leaving;
	const main = byId("main");
	for (const link of document.querySelectorAll("#pages a")) {
		if (link.getAttribute("href") === `#/${name in PAGES ? name : "playground"}`) {
			link.setAttribute("aria-current", "page");
		} else link.removeAttribute("aria-current");
	}
	document.title = `${page.title} · Calibrant`;
	const next = h("div", { className: name in PAGES ? name : "playground" });
	const bones = setTimeout(() => {
		if (!signal.aborted) main.replaceChildren(h("h1", {}, page.title), h("div", { className: "bones" }));
	}, 150);
	try {
		await (await load(page.module(rest))).show(next, rest, new URLSearchParams(query), signal);
	} catch (error) {
		if (!(error instanceof Refused)) throw error;
		next.className = "stack";
		next.replaceChildren(
			h("h1", {}, page.title),
			h("p", { className: "note bad", role: "alert" }, error.message),
			h("p", {}, h("button", { onclick: show }, "Ask again")),
		);
	} finally {
		clearTimeout(bones);
	}
	if (!signal.aborted) main.replaceChildren(next);
}

/** A line a page, and what is wrong with the models. */
function buildRail() {
	for (const [name, { title, icon }] of Object.entries(PAGES)) {
		const link = h(
			"a",
			{ href: `#/${name}` },
			s("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, s("path", { d: icon })),
			title,
		);
		byId("pages").append(h("li", {}, link));
	}
}

/** Look whether the service is ready, and whether each model's newest version is served. */
async function look() {
	const health = byId("health");
	try {
		await ask("readyz");
		health.textContent = "Ready";
		health.className = "health good";
	} catch (error) {
		if (!(error instanceof Refused) || !error.status) throw error;
		health.textContent = error.message;
		health.className = "health warn";
		return;
	}
	const { body } = await ask("v1/models");
	const failed = Object.keys(body.failures).length;
	const link = document.querySelector('#pages a[href="#/models"]');
	link?.querySelector(".badge")?.remove();
	if (failed) {
		link?.append(h("span", { className: "badge" }, failed, h("span", { className: "unseen" }, ` cannot be served`)));
		health.textContent = `Ready, but ${counted(failed, "version")} cannot be served`;
		health.className = "health warn";
	}
}

/** Say since when nothing was heard. */
function unheard() {
	const health = byId("health");
	if (health.classList.contains("bad")) return;
	health.textContent = `No answer since ${clock(new Date())}`;
	health.className = "health bad";
}

/** System, light or dark, kept for the next visit. */
function chooseTheme() {
	const select = /** @type {HTMLSelectElement} */ (byId("theme"));
	select.value = localStorage.getItem("calibrant-theme") ?? "light dark";
	const apply = () => {
		document.documentElement.style.colorScheme = select.value;
		localStorage.setItem("calibrant-theme", select.value);
	};
	select.addEventListener("change", apply);
	apply();
}

buildRail();
chooseTheme();
addEventListener("hashchange", () => show().then(() => byId("main").focus()));
byId("pages").addEventListener("click", () => scrollTo(0, 0));
document.querySelector(".skip")?.addEventListener("click", (event) => {
	event.preventDefault(); // the hash names the page
	byId("main").focus();
});
await show();
repeat(look, 5000, new AbortController().signal, unheard);
