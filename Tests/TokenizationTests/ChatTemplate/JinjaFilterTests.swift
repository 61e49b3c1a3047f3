import Testing

@testable import Tokenization

/// Filters and tests, one row for each thing that their documentation says.
struct JinjaFilterTests {
    @Test func changesCase() throws {
        try expectRenderings([
            ("{{ s | upper }}", "HELLO WORLD FOO-BAR"),
            ("{{ s | lower }}", "hello world foo-bar"),
            ("{{ s | capitalize }}", "Hello world foo-bar"),
            ("{{ s | title }}", "Hello World Foo-Bar"),
            ("{{ 'a-b (c) it\\'s' | title }}", "A-B (C) It's"),
            ("{{ u | upper }}", "SSİǄ ΑΣ STRASSE Σ"),
            ("{{ u | lower }}", "ßi̇ǆ ας straße σ"),
            ("{{ u | title }}", "SSi̇ǆ Ασ Straße Σ"),
        ])
    }

    @Test func trimsReplacesAndReverses() throws {
        try expectRenderings([
            ("{{ sp | trim }}", "x y  z"),
            ("{{ 'xxaxx' | trim('x') }}", "a"),
            ("{{ s | replace('o', '0') }}", "Hell0 W0rld f00-bar"),
            ("{{ s | replace('o', '0', 1) }}", "Hell0 World foo-bar"),
            ("{{ 'aaa' | replace('', '-') }}", "-a-a-a-"),
            ("{{ 1 | replace(1, 2) }}", "2"),
            ("{{ s | reverse }}", "rab-oof dlroW olleH"),
            ("{{ l | reverse | list }}", "[2, 1, 3]"),
        ])
    }

    @Test func sorts() throws {
        try expectRenderings([
            ("{{ l | sort }}", "[1, 2, 3]"),
            ("{{ l | sort(reverse=true) }}", "[3, 2, 1]"),
            ("{{ sl | sort }}", "['A', 'b', 'c']"),
            ("{{ sl | sort(case_sensitive=true) }}", "['A', 'b', 'c']"),
            ("{{ ld | sort(attribute='n') }}", "[{'n': 'a', 'v': 1}, {'n': 'b', 'v': 2}, {'n': 'B', 'v': 3}]"),
            ("{{ ld | sort(attribute='n,v') }}", "[{'n': 'a', 'v': 1}, {'n': 'b', 'v': 2}, {'n': 'B', 'v': 3}]"),
            ("{{ d | dictsort }}", "[('A', 2), ('b', 1), ('c', {'k': 'v'})]"),
            ("{{ d | dictsort(true) }}", "[('A', 2), ('b', 1), ('c', {'k': 'v'})]"),
            ("{{ {'b': 2, 'a': 1} | dictsort(by='value', reverse=true) }}", "[('b', 2), ('a', 1)]"),
        ])
    }

    @Test func picksItems() throws {
        try expectRenderings([
            ("{{ l | first }}", "3"),
            ("{{ l | last }}", "2"),
            ("{{ e | first }}", ""),
            ("{{ s | first }}", "H"),
            ("{{ l | min }}", "1"),
            ("{{ l | max }}", "3"),
            ("{{ ld | max(attribute='v') }}", "{'n': 'B', 'v': 3}"),
            ("{{ [1, 1, 2] | unique | list }}", "[1, 2]"),
            ("{{ ['a', 'A', 'b'] | unique | list }}", "['a', 'b']"),
            ("{{ l | sum }}", "6"),
            ("{{ ld | sum(attribute='v') }}", "6"),
            ("{{ l | sum(start=10) }}", "16"),
        ])
    }

    @Test func joins() throws {
        try expectRenderings([
            ("{{ l | join }}", "312"),
            ("{{ l | join(', ') }}", "3, 1, 2"),
            ("{{ ld | join(',', attribute='n') }}", "b,a,B"),
            ("{{ ['a', none, 1.5, true] | join('-') }}", "a-None-1.5-True"),
            ("{{ d | join(',') }}", "b,A,c"),
        ])
    }

