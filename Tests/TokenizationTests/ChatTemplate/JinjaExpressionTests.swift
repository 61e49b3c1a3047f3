import Testing

@testable import Tokenization

/// Literals, operators, undefined values: what Jinja's documentation and Python say of expressions.
struct JinjaExpressionTests {
    @Test func writesValuesAsPythonDoes() throws {
        try expectRenderings([
            ("{{ 1 }}", "1"),
            ("{{ 1.0 }}", "1.0"),
            ("{{ 1e22 }}", "1e+22"),
            ("{{ 1e-7 }}", "1e-07"),
            ("{{ 0.1 + 0.2 }}", "0.30000000000000004"),
            ("{{ -0.0 }}", "-0.0"),
            ("{{ 1 / 3 }}", "0.3333333333333333"),
            ("{{ 2 ** 0.5 }}", "1.4142135623730951"),
            ("{{ true }}", "True"),
            ("{{ none }}", "None"),
            ("{{ [1, 'a', none, true, 1.5] }}", "[1, 'a', None, True, 1.5]"),
            ("{{ (1,) }}", "(1,)"),
            ("{{ () }}", "()"),
            ("{{ {'a': 1, 2: 'b'} }}", "{'a': 1, 2: 'b'}"),
            ("{{ 1, 2 }}", "(1, 2)"),
            (
                "{{ ['it\\'s', 'q\"', 'both\\'\"', '\\n', '\\x00', 'é', '\\u200b', '\\\\'] }}",
                "[\"it's\", 'q\"', 'both\\'\"', '\\n', '\\x00', 'é', '\\u200b', '\\\\']"
            ),
            ("{{ range(3) }}", "range(0, 3)"),
            ("{{ d.items() }}", "dict_items([('b', 1), ('A', 2), ('c', {'k': 'v'})])"),
            ("{{ namespace(a=1) }}", "<Namespace {'a': 1}>"),
        ])
    }

    @Test func readsNumbers() throws {
        try expectRenderings([
            ("{{ 1_000 }}", "1000"),
            ("{{ 0x1F }}", "31"),
            ("{{ 0o17 }}", "15"),
            ("{{ 0b11 }}", "3"),
            ("{{ 1e3 }}", "1000.0"),
            ("{{ 1.5e-3 }}", "0.0015"),
            ("{{ x.1 if x else 2 }}", "2"),
        ])
    }

    @Test func readsStringEscapes() throws {
        try expectRenderings([
            ("{{ 'a' 'b' }}", "ab"),
            ("{{ 'it\\'s' }}", "it's"),
            ("{{ \"q\\\"\" }}", "q\""),
            ("{{ '\\n\\t\\x41\\u00e9\\U0001F600\\101\\q\\a' }}", "\n\tAé😀A\\q\u{7}"),
            ("{{ 'a\\\nb' }}", "ab"),
            ("{{ '}}' }}", "}}"),
            ("{{ '%}' }}", "%}"),
        ])
    }

    @Test func dividesAsPythonDoes() throws {
        try expectRenderings([
            ("{{ 7 // 2 }}", "3"),
            ("{{ -7 // 2 }}", "-4"),
            ("{{ -7 % 3 }}", "2"),
            ("{{ 7 % -3 }}", "-2"),
            ("{{ 7.5 // 2 }}", "3.0"),
            ("{{ -7.5 % 2 }}", "0.5"),
            ("{{ 10 / 5 }}", "2.0"),
            ("{{ 2 ** 10 }}", "1024"),
            ("{{ 2 ** -1 }}", "0.5"),
            ("{{ -3 ** 2 }}", "9"),
        ])
    }

    @Test func bindsOperatorsAsJinjaDoes() throws {
        try expectRenderings([
            ("{{ -i | abs }}", "7"),
            ("{{ 2 + 3 * 4 }}", "14"),
            ("{{ not 1 in l }}", "False"),
            ("{{ not true or true }}", "True"),
            ("{{ 1 in l and 2 in l }}", "True"),
            ("{{ 'a' ~ 1 ~ none ~ true ~ 1.0 }}", "a1NoneTrue1.0"),
            ("{{ 2 * 3 ** 2 }}", "18"),
            ("{{ 'x' + s | upper }}", "xHELLO WORLD FOO-BAR"),
            ("{{ 1 if 0 else 2 if 0 else 3 }}", "3"),
            ("{{ i is divisibleby 7 and true }}", "True"),
        ])
    }

