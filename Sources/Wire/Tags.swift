// The first byte of every message after the start-up packet (PostgreSQL manual, 55.7). The two directions use
// the same letters for different messages, so each has its own vocabulary. Tags are plain bytes, not an enum:
// a tag that Weir does not know is passed on or refused, never a trap.

/// The tags of messages from client to server.
public enum FrontendTag {
    /// Bind, `B`.
    @inlinable public static var bind: UInt8 { 0x42 }
    /// Close, `C`.
    @inlinable public static var close: UInt8 { 0x43 }
    /// CopyData, `d`.
    @inlinable public static var copyData: UInt8 { 0x64 }
    /// CopyDone, `c`.
    @inlinable public static var copyDone: UInt8 { 0x63 }
    /// CopyFail, `f`.
    @inlinable public static var copyFail: UInt8 { 0x66 }
    /// Describe, `D`.
    @inlinable public static var describe: UInt8 { 0x44 }
    /// Execute, `E`.
    @inlinable public static var execute: UInt8 { 0x45 }
    /// Flush, `H`.
    @inlinable public static var flush: UInt8 { 0x48 }
    /// FunctionCall, `F`.
    @inlinable public static var functionCall: UInt8 { 0x46 }
    /// Parse, `P`.
    @inlinable public static var parse: UInt8 { 0x50 }
    /// PasswordMessage, SASLInitialResponse, SASLResponse or GSSResponse, `p`; which one depends on the state.
    @inlinable public static var password: UInt8 { 0x70 }
    /// Query, `Q`.
    @inlinable public static var query: UInt8 { 0x51 }
    /// Sync, `S`.
    @inlinable public static var sync: UInt8 { 0x53 }
    /// Terminate, `X`.
    @inlinable public static var terminate: UInt8 { 0x58 }
}

/// The tags of messages from server to client.
public enum BackendTag {
    /// Every Authentication message, `R`; see `AuthenticationCode`.
    @inlinable public static var authentication: UInt8 { 0x52 }
    /// BackendKeyData, `K`.
    @inlinable public static var backendKeyData: UInt8 { 0x4b }
    /// BindComplete, `2`.
    @inlinable public static var bindComplete: UInt8 { 0x32 }
    /// CloseComplete, `3`.
    @inlinable public static var closeComplete: UInt8 { 0x33 }
    /// CommandComplete, `C`.
    @inlinable public static var commandComplete: UInt8 { 0x43 }
    /// CopyData, `d`.
    @inlinable public static var copyData: UInt8 { 0x64 }
    /// CopyDone, `c`.
    @inlinable public static var copyDone: UInt8 { 0x63 }
    /// CopyInResponse, `G`.
    @inlinable public static var copyInResponse: UInt8 { 0x47 }
    /// CopyOutResponse, `H`.
    @inlinable public static var copyOutResponse: UInt8 { 0x48 }
    /// CopyBothResponse, `W`.
    @inlinable public static var copyBothResponse: UInt8 { 0x57 }
    /// DataRow, `D`.
    @inlinable public static var dataRow: UInt8 { 0x44 }
    /// EmptyQueryResponse, `I`.
    @inlinable public static var emptyQueryResponse: UInt8 { 0x49 }
    /// ErrorResponse, `E`.
    @inlinable public static var errorResponse: UInt8 { 0x45 }
    /// FunctionCallResponse, `V`.
    @inlinable public static var functionCallResponse: UInt8 { 0x56 }
    /// NegotiateProtocolVersion, `v`.
    @inlinable public static var negotiateProtocolVersion: UInt8 { 0x76 }
    /// NoData, `n`.
    @inlinable public static var noData: UInt8 { 0x6e }
    /// NoticeResponse, `N`.
    @inlinable public static var noticeResponse: UInt8 { 0x4e }
    /// NotificationResponse, `A`.
    @inlinable public static var notificationResponse: UInt8 { 0x41 }
    /// ParameterDescription, `t`.
    @inlinable public static var parameterDescription: UInt8 { 0x74 }
    /// ParameterStatus, `S`.
    @inlinable public static var parameterStatus: UInt8 { 0x53 }
    /// ParseComplete, `1`.
    @inlinable public static var parseComplete: UInt8 { 0x31 }
    /// PortalSuspended, `s`.
    @inlinable public static var portalSuspended: UInt8 { 0x73 }
    /// ReadyForQuery, `Z`.
    @inlinable public static var readyForQuery: UInt8 { 0x5a }
    /// RowDescription, `T`.
    @inlinable public static var rowDescription: UInt8 { 0x54 }
}

/// The number that says which Authentication message it is (PostgreSQL manual, 55.7).
public enum AuthenticationCode {
    /// AuthenticationOk
    @inlinable public static var ok: Int32 { 0 }
    /// AuthenticationCleartextPassword
    @inlinable public static var cleartextPassword: Int32 { 3 }
    /// AuthenticationMD5Password
    @inlinable public static var md5Password: Int32 { 5 }
    /// AuthenticationSASL
    @inlinable public static var sasl: Int32 { 10 }
    /// AuthenticationSASLContinue
    @inlinable public static var saslContinue: Int32 { 11 }
    /// AuthenticationSASLFinal
    @inlinable public static var saslFinal: Int32 { 12 }
}

/// The byte in ReadyForQuery.
public enum TransactionStatus {
    /// `I`: no transaction is open.
    @inlinable public static var idle: UInt8 { 0x49 }
    /// `T`: in a transaction.
    @inlinable public static var inTransaction: UInt8 { 0x54 }
    /// `E`: in a failed transaction.
    @inlinable public static var failed: UInt8 { 0x45 }
}

/// A set of tags, asked for every message: two words and a shift, no memory.
public struct TagSet: Equatable, Sendable {
    /// Bit n stands for tag n, 0 to 63.
    @usableFromInline let low: UInt64
    /// Bit n stands for tag 64 + n.
    @usableFromInline let high: UInt64

    /// The empty set, made without any work.
    @inlinable public static var none: TagSet { TagSet(low: 0, high: 0) }

    @inlinable
    init(low: UInt64, high: UInt64) {
        self.low = low
        self.high = high
    }

    /// The set of these tags, which must be ASCII. It builds a list first: made once, not for each message.
    public init(_ tags: UInt8...) {
        var low: UInt64 = 0
        var high: UInt64 = 0
        for tag in tags {
            precondition(tag < 128, "tags are ASCII")
            if tag < 64 {
                low |= 1 << UInt64(tag)
            } else {
                high |= 1 << UInt64(tag - 64)
            }
        }
        self.low = low
        self.high = high
    }

    /// Whether `tag` is in the set; false for any byte that is not ASCII.
    @inlinable @inline(__always)
    public func contains(_ tag: UInt8) -> Bool {
        guard tag < 128 else { return false }
        return ((tag < 64 ? low : high) >> UInt64(tag & 63)) & 1 != 0
    }
}
