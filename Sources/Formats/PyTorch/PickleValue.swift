import Diagnostics

/// A value on the stack of the pickle machine. Containers are numbers of places in the machine's heap, so that values
/// hold no references to each other: freeing what a hostile file has nested a million deep needs no recursion.
enum PickleValue {
    case none
    case bool(Bool)
    case integer(Int)
    case float(Double)
    case string(String)
    case bytes
    case tuple(Int)
    case list(Int)
    case dictionary(Int)
    case global(PickleGlobal)
    case storage(PickleStorage)
    case tensor(Int)
    /// The result of a harmless call whose value nobody needs.
    case inert
}

/// The functions and classes that a checkpoint may name. Nothing is ever called: the machine knows what each would
/// build.
enum PickleGlobal {
    case orderedDictionary
    case rebuildTensor
    case rebuildTensorWithType
    case rebuildParameter
    case storageType(ElementType)
    case untypedStorage
    case elementType(ElementType)
    /// Values without tensors: `torch.Size`, `torch.device`.
    case inert

    /// Nil for everything that is not on the list.
    init?(module: String, name: String) {
        switch (module, name) {
        case ("collections", "OrderedDict"): self = .orderedDictionary
        case ("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_tensor"): self = .rebuildTensor
        case ("torch._utils", "_rebuild_tensor_v3"): self = .rebuildTensorWithType
        case ("torch._utils", "_rebuild_parameter"): self = .rebuildParameter
        case ("torch.storage", "UntypedStorage"), ("torch", "UntypedStorage"): self = .untypedStorage
        case ("torch", "Size"), ("torch", "device"): self = .inert
        case ("torch", let name):
            if let type = Self.storageTypes[name] {
                self = .storageType(type)
            } else if let type = Self.elementTypes[name] {
                self = .elementType(type)
            } else {
                return nil
            }
        default: return nil
        }
    }

    private static let storageTypes: [String: ElementType] = [
        "DoubleStorage": .f64, "FloatStorage": .f32, "HalfStorage": .f16, "BFloat16Storage": .bf16,
        "LongStorage": .i64, "IntStorage": .i32, "ShortStorage": .i16, "CharStorage": .i8, "ByteStorage": .u8,
        "BoolStorage": .bool,
    ]

    private static let elementTypes: [String: ElementType] = [
        "float64": .f64, "float32": .f32, "float16": .f16, "bfloat16": .bf16, "int64": .i64, "int32": .i32,
        "int16": .i16, "int8": .i8, "uint8": .u8, "bool": .bool, "uint16": .u16, "uint32": .u32, "uint64": .u64,
        "float8_e4m3fn": .f8e4m3, "float8_e5m2": .f8e5m2,
    ]
}

/// A block of memory that the archive holds under `data/KEY`.
struct PickleStorage {
    var key: String
    /// Nil for a storage of plain bytes.
    var type: ElementType?
    /// Elements, or bytes of an untyped storage.
    var count: Int
}

/// A view of a storage.
struct PickleTensor {
    var storage: PickleStorage
    var type: ElementType
    /// In elements, as the strides are.
    var offset: Int
    var shape: [Int]
    var strides: [Int]
}
