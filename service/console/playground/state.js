// @ts-check
/** What the playground asks: a state that an address holds, and the request that follows from it. */

/**
 * @typedef {number | null} Logit null is no score
 * @typedef {{
 *   model: string, version: string, rows: Logit[][][], row: number, allowed: boolean[],
 *   temperature: number | null, alpha: number | null, prior: number[] | null, abstain: number | null,
 *   group: string, inputs: string, compare: string, scale: string,
 * }} State
 * rows are [row][member][class]; one member where the head averages none
 */

/** @typedef {{model: string, version: string, versions: string[], family: string, takes: string, method: string, classes: number | null,
 *   temperature: number, inputs: string[], metadata: any}} Model */

/** @param {Model} model */
export const labelsOf = (model) => /** @type {string[] | undefined} */ (model.metadata.labels);

/**
 * What a class is called.
 * @param {Model} model
 * @param {number} k
 */
export const nameOf = (model, k) => labelsOf(model)?.[k] ?? `class ${k}`;

/** @param {Model} model */
export const averages = (model) => Boolean(model.metadata.ensemble);

/** @param {Model} model */
export const hasSets = (model) => Object.keys(model.metadata.conformal ?? {}).length > 0;

/**
 * Logits to begin with: one class leads, one is close to it.
 * @param {number} classes
 * @param {string} kind sure, torn, flat or random
 * @returns {Logit[]}
 */
export function example(classes, kind) {
	const random = () => Math.round(40 * Math.random() - 20) / 2;
	const row = Array.from({ length: classes }, (_, i) => kind === "random" ? random() : (i * 7) % 3);
	if (kind === "flat") return row.map(() => 1);
	if (kind === "sure") row[0] = 14;
	if (kind === "torn") {
		row[0] = 9;
		if (classes > 1) row[Math.floor(classes / 2)] = 8.5;
		if (classes > 3) row[classes - 2] = 7;
	}
	return row;
}

/**
 * A state for a model, as new.
 * @param {Model} model
 * @returns {State}
 */
export function begin(model) {
	const classes = model.classes ?? 4;
	const row = example(classes, "torn");
	const members = model.metadata.ensemble?.weights?.length ?? 2;
	const rows = averages(model)
		? Array.from({ length: members }, (_, m) => row.map((x, k) => m === k ? Number(x) + 2 : x))
		: [row];
	return {
		model: model.model,
		version: model.version,
		rows: [rows],
		row: 0,
		allowed: row.map(() => true),
		temperature: null,
		alpha: hasSets(model) ? 0.1 : null,
		prior: null,
		abstain: null,
		group: "",
		inputs: "",
		compare: model.temperature === 1 ? "" : "t1",
		scale: "linear",
	};
}

/**
 * The state in an address, over what is there to begin with.
 * @param {URLSearchParams} query
 * @param {State} state
 */
export function fromAddress(query, state) {
	const read = (/** @type {string} */ name) => {
		try {
			return JSON.parse(query.get(name) ?? "null");
		} catch {
			return null;
		}
	};
	const rows = read("rows");
	if (wellFormed(rows)) state.rows = rows;
	const masked = read("masked");
	state.allowed = state.rows[0][0].map((_, k) => !(Array.isArray(masked) && masked.includes(k)));
	const positive = (/** @type {any} */ value) => typeof value === "number" && value > 0 ? value : null;
	state.temperature = positive(read("temperature"));
	if (query.has("alpha")) state.alpha = positive(read("alpha"));
	state.abstain = positive(read("abstain"));
	const prior = read("prior");
	state.prior = Array.isArray(prior) && prior.every((x) => typeof x === "number") ? prior : null;
	state.group = query.get("group") ?? "";
	state.inputs = query.get("inputs") ?? state.inputs;
	state.compare = query.get("compare") ?? state.compare;
	state.scale = query.get("scale") ?? state.scale;
	return state;
}

/**
 * Whether these are rows of members of numbers, all of one shape.
 * @param {any} rows
 * @returns {rows is Logit[][][]}
 */
