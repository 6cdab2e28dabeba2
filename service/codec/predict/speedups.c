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

#define ROOM_FOR_ONE 1000000000000000000u /* digits below it are still a uint64 with one more, */
#define ROOM_FOR_EIGHT 100000000000u      /* or with eight */
#define MAX_EXPONENT 9999    /* larger ones are as good as this */
#define LARGEST 1e38         /* within float32, whatever its last digits are */
#define NEAR 0x1p-50         /* relative; more than three roundings */
#define NO_PROBABILITIES 1.1 /* squares of a row of probabilities add up to no more, however they are rounded */

static const double TENS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                              1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
#define MAX_POWER 22

typedef struct {
    const char *start, *end; /* in the body */
    uint64_t digits;         /* the first 19 of them, which a uint64 holds */
    long power;              /* of ten, that they are multiplied by */
    int negative;
} Decimal;

typedef struct {
    float *values; /* room for one in two bytes of the body: each number has a comma or a bracket behind it */
    size_t room, n, n_rows, k; /* numbers, rows, numbers of each row */
    size_t n_masked;           /* rows */
    int nested, masks_nested;  /* rows in a list */
    int negative;              /* a number below 0 */
    double squares;            /* their sum, about */
    double *temperatures;      /* where some came */
    size_t n_temperatures;
    int listed;
} Usual;

/* From `at`, in a body that ends at `end`, to behind what was found there; NULL where another way must look. */
typedef const char *Read(const char *at, const char *end, Usual *found);

