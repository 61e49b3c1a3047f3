package import Diagnostics

/// What can be wrong with data and with the mapping from data to examples.
package enum DataCode: String, DiagnosticCode, CaseIterable {
    case missing = "E-DATA-MISSING"
    case read = "E-DATA-READ"
    /// The file changed while it was read.
    case changed = "E-DATA-CHANGED"
    /// Not a regular file, compressed, or of a format that cannot be told from its name.
    case kind = "E-DATA-KIND"
    case limit = "E-DATA-LIMIT"
    /// A compressed file that is damaged or cut off.
    case compressed = "E-DATA-COMPRESSED"
    case encoding = "E-DATA-ENCODING"
    /// No record at all, or none that passes the filter.
    case empty = "E-DATA-EMPTY"
    case quote = "E-CSV-QUOTE"
    case ragged = "E-CSV-RAGGED"
    case header = "E-CSV-HEADER"
    case lineEnd = "E-CSV-LINE-END"
    /// A row of a JSON file that is no object.
    case row = "E-DATA-ROW"
    /// A field that a slot or filter names and a record does not have.
    case field = "E-DATA-FIELD"
    /// Records to be evaluated on that are trained on.
    case leak = "E-DATA-LEAK"
    /// A value that cannot be used where it stands: null, or of the wrong type.
    case value = "E-DATA-VALUE"
    /// A conversation with unknown roles, or roles out of order.
    case messages = "E-DATA-MESSAGES"
    /// A text to be learned that is empty.
    case emptyText = "E-DATA-EMPTY-TEXT"
    case tooLong = "E-DATA-TOO-LONG"
    case label = "E-DATA-LABEL"
    case nothingSupervised = "E-DATA-NOTHING-SUPERVISED"
    case doubleStart = "E-DATA-DOUBLE-BOS"
    case slot = "E-DATA-SLOT"
    case noTemplate = "E-DATA-NO-TEMPLATE"
    /// What a renderer answers does not fit the text that it answers with.
    case spans = "E-DATA-SPANS"

    package var exit: ExitStatus {
        switch self {
        case .missing: .missingInput
        case .read: .inputOutput
        case .slot, .noTemplate: .badRecipe
        case .spans: .internal
        default: .badData
        }
    }
}
