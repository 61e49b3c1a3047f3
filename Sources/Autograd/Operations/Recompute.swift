/// body(x), of which the backward pass keeps nothing but x: it computes `body` once more when its turn comes
/// (Chen et al. 2016).
///
/// `body` must compute the same both times, so what it draws at random has to follow from keys. It records on the tape
/// of its argument.
package func recomputing(_ x: Variable, _ body: @escaping (Variable) -> Variable) -> Variable {
    let (tape, slot) = (x.tape, x.slot)
    guard tape.isRecording else { return body(x) }
    let workspace = tape.workspace
    let value = x.value
    let y = body(Tape(workspace, recording: false).constant(value)).value
    // Recorded even if x needs no gradient: what `body` trains may.
    return tape.record(y) { dy, adjoints in
        let again = Tape(workspace, recording: true)
        let input =
            slot.isNeeded
            ? again.watched(value) { dx in adjoints.give(dx, to: slot) }
            : again.constant(value)
        again.backward(from: body(input), gradient: dy)
    }
}
