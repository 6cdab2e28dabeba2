/* read_usual: the body of a usual request to masked float32 in one pass. Its plain twin is in usual.py.
 *
 * A usual body is one object of `logits`, then perhaps `mask`, and anywhere `temperature`, in JSON without escapes;
 * the arrays are one row or a list of rows. Anything else is None: another way must look, and says what is wrong.
 *
 * The body is a bytes object, behind whose end stands a NUL. No token has one, so what reads byte by byte stops there;
 * what looks at several bytes at once asks `end` first.
 *
 * A number must become the float32 nearest to the float64 nearest to its digits, as in Python. Up to 2^53 with a power
 * of ten up to 22, one division or product is that float64. Longer ones are three roundings of 2^-53 off: if both
 * neighbours 2^-50 away have the same float32, that is it. The rest are Python's to convert.
 */
#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#define MAX_DIGITS 19        /* that a uint64 holds */
#define MAX_EXPONENT 9999    /* larger ones are as good as this */
#define LARGEST 1e38         /* within float32, whatever its last digits are */
#define NEAR 0x1p-50         /* relative; more than three roundings */
#define NO_PROBABILITIES 1.1 /* squares of a row of probabilities add up to no more, however they are rounded */

static const double TENS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                              1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
#define MAX_POWER 22

typedef struct {
    const char *start, *end; /* in the body */
    uint64_t digits;         /* the first MAX_DIGITS of them */
    long power;              /* of ten, that they are multiplied by */
    int negative;
} Decimal;

typedef struct {
    float *values; /* room for one in two bytes of the body: each number has a comma or a bracket behind it */
    size_t room, n, n_rows, k; /* numbers, rows, numbers of each row */
    int nested, negative; /* rows in a list; a number below 0 */
    double squares;       /* their sum, about */
} Logits;

