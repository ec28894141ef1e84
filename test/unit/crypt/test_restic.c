/* What restic 0.14 of Debian 12 wrote with the passphrase "lighthouse": its key file's sealed part
 * opens with the key that scrypt makes, and the master key inside opens its config. */
#include "vectors.h"

#include "crypt/crypt.h"
#include <openssl/evp.h>

static const char *const salt_hex =
    "996565b5b1136965d6d3852935174f49b7974938bf33416361893c5236b20d2c"
    "87905496df24b92666ade5d314f1470b45fb683802f64775d9f3829faa35ce47";
static const char *const data_hex =
    "3d7ddfccb61c0919964cb0dec040a1c1ad74c940daf7d56608b77eb356f949adf015df316246520d7148d3e76b69"
    "4c27d40539dc9d8ff6a852dac67958b4c6e087eb599accf2da2db95a93cec0a70c0ac2826e8e792dc3a7bf80f1c4"
    "e7d496d75cafe9a8f8b2efcdb7f45b4907b308ba1ebab3f0dabf1da570dd36621fe9e7022c7f43bedbcff4e96b06"
    "82343fd3cdf7a796d634181f28514c80db9de4e5c61c";
static const char *const config_hex =
    "5f8ec4cc2ec66a732933bc5c4a5535c4f8af657fc16bb0c6fed162c55501748c353c24c909c60fc53d47dba8c52b"
    "fd5e4e872111da10ff84d675cc22b12fd12750b530242391708f1b6c5f356cd90b467d05a245ea16d28273163305"
    "68212e129392ba4544f262039685ba987acc10c349b8ad9c1bb578bee67ba5c35ff5aeb0ad4a464e53d682132914"
    "dea764d5d4ac0277eaee3a9e1583cef59a";

/* Takes the base64 text that follows `name` out of the master key's JSON. */
static void field(const char *json, const char *name, uint8_t *out, size_t len)
{
    uint8_t decoded[64];
    const char *at = strstr(json, name);
    assert_non_null(at);
    at += strlen(name);
    size_t n = strcspn(at, "\"");
    assert_true(n % 4 == 0 && n / 4 * 3 <= sizeof decoded && n / 4 * 3 >= len);
    assert_true(EVP_DecodeBlock(decoded, (const unsigned char *)at, (int)n) > 0);
    memcpy(out, decoded, len);
}

static void passphrase_to_key_to_master_key_to_config(void **state)
{
    (void)state;
    const struct scrypt_params params = {32768, 8, 5};
    uint8_t salt[64], sealed[256], plain[256] = {0};
    struct seal_key k, master;
    struct err e = ERR_INIT;

    assert_int_equal(scrypt_key("Lighthouse", salt, unhex(salt_hex, salt), &params, &k, &e), 0);
    size_t len = unhex(data_hex, sealed);
    assert_int_equal(unseal(&k, sealed, len, plain, &e), ERR_CORRUPT);

    assert_int_equal(scrypt_key("lighthouse", salt, sizeof salt, &params, &k, &e), 0);
    assert_int_equal(unseal(&k, sealed, len, plain, &e), 0);
    field((char *)plain, "\"k\":\"", master.mac_k, 16);
    field((char *)plain, "\"r\":\"", master.mac_r, 16);
    field((char *)plain, "\"encrypt\":\"", master.encrypt, 32);

    memset(plain, 0, sizeof plain);
    assert_int_equal(unseal(&master, sealed, unhex(config_hex, sealed), plain, &e), 0);
    assert_string_equal((char *)plain,
                        "{\"version\":2,\"id\":\"4fe4d205136c1a7de0f07e81d3d9ebce5e45104e5be27476"
                        "3d52f58378786999\",\"chunker_polynomial\":\"3519de9031989f\"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passphrase_to_key_to_master_key_to_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
