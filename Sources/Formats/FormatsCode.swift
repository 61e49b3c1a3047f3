package import Diagnostics

/// The kinds of error that reading and writing model files can end in.
package enum FormatsCode: String, DiagnosticCode, CaseIterable {
    case fileMissing = "E-FILE-MISSING"
    case fileKind = "E-FILE-KIND"
    case fileRead = "E-FILE-READ"
    case fileChanged = "E-FILE-CHANGED"
    case fileCreate = "E-FILE-CREATE"
    case fileWrite = "E-FILE-WRITE"

    case safetensorsHeader = "E-SAFETENSORS-HEADER"
    case safetensorsTensor = "E-SAFETENSORS-TENSOR"
    case safetensorsOffsets = "E-SAFETENSORS-OFFSETS"
    case safetensorsLimit = "E-SAFETENSORS-LIMIT"

    case shardIndex = "E-SHARDS-INDEX"
    case shardFile = "E-SHARDS-FILE"
    case shardTensors = "E-SHARDS-TENSORS"

    case ggufHeader = "E-GGUF-HEADER"
    case ggufTruncated = "E-GGUF-TRUNCATED"
    case ggufKey = "E-GGUF-KEY"
    case ggufTensor = "E-GGUF-TENSOR"
    case ggufLayout = "E-GGUF-LAYOUT"
    case ggufLimit = "E-GGUF-LIMIT"
    case ggufSplit = "E-GGUF-SPLIT"

    case zip = "E-PYTORCH-ZIP"
    case pickle = "E-PYTORCH-PICKLE"
    case pickleGlobal = "E-PYTORCH-GLOBAL"
    case pytorchTensor = "E-PYTORCH-TENSOR"

    case weightsType = "E-WEIGHTS-TYPE"
    case weightsSize = "E-WEIGHTS-SIZE"

    case adapterConfig = "E-ADAPTER-CONFIG"
    case adapterKey = "E-ADAPTER-KEY"
    case adapterPattern = "E-ADAPTER-PATTERN"
    case adapterTensors = "E-ADAPTER-TENSORS"
    case adapterPickle = "E-ADAPTER-PICKLE"

    case modelFolder = "E-MODEL-FOLDER"
    case unknownKind = "E-PATH-KIND"

    package var exit: ExitStatus {
        switch self {
        case .fileMissing: .missingInput
        case .fileRead, .fileChanged, .fileWrite: .inputOutput
        case .fileCreate: .cannotCreate
        default: .badData
        }
    }
}
