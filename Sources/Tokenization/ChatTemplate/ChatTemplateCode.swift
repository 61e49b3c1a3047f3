package import Diagnostics

/// What can be wrong with a chat template or with a conversation that goes through it.
package enum ChatTemplateCode: String, DiagnosticCode, CaseIterable {
    /// The template's own text is wrong.
    case syntax = "E-TEMPLATE-SYNTAX"
    /// The template refused the conversation.
    case raised = "E-TEMPLATE-RAISED"
    /// The template does what its values do not allow.
    case runtime = "E-TEMPLATE-RUNTIME"
    /// The template does what the sandbox forbids.
    case security = "E-TEMPLATE-SECURITY"
    /// More steps, output or nesting than a template may have.
    case limit = "E-TEMPLATE-LIMIT"
    /// No template where one is needed.
    case missing = "E-TEMPLATE-MISSING"
    case file = "E-TEMPLATE-FILE"
    case read = "E-TEMPLATE-READ"
    case clock = "E-TEMPLATE-CLOCK"
    /// A conversation that is none: messages without roles, or not in a list.
    case messages = "E-TEMPLATE-MESSAGES"
    /// It cannot be proved which bytes of the rendering are what.
    case unproven = "E-TEMPLATE-UNPROVEN"

    package var exit: ExitStatus {
        switch self {
        case .missing: .missingInput
        case .read: .inputOutput
        case .clock: .usage
        default: .badData
        }
    }
}
