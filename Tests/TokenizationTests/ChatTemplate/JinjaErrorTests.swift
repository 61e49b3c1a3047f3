import Testing

@testable import Tokenization

/// What goes wrong, in the words of Jinja and Python.
struct JinjaErrorTests {
    @Test func undefinedValuesCannotBeUsed() throws {
        try expectErrors([
            ("{{ undefinedx.foo }}", "'undefinedx' is undefined"),
            ("{{ undefinedx['foo'] }}", "'undefinedx' is undefined"),
            ("{{ undefinedx() }}", "'undefinedx' is undefined"),
            ("{{ undefinedx + 1 }}", "'undefinedx' is undefined"),
            ("{{ 1 + undefinedx }}", "'undefinedx' is undefined"),
            ("{{ -undefinedx }}", "'undefinedx' is undefined"),
            ("{{ undefinedx < 1 }}", "'undefinedx' is undefined"),
            ("{{ d.zz.yy }}", "'dict object' has no attribute 'zz'"),
            ("{{ messages[9].role }}", "list object has no element 9"),
            ("{{ messages[0].foo.bar }}", "'dict object' has no attribute 'foo'"),
            ("{{ none.foo.bar }}", "'None' has no attribute 'foo'"),
            ("{{ undefinedx | tojson }}", "Object of type Undefined is not JSON serializable"),
        ])
    }

    @Test func typesMustFit() throws {
        try expectErrors([
            ("{{ 1 + 'a' }}", "unsupported operand type(s) for +: 'int' and 'str'"),
            ("{{ 'a' + 1 }}", "can only concatenate str (not \"int\") to str"),
            ("{{ none + 'a' }}", "unsupported operand type(s) for +: 'NoneType' and 'str'"),
            ("{{ [1] + 'a' }}", "can only concatenate list (not \"str\") to list"),
            ("{{ 'a' - 1 }}", "unsupported operand type(s) for -: 'str' and 'int'"),
            ("{{ 'a' * 'b' }}", "can't multiply sequence by non-int of type 'str'"),
            ("{{ 1 < 'a' }}", "'<' not supported between instances of 'int' and 'str'"),
            ("{{ none < 1 }}", "'<' not supported between instances of 'NoneType' and 'int'"),
            ("{{ 1 in 5 }}", "argument of type 'int' is not iterable"),
            ("{{ none in 'abc' }}", "'in <string>' requires string as left operand, not NoneType"),
            ("{{ none() }}", "'NoneType' object is not callable"),
            ("{{ -'a' }}", "bad operand type for unary -: 'str'"),
            ("{{ n[1:] }}", "'NoneType' object is not subscriptable"),
            ("{{ i | length }}", "object of type 'int' has no len()"),
            ("{{ none | list }}", "'NoneType' object is not iterable"),
            ("{{ ['b', 1] | sort }}", "'<' not supported between instances of 'int' and 'str'"),
            ("{{ d[1:] }}", "unhashable type: 'slice'"),
            ("{{ '-'.join([1]) }}", "sequence item 0: expected str instance, int found"),
            ("{{ s.split('') }}", "empty separator"),
            ("{{ s.startswith(1) }}", "startswith first arg must be str or a tuple of str, not int"),
            ("{{ {(1, 2): 3} | tojson }}", "keys must be str, int, float, bool or None, not tuple"),
            ("{{ namespace(a=1) | tojson }}", "Object of type Namespace is not JSON serializable"),
        ])
    }

    @Test func numbersHaveLimits() throws {
        try expectErrors([
            ("{{ 1 / 0 }}", "division by zero"),
            ("{{ 1 // 0 }}", "integer division or modulo by zero"),
            ("{{ 1 % 0 }}", "integer modulo by zero"),
            ("{{ range(10 ** 6) }}", "Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000)."),
            ("{{ range(1, 2, 0) }}", "range() arg 3 must not be zero"),
        ])
    }

