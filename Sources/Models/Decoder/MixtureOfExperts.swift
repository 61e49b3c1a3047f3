import Autograd
import NN

/// Feed-forward experts of which a router chooses some for each token, beside one that every token passes.
final class MixtureOfExperts: FeedForwardLayer {
    let router: Router
    let experts: Experts
    let shared: FeedForward?

    init(router: Router, experts: Experts, shared: FeedForward?) {
        self.router = router
        self.experts = experts
        self.shared = shared
    }

    func callAsFunction(_ x: Variable, spec: DecoderSpec, dropoutKey: UInt64?) -> Variable {
        guard let mixture = spec.mixture else { preconditionFailure("a mixture of experts without its extents") }
        let routing = router(x, mixture.routing)
        let rows = ExpertRows(
            experts: routing.experts, perToken: mixture.routing.perToken, count: experts.count)
        let routed = combineExperts(experts(x, rows, spec.activation), weights: routing.weights, rows)
        guard let shared else { return routed }
        return add(routed, shared(x, spec: spec, dropoutKey: dropoutKey))
    }

    var children: [(name: String, module: any Module)] {
        [("gate", router), ("experts", experts)] + (shared.map { [("shared_experts", $0)] } ?? [])
    }
}

/// A module with weights that PEFT adapts by the parameter's name (`target_parameters`), not as a linear layer.
protocol ParameterOwner: Module {
    /// The parameters that can have an adapter, in the order in which PEFT wraps them.
    var adaptableParameters: [AdaptableParameter] { get }
    func setAdapter(_ adapter: LowRankAdapter?, ofParameter name: String)
    func adapter(ofParameter name: String) -> LowRankAdapter?
    /// What an adaptable parameter consists of: the owner's parameters, the rows that each has in it, and their expert.
    func parts(ofParameter name: String) -> [(name: String, rows: Range<Int>, expert: Int)]
}

/// What an adapter of a stacked parameter must fit.
struct AdaptableParameter {
    let name: String
    let experts: Int
    let outputs: Int
    let inputs: Int
}

/// Scores the experts for each token.
final class Router: ParameterOwner {
    /// [experts, C]; the adapter, if there is one, is the linear layer's.
    private let linear: Linear
    /// Added to the scores for the choice, [experts].
    private let correction: Parameter?

    init(weight: Parameter, correction: Parameter?) {
        linear = Linear(weight: weight)
        self.correction = correction
    }

    func callAsFunction(_ x: Variable, _ settings: RoutingSettings) -> Routing {
        route(linear(x, dropoutKey: nil), correction: correction?.floats?.elements, settings)
    }

    var parameters: [(name: String, parameter: Parameter)] {
        [("weight", linear.weight)] + (correction.map { [("e_score_correction_bias", $0)] } ?? [])
    }

    var adaptableParameters: [AdaptableParameter] {
        [.init(name: "weight", experts: 1, outputs: linear.weight.shape[0], inputs: linear.weight.shape[1])]
    }

    func setAdapter(_ adapter: LowRankAdapter?, ofParameter name: String) { linear.adapter = adapter }
    func adapter(ofParameter name: String) -> LowRankAdapter? { linear.adapter }

    func parts(ofParameter name: String) -> [(name: String, rows: Range<Int>, expert: Int)] {
        [("weight", 0..<linear.weight.shape[0], 0)]
    }
}

/// Gated feed-forward layers side by side; each computes only the rows that were routed to it.
final class Experts: ParameterOwner {
    /// One of each for every expert: gate and up [I, C], down [C, I].
    private let gates: [Parameter]
    private let ups: [Parameter]
    private let downs: [Parameter]
    private var gateUpAdapter: LowRankAdapter?
    private var downAdapter: LowRankAdapter?

    init(gates: [Parameter], ups: [Parameter], downs: [Parameter]) {
        self.gates = gates
        self.ups = ups
        self.downs = downs
    }

    var count: Int { gates.count }

    /// The experts' outputs, one row for each of `rows`.
    func callAsFunction(_ x: Variable, _ rows: ExpertRows, _ activation: Activation) -> Variable {
        let gathered = gatherRows(x, rows.tokens)
        let gate = expertLinear(gathered, rows, weights: gates, lowRank: term(gateUpAdapter))
        let up = expertLinear(
            gathered, rows, weights: ups, lowRank: term(gateUpAdapter, firstRow: gates[0].shape[0]))
        return expertLinear(gatedActivation(gate, up, activation), rows, weights: downs, lowRank: term(downAdapter))
    }

    private func term(_ adapter: LowRankAdapter?, firstRow: Int = 0) -> ExpertLowRank? {
        adapter.map { ExpertLowRank(a: $0.a, b: $0.b, scale: $0.scale, experts: count, firstRow: firstRow) }
    }

    var parameters: [(name: String, parameter: Parameter)] {
        (0..<count).flatMap { expert in
            [
                ("\(expert).gate_proj.weight", gates[expert]), ("\(expert).up_proj.weight", ups[expert]),
                ("\(expert).down_proj.weight", downs[expert]),
            ]
        }
    }

    private static let (gateUp, down) = ("gate_up_proj", "down_proj")

    var adaptableParameters: [AdaptableParameter] {
        let (width, hidden) = (gates[0].shape[0], gates[0].shape[1])
        return [
            .init(name: Self.gateUp, experts: count, outputs: 2 * width, inputs: hidden),
            .init(name: Self.down, experts: count, outputs: hidden, inputs: width),
        ]
    }

    func setAdapter(_ adapter: LowRankAdapter?, ofParameter name: String) {
        if name == Self.gateUp { gateUpAdapter = adapter } else { downAdapter = adapter }
    }

    func adapter(ofParameter name: String) -> LowRankAdapter? { name == Self.gateUp ? gateUpAdapter : downAdapter }

    func parts(ofParameter name: String) -> [(name: String, rows: Range<Int>, expert: Int)] {
        let (width, hidden) = (gates[0].shape[0], gates[0].shape[1])
        return (0..<count).flatMap { expert in
            name == Self.gateUp
                ? [
                    ("\(expert).gate_proj.weight", 0..<width, expert),
                    ("\(expert).up_proj.weight", width..<2 * width, expert),
                ] : [("\(expert).down_proj.weight", 0..<hidden, expert)]
        }
    }
}
