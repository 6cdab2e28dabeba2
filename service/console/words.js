// @ts-check
/** Numbers and times as text. */

const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** @param {number} exponent */
const raised = (exponent) =>
	(exponent < 0 ? "⁻" : "") + [...String(Math.abs(exponent))].map((digit) => RAISED[Number(digit)]).join("");

/** @param {number} exponent */
export const powerOfTen = (exponent) => exponent === 0 ? "1" : `10${raised(exponent)}`;

/** @param {number} value */
function power(value) {
	const [digits, exponent] = value.toExponential(1).split("e");
	return `${digits} × 10${raised(Number(exponent))}`;
}

/**
 * A probability: 0 and 1 only where it is exactly that.
 * @param {number | null | undefined} p
 */
export function share(p) {
	if (p === null || p === undefined) return "–";
	if (p === 0 || p === 1) return p === 0 ? "0" : "100 %";
	if (p < 0.001) return power(p);
	if (p > 0.9999) return `1 − ${power(1 - p)}`;
	return `${(100 * p).toFixed(2)} %`;
}

/**
 * A share that was measured, to a tenth of a percent.
 * @param {number | null | undefined} p
 */
export const percent = (p) => p === null || p === undefined ? "–" : `${(100 * p).toFixed(1)} %`.replace("-", "−");

/**
 * A number to some digits, without zeros at its end.
 * @param {number | null | undefined} value
 * @param {number} [digits]
 */
export function number(value, digits = 4) {
	if (value === null || value === undefined) return "–";
	if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6)) return power(value);
	return String(Number(value.toPrecision(digits))).replace("-", "−");
}

/** @param {number} count */
export const whole = (count) => Math.round(count).toLocaleString("en-GB").replaceAll(",", " ");

/**
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 */
export const counted = (count, one, many = `${one}s`) => `${whole(count)} ${count === 1 ? one : many}`;

/** @param {number | null | undefined} value seconds */
export function seconds(value) {
	if (value === null || value === undefined) return "–";
	if (value < 1e-6) return value ? `${number(value * 1e9, 2)} ns` : "≈ 0";
	if (value < 1e-3) return `${number(value * 1e6, 3)} µs`;
	return value < 1 ? `${number(value * 1e3, 3)} ms` : `${number(value, 3)} s`;
}

/** @param {Date} moment */
export const clock = (moment) => moment.toTimeString().slice(0, 8);

/** @param {number | null} at seconds since 1970 */
export const moment = (at) => at === null ? "–" : new Date(1000 * at).toLocaleString("sv").slice(0, 16);

/** @param {string} moment as ISO 8601 has it */
export const day = (moment) => moment.replace("T", " ").slice(0, 16);

const METHODS = /** @type {Record<string, string>} */ ({
	none: "nothing",
	temperature: "one temperature",
	bias: "a bias a class",
	vector: "a scale and a bias a class",
	matrix: "a matrix",
	entropy: "a temperature a row, by its entropy",
	groups: "a temperature a group",
	top: "the confidence of the best class",
});

/**
 * What a head was calibrated by.
 * @param {string | undefined} method
 */
export const method = (method) => (method ?? "none").split("+").map((part) => METHODS[part] ?? part).join(" + ");

/** What metrics are called, whether they are shares, and whether more is better. */
export const METRICS = /** @type {Record<string, string>} */ ({
	nll: "Negative log-likelihood",
	bce: "Binary cross-entropy",
	brier: "Brier score",
	brier_calibration: "Brier score: calibration",
	brier_refinement: "Brier score: refinement",
	accuracy: "Accuracy",
	ece: "Calibration error (ECE)",
	ece_mass: "ECE, bins of equal mass",
	ece_sweep: "ECE, monotonic sweep",
	ece_macro: "ECE, mean over classes",
	debiased_l2: "Debiased L2 error",
	mce: "Largest error of a bin",
	ks: "Kolmogorov–Smirnov error",
	aurc: "Area under the risk–coverage curve",
	classwise_ece: "Class-wise ECE",
	smooth_ece: "Smooth ECE",
	impossible: "Share of impossible rows",
	loss: "The family's own loss",
});
