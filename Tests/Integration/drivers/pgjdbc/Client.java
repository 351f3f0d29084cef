import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.CyclicBarrier;

// One client and what all parts of the program use.
class Client implements AutoCloseable {
    static String port;
    static CyclicBarrier barrier;

    final int me;
    final Connection db;

    interface Act {
        void run() throws Exception;
    }

    Client(int me, String options) throws SQLException {
        this.me = me;
        String url = "jdbc:postgresql://127.0.0.1:" + port + "/app?sslmode=disable" + options;
        db = DriverManager.getConnection(url, "app", System.getenv("PGPASSWORD"));
    }

    @Override
    public void close() throws SQLException {
        db.close();
    }

    void say(String step, Object... values) {
        StringBuilder text = new StringBuilder();
        for (char letter : Arrays.deepToString(values).toCharArray()) {
            boolean plain = letter >= ' ' && letter < 127 && letter != '"' && letter != '\\';
            text.append(plain ? String.valueOf(letter) : String.format("\\u%04x", (int) letter));
        }
        System.out.println("{\"client\": " + me + ", \"step\": \"" + step + "\", \"values\": \"" + text + "\"}");
    }

    static List<List<Object>> collect(ResultSet rows) throws SQLException {
        List<List<Object>> found = new ArrayList<>();
        int columns = rows.getMetaData().getColumnCount();
        while (rows.next()) {
            List<Object> row = new ArrayList<>();
            for (int column = 1; column <= columns; column++) {
                Object value = rows.getObject(column);
                row.add(value instanceof byte[] bytes ? HexFormat.of().formatHex(bytes) : value);
            }
            found.add(row);
        }
        rows.close();
        return found;
    }

    static PreparedStatement bind(PreparedStatement statement, Object... values) throws SQLException {
        for (int index = 0; index < values.length; index++) {
            statement.setObject(index + 1, values[index]);
        }
        return statement;
    }

    static List<List<Object>> rows(PreparedStatement statement, Object... values) throws SQLException {
        return collect(bind(statement, values).executeQuery());
    }

    List<List<Object>> rows(String sql, Object... values) throws SQLException {
        try (PreparedStatement statement = db.prepareStatement(sql)) {
            return rows(statement, values);
        }
    }

    int exec(String sql) throws SQLException {
        try (Statement statement = db.createStatement()) {
            statement.execute(sql);
            return statement.getUpdateCount();
        }
    }

    static String sqlstate(Act act) throws Exception {
        try {
            act.run();
            return "no error";
        } catch (SQLException error) {
            return error.getSQLState();
        }
    }

    int id(int number) {
        return me * 1000 + number;
    }

    PreparedStatement insert() throws SQLException {
        return db.prepareStatement("insert into t values (?, ?)");
    }
}
