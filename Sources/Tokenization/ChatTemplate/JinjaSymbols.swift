/// The names of one scope, found before it runs.
///
/// Jinja decides statically where a name lives: one that a scope assigns before it reads it is undefined until then,
/// even if the caller passed a variable of that name. One that is assigned in a branch only falls back to the outside.
final class JinjaSymbols {
    private let parent: JinjaSymbols?
    private var known: Set<String> = []
    private var stored: Set<String> = []
    /// Names that start undefined, whatever is outside.
    private(set) var undefined: Set<String> = []

    init(parent: JinjaSymbols?) { self.parent = parent }

    private init(copyOf other: JinjaSymbols) {
        parent = other.parent
        known = other.known
        stored = other.stored
        undefined = other.undefined
    }

    private func isKnown(_ name: String) -> Bool { known.contains(name) || parent?.isKnown(name) == true }

    func declareParameter(_ name: String) {
        stored.insert(name)
        known.insert(name)
    }

    private func load(_ name: String) {
        if !isKnown(name) { known.insert(name) }
    }

    private func store(_ name: String) {
        stored.insert(name)
        guard !known.contains(name) else { return }
        if parent?.isKnown(name) != true { undefined.insert(name) }
        known.insert(name)
    }

    // MARK: Statements

    /// Notes the names that `statements` use in this scope, leaving out the scopes inside it.
    func visit(_ statements: [JinjaStatement]) {
        for statement in statements { visit(statement) }
    }

    private func visit(_ statement: JinjaStatement) {
        switch statement.kind {
        case .text, .generation, .block, .breakLoop, .continueLoop, .unsupported: break
        case .output(let values): visit(values)
        case .conditional(let branches, let otherwise): visit(branches, otherwise)
        case .loop(let loop): visit(loop.items)
        case .set(let target, let value):
            visit(value)
            visit(target)
        case .setBlock(let target, _, _): visit(target)
        case .macro(let macro): if let name = macro.name { store(name) }
        case .call(let callee, let call, _): visit([callee] + call.children)
        case .filterBlock(let filters, _): visit(filters.flatMap(\.children))
        case .with(let bindings, _): for binding in bindings { visit(binding.value) }
        }
    }

    private func visit(
        _ branches: [(test: JinjaExpression, body: [JinjaStatement])], _ otherwise: [JinjaStatement]
    ) {
        guard let first = branches.first else { return }
        visit(first.test)
        let body = JinjaSymbols(copyOf: self)
        body.visit(first.body)
        let alternatives = JinjaSymbols(copyOf: self)
        for branch in branches.dropFirst() { alternatives.visit([(branch.test, branch.body)], []) }
        let last = JinjaSymbols(copyOf: self)
        last.visit(otherwise)
        let stores = body.stored.union(alternatives.stored).union(last.stored).subtracting(stored)
        for branch in [body, alternatives, last] {
            known.formUnion(branch.known)
            stored.formUnion(branch.stored)
            undefined.formUnion(branch.undefined)
        }
        undefined.subtract(stores)
    }

    func visit(_ target: JinjaTarget) {
        switch target {
        case .name(let name): store(name)
        case .attribute(let name, _): load(name)
        case .tuple(let targets): for target in targets { visit(target) }
        }
    }

    // MARK: Expressions

    private func visit(_ expressions: [JinjaExpression]) {
        for expression in expressions { visit(expression) }
    }

    func visit(_ expression: JinjaExpression) {
        if case .name(let name) = expression { load(name) }
        visit(expression.children)
    }
}
