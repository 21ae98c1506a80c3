#include "digest.h"

#include <torsion/hash.h>

/* By `digest_algorithm_t`. */
static const hash_id_t IDS[DIGEST_ALGORITHMS] = {
    HASH_MD5,      HASH_SHA1,     HASH_SHA224,    HASH_SHA256,      HASH_SHA384,      HASH_SHA512,
    HASH_SHA3_256, HASH_SHA3_512, HASH_RIPEMD160, HASH_BLAKE2S_256, HASH_BLAKE2B_256, HASH_BLAKE2B_512,
};

/* The value of a hexadecimal digit, or -1. */
static int hex_value(uint8_t digit) {
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    digit |= 'a' - 'A';
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

static bool decode_hex(uint8_t *data, size_t *length) {
    if (*length % 2 != 0) {
        return false;
    }
    for (size_t i = 0; i < *length / 2; i++) {
        int high = hex_value(data[2 * i]), low = hex_value(data[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        data[i] = (uint8_t)(high << 4 | low);
    }
    *length /= 2;
    return true;
}

/* The value of a digit of base64, or -1. */
static int base64_value(uint8_t digit) {
    if (digit >= 'A' && digit <= 'Z') {
        return digit - 'A';
    }
    if (digit >= 'a' && digit <= 'z') {
        return digit - 'a' + 26;
    }
    if (digit >= '0' && digit <= '9') {
        return digit - '0' + 52;
    }
    return digit == '+' ? 62 : digit == '/' ? 63 : -1;
}

static bool decode_base64(uint8_t *data, size_t *length) {
    size_t digits = *length, written = 0;
    uint32_t bits = 0;
    if (digits % 4 == 0) {
        for (int padding = 0; padding < 2 && digits > 0 && data[digits - 1] == '='; padding++) {
            digits--;
        }
    }
    for (size_t i = 0; i < digits; i++) {
        int value = base64_value(data[i]);
        if (value < 0) {
            return false;
        }
        bits = bits << 6 | (uint32_t)value;
        /* Every digit but the first of four completes a byte. */
        if (i % 4 != 0) {
            data[written++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
        }
    }
    *length = written;
    return digits % 4 != 1;
}

bool digest_decode(digest_encoding_t encoding, uint8_t *data, size_t *length, const char **error) {
    switch (encoding) {
    case DIGEST_HEX:
        *error = "`data` isn't hexadecimal: write pairs of the digits 0 to 9 and a to f, without blanks";
        return decode_hex(data, length);
    case DIGEST_BASE64:
        *error = "`data` isn't base64: write the standard alphabet (with + and /), without blanks";
        return decode_base64(data, length);
    default:
        return true;
    }
}

void digest_hash(digest_algorithm_t algorithm, const uint8_t *data, size_t length, char hex[DIGEST_HEX_SIZE]) {
    static const char DIGITS[] = "0123456789abcdef";
    uint8_t bytes[HASH_MAX_OUTPUT_SIZE];
    size_t size = hash_output_size(IDS[algorithm]);
    hash_t hash;
    hash_init(&hash, IDS[algorithm]);
    hash_update(&hash, data, length);
    hash_final(&hash, bytes, size);
    for (size_t i = 0; i < size; i++) {
        hex[2 * i] = DIGITS[bytes[i] >> 4];
        hex[2 * i + 1] = DIGITS[bytes[i] & 15];
    }
    hex[2 * size] = '\0';
}

static bool is_blank(char byte) {
    return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t';
}

static bool is_same_hex(const char *hex, const char *expected, size_t length) {
    for (size_t i = 0; i < length; i++) {
        if (hex_value((uint8_t)hex[i]) != hex_value((uint8_t)expected[i])) {
            return false;
        }
    }
    return true;
}

bool digest_verify(const uint8_t *data, size_t length, const char *expected, size_t expected_length,
                   digest_algorithm_t *algorithm) {
    while (expected_length > 0 && is_blank(expected[0])) {
        expected++, expected_length--;
    }
    while (expected_length > 0 && is_blank(expected[expected_length - 1])) {
        expected_length--;
    }
    for (size_t i = 0; i < expected_length; i++) {
        if (hex_value((uint8_t)expected[i]) < 0) {
            return false;
        }
    }
    bool is_of_a_hash = false;
    for (int candidate = 0; candidate < DIGEST_ALGORITHMS; candidate++) {
        if (2 * hash_output_size(IDS[candidate]) != expected_length) {
            continue;
        }
        is_of_a_hash = true;
        char hex[DIGEST_HEX_SIZE];
        digest_hash((digest_algorithm_t)candidate, data, length, hex);
        if (is_same_hex(hex, expected, expected_length)) {
            *algorithm = (digest_algorithm_t)candidate;
            return true;
        }
    }
    *algorithm = DIGEST_ALGORITHMS;
    return is_of_a_hash;
}