static const char *skip_space(const char *at) {
    while (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')
        at++;
    return at;
}

static int is_digit(char c) { return (unsigned char)(c - '0') < 10; }

/* What stands at `at`, a number of JSON; NULL if it is none. */
static const char *read_decimal(const char *at, Decimal *number) {
    number->start = at;
    number->negative = *at == '-';
    at += number->negative;
    if (!is_digit(*at) || (*at == '0' && is_digit(at[1])))
        return NULL;
    uint64_t digits = 0;
    long power = 0;
    int n = 0; /* digits that count */
    for (; is_digit(*at); at++) {
        if (n < MAX_DIGITS) {
            digits = 10 * digits + (uint64_t)(*at - '0');
            n += digits != 0;
        } else {
            power++;
        }
    }
    if (*at == '.') {
        if (!is_digit(*++at))
            return NULL;
        for (; is_digit(*at); at++) {
            if (n < MAX_DIGITS) {
                digits = 10 * digits + (uint64_t)(*at - '0');
                n += digits != 0;
                power--;
            }
        }
    } else if (digits == 0) {
        number->negative = 0; /* the integer -0 is 0 */
    }
    if (*at == 'e' || *at == 'E') {
        at++;
        int below = *at == '-';
        at += *at == '-' || *at == '+';
        if (!is_digit(*at))
            return NULL;
        long exponent = 0;
        for (; is_digit(*at); at++)
            if (exponent <= MAX_EXPONENT)
                exponent = 10 * exponent + (*at - '0');
        power += below ? -exponent : exponent;
        number->negative = *number->start == '-';
    }
    number->digits = digits;
    number->power = power;
    return number->end = at;
}

/* The nearest float64, by Python; NaN where it cannot say. */
static double convert_exactly(const Decimal *number) {
    char *end;
    double value = PyOS_string_to_double(number->start, &end, NULL);
    if (PyErr_Occurred()) {
        PyErr_Clear();
        return NAN;
    }
    return end == number->end ? value : NAN;
}

/* About the number; whether that is its nearest float64 is `exact`. NaN where only `convert_exactly` knows. */
static inline double convert(const Decimal *number, int *exact) {
    double value = (double)number->digits;
    if (number->power < -MAX_POWER || number->power > MAX_POWER) {
        if (number->digits)
            return NAN;
    } else if (number->power < 0) {
        value /= TENS[-number->power];
    } else {
        value *= TENS[number->power];
    }
    *exact = number->digits <= (uint64_t)1 << 53;
    return number->negative ? -value : value;
}

static double to_double(const Decimal *number) {
    int exact = 0;
    double value = convert(number, &exact);
    return exact ? value : convert_exactly(number);
}

/* The float32 of the nearest float64, and that, about; NaN as above. */
static inline float to_float(const Decimal *number, double *about) {
    int exact = 0;
    double value = convert(number, &exact);
    if (!exact && !((float)(value * (1 - NEAR)) == (float)(value * (1 + NEAR))))
        value = convert_exactly(number);
    *about = value;
    return (float)value;
}

/* A row of numbers from behind its bracket to behind its other one. */
static const char *read_row(const char *at, Logits *logits) {
    size_t before = logits->n;
    for (;; at++) {
        Decimal number;
        double about;
        at = read_decimal(skip_space(at), &number);
        if (at == NULL)
            return NULL;
        float value = to_float(&number, &about);
        if (!(fabs(about) < LARGEST) || logits->n == logits->room)
            return NULL;
        logits->values[logits->n++] = value;
        logits->negative |= about < 0;
        logits->squares += about * about;
        at = skip_space(at);
        if (*at != ',')
            break;
    }
    size_t k = logits->n - before;
    if (*at != ']' || (logits->n_rows && k != logits->k))
        return NULL;
    logits->k = k;
    logits->n_rows++;
    return at + 1;
}

static const char *read_logits(const char *at, Logits *logits) {
    if (*at++ != '[')
        return NULL;
    at = skip_space(at);
    if (*at != '[')
        return read_row(at, logits);
    logits->nested = 1;
    for (;; at = skip_space(at + 1)) {
        if (*at != '[' || (at = read_row(at + 1, logits)) == NULL)
            return NULL;
        at = skip_space(at);
        if (*at != ',')
            break;
    }
    return *at == ']' ? at + 1 : NULL;
}

/* A row of booleans as above: -inf is put where one is false. No branch asks which, as they are hard to predict. */
static const char *mask_row(const char *at, const char *end, float *values, size_t k) {
    static const float minus_infinity = -INFINITY;
    uint32_t masked, any = 0;
    memcpy(&masked, &minus_infinity, sizeof masked);
    for (size_t i = 0; i < k; i++) {
        at = skip_space(at);
        if (end - at < 6) /* the longer one, and a bracket */
            return NULL;
        uint32_t yes = memcmp(at, "true", 4) == 0, no = memcmp(at, "fals", 4) == 0 && at[4] == 'e', value;
        if (!(yes | no))
            return NULL;
        memcpy(&value, values + i, sizeof value);
        value = (value & -yes) | (masked & -no);
        memcpy(values + i, &value, sizeof value);
        any |= yes;
        at = skip_space(at + 4 + no);
        if (*at++ != (i + 1 < k ? ',' : ']'))
            return NULL;
    }
    return any ? at : NULL; /* a row without a class is not usual */
}

static const char *read_mask(const char *at, const char *end, Logits *logits) {
    if (logits->n == 0 || *at++ != '[')
        return NULL;
    if (!logits->nested)
        return mask_row(at, end, logits->values, logits->k);
    for (size_t row = 0; row < logits->n_rows; row++) {
        at = skip_space(at);
        if (*at != '[' || (at = mask_row(at + 1, end, logits->values + row * logits->k, logits->k)) == NULL)
            return NULL;
        at = skip_space(at);
        if (*at++ != (row + 1 < logits->n_rows ? ',' : ']'))
            return NULL;
    }
    return at;
}

static const char *read_temperature(const char *at, double *temperature, int *listed) {
    Decimal number;
    *listed = *at == '[';
    at = read_decimal(*listed ? skip_space(at + 1) : at, &number);
    if (at == NULL)
        return NULL;
    *temperature = to_double(&number);
    if (!(0 < *temperature && *temperature < LARGEST))
        return NULL;
    if (!*listed)
        return at;
    at = skip_space(at);
    return *at == ']' ? at + 1 : NULL;
}

/* Behind a key and its colon, if it is that key and comes for the first time. */
static const char *read_key(const char *at, const char *key, int *seen) {
    size_t n = strlen(key);
    if (*seen || strncmp(at, key, n) != 0)
        return NULL;
    *seen = 1;
    at = skip_space(at + n);
    return *at == ':' ? skip_space(at + 1) : NULL;
}

/* Whether the body is usual. */
static int read_body(const char *at, const char *end, Logits *logits, double *temperature, int *listed) {
    int has_logits = 0, has_mask = 0, has_temperature = 0;
    at = skip_space(at);
    if (*at != '{')
        return 0;
    do {
        const char *key = skip_space(at + 1);
        if ((at = read_key(key, "\"logits\"", &has_logits)) != NULL)
            at = read_logits(at, logits);
        else if ((at = read_key(key, "\"mask\"", &has_mask)) != NULL)
            at = read_mask(at, end, logits);
        else if ((at = read_key(key, "\"temperature\"", &has_temperature)) != NULL)
            at = read_temperature(at, temperature, listed);
        if (at == NULL)
            return 0;
        at = skip_space(at);
    } while (*at == ',');
    if (*at != '}' || skip_space(at + 1) != end || !has_logits)
        return 0;
    if (*listed && logits->n_rows != 1)
        return 0;
    /* what may be probabilities wants a closer look */
    return logits->negative || logits->squares > NO_PROBABILITIES * (double)logits->n_rows;
}

static PyObject *read_usual(PyObject *module, PyObject *body) {
    char *start;
    Py_ssize_t n_bytes;
    if (!PyBytes_Check(body)) /* over gRPC it is a message */
        Py_RETURN_NONE;
    if (PyBytes_AsStringAndSize(body, &start, &n_bytes) < 0)
        return NULL;
    Logits logits = {.room = (size_t)n_bytes / 2};
    logits.values = PyMem_Malloc(logits.room * sizeof(float));
    if (logits.values == NULL)
        return PyErr_NoMemory();
    double temperature = 0;
    int listed = 0;
    PyObject *found = NULL;
    if (read_body(start, start + n_bytes, &logits, &temperature, &listed)) {
        PyObject *given = temperature > 0 ? PyFloat_FromDouble(temperature) : Py_NewRef(Py_None);
        found = Py_BuildValue("(y#nNOO)", (char *)logits.values, (Py_ssize_t)(logits.n * sizeof(float)),
                              (Py_ssize_t)logits.k, given, listed ? Py_True : Py_False,
                              logits.nested ? Py_True : Py_False);
    } else {
        found = Py_NewRef(Py_None);
    }
    PyMem_Free(logits.values);
    return found;
}

static PyMethodDef methods[] = {
    {"read_usual", read_usual, METH_O, "The logits of a usual body, masked; see usual.py."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "speedups", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_speedups(void) { return PyModuleDef_Init(&definition); }
