import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;

// What a client leaves in its session.
final class Session extends Client {
    Session(int me) throws SQLException {
        super(me, "");
    }

    void play(String part) throws Exception {
        switch (part) {
            case "deallocate" -> deallocate();
            case "set" -> set();
            case "listen" -> listen();
            case "hold" -> hold();
            default -> throw new IllegalArgumentException(part);
        }
    }

    // A statement that falls out of the driver's cache is closed by the protocol, DEALLOCATE ALL empties the cache.
    void deallocate() throws Exception {
        try (Client other = new Client(me, "&prepareThreshold=1&preparedStatementCacheQueries=20")) {
            long sum = 0;
            for (int number = 0; number < 120; number++) {
                sum += (Integer) other.rows("select " + number % 60 + " + ?::int", me).get(0).get(0);
            }
            say("more than the cache holds", sum);
            for (int number = 0; number < 20; number++) {
                if (number % 7 == 3) {
                    other.exec("deallocate all");
                }
                sum += (Integer) other.rows("select ?::int + 1", me).get(0).get(0);
            }
            say("prepared anew", sum);
        }
    }

    void set() throws Exception {
        exec("set statement_timeout to " + (10000 + me));
        rows("select set_config('search_path', ?, false)", "of_" + me + ", public");
        exec("begin; set local work_mem to '1234kB'; commit");
        exec("begin; set lock_timeout to 77; rollback");
        db.setClientInfo("ApplicationName", "client " + me);
        boolean even = me % 2 == 0;
        db.setTransactionIsolation(even ? Connection.TRANSACTION_SERIALIZABLE : Connection.TRANSACTION_REPEATABLE_READ);
        barrier.await();
        PreparedStatement settings = db.prepareStatement("select current_setting('statement_timeout'),"
            + " current_setting('search_path'), current_setting('work_mem'), current_setting('lock_timeout'),"
            + " current_setting('application_name'), current_setting('transaction_isolation')");
        Map<String, Integer> seen = new TreeMap<>();
        for (int number = 0; number < 30; number++) {
            seen.merge(rows(settings).toString(), 1, Integer::sum);
        }
        say("set", seen);
        barrier.await();
        exec("reset statement_timeout");
        String before = rows(settings).toString();
        exec("reset all");
        say("reset", before, rows(settings));
        db.setSchema("schema_" + me);
        barrier.await();
        say("schema", db.getSchema(), rows("show search_path"));
    }

    void listen() throws Exception {
        exec("listen everyone");
        exec("listen mine_" + me);
        barrier.await();
        rows("select pg_notify('everyone', ?)", "from " + me);
        exec("notify mine_" + me + ", 'to me'");
        Set<String> heard = new TreeSet<>();
        long end = System.nanoTime() + 20_000_000_000L;
        while (heard.size() <= barrier.getParties() && System.nanoTime() < end) {
            for (PGNotification each : db.unwrap(PGConnection.class).getNotifications(1000)) {
                heard.add(each.getName() + ": " + each.getParameter());
            }
        }
        say("heard", heard);
        exec("unlisten *");
        say("still", rows("select 'alive'"));
    }

    void hold() throws Exception {
        if (me > 1) {
            int sum = 0;
            for (int number = 0; number < 100; number++) {
                sum += rows("select ?::int", number).size();
            }
            say("beside a holder", sum);
            return;
        }
        exec("create temporary table scratch (i int)");
        for (int number = 0; number < 30; number++) {
            try (PreparedStatement insert = db.prepareStatement("insert into scratch values (?)")) {
                bind(insert, number).executeUpdate();
            }
        }
        say("temporary table", rows("select count(*), sum(i) from scratch"));
        exec("drop table scratch");
        rows("select pg_advisory_lock(4715)");
        int held = 0;
        for (int number = 0; number < 20; number++) {
            held += rows("select 1 from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()").size();
        }
        say("advisory lock", held, rows("select pg_advisory_unlock(4715)"));
        exec("declare kept cursor with hold for select generate_series(1, 9)");
        say("cursor with hold", rows("fetch 2 from kept"), rows("fetch 2 from kept"));
        exec("close kept");
        exec("prepare sum (int) as select $1 + 1");
        for (int number = 0; number < 5; number++) {
            say("sql prepare", rows("execute sum(" + number + ")"));
        }
        exec("deallocate sum");
    }
}
