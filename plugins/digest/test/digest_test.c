#include "digest.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void hashes(digest_algorithm_t algorithm, const char *text, const char *expected) {
    char hex[DIGEST_HEX_SIZE];
    digest_hash(algorithm, (const uint8_t *)text, strlen(text), hex);
    assert(strncmp(hex, expected, strlen(expected)) == 0);
    digest_algorithm_t found;
    assert(digest_verify((const uint8_t *)text, strlen(text), hex, strlen(hex), &found) && found == algorithm);
}

static void decodes(digest_encoding_t encoding, const char *data, const char *expected) {
    uint8_t copy[64];
    size_t length = strlen(data);
    const char *error = NULL;
    memcpy(copy, data, length);
    bool decoded = digest_decode(encoding, copy, &length, &error);
    assert(decoded == (expected != NULL));
    if (decoded) {
        assert(length == strlen(expected) && memcmp(copy, expected, length) == 0);
    } else {
        assert(strstr(error, "`data`") != NULL);
    }
}

static bool verifies(const char *expected, digest_algorithm_t *found) {
    return digest_verify((const uint8_t *)"abc", 3, expected, strlen(expected), found);
}

int main(void) {
    /* Test vectors for "abc", by their first bytes. */
    hashes(DIGEST_MD5, "abc", "900150983cd24fb0d6963f7d28e17f72");
    hashes(DIGEST_SHA1, "abc", "a9993e364706816aba3e25717850c26c9cd0d89d");
    hashes(DIGEST_SHA224, "abc", "23097d223405d8228642a477bda255b3");
    hashes(DIGEST_SHA256, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    hashes(DIGEST_SHA384, "abc", "cb00753f45a35e8bb5a03d699ac65007");
    hashes(DIGEST_SHA512, "abc", "ddaf35a193617abacc417349ae204131");
    hashes(DIGEST_SHA3_256, "abc", "3a985da74fe225b2045c172d6bd390bd");
    hashes(DIGEST_SHA3_512, "abc", "b751850b1a57168a5693cd924b6b096e");
    hashes(DIGEST_RIPEMD160, "abc", "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc");
    hashes(DIGEST_BLAKE2S_256, "abc", "508c5e8c327c14e2e1a72ba34eeb452f");
    hashes(DIGEST_BLAKE2B_256, "abc", "bddd813c634239723171ef3fee98579b");
    hashes(DIGEST_BLAKE2B_512, "abc", "ba80a53f981c4d0d6a2797b69f12f6e9");
    hashes(DIGEST_SHA256, "", "e3b0c44298fc1c149afbf4c8996fb924");

    decodes(DIGEST_TEXT, "6162", "6162");
    decodes(DIGEST_HEX, "616B", "ak");
    decodes(DIGEST_HEX, "616", NULL);
    decodes(DIGEST_HEX, "6x", NULL);
    decodes(DIGEST_BASE64, "YWJj", "abc");
    decodes(DIGEST_BASE64, "YWI=", "ab");
    decodes(DIGEST_BASE64, "YQ==", "a");
    decodes(DIGEST_BASE64, "YWI", "ab");
    decodes(DIGEST_BASE64, "Y", NULL);
    decodes(DIGEST_BASE64, "Y===", NULL);
    decodes(DIGEST_BASE64, "YW_j", NULL);
    decodes(DIGEST_BASE64, "", "");

    digest_algorithm_t found;
    assert(verifies(" A9993E364706816ABA3E25717850C26C9CD0D89D\n", &found) && found == DIGEST_SHA1);
    assert(verifies("00000000000000000000000000000000", &found) && found == DIGEST_ALGORITHMS);
    assert(!verifies("", &found) && !verifies("a9", &found) && !verifies("900150983cd24fb0d6963f7d28e17f7x", &found));
    puts("ok");
    return 0;
}