    @Test func mapsAndSelects() throws {
        try expectRenderings([
            ("{{ ld | map(attribute='n') | list }}", "['b', 'a', 'B']"),
            ("{{ ld | map(attribute='zz', default='q') | list }}", "['q', 'q', 'q']"),
            ("{{ sl | map('upper') | list }}", "['B', 'A', 'C']"),
            ("{{ sl | map('replace', 'b', 'x') | list }}", "['x', 'A', 'c']"),
            ("{{ ld | selectattr('v', 'gt', 1) | map(attribute='n') | list }}", "['b', 'B']"),
            ("{{ ld | rejectattr('v', 'equalto', 1) | list }}", "[{'n': 'b', 'v': 2}, {'n': 'B', 'v': 3}]"),
            ("{{ [1, 2, 3, 4] | select('odd') | list }}", "[1, 3]"),
            ("{{ [1, 2, 3, 4] | reject('divisibleby', 2) | list }}", "[1, 3]"),
            ("{{ [0, 1, none, ''] | select | list }}", "[1]"),
            ("{{ messages | selectattr('role', 'equalto', 'user') | list | length }}", "2"),
            ("{{ (l | select('gt', 100)) is iterable }}", "True"),
        ])
    }

    @Test func generatorsAreUsedUp() throws {
        try expectRenderings([
            (
                "{% set x = l | map('string') %}{{ x | first }}{{ x | first }}{{ x | list }}{{ x | list }}",
                "31['2'][]"
            ),
            ("{% if l | select('gt', 100) %}y{% endif %}", "y"),
        ])
    }

    @Test func groupsAndBatches() throws {
        try expectRenderings([
            ("{{ [1, 2, 3, 4, 5] | batch(2) | list }}", "[[1, 2], [3, 4], [5]]"),
            ("{{ [1, 2, 3, 4, 5] | batch(2, 'x') | list }}", "[[1, 2], [3, 4], [5, 'x']]"),
            ("{{ [1, 2, 3, 4, 5] | slice(3) | list }}", "[[1, 2], [3, 4], [5]]"),
            (
                "{{ ld | groupby('n') }}",
                "[('a', [{'n': 'a', 'v': 1}]), ('b', [{'n': 'b', 'v': 2}, {'n': 'B', 'v': 3}])]"
            ),
            (
                "{{ ld | groupby('v') | map(attribute='list') | list }}",
                "[[{'n': 'a', 'v': 1}], [{'n': 'b', 'v': 2}], [{'n': 'B', 'v': 3}]]"
            ),
            ("{{ d | items | list }}", "[('b', 1), ('A', 2), ('c', {'k': 'v'})]"),
            ("{{ undefinedx | items | list }}", "[]"),
        ])
    }

    @Test func readsNumbersFromText() throws {
        try expectRenderings([
            ("{{ '42' | int }}", "42"),
            ("{{ '42.9' | int }}", "42"),
            ("{{ 'abc' | int(5) }}", "5"),
            ("{{ '0x1f' | int(base=16) }}", "31"),
            ("{{ ' 12 ' | int }}", "12"),
            ("{{ true | int }}", "1"),
            ("{{ '1.5' | float }}", "1.5"),
            ("{{ '.5' | float }}", "0.5"),
            ("{{ none | float }}", "0.0"),
            ("{{ 42.55 | round }}", "43.0"),
            ("{{ 42.5 | round }}", "42.0"),
            ("{{ 2.675 | round(2) }}", "2.67"),
            ("{{ 42.55 | round(1, 'floor') }}", "42.5"),
            ("{{ 1250.0 | round(-2) }}", "1200.0"),
            ("{{ 42 | round }}", "42"),
            ("{{ -5 | abs }}", "5"),
        ])
    }