static const char *skip_space(const char *at) {
    while (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')
        at++;
    return at;
}

static int is_digit(char c) { return (unsigned char)(c - '0') < 10; }

/* Behind the digits at `at`; those that do not fit into `digits` are counted in `power`. */
static inline const char *read_digits(const char *at, uint64_t *digits, long *power) {
    for (; is_digit(*at); at++) {
        if (*digits < ROOM_FOR_ONE)
            *digits = 10 * *digits + (uint64_t)(*at - '0');
        else
            ++*power;
    }
    return at;
}

/* Behind as many of them as surely fit, up to eight at a time as the bytes of a word: no branch asks where they end,
 * which is hard to predict. */
static inline const char *read_eights(const char *at, const char *end, uint64_t *digits) {
#if defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    static const uint64_t tens[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};
    const uint64_t each = 0x0101010101010101, halves = 0x000000ff000000ff;
    while (is_digit(*at) && *digits < ROOM_FOR_EIGHT && end - at >= 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        word ^= '0' * each; /* digits are bytes up to 9 now */
        uint64_t others = (((word & 0x7f * each) + 0x76 * each) | word) & 0x80 * each;
        int n = others == 0 ? 8 : __builtin_ctzll(others) / 8;
        word <<= 8 * (8 - n); /* zeros before them, nothing behind */
        word = 10 * word + (word >> 8); /* in every other byte two digits, */
        word = ((word & halves) * (100 + (1000000ull << 32)) + ((word >> 16) & halves) * (1 + (10000ull << 32))) >> 32;
        *digits = *digits * tens[n] + word;
        at += n;
    }
#endif
    return at;
}

/* What stands at `at`, a number of JSON; NULL if it is none. */
static inline const char *read_decimal(const char *at, const char *end, Decimal *number) {
    number->start = at;
    number->negative = *at == '-';
    at += number->negative;
    if (!is_digit(*at) || ((*at == '0') & is_digit(at[1]))) /* no branch for each 0 before a point */
        return NULL;
    uint64_t digits = 0;
    long power = 0;
    at = read_digits(at, &digits, &power);
    if (*at == '.') {
        const char *point = ++at;
        if (!is_digit(*at))
            return NULL;
        at = read_digits(read_eights(at, end, &digits), &digits, &power);
        power -= at - point;
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

/* The nearest float64, or, if `narrow`, one about that whose float32 is the same; NaN where Python does not know it. */
static inline double convert(const Decimal *number, int narrow) {
    static const double signs[] = {1, -1}; /* no branch: they are hard to predict */
    uint64_t digits = number->digits;
    long power = number->power;
    if (digits == 0 || (-MAX_POWER <= power && power <= MAX_POWER)) {
        double value = digits == 0 ? 0 : power < 0 ? (double)digits / TENS[-power] : (double)digits * TENS[power];
        value *= signs[number->negative];
        if (digits <= (uint64_t)1 << 53 || (narrow && (float)(value * (1 - NEAR)) == (float)(value * (1 + NEAR))))
            return value;
    }
    char *end;
    double value = PyOS_string_to_double(number->start, &end, NULL);
    if (PyErr_Occurred()) {
        PyErr_Clear();
        return NAN;
    }
    return end == number->end ? value : NAN;
}

/* Behind a row of numbers; `at` is its bracket. */
static const char *read_row(const char *at, const char *end, Usual *found) {
    size_t before = found->n;
    do {
        Decimal number;
        at = read_decimal(skip_space(at + 1), end, &number);
        if (at == NULL || found->n == found->room)
            return NULL;
        double value = convert(&number, 1);
        if (!(fabs(value) < LARGEST))
            return NULL;
        found->values[found->n++] = (float)value;
        found->negative |= value < 0;
        found->squares += value * value;
        at = skip_space(at);
    } while (*at == ',');
    size_t k = found->n - before;
    if (*at != ']' || (found->n_rows && k != found->k))
        return NULL;
    found->k = k;
    found->n_rows++;
    return at + 1;
}

/* Behind a row of booleans: -inf is put where one is false. No branch asks which, as they are hard to predict. */
static const char *mask_row(const char *at, const char *end, Usual *found) {
    static const float minus_infinity = -INFINITY;
    if (found->n_masked == found->n_rows) /* the logits come first */
        return NULL;
    const size_t k = found->k;
    float *values = found->values + k * found->n_masked++;
    uint32_t masked, any = 0;
    memcpy(&masked, &minus_infinity, sizeof masked);
    for (size_t i = 0; i < k; i++) {
        at = skip_space(at + 1);
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
        if (*at != (i + 1 < k ? ',' : ']'))
            return NULL;
    }
    return any ? at + 1 : NULL; /* a row without a class is not usual */
}

/* Behind one row, or a list of rows, which `read` reads. */
static const char *read_rows(const char *at, const char *end, Usual *found, Read *read, int *nested) {
    if (*at != '[')
        return NULL;
    *nested = *skip_space(at + 1) == '[';
    if (!*nested)
        return read(at, end, found);
    do {
        at = skip_space(at + 1);
        if (*at != '[' || (at = read(at, end, found)) == NULL)
            return NULL;
        at = skip_space(at);
    } while (*at == ',');
    return *at == ']' ? at + 1 : NULL;
}

static const char *read_temperatures(const char *at, const char *end, Usual *found) {
    found->listed = *at == '[';
    found->temperatures = PyMem_Malloc(found->room * sizeof(double));
    if (found->temperatures == NULL)
        return NULL;
    do {
        Decimal number;
        at = read_decimal(found->listed ? skip_space(at + 1) : at, end, &number);
        if (at == NULL || found->n_temperatures == found->room)
            return NULL;
        double value = convert(&number, 0);
        if (!(0 < value && value < LARGEST))
            return NULL;
        found->temperatures[found->n_temperatures++] = value;
        if (!found->listed)
            return at;
        at = skip_space(at);
    } while (*at == ',');
    return *at == ']' ? at + 1 : NULL;
}

static const char *const KEYS[] = {"\"logits\"", "\"mask\"", "\"temperature\""};
enum { LOGITS, MASK, TEMPERATURE, N_KEYS };

static int key_at(const char *at) {
    int key = 0;
    while (key < N_KEYS && strncmp(at, KEYS[key], strlen(KEYS[key])) != 0)
        key++;
    return key;
}

/* Whether there are no other keys, nor strings: seen before the numbers are read, which would be for nothing. */
static int has_usual_keys(const char *at, const char *end) {
    while ((at = memchr(at, '"', (size_t)(end - at))) != NULL) {
        int key = key_at(at);
        if (key == N_KEYS)
            return 0;
        at += strlen(KEYS[key]);
    }
    return 1;
}

/* Whether the body is usual. */
static int read_body(const char *at, const char *end, Usual *found) {
    int seen[N_KEYS + 1] = {0};
    at = skip_space(at);
    if (*at != '{' || !has_usual_keys(at, end))
        return 0;
    do {
        at = skip_space(at + 1);
        int key = key_at(at);
        if (key == N_KEYS || seen[key]++)
            return 0;
        at = skip_space(at + strlen(KEYS[key]));
        if (*at != ':')
            return 0;
        at = skip_space(at + 1);
        at = key == LOGITS ? read_rows(at, end, found, read_row, &found->nested)
             : key == MASK ? read_rows(at, end, found, mask_row, &found->masks_nested)
                           : read_temperatures(at, end, found);
        if (at == NULL)
            return 0;
        at = skip_space(at);
    } while (*at == ',');
    if (*at != '}' || skip_space(at + 1) != end || !seen[LOGITS])
        return 0;
    if (seen[MASK] && (found->n_masked != found->n_rows || found->masks_nested != found->nested))
        return 0;
    if (found->listed && found->n_temperatures != found->n_rows)
        return 0;
    /* what may be probabilities wants a closer look */
    return found->negative || found->squares > NO_PROBABILITIES * (double)found->n_rows;
}

/* The value of the temperatures: None, a float of all rows, or the bytes of float64, one a row. */
static PyObject *temperature_value(const Usual *found) {
    if (found->n_temperatures == 0)
        return Py_NewRef(Py_None);
    if (found->n_temperatures == 1)
        return PyFloat_FromDouble(found->temperatures[0]);
    size_t size = found->n_temperatures * sizeof(double);
    return PyBytes_FromStringAndSize((const char *)found->temperatures, (Py_ssize_t)size);
}

static PyObject *read_usual(PyObject *module, PyObject *body) {
    char *start;
    Py_ssize_t n_bytes;
    if (!PyBytes_Check(body)) /* over gRPC it is a message */
        Py_RETURN_NONE;
    if (PyBytes_AsStringAndSize(body, &start, &n_bytes) < 0)
        return NULL;
    Usual found = {.room = (size_t)n_bytes / 2};
    found.values = PyMem_Malloc(found.room * sizeof(float));
    PyObject *value = NULL;
    if (found.values == NULL)
        PyErr_NoMemory();
    else if (read_body(start, start + n_bytes, &found))
        value = Py_BuildValue("(y#nNOO)", (char *)found.values, (Py_ssize_t)(found.n * sizeof(float)),
                              (Py_ssize_t)found.k, temperature_value(&found), found.listed ? Py_True : Py_False,
                              found.nested ? Py_True : Py_False);
    else
        value = Py_NewRef(Py_None);
    PyMem_Free(found.values);
    PyMem_Free(found.temperatures);
    return value;
}

static PyMethodDef methods[] = {
    {"read_usual", read_usual, METH_O, "The logits of a usual body, masked; see usual.py."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "speedups", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_speedups(void) { return PyModuleDef_Init(&definition); }
