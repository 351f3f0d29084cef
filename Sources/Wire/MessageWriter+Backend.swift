// The messages that Weir sends as a server would (PostgreSQL manual, 55.7). Each function appends one whole message.

extension MessageWriter {
    /// ErrorResponse.
    public mutating func errorResponse(_ fields: ErrorFields) {
        errorMessage(BackendTag.errorResponse, fields)
    }

    /// NoticeResponse.
    public mutating func noticeResponse(_ fields: ErrorFields) {
        errorMessage(BackendTag.noticeResponse, fields)
    }

    private mutating func errorMessage(_ tag: UInt8, _ fields: ErrorFields) {
        begin(tag)
        errorField(ErrorFieldKind.severity, fields.severity)
        if fields.includeNonLocalized { errorField(ErrorFieldKind.nonLocalizedSeverity, fields.severity) }
        errorField(ErrorFieldKind.code, fields.code)
        errorField(ErrorFieldKind.message, fields.message)
        if let detail = fields.detail { errorField(ErrorFieldKind.detail, detail) }
        if let hint = fields.hint { errorField(ErrorFieldKind.hint, hint) }
        byte(0)
        end()
    }

    private mutating func errorField(_ kind: UInt8, _ text: String) {
        byte(kind)
        cString(text)
    }

    /// ParameterStatus.
    public mutating func parameterStatus(name: String, value: String) {
        begin(BackendTag.parameterStatus)
        cString(name)
        cString(value)
        end()
    }

    /// BackendKeyData; `secret` has 4 bytes in protocol 3.0 and up to 256 in 3.2.
    public mutating func backendKeyData(processID: Int32, secret: [UInt8]) {
        precondition(secret.count >= cancelSecretBytesMin && secret.count <= cancelSecretBytesMax)
        begin(BackendTag.backendKeyData)
        int32(processID)
        rawBytes(secret)
        end()
    }

    /// AuthenticationOk.
    public mutating func authenticationOk() {
        authentication(AuthenticationCode.ok, [])
    }

    /// AuthenticationCleartextPassword.
    public mutating func authenticationCleartext() {
        authentication(AuthenticationCode.cleartextPassword, [])
    }

    /// AuthenticationMD5Password with a salt of four bytes.
    public mutating func authenticationMD5(salt: [UInt8]) {
        precondition(salt.count == 4, "MD5 salts have four bytes")
        authentication(AuthenticationCode.md5Password, salt)
    }

    /// AuthenticationSASL with the names of the mechanisms, the preferred one first.
    public mutating func authenticationSASL(mechanisms: [String]) {
        begin(BackendTag.authentication)
        int32(AuthenticationCode.sasl)
        for mechanism in mechanisms { cString(mechanism) }
        byte(0)
        end()
    }

    /// AuthenticationSASLContinue with the mechanism's challenge.
    public mutating func authenticationSASLContinue(_ data: [UInt8]) {
        authentication(AuthenticationCode.saslContinue, data)
    }

    /// AuthenticationSASLFinal with the mechanism's outcome.
    public mutating func authenticationSASLFinal(_ data: [UInt8]) {
        authentication(AuthenticationCode.saslFinal, data)
    }

    private mutating func authentication(_ code: Int32, _ data: [UInt8]) {
        begin(BackendTag.authentication)
        int32(code)
        rawBytes(data)
        end()
    }

    /// NegotiateProtocolVersion: the minor version of protocol 3 that is spoken, and the protocol options
    /// (`_pq_.…`) that are not known. The field is the whole version number, as PostgreSQL sends it and libpq
    /// reads it.
    public mutating func negotiateProtocolVersion(minor: Int, unknownOptions: [String]) {
        begin(BackendTag.negotiateProtocolVersion)
        int32(protocolVersion(minor: minor))
        int32(Int32(clamping: unknownOptions.count))
        for option in unknownOptions { cString(option) }
        end()
    }

    /// ReadyForQuery; see `TransactionStatus`.
    public mutating func readyForQuery(_ status: UInt8) {
        begin(BackendTag.readyForQuery)
        byte(status)
        end()
    }

    /// RowDescription of columns in text format that belong to no table.
    public mutating func rowDescription(_ columns: [(name: String, typeOID: Int32)]) {
        begin(BackendTag.rowDescription)
        count16(columns.count)
        for column in columns {
            cString(column.name)
            int32(0)
            int16(0)
            int32(column.typeOID)
            int16(typeLength(column.typeOID))
            int32(-1)
            int16(0)
        }
        end()
    }

    /// DataRow in text format; nil is NULL.
    public mutating func dataRow(_ values: [String?]) {
        begin(BackendTag.dataRow)
        count16(values.count)
        for value in values {
            guard let value else {
                int32(-1)
                continue
            }
            guard let length = Int32(exactly: value.utf8.count) else { preconditionFailure("a value beyond 2 GiB") }
            int32(length)
            rawBytes(value.utf8)
        }
        end()
    }

    /// CommandComplete.
    public mutating func commandComplete(_ tag: String) {
        begin(BackendTag.commandComplete)
        cString(tag)
        end()
    }

    /// EmptyQueryResponse.
    public mutating func emptyQueryResponse() { empty(BackendTag.emptyQueryResponse) }

    /// ParseComplete.
    public mutating func parseComplete() { empty(BackendTag.parseComplete) }

    /// BindComplete.
    public mutating func bindComplete() { empty(BackendTag.bindComplete) }

    /// CloseComplete.
    public mutating func closeComplete() { empty(BackendTag.closeComplete) }

    /// NoData.
    public mutating func noData() { empty(BackendTag.noData) }

    /// PortalSuspended.
    public mutating func portalSuspended() { empty(BackendTag.portalSuspended) }

    /// ParameterDescription with the OIDs of the parameters' types.
    public mutating func parameterDescription(_ typeOIDs: [Int32]) {
        begin(BackendTag.parameterDescription)
        count16(typeOIDs.count)
        for typeOID in typeOIDs { int32(typeOID) }
        end()
    }

    /// A message without fields.
    mutating func empty(_ tag: UInt8) {
        begin(tag)
        end()
    }
}

/// The version number of protocol 3 with this minor version.
func protocolVersion(minor: Int) -> Int32 {
    precondition(minor >= 0 && minor <= 0xffff, "minor versions have 16 bits")
    return StartupCode.majorVersion << 16 | Int32(minor)
}

/// `pg_type.typlen` of the built-in types of fixed length that the console may show; -1 for all others.
private func typeLength(_ typeOID: Int32) -> Int16 {
    switch typeOID {
    case 16, 18: 1  // bool, "char"
    case 21: 2  // int2
    case 23, 26, 700, 1082: 4  // int4, oid, float4, date
    case 20, 701, 1083, 1114, 1184: 8  // int8, float8, time, timestamp, timestamptz
    case 1186: 16  // interval
    case 19: 64  // name
    case _: -1
    }
}
