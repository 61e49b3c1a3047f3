package import Diagnostics
import StrictJSON

/// A checkpoint that `torch.save` has written as a zip archive: its tensors, and nothing run.
package struct PyTorchCheckpoint: Sendable {
    /// In the order of the dictionary.
    package let tensors: [WeightTensor]
    package let file: MappedFile

    /// Maps the file at `path` and reads its pickle. Tensor data is not touched, but for tensors that are not
    /// contiguous, which are copied into row-major order.
    ///
    /// - Throws: `zip`, `pickle`, `pickleGlobal` for a pickle that wants to do more than build tensors,
    ///   `pytorchTensor` with the tensor's name, `fileMissing`, `fileKind`, `fileRead`.
    package init(_ path: String) throws(Diagnostic) {
        let file = try MappedFile(path)
        do {
            try self.init(checking: file)
        } catch { throw error.inFile(path) }
    }

    package var source: WeightSource { WeightSource(tensors: tensors, files: [file]) }

    private init(checking file: MappedFile) throws(Diagnostic) {
        guard file.bytes.starts(with: Array("PK".utf8)) else {
            throw Diagnostic(
                FormatsCode.zip, at: "offset 0x0", found: "no zip archive",
                expected: "a checkpoint of torch 1.6 or later",
                fix: "Convert the model to safetensors with a tool that you trust")
        }
        let archive = try ZipArchive(file.bytes)
        let pickles = archive.names.filter { endsIn($0, "/data.pkl") && $0.utf8.count { $0 == UInt8(ascii: "/") } == 1 }
        guard pickles.count == 1, let pickle = archive[pickles[0]] else {
            throw Diagnostic(
                FormatsCode.zip, found: "\(pickles.count) entries data.pkl", expected: "one",
                fix: "Check that torch.save has written the file")
        }
        let folder = String(decoding: pickles[0].utf8.dropLast("data.pkl".utf8.count), as: UTF8.self)
        if let order = archive[folder + "byteorder"], !order.starts(with: Array("little".utf8)) {
            throw Diagnostic(FormatsCode.zip, at: "byteorder", found: "big-endian data", expected: "little-endian data")
        }
        let (machine, result) = try PickleMachine.run(pickle)
        var builder = CheckpointBuilder(archive: archive, folder: folder, file: file, machine: machine)
        try builder.build(result)
        tensors = builder.tensors
        self.file = file
    }
}

private func endsIn(_ text: String, _ suffix: String) -> Bool {
    text.utf8.reversed().starts(with: suffix.utf8.reversed())
}

/// Turns what the pickle has built into tensors over the file's bytes.
private struct CheckpointBuilder {
    let archive: ZipArchive
    let folder: String
    let file: MappedFile
    let machine: PickleMachine
    private(set) var tensors: [WeightTensor] = []
    private var names: Set<BytewiseString> = []
    /// Bytes copied for tensors that are not contiguous; all together no more than the file has.
    private var copied = 0

    init(archive: ZipArchive, folder: String, file: MappedFile, machine: PickleMachine) {
        (self.archive, self.folder, self.file, self.machine) = (archive, folder, file, machine)
    }

    mutating func build(_ result: PickleValue) throws(Diagnostic) {
        guard case .dictionary(let place) = result else {
            throw Diagnostic(FormatsCode.pickle, found: "no dictionary", expected: "a dictionary of tensors")
        }
        let items = machine.heap[stateDictionary(in: place)]
        for pair in stride(from: 0, to: items.count, by: 2) {
            guard case .string(let name) = items[pair] else {
                throw Diagnostic(FormatsCode.pickle, found: "a key that is no string", expected: "tensor names")
            }
            switch items[pair + 1] {
            case .tensor(let number): try add(name, machine.tensors[number])
            // Counters and the like.
            case .none, .bool, .integer, .float, .string, .inert: continue
            default: throw error(name, "a value that is no tensor", expected: "a dictionary of tensors")
            }
        }
    }

    /// The dictionary itself, or the one that a training checkpoint has under `state_dict`.
    private func stateDictionary(in place: Int) -> Int {
        let items = machine.heap[place]
        for pair in stride(from: 0, to: items.count, by: 2) {
            if case .string("state_dict") = items[pair], case .dictionary(let inner) = items[pair + 1] { return inner }
        }
        return place
    }

