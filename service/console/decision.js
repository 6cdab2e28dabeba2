// @ts-check
/** The dialog before whatever changes something: it wants a name, unless a key has one, and Cancel has the focus. */

import { hasKey, Refused } from "./api.js";
import { h } from "./elements.js";

/**
 * @param {{title: string, text: string, verb: string, send: (body: {by?: string}) => Promise<any>, done?: () => void}} what
 *   `send` may be refused, which is told in the dialog; `done` comes after it.
 */
export function decide({ title, text, verb, send, done }) {
	const by = h("input", { type: "text", required: !hasKey(), maxLength: 256, autocomplete: "name" });
	const wrong = h("p", { className: "note bad", role: "alert" });
	const button = h("button", { className: "main" }, verb);
	const submit = async (/** @type {Event} */ event) => {
		event.preventDefault();
		button.disabled = true;
		try {
			await send(by.value ? { by: by.value } : {});
			dialog.close();
			done?.();
		} catch (error) {
			if (!(error instanceof Refused)) throw error;
			wrong.textContent = error.message;
		} finally {
			button.disabled = false;
		}
	};
	const cancel = h("button", { type: "button", autofocus: true, onclick: () => dialog.close() }, "Cancel");
	const dialog = h(
		"dialog",
		{ "aria-labelledby": "decision" },
		h(
			"form",
			{ onsubmit: submit },
			h("h2", { id: "decision" }, title),
			h("p", { className: "soft" }, text),
			h("label", {}, "Your name ", by),
			hasKey() && h("small", {}, "The name of your API key counts, where it has one."),
			wrong,
			h("div", { className: "actions" }, cancel, button),
		),
	);
	dialog.addEventListener("close", () => dialog.remove());
	addEventListener("hashchange", () => dialog.close(), { once: true });
	document.body.append(dialog);
	dialog.showModal();
}
