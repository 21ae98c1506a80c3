/* The tool's logic, in plain C: `make test` runs it natively. The hash functions are libtorsion's. */
#ifndef DIGEST_H
#define DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In the order of `algorithm` in wit/world.wit. */
typedef enum {
    DIGEST_MD5,
    DIGEST_SHA1,
    DIGEST_SHA224,
    DIGEST_SHA256,
    DIGEST_SHA384,
    DIGEST_SHA512,
    DIGEST_SHA3_256,
    DIGEST_SHA3_512,
    DIGEST_RIPEMD160,
    DIGEST_BLAKE2S_256,
    DIGEST_BLAKE2B_256,
    DIGEST_BLAKE2B_512,
    DIGEST_ALGORITHMS,
} digest_algorithm_t;

/* In the order of `encoding` in wit/world.wit. */
typedef enum {
    DIGEST_TEXT,
    DIGEST_HEX,
    DIGEST_BASE64,
} digest_encoding_t;

/* Two digits for each of the at most 64 bytes, and the end. */
#define DIGEST_HEX_SIZE 129

/*
 * Decodes `length` bytes in place. Returns false if they aren't what the encoding says, and then `error` is what a person can
 * do about it.
 */
bool digest_decode(digest_encoding_t encoding, uint8_t *data, size_t *length, const char **error);

/* Writes the hash in lower-case hexadecimal. */
void digest_hash(digest_algorithm_t algorithm, const uint8_t *data, size_t length, char hex[DIGEST_HEX_SIZE]);

/*
 * Finds the algorithm by which `data` has the expected hash; `DIGEST_ALGORITHMS` if there is none. Returns false if what is
 * expected isn't the hash of any algorithm.
 */
bool digest_verify(const uint8_t *data, size_t length, const char *expected, size_t expected_length,
                   digest_algorithm_t *algorithm);

#endif
