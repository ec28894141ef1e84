/* Ids: hexadecimal both ways, refusals, sorted lists. */
#include "unit.h"

#include "base/cleanup.h"
#include "base/id.h"

#define GOOD "00ff10a9b8c7d6e5f4031221304f5e6d7c8b9aafbecdd0e1f2031425364758ab"

static void hexadecimal(void **state)
{
    struct id id;
    char hex[ID_HEX + 1], brief[ID_SHORT + 1];
    (void)state;
    assert_true(id_parse(GOOD, 64, &id));
    assert_string_equal(id_hex(&id, hex), GOOD);
    assert_string_equal(id_short(&id, brief), "00ff10a9");
    assert_false(id_is_zero(&id));
    assert_true(id_is_zero(&(struct id){{0}}));
    assert_false(id_parse(GOOD, 63, &id));
    assert_false(id_parse(GOOD "0", 65, &id));
    assert_false(id_parse("", 0, &id));
}

static void every_wrong_byte_is_refused(void **state)
{
    struct id id = {{42}};
    (void)state;
    for (int c = 0; c < 256; c++) {
        bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        for (size_t at = 0; at < 64; at++) {
            char text[] = GOOD;
            text[at] = (char)c;
            assert_int_equal(id_parse(text, 64, &id), digit);
        }
    }
}

static void lists(void **state)
{
    _cleanup_(id_list_release) struct id_list l = {0};
    (void)state;
    assert_false(id_list_has(&l, &(struct id){{0}}));
    id_list_sort(&l);
    for (int i = 0; i < 500; i++)
        id_list_add(&l, &(struct id){{(uint8_t)(i * 37), (uint8_t)(i % 2)}});
    id_list_sort(&l);
    assert_int_equal(l.n, 256); /* 37 is odd: low byte and parity repeat after 256 */
    for (size_t i = 1; i < l.n; i++)
        assert_true(id_compare(&l.id[i - 1], &l.id[i]) < 0);
    assert_true(id_list_has(&l, &(struct id){{37, 1}}));
    assert_false(id_list_has(&l, &(struct id){{37, 0}}));
    for (int i = 0; i < 1000; i++)
        id_list_add(&l, &l.id[0]); /* an item of the list itself, while it moves */
    id_list_sort(&l);
    assert_int_equal(l.n, 256);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hexadecimal),
        cmocka_unit_test(every_wrong_byte_is_refused),
        cmocka_unit_test(lists),
    };
    return cmocka_run_group_tests_name("id", tests, NULL, NULL);
}
