// The messages that Weir sends as a client would: to log in to a server, to check and reset it, to cancel
// (PostgreSQL manual, 55.7). Each function appends one whole message.

extension MessageWriter {
    /// StartupMessage of protocol 3.
    public mutating func startup(minorVersion: Int, parameters: [(name: String, value: String)]) {
        beginUntagged()
        int32(protocolVersion(minor: minorVersion))
        for parameter in parameters {
            // An empty name would end the list.
            precondition(!parameter.name.isEmpty && parameter.name.utf8.first != 0, "a parameter without a name")
            cString(parameter.name)
            cString(parameter.value)
        }
        byte(0)
        end()
    }

    /// SSLRequest.
    public mutating func sslRequest() {
        beginUntagged()
        int32(StartupCode.sslRequest)
        end()
    }

    /// CancelRequest for the session with this key.
    public mutating func cancelRequest(processID: Int32, secret: [UInt8]) {
        precondition(secret.count >= cancelSecretBytesMin && secret.count <= cancelSecretBytesMax)
        beginUntagged()
        int32(StartupCode.cancelRequest)
        int32(processID)
        rawBytes(secret)
        end()
    }

    /// Query.
    public mutating func query(_ sql: String) {
        begin(FrontendTag.query)
        cString(sql)
        end()
    }

    /// Query, of a text in whatever encoding.
    public mutating func query(_ sql: [UInt8]) {
        begin(FrontendTag.query)
        rawBytes(sql)
        byte(0)
        end()
    }

    /// Close of a prepared statement.
    public mutating func closeStatement(_ name: String) {
        begin(FrontendTag.close)
        byte(UInt8(ascii: "S"))
        cString(name)
        end()
    }

    /// Parse, without types of parameters.
    public mutating func parse(_ sql: String, name: String = "") {
        begin(FrontendTag.parse)
        cString(name)
        cString(sql)
        int16(0)
        end()
    }

    /// PasswordMessage: a password, or the answer to an MD5 challenge. Ends at the first NUL, like every text.
    public mutating func password(_ password: [UInt8]) {
        begin(FrontendTag.password)
        rawBytes(password.prefix { $0 != 0 })
        byte(0)
        end()
    }

    /// PasswordMessage: a password, or the answer to an MD5 challenge.
    public mutating func password(_ password: String) {
        begin(FrontendTag.password)
        cString(password)
        end()
    }

    /// SASLInitialResponse; nil says that the mechanism has no initial response.
    public mutating func saslInitialResponse(mechanism: String, response: [UInt8]?) {
        begin(FrontendTag.password)
        cString(mechanism)
        if let response {
            int32(Int32(clamping: response.count))
            rawBytes(response)
        } else {
            int32(-1)
        }
        end()
    }

    /// SASLResponse.
    public mutating func saslResponse(_ response: [UInt8]) {
        begin(FrontendTag.password)
        rawBytes(response)
        end()
    }

    /// Sync.
    public mutating func sync() { empty(FrontendTag.sync) }

    /// Terminate.
    public mutating func terminate() { empty(FrontendTag.terminate) }
}
