extension JSONValue {
    /// The value without the members of objects that are null.
    package var withoutNulls: JSONValue {
        if let object {
            return .object(
                JSONObject(object.members.filter { $0.value != .null }.map { ($0.key, $0.value.withoutNulls) }))
        }
        return array.map { .array($0.map(\.withoutNulls)) } ?? self
    }
}