    @Test func fallsBackToDefaults() throws {
        try expectRenderings([
            ("{{ none | default('x') }}", "None"),
            ("{{ undefinedx | default('x') }}", "x"),
            ("{{ '' | default('x', true) }}", "x"),
            ("{{ '' | default('x') }}", ""),
            ("{{ undefinedx | d }}", ""),
        ])
    }

    @Test func writesJSONAsPythonDoes() throws {
        try expectRenderings([
            ("{{ d | tojson }}", "{\"b\": 1, \"A\": 2, \"c\": {\"k\": \"v\"}}"),
            (
                "{{ messages[2] | tojson }}",
                "{\"role\": \"assistant\", \"content\": \" hi\\n\", \"tool_calls\": [{\"type\": \"function\", \"id\": \"a1\", \"function\": {\"name\": \"f\", \"arguments\": {\"x\": 1, \"y\": [1, 2.5, null, true], \"z\": \"q\\\"\\\\\\n\\u0001é\"}}}]}"
            ),
            (
                "{{ messages[2] | tojson(indent=2) }}",
                "{\n  \"role\": \"assistant\",\n  \"content\": \" hi\\n\",\n  \"tool_calls\": [\n    {\n      \"type\": \"function\",\n      \"id\": \"a1\",\n      \"function\": {\n        \"name\": \"f\",\n        \"arguments\": {\n          \"x\": 1,\n          \"y\": [\n            1,\n            2.5,\n            null,\n            true\n          ],\n          \"z\": \"q\\\"\\\\\\n\\u0001é\"\n        }\n      }\n    }\n  ]\n}"
            ),
            (
                "{{ messages[2] | tojson(indent=4, ensure_ascii=true) }}",
                "{\n    \"role\": \"assistant\",\n    \"content\": \" hi\\n\",\n    \"tool_calls\": [\n        {\n            \"type\": \"function\",\n            \"id\": \"a1\",\n            \"function\": {\n                \"name\": \"f\",\n                \"arguments\": {\n                    \"x\": 1,\n                    \"y\": [\n                        1,\n                        2.5,\n                        null,\n                        true\n                    ],\n                    \"z\": \"q\\\"\\\\\\n\\u0001\\u00e9\"\n                }\n            }\n        }\n    ]\n}"
            ),
            (
                "{{ tools | tojson(sort_keys=true) }}",
                "[{\"function\": {\"description\": \"d\", \"name\": \"w\", \"parameters\": {\"properties\": {\"a\": {\"default\": 3, \"type\": [\"integer\", \"null\"]}, \"b\": {\"enum\": [\"x\", \"y\"], \"type\": \"string\"}}, \"required\": [\"b\"], \"type\": \"object\"}}, \"type\": \"function\"}]"
            ),
            ("{{ d | tojson(separators=(',', ':')) }}", "{\"b\":1,\"A\":2,\"c\":{\"k\":\"v\"}}"),
            ("{{ [[], {}] | tojson(indent=2) }}", "[\n  [],\n  {}\n]"),
            ("{{ {1: 2, none: 3, true: 4, 1.5: 5} | tojson }}", "{\"1\": 4, \"null\": 3, \"1.5\": 5}"),
            ("{{ 'é😀\\x7f\\u2028' | tojson }}", "\"é😀\u{7F}\u{2028}\""),
            ("{{ 'é😀\\x7f\\u2028' | tojson(ensure_ascii=true) }}", "\"\\u00e9\\ud83d\\ude00\\u007f\\u2028\""),
            ("{{ '</script>&\\'' | tojson }}", "\"</script>&'\""),
            ("{{ ('inf' | float) | tojson }}", "Infinity"),
            ("{{ 1e22 | tojson }}", "1e+22"),
            ("{{ (1, 2) | tojson }}", "[1, 2]"),
        ])
    }

    @Test func indentsLines() throws {
        try expectRenderings([
            ("{{ multi | indent }}", "a\n    b\n    c\n\n    d"),
            ("{{ multi | indent(2, true) }}", "  a\n  b\n  c\n\n  d"),
            ("{{ multi | indent(2, first=true, blank=true) }}", "  a\n  b\n  c\n  \n  d"),
            ("{{ multi | indent('> ') }}", "a\n> b\n> c\n\n> d"),
            ("{{ 'a\\n' | indent }}", "a\n"),
        ])
    }

