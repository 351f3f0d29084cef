// The few functions of OpenSSL 3 that Weir calls, wrapped so that Swift sees plain functions: no macros,
// no optional engines, no functions with varying signatures. Every wrapper returns 1 on success, as libcrypto does.
// Only hashing stands here; nothing in this header touches a socket.
#ifndef WEIR_COPENSSL_SHIM_H
#define WEIR_COPENSSL_SHIM_H

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stddef.h>

/// SHA-256 of `count` bytes into the 32 bytes at `digest`.
static inline int weir_sha256(const void *bytes, size_t count, unsigned char *digest) {
    return EVP_Digest(bytes, count, digest, NULL, EVP_sha256(), NULL);
}

/// MD5 of `count` bytes into the 16 bytes at `digest`; 0 where the system's policy (FIPS) forbids MD5.
static inline int weir_md5(const void *bytes, size_t count, unsigned char *digest) {
    return EVP_Digest(bytes, count, digest, NULL, EVP_md5(), NULL);
}

/// HMAC-SHA-256 into the 32 bytes at `digest`.
static inline int weir_hmac_sha256(
    const void *key, int key_count, const void *bytes, size_t count, unsigned char *digest) {
    return HMAC(EVP_sha256(), key, key_count, (const unsigned char *)bytes, count, digest, NULL) != NULL;
}

/// PBKDF2 with HMAC-SHA-256 into the 32 bytes at `key`.
static inline int weir_pbkdf2_sha256(
    const void *password, int password_count, const void *salt, int salt_count, int iterations, unsigned char *key) {
    return PKCS5_PBKDF2_HMAC((const char *)password, password_count, (const unsigned char *)salt, salt_count, iterations,
                             EVP_sha256(), 32, key);
}

/// Whether `count` bytes are equal, in a time that does not depend on where they differ.
static inline int weir_equal_in_constant_time(const void *left, const void *right, size_t count) {
    return CRYPTO_memcmp(left, right, count) == 0;
}

#endif
