/* Connects the logic with the functions of `wit/world.wit`. `tool.h` is generated when the component is built. */
#include "digest.h"
#include "tool.h"

typedef exports_local_digest_digest_problem_t problem_t;

static bool invalid_input(problem_t *err, const char *text) {
    err->tag = EXPORTS_LOCAL_DIGEST_DIGEST_PROBLEM_INVALID_INPUT;
    tool_string_dup(&err->val.invalid_input, text);
    return false;
}

static bool decode(tool_string_t *data, uint8_t *maybe_encoding, problem_t *err) {
    const char *error = NULL;
    digest_encoding_t encoding = maybe_encoding == NULL ? DIGEST_TEXT : (digest_encoding_t)*maybe_encoding;
    return digest_decode(encoding, data->ptr, &data->len, &error) || invalid_input(err, error);
}

bool exports_local_digest_digest_hash(tool_string_t *data, exports_local_digest_digest_algorithm_t *maybe_algorithm,
                                      exports_local_digest_digest_encoding_t *maybe_encoding, tool_string_t *ret,
                                      problem_t *err) {
    digest_algorithm_t algorithm = maybe_algorithm == NULL ? DIGEST_SHA256 : (digest_algorithm_t)*maybe_algorithm;
    char hex[DIGEST_HEX_SIZE];
    bool decoded = decode(data, maybe_encoding, err);
    if (decoded) {
        digest_hash(algorithm, data->ptr, data->len, hex);
        tool_string_dup(ret, hex);
    }
    /* What the caller passed belongs to this function. */
    tool_string_free(data);
    return decoded;
}

bool exports_local_digest_digest_verify(tool_string_t *data, tool_string_t *expected,
                                        exports_local_digest_digest_encoding_t *maybe_encoding,
                                        exports_local_digest_digest_option_algorithm_t *ret, problem_t *err) {
    digest_algorithm_t algorithm = DIGEST_ALGORITHMS;
    bool valid = decode(data, maybe_encoding, err);
    if (valid) {
        valid = digest_verify(data->ptr, data->len, (const char *)expected->ptr, expected->len, &algorithm) ||
                invalid_input(err, "`expected` isn't the hexadecimal hash of a supported algorithm");
        ret->is_some = algorithm != DIGEST_ALGORITHMS;
        ret->val = (uint8_t)algorithm;
    }
    tool_string_free(data);
    tool_string_free(expected);
    return valid;
}
