/// What lives in the interpreter's heap.
enum JinjaObject {
    case namespace(JinjaNamespace)
    case macro(JinjaMacro)
    case loop(JinjaLoopState)
    case generator(JinjaGenerator)
    case cycler(items: [JinjaValue], position: Int)
    case joiner(separator: JinjaValue, used: Bool)
}

/// `namespace(...)`: attributes that inner scopes can set.
struct JinjaNamespace {
    private(set) var members: [(name: String, value: JinjaValue)] = []

    subscript(name: String) -> JinjaValue? {
        get { members.first { sameBytes($0.name, name) }?.value }
        set {
            guard let newValue else { return }
            if let index = members.firstIndex(where: { sameBytes($0.name, name) }) {
                members[index].value = newValue
            } else {
                members.append((name, newValue))
            }
        }
    }
}

struct JinjaMacro {
    var shape: Int
    /// The scope around its definition.
    var scope: Int
}

/// Items that can be gone through once, as Python's generators. An error that stopped their making waits at the end.
struct JinjaGenerator {
    var items: ArraySlice<JinjaValue>
    var failure: JinjaError?
    /// How Python names its type.
    var typeName = "generator"
}

/// A running loop, which is also the `loop` of its body.
struct JinjaLoopState {
    var shape: Int
    /// What is looped over; the condition may leave items out.
    var items: [JinjaValue]
    var position = 0
    /// Whether the condition still has to be asked.
    var isFiltered: Bool
    /// The scope around the loop.
    var scope: Int
    var depth0 = 0
    var index0 = -1
    var previous: JinjaValue?
    var current: JinjaValue?
    /// The item after this one, once it has been looked at; the inner nil means that there is none.
    var next: JinjaValue??
    /// Whether a pass came to its end, which keeps `else` from running.
    var completed = false
    var lastChanged: JinjaValue?
    /// The message of the conversation whose text is being written, and where it started.
    var region: (message: Int, start: Int)?
}
