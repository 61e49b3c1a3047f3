extension SentencePieceModel {
    /// The model as a ModelProto.
    func serialized() -> [UInt8] {
        var writer = ProtobufWriter()
        for piece in pieces {
            var message = ProtobufWriter()
            message.write(1, bytes: piece.text)
            message.write(2, float: piece.score)
            message.write(3, varint: piece.type.rawValue)
            writer.write(1, bytes: message.bytes)
        }
        var trainer = ProtobufWriter()
        trainer.write(3, varint: algorithm.rawValue)
        trainer.write(24, flag: treatsWhitespaceAsSuffix)
        trainer.write(35, flag: fallsBackToBytes)
        if let unknownSurface { trainer.write(44, bytes: unknownSurface) }
        writer.write(2, bytes: trainer.bytes)
        writer.write(3, bytes: normalization.serialized())
        if !denormalization.characterMap.isEmpty { writer.write(5, bytes: denormalization.serialized()) }
        return writer.bytes
    }
}

extension SentencePieceModel.Normalization {
    fileprivate func serialized() -> [UInt8] {
        var writer = ProtobufWriter()
        writer.write(2, bytes: characterMap)
        writer.write(3, flag: addsDummyPrefix)
        writer.write(4, flag: removesExtraWhitespace)
        writer.write(5, flag: escapesWhitespace)
        return writer.bytes
    }
}
