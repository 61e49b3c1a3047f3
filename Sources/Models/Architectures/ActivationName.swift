import Autograd

/// Activations by transformers' names.
enum ActivationName: String, CaseIterable {
    case silu, swish, gelu, relu, tanh
    case geluPython = "gelu_python"
    case geluTanh = "gelu_pytorch_tanh"
    case geluNew = "gelu_new"
    case geluFast = "gelu_fast"
    case geluAccurate = "gelu_accurate"
    case geluPythonTanh = "gelu_python_tanh"
    case quickGELU = "quick_gelu"
    case reluSquared = "relu2"

    var activation: Activation {
        switch self {
        case .silu, .swish: .silu
        case .gelu, .geluPython: .gelu
        case .geluTanh, .geluNew, .geluFast, .geluAccurate, .geluPythonTanh: .geluTanh
        case .quickGELU: .quickGELU
        case .relu: .relu
        case .reluSquared: .reluSquared
        case .tanh: .tanh
        }
    }
}