    @Test func formatsAsPrintfDoes() throws {
        try expectRenderings([
            ("{{ '%5d|%-5d|%05d|%+d|% d' % (1, 2, 3, 4, 5) }}", "    1|2    |00003|+4| 5"),
            ("{{ '%x %X %o %#x' % (255, 255, 8, 255) }}", "ff FF 10 0xff"),
            ("{{ '%.2f %5.1f %e %g' % (1.234, 5.67, 12345.678, 0.00001) }}", "1.23   5.7 1.234568e+04 1e-05"),
            ("{{ '%s %r' % ('a', 'b') }}", "a 'b'"),
            ("{{ '%(x)s %(y)d' % {'x': 1, 'y': 2} }}", "1 2"),
            ("{{ '%5s|%-5s|%.2s' % ('a', 'b', 'cde') }}", "    a|b    |cd"),
            ("{{ '%s, %s' | format('a', 1) }}", "a, 1"),
            ("{{ '%%' % () }}", "%"),
        ])
    }

    @Test func formatsFields() throws {
        try expectRenderings([
            ("{{ '{} {}'.format(1, 'a') }}", "1 a"),
            ("{{ '{0} {1} {0}'.format('a', 'b') }}", "a b a"),
            ("{{ '{a[k]} {a[n][0]}'.format(a={'k': 1, 'n': [5]}) }}", "1 5"),
            ("{{ '{:5}|{:<5}|{:>5}|{:^5}|{:*^7}'.format(1, 2, 3, 'a', 'b') }}", "    1|2    |    3|  a  |***b***"),
            ("{{ '{:05d}|{:+d}|{:,}|{:#x}'.format(1, 2, 1234567, 255) }}", "00001|+2|1,234,567|0xff"),
            ("{{ '{:.2f} {:e} {:g} {:.1%}'.format(1.234, 1234.5, 0.0001, 0.25) }}", "1.23 1.234500e+03 0.0001 25.0%"),
            ("{{ '{:>{w}}|'.format('a', w=4) }}", "   a|"),
            ("{{ '{{}} {}'.format(1) }}", "{} 1"),
        ])
    }

    @Test func testsKinds() throws {
        try expectRenderings([
            (
                "{% for v in [1, 1.5, true, none, 'a', 'AB', [], {}, (), missing] %}{{ v is number }} {{ v is integer }} {{ v is float }} {{ v is boolean }} {{ v is none }} {{ v is string }} {{ v is mapping }} {{ v is sequence }} {{ v is iterable }} {{ v is defined }} {{ v is lower }} {{ v is upper }}\n{% endfor %}",
                "True True False False False False False False False True False False\nTrue False True False False False False False False True False False\nTrue False False True False False False False False True False False\nFalse False False False True False False False False True False False\nFalse False False False False True False True True True True False\nFalse False False False False True False True True True False True\nFalse False False False False False False True True True False False\nFalse False False False False False True True True True False False\nFalse False False False False False False True True True False False\nFalse False False False False False False True True False False False\n"
            )
        ])
    }

    @Test func testsValues() throws {
        try expectRenderings([
            ("{{ 3 is odd }}", "True"),
            ("{{ 4 is even }}", "True"),
            ("{{ 6 is divisibleby 3 }}", "True"),
            ("{{ 3 is eq 3 }}", "True"),
            ("{{ 3 is ge 3 }}", "True"),
            ("{{ 1 is in [1] }}", "True"),
            ("{{ none is sameas none }}", "True"),
            ("{{ 1 is sameas true }}", "False"),
            ("{{ 'upper' is filter }}", "True"),
            ("{{ 'odd' is test }}", "True"),
            ("{{ 1 is not none }}", "True"),
            ("{{ 6 is divisibleby(4) }}", "False"),
        ])
    }
}