    @Test func comparesAsPythonDoes() throws {
        try expectRenderings([
            ("{{ 1 < 2 < 3 }}", "True"),
            ("{{ 3 > 2 > 2 }}", "False"),
            ("{{ 1 == 1.0 }}", "True"),
            ("{{ true == 1 }}", "True"),
            ("{{ [1] == (1,) }}", "False"),
            ("{{ {'a': 1} == {'a': 1.0} }}", "True"),
            ("{{ 'a' < 'b' }}", "True"),
            ("{{ [1, 2] < [1, 3] }}", "True"),
            ("{{ 'a' in 'abc' }}", "True"),
            ("{{ 1 in [1, 2] }}", "True"),
            ("{{ 'b' in d }}", "True"),
            ("{{ none == none }}", "True"),
            ("{{ 'é' == 'e\\u0301' }}", "False"),
        ])
    }

    @Test func booleansGiveTheirOperands() throws {
        try expectRenderings([
            ("{{ 0 or 'x' }}", "x"),
            ("{{ none and 1 }}", "None"),
            ("{{ '' or [] or 'z' }}", "z"),
            ("{{ 1 and 2 }}", "2"),
            ("{{ 'x' if false }}", ""),
        ])
    }

    @Test func indexesAndSlices() throws {
        try expectRenderings([
            ("{{ l[0] }}", "3"),
            ("{{ l[-1] }}", "2"),
            ("{{ l[5] }}", ""),
            ("{{ s[0] }}", "H"),
            ("{{ s[100] }}", ""),
            ("{{ l[1:] }}", "[1, 2]"),
            ("{{ l[::-1] }}", "[2, 1, 3]"),
            ("{{ s[2:5] }}", "llo"),
            ("{{ s[::-1] }}", "rab-oof dlroW olleH"),
            ("{{ s[-3:] }}", "bar"),
            ("{{ l[-1:0:-1] }}", "[2, 1]"),
            ("{{ u[1:3] }}", "İǆ"),
            ("{{ '😀é'[0] }}", "😀"),
            ("{{ range(10)[2:5] }}", "range(2, 5)"),
            ("{{ l.0 }}", "3"),
            ("{{ d.c['k'] }}", "v"),
            ("{{ {1: 2}[true] }}", "2"),
        ])
    }

    @Test func prefersMethodsToMembersAndMembersToMethods() throws {
        try expectRenderings([
            ("{{ {'items': 1}['items'] }}", "1"),
            ("{{ {'get': 1}.x }}", ""),
            ("{{ d.b }}", "1"),
            ("{{ d['b'] }}", "1"),
            ("{{ d.zz is defined }}", "False"),
            ("{{ {'keys': 5}.keys() }}", "dict_keys(['keys'])"),
            ("{{ d['get'] is callable }}", "True"),
        ])
    }

    @Test func undefinedIsEmpty() throws {
        try expectRenderings([
            ("{{ undefinedx }}", ""),
            ("{{ undefinedx ~ 'a' }}", "a"),
            ("{{ undefinedx | length }}", "0"),
            ("{{ undefinedx | list }}", "[]"),
            ("{{ 'a' in undefinedx }}", "False"),
            ("{{ undefinedx == missing }}", "True"),
            ("{{ undefinedx == none }}", "False"),
            ("{{ undefinedx is undefined }}", "True"),
            ("{{ undefinedx | default('x') }}", "x"),
            ("{{ [undefinedx] }}", "[Undefined]"),
        ])
    }

    @Test func markupEscapesWhatItJoins() throws {
        try expectRenderings([
            ("{{ '<' | safe + '<' }}", "<&lt;"),
            ("{{ '<' + ('<' | safe) }}", "&lt;<"),
            ("{{ ('<' | safe) ~ '<' }}", "<<"),
            ("{{ ['<' | safe, '<'] | join }}", "<<"),
            ("{{ ('<' | e) | e }}", "&lt;"),
            ("{{ ('<' | safe) * 2 }}", "<<"),
            ("{{ '%s' | safe % '<' }}", "&lt;"),
            ("{{ ('a b' | safe).split(' ') }}", "[Markup('a'), Markup('b')]"),
        ])
    }
}
