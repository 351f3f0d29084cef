// Rows of the settings table: authentication and TLS.
//
// What this version does not build is refused by name: a pooler that quietly ignored a wish for TLS or for an
// HBA file would be open where its owner believes it closed.

/// PgBouncer's default auth_query; any other is not built yet.
let defaultAuthQuery = """
    SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END \
    FROM pg_authid WHERE rolname=$1 AND rolcanlogin
    """

let authenticationSettings: [Setting] = [
    .choice(
        "auth_type", \.authType, default: "md5",
        support: .refused(accepted: ["any", "trust", "plain", "md5", "scram-sha-256"]),
        """
        How clients prove who they are. md5 uses SCRAM for a user whose secret in auth_file is a SCRAM verifier. \
        trust asks for no password but the user must be known; any does not even look at the name.
        """),
    .text(
        "auth_file", \.authFile,
        "File of users and their secrets, each line \"user\" \"secret\". Read again at each RELOAD."),
    .text(
        "auth_hba_file", \.authHbaFile, support: .refused(accepted: []),
        "Rules in the manner of pg_hba.conf, for auth_type hba."),
    .text(
        "auth_ident_file", \.authIdentFile, support: .refused(accepted: []),
        "Maps of user names in the manner of pg_ident.conf."),
    .text(
        "auth_user", \.authUser, support: .refused(accepted: []),
        "User that runs auth_query for users who are not in auth_file."),
    .text("auth_dbname", \.authDbname, support: .refused(accepted: []), "Database in which auth_query runs."),
    .text(
        "auth_query", \.authQuery, default: defaultAuthQuery, support: .refused(accepted: []),
        "Query that gives name and secret of the user $1."),
    .text(
        "auth_ldap_options", \.authLdapOptions, support: .refused(accepted: []),
        "Options of the LDAP server, for auth_type ldap."),
    .integer(
        "scram_iterations", \.scramIterations, default: "4096", in: 1...2_147_483_647,
        "Rounds of hashing in SCRAM secrets that are made from passwords in clear text."),
    .list(
        "admin_users", \.adminUsers,
        "Users who may run every command of the console, between commas."),
    .list(
        "stats_users", \.statsUsers,
        "Users who may run the SHOW commands of the console, between commas."),
]

let clientTLSSettings: [Setting] = [
    .choice(
        "client_tls_sslmode", \.clientTlsSslmode, default: "disable", support: .refused(accepted: []),
        "Whether clients may or must use TLS."),
    .text("client_tls_key_file", \.clientTlsKeyFile, support: .refused(accepted: []), "Weir's private key."),
    .text("client_tls_cert_file", \.clientTlsCertFile, support: .refused(accepted: []), "Weir's certificate."),
    .text(
        "client_tls_ca_file", \.clientTlsCaFile, support: .refused(accepted: []),
        "Authorities that clients' certificates must come from."),
    .text(
        "client_tls_protocols", \.clientTlsProtocols, default: "secure", support: .refused(accepted: []),
        "TLS versions; secure means 1.2 and 1.3."),
    .text(
        "client_tls_ciphers", \.clientTlsCiphers, default: "default", support: .refused(accepted: []),
        "Ciphers up to TLS 1.2."),
    .text(
        "client_tls13_ciphers", \.clientTls13Ciphers, support: .refused(accepted: []),
        "Ciphers of TLS 1.3. Empty: OpenSSL's own choice."),
    .text(
        "client_tls_ecdhcurve", \.clientTlsEcdhcurve, default: "auto", support: .refused(accepted: []),
        "Curve for ECDH."),
    .text(
        "client_tls_dheparams", \.clientTlsDheparams, default: "auto", support: .refused(accepted: []),
        "Parameters for DHE."),
]

let serverTLSSettings: [Setting] = [
    .choice(
        "server_tls_sslmode", \.serverTlsSslmode, default: "prefer",
        support: .refused(accepted: ["disable", "allow", "prefer"]),
        "Whether connections to servers use TLS. With allow and prefer this version connects without it."),
    .text(
        "server_tls_ca_file", \.serverTlsCaFile, support: .refused(accepted: []),
        "Authorities that servers' certificates must come from."),
    .text(
        "server_tls_key_file", \.serverTlsKeyFile, support: .refused(accepted: []),
        "Private key of the certificate shown to servers."),
    .text(
        "server_tls_cert_file", \.serverTlsCertFile, support: .refused(accepted: []), "Certificate shown to servers."),
    .text(
        "server_tls_protocols", \.serverTlsProtocols, default: "secure", support: .refused(accepted: []),
        "TLS versions; secure means 1.2 and 1.3."),
    .text(
        "server_tls_ciphers", \.serverTlsCiphers, default: "default", support: .refused(accepted: []),
        "Ciphers up to TLS 1.2."),
    .text(
        "server_tls13_ciphers", \.serverTls13Ciphers, support: .refused(accepted: []),
        "Ciphers of TLS 1.3. Empty: OpenSSL's own choice."),
]
