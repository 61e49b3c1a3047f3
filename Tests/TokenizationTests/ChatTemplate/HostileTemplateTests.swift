import Diagnostics
import Foundation
import StrictJSON
import Testing

@testable import Tokenization

/// What a template does to whoever renders it: it ends, soon, in an error, on a thread with a small stack.
@Suite(.serialized) struct HostileTemplateTests {
    private static let values: [String: String] = [
        "bigRange": "{% for i in range(10**9) %}x{% endfor %}",
        "nestedRanges": """
        {% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}\
        {% endfor %}
        """,
        "bigString": "{{ 'x' * 10**9 }}",
        "bigStringReversedOperands": "{{ 10**12 * 'x' }}",
        "overflowingString": "{{ 'xxxx' * 9223372036854775807 }}",
        "bigList": "{{ [1] * 10**9 }}",
        "bigPower": "{{ 10**10**10 }}",
        "bigShift": "{{ 2**63 }}",
        "integerOverflow": "{{ 9223372036854775807 + 1 }}",
        "negativeOverflow": "{{ -9223372036854775807 - 2 }}",
        "divisionOverflow": "{{ (-9223372036854775807 - 1) // -1 }}",
        "negationOverflow": "{{ -(-9223372036854775807 - 1) }}",
        "productOverflow": "{{ 4611686018427387904 * 4 }}",
        "rangeOverflow": "{{ range(-9223372036854775807, 9223372036854775807) }}",
        "doublingString": """
        {% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}
        """,
        "doublingList": """
        {% set ns = namespace(s=[1]) %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}
        """,
        "sharedListPrinted": """
        {% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}
        """,
        "sharedListCompared": """
        {% set ns = namespace(a=[1], b=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}\
        {% set ns.b = [ns.b, ns.b] %}{% endfor %}{{ ns.a == ns.b }}
        """,
        "sharedListAsJSON": """
        {% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}\
        {{ ns.s | tojson }}
        """,
        "deepList": """
        {% set ns = namespace(s=[]) %}{% for i in range(9999) %}{% set ns.s = [ns.s] %}{% endfor %}
        """,
        "deepDictionary": """
        {% set ns = namespace(s={}) %}{% for i in range(9999) %}{% set ns.s = {1: ns.s} %}{% endfor %}
        """,
        "namespaceInItself": "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}",
        "namespacesInEachOther": """
        {% set a = namespace() %}{% set b = namespace(x=[a]) %}{% set a.y = [b] %}{{ a }}
        """,
        "macroRecursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "macrosCallEachOther": """
        {% macro f(n) %}{{ g(n) }}{% endmacro %}{% macro g(n) %}{% for i in [1, 2] %}{{ f(n) }}{% endfor %}\
        {% endmacro %}{{ f(1) }}
        """,
        "macroTree": """
        {% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(50) }}
        """,
        "callerRecursion": """
        {% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{% call f() %}x{% endcall %}
        """,
        "recursiveLoop": "{% for x in [1] recursive %}{{ loop([x]) }}{% endfor %}",
        "outputFlood": "{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
        "replaceBomb": "{{ ('a' * 100000) | replace('a', 'b' * 100000) }}",
        "joinBomb": "{{ range(99999) | join('x' * 100000) }}",
        "indentBomb": "{{ ('\\n' * 100000) | indent(100000, true, true) }}",
        "centerBomb": "{{ 'x' | center(10**12) }}",
        "justifyBomb": "{{ 'x'.ljust(10**15) }}",
        "formatBomb": "{{ '%999999999d' % 1 }}",
        "fieldBomb": "{{ '{:>999999999}'.format(1) }}",
        "starBomb": "{{ '%*d' % (999999999, 1) }}",
        "tabBomb": "{{ ('\\t' * 1000).expandtabs(999999999) }}",
        "indentedJSONBomb": "{{ [[[1]]] | tojson(indent=10**10) }}",
        "batchBomb": "{{ [1] | batch(10**9, 'x') | list }}",
        "sliceBomb": "{{ [1] | slice(10**9) | list }}",
        "splitBomb": """
        {% set s = 'a,' * 100000 %}{% for i in range(1000) %}{% set x = s.split(',') %}{% endfor %}
        """,
        "sortBomb": """
        {% set s = range(99999) | list %}{% for i in range(1000) %}{% set x = s | sort %}{% endfor %}
        """,
        "membershipBomb": """
        {% set s = range(99999) | list %}{% for i in range(9999) %}{% if -1 in s %}{% endif %}{% endfor %}
        """,
        "unknownFilter": "{{ 1 | nosuch }}",
        "unknownTest": "{{ 1 is nosuch }}",
        "unknownTag": "{% nosuch %}",
        "classChain": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "classItem": "{{ ''['__class__']['__base__'] }}",
        "classAttribute": "{{ ('' | attr('__class__')).__mro__ }}",
        "classInFormat": "{{ '{0.__class__.__mro__}'.format('') }}",
        "macroGlobals": "{% macro m() %}{% endmacro %}{{ m.__globals__.x }}",
        "mutation": "{{ [].append(1) }}",
        "dictMutation": "{{ {}.update({'a': 1}) }}",
        "include": "{% include '/etc/passwd' %}",
        "import": "{% import 'x' as y %}",
        "extends": "{% extends 'x' %}",
        "unbalancedIf": "{% if 1 %}",
        "unbalancedEnd": "{% endfor %}",
        "unbalancedBraces": "{{ (((( }}",
        "unclosedString": "{{ 'abc }}",
        "unclosedComment": "{# abc",
        "unclosedRaw": "{% raw %} abc",
        "unclosedTag": "{% if",
        "loneSurrogate": "{{ '\\ud800' }}",
        "truncatedEscape": "{{ '\\u12' }}",
        "deepParentheses": String(repeating: "{{ ((((((((((", count: 1) + String(repeating: "(", count: 100_000),
        "deepLists": "{{ " + String(repeating: "[", count: 100_000) + String(repeating: "]", count: 100_000) + " }}",
        "deepNots": "{{ " + String(repeating: "not ", count: 100_000) + "1 }}",
        "deepMinus": "{{ " + String(repeating: "-", count: 100_000) + "1 }}",
        "deepConditionals": "{{ " + String(repeating: "1 if 0 else ", count: 50_000) + "2 }}",
        "deepIfs": String(repeating: "{% if 1 %}", count: 50_000),
        "deepLoops": String(repeating: "{% for i in [1] %}", count: 50_000),
        "deepSubscripts": "{{ " + String(repeating: "a[", count: 100_000) + " }}",
        "deepTargets": "{% set " + String(repeating: "(", count: 100_000) + " = 1 %}",
        "longSum": "{{ " + String(repeating: "'x' + ", count: 160_000) + "1 }}",
        "longFilterChain": "{{ 1" + String(repeating: " | string", count: 100_000) + ".x }}",
        "hugeTemplate": String(repeating: "x", count: (1 << 20) + 1),
        "megabyteOfTags": String(repeating: "{{ x.y }}", count: 110_000),
        "megabyteOfOpenings": String(repeating: "{%", count: 500_000),
        "megabyteOfQuotes": "{{ " + String(repeating: "'", count: 1_000_001),
        "unpackTooMany": "{% for a, b in [[1, 2, 3]] %}{% endfor %}",
        "raise": "{{ raise_exception('no') }}",
    ]

    /// Two seconds is the promise; without optimisation everything takes several times as long. Seconds of processor
    /// time, as other processes do not count.
    #if DEBUG
        private static let limit = 15.0
    #else
        private static let limit = 2.0
    #endif

    @Test(arguments: values.keys.sorted()) func endsInAnErrorSoon(_ name: String) async throws {
        let source = try #require(Self.values[name])
        let (error, seconds) = await onSmallStack {
            let start = processorSeconds()
            return (Self.outcome(of: source), processorSeconds() - start)
        }
        #expect(error != nil, "\(name)")
        #expect(seconds < Self.limit, "\(name)")
    }

    @Test func aMegabyteOfTextIsNotTooMuch() async throws {
        let error = await onSmallStack { Self.outcome(of: String(repeating: "x {# c #}\n", count: 95_000)) }
        #expect(error == nil)
    }

    @Test func messagesMayNotBeDeeperThanAnyValue() throws {
        var deep = JSONValue.array([])
        for _ in 0..<5_000 { deep = .array([deep]) }
        let template = try ChatTemplate(source: "x")
        #expect(throws: Diagnostic.self) { try template.render(messages: deep, now: ChatClock("2025-03-14")) }
    }

    @Test func nestingThatIsAllowedFitsASmallStack() async throws {
        let depth = JinjaParser.maximumDepth / 2 - 1
        let nested =
            String(repeating: "{% if (1) %}", count: depth) + "x" + String(repeating: "{% endif %}", count: depth)
        #expect(await onSmallStack { Self.outcome(of: nested) } == nil)
        let expression =
            "{{ " + String(repeating: "[not -(", count: 15) + "1" + String(repeating: ")]", count: 15) + " }}"
        #expect(await onSmallStack { Self.outcome(of: expression) } != nil)
        let calls = """
            {% macro f(n) %}{% for i in [1] %}{% if n > 0 %}{{ [f(n - 1)] | join }}{% endif %}{% endfor %}{% endmacro %}\
            {{ f(60) }}
            """
        #expect(await onSmallStack { Self.outcome(of: calls) } == nil)
    }

    /// The error that the template ends in, if it does.
    private static func outcome(of source: String) -> Diagnostic? {
        do throws(Diagnostic) {
            let messages = JSONValue.array([.object(["role": .string("user"), "content": .string("hi")])])
            _ = try ChatTemplate(source: source).render(messages: messages, now: ChatClock("2025-03-14T09:26:53"))
            return nil
        } catch {
            return error
        }
    }
}

/// What this thread has used.
private func processorSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// Runs `body` on a thread with the 512 KiB that threads get where main threads get more.
private func onSmallStack<Result: Sendable>(_ body: @escaping @Sendable () -> Result) async -> Result {
    await withCheckedContinuation { continuation in
        let thread = Thread { continuation.resume(returning: body()) }
        thread.stackSize = 512 << 10
        thread.start()
    }
}
