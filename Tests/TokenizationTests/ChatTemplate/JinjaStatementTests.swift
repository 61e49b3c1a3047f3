import Testing

@testable import Tokenization

/// Loops, scopes, macros and white space, as Jinja documents them, with trim_blocks and lstrip_blocks.
struct JinjaStatementTests {
    @Test func loopsKnowWhereTheyAre() throws {
        try expectRenderings([
            (
                "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.previtem }}{{ loop.nextitem }}|{% endfor %}",
                "1032TrueFalse311|2121FalseFalse3132|3210FalseTrue311|"
            ),
            ("{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}", "aba"),
            ("{% for x in [1, 1, 2] %}{{ loop.changed(x) }}{% endfor %}", "TrueFalseTrue"),
        ])
    }

    @Test func loopsUnpack() throws {
        try expectRenderings([
            ("{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "b=1;A=2;c={'k': 'v'};"),
            ("{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "123"),
            ("{% for c in 'añ😀' %}[{{ c }}]{% endfor %}", "[a][ñ][😀]"),
        ])
    }

    @Test func loopsFilterWhileTheyRun() throws {
        try expectRenderings([
            (
                "{% for x in range(10) if x is odd %}{{ loop.index }}:{{ x }}/{{ loop.length }}{% if not loop.last %},{% endif %}{% endfor %}",
                "1:1/5,2:3/5,3:5/5,4:7/5,5:9/5"
            ),
            (
                "{% set ns = namespace(go=true) %}{% for x in l if ns.go %}{{ x }}{% set ns.go = false %}{% endfor %}",
                "3"
            ),
            ("{% for x in l if x > 5 %}a{% else %}none{% endfor %}", "none"),
        ])
    }

    @Test func loopsBreakAndContinue() throws {
        try expectRenderings([
            ("{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "32"),
            ("{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}", "3"),
            ("{% for x in l %}{% break %}{% else %}else{% endfor %}", "else"),
            (
                "{% for x in l %}{% for y in l %}{{ loop.index }}{% if y == 1 %}{% break %}{% endif %}{% endfor %}-{{ loop.index }};{% endfor %}",
                "12-1;12-2;12-3;"
            ),
            (
                "{% for x in l %}{% set y %}{{ x }}{% if x == 1 %}{% break %}{% endif %}{% endset %}{{ y }}{% endfor %}.",
                "3."
            ),
        ])
    }

    @Test func loopsRecur() throws {
        try expectRenderings([
            (
                "{% for x in [1, [2, [3]]] recursive %}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}d{{ loop.depth }}{% endif %}{% endfor %}",
                "1d1(2d2(3d3))"
            )
        ])
    }

    @Test func scopesKeepTheirNames() throws {
        try expectRenderings([
            ("{% set y = 0 %}{% for x in l %}{% set y = y + x %}{{ y }}{% endfor %}{{ y }}", "3120"),
            ("{% for x in l %}{% set y = x %}{% endfor %}{{ y }}", ""),
            ("{% if i %}{% set q = 1 %}{% endif %}{{ q }}", "1"),
            ("{% if false %}{% set i = 1 %}{% endif %}{{ i }}", "7"),
            ("{% for x in l %}{{ i }}{% endfor %}{% set i = 1 %}", ""),
            ("{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% set i = 1 %}{{ m() }}", "1"),
            ("{% for x in l %}{% if loop.first %}{% set i = 'n' %}{% endif %}{{ i }}{% endfor %}", "n77"),
            ("{% with a = 1, b = i %}{{ a }}{{ b }}{% endwith %}{{ a }}", "17"),
        ])
    }

    @Test func namespacesCarryValuesOut() throws {
        try expectRenderings([
            ("{% set ns = namespace(y=0) %}{% for x in l %}{% set ns.y = ns.y + x %}{% endfor %}{{ ns.y }}", "6"),
            ("{% set ns = namespace() %}{% set ns.a, ns.b = 1, 2 %}{{ ns.a }}{{ ns.b }}", "12"),
        ])
    }

    @Test func blocksAreCaptured() throws {
        try expectRenderings([
            ("{% set x %}a{{ i }}b{% endset %}{{ x }}|{{ x | length }}", "a7b|3"),
            ("{% set x | upper | replace('A', 'z') %}a{{ i }}b{% endset %}{{ x }}", "z7B"),
            ("{% filter upper %}a{{ i }}b{% endfilter %}", "A7B"),
        ])
    }

    @Test func macrosTakeArguments() throws {
        try expectRenderings([
            (
                "{% macro m(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(b=5, a=4) }}{{ m() }}",
                "1213452"
            ),
            ("{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}", "11"),
            (
                "{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}",
                "1(2, 3){'x': 4}"
            ),
            (
                "{% macro m(a, b, c) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(*[1, 2], c=3) }}{{ m(**{'a': 1, 'b': 2, 'c': 3}) }}",
                "123123"
            ),
            ("{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}", "543210"),
            ("{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}", "B"),
        ])
    }

    @Test func callBlocksHandOverTheirBody() throws {
        try expectRenderings([
            ("{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}x{{ i }}{% endcall %}", "[x7]"),
            (
                "{% macro m() %}[{{ caller(1, 2) }}]{% endmacro %}{% call(a, b=5) m() %}x{{ a }}{{ b }}{% endcall %}",
                "[x12]"
            ),
            (
                "{% macro m(caller=none) %}{{ caller() if caller else 'no' }}{% endmacro %}{{ m() }}{% call m() %}x{% endcall %}",
                "nox"
            ),
        ])
    }

    @Test func helpersKeepState() throws {
        try expectRenderings([
            ("{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.current }}", "aba"),
            ("{% set j = joiner(', ') %}{{ j() }}a{{ j() }}b", "a, b"),
        ])
    }

    @Test func rawTextAndCommentsStay() throws {
        try expectRenderings([
            ("{% raw %}{{ x }}{% endraw %}", "{{ x }}"),
            ("  {%- raw %}\n  a\n  {% endraw -%}\n  b", "\n  a\nb"),
            ("a {#- c -#} b", "ab"),
            ("{#-#} a", " a"),
            ("  {# c #}  x\n {#- d #}\n", "  x"),
        ])
    }

    @Test func whiteSpaceGoesWithBlocks() throws {
        try expectRenderings([
            ("  {% if 1 %}\n  x\n  {% endif %}\ny", "  x\ny"),
            ("  {{ 1 }}  \n  {% if 1 %}  \n a {% endif %} \n", "  1  \n  \n a  "),
            ("a\n  {%- if 1 %}\n b\n  {%- endif %}\nc", "a bc"),
            ("a\n  {%+ if 1 %}\n b\n  {%+ endif %}\nc", "a\n   b\n  c"),
            ("x {% if 1 %} y {% endif %} z", "x  y  z"),
            ("{% for x in l -%}\n  {{ x }}\n{%- endfor %}", "312"),
            ("{% for x in l +%}\n  {{ x }}\n{%+ endfor %}", "\n  3\n\n  1\n\n  2\n"),
            ("{{- 1 -}}   2", "12"),
            ("\u{A0}\u{3000}{% if 1 %}x{% endif %}", "x"),
            ("{% if 1 %}\n{% if 1 %}\n  x\n{% endif %}\n{% endif %}\n", "  x\n"),
        ])
    }

    @Test func lineBreaksAreNormalized() throws {
        try expectRenderings([
            ("\r\n{% if 1 %}\r\na\r\n{% endif %}\r\nb\r\n", "\na\nb"),
            ("a\rb\r\nc\n", "a\nb\nc"),
            ("trailing\n", "trailing"),
            ("trailing\n\n", "trailing\n"),
            ("{{ 'a\r\nb' }}", "a\nb"),
        ])
    }

    @Test func generationTagsHaveAScope() throws {
        try expectRenderings([
            ("x{% generation %}{% set zz = 1 %}{{ zz }}{% endgeneration %}{{ zz }}", "x1")
        ])
    }
}
