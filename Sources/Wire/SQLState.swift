// The SQLSTATEs that Weir itself sends or looks for. Names follow PostgreSQL's condition names
// (manual, appendix A), in Swift's spelling.

/// Five-character error codes (PostgreSQL manual, appendix A).
public enum SQLState {
    /// successful_completion
    public static var successfulCompletion: String { "00000" }
    /// warning
    public static var warning: String { "01000" }
    /// connection_exception
    public static var connectionException: String { "08000" }
    /// sqlclient_unable_to_establish_sqlconnection: the server cannot be reached.
    public static var unableToEstablishConnection: String { "08001" }
    /// connection_does_not_exist
    public static var connectionDoesNotExist: String { "08003" }
    /// sqlserver_rejected_establishment_of_sqlconnection
    public static var connectionRejected: String { "08004" }
    /// connection_failure: the server died.
    public static var connectionFailure: String { "08006" }
    /// transaction_resolution_unknown: the server died while a COMMIT was under way.
    public static var transactionResolutionUnknown: String { "08007" }
    /// protocol_violation
    public static var protocolViolation: String { "08P01" }
    /// feature_not_supported
    public static var featureNotSupported: String { "0A000" }
    /// invalid_parameter_value
    public static var invalidParameterValue: String { "22023" }
    /// character_not_in_repertoire: not in the encoding that it should be in.
    public static var characterNotInRepertoire: String { "22021" }
    /// active_sql_transaction: the command must not run in a transaction.
    public static var activeTransaction: String { "25001" }
    /// read_only_sql_transaction
    public static var readOnlyTransaction: String { "25006" }
    /// no_active_sql_transaction
    public static var noActiveTransaction: String { "25P01" }
    /// in_failed_sql_transaction: everything until ROLLBACK is refused.
    public static var inFailedTransaction: String { "25P02" }
    /// idle_in_transaction_session_timeout
    public static var idleInTransactionTimeout: String { "25P03" }
    /// transaction_timeout
    public static var transactionTimeout: String { "25P04" }
    /// invalid_sql_statement_name: no such prepared statement.
    public static var invalidStatementName: String { "26000" }
    /// invalid_authorization_specification
    public static var invalidAuthorization: String { "28000" }
    /// invalid_password
    public static var invalidPassword: String { "28P01" }
    /// invalid_cursor_name: no such portal.
    public static var invalidCursorName: String { "34000" }
    /// invalid_catalog_name: no such database.
    public static var invalidCatalogName: String { "3D000" }
    /// insufficient_privilege
    public static var insufficientPrivilege: String { "42501" }
    /// syntax_error
    public static var syntaxError: String { "42601" }
    /// invalid_name
    public static var invalidName: String { "42602" }
    /// undefined_object: no such setting.
    public static var undefinedObject: String { "42704" }
    /// duplicate_prepared_statement
    public static var duplicatePreparedStatement: String { "42P05" }
    /// insufficient_resources
    public static var insufficientResources: String { "53000" }
    /// too_many_connections
    public static var tooManyConnections: String { "53300" }
    /// configuration_limit_exceeded
    public static var configurationLimitExceeded: String { "53400" }
    /// program_limit_exceeded
    public static var programLimitExceeded: String { "54000" }
    /// object_not_in_prerequisite_state
    public static var objectNotInPrerequisiteState: String { "55000" }
    /// cant_change_runtime_param: the setting needs a restart.
    public static var cannotChangeRuntimeParameter: String { "55P02" }
    /// query_canceled
    public static var queryCanceled: String { "57014" }
    /// admin_shutdown
    public static var adminShutdown: String { "57P01" }
    /// crash_shutdown
    public static var crashShutdown: String { "57P02" }
    /// cannot_connect_now
    public static var cannotConnectNow: String { "57P03" }
    /// idle_session_timeout
    public static var idleSessionTimeout: String { "57P05" }
    /// system_error: the operating system refused something.
    public static var systemError: String { "58000" }
    /// config_file_error
    public static var configurationFileError: String { "F0000" }
    /// internal_error
    public static var internalError: String { "XX000" }
}