    @Test func callsNeedTheirArguments() throws {
        try expectErrors([
            ("{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "macro 'm' takes not more than 1 argument(s)"),
            ("{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, b=2) }}", "macro 'm' takes no keyword argument 'b'"),
            ("{% macro m(a) %}{{ a.x }}{% endmacro %}{{ m() }}", "parameter 'a' was not provided"),
            ("{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}", "No caller defined"),
            ("{% for a, b in [(1, 2, 3)] %}{% endfor %}", "too many values to unpack (expected 2)"),
            ("{% for a, b in [(1,)] %}{% endfor %}", "not enough values to unpack (expected 2, got 1)"),
            (
                "{% for x in l %}{{ loop(x) }}{% endfor %}",
                "The loop must have the 'recursive' marker to be called recursively."
            ),
            ("{{ d.get() }}", "get expected at least 1 argument, got 0"),
        ])
    }

    @Test func theSandboxHides() throws {
        try expectErrors([
            ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__' of 'str' object is unsafe."),
            ("{{ d.__class__.x }}", "access to attribute '__class__' of 'dict' object is unsafe."),
            ("{{ l.append(1) }}", "access to attribute 'append' of 'list' object is unsafe."),
            ("{{ d.update({}) }}", "access to attribute 'update' of 'dict' object is unsafe."),
            ("{{ d.pop('b') }}", "access to attribute 'pop' of 'dict' object is unsafe."),
        ])
    }

    @Test func templatesRaise() throws {
        try expectErrors([
            ("{{ raise_exception('boom') }}", "boom"),
            ("{{ raise_exception(1) }}", "1"),
        ])
    }

    @Test func onlyNamespacesTakeAttributes() throws {
        try expectErrors([
            ("{% set d.y = 1 %}", "cannot assign attribute on non-namespace object"),
            ("{% set ns.y = 1 %}", "cannot assign attribute on non-namespace object"),
        ])
    }

    @Test func syntaxIsChecked() throws {
        try expectErrors([
            ("{% nosuch %}", "Encountered unknown tag 'nosuch'."),
            ("{% endif %}", "Encountered unknown tag 'endif'."),
            (
                "{% if 1 %}",
                "Unexpected end of template. Jinja was looking for the following tags: 'elif' or 'else' or 'endif'. The innermost block that needs to be closed is 'if'."
            ),
            (
                "{% for x in l %}{% endif %}",
                "Encountered unknown tag 'endif'. Jinja was looking for the following tags: 'endfor' or 'else'. The innermost block that needs to be closed is 'for'."
            ),
            ("{% for x l %}{% endfor %}", "expected token 'in', got 'l'"),
            ("{{ }}", "Expected an expression, got 'end of print statement'"),
            ("{{ 1 2 }}", "expected token 'end of print statement', got 'integer'"),
            ("{{ (1 }}", "unexpected '}', expected ')'"),
            ("{{ 1) }}", "unexpected ')'"),
            ("{{ 'abc }}", "unexpected char \"'\" at 3"),
            ("{{ 1", "unexpected end of template, expected 'end of print statement'."),
            ("{# x", "Missing end of comment tag"),
            ("{{ a. }}", "expected name or number"),
            ("{{ f(a=1, 2) }}", "invalid syntax for function call expression"),
            ("{{ x is a is b }}", "You cannot chain multiple tests with is"),
            ("{% set 1 = 2 %}", "can't assign to 'const'"),
            ("{% macro m(a=1, b) %}{% endmacro %}", "non-default argument follows default argument"),
            ("{% call 1 %}{% endcall %}", "expected call"),
            ("{{ 1 | nosuch }}", "No filter named 'nosuch'."),
            ("{{ 1 is nosuch }}", "No test named 'nosuch'."),
        ])
    }

    @Test func unknownFiltersInBranchesFailWhenTheyRun() throws {
        try expectErrors([
            ("{{ 1 | nosuch if true else 2 }}", "No filter named 'nosuch' found."),
            ("{% if true %}{{ 1 | nosuch }}{% endif %}", "No filter named 'nosuch' found."),
        ])
    }
}
