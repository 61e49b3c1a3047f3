import CKernels

/// y[i] = the mean of x[j] over the rows j of runs[i], with x [T, C] and y [runs.count, C]; no run is empty.
package func meanRows(_ x: Variable, _ runs: [Range<Int>]) -> Variable {
    let workspace = x.tape.workspace
    let (count, width) = (x.value.shape[0], x.value.shape[1])
    precondition(
        runs.allSatisfy { !$0.isEmpty && $0.lowerBound >= 0 && $0.upperBound <= count }, "runs beyond the \(count) of x"
    )
    let y = Tensor(Shape(runs.count, width), in: workspace) { y in
        workspace.threads.forEach(runs.count) { index, _ in
            let mean = y + index * width
            for row in runs[index] {
                let isFirst = row == runs[index].lowerBound
                workspace.kernels.add_scaled(mean, x.value.pointer + row * width, 1, width, isFirst ? 0 : 1)
            }
            workspace.kernels.add_scaled(mean, mean, 1 / Float(runs[index].count), width, 0)
        }
    }
    let slot = x.slot
    return x.tape.record(y, from: x) { dy, adjoints in
        adjoints.add(to: slot) { dx, accumulate in
            // One task, in the order of the runs: several of them may hold the same row.
            workspace.threads.forEach(1) { _, _ in
                if !accumulate { dx.initialize(repeating: 0, count: count * width) }
                for (index, run) in runs.enumerated() {
                    for row in run {
                        workspace.kernels.add_scaled(
                            dx + row * width, dy.pointer + index * width, 1 / Float(run.count), width, 1)
                    }
                }
            }
        }
    }
}
