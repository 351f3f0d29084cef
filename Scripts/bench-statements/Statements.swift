// The statements whose cost is measured: those that Scripts/bench runs, as pgbench sends them with `-M prepared`, and a
// few that applications are full of.

/// A statement and the types of its parameters, as a Parse message has them.
struct MeasuredStatement {
    let name: String
    let text: String
    var types: [UInt32] = []

    /// What follows the statement's name in a Parse message.
    var body: [UInt8] {
        var body = Array(text.utf8) + [0, UInt8(types.count >> 8), UInt8(types.count & 255)]
        for type in types {
            for shift in [24, 16, 8, 0] as [UInt32] { body.append(UInt8(type >> shift & 255)) }
        }
        return body
    }

    static let measured = [
        MeasuredStatement(name: "select", text: "SELECT abalance FROM pgbench_accounts WHERE aid = $1;"),
        MeasuredStatement(name: "begin", text: "BEGIN;"),
        MeasuredStatement(
            name: "update accounts", text: "UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2;"),
        MeasuredStatement(
            name: "update tellers", text: "UPDATE pgbench_tellers SET tbalance = tbalance + $1 WHERE tid = $2;"),
        MeasuredStatement(
            name: "update branches", text: "UPDATE pgbench_branches SET bbalance = bbalance + $1 WHERE bid = $2;"),
        MeasuredStatement(
            name: "insert history",
            text: "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) "
                + "VALUES ($1, $2, $3, $4, CURRENT_TIMESTAMP);"
        ),
        MeasuredStatement(name: "commit", text: "END;"),
        MeasuredStatement(name: "insert 20", text: insertOfTwenty, types: .init(repeating: 25, count: 20)),
        MeasuredStatement(name: "django select", text: django),
        MeasuredStatement(name: "set", text: "SET statement_timeout = '5s';"),
    ]

    /// One of the statements of the case `distinct-500`.
    static func distinct(_ number: Int) -> MeasuredStatement {
        MeasuredStatement(
            name: "distinct \(number)", text: "SELECT abalance + \(number) FROM pgbench_accounts WHERE aid = $1;")
    }

    private static var insertOfTwenty: String {
        let columns = (1...20).map { "column_\($0)" }.joined(separator: ", ")
        let values = (1...20).map { "$\($0)" }.joined(separator: ", ")
        return "INSERT INTO measurements (\(columns)) VALUES (\(values)) RETURNING id"
    }

    private static let django = """
        SELECT "shop_order"."id", "shop_order"."number", "shop_order"."created_at", "shop_order"."customer_id", \
        "shop_order"."status", "shop_order"."total", "shop_order"."currency", "shop_customer"."id", \
        "shop_customer"."name", "shop_customer"."email", "shop_customer"."is_active", "shop_customer"."joined_at" \
        FROM "shop_order" INNER JOIN "shop_customer" ON ("shop_order"."customer_id" = "shop_customer"."id") \
        WHERE ("shop_order"."status" IN ($1, $2) AND "shop_customer"."is_active" AND "shop_order"."created_at" >= $3) \
        ORDER BY "shop_order"."created_at" DESC, "shop_order"."id" ASC LIMIT 21
        """
}
