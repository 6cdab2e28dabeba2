// @ts-check
/** Elements of the page, built from names, properties and children. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @typedef {Node | string | number | null | undefined | false} Child
 * @typedef {Record<string, any>} Properties
 */

/**
 * @template {Element} E
 * @param {E} element
 * @param {Properties} properties
 * @param {Child[]} children
 */
function fill(element, properties, children) {
	for (const [name, value] of Object.entries(properties)) {
		if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
		else if (name === "style") Object.assign(/** @type {any} */ (element).style, value); // the CSP forbids the attribute
		else if (name in element && element instanceof HTMLElement) {
			/** @type {any} */ (element)[name] = value;
		} else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
	}
	element.append(...children.filter((child) => child !== null && child !== undefined && child !== false).map(asNode));
	return element;
}

/** @param {any} child */
const asNode = (child) => child instanceof Node ? child : String(child);

/**
 * An HTML element.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Properties} [properties]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, properties = {}, ...children) {
	return fill(document.createElement(tag), properties, children);
}

/**
 * An SVG element.
 * @param {string} tag
 * @param {Properties} [properties]
 * @param {...Child} children
 */
export function s(tag, properties = {}, ...children) {
	return fill(document.createElementNS(SVG, tag), properties, children);
}

/**
 * Options of a select.
 * @param {[string, string][]} pairs values and texts
 * @param {string} chosen
 */
export function options(pairs, chosen) {
	return pairs.map(([value, text]) => h("option", { value, selected: value === chosen }, text));
}

/**
 * A labelled select.
 * @param {string} label
 * @param {[string, string][]} pairs
 * @param {string} chosen
 * @param {(value: string) => void} choose
 */
export function select(label, pairs, chosen, choose) {
	const element = h("select", {}, ...options(pairs, chosen));
	element.addEventListener("change", () => choose(element.value));
	return h("label", {}, h("span", {}, label), element);
}

/**
 * A row of buttons of which one is pressed.
 * @param {string} label
 * @param {[string, string][]} pairs
 * @param {string} chosen
 * @param {(value: string) => void} choose
 */
export function choice(label, pairs, chosen, choose) {
	const buttons = pairs.map(([value, text]) =>
		h("button", {
			type: "button",
			"aria-pressed": String(value === chosen),
			onclick: (/** @type {Event} */ event) => {
				for (const button of buttons) button.setAttribute("aria-pressed", String(button === event.currentTarget));
				choose(value);
			},
		}, text)
	);
	return h("div", { className: "choice", role: "group", "aria-label": label }, ...buttons);
}

/**
 * A table whose first column names the rows.
 * @param {string} caption for who does not see it
 * @param {string[]} names of the columns
 * @param {Child[][]} rows
 * @param {number} [texts] how many columns are text; the others are numbers
 */
export function table(caption, names, rows, texts = 1) {
	const kind = (/** @type {number} */ i) => i < texts ? "" : "number";
	const head = names.map((name, i) => h("th", { scope: "col", className: kind(i) }, name));
	const body = rows.map(([first, ...rest]) =>
		h("tr", {}, h("th", { scope: "row" }, first), ...rest.map((cell, i) => h("td", { className: kind(i + 1) }, cell)))
	);
	return h(
		"div",
		{ className: "scroll", tabIndex: 0, role: "region", "aria-label": caption },
		h("table", {}, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...body)),
	);
}

/**
 * The numbers of a chart, folded.
 * @param {string} caption
 * @param {string[]} names
 * @param {Child[][]} rows
 */
export function numbers(caption, names, rows) {
	return h("details", {}, h("summary", {}, "Numbers"), table(caption, names, rows));
}

/**
 * Panel of a page.
 * @param {string} title
 * @param {Child} aside right of the title
 * @param {...Child} children
 */
export function panel(title, aside, ...children) {
	return h(
		"section",
		{ className: "panel", "aria-label": title },
		h("header", {}, h("h2", {}, title), aside),
		...children,
	);
}

/**
 * The head of a page.
 * @param {{up?: string, title: string, about?: Child}} what `up` is the page above
 * @param {...Child} controls
 */
export function heading({ up, title, about }, ...controls) {
	return h(
		"div",
		{ className: "head" },
		h(
			"div",
			{},
			up && h("p", {}, h("a", { href: `#/${up.toLowerCase()}` }, up), " /"),
			h("h1", {}, title),
			about && h("p", { className: "soft" }, about),
		),
		controls.length > 0 && h("div", { className: "controls" }, ...controls),
	);
}

/**
 * What would be here and why it is not, with the command that brings it.
 * @param {string} sentence
 * @param {string} [command]
 */
export const empty = (sentence, command) =>
	h("div", { className: "empty" }, h("p", {}, sentence), command && h("pre", {}, command));

/**
 * A state as a sign and a word.
 * @param {string} sign
 * @param {string} kind good, warn or bad
 * @param {string} word
 */
export const stateMark = (sign, kind, word) =>
	h("span", { className: `state ${kind}` }, h("span", { "aria-hidden": "true" }, `${sign} `), word);

/**
 * Name, value and what is to be said of it.
 * @param {[string, Child, Child][]} triples
 */
export function figures(triples) {
	const cells = triples.map(([name, value, more]) =>
		h("div", {}, h("dt", {}, name), h("dd", {}, value), h("dd", {}, more ?? ""))
	);
	return h("dl", { className: "panel figures" }, ...cells);
}

/**
 * Names and values.
 * @param {[string, Child][]} pairs
 */
export const facts = (pairs) =>
	h("dl", { className: "facts" }, ...pairs.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));

let speaking = 0;

/**
 * Say it to who listens, half a second after the last change.
 * @param {string} sentence
 */
export function speak(sentence) {
	clearTimeout(speaking);
	speaking = setTimeout(() => {
		/** @type {HTMLElement} */ (document.getElementById("spoken")).textContent = sentence;
	}, 500);
}
