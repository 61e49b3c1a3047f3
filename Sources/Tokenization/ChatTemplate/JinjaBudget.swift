/// What a template may spend. Every loop, call and string is charged, so that any template ends soon.
struct JinjaBudget: Sendable {
    static let maximumSteps = 100_000
    static let maximumInstructions = 1_000_000
    static let maximumOutput = 1 << 20
    /// Bytes of all strings and lists made on the way.
    static let maximumWork = 64 << 20
    static let maximumDepth = 64
    /// Numbers of a `range`, as in Jinja's sandbox, and items of any list.
    static let maximumItems = 100_000

    private var steps = 0
    private var instructions = 0
    private var output = 0
    private var work = 0

    /// Counts a statement, a pass of a loop or a call.
    mutating func countStep() throws(JinjaError) {
        steps += 1
        if steps > Self.maximumSteps { throw .budget("the template takes more than \(Self.maximumSteps) steps") }
    }

    mutating func countInstruction() throws(JinjaError) {
        instructions += 1
        if instructions > Self.maximumInstructions {
            throw .budget("the template takes more than \(Self.maximumSteps) steps")
        }
    }

    mutating func countOutput(_ bytes: Int) throws(JinjaError) {
        output += bytes
        if output > Self.maximumOutput {
            throw .budget("the template writes more than \(Self.maximumOutput) bytes")
        }
    }

    /// Charges bytes that are about to be made.
    mutating func charge(_ bytes: Int) throws(JinjaError) {
        work += min(bytes, Self.maximumWork + 1)
        if bytes < 0 || work > Self.maximumWork {
            throw .budget("the template makes more than \(Self.maximumWork) bytes of strings and lists")
        }
    }

    /// Charges the handling of items one by one: comparing, writing or filtering them.
    mutating func charge(items count: Int) throws(JinjaError) { try charge(min(count, Self.maximumWork) * 96) }

    func checkDepth(_ depth: Int) throws(JinjaError) {
        if depth > Self.maximumDepth { throw .budget("values nested deeper than \(Self.maximumDepth)") }
    }

    func checkCalls(_ depth: Int) throws(JinjaError) {
        if depth >= Self.maximumDepth { throw .budget("calls nested deeper than \(Self.maximumDepth)") }
    }

    func checkItems(_ count: Int) throws(JinjaError) {
        if count > Self.maximumItems { throw .budget("a list of more than \(Self.maximumItems) items") }
    }
}