    private mutating func add(_ name: String, _ tensor: PickleTensor) throws(Diagnostic) {
        guard !name.isEmpty, !name.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }),
            name.utf8.count <= SafetensorsHeaderParser.maximumNameBytes
        else { throw error(name, "a name that is empty, too long or has control characters", expected: "a plain name") }
        guard names.insert(BytewiseString(name)).inserted else {
            throw error(name, "a second tensor of this name", expected: "every tensor once")
        }
        let storage = try storageBytes(name, tensor)
        let size = tensor.type.blockBytes
        guard let count = elementCount(tensor.shape) else {
            throw error(name, "size \(tensor.shape)", expected: "a number of elements that fits 63 bits")
        }
        guard count > 0 else {
            let empty = UnsafeRawBufferPointer(start: nil, count: 0)
            return append(name, tensor, empty, owner: file)
        }
        try checkReach(name, tensor, elements: storage.count / size)
        if isContiguous(tensor) {
            let start = tensor.offset * size
            append(
                name, tensor, UnsafeRawBufferPointer(rebasing: storage[start..<(start + count * size)]), owner: file)
        } else {
            guard count <= storage.count / size, copied + count * size <= file.size else {
                throw error(
                    name, "strides \(tensor.strides) that use elements several times", expected: "every element once",
                    fix: "Save the tensors with .contiguous()")
            }
            copied += count * size
            let heap = copy(tensor, from: storage, count: count)
            append(name, tensor, UnsafeRawBufferPointer(heap.bytes), owner: heap)
        }
    }

    private mutating func append(
        _ name: String, _ tensor: PickleTensor, _ bytes: UnsafeRawBufferPointer, owner: AnyObject
    ) {
        tensors.append(
            WeightTensor(
                name: name, shape: tensor.shape, type: tensor.type, bytes: bytes, file: file.path, owner: owner))
    }

    private func storageBytes(_ name: String, _ tensor: PickleTensor) throws(Diagnostic) -> UnsafeRawBufferPointer {
        let storage = tensor.storage
        guard let bytes = archive["\(folder)data/\(storage.key)"] else {
            throw error(name, "no entry data/\(storage.key.prefix(40))", expected: "its storage in the archive")
        }
        let (expected, overflow) = storage.count.multipliedReportingOverflow(by: storage.type?.blockBytes ?? 1)
        guard !overflow, expected == bytes.count else {
            throw error(
                name, "a storage of \(bytes.count) bytes", expected: "\(storage.count) elements",
                fix: "Download the file again")
        }
        return bytes
    }

    /// Checks that the last element lies in the storage.
    private func checkReach(_ name: String, _ tensor: PickleTensor, elements: Int) throws(Diagnostic) {
        var last = tensor.offset
        var overflows = false
        for (dimension, stride) in zip(tensor.shape, tensor.strides) {
            let (distance, overflow) = (dimension - 1).multipliedReportingOverflow(by: stride)
            let (sum, carry) = last.addingReportingOverflow(distance)
            overflows = overflows || overflow || carry
            last = sum
        }
        guard !overflows, last < elements else {
            throw error(
                name, "size \(tensor.shape), stride \(tensor.strides) at \(tensor.offset)",
                expected: "a view inside a storage of \(elements) elements", fix: "Download the file again")
        }
    }

    private func isContiguous(_ tensor: PickleTensor) -> Bool {
        var expected = 1
        for (dimension, stride) in zip(tensor.shape, tensor.strides).reversed() where dimension != 1 {
            guard stride == expected else { return false }
            expected *= dimension
        }
        return true
    }

    /// The elements in row-major order.
    private func copy(_ tensor: PickleTensor, from storage: UnsafeRawBufferPointer, count: Int) -> HeapBytes {
        let size = tensor.type.blockBytes
        let heap = HeapBytes(count: count * size)
        guard let source = storage.baseAddress, let target = heap.bytes.baseAddress else { return heap }
        var index = [Int](repeating: 0, count: tensor.shape.count)
        var element = tensor.offset
        for position in 0..<count {
            (target + position * size).copyMemory(from: source + element * size, byteCount: size)
            var axis = index.count - 1
            while axis >= 0 {
                index[axis] += 1
                // Wrapping: the stride of a dimension of 1 can be anything, and is taken off again at once.
                element &+= tensor.strides[axis]
                if index[axis] < tensor.shape[axis] { break }
                element &-= index[axis] &* tensor.strides[axis]
                index[axis] = 0
                axis -= 1
            }
        }
        return heap
    }

    private func error(_ name: String, _ found: String, expected: String, fix: String? = nil) -> Diagnostic {
        Diagnostic(
            FormatsCode.pytorchTensor, at: "tensor \"\(name.prefix(200))\"", found: found, expected: expected, fix: fix)
    }
}
