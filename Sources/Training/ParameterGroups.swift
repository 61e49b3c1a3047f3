import Autograd
package import Models
package import NN

extension AdamW {
    /// Gives each parameter of `adapter` its group: biases and the gains of norms do not decay, as in transformers.
    ///
    /// - Parameters:
    ///   - loraPlusRatio: how many times faster B learns than A (LoRA+, Hayou et al. 2024).
    ///   - savedFactor: how many times faster modules that are trained in full learn: heads and classifiers.
    package mutating func setGroups(for adapter: AttachedAdapter, loraPlusRatio: Double, savedFactor: Double) {
        let saved = Set(adapter.saved.map { ObjectIdentifier($0.parameter) })
        groups = adapter.namedParameters.map { name, parameter in
            let isB = name.hasSuffix(".lora_B.weight") || name.hasSuffix(".lora_embedding_B")
            let isSaved = saved.contains(ObjectIdentifier(parameter))
            let isVector = parameter.shape.rank == 1
            return Group(
                rateFactor: isB ? loraPlusRatio : isSaved ? savedFactor : 1,
                decays: !(isVector && !name.hasSuffix("_vector")))
        }
    }
}