export function wellFormed(rows) {
	const list = (/** @type {any} */ x) => Array.isArray(x) && x.length > 0;
	if (!list(rows) || !rows.every(list) || !rows.every((/** @type {any} */ row) => row.every(list))) return false;
	const classes = rows[0][0].length;
	return rows.every((/** @type {any} */ row) =>
		row.length === rows[0].length &&
		row.every((/** @type {any} */ member) =>
			member.length === classes && member.every((/** @type {any} */ x) => x === null || typeof x === "number")
		)
	);
}

/** @param {State} state */
export function toAddress(state) {
	const query = new URLSearchParams();
	const masked = state.allowed.flatMap((may, k) => may ? [] : [k]);
	query.set("rows", JSON.stringify(state.rows));
	if (masked.length) query.set("masked", JSON.stringify(masked));
	if (state.temperature !== null) query.set("temperature", String(state.temperature));
	query.set("alpha", String(state.alpha));
	if (state.abstain !== null) query.set("abstain", String(state.abstain));
	if (state.prior) query.set("prior", JSON.stringify(state.prior));
	if (state.group) query.set("group", state.group);
	if (state.inputs) query.set("inputs", state.inputs);
	query.set("compare", state.compare);
	query.set("scale", state.scale);
	return `#/playground/${encodeURIComponent(state.model)}/${state.version}?${query}`;
}

/**
 * What is posted for the row that is shown.
 * @param {State} state
 * @param {Model} model
 * @returns {Record<string, any>}
 */
export function request(state, model) {
	const outputs = ["probabilities", "prediction", "confidence", "entropy"];
	if (model.family === "sigmoid") outputs.splice(2);
	if (averages(model)) outputs.push("mutual_information");
	/** @type {Record<string, any>} */
	const body = {};
	if (model.takes === "logits") {
		const members = state.rows[state.row];
		body.logits = averages(model) ? [members] : members[0];
		if (!state.allowed.every(Boolean)) body.mask = state.allowed;
	} else body.inputs = JSON.parse(state.inputs || "{}");
	if (state.temperature !== null) body.temperature = state.temperature;
	body.outputs = outputs;
	if (state.alpha !== null && state.temperature === null && !state.prior) body.alpha = state.alpha;
	if (state.prior) body.prior = model.metadata.prior ? { new: state.prior } : { new: state.prior, old: uniform(state) };
	if (state.abstain !== null) body.abstain_below = state.abstain;
	if (state.group) body.group = state.group;
	return body;
}

/** @param {State} state */
export const uniform = (state) => state.allowed.map(() => 1 / state.allowed.length);

export const TEMPERATURES = Array.from({ length: 41 }, (_, i) => 2 ** (i * 6 / 40 - 2));

/**
 * The same row at 41 temperatures from 1/4 to 16.
 * @param {State} state
 * @param {Model} model
 */
export function curveRequest(state, model) {
	const { alpha: _alpha, abstain_below: _abstain, temperature: _own, ...body } = request(state, model);
	const row = averages(model) ? body.logits[0] : body.logits;
	return { ...body, logits: TEMPERATURES.map(() => row), temperature: TEMPERATURES, outputs: ["probabilities"] };
}

/**
 * How many lists are inside one another.
 * @param {any} value
 * @returns {number}
 */
const depth = (value) => Array.isArray(value) ? 1 + depth(value[0]) : 0;

/**
 * Logits from text: JSON, or numbers with anything between them, a row a line.
 * @param {string} text
 * @param {boolean} members whether rows have members
 * @returns {Logit[][][]}
 */
export function parse(text, members) {
	let value;
	try {
		value = JSON.parse(text);
		if (!Array.isArray(value)) value = value?.logits;
	} catch {
		value = text.trim().split(/\n+/).map((line) =>
			line.trim().split(/[\s,;]+/).filter(Boolean).map((x) => x === "null" ? null : Number(x))
		);
		if (members) value = [value];
	}
	while (depth(value) < (members ? 3 : 2)) value = [value];
	if (!members) value = value.map((/** @type {any} */ row) => [row]);
	const finite = wellFormed(value) && value.flat(2).every((x) => x === null || Number.isFinite(x));
	if (!finite) throw new SyntaxError("expected rows of numbers, all of one length: JSON, or a row a line");
	return value;
}
